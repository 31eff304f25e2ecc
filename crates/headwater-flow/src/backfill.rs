//! Fills views from the source: whole tables, chunk by chunk, while writes go on.
//!
//! Owns: which tables are read for which views, how far each read has come, when a view in a store is ready. Does not
//! own: whether a chunk's row is still true ([`crate::landing`]), or clearing a view before it is filled
//! ([`crate::apply`] does that, then asks here).
//!
//! Invariant: a read is remembered as far as its chunks have landed durably, in order; after a crash it goes on there.
//! A view is ready when its store has applied the last chunk of every table that the view was waiting for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use headwater_model::{ChunkRange, Error, Key, Offset, Result, TableId, TableName, View};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::board::Board;
use crate::chunks::{Chunks, InFlight, MARK_WITHIN};
use crate::closing::Closing;
use crate::fingerprint::Fingerprint;
use crate::landing::{Outcome, Purpose};
use crate::retry::Backoff;
use crate::state::{Consumer, Fill, Job, State};
use crate::trace::{BackfillTrace, Tracer};
use crate::watch;

/// A chunk is read in pieces of about this many bytes.
const CHUNK_BYTES: usize = 4 << 20;

/// Reading pauses while the slowest of the waiting stores has this much journal before it.
const AHEAD_BYTES: u64 = 64 << 20;

/// Rows of the first chunk of a read, before it is known how wide rows are.
const FIRST_ROWS: usize = 1_000;

/// Views asked for within this time are filled by the same reads.
const GATHER_FOR: Duration = Duration::from_millis(50);

/// What backfill has to know about a view.
#[derive(Clone, Debug)]
pub(crate) struct ViewPlan {
    pub view: Arc<View>,
    /// The root table first, then the tables of embedded rows.
    pub tables: Vec<TableName>,
    pub stateful: bool,
    pub fingerprint: Fingerprint,
}

pub(crate) struct Backfill {
    pub chunks: Arc<Chunks>,
    pub state: Arc<State>,
    pub board: Arc<Board>,
    pub tracer: Option<Arc<dyn Tracer>>,
    pub plans: BTreeMap<Box<str>, ViewPlan>,
    pub estimates: BTreeMap<TableName, u64>,
    /// Tables whose rows the mirror holds completely.
    pub mirrored: Arc<watch::Sender<BTreeSet<TableName>>>,
    pub parallel: usize,
    pub chunk_rows: usize,
    pub rows_per_second_max: Option<u64>,
    pub closing: Closing,
    /// Keys of what the source's present history never had: they are put right before anything else.
    pub undo: BTreeMap<TableName, Vec<Key>>,
}

/// Asks for views to be filled: they hold nothing, or documents of an older shape.
pub(crate) type Request = Vec<Consumer>;

impl Backfill {
    pub async fn run(self, mut requests: mpsc::Receiver<Request>, cancel: CancellationToken) -> Result<()> {
        let reads = Arc::new(Reads {
            permits: Semaphore::new(self.parallel),
            backfill: self,
            retired: Mutex::new(BTreeSet::new()),
            left_out: Mutex::new(BTreeSet::new()),
        });
        let mut running = JoinSet::new();
        let mut started = BTreeSet::new();
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(()),
            undone = reads.backfill.undo() => undone?,
        }
        reads.start_new(&mut running, &mut started)?;
        let mut settle = tokio::time::interval(Duration::from_millis(25));
        let mut wanted: Vec<Request> = Vec::new();
        let mut gathered_at = None;
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                request = requests.recv() => {
                    let Some(request) = request else { break };
                    gathered_at.get_or_insert_with(|| Instant::now() + GATHER_FOR);
                    wanted.push(request);
                }
                Some(ended) = running.join_next() => match ended {
                    Ok(result) => result?,
                    Err(error) => return Err(Error::bug("a table read panicked").with_cause(error)),
                },
                _ = settle.tick() => {
                    reads.settle()?;
                    let back = reads.take_back();
                    if !back.is_empty() {
                        gathered_at.get_or_insert_with(|| Instant::now() + GATHER_FOR);
                        wanted.push(back);
                    }
                    if gathered_at.is_some_and(|at| at <= Instant::now()) {
                        gathered_at = None;
                        reads.backfill.plan(&std::mem::take(&mut wanted))?;
                        reads.start_new(&mut running, &mut started)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Puts the keys right that only the source's former course of history had changed.
    async fn undo(&self) -> Result<()> {
        if self.state.undo()?.is_none() {
            return Ok(());
        }
        let mut offset = Offset::ZERO;
        let mut count = 0;
        for (table, keys) in &self.undo {
            let id = self.chunks.table_id(table).await?;
            offset = offset.max(self.closing.mend(table, id, keys).await?);
            count += keys.len();
        }
        self.chunks.wait_durable(offset).await?;
        self.state.forget_undo()?;
        self.board.undone(offset);
        info!(keys = count, "what the source's former course alone had committed is undone");
        Ok(())
    }

    /// Turns requests into jobs: each table is read once for all that wait for it.
    fn plan(&self, requests: &[Request]) -> Result<()> {
        let mut tables: BTreeMap<TableName, (bool, BTreeSet<Consumer>)> = BTreeMap::new();
        let mut filling = BTreeMap::new();
        let mut closing = BTreeSet::new();
        let mirrored = self.mirrored.borrow().clone();
        for consumer in requests.iter().flatten() {
            let Some(plan) = self.plans.get(&consumer.view) else { continue };
            let in_place = match self.state.fill(consumer, &plan.fingerprint)? {
                Fill::Gapped => closing.insert(consumer.clone()),
                // Another request was there before.
                Fill::Closing | Fill::Ready => continue,
                Fill::Wanted | Fill::Stale | Fill::Filling => {
                    filling.insert(consumer.clone(), plan.fingerprint.clone());
                    false
                }
            };
            for (i, table) in plan.tables.iter().enumerate() {
                let is_root = i == 0;
                if is_root || in_place || (plan.stateful && !mirrored.contains(table)) {
                    let entry = tables.entry(table.clone()).or_default();
                    entry.0 |= is_root;
                    entry.1.insert(consumer.clone());
                }
            }
        }
        self.board.views_filling(filling.keys());
        self.board.gaps_closing(&closing);
        // Embedded rows first: a root document made before its children are here would only be made again.
        let mut jobs: Vec<_> = tables.into_iter().collect();
        jobs.sort_by_key(|(_, (is_root, _))| *is_root);
        let jobs: Vec<_> =
            jobs.into_iter().map(|(t, (_, consumers))| (t, consumers.into_iter().collect())).collect();
        let (filling, closing): (Vec<_>, Vec<_>) =
            (filling.into_iter().collect(), closing.into_iter().collect());
        self.state.start_jobs(&jobs, &filling, &closing)
    }

    fn journal_ahead(&self, job: &Job) -> u64 {
        job.consumers
            .iter()
            .map(|consumer| self.chunks.journal.bytes_after(self.board.offset(&consumer.store)))
            .max()
            .unwrap_or(0)
    }
}

/// The reads under way.
struct Reads {
    backfill: Backfill,
    permits: Semaphore,
    /// Jobs whose last chunk has landed, until every view that waited for them is ready.
    retired: Mutex<BTreeSet<u64>>,
    /// Views whose gap could not be closed because their store went away: asked for again when it is back.
    left_out: Mutex<BTreeSet<Consumer>>,
}

impl Reads {
    fn start_new(
        self: &Arc<Self>,
        running: &mut JoinSet<Result<()>>,
        started: &mut BTreeSet<u64>,
    ) -> Result<()> {
        for job in self.backfill.state.jobs()? {
            if !started.insert(job.id) {
                continue;
            }
            let views = job.consumers.iter().map(|c| format!("{}/{}", c.store, c.view)).collect();
            let estimate = self.backfill.estimates.get(&job.table).copied().unwrap_or(0);
            self.backfill.board.backfill_begins(job.id, job.table.to_string(), job.rows, estimate, views);
            if job.done.is_some() {
                self.retire(&job);
                continue;
            }
            let reads = Arc::clone(self);
            running.spawn(async move {
                {
                    let Ok(_permit) = reads.permits.acquire().await else { return Ok(()) };
                    reads.read_table(&job).await?;
                }
                // A store that is behind is waited for, which must not hold up other reads.
                reads.sweep(&job).await
            });
        }
        self.backfill.board.backfills_told();
        Ok(())
    }

    fn retire(&self, job: &Job) {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).insert(job.id);
        // A read that only flat views asked for may have begun before the mirror was there.
        if job.consumers.iter().any(|consumer| self.is_stateful(consumer)) {
            self.backfill.mirrored.send_if_modified(|mirrored| mirrored.insert(job.table.clone()));
        }
    }

    fn is_stateful(&self, consumer: &Consumer) -> bool {
        self.backfill.plans.get(&consumer.view).is_some_and(|plan| plan.stateful)
    }

    /// Whether the mirror holds rows of before a gap, which the job is to put right.
    fn closes_mirror_gap(&self, job: &Job) -> Result<bool> {
        Ok(job.consumers.iter().any(|consumer| self.is_stateful(consumer))
            && self.backfill.state.mirror_gap()?.contains(&job.table))
    }

    /// Views whose reads have all landed and been applied are ready.
    fn settle(&self) -> Result<()> {
        if self.retired.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            return Ok(());
        }
        let backfill = &self.backfill;
        let jobs = backfill.state.jobs()?;
        let mut waiting: BTreeMap<&Consumer, bool> = BTreeMap::new();
        for job in &jobs {
            for consumer in &job.consumers {
                let arrived = job.done.is_some_and(|done| backfill.board.offset(&consumer.store) >= done);
                *waiting.entry(consumer).or_insert(true) &= arrived;
            }
        }
        for (consumer, arrived) in waiting {
            if arrived && backfill.state.finish_fill(consumer)? {
                let left = backfill.state.stale_anywhere(&consumer.view)?;
                backfill.board.view_complete(consumer, left.is_none());
                info!(view = %consumer.view, store = %consumer.store, "the view is complete");
            }
        }
        let left: BTreeSet<u64> = backfill.state.jobs()?.into_iter().map(|job| job.id).collect();
        for job in jobs.iter().filter(|job| !left.contains(&job.id)) {
            backfill.board.backfill_ends(job.id);
            self.retired.lock().unwrap_or_else(PoisonError::into_inner).remove(&job.id);
        }
        Ok(())
    }

    /// Reads one table to its end. Several chunks are in flight: the next is read while the last waits for its mark.
    async fn read_table(&self, job: &Job) -> Result<()> {
        let backfill = &self.backfill;
        let closes = self.closes_mirror_gap(job)? || !backfill.state.closing(job.id)?.is_empty();
        let table = self.backfill.chunks.table_id(&job.table).await?;
        let mut after = job.after.clone();
        let mut limit = backfill.chunk_rows.min(FIRST_ROWS);
        let mut in_flight: VecDeque<InFlight> = VecDeque::new();
        let mut ended = false;
        let (began, began_at) = (Instant::now(), backfill.board.now_micros());
        let (mut read, mut landed_chunks, mut again_chunks) = (0u64, 0, 0);
        info!(table = %job.table, resumed = job.after.is_some(), "reading the table");
        loop {
            while !ended && in_flight.len() < backfill.parallel.max(2) {
                while backfill.journal_ahead(job) > AHEAD_BYTES {
                    sleep(Duration::from_millis(10)).await;
                }
                if let Some(rate) = backfill.rows_per_second_max {
                    let due = Duration::from_secs_f64(read as f64 / rate as f64);
                    sleep(due.saturating_sub(began.elapsed())).await;
                }
                let range = ChunkRange {
                    table: job.table.clone(),
                    after: after.clone(),
                    limit,
                    bytes_max: CHUNK_BYTES,
                    keys: Vec::new(),
                };
                let chunk = self.backfill.chunks.start(&range, table, Purpose::Land).await?;
                limit = backfill.chunk_rows;
                read += chunk.read;
                ended = chunk.last;
                after = chunk.upto.clone().or(after);
                in_flight.push_back(chunk);
            }
            let Some(chunk) = in_flight.pop_front() else { break };
            match tokio::time::timeout(MARK_WITHIN, chunk.outcome).await {
                Ok(Ok(Outcome::Landed(landed))) => {
                    let mut offset = landed.offset;
                    if !landed.reread.is_empty() {
                        offset = self.reread(&job.table, table, landed.reread).await?;
                    }
                    self.backfill.chunks.wait_durable(offset).await?;
                    let done = (chunk.last && !closes).then_some(offset);
                    if !backfill.state.advance_job(job.id, chunk.upto.as_ref(), chunk.read, done)? {
                        info!(table = %job.table, "the read is no longer needed");
                        backfill.board.backfill_ends(job.id);
                        return Ok(());
                    }
                    backfill.board.backfill_rows(job.id, chunk.read);
                    landed_chunks += 1;
                    if done.is_some() {
                        self.retire(job);
                    }
                }
                again => {
                    let why = match again {
                        Ok(Ok(Outcome::Again(why))) => why,
                        Ok(_) => "capture began anew",
                        Err(_) => "its mark did not come by in time",
                    };
                    warn!(table = %job.table, why, "a chunk is read again");
                    again_chunks += 1;
                    // What was read behind it may land meanwhile: rows that land twice are the same rows.
                    in_flight.clear();
                    (after, ended) = (chunk.from, false);
                    limit = (limit / 4).max(1);
                }
            }
        }
        info!(table = %job.table, rows = job.rows + read, "the table is read");
        if let Some(tracer) = &backfill.tracer {
            tracer.backfill(BackfillTrace {
                table: job.table.to_string(),
                views: job.consumers.iter().map(|c| format!("{}/{}", c.store, c.view)).collect(),
                began_at,
                ended_at: backfill.board.now_micros(),
                resumed: job.after.is_some(),
                rows: read,
                chunks: landed_chunks,
                again: again_chunks,
            });
        }
        Ok(())
    }

    /// Those that were left out and whose store is there again.
    fn take_back(&self) -> Vec<Consumer> {
        let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        let is_back = |consumer: &Consumer| self.backfill.board.progress(&consumer.store).borrow().connected;
        let back: Vec<Consumer> = left_out.iter().filter(|consumer| is_back(consumer)).cloned().collect();
        left_out.retain(|consumer| !back.contains(consumer));
        back
    }

    /// Deletes what the mirror, and the views that the job closes a gap for, hold beyond what it read.
    async fn sweep(&self, job: &Job) -> Result<()> {
        let backfill = &self.backfill;
        let goes_on = backfill.state.jobs()?.iter().any(|known| known.id == job.id && known.done.is_none());
        if !goes_on {
            return Ok(());
        }
        let consumers = backfill.state.closing(job.id)?;
        let id = backfill.chunks.table_id(&job.table).await?;
        let mirror =
            self.closes_mirror_gap(job)? || consumers.iter().any(|consumer| self.is_stateful(consumer));
        let swept = backfill.closing.sweep(&job.table, id, mirror, &consumers).await?;
        backfill.chunks.wait_durable(swept.offset).await?;
        if mirror {
            backfill.state.close_mirror_gap(&job.table)?;
        }
        for consumer in &swept.left_out {
            if let (Some(plan), Some(stale)) =
                (backfill.plans.get(&consumer.view), backfill.state.stale(consumer)?)
            {
                backfill.state.open_gap(consumer, &plan.fingerprint, stale)?;
                self.left_out.lock().unwrap_or_else(PoisonError::into_inner).insert(consumer.clone());
            }
        }
        if backfill.state.advance_job(job.id, None, 0, Some(swept.offset))? {
            self.retire(job);
        } else {
            backfill.board.backfill_ends(job.id);
        }
        Ok(())
    }

    /// Reads single keys until each is settled; the offset at which the last of them landed.
    ///
    /// That may take as long as the transaction that moved them hangs invisible.
    async fn reread(&self, name: &TableName, table: TableId, mut keys: Vec<Key>) -> Result<Offset> {
        let mut offset = Offset::ZERO;
        let mut backoff = Backoff::new();
        loop {
            let range = ChunkRange {
                table: name.clone(),
                after: None,
                limit: keys.len(),
                bytes_max: usize::MAX,
                keys: std::mem::take(&mut keys),
            };
            let chunk = self.backfill.chunks.start(&range, table, Purpose::Land).await?;
            match tokio::time::timeout(MARK_WITHIN, chunk.outcome).await {
                Ok(Ok(Outcome::Landed(landed))) => {
                    offset = offset.max(landed.offset);
                    if landed.reread.is_empty() {
                        return Ok(offset);
                    }
                    keys = landed.reread;
                }
                _ => keys = range.keys,
            }
            backoff.pause().await;
        }
    }
}
