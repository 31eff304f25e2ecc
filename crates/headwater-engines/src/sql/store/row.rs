//! A change as the cells of a row, over what the row has of the document before.

use std::sync::Arc;

use headwater_model::sort::cut_sort;
use headwater_model::{Error, Index, IndexPlace, Key, Names, Record, Result, Value, View, json};

use super::rest;
use super::shape::{ColumnKind, Shape};
use crate::stored_json::write_merged;

pub(crate) enum Cell<C> {
    Set(Option<C>),
    /// Stays as the row has it.
    Kept,
}

/// What a row has that a partial document is laid over.
pub(crate) struct Before {
    /// The rest, or the document.
    pub text: Option<String>,
    /// One per index.
    pub places: Vec<Option<Vec<u8>>>,
}

/// Which column each field of a document has; the same for all documents that share their names.
#[derive(Default)]
pub(crate) struct Fields {
    names: Option<Names>,
    columns: Vec<Option<usize>>,
}

impl Fields {
    fn learn<K: ColumnKind>(&mut self, shape: &Shape<K>, names: &Names) {
        if self.names.as_ref().is_some_and(|known| Arc::ptr_eq(known, names)) {
            return;
        }
        let column = |name: &str| shape.fields.iter().position(|(field, _)| **field == *name);
        self.columns = names.iter().map(|name| column(name)).collect();
        self.names = Some(names.clone());
    }
}

/// The document as one JSON text.
pub(crate) fn json(document: &Record, before: Option<&Before>) -> Result<String> {
    let mut out = Vec::with_capacity(256);
    if document.is_partial() {
        let stored = before.and_then(|before| before.text.as_deref()).map(str::as_bytes);
        write_merged(document, stored, &mut out)?;
    } else {
        document.write_json(&mut out);
    }
    String::from_utf8(out).map_err(|e| Error::bug("a document is no text").with_cause(e))
}

/// The rest, and a cell per field of the shape.
pub(crate) type Split<C> = (Option<String>, Vec<Cell<C>>);

/// The document as its row has it.
pub(crate) fn cells<K: ColumnKind>(
    shape: &Shape<K>,
    document: &Record,
    before: Option<&Before>,
    fields: &mut Fields,
) -> Result<Split<K::Cell>> {
    fields.learn(shape, &document.names);
    let mut cells: Vec<Cell<K::Cell>> = shape.fields.iter().map(|_| Cell::Set(None)).collect();
    let mut aside = Vec::new();
    for (value, (name, column)) in document.values.iter().zip(document.names.iter().zip(&fields.columns)) {
        match (value, column) {
            (Value::Null, _) | (Value::Unchanged, None) => {}
            (Value::Unchanged, Some(column)) => cells[*column] = Cell::Kept,
            (value, Some(column)) => {
                let (cell, exact) = shape.fields[*column].1.cell(value);
                cells[*column] = Cell::Set(cell);
                if !exact {
                    rest::write(name, value, &mut aside);
                }
            }
            (value, None) => rest::write(name, value, &mut aside),
        }
    }
    if document.is_partial()
        && let Some(stored) = before.and_then(|before| before.text.as_deref())
    {
        for field in json::fields(stored.as_bytes()) {
            let field =
                field.map_err(|_| Error::corrupt("headwater_rest is not what Headwater writes there"))?;
            let name = field.name();
            let is_kept =
                (document.fields()).any(|(field, value)| value.is_unchanged() && field.as_bytes() == &*name);
            if is_kept {
                rest::keep(&field, &mut aside);
            }
        }
    }
    Ok((rest::close(aside), cells))
}

/// Where the document stands in each of the view's indexes: the bytes of the part, then those it is sorted by.
pub(crate) fn places(
    view: &View,
    key: &Key,
    document: &Record,
    before: Option<&Before>,
) -> Result<Vec<Option<Vec<u8>>>> {
    let of = |(n, index): (usize, &Index)| {
        let stored = before.and_then(|before| before.places.get(n)?.as_deref());
        let place = place_of(index, key, document, stored)?;
        Ok(place.map(|place| [place.part, place.sort].concat()))
    };
    view.indexes.iter().enumerate().map(of).collect()
}

/// Where a document stands, over what the row remembers of the one before it.
fn place_of(
    index: &Index,
    key: &Key,
    document: &Record,
    stored: Option<&[u8]>,
) -> Result<Option<IndexPlace>> {
    let Some(stored) = stored.filter(|_| document.is_partial()) else {
        return index.place_over(key, document, None);
    };
    let mut sort = stored;
    for _ in &index.by {
        sort = cut_sort(sort, false)?.1;
    }
    let part = &stored[..stored.len() - sort.len()];
    index.place_over(key, document, Some((part, sort)))
}
