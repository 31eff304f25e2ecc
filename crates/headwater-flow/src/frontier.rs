//! How far the source's log has been read into the journal.
//!
//! Owns: the newest source position up to which everything is in the journal, and the numbers of the marks that this
//! term puts into the log. Does not own: the reading itself ([`crate::capture`] tells what came by), or how far a store
//! has applied the journal ([`crate::board`]).
//!
//! Invariant: everything that the source committed up to [`Reached::position`] lies in the journal at or before
//! [`Reached::offset`]. A log that moves without changes for us moves the position too, and a mark moves it on demand. So
//! whoever holds a position learns after which offset a store shows it, also when nothing was committed since.
//!
//! Numbers of marks are given out in order, each before its mark is put into the log. So whatever mark comes by whose
//! number was not given out yet at some moment was put into the log after that moment, and everything that was committed
//! before the moment has come by before it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use headwater_model::{ChunkId, Error, Lineage, Offset, Position, Result, Source};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::retry::Backoff;
use crate::watch;

/// How long a mark may take to come by before another one is put into the log: a source that broke down in between may
/// have lost it. Either of them will do.
const MARK_WITHIN: Duration = Duration::from_millis(if cfg!(test) { 1_000 } else { 20_000 });

/// Marks that one question is worth. Behind a long backlog the answer is an error after
/// about `MARKS_MAX` × [`MARK_WITHIN`], and whoever still wants to know asks again.
const MARKS_MAX: u32 = 3;

/// A busy log passes a position by itself before it is worth a mark of its own.
const UNMARKED_FOR: Duration = Duration::from_millis(5);

/// Everything up to `position` is in the journal at or before `offset`, durable or soon so.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reached {
    /// `None` before the first event of a source that was never followed, and after a gap.
    pub position: Option<Position>,
    pub offset: Offset,
}

/// The newest mark of this term that came by, and what was reached there.
type CameBy = Option<(ChunkId, Reached)>;

/// One per term of leadership, shared by capture, which moves it, and by everyone who must know.
pub(crate) struct Frontier {
    source: Arc<dyn Source>,
    /// Marks of this term have this number or a greater one.
    first_mark: ChunkId,
    next_mark: AtomicU64,
    reached: watch::Sender<Reached>,
    /// Once the source is followed.
    lineage: OnceLock<Lineage>,
    came_by: watch::Sender<CameBy>,
    whole_after: watch::Sender<Option<Offset>>,
    /// Held by the one who waits for a mark on behalf of all.
    turn: Mutex<()>,
    began: Instant,
    /// When the source was last heard of, in milliseconds since `began`.
    heard_ms: AtomicU64,
}

impl Frontier {
    /// `first_mark` is greater than any mark's number of earlier terms; `reached` is the journal's end.
    pub fn new(source: Arc<dyn Source>, first_mark: ChunkId, reached: Reached) -> Frontier {
        Frontier {
            source,
            first_mark,
            next_mark: AtomicU64::new(first_mark),
            reached: watch::Sender::new(reached),
            lineage: OnceLock::new(),
            came_by: watch::Sender::new(None),
            whole_after: watch::Sender::new(None),
            turn: Mutex::new(()),
            began: Instant::now(),
            heard_ms: AtomicU64::new(0),
        }
    }

    /// The source is followed from now on, behind `position` of its present course.
    pub fn follows(&self, lineage: Lineage, position: Option<Position>) {
        let _ = self.lineage.set(lineage);
        self.reached.send_if_modified(|reached| {
            reached.position = position;
            true
        });
    }

    /// The system that is followed; `None` before.
    pub fn system(&self) -> Option<Arc<str>> {
        match self.lineage.get() {
            Some(lineage) => Some(Arc::clone(&lineage.system)),
            None => self.reached().position.map(|position| position.system),
        }
    }

    /// The same place on the course of history that is followed; `None` for one that is not in it.
    pub fn place(&self, position: &Position) -> Option<Position> {
        match self.lineage.get() {
            Some(lineage) => lineage.place(position),
            None => Some(position.clone()),
        }
    }

    /// The number for a mark that is about to be put into the log: for chunks too, so that no two marks have the same.
    pub fn next_mark(&self) -> ChunkId {
        self.next_mark.fetch_add(1, Ordering::SeqCst)
    }

    // Capture.

    /// The source sent something, or said that there is nothing to send.
    pub fn heard(&self) {
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard_ms.store(ms, Ordering::Relaxed);
    }

    /// The log has been read up to `position`, and `offset` is the newest entry.
    pub fn reach(&self, position: &Position, offset: Offset) {
        self.reached.send_if_modified(|reached| {
            let is_older = reached
                .position
                .as_ref()
                .is_some_and(|known| position.partial_cmp(known).is_some_and(|o| o.is_lt()));
            let position = if is_older { reached.position.clone() } else { Some(position.clone()) };
            let now = Reached { position, offset: reached.offset.max(offset) };
            let moved = *reached != now;
            *reached = now;
            moved
        });
    }

    /// A mark came by at `position`, behind the entry at `offset`. Told before anything behind the mark becomes durable.
    pub fn mark_came_by(&self, mark: ChunkId, position: &Position, offset: Offset) {
        self.reach(position, offset);
        let is_ours = mark >= self.first_mark && mark < self.next_mark.load(Ordering::SeqCst);
        if !is_ours {
            return;
        }
        self.whole_after.send_if_modified(|known| match known {
            Some(_) => false,
            None => {
                *known = Some(offset);
                true
            }
        });
        self.came_by.send_if_modified(|newest| {
            let is_newest = newest.as_ref().is_none_or(|(known, _)| *known < mark);
            if is_newest {
                *newest = Some((mark, Reached { position: Some(position.clone()), offset }));
            }
            is_newest
        });
    }

    // Everyone.

    /// For how long the source has not been heard of: what it committed meanwhile is not known here.
    pub fn silent_for(&self) -> Duration {
        let heard = Duration::from_millis(self.heard_ms.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(heard)
    }

    /// The newest place that is known.
    pub fn reached(&self) -> Reached {
        self.reached.borrow().clone()
    }

    /// Entries behind this offset tell all that happens to every table of this term. At or before it, a table that was
    /// added to the file for this term may lack changes: nobody followed it. `None` until that place is known.
    pub fn whole_after(&self) -> Option<Offset> {
        *self.whole_after.borrow()
    }

    /// [`Frontier::whole_after`], once it is known: when what the source had written before this term has come by.
    pub async fn wait_whole(&self) -> Offset {
        let mut whole = self.whole_after.subscribe();
        loop {
            if let Some(offset) = *whole.borrow_and_update() {
                return offset;
            }
            if whole.changed().await.is_err() {
                // The sender is our own field.
                return std::future::pending().await;
            }
        }
    }

    /// What is reached where everything has come by that the source has committed until now. Puts a mark into the log,
    /// one for all who ask at the same time. `Transient` when none comes by in time, or the source's error.
    pub async fn now(&self) -> Result<Reached> {
        let asked_at = self.next_mark.load(Ordering::SeqCst);
        tokio::select! {
            biased;
            reached = self.passed_mark(asked_at) => Ok(reached),
            reached = self.mark_and_wait(asked_at) => reached,
        }
    }

    /// Waits until everything up to `position` has been read; a store that has applied the returned offset shows it, or
    /// something newer. `OutOfStep` for a position of another system, or of another course of this one's history, or one
    /// that the source has not come to; else
    /// the errors of [`Frontier::now`].
    pub async fn passed(&self, position: &Position) -> Result<Offset> {
        if let Ok(offset) = timeout(UNMARKED_FOR, self.read_past(position)).await {
            return offset;
        }
        tokio::select! {
            biased;
            offset = self.read_past(position) => offset,
            // The position was handed out before this mark was put into the log, so it lies before it; or it never was.
            now = self.now() => {
                let now = now?;
                match now.position.as_ref().map(|reached| reached.partial_cmp(position)) {
                    Some(None | Some(std::cmp::Ordering::Less)) => Err(Error::out_of_step(format!(
                        "the source has not come to the position: it is before {} of system {}",
                        position.sequence, position.system
                    ))),
                    _ => Ok(now.offset),
                }
            }
        }
    }

    /// Sees to it that [`Frontier::whole_after`] becomes known. Ends when cancelled.
    pub async fn run(self: Arc<Self>, cancel: CancellationToken) -> Result<()> {
        let mut backoff = Backoff::new();
        let first = async {
            while self.whole_after().is_none() {
                if let Err(error) = self.now().await {
                    debug!(%error, "the first mark has not come by yet");
                    backoff.pause().await;
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => {}
            () = first => {}
        }
        Ok(())
    }

    async fn read_past(&self, position: &Position) -> Result<Offset> {
        let mut reached = self.reached.subscribe();
        loop {
            {
                let now = reached.borrow_and_update();
                if let Some(known) = &now.position {
                    match known.partial_cmp(position) {
                        None => return Err(another_system(position, known)),
                        Some(std::cmp::Ordering::Less) => {}
                        Some(_) => return Ok(now.offset),
                    }
                }
            }
            if reached.changed().await.is_err() {
                // The sender is our own field.
                return std::future::pending().await;
            }
        }
    }

    /// Waits for a mark that was put into the log after `asked_at` was the next number.
    async fn passed_mark(&self, asked_at: ChunkId) -> Reached {
        let mut came_by = self.came_by.subscribe();
        loop {
            if let Some((mark, reached)) = &*came_by.borrow_and_update()
                && *mark >= asked_at
            {
                return reached.clone();
            }
            if came_by.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    async fn mark_and_wait(&self, asked_at: ChunkId) -> Result<Reached> {
        let _turn = self.turn.lock().await;
        let mut backoff = Backoff::new();
        for _ in 0..MARKS_MAX {
            match self.source.mark(self.next_mark()).await {
                Ok(()) => {
                    if let Ok(reached) = timeout(MARK_WITHIN, self.passed_mark(asked_at)).await {
                        return Ok(reached);
                    }
                }
                Err(error) if error.is_retryable() => {
                    warn!(%error, "a mark could not be put into the log");
                    backoff.pause().await;
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::transient("the source's log has not been read up to now in time"))
    }
}

fn another_system(position: &Position, known: &Position) -> Error {
    Error::out_of_step(format!(
        "the position is of system {}, but the log that is followed is of system {}",
        position.system, known.system
    ))
}

#[cfg(test)]
mod tests;
