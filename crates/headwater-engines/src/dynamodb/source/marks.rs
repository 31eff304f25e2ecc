//! Marks on their way, how far everything was read, and what was written to which key: what following and the rest of the source have in
//! common.
//!
//! A mark has to come behind everything that was written before it was asked for. Within a shard records are in order; but the
//! service does not say how long it takes until a shard tells of a write. So a mark comes by once each shard, asked after `settle`
//! had passed since, had nothing more to tell, or told of something that is newer by the service's own clock. Should a record take
//! longer than that, then what was read in between is newer than it; it comes by all the same, and so do all that follow it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headwater_model::{ChunkId, Position, Traffic};
use tokio::time::Instant;

use super::state::now_ms;
use crate::dynamodb::gauge::Gauge;

/// More than can be wanted at once: the oldest are given up, and whoever waits asks again.
const MARKS_MAX: usize = 1 << 12;

/// How far apart the clocks of this machine and of the service may be.
const CLOCK_MARGIN_MS: i64 = 1000;

#[derive(Default)]
pub(super) struct Shared {
    marks: Mutex<VecDeque<Mark>>,
    reached: Mutex<Option<Position>>,
    /// Writes that the streams told of, by table, at the time at which they were made.
    written: Mutex<BTreeMap<String, Gauge>>,
}

#[derive(Clone, Copy)]
struct Mark {
    id: ChunkId,
    /// An empty answer to a question from then on means that all is told.
    due: Instant,
    due_ms: i64,
}

/// What a shard has told of.
#[derive(Clone, Copy, Default)]
pub(super) struct Told {
    /// When it was asked last and had nothing more.
    pub(super) empty_at: Option<Instant>,
    /// When the newest record that came by was made, by the service's clock.
    pub(super) newest_ms: i64,
}

impl Told {
    fn covers(&self, mark: &Mark) -> bool {
        self.empty_at.is_some_and(|at| at >= mark.due)
            || self.newest_ms >= mark.due_ms.saturating_add(CLOCK_MARGIN_MS)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn mark(&self, id: ChunkId, settle: Duration) {
        let wait_ms = i64::try_from(settle.as_millis()).unwrap_or(i64::MAX);
        let mark = Mark { id, due: Instant::now() + settle, due_ms: now_ms().saturating_add(wait_ms) };
        let mut marks = lock(&self.marks);
        if marks.len() >= MARKS_MAX {
            marks.pop_front();
        }
        marks.push_back(mark);
    }

    /// The marks that come by now, in their order. `told` is of every shard that is not at its end.
    pub(super) fn come_by(&self, told: &[Told]) -> Vec<ChunkId> {
        let mut marks = lock(&self.marks);
        let mut ids = Vec::new();
        while let Some(mark) = marks.front()
            && told.iter().all(|told| told.covers(mark))
        {
            ids.push(mark.id);
            marks.pop_front();
        }
        ids
    }

    /// Everything up to here was read.
    pub(super) fn reached(&self) -> Option<Position> {
        lock(&self.reached).clone()
    }

    /// A write to a partition that a stream told of.
    pub(super) fn written(&self, table: &str, partition: &[u8], units: f64, made_ms: i64) {
        let made_ms = u64::try_from(made_ms).unwrap_or(0);
        let mut written = lock(&self.written);
        match written.get_mut(table) {
            Some(gauge) => gauge.write(Some(partition), units, made_ms),
            None => written.entry(table.to_owned()).or_default().write(Some(partition), units, made_ms),
        }
    }

    pub(super) fn traffic(&self) -> Vec<Traffic> {
        let now_ms = u64::try_from(now_ms()).unwrap_or(0);
        let name = |partition: &[u8]| String::from_utf8_lossy(partition).into_owned();
        let mut written = lock(&self.written);
        written.iter_mut().filter_map(|(table, gauge)| gauge.told(table.clone(), name, now_ms)).collect()
    }

    pub(super) fn reach(&self, position: Position) {
        *lock(&self.reached) = Some(position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_mark_comes_by_once_every_shard_was_asked_late_enough() {
        let shared = Shared::default();
        let settle = Duration::from_secs(1);
        shared.mark(7, settle);
        let early = Told { empty_at: Some(Instant::now()), newest_ms: 0 };
        tokio::time::advance(settle).await;
        let late = Told { empty_at: Some(Instant::now()), newest_ms: 0 };
        let busy = Told { empty_at: None, newest_ms: now_ms() + 5_000 };
        let behind = Told { empty_at: None, newest_ms: now_ms() };
        shared.mark(8, settle);
        assert!(shared.come_by(&[late, early]).is_empty());
        assert!(shared.come_by(&[late, behind]).is_empty());
        assert_eq!(shared.come_by(&[late]), [7], "8 was asked for later");
        assert!(shared.come_by(&[late, busy]).is_empty());
        assert_eq!(shared.come_by(&[busy]), [8]);
    }
}
