//! Which keys a part holds. Written by the applier alone; readers look, and by that say what is used.

use std::sync::{Arc, Mutex, PoisonError};

use headwater_model::Key;
use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, UnitWeighter};
use tokio::time::Instant;

/// A key that is held.
#[derive(Debug)]
pub(super) struct Entry {
    pub key: Key,
    pub text: Box<str>,
    pub expires: Option<Instant>,
    /// Of the fill that put it there: a key that left and came back is another entry.
    pub number: u64,
}

type Evicted = Arc<Mutex<Vec<Arc<Entry>>>>;

/// What has to leave is collected: it leaves the store in the applier's next step.
#[derive(Clone)]
struct Collect(Evicted);

impl Lifecycle<Box<str>, Arc<Entry>> for Collect {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _: Box<str>, entry: Arc<Entry>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }
}

pub(super) struct Directory {
    cache: Cache<Box<str>, Arc<Entry>, UnitWeighter, DefaultHashBuilder, Collect>,
    evicted: Evicted,
}

/// How many places are made ready at once.
const EXPECTED: usize = 1_000;

impl Directory {
    /// Holds at most `documents`.
    pub fn new(documents: u64) -> Directory {
        let evicted = Evicted::default();
        let mut options = OptionsBuilder::new();
        // Several shards would each have a bound of their own.
        options.shards(1).estimated_items_capacity(EXPECTED).weight_capacity(documents);
        let lifecycle = Collect(Arc::clone(&evicted));
        let hasher = DefaultHashBuilder::default();
        let cache = match options.build() {
            Ok(options) => Cache::with_options(options, UnitWeighter, hasher, lifecycle),
            // Only without the two numbers that are given above.
            Err(_) => Cache::with(EXPECTED, documents, UnitWeighter, hasher, lifecycle),
        };
        Directory { cache, evicted }
    }

    /// Whether the key is held; if so it is used.
    pub fn uses(&self, text: &str, now: Instant) -> bool {
        self.cache.get(text).is_some_and(|entry| entry.expires.is_none_or(|at| at > now))
    }

    pub fn entry(&self, text: &str) -> Option<Arc<Entry>> {
        self.cache.peek(text)
    }

    pub fn insert(&self, entry: Arc<Entry>) {
        self.cache.insert(entry.text.clone(), entry);
    }

    pub fn remove(&self, text: &str) -> Option<Arc<Entry>> {
        self.cache.remove(text).map(|(_, entry)| entry)
    }

    pub fn clear(&self) {
        self.cache.clear();
        self.lock().clear();
    }

    /// What had to leave since the last call and did not come back.
    pub fn take_evicted(&self) -> Vec<Arc<Entry>> {
        let evicted = std::mem::take(&mut *self.lock());
        evicted.into_iter().filter(|entry| !self.cache.contains_key(&*entry.text)).collect()
    }

    pub fn set_capacity(&self, documents: u64) {
        self.cache.set_capacity(documents);
    }

    pub fn capacity(&self) -> u64 {
        self.cache.capacity()
    }

    pub fn len(&self) -> u64 {
        self.cache.len() as u64
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Entry>>> {
        self.evicted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headwater_model::Value;

    fn entry(n: i64) -> Arc<Entry> {
        let key = Key(vec![Value::Int(n)]);
        Arc::new(Entry { text: key.to_text().into(), key, expires: None, number: 0 })
    }

    #[test]
    fn never_more_than_its_bound_and_whatever_leaves_is_told() {
        for bound in [1, 2, 3, 10, 100, 1000] {
            let directory = Directory::new(bound);
            let mut left = 0;
            for n in 0..5_000 {
                directory.insert(entry(n % 3_000));
                left += directory.take_evicted().len() as u64;
                assert!(directory.len() <= bound);
            }
            assert!(directory.len() > bound / 2, "{bound}: {}", directory.len());
            assert!(left >= 3_000 - bound);
            directory.set_capacity(bound.div_ceil(2));
            let told = directory.take_evicted().len() as u64;
            assert!(directory.len() <= bound.div_ceil(2));
            assert!(bound < 4 || told > 0);
        }
    }

    #[test]
    fn what_is_used_stays() {
        let directory = Directory::new(100);
        let now = Instant::now();
        for n in 0..10_000 {
            directory.insert(entry(n));
            if n >= 10 {
                (0..10).for_each(|often| {
                    directory.uses(&often.to_string(), now);
                });
            }
        }
        let kept = (0..10).filter(|often| directory.entry(&often.to_string()).is_some()).count();
        assert!(kept >= 8, "{kept} of 10 that are always used");
    }
}
