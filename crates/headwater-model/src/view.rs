//! Views: the shapes that applications read, as the file declares them.

use serde::{Deserialize, Serialize};

use crate::sort::{read_sort, write_sort};
use crate::{Key, Record, Result, TableName, Value};

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

/// A view: documents, whatever its kind, and the orders in which they are read. Column and table names are as in the
/// file; `check` has compared them with the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    pub name: ViewId,
    pub from: TableName,
    #[serde(default, skip_serializing_if = "ViewKind::is_document")]
    pub kind: ViewKind,
    /// `(column, field)` pairs: which columns a document has and under which name. `None`: every column, as named.
    pub columns: Option<Vec<(Box<str>, Box<str>)>>,
    /// A row filter: SQL's `WHERE` over this table's columns, in the subset that [`crate::filter`] documents.
    pub filter: Option<Box<str>>,
    pub embeds: Vec<Embed>,
    /// Names of the stores that hold the view.
    pub stores: Vec<Box<str>>,
    /// `None`: hash for a flat document, JSON for every other.
    pub layout: Option<Layout>,
    /// The orders that stores keep beside the documents: what the kind implies, then what access patterns ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<Index>,
}

/// What a view's documents are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ViewKind {
    /// One per row of the table, under the row's key, with embedded rows.
    #[default]
    Document,
    /// One per group of rows, under the group's columns.
    Ranking(Ranking),
    /// One per row: a point in time.
    Series(Series),
    /// One per row: an edge of a graph. Rows in which an end is NULL have none.
    Edge(Edge),
}

/// Groups of rows by score. A group's document has the columns of `within` and `by`, and [`Ranking::SCORE`]; its key is
/// `within`, then `by`. Rows in which one of these columns is NULL belong to no group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranking {
    pub by: Vec<Box<str>>,
    /// A ranking of its own for each value of these columns.
    pub within: Vec<Box<str>>,
    pub function: Aggregate,
    /// `None` for `count(*)`.
    pub column: Option<Box<str>>,
}

impl Ranking {
    /// The document's field that holds the score.
    pub const SCORE: &str = "score";
}

/// SQL's aggregate functions over the rows of a group; NULLs do not take part, and without any value the score is NULL
/// (`count`: 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aggregate {
    Count,
    Sum,
    Min,
    Max,
}

/// Points in time. Late and corrected rows are changes like any other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    pub time: Box<str>,
    /// The columns whose values name one series.
    pub tags: Vec<Box<str>>,
    pub fields: Vec<Box<str>>,
}

/// The columns that hold the two ends of an edge. A vertex is a value of such a column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    pub source: Box<str>,
    pub label: Box<str>,
    pub target: Box<str>,
}

/// An order of a view's documents: apart by the values of `by`, and in each part by `order`, ties by key, ascending.
/// Names are fields of the document that hold one value of the view's own row. A document in which a field of `by` is
/// NULL is in no part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    pub by: Vec<Box<str>>,
    pub order: Vec<Order>,
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
        let flat = self.embeds.is_empty() && self.kind.is_document();
        self.layout.unwrap_or(if flat { Layout::Hash } else { Layout::Json })
    }
}

impl ViewKind {
    pub fn is_document(&self) -> bool {
        *self == ViewKind::Document
    }

    /// The orders that every view of this kind has, first in [`View::indexes`].
    pub fn indexes(&self) -> Vec<Index> {
        let ascending = |column: &str| Order { column: column.into(), descending: false };
        match self {
            ViewKind::Document => Vec::new(),
            ViewKind::Ranking(ranking) => vec![Index {
                by: ranking.within.clone(),
                order: vec![Order { column: Ranking::SCORE.into(), descending: true }],
            }],
            ViewKind::Series(series) => {
                vec![Index { by: series.tags.clone(), order: vec![ascending(&series.time)] }]
            }
            // As `Hop::OUT` and `Hop::IN` say.
            ViewKind::Edge(edge) => vec![
                Index { by: vec![edge.source.clone()], order: vec![ascending(&edge.target)] },
                Index { by: vec![edge.target.clone()], order: vec![ascending(&edge.source)] },
            ],
        }
    }
}

impl Index {
    /// The place of a document: the bytes of its part, and the bytes it is sorted by there, its key included. `None` if
    /// it is in no part, or lacks a field.
    ///
    /// Both are made of [`crate::sort`], so they compare as the values do and read back with [`Index::values`].
    pub fn place(&self, key: &Key, document: &Record) -> Option<IndexPlace> {
        let mut by = Vec::with_capacity(self.by.len());
        for name in &self.by {
            by.push(document.get(name)?);
        }
        let mut sort = Vec::with_capacity(24);
        for order in &self.order {
            write_sort(document.get(&order.column)?, order.descending, &mut sort);
        }
        for part in &key.0 {
            write_sort(part, false, &mut sort);
        }
        Some(IndexPlace { part: Index::part(by)?, sort })
    }

    /// The bytes of the part that holds these values of `by`; `None` if one of them is NULL.
    pub fn part<'a>(values: impl IntoIterator<Item = &'a Value>) -> Option<Vec<u8>> {
        let mut part = Vec::with_capacity(16);
        for value in values {
            if value.is_null() || value.is_unchanged() {
                return None;
            }
            write_sort(value, false, &mut part);
        }
        Some(part)
    }

    /// The values that bytes of [`IndexPlace::sort`] were made of: of `order`, then of the key's `key_len` columns.
    pub fn values(&self, mut sort: &[u8], key_len: usize) -> Result<Vec<Value>> {
        let keys = std::iter::repeat_n(false, key_len);
        let mut values = Vec::with_capacity(self.order.len() + key_len);
        for descending in self.order.iter().map(|order| order.descending).chain(keys) {
            let (value, rest) = read_sort(sort, descending)?;
            values.push(value);
            sort = rest;
        }
        Ok(values)
    }
}

/// Where a document stands in an [`Index`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexPlace {
    pub part: Vec<u8>,
    pub sort: Vec<u8>,
}
