//! A table as the source's log describes it at one moment.

use std::fmt;
use std::sync::Arc;

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

/// A table as its source's catalogue has it at one moment: its shape, and what tells two such moments apart where the
/// shapes are equal.
#[derive(Clone, Debug, PartialEq)]
pub struct Catalogued {
    pub table: Arc<Table>,
    /// `None` if it is not known: then equal shapes pass for the same.
    pub revision: Option<Revision>,
}

/// What a catalogue says of a table's stored rows beyond names and kinds of columns. The numbers mean nothing but that
/// they are equal or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Where the rows are stored: moves whenever all of them are written anew, for whatever reason.
    pub storage: u64,
    /// One for each of the table's columns.
    pub columns: Vec<ColumnRevision>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnRevision {
    /// Which column it is: one that was dropped and added again is another one.
    pub id: u64,
    /// Moves whenever the values may have been converted, and now and then for another reason. Values were converted only
    /// if the rows were written anew as well.
    pub definition: u64,
}

/// What has become of a table's rows between two moments without a change in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reshaped {
    /// They read as they did.
    No,
    /// They may read otherwise, under the same keys.
    Rows,
    /// They may have other keys, or it is another table: what was there before need not be there any more.
    Keys,
}

impl Catalogued {
    /// The one judgement of what a change of a table's definition means for what was made of its rows.
    pub fn since(&self, then: &Catalogued) -> Reshaped {
        let (now, was) = (&*self.table, &*then.table);
        let columns = |table: &Table| -> Vec<Column> {
            table.key.iter().map(|place| table.columns[*place].clone()).collect()
        };
        let kinds = |table: &Table| -> Vec<ColumnType> {
            columns(table).into_iter().map(|column| column.kind).collect()
        };
        let (Some(revision), Some(before)) = (&self.revision, &then.revision) else {
            return match (columns(now) == columns(was), now.is_shaped_like(was)) {
                (_, true) => Reshaped::No,
                (true, false) => Reshaped::Rows,
                (false, false) => Reshaped::Keys,
            };
        };
        let of = |revision: &Revision, place: usize| revision.columns.get(place).copied();
        let key = |table: &Table, revision: &Revision| -> Vec<Option<ColumnRevision>> {
            table.key.iter().map(|place| of(revision, *place)).collect()
        };
        let rewritten = revision.storage != before.storage;
        let same = |now: &[Option<ColumnRevision>], was: &[Option<ColumnRevision>]| {
            now.len() == was.len()
                && now.iter().zip(was).all(|(now, was)| match (now, was) {
                    (Some(now), Some(was)) => {
                        now.id == was.id && (now.definition == was.definition || !rewritten)
                    }
                    (now, was) => now == was,
                })
        };
        let all = |revision: &Revision| revision.columns.iter().copied().map(Some).collect::<Vec<_>>();
        let same_keys =
            now.id == was.id && kinds(now) == kinds(was) && same(&key(now, revision), &key(was, before));
        match (same_keys, now.is_shaped_like(was) && same(&all(revision), &all(before))) {
            (false, _) => Reshaped::Keys,
            (true, false) => Reshaped::Rows,
            (true, true) => Reshaped::No,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name id definition` of each column, the first one being the key.
    fn catalogued(storage: u64, columns: &[(&str, u64, u64)]) -> Catalogued {
        let column = |(name, ..): &(&str, u64, u64)| Column { name: (*name).into(), kind: ColumnType::Text };
        let table = Table {
            id: 7,
            version: 1,
            name: TableName::new(None, "t"),
            columns: columns.iter().map(column).collect(),
            key: vec![0],
        };
        let columns =
            columns.iter().map(|(_, id, definition)| ColumnRevision { id: *id, definition: *definition });
        let revision = Revision { storage, columns: columns.collect() };
        Catalogued { table: Arc::new(table), revision: Some(revision) }
    }

    #[test]
    fn rows_are_read_again_when_values_may_differ_and_not_otherwise() {
        let then = catalogued(1, &[("id", 1, 10), ("a", 2, 20)]);
        let since = |storage, columns: &[(&str, u64, u64)]| catalogued(storage, columns).since(&then);
        assert_eq!(since(1, &[("id", 1, 10), ("a", 2, 20)]), Reshaped::No);
        assert_eq!(since(2, &[("id", 1, 10), ("a", 2, 20)]), Reshaped::No, "rows that moved read as before");
        assert_eq!(since(1, &[("id", 1, 11), ("a", 2, 21)]), Reshaped::No, "rows that stayed read as before");
        assert_eq!(since(2, &[("id", 1, 10), ("a", 2, 21)]), Reshaped::Rows, "converted");
        assert_eq!(since(1, &[("id", 1, 10), ("a", 3, 20)]), Reshaped::Rows, "dropped and added again");
        assert_eq!(since(1, &[("id", 1, 10)]), Reshaped::Rows);
        assert_eq!(since(1, &[("id", 1, 10), ("b", 2, 20)]), Reshaped::Rows);
        assert_eq!(
            since(1, &[("key", 1, 10), ("a", 2, 20)]),
            Reshaped::Rows,
            "the key's values are the same"
        );
    }

    #[test]
    fn nothing_of_before_counts_when_keys_may_differ() {
        let then = catalogued(1, &[("id", 1, 10), ("a", 2, 20)]);
        let since = |storage, columns: &[(&str, u64, u64)]| catalogued(storage, columns).since(&then);
        assert_eq!(since(2, &[("id", 1, 11), ("a", 2, 20)]), Reshaped::Keys, "converted");
        assert_eq!(since(1, &[("id", 3, 10), ("a", 2, 20)]), Reshaped::Keys);
        let mut other = catalogued(1, &[("id", 1, 10), ("a", 2, 20)]);
        other.table = Arc::new(Table { id: 8, ..(*other.table).clone() });
        assert_eq!(other.since(&then), Reshaped::Keys, "another table of the same name");
        let mut other = catalogued(1, &[("id", 1, 10), ("a", 2, 20)]);
        other.table = Arc::new(Table { key: vec![0, 1], ..(*other.table).clone() });
        assert_eq!(other.since(&then), Reshaped::Keys);
    }

    #[test]
    fn where_only_shapes_are_known_they_decide() {
        let unknown = |columns: &[(&str, u64, u64)]| Catalogued { revision: None, ..catalogued(0, columns) };
        let then = unknown(&[("id", 1, 10), ("a", 2, 20)]);
        assert_eq!(catalogued(2, &[("id", 3, 0), ("a", 4, 0)]).since(&then), Reshaped::No);
        assert_eq!(unknown(&[("id", 1, 10), ("b", 2, 20)]).since(&then), Reshaped::Rows);
        assert_eq!(unknown(&[("key", 1, 10), ("a", 2, 20)]).since(&then), Reshaped::Keys);
    }
}
