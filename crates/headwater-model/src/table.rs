//! A table as the source's log describes it at one moment.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The source's own number for a table (PostgreSQL: the oid), stable across renames.
pub type TableId = u32;

/// A table's name, with its schema where the source has schemas.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableName {
    pub schema: Option<Box<str>>,
    pub name: Box<str>,
}

impl TableName {
    pub fn new(schema: Option<&str>, name: &str) -> TableName {
        TableName { schema: schema.map(Into::into), name: name.into() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// How a column's values are read. Kinds with no member of their own (ranges, enums, geometry …) are `Text`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ColumnType {
    Bool,
    Int,
    Float,
    Decimal,
    Text,
    Bytes,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Json,
    List(Box<ColumnType>),
    /// Each value has a kind of its own (SQLite).
    Dynamic,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: Box<str>,
    pub kind: ColumnType,
}

/// A table's shape at a point in the log. Rows have one value per column, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    pub id: TableId,
    /// Grows when the shape changes; `(id, version)` names one shape.
    pub version: u32,
    pub name: TableName,
    pub columns: Vec<Column>,
    /// Columns of the key that the log identifies rows by, in key order. Never empty.
    pub key: Vec<usize>,
}

impl Table {
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| &*c.name == name)
    }

    /// Whether rows of both read the same: the same columns in the same order, and the same key.
    pub fn is_shaped_like(&self, other: &Table) -> bool {
        self.columns == other.columns && self.key == other.key
    }
}
