//! Who wrote an item, and as of which place in the log: what makes every write conditional.
//!
//! An item carries the [`Stamp`] of its last write, and the offset that this write shows at least.
//!
//! 1. Stamps only grow: by epoch, then by session (each claim takes the next one), then by a count. So a write that comes
//!    late, be it of a former owner or a repetition of our own, finds a greater stamp and changes nothing.
//! 2. Offsets only grow: a step whose rows were written in part, and that is then replayed in smaller steps, does not
//!    bring back what it has already replaced.
//! 3. A deleted document leaves a tombstone with both for a day, in which anything late comes or never.
//!
//! A transaction that does not fit in memory is written before its offset is known: then only the first rule is asked for.
//! It is the next thing in the log behind the position, so that nothing newer can be there.
//!
//! What is not fenced: the first write of a key that has neither item nor tombstone. Such a write by a former owner is of
//! a row of the same log, which the new owner writes too.

use std::sync::atomic::{AtomicU64, Ordering};

use headwater_model::{Epoch, Offset};

/// A time at which one owner writes to the store.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) epoch: Epoch,
    pub(crate) number: u32,
    writes: AtomicU64,
}

impl Session {
    pub(crate) fn new(epoch: Epoch, number: u32) -> Session {
        Session { epoch, number, writes: AtomicU64::new(0) }
    }

    pub(crate) fn stamp(&self) -> Stamp {
        let write = self.writes.fetch_add(1, Ordering::Relaxed) + 1;
        Stamp { epoch: self.epoch.0, session: self.number, write }
    }

    pub(crate) fn is_later(&self, stamp: Stamp) -> bool {
        (stamp.epoch, stamp.session) > (self.epoch.0, self.number)
    }
}

/// Names one write. Sorts as its text does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp {
    pub(crate) epoch: u64,
    pub(crate) session: u32,
    pub(crate) write: u64,
}

impl Stamp {
    pub(crate) fn to_text(self) -> String {
        format!("{:016x}-{:08x}-{:016x}", self.epoch, self.session, self.write)
    }

    pub(crate) fn read(text: &str) -> Option<Stamp> {
        let mut parts = text.split('-');
        let stamp = Stamp {
            epoch: u64::from_str_radix(parts.next()?, 16).ok()?,
            session: u32::from_str_radix(parts.next()?, 16).ok()?,
            write: u64::from_str_radix(parts.next()?, 16).ok()?,
        };
        (stamp.to_text() == text).then_some(stamp)
    }
}

/// As of which place in the log rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum As {
    /// The step's end.
    Of(Offset),
    /// Of a transaction that is not read to its end yet, behind this place.
    Behind(Offset),
}

impl As {
    pub(crate) fn offset(self) -> Offset {
        match self {
            As::Of(offset) | As::Behind(offset) => offset,
        }
    }

    /// Whether a row as of `stored` must stay.
    pub(crate) fn yields_to(self, stored: Offset) -> bool {
        matches!(self, As::Of(offset) if stored > offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_sort_as_their_texts() {
        let stamp = |epoch, session, write| Stamp { epoch, session, write };
        let stamps = [stamp(0, 1, 0), stamp(1, 1, 9), stamp(1, 2, 0), stamp(9, 0, 0), stamp(10, 0, u64::MAX)];
        for pair in stamps.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].to_text() < pair[1].to_text());
        }
        for stamp in stamps {
            assert_eq!(Stamp::read(&stamp.to_text()), Some(stamp));
        }
        for none in ["", "1-1-1", "0000000000000001-00000001-00000000000000ZZ"] {
            assert_eq!(Stamp::read(none), None);
        }
    }
}
