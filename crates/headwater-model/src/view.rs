//! Views: the shapes that applications read, as the file declares them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sort::{cut_sort, read_sort, write_sort};
use crate::{IndexEntry, Key, Record, Result, TableName, Value};

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
    /// Names of the stores that hold the view, all of it.
    pub stores: Vec<Box<str>>,
    /// The stores that hold part of it. No part of what the view is: a store that holds all of it is not filled again because a
    /// cache got another size.
    #[serde(skip)]
    pub parts: Vec<Part>,
    /// `None`: hash for a flat document, JSON for every other.
    pub layout: Option<Layout>,
    /// The orders that stores keep beside the documents: what the kind implies, then what access patterns ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<Index>,
}

/// A store that holds part of a view: a cache, filled by what is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub store: Box<str>,
    pub hold: Hold,
    /// How long a document stays after it was put there; `None`: until another needs its place.
    pub ttl: Option<Duration>,
    /// Only documents that this takes are held: [`crate::filter`], over the fields of the document that are of the view's own
    /// row.
    pub filter: Option<Box<str>>,
}

/// How much a [`Part`] holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Of the view's documents, in millionths.
    Share(u32),
    Documents(u64),
}

impl Hold {
    /// In documents, of a view that has `rows`; at least one.
    pub fn documents(self, rows: u64) -> u64 {
        let documents = match self {
            Hold::Share(millionths) => (u128::from(rows) * u128::from(millionths)).div_ceil(1_000_000),
            Hold::Documents(documents) => u128::from(documents),
        };
        u64::try_from(documents).unwrap_or(u64::MAX).max(1)
    }
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

impl Aggregate {
    /// The word of the file.
    pub fn name(self) -> &'static str {
        match self {
            Aggregate::Count => "count",
            Aggregate::Sum => "sum",
            Aggregate::Min => "min",
            Aggregate::Max => "max",
        }
    }
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

    /// Where a document stands in the view's indexes.
    pub fn entries(&self, key: &Key, document: &Record) -> Vec<IndexEntry> {
        let text: Box<str> = key.to_text().into();
        let placed = self.indexes.iter().zip(0..).filter_map(|(index, number)| {
            let place = index.place(key, document)?;
            Some(IndexEntry { index: number, place, key: text.clone() })
        });
        placed.collect()
    }

    /// How the store holds part of the view, if it does.
    pub fn part(&self, store: &str) -> Option<&Part> {
        self.parts.iter().find(|part| *part.store == *store)
    }

    /// The view's table, then those of embedded rows, each once.
    pub fn tables(&self) -> Vec<TableName> {
        fn add(embeds: &[Embed], tables: &mut Vec<TableName>) {
            for embed in embeds {
                if !tables.contains(&embed.from) {
                    tables.push(embed.from.clone());
                }
                add(&embed.embeds, tables);
            }
        }
        let mut tables = vec![self.from.clone()];
        add(&self.embeds, &mut tables);
        tables
    }

    /// Whether the store holds the view, or part of it.
    pub fn is_in(&self, store: &str) -> bool {
        self.stores.iter().any(|name| **name == *store) || self.part(store).is_some()
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
            let value = document.get(&order.column)?;
            if value.is_unchanged() {
                return None;
            }
            write_sort(value, order.descending, &mut sort);
        }
        write_key(key, &mut sort);
        Some(IndexPlace { part: Index::part(by)?, sort })
    }

    /// Like [`Index::place`], for a document that may be partial: fields that are [`Value::Unchanged`] are taken from the
    /// part and the sort bytes of the stored document's place. Without one, such a document has no place. `Corrupt` if
    /// the stored bytes cannot be read.
    pub fn place_over(
        &self,
        key: &Key,
        document: &Record,
        stored: Option<(&[u8], &[u8])>,
    ) -> Result<Option<IndexPlace>> {
        let names = || self.by.iter().chain(self.order.iter().map(|order| &order.column));
        if !names().any(|name| document.get(name).is_some_and(Value::is_unchanged)) {
            return Ok(self.place(key, document));
        }
        let Some((mut stored_part, mut stored_sort)) = stored else { return Ok(None) };
        let (mut part, mut sort) = (Vec::new(), Vec::new());
        for name in &self.by {
            let (kept, rest) = cut_sort(stored_part, false)?;
            stored_part = rest;
            match document.get(name) {
                None | Some(Value::Null) => return Ok(None),
                Some(Value::Unchanged) => part.extend_from_slice(kept),
                Some(value) => write_sort(value, false, &mut part),
            }
        }
        for order in &self.order {
            let (kept, rest) = cut_sort(stored_sort, order.descending)?;
            stored_sort = rest;
            match document.get(&order.column) {
                None => return Ok(None),
                Some(Value::Unchanged) => sort.extend_from_slice(kept),
                Some(value) => write_sort(value, order.descending, &mut sort),
            }
        }
        write_key(key, &mut sort);
        Ok(Some(IndexPlace { part, sort }))
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

    /// A place whose two parts were written one behind the other. What cannot be read is all in [`IndexPlace::sort`].
    pub fn cut(&self, bytes: &[u8]) -> IndexPlace {
        let mut rest = bytes;
        for _ in &self.by {
            let Ok((_, behind)) = cut_sort(rest, false) else {
                rest = bytes;
                break;
            };
            rest = behind;
        }
        let (part, sort) = bytes.split_at(bytes.len() - rest.len());
        IndexPlace { part: part.to_vec(), sort: sort.to_vec() }
    }

    /// The index as people call it: `by customer_id in the order total desc`.
    pub fn describe(&self) -> String {
        let order = self.order.iter().map(|order| match order.descending {
            true => format!("{} desc", order.column),
            false => order.column.to_string(),
        });
        let (by, order) = (self.by.join(", "), order.collect::<Vec<_>>().join(", "));
        match (by.is_empty(), order.is_empty()) {
            (true, true) => "by key".to_owned(),
            (false, true) => format!("by {by}"),
            (true, false) => format!("in the order {order}"),
            (false, false) => format!("by {by} in the order {order}"),
        }
    }

    /// The values that a place is made of, without the key, for people: `customer_id 7, total 12.5`.
    pub fn tell(&self, place: &IndexPlace) -> String {
        let mut told = Vec::with_capacity(self.by.len() + self.order.len());
        let mut read = || -> Result<()> {
            let mut rest = &place.part[..];
            for name in &self.by {
                let (value, behind) = read_sort(rest, false)?;
                told.push(format!("{name} {}", value.to_text()));
                rest = behind;
            }
            rest = &place.sort[..];
            for Order { column, descending } in &self.order {
                let (value, behind) = read_sort(rest, *descending)?;
                let value = if value.is_null() { "NULL".to_owned() } else { value.to_text() };
                told.push(format!("{column} {value}"));
                rest = behind;
            }
            Ok(())
        };
        match read() {
            Ok(()) if told.is_empty() => "its key".to_owned(),
            Ok(()) => told.join(", "),
            Err(_) => "bytes that no values are written as".to_owned(),
        }
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

fn write_key(key: &Key, sort: &mut Vec<u8>) {
    for part in &key.0 {
        write_sort(part, false, sort);
    }
}

/// Where a document stands in an [`Index`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexPlace {
    pub part: Vec<u8>,
    pub sort: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(fields: &[(&str, Value)]) -> Record {
        Record {
            names: fields.iter().map(|(name, _)| Box::from(*name)).collect(),
            values: fields.iter().map(|(_, value)| value.clone()).collect(),
        }
    }

    fn index() -> Index {
        let order = |column: &str, descending| Order { column: column.into(), descending };
        Index { by: vec!["a".into(), "b".into()], order: vec![order("c", true), order("d", false)] }
    }

    #[test]
    fn unchanged_fields_keep_their_place_in_an_index() {
        let whole = |a: i64, b: &str, c: Value, d: i64| {
            record(&[("a", Value::Int(a)), ("b", Value::text(b)), ("c", c), ("d", Value::Int(d))])
        };
        let (old, new) = (Key(vec![Value::Int(1)]), Key(vec![Value::Int(2)]));
        let stored =
            index().place(&old, &whole(1, "x\0", Value::Decimal("-1.50".into()), 7)).expect("a place");
        let over = |document: &Record| {
            index().place_over(&new, document, Some((&stored.part, &stored.sort))).expect("readable")
        };
        let partial = record(&[
            ("a", Value::Int(3)),
            ("b", Value::Unchanged),
            ("c", Value::Unchanged),
            ("d", Value::Int(8)),
        ]);
        assert_eq!(over(&partial), index().place(&new, &whole(3, "x\0", Value::Decimal("-1.5".into()), 8)));
        assert_eq!(index().place_over(&new, &partial, None).expect("readable"), None);
        assert_eq!(index().place(&new, &partial), None);
        let null =
            record(&[("a", Value::Null), ("b", Value::Unchanged), ("c", Value::Null), ("d", Value::Null)]);
        assert_eq!(over(&null), None);
        assert!(index().place_over(&new, &partial, Some((&[6], &stored.sort))).is_err());
    }
}
