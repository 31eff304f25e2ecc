//! What a source says about itself when it is looked at. Plain facts: `control` draws the conclusions.

use std::collections::BTreeSet;

use crate::{ColumnType, TableName};

/// One look at a source.
#[derive(Clone, Debug, Default)]
pub struct SourceFacts {
    /// Product and version, for people: `PostgreSQL 15.18`.
    pub server: String,
    pub tables: Vec<TableFacts>,
    /// Those whose columns the file has to declare and does not: what stands here of them is what some rows have.
    pub undeclared: BTreeSet<TableName>,
    pub retained: Option<RetainedLog>,
    /// What stands in the way of following this source, or may hurt it, with the exact remedy.
    pub risks: Vec<Risk>,
}

#[derive(Clone, Debug)]
pub struct TableFacts {
    pub name: TableName,
    pub columns: Vec<ColumnFacts>,
    /// The columns that identify a row in the log, in key order; empty if nothing does.
    pub key: Vec<Box<str>>,
    /// Column sets that are unique and never null, the primary key included.
    pub unique: Vec<Vec<Box<str>>>,
    pub foreign_keys: Vec<ForeignKey>,
    /// Indexes over whole columns of all rows, the key's included.
    pub indexes: Vec<IndexFacts>,
    /// How the statement for one more begins, so that writers go on meanwhile if the source can do that. Empty if the source
    /// answers no reads of the table.
    pub create_index: &'static str,
    /// The source's own estimate.
    pub rows_estimate: u64,
    pub bytes_estimate: u64,
    /// Why the table cannot be followed, and the remedy, if so.
    pub obstacle: Option<Risk>,
}

#[derive(Clone, Debug)]
pub struct ColumnFacts {
    pub name: Box<str>,
    pub kind: ColumnType,
    /// The source's own name of the type, for people, and for what [`ColumnType`] leaves open: the width of integers,
    /// the scale of decimals, the affinity of what has no kind.
    pub type_name: Box<str>,
    pub nullable: bool,
    /// Whether an update may leave this column out of the log ([`crate::Value::Unchanged`]).
    pub may_be_unchanged: bool,
    /// Not in the log at all (PostgreSQL: generated columns before version 18).
    pub absent_from_log: bool,
    pub indexable: Indexable,
}

/// What an index of the source can do for reads by a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indexable {
    /// Nothing: the column is compared as something that no index has.
    Never,
    /// Find a value, but not sort as stores do.
    ByValue,
    /// Both, if the column is followed by this in the index (a collation).
    InOrder(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexFacts {
    pub columns: Vec<IndexedColumn>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedColumn {
    pub name: Box<str>,
    pub descending: bool,
    /// Whether the index has the order of stores: texts by bytes, NULL where stores have it.
    pub as_stores: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKey {
    pub columns: Vec<Box<str>>,
    pub to: TableName,
    pub to_columns: Vec<Box<str>>,
}

/// Log that the source keeps for us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetainedLog {
    pub bytes: u64,
    /// What the source itself would retain at most before it gives up on us, if bounded.
    pub bound_bytes: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Note,
    Warning,
    Error,
}

/// Something an operator should know, and the exact remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Risk {
    pub severity: Severity,
    pub what: String,
    pub remedy: String,
}
