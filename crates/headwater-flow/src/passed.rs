//! The transactions that came by in the log, by number: so that of a read it can be told which of them it did not see.
//!
//! Owns: the numbers, and which of them are not known any more. Does not own: what a read does about it
//! ([`crate::landing`] for chunks, [`crate::serve`] for answers).
//!
//! Invariant: a transaction that came by, and that a read did not see, is either named or the read is told that this cannot be
//! known.

use std::collections::BTreeMap;

use headwater_model::{Moment, Offset, Position};

/// Transactions that are remembered.
const KNOWN_MAX: usize = 1_000_000;

/// Where a transaction came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub offset: Offset,
    /// [`Position::sequence`] of its commit.
    pub sequence: u64,
}

#[derive(Debug)]
pub(crate) struct Passed {
    by_number: BTreeMap<u64, Place>,
    /// Transactions with lower numbers may have come by without being known here.
    known_from: u64,
}

impl Passed {
    /// `first_look`: the moment of a read that began before this run's log is followed, when every table was published and
    /// a transaction of ours had ended. What began after it comes by in this run, all of it.
    pub fn new(first_look: &Moment) -> Passed {
        let known_from = match first_look {
            Moment::Snapshot { xmax, .. } => *xmax,
            Moment::At(_) => 0,
        };
        Passed { by_number: BTreeMap::new(), known_from }
    }

    pub fn came_by(&mut self, xid: u64, offset: Offset, position: &Position) {
        if self.by_number.len() == KNOWN_MAX
            && let Some((forgotten, _)) = self.by_number.pop_first()
        {
            self.known_from = self.known_from.max(forgotten + 1);
        }
        self.by_number.insert(xid, Place { offset, sequence: position.sequence });
    }

    /// Transactions that had come by and that `moment` does not show. `Err` with the number of one that it does not show
    /// either and of which it cannot be told whether it had come by.
    ///
    /// A snapshot's `xmax` follows the last transaction that *ended*, so one that hangs may lie beyond it. What earlier
    /// runs delivered does not, since a transaction of ours had ended before the first look.
    pub fn unseen<'a>(&'a self, moment: &'a Moment) -> Result<impl Iterator<Item = (u64, Place)> + 'a, u64> {
        let (xmax, in_progress) = match moment {
            Moment::Snapshot { xmax, in_progress, .. } => (*xmax, in_progress.as_slice()),
            Moment::At(_) => (u64::MAX, [].as_slice()),
        };
        // What began before this run may in part have come by before it, or before its table was followed.
        if let Some(xid) = in_progress.iter().find(|xid| **xid < self.known_from) {
            return Err(*xid);
        }
        let listed = in_progress.iter().filter_map(|xid| self.by_number.get_key_value(xid));
        Ok(listed.chain(self.by_number.range(xmax..)).map(|(xid, place)| (*xid, *place)))
    }

    /// Forgets transactions that every read sees that is still to be asked about.
    pub fn forget_below(&mut self, xid: u64) {
        self.by_number = self.by_number.split_off(&xid);
        self.known_from = self.known_from.max(xid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(from: u64) -> Passed {
        Passed::new(&Moment::Snapshot { xmin: from, xmax: from, in_progress: vec![] })
    }

    fn snapshot(xmin: u64, xmax: u64, in_progress: &[u64]) -> Moment {
        Moment::Snapshot { xmin, xmax, in_progress: in_progress.to_vec() }
    }

    fn came_by(passed: &mut Passed, xids: &[u64]) {
        for (xid, n) in xids.iter().zip(1..) {
            passed.came_by(*xid, Offset(n), &Position::new("s", n * 10));
        }
    }

    fn unseen(passed: &Passed, moment: &Moment) -> Result<Vec<(u64, u64)>, u64> {
        Ok(passed.unseen(moment)?.map(|(xid, place)| (xid, place.sequence)).collect())
    }

    #[test]
    fn whatever_came_by_and_is_not_shown_is_named_also_beyond_the_snapshots_end() {
        let mut passed = passed(5);
        came_by(&mut passed, &[12, 10, 21, 14]);
        assert_eq!(unseen(&passed, &snapshot(10, 20, &[10, 11, 14])), Ok(vec![(10, 20), (14, 40), (21, 30)]));
        assert_eq!(unseen(&passed, &snapshot(22, 22, &[])), Ok(vec![]));
        assert_eq!(unseen(&passed, &Moment::At(Position::new("s", 1))), Ok(vec![]));
    }

    #[test]
    fn what_began_before_this_run_or_was_forgotten_cannot_be_told() {
        let mut passed = passed(20);
        came_by(&mut passed, &[22, 23, 25]);
        assert_eq!(unseen(&passed, &snapshot(10, 30, &[10])), Err(10));
        assert_eq!(unseen(&passed, &snapshot(20, 30, &[20, 23])), Ok(vec![(23, 20)]));
        passed.forget_below(24);
        assert_eq!(unseen(&passed, &snapshot(20, 30, &[23])), Err(23));
        assert_eq!(unseen(&passed, &snapshot(24, 30, &[25])), Ok(vec![(25, 30)]));
    }
}
