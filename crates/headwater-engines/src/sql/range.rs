//! A stretch of an index: the documents of one part, in order, page by page.
//!
//! A page goes on behind a place, not behind a number of rows: the values of the last row, compared column by column with
//! NULL where the order has it.

use headwater_model::filter::Comparison;
use headwater_model::sort::write_sort;
use headwater_model::{Error, ErrorKind, Found, Index, Key, RangeRead, Result, Stored, StoredBody, Value};

use super::Params;
use super::cells::{self, misread};
use super::dialect::{Dialect, all, any, order_by};
use super::document::Template;
use super::rows::{Expression, Rows, rows};
use super::shape::{Column, Shapes};

pub(super) struct Reader<D: Dialect> {
    /// The columns of the order, and which of them descend; then those of the key.
    place: Vec<Column<D::Column>>,
    descending: Vec<bool>,
    template: Template<D>,
    limit: usize,
}

/// A column that documents are sorted by, in the direction of the read.
struct Sorted<D: Dialect> {
    expression: Expression<D>,
    descending: bool,
}

pub(super) fn statement<D: Dialect>(
    dialect: &D,
    shapes: &Shapes<D::Column>,
    read: &RangeRead,
    params: &mut Params,
) -> Result<(String, Reader<D>)> {
    let view = &read.view;
    let index = view.indexes.get(read.index).ok_or_else(|| {
        Error::unsupported(format!("view \"{}\" has no order number {}", view.name, read.index))
    })?;
    let mut rows = rows(dialect, shapes, view, params)?;
    let sorted = sorted(&rows, index, read.reverse)?;
    let conditions = conditions(dialect, &rows, index, &sorted, read, params)?;
    rows.conditions.extend(conditions);

    let order: Vec<String> = sorted
        .iter()
        .map(|s| order_by(dialect, &s.expression.column, &s.expression.sql, s.descending))
        .collect();
    let texts: Vec<String> =
        sorted.iter().map(|s| dialect.text(&s.expression.column, &s.expression.sql)).collect();
    let limit = read.limit.max(1);
    let sql = format!(
        "SELECT {}, {} FROM {} WHERE {} ORDER BY {} LIMIT {}",
        dialect.texts(&texts),
        rows.document,
        rows.from,
        all(&rows.conditions),
        order.join(", "),
        // One more tells whether there is a next page.
        limit.saturating_add(1).min(i64::MAX as usize)
    );
    let reader = Reader {
        place: sorted.into_iter().map(|s| s.expression.column).collect(),
        descending: index.order.iter().map(|order| order.descending).collect(),
        template: rows.template,
        limit,
    };
    Ok((sql, reader))
}

/// The order's columns, then the key's: a document has exactly one place.
fn sorted<D: Dialect>(rows: &Rows<D>, index: &Index, reverse: bool) -> Result<Vec<Sorted<D>>> {
    let mut sorted = Vec::with_capacity(index.order.len() + rows.key.len());
    for order in &index.order {
        let expression = rows.field(&order.column)?.clone();
        sorted.push(Sorted { expression, descending: order.descending != reverse });
    }
    let key = rows.key.iter().map(|key| Sorted { expression: key.clone(), descending: reverse });
    sorted.extend(key);
    Ok(sorted)
}

fn conditions<D: Dialect>(
    dialect: &D,
    rows: &Rows<D>,
    index: &Index,
    sorted: &[Sorted<D>],
    read: &RangeRead,
    params: &mut Params,
) -> Result<Vec<String>> {
    if read.by.len() != index.by.len() {
        return Err(Error::unsupported(format!(
            "an order of view \"{}\" takes {} values, not {}",
            read.view.name,
            index.by.len(),
            read.by.len()
        )));
    }
    let mut conditions = Vec::new();
    for (name, value) in index.by.iter().zip(&read.by) {
        conditions.push(equal(dialect, rows.field(name)?, value, params));
        if value.is_null() {
            // NULL is in no part.
            conditions.push("FALSE".into());
        }
    }
    let first = sorted.first().filter(|_| !index.order.is_empty());
    for (bound, outer, inner) in [
        (&read.from, Comparison::AtLeast, Comparison::Greater),
        (&read.to, Comparison::AtMost, Comparison::Less),
    ] {
        let Some(bound) = bound else { continue };
        let Some(Sorted { expression, .. }) = first else {
            return Err(Error::unsupported(format!(
                "an order of view \"{}\" has no first field",
                read.view.name
            )));
        };
        let comparison = if bound.inclusive { outer } else { inner };
        conditions.push(match &bound.value {
            Value::Null | Value::Unchanged => "FALSE".into(),
            value => dialect.compare(&expression.column, &expression.sql, comparison, value, params),
        });
    }
    if let Some(after) = &read.after {
        let values = index.values(after, rows.key.len()).map_err(foreign)?;
        conditions.extend(behind(dialect, sorted, &values, params));
    }
    Ok(conditions)
}

/// Bytes of a place come back from readers, so they may be anything.
fn foreign(error: Error) -> Error {
    Error::new(ErrorKind::Unsupported, "the cursor is not one of this order")
        .with_cause(error)
        .with_remedy("start again without a cursor")
}

/// The conditions that a document stands behind these values, in the direction of the read.
fn behind<D: Dialect>(
    dialect: &D,
    sorted: &[Sorted<D>],
    values: &[Value],
    params: &mut Params,
) -> Vec<String> {
    let mut conditions = Vec::new();
    if let (Some(first), Some(value)) = (sorted.first(), values.first()) {
        // Says no more than the rest does, but in a form for which an index can be entered in the middle.
        conditions.extend(not_before(dialect, first, value, params));
    }
    let columns: Vec<_> = sorted.iter().zip(values).collect();
    // Nothing comes after NULL where it is last, and every parameter has to be used.
    let ends = columns.iter().rposition(|(sorted, value)| !value.is_null() || sorted.descending);
    let columns = &columns[..ends.map_or(0, |last| last + 1)];
    let mut same: Vec<String> = Vec::new();
    let mut ways = Vec::new();
    for (place, (sorted, value)) in columns.iter().enumerate() {
        if let Some(after) = after(dialect, sorted, value, params) {
            let mut way = same.clone();
            way.push(after);
            ways.push(all(&way));
        }
        if place + 1 < columns.len() {
            same.push(equal(dialect, &sorted.expression, value, params));
        }
    }
    conditions.push(any(&ways));
    conditions
}

fn equal<D: Dialect>(dialect: &D, expression: &Expression<D>, value: &Value, params: &mut Params) -> String {
    let Expression { column, sql } = expression;
    match value {
        Value::Null | Value::Unchanged => format!("{sql} IS NULL"),
        value => dialect.compare(column, sql, Comparison::Equal, value, params),
    }
}

/// The column's value comes after this one; `None` if nothing does.
fn after<D: Dialect>(dialect: &D, sorted: &Sorted<D>, value: &Value, params: &mut Params) -> Option<String> {
    let Expression { column, sql } = &sorted.expression;
    match (value.is_null(), sorted.descending) {
        (true, false) => None,
        (true, true) => Some(format!("{sql} IS NOT NULL")),
        (false, true) => Some(dialect.compare(column, sql, Comparison::Less, value, params)),
        (false, false) => {
            let greater = dialect.compare(column, sql, Comparison::Greater, value, params);
            Some(if column.nullable { format!("({greater} OR {sql} IS NULL)") } else { greater })
        }
    }
}

/// The column's value is this one or comes after it; `None` if that excludes nothing.
fn not_before<D: Dialect>(
    dialect: &D,
    sorted: &Sorted<D>,
    value: &Value,
    params: &mut Params,
) -> Option<String> {
    let Expression { column, sql } = &sorted.expression;
    match (value.is_null(), sorted.descending) {
        (true, false) => Some(format!("{sql} IS NULL")),
        (true, true) => None,
        (false, true) => Some(dialect.compare(column, sql, Comparison::AtMost, value, params)),
        (false, false) if column.nullable => None,
        (false, false) => Some(dialect.compare(column, sql, Comparison::AtLeast, value, params)),
    }
}

impl<D: Dialect> Reader<D> {
    pub fn found(&self, dialect: &D, rows: Vec<Vec<Option<String>>>) -> Result<Found> {
        let more = rows.len() > self.limit;
        let mut documents = Vec::with_capacity(rows.len().min(self.limit));
        let mut place = Vec::new();
        for row in rows.iter().take(self.limit) {
            let values = cells::json(row, 0)?.ok_or_else(|| misread("no place"))?;
            let document = cells::json(row, 1)?.ok_or_else(|| misread("no document"))?;
            place = cells::values(dialect, &self.place, &values)?;
            let key = Key(place[self.descending.len()..].to_vec());
            let document = cells::record(dialect, &self.template, &document)?;
            documents.push(Stored { key: key.to_text(), body: StoredBody::Json(document.to_json().into()) });
        }
        Ok(Found::Page { documents, next: more.then(|| self.sort(&place)) })
    }

    /// As [`Index::place`] makes it.
    fn sort(&self, place: &[Value]) -> Vec<u8> {
        let mut sort = Vec::with_capacity(24);
        for (i, value) in place.iter().enumerate() {
            write_sort(value, self.descending.get(i).copied().unwrap_or(false), &mut sort);
        }
        sort
    }
}
