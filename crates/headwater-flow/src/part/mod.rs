//! Stores that hold part of a view: caches, filled by what is read.
//!
//! Owns: which keys a part holds ([`directory`]), what readers offer to it ([`offers`]), and what its store's applier makes of
//! both and of the log ([`keeper`]). Does not own: the writing ([`crate::apply`], as everything that is written to a store),
//! nor which store a reader asks ([`crate::serve`]).
//!
//! Invariant: **what a part holds of a key is exactly what a store that holds all of the view holds of it at the same offset.** So
//! a part is never ahead of its position, and a value that a reader loaded comes in only where the log shows that it is
//! still the one: at an offset at or behind the one it was read at, with no change of the key in between.

mod directory;
mod document;
mod filter;
mod keeper;
mod offers;
pub(crate) mod sizing;
#[cfg(test)]
mod tests;
mod touches;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headwater_model::{Hold, Key, View};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::status::PartStatus;
use directory::Directory;
pub(crate) use filter::PartFilter;
pub(crate) use keeper::{Keeper, Keepers};
pub(crate) use offers::Offer;
use offers::Offers;

/// Part of a view in a store, as readers and the store's applier share it. Lives as long as the service.
pub(crate) struct Part {
    pub store: Box<str>,
    /// Without indexes: only documents of keys are read from a part.
    pub view: Arc<View>,
    hold: Hold,
    ttl: Option<Duration>,
    directory: Directory,
    offers: Offers,
    /// Something waits for the applier. One for all parts of a store.
    wake: Arc<Notify>,
    stats: Stats,
}

/// Counters that only grow.
#[derive(Debug, Default)]
struct Stats {
    hits: AtomicU64,
    misses: AtomicU64,
    joined: AtomicU64,
    fills: AtomicU64,
    dropped: AtomicU64,
    evicted: AtomicU64,
    expired: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Part {
    /// Every part that the views say.
    pub fn all(views: &[Arc<View>]) -> Vec<Arc<Part>> {
        let mut parts: Vec<Arc<Part>> = Vec::new();
        for view in views {
            for declared in &view.parts {
                let of_store = parts.iter().find(|part| part.store == declared.store);
                let wake = of_store.map_or_else(Arc::default, |part| Arc::clone(&part.wake));
                parts.push(Arc::new(Part {
                    store: declared.store.clone(),
                    view: Arc::new(View { indexes: Vec::new(), ..(**view).clone() }),
                    hold: declared.hold,
                    ttl: declared.ttl,
                    directory: Directory::new(declared.hold.documents(0)),
                    offers: Offers::default(),
                    wake,
                    stats: Stats::default(),
                }));
            }
        }
        parts
    }

    /// Whether all of these are there; each is then used once more.
    pub fn holds(&self, keys: &[Key]) -> bool {
        let now = Instant::now();
        keys.iter().all(|key| self.directory.uses(&key.to_text(), now))
    }

    /// A reader loaded a document from a store that holds all of the view.
    pub fn offer(&self, offer: Offer) {
        match self.offers.add(offer) {
            true => self.wake.notify_one(),
            false => count(&self.stats.dropped),
        }
    }

    pub fn hit(&self) {
        count(&self.stats.hits);
    }

    pub fn missed(&self) {
        count(&self.stats.misses);
    }

    /// A miss that waited for another reader's load.
    pub fn joined(&self) {
        count(&self.stats.joined);
    }

    /// Whether its size depends on how many documents the view has.
    fn is_share(&self) -> bool {
        matches!(self.hold, Hold::Share(_))
    }

    /// The view has so many documents.
    pub fn set_rows(&self, rows: u64) {
        let documents = self.hold.documents(rows);
        if documents != self.directory.capacity() {
            self.directory.set_capacity(documents);
            self.wake.notify_one();
        }
    }

    pub fn status(&self) -> PartStatus {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PartStatus {
            documents_max: self.directory.capacity(),
            documents: self.directory.len(),
            hits: read(&self.stats.hits),
            misses: read(&self.stats.misses),
            joined: read(&self.stats.joined),
            fills: read(&self.stats.fills),
            fills_dropped: read(&self.stats.dropped),
            evicted: read(&self.stats.evicted),
            expired: read(&self.stats.expired),
        }
    }
}
