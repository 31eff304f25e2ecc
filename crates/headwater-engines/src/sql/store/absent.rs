//! Keys that surely have no row, so that the server need not be asked which of them have one.
//!
//! A view is emptied before it is filled, and nobody else writes to its table: a key that was not written since has no row.
//! Keys that were written are remembered in a [`Filter`].
//!
//! Somebody may have put a row there all the same. What is to go is asked for always, so that what is extra can be removed; and
//! where a new row meets one, the step fails, the memory is gone, and the next step asks for every key.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use headwater_model::{Epoch, Error, Held, Offset, ViewId};

use super::fold::Folded;
use crate::filter::{Filter, VIEWS_MAX};

/// What is known of the keys of one table. By default, that those of an empty table have no row.
#[derive(Default)]
pub(crate) struct Absent {
    /// Since the table was emptied.
    written: Option<Filter>,
    is_wary: bool,
}

impl Absent {
    /// The table has no row any more.
    pub fn all(&mut self) {
        self.written = Some(Filter::default());
    }

    /// Whether the change is of a key that surely has no row, in a table of so many.
    pub fn has(&self, change: &Folded, rows: u64) -> bool {
        let is_unwritten = || self.written.as_ref().is_some_and(|written| !written.may_have(&*change.text));
        change.document.is_some() && !self.is_wary && (rows == 0 || is_unwritten())
    }

    /// The key may have a row from now on.
    pub fn not(&mut self, key: &str) {
        if let Some(written) = &mut self.written {
            written.add(key);
        }
    }
}

/// What a store remembers from one step that succeeds to the next.
#[derive(Default)]
pub(crate) struct Memory(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    /// Who owns the store then, and where it stands.
    at: Option<(Epoch, Offset)>,
    views: HashMap<ViewId, Filter>,
    is_wary: bool,
}

impl Memory {
    /// What is known of tables as a step begins. It is gone if the step fails.
    pub fn take(&self, epoch: Epoch, after: Offset) -> impl FnMut(&ViewId) -> Absent + use<> {
        let Remembered { at, mut views, is_wary } = std::mem::take(&mut *self.lock());
        if at != Some((epoch, after)) {
            views.clear();
        }
        // Until a step succeeds.
        self.lock().is_wary = is_wary;
        move |view| Absent { written: views.remove(view), is_wary }
    }

    /// The step has succeeded.
    pub fn keep<'t>(&self, held: &Held, tables: impl Iterator<Item = (&'t ViewId, Absent)>) {
        let written = tables.filter_map(|(view, absent)| Some((view.clone(), absent.written?)));
        let mut views: Vec<(ViewId, Filter)> = written.collect();
        views.sort_by_key(|(_, filter)| !filter.was_touched);
        views.truncate(VIEWS_MAX);
        views.iter_mut().for_each(|(_, filter)| filter.was_touched = false);
        let views = views.into_iter().collect();
        *self.lock() = Remembered { at: Some((held.epoch, held.offset)), views, is_wary: false };
    }

    /// A new row met another, of which nothing was known.
    pub fn doubt(&self, error: Error) -> Error {
        self.lock().is_wary = true;
        Error::transient("somebody else put a row under a key that is new").with_cause(error)
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use headwater_model::{Key, Record, Value};

    use super::*;

    fn held(offset: u64) -> Held {
        Held { epoch: Epoch(3), offset: Offset(offset), position: None, committed_at: 0 }
    }

    fn change(number: i64, stays: bool) -> Folded {
        let key = Key(vec![Value::Int(number)]);
        let document = stays.then(|| Record { names: Vec::new().into(), values: Vec::new() });
        Folded { text: key.to_text(), key, document }
    }

    #[test]
    fn a_key_that_was_written_is_never_taken_for_a_new_one() {
        let mut absent = Absent::default();
        absent.all();
        (0..20_000).step_by(2).for_each(|number| absent.not(&change(number, true).text));
        let new = |number: &i64| absent.has(&change(*number, true), 1);
        assert!(!(0..20_000).step_by(2).any(|number| new(&number)));
        assert!((1..20_000).step_by(2).filter(new).count() > 9_990);
        assert!(!absent.has(&change(1, false), 0), "what is to go is looked for");
    }

    #[test]
    fn what_is_known_lasts_as_long_as_steps_succeed_and_follow_each_other() {
        let (memory, view) = (Memory::default(), ViewId::from("account"));
        let knows = |epoch, after| {
            let absent = memory.take(Epoch(epoch), Offset(after))(&view);
            let knows = absent.has(&change(1, true), 1);
            memory.keep(&held(7), std::iter::once((&view, absent)));
            knows
        };
        let mut absent = Absent::default();
        absent.all();
        memory.keep(&held(7), std::iter::once((&view, absent)));
        assert!(knows(3, 7));
        assert!(!knows(4, 7), "another owner");
        assert!(!knows(3, 7), "it was forgotten");
        let mut absent = Absent::default();
        absent.all();
        memory.keep(&held(7), std::iter::once((&view, absent)));
        assert!(!knows(3, 8), "somebody wrote meanwhile");
    }

    #[test]
    fn after_a_row_that_should_not_be_there_every_key_is_asked_for_until_a_step_succeeds() {
        let (memory, view) = (Memory::default(), ViewId::from("account"));
        assert!(memory.take(Epoch(3), Offset(7))(&view).has(&change(1, true), 0));
        assert!(memory.doubt(Error::bug("duplicate key")).is_retryable());
        for _ in 0..2 {
            assert!(!memory.take(Epoch(3), Offset(7))(&view).has(&change(1, true), 0));
        }
        memory.keep(&held(8), std::iter::empty());
        assert!(memory.take(Epoch(3), Offset(8))(&view).has(&change(1, true), 0));
    }
}
