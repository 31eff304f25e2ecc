//! From the source's log into the journal.
//!
//! Owns: the running read of the log, the order of entries, and what the source is told it may forget. Does not own:
//! what the entries mean ([`crate::derive`]) or when chunks are read ([`crate::backfill`]).
//!
//! Invariant: journal order is the source's commit order, and chunk rows stand where their mark came by. A transaction
//! is in the journal once, however often the source sends it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use headwater_model::{
    Change, Error, Event, Follow, Offset, Position, Refused, Result, Source, Table, TableId,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::board::Board;
use crate::derive::Tables;
use crate::frontier::Frontier;
use crate::journal::{EntryKind, Journal, Writer};
use crate::landing::{Arrived, Delivered, Landed, Landing, Outcome, Purpose, Seen, Touch, Windows, touches};
use crate::left_out::LeftOut;
use crate::reshape::Watch;
use crate::retry::Backoff;
use crate::state::State;
use crate::trace::transactions::Transactions;

/// How often the source is told what it may forget.
const RELEASE_EVERY: Duration = Duration::from_millis(100);

/// A log that moves without changes for us (other databases, tables that no view needs) gets an empty entry this often.
const IDLE_ENTRY_EVERY: Duration = Duration::from_secs(5);

pub(crate) struct Capture {
    pub source: Arc<dyn Source>,
    pub journal: Journal,
    pub writer: Writer<Change>,
    pub windows: Arc<Windows>,
    pub frontier: Arc<Frontier>,
    pub board: Arc<Board>,
    pub traces: Option<Arc<Transactions>>,
    /// The tables' shapes when this term began.
    pub shapes: Arc<Tables>,
    pub watch: Arc<Watch>,
    pub state: Arc<State>,
    /// The newest entry handed to the writer: what a reconnected stream may repeat is skipped.
    pub last: Option<Position>,
    pub last_offset: Offset,
    pub last_committed_at: i64,
}

impl Capture {
    /// Follows until cancelled. Reconnects when the source goes away; returns other errors, such as a log that is gone.
    pub async fn run(mut self, first: Box<dyn Follow>, cancel: CancellationToken) -> Result<()> {
        let mut stream = first;
        loop {
            let error = tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                result = self.drain(&mut *stream) => {
                    let Err(error) = result;
                    error
                }
            };
            self.abandon_transaction();
            if !error.is_retryable() {
                return Err(error);
            }
            warn!(%error, "the source's log broke off; connecting again");
            self.board.source_failed(&error);
            drop(stream);
            stream = tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                stream = self.reconnect() => stream?,
            };
            self.board.source_healthy();
            info!("following the source again");
        }
        self.abandon_transaction();
        self.writer.flush()
    }

    async fn reconnect(&mut self) -> Result<Box<dyn Follow>> {
        let mut backoff = Backoff::new();
        loop {
            backoff.pause().await;
            match self.source.follow(self.last.as_ref()).await {
                Ok(stream) => return Ok(stream),
                Err(error) if error.is_retryable() => {
                    warn!(%error, "the source cannot be followed yet");
                    self.board.source_failed(&error);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes events until something fails.
    async fn drain(&mut self, stream: &mut dyn Follow) -> Result<Infallible> {
        let mut touched = Vec::new();
        let mut transaction = None;
        let mut written = Written::default();
        let mut seen = SeenShapes::default();
        let mut idle: Option<Position> = None;
        let mut release_at = Instant::now() + RELEASE_EVERY;
        let mut idle_entry_at = Instant::now();
        loop {
            let events = tokio::select! {
                biased;
                events = stream.next() => {
                    let events = events?;
                    self.frontier.heard();
                    events
                }
                () = tokio::time::sleep_until(release_at) => Vec::new(),
            };
            let (mut grew, came) = (false, !events.is_empty());
            let mut left_out = Vec::new();
            for event in events {
                match event {
                    Event::Begin { xid } => {
                        self.writer.begin(EntryKind::Transaction { xid })?;
                        transaction = Some((xid, self.windows.transaction_begins()));
                    }
                    Event::Change(change) => {
                        if let Some((_, true)) = transaction {
                            touches(&change, &mut touched);
                        }
                        if let Change::Truncate { tables } = &change {
                            left_out.push(LeftOut::Emptied(tables.clone()));
                        }
                        if let Some(table) = seen.unplanned(&change, &self.shapes) {
                            self.watch.look_at(&table.name).await?;
                        }
                        self.writer.change(&change)?;
                        written.count(&change);
                    }
                    Event::Refused(refused) => {
                        // For chunks it is a change of its key like others.
                        if let Some((_, true)) = transaction {
                            touched.push((refused.table.id, Touch::Settled(refused.key.to_bytes())));
                        }
                        left_out.push(LeftOut::Rows(refused));
                    }
                    Event::Commit { position, committed_at } => {
                        let Some((xid, _)) = transaction.take() else {
                            return Err(Error::bug("the source sent a commit without a beginning"));
                        };
                        let touches = std::mem::take(&mut touched);
                        if self.is_old(&position)? {
                            written.clear();
                            self.writer.abort();
                            self.windows.transaction_dropped();
                            continue;
                        }
                        let offset = self.writer.commit(position.clone(), committed_at)?;
                        self.windows
                            .transaction_ends(offset, Delivered { xid, position: position.clone(), touches });
                        if let Some(traces) = &self.traces
                            && traces.samples(offset)
                        {
                            traces.captured(
                                offset,
                                self.source.notation(&position),
                                committed_at,
                                written.changes,
                            );
                        }
                        (self.last, self.last_offset) = (Some(position), offset);
                        self.last_committed_at = committed_at;
                        self.board.captured(offset, committed_at, &written);
                        written.clear();
                        (grew, idle) = (true, None);
                    }
                    Event::Mark { chunk, position } => {
                        let is_old = self.is_old(&position)?;
                        self.frontier.mark_came_by(chunk, &position, self.last_offset);
                        if !is_old {
                            grew |= self.land(chunk, position, &mut left_out)?;
                        }
                    }
                    Event::Idle { position } => idle = Some(position),
                }
            }
            // Before what comes with it is durable, and the source may forget it.
            if !left_out.is_empty() {
                self.leave_out(&left_out)?;
            }
            if transaction.is_none()
                && let Some(position) = idle.as_ref().or(self.last.as_ref())
                && came
            {
                self.frontier.reach(position, self.last_offset);
            }
            if transaction.is_none()
                && Instant::now() >= idle_entry_at
                && let Some(position) = idle.take()
            {
                grew |= self.note_idle(position)?;
                idle_entry_at = Instant::now() + IDLE_ENTRY_EVERY;
            }
            if grew {
                self.writer.flush()?;
            }
            if Instant::now() >= release_at {
                release_at = Instant::now() + RELEASE_EVERY;
                // A sync that failed is told of here, and made good by the next call, also when nothing else comes by.
                self.writer.flush()?;
                self.release().await?;
            }
        }
    }

    /// Whether the journal has this already. Positions of another system are an error, never a silent restart.
    fn is_old(&self, position: &Position) -> Result<bool> {
        let Some(last) = &self.last else { return Ok(false) };
        match position.partial_cmp(last) {
            Some(order) => Ok(order != std::cmp::Ordering::Greater),
            None => Err(Error::out_of_step(format!(
                "the source is now system {}, the journal follows {}",
                position.system, last.system
            ))),
        }
    }

    /// Puts what is still true of a chunk into the journal, here. Whether anything was written.
    fn land(&mut self, id: u64, position: Position, left_out: &mut Vec<LeftOut>) -> Result<bool> {
        let Some(Arrived { chunk, purpose, landing, tell }) = self.windows.land(id) else { return Ok(false) };
        let table = chunk.table;
        let landing = match landing {
            Ok(landing) => landing,
            Err(why) => {
                let _ = tell.send(Outcome::Again(why));
                return Ok(false);
            }
        };
        let deleted = match purpose {
            Purpose::Land => Vec::new(),
            Purpose::Mend { .. } => landing.absent,
            Purpose::Look { .. } => {
                let Landing { rows, absent, unknown, .. } = landing;
                let seen = Seen { offset: self.last_offset, table, rows, absent, unknown };
                let _ = tell.send(Outcome::Seen(seen));
                return Ok(false);
            }
        };
        left_out.extend(landing.refused.into_iter().map(LeftOut::Rows));
        self.writer.begin(EntryKind::Chunk { chunk: id })?;
        for row in landing.rows {
            self.writer.change(&Change::Snapshot { table: Arc::clone(&table), row })?;
        }
        for key in deleted {
            self.writer.change(&Change::Delete { table: Arc::clone(&table), key })?;
        }
        let offset = self.writer.commit(position.clone(), self.last_committed_at)?;
        (self.last, self.last_offset) = (Some(position), offset);
        // The reader is told when the entry is durable; it waits for that itself.
        let _ =
            tell.send(Outcome::Landed(Landed { offset, reread: landing.reread, unknown: landing.unknown }));
        Ok(true)
    }

    fn leave_out(&self, notes: &[LeftOut]) -> Result<()> {
        // Tables are emptied more often than rows are left out.
        let nothing_to_empty = !self.board.has_left_out();
        if nothing_to_empty && !notes.iter().any(|note| matches!(note, LeftOut::Rows(_))) {
            return Ok(());
        }
        for note in notes {
            if let LeftOut::Rows(Refused { table, rows: 1.., place, reason, .. }) = note {
                warn!(table = %table.name, place, reason, "rows are left out, and in quarantine");
            }
        }
        self.board.left_out(self.state.leave_out(notes, self.last_offset)?);
        Ok(())
    }

    fn abandon_transaction(&mut self) {
        self.writer.abort();
        self.windows.transaction_dropped();
    }

    /// An entry without changes, so that the source may forget its log up to here: what is released is never beyond
    /// what the journal knows, or the next start would take the difference for a gap.
    fn note_idle(&mut self, position: Position) -> Result<bool> {
        if self.is_old(&position)? {
            return Ok(false);
        }
        self.writer.begin(EntryKind::Transaction { xid: None })?;
        self.last_offset = self.writer.commit(position.clone(), self.last_committed_at)?;
        self.last = Some(position);
        Ok(true)
    }

    /// The source may forget what every store holds; what a slow store lacks, the journal keeps for it.
    async fn release(&self) -> Result<()> {
        // After a gap, what the journal and the stores know may be of another course of history, until the first entry.
        let following =
            |position: &Position| self.last.as_ref().is_some_and(|last| last.system == position.system);
        match self.board.releasable(self.journal.durable(), self.journal.last_position()) {
            Some(position) if following(&position) => self.source.release(&position).await,
            _ => Ok(()),
        }
    }
}

/// What a transaction changed.
#[derive(Default)]
pub(crate) struct Written {
    pub changes: u64,
    /// Rows by table.
    pub rows: Vec<(Arc<Table>, u64)>,
}

impl Written {
    fn count(&mut self, change: &Change) {
        self.changes += 1;
        let table = match change {
            Change::Insert { table, .. } | Change::Update { table, .. } | Change::Delete { table, .. } => {
                table
            }
            Change::Truncate { .. } | Change::Snapshot { .. } => return,
        };
        // From the end: as a rule it is the table of the row before.
        match self.rows.iter_mut().rev().find(|(known, _)| Arc::ptr_eq(known, table)) {
            Some((_, rows)) => *rows += 1,
            None => self.rows.push((Arc::clone(table), 1)),
        }
    }

    fn clear(&mut self) {
        self.changes = 0;
        self.rows.clear();
    }
}

/// The shapes that rows came with, to look at each only once.
#[derive(Default)]
struct SeenShapes {
    last: Option<Arc<Table>>,
    by_table: HashMap<TableId, Arc<Table>>,
}

impl SeenShapes {
    /// The change's table, if it has a shape that was not seen before and that is not the one it had when the term began.
    fn unplanned(&mut self, change: &Change, planned: &Tables) -> Option<Arc<Table>> {
        let table = match change {
            Change::Insert { table, .. } | Change::Update { table, .. } | Change::Delete { table, .. } => {
                table
            }
            Change::Truncate { .. } | Change::Snapshot { .. } => return None,
        };
        if self.last.as_ref().is_some_and(|last| Arc::ptr_eq(last, table)) {
            return None;
        }
        self.last = Some(Arc::clone(table));
        let before = self.by_table.insert(table.id, Arc::clone(table));
        let is_known = before.is_some_and(|before| before.is_shaped_like(table))
            || planned.get(&table.name).is_some_and(|planned| planned.is_shaped_like(table));
        (!is_known).then(|| Arc::clone(table))
    }
}
