//! How many documents each view has: counted once with SCAN, then kept by the replies of our own writes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headwater_model::ViewId;
use tokio::time::Instant;

#[derive(Default)]
pub(super) struct Rows {
    views: Mutex<HashMap<ViewId, Count>>,
    /// Odd while a commit is on its way: a count that saw one cannot say whether it saw its rows.
    commits: AtomicU64,
}

struct Count {
    rows: i64,
    /// No commit was on its way while it was counted, so it is exact and replies keep it so.
    settled: bool,
    counted_at: Instant,
    took: Duration,
}

/// A commit is on its way.
pub(super) struct Committing<'a>(&'a Rows);

impl Drop for Committing<'_> {
    fn drop(&mut self) {
        self.0.commits.fetch_add(1, Ordering::SeqCst);
    }
}

impl Rows {
    pub(super) fn commit_begins(&self) -> Committing<'_> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        Committing(self)
    }

    pub(super) fn add(&self, view: &str, delta: i64) {
        if let Some(count) = self.lock().get_mut(view) {
            count.rows += delta;
        }
    }

    /// Nothing is known any more: somebody else wrote, or a commit's outcome is unknown.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    /// The count, unless it should be taken again. An estimate is taken again, but not at more than a twentieth of the
    /// server's time.
    pub(super) fn known(&self, view: &str) -> Option<u64> {
        let counts = self.lock();
        let count = counts.get(view)?;
        let fresh = count.counted_at.elapsed() < (20 * count.took).max(Duration::from_millis(500));
        (count.settled || fresh).then_some(count.rows.max(0).unsigned_abs())
    }

    /// To be given back to [`Rows::counted`] when a count that begins now is over.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }

    /// `kept`: whether this store's own writes are all that can change the number.
    pub(super) fn counted(&self, view: &str, rows: u64, commits: u64, kept: bool, took: Duration) {
        let mut counts = self.lock();
        let settled = kept && commits.is_multiple_of(2) && commits == self.commits();
        let count = Count {
            rows: i64::try_from(rows).unwrap_or(i64::MAX),
            settled,
            counted_at: Instant::now(),
            took,
        };
        counts.insert(view.into(), count);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ViewId, Count>> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
