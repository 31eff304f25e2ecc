//! Sampled transactions on their way. The tasks tell of what they do anyway; what belongs together is put together here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headwater_model::{Offset, Result};
use tokio_util::sync::CancellationToken;

use super::{StoreTrace, Tracer, TransactionTrace};
use crate::machine::Clock;
use crate::watch;

/// Transactions on their way at once; beyond them the oldest is given up.
const OPEN_MAX: usize = 1_024;

/// How long stores are waited for.
const OPEN_FOR: Duration = Duration::from_secs(60);

/// How often is looked for those that took longer.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(crate) struct Transactions {
    clock: Clock,
    pub tracer: Arc<dyn Tracer>,
    stores: Vec<Box<str>>,
    /// By offset: steps are done in this order, so each is told of as "everything up to here".
    open: Mutex<BTreeMap<Offset, TransactionTrace>>,
}

/// A step that a store has committed.
pub(crate) struct Step<'a> {
    pub store: &'a str,
    pub upto: Offset,
    pub begun_at: i64,
    /// When the last of it came from the journal: by then it was safe, and derived if it had to be.
    pub come_at: i64,
    pub derived: bool,
    pub transactions: u64,
    pub changes: u64,
}

impl Transactions {
    /// `stores` are all that have something to show.
    pub fn new(clock: Clock, tracer: Arc<dyn Tracer>, stores: Vec<Box<str>>) -> Transactions {
        Transactions { clock, tracer, stores, open: Mutex::default() }
    }

    pub fn now_micros(&self) -> i64 {
        self.clock.now_micros()
    }

    /// Whether the transaction at `offset` is to be told of, with [`Transactions::captured`].
    pub fn samples(&self, offset: Offset) -> bool {
        self.tracer.samples(offset)
    }

    pub fn captured(&self, offset: Offset, position: String, committed_at: i64, changes: u64) {
        let trace = TransactionTrace {
            offset,
            position,
            changes,
            committed_at,
            captured_at: self.now_micros(),
            journaled_at: None,
            derived_at: None,
            shown: Vec::new(),
            lacking: self.stores.clone(),
        };
        let mut open = self.open();
        open.insert(offset, trace);
        let given_up = if open.len() > OPEN_MAX { open.pop_first() } else { None };
        drop(open);
        given_up.into_iter().for_each(|(_, trace)| self.tracer.transaction(trace));
    }

    fn journaled(&self, upto: Offset, now: i64) {
        for (_, trace) in self.open().range_mut(..=upto) {
            trace.journaled_at.get_or_insert(now);
        }
    }

    fn derived(&self, upto: Offset, now: i64) {
        for (_, trace) in self.open().range_mut(..=upto) {
            trace.derived_at.get_or_insert(now);
        }
    }

    /// Readers of a store see everything up to a place from now on.
    pub fn shown(&self, step: &Step<'_>) {
        let now = self.now_micros();
        let mut done = Vec::new();
        let mut open = self.open();
        for (_, trace) in open.range_mut(..=step.upto) {
            let Some(place) = trace.lacking.iter().position(|store| **store == *step.store) else { continue };
            trace.lacking.swap_remove(place);
            // Whoever stamps may look later than a store applies.
            let sooner =
                |at: Option<i64>, least| Some(at.map_or(step.come_at, |at| at.min(step.come_at)).max(least));
            trace.journaled_at = sooner(trace.journaled_at, trace.captured_at);
            if step.derived {
                trace.derived_at = sooner(trace.derived_at, trace.journaled_at.unwrap_or(trace.captured_at));
            }
            if step.changes > 0 {
                trace.shown.push(StoreTrace {
                    store: step.store.into(),
                    begun_at: step.begun_at,
                    shown_at: now,
                    transactions: step.transactions,
                    changes: step.changes,
                });
            }
            if trace.lacking.is_empty() {
                done.push(trace.offset);
            }
        }
        let done: Vec<_> = done.iter().filter_map(|offset| open.remove(offset)).collect();
        drop(open);
        done.into_iter().for_each(|trace| self.tracer.transaction(trace));
    }

    /// Stamps what becomes safe and what is derived, and gives up what takes too long, until cancelled.
    pub async fn run(
        self: Arc<Self>,
        mut durable: watch::Receiver<Offset>,
        mut derived: Option<watch::Receiver<Offset>>,
        cancel: CancellationToken,
    ) -> Result<()> {
        let mut look = tokio::time::interval(LOOK_EVERY);
        let deriving = async |derived: &mut Option<watch::Receiver<Offset>>| match derived {
            Some(upto) => upto.changed().await.is_ok().then(|| *upto.borrow_and_update()),
            None => std::future::pending().await,
        };
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                Ok(()) = durable.changed() => {
                    let upto = *durable.borrow_and_update();
                    self.journaled(upto, self.now_micros());
                }
                Some(upto) = deriving(&mut derived) => self.derived(upto, self.now_micros()),
                _ = look.tick() => self.give_up_before(self.now_micros() - OPEN_FOR.as_micros() as i64),
            }
        }
        self.give_up_before(i64::MAX);
        Ok(())
    }

    fn give_up_before(&self, captured: i64) {
        let mut given_up = Vec::new();
        self.open().retain(|_, trace| {
            let stays = trace.captured_at >= captured;
            if !stays {
                given_up.push(trace.clone());
            }
            stays
        });
        given_up.into_iter().for_each(|trace| self.tracer.transaction(trace));
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<Offset, TransactionTrace>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::serve::{Refused, Shown};
    use crate::trace::{BackfillTrace, ReadTrace};

    #[derive(Debug, Default)]
    struct Kept(Mutex<Vec<TransactionTrace>>);

    impl Tracer for Kept {
        fn samples(&self, offset: Offset) -> bool {
            offset.0.is_multiple_of(2)
        }

        fn samples_read(&self) -> Option<Arc<ReadTrace>> {
            None
        }

        fn read(&self, _: &str, _: u64, _: &ReadTrace, _: std::result::Result<&Shown, &Refused>) {}

        fn transaction(&self, trace: TransactionTrace) {
            self.0.lock().unwrap().push(trace);
        }

        fn backfill(&self, _: BackfillTrace) {}
    }

    fn transactions() -> (Arc<Kept>, Transactions) {
        let kept = Arc::new(Kept::default());
        let stores = vec!["near".into(), "far".into()];
        (Arc::clone(&kept), Transactions::new(Clock::default(), kept, stores))
    }

    fn step(store: &str, upto: u64, changes: u64) -> Step<'_> {
        let now = Clock::default().now_micros();
        Step {
            store,
            upto: Offset(upto),
            begun_at: now,
            come_at: now,
            derived: true,
            transactions: 2,
            changes,
        }
    }

    #[test]
    fn a_transaction_is_told_of_once_and_when_every_store_shows_it() {
        let (kept, open) = transactions();
        for offset in [2, 4] {
            open.captured(Offset(offset), format!("0/{offset}"), 1, 3);
        }
        // Looked at later than a store applies.
        open.journaled(Offset(2), i64::MAX - 1);
        open.derived(Offset(4), i64::MAX);
        open.shown(&step("near", 3, 5));
        open.shown(&step("near", 4, 1));
        open.shown(&step("near", 9, 1));
        assert!(kept.0.lock().unwrap().is_empty(), "far lacks both");
        open.shown(&step("far", 4, 0));
        let told = kept.0.lock().unwrap().clone();
        assert_eq!(told.iter().map(|trace| trace.offset.0).collect::<Vec<_>>(), [2, 4]);
        for trace in &told {
            let (journaled, derived) = (trace.journaled_at.unwrap(), trace.derived_at.unwrap());
            assert!(trace.captured_at <= journaled && journaled <= derived, "{trace:?}");
            assert!(derived <= trace.shown[0].shown_at, "{trace:?}");
        }
        assert!(told.iter().all(|trace| trace.lacking.is_empty()));
        let shown: Vec<_> =
            told.iter().flat_map(|trace| &trace.shown).map(|s| (&*s.store, s.changes)).collect();
        assert_eq!(shown, [("near", 5), ("near", 1)], "a step without changes shows nothing of it");
        assert!(open.open().is_empty());
    }

    #[test]
    fn what_takes_too_long_or_is_too_much_is_given_up_and_says_what_lacks_it() {
        let (kept, open) = transactions();
        for offset in 0..OPEN_MAX as u64 + 5 {
            open.captured(Offset(offset), String::new(), 1, 1);
        }
        assert_eq!(kept.0.lock().unwrap().len(), 5);
        assert_eq!(open.open().len(), OPEN_MAX);
        open.shown(&step("near", u64::MAX, 1));
        open.give_up_before(i64::MAX);
        let told = kept.0.lock().unwrap();
        assert_eq!(told.len(), OPEN_MAX + 5);
        assert!(told[5..].iter().all(|trace| trace.lacking == [Box::<str>::from("far")]));
        assert!(told[..5].iter().all(|trace| trace.lacking.len() == 2 && trace.journaled_at.is_none()));
    }
}
