//! What a source's log says, event by event.

use std::sync::Arc;

use crate::{ChunkId, Key, Position, Table, Value};

/// One row: a value per column of its [`Table`], in column order.
#[derive(Clone, Debug, PartialEq)]
pub struct Row(pub Vec<Value>);

impl Row {
    pub fn key(&self, table: &Table) -> Key {
        Key(table.key.iter().map(|i| self.0[*i].clone()).collect())
    }
}

/// One change of one row, or of whole tables.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Insert {
        table: Arc<Table>,
        row: Row,
    },
    /// `old_key` is there iff the key changed. Cells of `row` may be [`Value::Unchanged`].
    Update {
        table: Arc<Table>,
        old_key: Option<Key>,
        row: Row,
    },
    Delete {
        table: Arc<Table>,
        key: Key,
    },
    Truncate {
        tables: Vec<Arc<Table>>,
    },
    /// A row of a chunk, whole, as it is at this place in the stream.
    Snapshot {
        table: Arc<Table>,
        row: Row,
    },
}

/// The rows of one key that a source cannot hand on, all of them: they have no name that a store could keep them under.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    pub table: Arc<Table>,
    /// As the rows have it: with parts that are NULL, or that look like other keys.
    pub key: Key,
    /// 0: there are none any more.
    pub rows: u64,
    /// Where to find them, beside the key; empty if the key says it all.
    pub place: Box<str>,
    pub reason: Box<str>,
}

/// One step of a source's log. Transactions never interleave: `Begin`, changes, `Commit`.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Begin {
        /// The source's own number of the transaction, where visibility is decided by it ([`crate::Moment`]).
        xid: Option<u64>,
    },
    Change(Change),
    /// What is not handed on of a key, in place of a change: said again whenever it may be otherwise.
    Refused(Refused),
    Commit {
        position: Position,
        /// Microseconds since 1970-01-01T00:00:00Z, by the source's clock.
        committed_at: i64,
    },
    /// A mark that [`crate::Source::mark`] asked for, at its place in the stream. Never inside a transaction.
    Mark {
        chunk: ChunkId,
        position: Position,
    },
    /// Nothing is pending up to here: an idle source's log may be released to this position. Said again about twice a second
    /// while there is nothing else to say: silence means that it is not known.
    Idle {
        position: Position,
    },
}
