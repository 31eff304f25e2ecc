//! Which cells of a table's rows a document has, and under which names: the part of a view that concerns one table.

use std::borrow::Cow;
use std::sync::Arc;

use headwater_model::filter::{BoundFilter, Filter};
use headwater_model::{Edge, Error, Names, Result, Series, Table, View, ViewKind};

/// A column, and its name in the document.
type Field = (Box<str>, Box<str>);
type Fields = [Field];

/// The columns and the filter of the view's own rows, with what its kind adds to those that it was given.
pub(super) struct Own<'a> {
    pub columns: Option<Cow<'a, Fields>>,
    pub filter: Option<Cow<'a, str>>,
}

impl<'a> Own<'a> {
    /// `columns` and `key` are the table's.
    pub fn of<'n>(
        view: &'a View,
        columns: impl Iterator<Item = &'n str>,
        key: impl Iterator<Item = &'n str>,
    ) -> Own<'a> {
        let given = Own {
            columns: view.columns.as_deref().map(Cow::Borrowed),
            filter: view.filter.as_deref().map(Cow::Borrowed),
        };
        match &view.kind {
            ViewKind::Document | ViewKind::Ranking(_) => given,
            ViewKind::Series(_) if given.columns.is_some() => given,
            ViewKind::Series(series) => {
                Own { columns: Some(point(series, columns, key.collect()).into()), ..given }
            }
            ViewKind::Edge(edge) => Own {
                columns: given.columns.map(|columns| with_ends(columns, edge)),
                filter: Some(between_ends(given.filter.as_deref(), edge).into()),
            },
        }
    }

    pub fn in_table(view: &'a View, table: &Table) -> Own<'a> {
        let name = |column: &usize| &*table.columns[*column].name;
        Own::of(view, table.columns.iter().map(|column| &*column.name), table.key.iter().map(name))
    }
}

/// A point in time has the columns that name it, in the table's order; at the end those that the table lacks, so that they are
/// missed.
fn point<'n>(series: &Series, columns: impl Iterator<Item = &'n str>, key: Vec<&'n str>) -> Vec<Field> {
    let mut wanted: Vec<&str> =
        std::iter::once(&series.time).chain(&series.tags).chain(&series.fields).map(|name| &**name).collect();
    let mut point = Vec::with_capacity(wanted.len() + key.len());
    for column in columns {
        if key.contains(&column) || wanted.contains(&column) {
            point.push((column.into(), column.into()));
            wanted.retain(|name| *name != column);
        }
    }
    wanted.dedup();
    point.extend(wanted.into_iter().map(|name| (name.into(), name.into())));
    point
}

/// An edge always has its ends.
fn with_ends<'a>(columns: Cow<'a, Fields>, edge: &Edge) -> Cow<'a, Fields> {
    let mut columns = columns;
    for end in [&edge.source, &edge.target] {
        if !columns.iter().any(|(_, field)| field == end) {
            columns.to_mut().push((end.clone(), end.clone()));
        }
    }
    columns
}

/// A row without one of its ends is no edge.
fn between_ends(filter: Option<&str>, edge: &Edge) -> String {
    let end = |name: &str| format!("\"{}\" IS NOT NULL", name.replace('"', "\"\""));
    let ends = format!("{} AND {}", end(&edge.source), end(&edge.target));
    match filter {
        Some(filter) => format!("({filter}) AND {ends}"),
        None => ends,
    }
}

/// Column choice, renaming and filter, resolved against one shape of the table.
#[derive(Debug)]
pub(super) struct Projection {
    pub names: Names,
    /// The cell of each name; `None` when it is every cell in the row's own order.
    pub cells: Option<Vec<usize>>,
    /// Whether some cell is taken twice, so that values cannot be moved out of the row.
    pub repeats: bool,
    pub filter: Option<BoundFilter>,
}

/// `place` names the view, and the field within it, for errors: `view "book", field "author"`.
pub(super) fn project(
    place: &str,
    table: &Table,
    columns: Option<&Fields>,
    filter: Option<&str>,
) -> Result<Projection> {
    let filter = filter.map(|text| bind(place, table, text)).transpose()?;
    let Some(columns) = columns else {
        let names: Names = table.columns.iter().map(|c| c.name.clone()).collect();
        return Ok(Projection { names, cells: None, repeats: false, filter });
    };
    let mut cells = Vec::with_capacity(columns.len());
    for (column, _) in columns {
        cells.push(column_of(place, table, column)?);
    }
    let names: Names = columns.iter().map(|(_, field)| field.clone()).collect();
    for (i, name) in names.iter().enumerate() {
        if names[..i].contains(name) {
            return Err(Error::misconfigured(format!("{place}: two columns are named \"{name}\""))
                .with_remedy("give each column a name of its own"));
        }
    }
    let repeats = cells.iter().enumerate().any(|(i, cell)| cells[..i].contains(cell));
    let identity = cells.len() == table.columns.len() && cells.iter().enumerate().all(|(i, cell)| i == *cell);
    Ok(Projection { names, cells: (!identity).then_some(cells), repeats, filter })
}

pub(super) fn parse_filter(place: &str, text: &str) -> Result<Filter> {
    Filter::parse(text).map_err(|error| {
        Error::misconfigured(format!("{place}: the filter cannot be read"))
            .with_cause(error)
            .with_remedy("correct the filter")
    })
}

pub(super) fn bind(place: &str, table: &Table, text: &str) -> Result<BoundFilter> {
    parse_filter(place, text)?
        .bind(table)
        .map_err(|error| error.while_doing(format!("{place}: bind the filter")))
}

pub(super) fn column_of(place: &str, table: &Table, column: &str) -> Result<usize> {
    table.column(column).ok_or_else(|| {
        Error::misconfigured(format!("{place}: table {} has no column \"{column}\"", table.name)).with_remedy(format!(
            "if the column was renamed or dropped, change \"{column}\" in the file to match, then start again"
        ))
    })
}

/// A shape of a table and what was made for it. Shapes are few; rows are many and mostly carry the very same `Arc`.
pub(super) struct Shapes<T> {
    known: Vec<(Arc<Table>, T)>,
    last: usize,
}

/// Enough for the shapes that a burst of schema changes brings; more only costs making them again.
const SHAPES_MAX: usize = 256;

impl<T> Shapes<T> {
    pub fn new() -> Shapes<T> {
        Shapes { known: Vec::new(), last: 0 }
    }

    pub fn clear(&mut self) {
        self.known.clear();
        self.last = 0;
    }

    /// The place of this very shape.
    pub fn find(&mut self, table: &Arc<Table>) -> Option<usize> {
        if self.known.get(self.last).is_some_and(|(known, _)| Arc::ptr_eq(known, table)) {
            return Some(self.last);
        }
        let found = self.known.iter().position(|(known, _)| Arc::ptr_eq(known, table))?;
        self.last = found;
        Some(found)
    }

    /// A shape with the same content, if one is known: the same table described again.
    pub fn alike(&self, table: &Table) -> Option<&T> {
        self.known.iter().find(|(known, _)| **known == *table).map(|(_, made)| made)
    }

    pub fn add(&mut self, table: Arc<Table>, made: T) -> usize {
        if self.known.len() >= SHAPES_MAX {
            self.known.clear();
        }
        self.known.push((table, made));
        self.last = self.known.len() - 1;
        self.last
    }

    pub fn get(&self, place: usize) -> &T {
        &self.known[place].1
    }
}
