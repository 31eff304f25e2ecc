//! Views: the shapes that applications read, as the file declares them.

use serde::{Deserialize, Serialize};

use crate::TableName;

/// A view's name: the `x` of `[views.x]`.
pub type ViewId = Box<str>;

/// How a store lays out a document, where it has a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// One field per column (a Redis hash).
    Hash,
    /// One JSON text.
    Json,
}

/// A document view. Column and table names are as in the file; `check` has compared them with the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    pub name: ViewId,
    pub from: TableName,
    /// `(column, field)` pairs: which columns a document has and under which name. `None`: every column, as named.
    pub columns: Option<Vec<(Box<str>, Box<str>)>>,
    /// A row filter: SQL's `WHERE` over this table's columns, in the subset that [`crate::filter`] documents.
    pub filter: Option<Box<str>>,
    pub embeds: Vec<Embed>,
    /// Names of the stores that hold the view.
    pub stores: Vec<Box<str>>,
    /// `None`: hash for a flat document, JSON for one with embedded rows.
    pub layout: Option<Layout>,
}

/// Rows of another table inside a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Embed {
    /// The document's field.
    pub field: Box<str>,
    pub from: TableName,
    pub kind: EmbedKind,
    pub columns: Option<Vec<(Box<str>, Box<str>)>>,
    pub filter: Option<Box<str>>,
    /// For `Many`: the list's order; ties, and no order at all, are broken by the child's key, ascending.
    pub order: Vec<Order>,
    /// For `Many`: at most this many, the first in order.
    pub limit: Option<usize>,
    pub embeds: Vec<Embed>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmbedKind {
    /// The parent's columns point at the child's key (or at the child's unique columns `references`): one or null.
    One { columns: Vec<Box<str>>, references: Option<Vec<Box<str>>> },
    /// The child's columns point at the parent's key (or at the parent's unique columns `references`): a list.
    Many { columns: Vec<Box<str>>, references: Option<Vec<Box<str>>> },
}

/// One sort column. NULL sorts last ascending and first descending, as in PostgreSQL; text sorts by bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub column: Box<str>,
    pub descending: bool,
}

impl View {
    pub fn layout(&self) -> Layout {
        self.layout.unwrap_or(if self.embeds.is_empty() { Layout::Hash } else { Layout::Json })
    }
}
