//! What an access pattern did: how many reads, answered by whom, how fast, how old. Counters that only grow; whoever shows
//! them takes differences.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headwater_model::{Found, StoredBody};

/// Upper bounds of the buckets of a [`Histogram`], in microseconds; a last bucket has none.
pub const BUCKETS_MICROS: [u64; 19] = [
    25, 50, 100, 200, 400, 700, 1_000, 2_000, 4_000, 7_000, 10_000, 20_000, 50_000, 100_000, 250_000,
    500_000, 1_000_000, 5_000_000, 30_000_000,
];

/// Durations by size. Recording is three additions without a lock.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS_MICROS.len() + 1],
    sum_micros: AtomicU64,
    max_micros: AtomicU64,
}

/// A histogram at one moment, not cumulative: one count per bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramSample {
    pub counts: [u64; BUCKETS_MICROS.len() + 1],
    pub sum_micros: u64,
    pub max_micros: u64,
}

impl Histogram {
    pub fn record(&self, took: Duration) {
        self.record_many(took, 1);
    }

    /// The same duration `times` times.
    pub fn record_many(&self, took: Duration, times: u64) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_MICROS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].fetch_add(times, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros.saturating_mul(times), Ordering::Relaxed);
        self.max_micros.fetch_max(micros, Ordering::Relaxed);
    }

    pub fn sample(&self) -> HistogramSample {
        HistogramSample {
            counts: std::array::from_fn(|i| self.buckets[i].load(Ordering::Relaxed)),
            sum_micros: self.sum_micros.load(Ordering::Relaxed),
            max_micros: self.max_micros.load(Ordering::Relaxed),
        }
    }
}

impl HistogramSample {
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// What was recorded since `earlier`, which was taken of the same histogram.
    pub fn since(&self, earlier: &HistogramSample) -> HistogramSample {
        HistogramSample {
            counts: std::array::from_fn(|i| self.counts[i].saturating_sub(earlier.counts[i])),
            sum_micros: self.sum_micros.saturating_sub(earlier.sum_micros),
            max_micros: self.max_micros,
        }
    }

    /// How many surely took longer than `limit`: those in buckets that begin at or above it.
    pub fn surely_above(&self, limit: Duration) -> u64 {
        let limit = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
        let first = BUCKETS_MICROS.partition_point(|bound| *bound < limit) + 1;
        self.counts.iter().skip(first).sum()
    }

    /// The duration that the share `q` (0 to 1) does not exceed, by the bound of its bucket; `None` without any.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = ((count as f64 * q).ceil() as u64).clamp(1, count);
        let mut seen = 0;
        for (bucket, n) in self.counts.iter().enumerate() {
            seen += n;
            if seen >= rank {
                let bound = BUCKETS_MICROS.get(bucket).copied().unwrap_or(self.max_micros);
                return Some(Duration::from_micros(bound.min(self.max_micros)));
            }
        }
        None
    }
}

/// Who gave an answer, or why there was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The question was wrong: the reader's mistake.
    BadRequest,
    /// Nothing new enough within the reader's deadline.
    Behind,
    /// The source's budget or this process's own bound was used up.
    Overloaded,
    /// No store could answer, nor the source.
    Unavailable,
}

/// The counters of one access pattern.
#[derive(Debug)]
pub struct PatternStats {
    pub latency: Histogram,
    /// Of each answer, how far it may lie behind the source.
    pub age: Histogram,
    by_store: BTreeMap<Box<str>, AtomicU64>,
    by_source: AtomicU64,
    documents: AtomicU64,
    bytes: AtomicU64,
    hedged: AtomicU64,
    bad_requests: AtomicU64,
    behind: AtomicU64,
    overloaded: AtomicU64,
    unavailable: AtomicU64,
}

/// [`PatternStats`] at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatternSample {
    pub latency: HistogramSample,
    pub age: HistogramSample,
    pub by_store: Vec<(Box<str>, u64)>,
    pub by_source: u64,
    /// What answers were made of: documents, points or vertices; and how large those documents are together.
    pub documents: u64,
    pub bytes: u64,
    pub hedged: u64,
    pub bad_requests: u64,
    pub behind: u64,
    pub overloaded: u64,
    pub unavailable: u64,
}

impl PatternStats {
    pub(super) fn new(stores: &[Box<str>]) -> PatternStats {
        PatternStats {
            latency: Histogram::default(),
            age: Histogram::default(),
            by_store: stores.iter().map(|store| (store.clone(), AtomicU64::new(0))).collect(),
            by_source: AtomicU64::new(0),
            documents: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            hedged: AtomicU64::new(0),
            bad_requests: AtomicU64::new(0),
            behind: AtomicU64::new(0),
            overloaded: AtomicU64::new(0),
            unavailable: AtomicU64::new(0),
        }
    }

    /// `store`: which one answered; `None` for the source.
    pub(super) fn answered(&self, store: Option<&str>, took: Duration, age: Duration) {
        self.answered_many(store, took, age, 1);
    }

    /// As many reads that were answered together.
    pub(super) fn answered_many(&self, store: Option<&str>, took: Duration, age: Duration, reads: u64) {
        self.latency.record_many(took, reads);
        self.age.record_many(age, reads);
        let counter = store.map_or(Some(&self.by_source), |store| self.by_store.get(store));
        if let Some(counter) = counter {
            counter.fetch_add(reads, Ordering::Relaxed);
        }
    }

    /// What an answer is made of.
    pub(super) fn found(&self, found: &Found) {
        let (documents, bytes) = match found {
            Found::Documents(all) => weighed(all.iter().flatten()),
            Found::Page { documents, .. } => weighed(documents.iter().map(|stored| &stored.body)),
            Found::Reached(vertices) => (vertices.len(), 0),
        };
        self.documents.fetch_add(documents as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn hedged(&self) {
        self.hedged.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, why: Refusal) {
        self.refused_many(why, 1);
    }

    pub(super) fn refused_many(&self, why: Refusal, reads: u64) {
        let counter = match why {
            Refusal::BadRequest => &self.bad_requests,
            Refusal::Behind => &self.behind,
            Refusal::Overloaded => &self.overloaded,
            Refusal::Unavailable => &self.unavailable,
        };
        counter.fetch_add(reads, Ordering::Relaxed);
    }

    pub fn sample(&self) -> PatternSample {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PatternSample {
            latency: self.latency.sample(),
            age: self.age.sample(),
            by_store: self.by_store.iter().map(|(store, n)| (store.clone(), read(n))).collect(),
            by_source: read(&self.by_source),
            documents: read(&self.documents),
            bytes: read(&self.bytes),
            hedged: read(&self.hedged),
            bad_requests: read(&self.bad_requests),
            behind: read(&self.behind),
            overloaded: read(&self.overloaded),
            unavailable: read(&self.unavailable),
        }
    }
}

/// How many bodies, and how large they are together.
fn weighed<'b>(bodies: impl Iterator<Item = &'b StoredBody>) -> (usize, usize) {
    bodies.fold((0, 0), |(count, bytes), body| {
        let size = match body {
            StoredBody::Json(text) => text.len(),
            StoredBody::Fields(fields) => fields.iter().map(|(name, value)| name.len() + value.len()).sum(),
        };
        (count + 1, bytes + size)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_bounds_that_hold() {
        let histogram = Histogram::default();
        assert_eq!(histogram.sample().quantile(0.5), None);
        for micros in 1..=1000 {
            histogram.record(Duration::from_micros(micros));
        }
        let sample = histogram.sample();
        assert_eq!(sample.count(), 1000);
        assert_eq!(sample.quantile(0.5), Some(Duration::from_micros(700)));
        assert_eq!(sample.quantile(0.99), Some(Duration::from_micros(1000)));
        // Buckets are (…, 400], (400, 700], (700, 1000].
        assert_eq!(sample.surely_above(Duration::from_micros(400)), 600);
        assert_eq!(sample.surely_above(Duration::from_micros(401)), 300);
        assert_eq!(sample.surely_above(Duration::from_micros(1000)), 0);
        histogram.record(Duration::from_secs(100));
        assert_eq!(histogram.sample().quantile(1.0), Some(Duration::from_secs(100)));
        assert_eq!(histogram.sample().since(&sample).count(), 1);
    }
}
