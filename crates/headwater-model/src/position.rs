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

/// The course of history that a source is on, and the ones that it came from.
///
/// A database takes a new course when a standby is promoted or a backup restored: up to there it shares the older course's
/// history, and what the older course went on to commit it never had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// The course it is on, as its positions name it.
    pub system: Arc<str>,
    /// The courses before it, oldest first, each at the place where it was left.
    pub ancestors: Vec<Position>,
}

impl Lineage {
    /// A system that never took a new course, as far as is known.
    pub fn only(system: impl Into<Arc<str>>) -> Lineage {
        Lineage { system: system.into(), ancestors: Vec::new() }
    }

    /// The same place on the present course; `None` for one that is not in its history.
    pub fn place(&self, position: &Position) -> Option<Position> {
        let here = |sequence| Position::new(Arc::clone(&self.system), sequence);
        if position.system == self.system {
            return Some(here(position.sequence));
        }
        self.left(&position.system).filter(|left| position.sequence <= *left).map(|_| here(position.sequence))
    }

    /// Where an older course was left, if the present one came from it.
    pub fn left(&self, system: &str) -> Option<u64> {
        self.ancestors.iter().find(|ancestor| *ancestor.system == *system).map(|ancestor| ancestor.sequence)
    }
}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Position) -> Option<Ordering> {
        (self.system == other.system).then(|| self.sequence.cmp(&other.sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_course_had_before_it_was_left_is_in_the_history_and_nothing_else() {
        let ancestors = vec![Position::new("7/1", 100), Position::new("7/2", 200)];
        let lineage = Lineage { system: "7/3".into(), ancestors };
        let place =
            |system: &str, sequence| lineage.place(&Position::new(system, sequence)).map(|p| p.sequence);
        assert_eq!(place("7/3", 500), Some(500));
        assert_eq!((place("7/1", 100), place("7/1", 101)), (Some(100), None));
        assert_eq!((place("7/2", 150), place("7/2", 201)), (Some(150), None));
        assert_eq!((place("7/4", 1), place("8/1", 1)), (None, None));
    }
}
