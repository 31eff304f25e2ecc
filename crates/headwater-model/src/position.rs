//! Places: in the source's commit order, in the journal, and in the line of owners.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A transaction's place in the journal. The first is 1; 0 is "before everything".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Offset(pub u64);

impl Offset {
    pub const ZERO: Offset = Offset(0);

    pub fn next(self) -> Offset {
        Offset(self.0 + 1)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Grows with each takeover; a store refuses writes of a lower one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A point in a source's commit order. Positions of different systems (another cluster, another timeline, another
/// file) do not compare: `partial_cmp` gives `None`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The system the sequence belongs to, as the source names it: the database, and after the last `/`, where a
    /// database can take a new course of history, which one (PostgreSQL: `system id/timeline`).
    pub system: Arc<str>,
    /// Grows with every commit (PostgreSQL: end LSN of the commit record; SQLite: change id, and a place behind it).
    pub sequence: u64,
}

impl Position {
    pub fn new(system: impl Into<Arc<str>>, sequence: u64) -> Position {
        Position { system: system.into(), sequence }
    }

    /// Whether both are of one database, though perhaps of different courses of its history: before and after a
    /// failover, say.
    pub fn is_same_database(&self, other: &Position) -> bool {
        fn database(system: &str) -> &str {
            system.rsplit_once('/').map_or(system, |(database, _)| database)
        }
        database(&self.system) == database(&other.system)
    }
}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Position) -> Option<Ordering> {
        (self.system == other.system).then(|| self.sequence.cmp(&other.sequence))
    }
}
