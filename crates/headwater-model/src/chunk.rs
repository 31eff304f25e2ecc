//! A chunk: a key range of a table, and the exact moment at which it was read.

use std::sync::Arc;

use crate::{Key, Position, Refused, Row, Table, TableName};

/// Names one chunk read, unique within a run (and, with the epoch mixed in, across runs).
pub type ChunkId = u64;

/// Which rows to read: at most `limit` rows in key order, after `after`; or exactly the rows of `keys`.
#[derive(Clone, Debug)]
pub struct ChunkRange {
    pub table: TableName,
    /// Exclusive lower bound, as [`Chunk::upto`] gave it; `None` starts at the first key.
    pub after: Option<Key>,
    /// Rows per chunk, at least 1.
    pub limit: usize,
    /// The engine stops after the row that passes this many bytes, so a chunk of wide rows stays small.
    pub bytes_max: usize,
    /// When not empty: only these keys are read, and `after` is ignored.
    pub keys: Vec<Key>,
}

/// The rows of a range, in key order, as one moment shows them.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub table: Arc<Table>,
    pub rows: Vec<Row>,
    /// What was left out of the range: rows that cannot be handed on. A bounded number of them.
    pub refused: Vec<Refused>,
    /// The last key that was read, be it of a row or left out, or whatever the source knows the place by: the next chunk begins
    /// behind it.
    pub upto: Option<Key>,
    pub moment: Moment,
    /// Whether the range ended: no row of the table lies beyond the last key read.
    pub last: bool,
}

/// What a read could see.
#[derive(Clone, Debug, PartialEq)]
pub enum Moment {
    /// A snapshot over transaction numbers (PostgreSQL's `pg_current_snapshot()`): everything below `xmin` has
    /// ended, nothing from `xmax` on had begun, and in between `in_progress` had not ended. Log order does not decide.
    Snapshot { xmin: u64, xmax: u64, in_progress: Vec<u64> },
    /// Everything committed up to and including this position, and nothing else.
    At(Position),
}

impl Moment {
    /// Whether the read saw the transaction that ended at `position` with number `xid`.
    pub fn sees(&self, xid: Option<u64>, position: &Position) -> bool {
        match (self, xid) {
            (Moment::Snapshot { xmin, xmax, in_progress }, Some(xid)) => {
                xid < *xmin || (xid < *xmax && !in_progress.contains(&xid))
            }
            // A transaction without a number is not seen by a snapshot over numbers: its keys are read again.
            (Moment::Snapshot { .. }, None) => false,
            (Moment::At(at), _) => position <= at,
        }
    }
}
