//! What the replies of a step mean for the number of rows: one expectation per queued command, run-length coded.
//!
//! Rows are counted from replies that come anyway. A full put of a hash created its key iff HSET added all its fields
//! and HDEL of the absent ones removed none (every field name that was ever written is in one of the two). SET says
//! nothing, so runs of JSON puts stand between two DBSIZE, which nothing else can move within an EXEC.

/// What the reply of one command says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    Nothing,
    /// HSET of a full put with so many fields and no HDEL after it.
    Put {
        view: u16,
        fields: u16,
    },
    /// HSET of a full put; the HDEL that follows decides.
    PutThen {
        fields: u16,
    },
    AbsentGone {
        view: u16,
    },
    /// EXISTS of a key that will exist afterwards.
    WillExist {
        view: u16,
    },
    /// UNLINK: so many rows less.
    Gone {
        view: u16,
    },
    CountBefore,
    CountAfter {
        view: u16,
    },
}

#[derive(Debug, Default)]
pub(super) struct Tape {
    runs: Vec<(Expect, u32)>,
    length: usize,
}

impl Tape {
    pub(super) fn push(&mut self, expect: Expect) {
        self.length += 1;
        match self.runs.last_mut() {
            Some((last, count)) if *last == expect && *count < u32::MAX => *count += 1,
            _ => self.runs.push((expect, 1)),
        }
    }

    /// How many commands were queued.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn expectations(&self) -> impl Iterator<Item = Expect> {
        self.runs.iter().flat_map(|(expect, count)| std::iter::repeat_n(*expect, *count as usize))
    }
}

/// Follows the replies of an EXEC in order.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// By view number: rows more or less.
    pub(super) delta: Vec<i64>,
    all_fields_new: bool,
    before: i64,
}

impl Tally {
    pub(super) fn see(&mut self, expect: Expect, reply: i64) {
        match expect {
            Expect::Nothing => {}
            Expect::Put { view, fields } if reply == i64::from(fields) => self.add(view, 1),
            Expect::Put { .. } => {}
            Expect::PutThen { fields } => self.all_fields_new = reply == i64::from(fields),
            Expect::AbsentGone { view } if self.all_fields_new && reply == 0 => self.add(view, 1),
            Expect::AbsentGone { .. } => {}
            Expect::WillExist { view } => self.add(view, 1 - reply),
            Expect::Gone { view } => self.add(view, -reply),
            Expect::CountBefore => self.before = reply,
            Expect::CountAfter { view } => self.add(view, reply - self.before),
        }
    }

    fn add(&mut self, view: u16, delta: i64) {
        let view = usize::from(view);
        if self.delta.len() <= view {
            self.delta.resize(view + 1, 0);
        }
        self.delta[view] += delta;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_tell_created_rows_from_changed_ones() {
        let replies = [
            (Expect::Put { view: 0, fields: 3 }, 3),
            (Expect::Put { view: 0, fields: 3 }, 0),
            (Expect::PutThen { fields: 2 }, 2),
            (Expect::AbsentGone { view: 1 }, 0),
            (Expect::PutThen { fields: 2 }, 2),
            (Expect::AbsentGone { view: 1 }, 1),
            (Expect::Gone { view: 0 }, 1),
            (Expect::CountBefore, 10),
            (Expect::CountAfter { view: 2 }, 14),
            (Expect::WillExist { view: 2 }, 1),
        ];
        let (mut tape, mut tally) = (Tape::default(), Tally::default());
        replies.iter().for_each(|(expect, _)| tape.push(*expect));
        assert_eq!(tape.len(), replies.len());
        for (expect, (_, reply)) in tape.expectations().zip(replies) {
            tally.see(expect, reply);
        }
        assert_eq!(tally.delta, [0, 1, 4]);
    }
}
