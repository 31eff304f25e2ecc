//! The documents of keys.

use std::collections::HashMap;

use headwater_model::filter::Comparison;
use headwater_model::{Error, Found, Key, Result, StoredBody, View};

use super::cells::{self, misread};
use super::dialect::{Dialect, all, any};
use super::document::Template;
use super::rows::rows;
use super::shape::{Column, Shapes};
use super::{KEYS_MAX, Params};

pub(super) struct Reader<D: Dialect> {
    key: Vec<Column<D::Column>>,
    template: Template<D>,
    /// The texts of the keys, in the order asked for.
    wanted: Vec<String>,
}

pub(super) fn statement<D: Dialect>(
    dialect: &D,
    shapes: &Shapes<D::Column>,
    view: &View,
    keys: &[Key],
    params: &mut Params,
) -> Result<(String, Reader<D>)> {
    if keys.len() > KEYS_MAX {
        return Err(Error::unsupported(format!("{} keys in one read, more than {KEYS_MAX}", keys.len()))
            .with_remedy("ask for them in parts"));
    }
    let rows = rows(dialect, shapes, view, params)?;
    let mut wanted = Vec::with_capacity(keys.len());
    for key in keys {
        if key.0.len() != rows.key.len() {
            return Err(Error::unsupported(format!(
                "a key of view \"{}\" has {} columns, not {}",
                view.name,
                rows.key.len(),
                key.0.len()
            )));
        }
        // NULL is in no key, and equals nothing.
        if key.0.iter().any(|part| part.is_null() || part.is_unchanged()) {
            continue;
        }
        let parts = rows.key.iter().zip(&key.0);
        let parts: Vec<String> = parts
            .map(|(e, value)| dialect.compare(&e.column, &e.sql, Comparison::Equal, value, params))
            .collect();
        wanted.push(all(&parts));
    }
    let texts: Vec<String> = rows.key.iter().map(|e| dialect.text(&e.column, &e.sql)).collect();
    let mut conditions = rows.conditions;
    conditions.push(any(&wanted));
    let sql = format!(
        "SELECT {}, {} FROM {} WHERE {}",
        dialect.texts(&texts),
        rows.document,
        rows.from,
        all(&conditions)
    );
    let key = rows.key.into_iter().map(|e| e.column).collect();
    let wanted = keys.iter().map(Key::to_text).collect();
    Ok((sql, Reader { key, template: rows.template, wanted }))
}

impl<D: Dialect> Reader<D> {
    pub fn found(&self, dialect: &D, rows: Vec<Vec<Option<String>>>) -> Result<Found> {
        let mut found = HashMap::with_capacity(rows.len());
        for row in rows {
            let key = cells::json(&row, 0)?.ok_or_else(|| misread("no key"))?;
            let document = cells::json(&row, 1)?.ok_or_else(|| misread("no document"))?;
            let key = Key(cells::values(dialect, &self.key, &key)?);
            let document = cells::record(dialect, &self.template, &document)?;
            found.insert(key.to_text(), document.to_json());
        }
        // A key may be asked for twice.
        let body = |key: &String| found.get(key).map(|json| StoredBody::Json(json.as_str().into()));
        Ok(Found::Documents(self.wanted.iter().map(body).collect()))
    }
}
