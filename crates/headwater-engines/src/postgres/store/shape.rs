//! The shape of a view's table: which fields its documents have had, and the column of each.
//!
//! A view of the layout `hash` has a typed column per field; one of the layout `json` has the column `document`. Both
//! have `headwater_key`, `headwater_rest` and one `headwater_place_N` per index.

use headwater_model::{Error, Layout, Result, Stored, StoredBody, View};

use super::column::Kind;
use super::rest;
use crate::postgres::connection::Row;
use crate::postgres::sql::identifier;

pub(super) const KEY: &str = "headwater_key";
pub(super) const REST: &str = "headwater_rest";
pub(super) const DOCUMENT: &str = "document";

/// What every table, column and name of Headwater's own begins with.
pub(super) const OWN: &str = "headwater_";

/// So that the fixed part of a row fits into a page of 8 KiB, whatever the types are. Further fields go to the rest.
const COLUMNS_MAX: usize = 300;

/// Bytes of a name that the server does not cut.
pub(super) const NAME_BYTES_MAX: usize = 63;

/// Columns that every table has already.
const SYSTEM_COLUMNS: &[&str] = &["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shape {
    pub layout: Layout,
    /// In the order in which they were first met.
    pub fields: Vec<(Box<str>, Kind)>,
}

/// The column that holds where documents stand in an index.
pub(super) fn place_column(index: usize) -> String {
    format!("headwater_place_{index}")
}

/// What the index over that column is over: the beginning of the place, which every index takes. Rows whose places begin alike
/// are told apart by the column itself.
pub(super) fn place_start(place: &str) -> String {
    format!("substr({place}, 1, {PLACE_START_BYTES})")
}

const PLACE_START_BYTES: usize = 2000;

impl Shape {
    /// Reads the columns `layout` and `fields` of `headwater_view`.
    pub fn read(layout: &str, fields: &str) -> Result<Shape> {
        let broken = || Error::corrupt("what headwater_view says of a view cannot be read");
        let layout = match layout {
            "hash" => Layout::Hash,
            "json" => Layout::Json,
            _ => return Err(broken()),
        };
        let pairs: Vec<(String, String)> =
            serde_json::from_str(fields).map_err(|e| broken().with_cause(e))?;
        let fields = pairs
            .into_iter()
            .map(|(name, kind)| Some((name.into(), Kind::named(&kind)?)))
            .collect::<Option<_>>()
            .ok_or_else(broken)?;
        Ok(Shape { layout, fields })
    }

    /// The same, for the column `fields`.
    pub fn fields_text(&self) -> String {
        let pairs: Vec<(&str, &str)> = self.fields.iter().map(|(name, kind)| (&**name, kind.sql())).collect();
        serde_json::to_string(&pairs).unwrap_or_default()
    }

    pub fn layout_text(layout: Layout) -> &'static str {
        match layout {
            Layout::Hash => "hash",
            Layout::Json => "json",
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(field, _)| **field == *name)
    }

    /// Whether a field that is not there yet can be a column.
    pub fn takes(&self, name: &str) -> bool {
        self.fields.len() < COLUMNS_MAX
            && (1..=NAME_BYTES_MAX).contains(&name.len())
            && !name.contains('\0')
            && !name.starts_with(OWN)
            && !SYSTEM_COLUMNS.contains(&name)
    }

    /// What is read of a document, as a list of columns of `v`.
    pub fn columns_sql(&self) -> String {
        let mut sql = format!("v.{KEY}");
        match self.layout {
            Layout::Json => sql.push_str(&format!(", v.{DOCUMENT}")),
            Layout::Hash => {
                sql.push_str(&format!(", v.{REST}"));
                for (name, _) in &self.fields {
                    sql.push_str(&format!(", v.{}", identifier(name)));
                }
            }
        }
        sql
    }

    /// The document in a row of [`Shape::columns_sql`].
    pub fn stored(&self, view: &View, row: Row) -> Result<Stored> {
        let broken = |what: &str| {
            Error::corrupt(format!("a document of the view \"{}\" in the store {what}", view.name))
        };
        let mut cells = row.into_iter();
        let key = cells.next().flatten().ok_or_else(|| broken("has no key"))?;
        let second = cells.next().flatten();
        if self.layout == Layout::Json {
            let document = second.ok_or_else(|| broken("has no text"))?;
            return Ok(Stored { key, body: StoredBody::Json(document.into()) });
        }
        let mut fields = Vec::with_capacity(self.fields.len());
        for ((name, kind), cell) in self.fields.iter().zip(cells) {
            if let Some(printed) = cell {
                let text = kind.text(printed).ok_or_else(|| broken("cannot be read"))?;
                fields.push((name.to_string(), text.into_bytes()));
            }
        }
        if let Some(rest) = second {
            rest::read(&rest, &mut fields)?;
        }
        fields.sort_unstable();
        Ok(Stored { key, body: StoredBody::Fields(fields) })
    }
}
