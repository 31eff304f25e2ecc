//! What the applier of a store does about the parts that it holds: changes of keys that are not held are left out, documents
//! that readers loaded come in if they are still true, and what has no place or is too old leaves. All of it in the
//! applier's steps: one writer, one way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use headwater_model::{Epoch, Offset, Record, Refusal, View, ViewChange};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::directory::Entry;
use super::document;
use super::touches::Touches;
use super::{Offer, Part, PartFilter, count};

/// What is too old is not shown any more at once, and leaves the store within this: many at a time.
const LEAVE_WITHIN: Duration = Duration::from_millis(100);

/// The list of what becomes too old is gone through when so many on it may have left for another reason.
const LEFT_MAX: usize = 1_000;

/// All parts of one store.
pub(crate) struct Keepers(pub Vec<Keeper>);

impl Keepers {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn views(&self) -> impl Iterator<Item = &Arc<View>> {
        self.0.iter().map(|keeper| &keeper.part.view)
    }

    /// The parts are empty, and their store is at `held`.
    pub fn begin(&mut self, epoch: Epoch, held: Offset) {
        self.0.iter_mut().for_each(|keeper| keeper.begin(epoch, held));
    }

    /// What is left of the changes of one piece.
    pub fn keep(&mut self, changes: Vec<ViewChange>) -> Vec<ViewChange> {
        if self.0.is_empty() {
            return changes;
        }
        let mut kept = Vec::with_capacity(changes.len());
        for change in changes {
            let name = &change.view().name;
            match self.0.iter_mut().find(|keeper| keeper.part.view.name == *name) {
                Some(keeper) => keeper.keep(change, &mut kept),
                None => kept.push(change),
            }
        }
        kept
    }

    /// Forgets keys that somebody else deletes. Whether they are of a part.
    pub fn drop_keys(&mut self, deleted: &[ViewChange]) -> bool {
        let Some(name) = deleted.first().map(|change| change.view().name.clone()) else { return false };
        let Some(keeper) = self.0.iter_mut().find(|keeper| keeper.part.view.name == name) else {
            return false;
        };
        for change in deleted {
            if let ViewChange::Delete { key, .. } = change {
                keeper.part.directory.remove(&key.to_text());
            }
        }
        true
    }

    /// The step under way ends at `at`, or within the entry that does.
    pub fn close(&mut self, at: Offset) {
        self.0.iter_mut().for_each(|keeper| keeper.touches.close(at));
    }

    /// What comes in and what leaves, for a step that ends at `at` and whose changes are all known ([`Keepers::close`]).
    pub fn take(&mut self, at: Offset) -> Vec<ViewChange> {
        let mut changes = Vec::new();
        self.0.iter_mut().for_each(|keeper| keeper.take(at, &mut changes));
        changes
    }

    /// What a part would not take is no row to be looked after: the key leaves it. Other refusals are given back.
    pub fn refused(&mut self, refusals: Vec<Refusal>) -> (Vec<ViewChange>, Vec<Refusal>) {
        let (mut leave, mut others) = (Vec::new(), Vec::new());
        for refusal in refusals {
            match self.0.iter().find(|keeper| keeper.part.view.name == refusal.view) {
                Some(keeper) => {
                    count(&keeper.part.stats.dropped);
                    leave.extend(
                        keeper.part.directory.remove(&refusal.key).map(|entry| keeper.delete(&entry)),
                    );
                }
                None => others.push(refusal),
            }
        }
        (leave, others)
    }

    /// Completes when there may be something to take.
    pub async fn work(&self) {
        let Some(Keeper { part, .. }) = self.0.first() else { return std::future::pending().await };
        let wake: &Notify = &part.wake;
        let oldest = self.0.iter().filter_map(|keeper| keeper.expiries.front()).map(|(at, ..)| *at).min();
        match oldest {
            None => wake.notified().await,
            Some(at) => tokio::select! {
                biased;
                () = wake.notified() => {}
                () = sleep_until(at + LEAVE_WITHIN) => {}
            },
        }
    }
}

/// One part, as the applier keeps it.
pub(crate) struct Keeper {
    part: Arc<Part>,
    filter: Option<PartFilter>,
    epoch: Epoch,
    touches: Touches,
    /// Fills in the order in which they become too old, with the number of each.
    pub(super) expiries: VecDeque<(Instant, Box<str>, u64)>,
    fills: u64,
}

impl Keeper {
    pub fn new(part: Arc<Part>, filter: Option<PartFilter>) -> Keeper {
        let (touches, expiries) = (Touches::default(), VecDeque::new());
        Keeper { part, filter, epoch: Epoch::default(), touches, expiries, fills: 0 }
    }

    fn begin(&mut self, epoch: Epoch, held: Offset) {
        self.epoch = epoch;
        self.part.directory.clear();
        self.part.offers.clear();
        self.touches.begin(held);
        self.expiries.clear();
    }

    fn keep(&mut self, change: ViewChange, kept: &mut Vec<ViewChange>) {
        match change {
            ViewChange::Clear { .. } => {
                self.touches.touch_all();
                self.part.directory.clear();
                self.expiries.clear();
                kept.push(ViewChange::Clear { view: Arc::clone(&self.part.view) });
            }
            ViewChange::Delete { key, .. } => self.leave(&key.to_text(), kept),
            ViewChange::Put { key, moved_from, document, .. } => {
                if let Some(old) = moved_from {
                    self.leave(&old.to_text(), kept);
                }
                let text = key.to_text();
                // Only a whole document: the store may have lost the one that a partial one goes over.
                if document.is_partial() || !self.takes(&document) {
                    return self.leave(&text, kept);
                }
                self.touches.touch(&text);
                if self.part.directory.entry(&text).is_some() {
                    let view = Arc::clone(&self.part.view);
                    kept.push(ViewChange::Put { view, key, moved_from: None, document });
                }
            }
        }
    }

    fn leave(&mut self, text: &str, kept: &mut Vec<ViewChange>) {
        self.touches.touch(text);
        kept.extend(self.part.directory.remove(text).map(|entry| self.delete(&entry)));
    }

    fn take(&mut self, at: Offset, changes: &mut Vec<ViewChange>) {
        let now = Instant::now();
        self.take_expired(now, changes);
        for (text, offer) in self.part.offers.take(self.epoch, at) {
            if offer.epoch != self.epoch || !self.touches.is_untouched(&text, offer.from) {
                count(&self.part.stats.dropped);
                continue;
            }
            let record = document::record(&self.part.view, &offer.fields, &offer.body);
            match record.filter(|record| self.takes(record)) {
                Some(record) => self.fill(text, offer, record, now, changes),
                None => count(&self.part.stats.dropped),
            }
        }
        // Also what had to leave because the bound changed.
        self.take_evicted(changes);
    }

    fn fill(
        &mut self,
        text: Box<str>,
        offer: Offer,
        document: Record,
        now: Instant,
        changes: &mut Vec<ViewChange>,
    ) {
        self.fills += 1;
        let expires = self.part.ttl.map(|ttl| now + ttl);
        if let Some(at) = expires {
            self.expiries.push_back((at, text.clone(), self.fills));
            self.forget_those_that_left();
        }
        let view = Arc::clone(&self.part.view);
        changes.push(ViewChange::Put { view, key: offer.key.clone(), moved_from: None, document });
        self.part.directory.insert(Arc::new(Entry { key: offer.key, text, expires, number: self.fills }));
        count(&self.part.stats.fills);
        // At once: what leaves now may come back later in the same step.
        self.take_evicted(changes);
    }

    fn take_evicted(&self, changes: &mut Vec<ViewChange>) {
        for entry in self.part.directory.take_evicted() {
            count(&self.part.stats.evicted);
            changes.push(self.delete(&entry));
        }
    }

    fn take_expired(&mut self, now: Instant, changes: &mut Vec<ViewChange>) {
        while self.expiries.front().is_some_and(|(at, ..)| *at <= now) {
            let Some((_, text, number)) = self.expiries.pop_front() else { break };
            if self.part.directory.entry(&text).is_some_and(|entry| entry.number == number) {
                count(&self.part.stats.expired);
                changes.extend(self.part.directory.remove(&text).map(|entry| self.delete(&entry)));
            }
        }
    }

    /// Those that left for another reason need not be waited for: so the list is never much longer than what is held.
    fn forget_those_that_left(&mut self) {
        let held = usize::try_from(self.part.directory.len()).unwrap_or(usize::MAX);
        if self.expiries.len() > held.saturating_mul(2).saturating_add(LEFT_MAX) {
            let directory = &self.part.directory;
            let holds =
                |text: &str, number| directory.entry(text).is_some_and(|entry| entry.number == number);
            self.expiries.retain(|(_, text, number)| holds(text, *number));
        }
    }

    fn takes(&self, document: &Record) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.takes(document))
    }

    fn delete(&self, entry: &Entry) -> ViewChange {
        ViewChange::Delete { view: Arc::clone(&self.part.view), key: entry.key.clone() }
    }
}
