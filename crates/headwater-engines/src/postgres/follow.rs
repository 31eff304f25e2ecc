//! A running read of the log: a task that reads, decodes and reports progress, and the queue that it fills.
//!
//! The queue is bounded in bytes and events; a full one stops the reading but not the status updates, so a slow
//! consumer is never mistaken for a dead one. Order is the server's.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BufMut;
use headwater_model::{Error, Event, Follow, Result};
use postgres_protocol::message::frontend;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::catalog::{self, Catalog, Identity, Seen};
use super::config::Config;
use super::connection::Connection;
use super::error::ServerError;
use super::pgoutput::{Decoder, Reader, RelationMessage};
use super::pool::Pool;
use super::time::EPOCH_MICROS;
use super::wanted::{self, Wanted};
use super::wire::Frame;

/// What may wait for the consumer: undecoded size and number of events.
const QUEUE_BYTES_MAX: usize = 8 * 1024 * 1024;
const QUEUE_EVENTS_MAX: usize = 4096;
/// Handed over at once when this much is decoded, even if more has arrived.
const BATCH_EVENTS_MAX: usize = 1024;
const BATCH_BYTES_MAX: usize = 1024 * 1024;

const UNDEFINED_OBJECT: &str = "42704";
const UNDEFINED_FILE: &str = "58P01";

const STATUS_EVERY: Duration = Duration::from_millis(500);
/// Silence after which we ask the server whether there is really nothing, and after which we give it up.
const ASK_AFTER: Duration = Duration::from_millis(400);
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);

/// The consumer's end. Dropping it ends the task, which frees the slot.
pub(super) struct Following {
    queue: Arc<Queue>,
    watching: JoinHandle<()>,
}

#[async_trait]
impl Follow for Following {
    async fn next(&mut self) -> Result<Vec<Event>> {
        loop {
            {
                let mut waiting = self.queue.waiting();
                if let Some(gap) = waiting.gap.take() {
                    return Err(gap);
                }
                if !waiting.events.is_empty() {
                    waiting.bytes = 0;
                    let events = std::mem::take(&mut waiting.events);
                    self.queue.taken.notify_one();
                    return Ok(events);
                }
                if let Some(end) = &mut waiting.end {
                    return Err(end
                        .take()
                        .unwrap_or_else(|| Error::transient("following ended with the error given before")));
                }
            }
            self.queue.arrived.notified().await;
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.watching.abort();
        self.queue.waiting().closed = true;
        self.queue.taken.notify_one();
        self.queue.closed.notify_one();
    }
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Notify,
    taken: Notify,
    closed: Notify,
}

#[derive(Default)]
struct Waiting {
    events: Vec<Event>,
    bytes: usize,
    /// Why the task ended; the inner option is emptied when it was told.
    end: Option<Option<Error>>,
    /// What the log will not say, found out elsewhere: told before anything else.
    gap: Option<Error>,
    closed: bool,
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What following has in common with the rest of the source.
pub(super) struct Shared {
    pub config: Arc<Config>,
    pub catalog: Arc<Catalog>,
    pub pool: Arc<Pool>,
    pub released: Arc<AtomicU64>,
    pub wanted: Arc<Wanted>,
}

/// Starts the tasks, on a connection that is in COPY BOTH.
pub(super) fn start(connection: Connection, decoder: Decoder, shared: Shared) -> Following {
    let queue = Arc::new(Queue::default());
    let watch = wanted::watch(shared.pool.clone(), shared.config.clone(), shared.wanted.clone());
    let watched = queue.clone();
    let watching = tokio::spawn(async move {
        let gap = watch.await;
        watched.waiting().gap = Some(gap);
        watched.arrived.notify_one();
    });
    let reading = Reading {
        connection,
        received: decoder.position(),
        decoder,
        shared,
        queue: queue.clone(),
        batch: Vec::new(),
        batch_bytes: 0,
    };
    tokio::spawn(reading.run());
    Following { queue, watching }
}

struct Reading {
    connection: Connection,
    decoder: Decoder,
    shared: Shared,
    queue: Arc<Queue>,
    /// The furthest that the server says it has sent.
    received: u64,
    batch: Vec<Event>,
    batch_bytes: usize,
}

/// So many small reads, each soon after the other, mean load.
const BUSY_AFTER: u32 = 8;
const SMALL_READ_BYTES: usize = 64 << 10;
const GATHER_FOR: Duration = Duration::from_millis(1);

/// How reading ended.
enum End {
    Closed,
    Failed(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> End {
        End::Failed(error)
    }
}

impl Reading {
    async fn run(mut self) {
        let end = match self.read().await {
            Err(End::Failed(error)) => {
                // What was decoded before the error is good and comes first.
                let mut waiting = self.queue.waiting();
                waiting.events.append(&mut self.batch);
                Some(error)
            }
            Err(End::Closed) | Ok(()) => None,
        };
        self.queue.waiting().end = Some(end);
        self.queue.arrived.notify_one();
        self.goodbye().await;
    }

    async fn read(&mut self) -> Result<(), End> {
        let queue = self.queue.clone();
        let mut status = interval(STATUS_EVERY);
        status.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let mut in_a_row = 0;
        loop {
            while let Some(frame) = self.connection.wire.next_frame()? {
                self.frame(frame).await?;
                if self.batch.len() >= BATCH_EVENTS_MAX || self.batch_bytes >= BATCH_BYTES_MAX {
                    self.hand_over(&mut status).await?;
                }
            }
            if !self.batch.is_empty() {
                self.hand_over(&mut status).await?;
                // Waiting for room is not the server's silence.
                heard = Instant::now();
            }
            // The server sends each message by itself. Under load, waking up for each costs more than decoding it: a short
            // pause lets them gather. A message that comes alone is read at once.
            if in_a_row >= BUSY_AFTER {
                tokio::time::sleep(GATHER_FOR).await;
            }
            let asked = Instant::now();
            tokio::select! {
                filled = self.connection.wire.fill() => {
                    let small = filled? < SMALL_READ_BYTES;
                    heard = Instant::now();
                    in_a_row = if small && asked.elapsed() < GATHER_FOR { in_a_row + 1 } else { 0 };
                }
                _ = status.tick() => {
                    if heard.elapsed() > GIVE_UP_AFTER {
                        return Err(Error::transient("the server has been silent for a minute").into());
                    }
                    self.send_status(heard.elapsed() > ASK_AFTER).await?;
                }
                () = queue.closed.notified() => return Err(End::Closed),
            }
        }
    }

    async fn frame(&mut self, frame: Frame) -> Result<()> {
        match frame.tag {
            b'd' => {}
            b'N' | b'S' => return Ok(()),
            b'E' => {
                let error = ServerError::parse(self.connection.wire.bytes(frame.body));
                // The only object that decoding looks up by name, in the catalog as it was.
                if error.code == UNDEFINED_OBJECT {
                    return Err(wanted::publication_gone(&self.shared.config).with_cause(Error::from(error)));
                }
                // A slot may be in order and what it needs not be there: one that was copied to a standby, as failover tools do,
                // holds back nothing there until then. Asking again does not bring the log back.
                if error.code == UNDEFINED_FILE {
                    return Err(Error::out_of_step("the server has removed log that the slot needs")
                        .with_cause(Error::from(error)));
                }
                return Err(error.into());
            }
            // CopyDone: the server shuts down cleanly.
            b'c' | b'C' | b'Z' => return Err(Error::transient("the server ended the stream")),
            other => {
                return Err(Error::transient(format!("the server sent message {:?}", char::from(other))));
            }
        }
        self.batch_bytes += frame.body.len();
        let body = self.connection.wire.bytes(frame.body);
        let mut reader = Reader(body);
        match reader.u8()? {
            b'w' => {
                reader.u64()?;
                self.received = self.received.max(reader.u64()?);
                reader.u64()?;
                if let Some(message) = self.decoder.message(reader.0, &mut self.batch)? {
                    let wanted = self.shared.wanted.get();
                    if wanted.is_some_and(|wanted| !wanted.cover(message.id, &message.name)) {
                        self.decoder.ignore(&message);
                    } else {
                        let shape = resolve(&message, &self.shared.catalog, &self.shared.pool).await?;
                        self.decoder.define(message, shape);
                    }
                }
            }
            b'k' => {
                let end = reader.u64()?;
                reader.u64()?;
                self.received = self.received.max(end);
                let wants_reply = reader.u8()? == 1;
                self.decoder.caught_up(end, &mut self.batch);
                if wants_reply {
                    self.send_status(false).await?;
                }
            }
            other => return Err(Error::bug(format!("the log holds a frame {:?}", char::from(other)))),
        }
        Ok(())
    }

    /// Gives the batch to the consumer, when there is room for it.
    async fn hand_over(&mut self, status: &mut tokio::time::Interval) -> Result<(), End> {
        let queue = self.queue.clone();
        loop {
            {
                let mut waiting = queue.waiting();
                if waiting.closed {
                    return Err(End::Closed);
                }
                if waiting.bytes < QUEUE_BYTES_MAX && waiting.events.len() < QUEUE_EVENTS_MAX {
                    waiting.bytes += std::mem::take(&mut self.batch_bytes);
                    if waiting.events.is_empty() {
                        std::mem::swap(&mut waiting.events, &mut self.batch);
                    } else {
                        waiting.events.append(&mut self.batch);
                    }
                    queue.arrived.notify_one();
                    return Ok(());
                }
            }
            tokio::select! {
                () = queue.taken.notified() => {}
                _ = status.tick() => self.send_status(false).await?,
            }
        }
    }

    /// A standby status update: what we have received, and what the server may forget.
    async fn send_status(&mut self, ask: bool) -> Result<()> {
        self.put_status(ask);
        self.connection.wire.flush().await
    }

    fn put_status(&mut self, ask: bool) {
        // Never beyond what this stream has handed out: the server would believe it and skip the rest.
        let flushed = self.shared.released.load(Ordering::Acquire).min(self.decoder.position());
        let mut update = Vec::with_capacity(34);
        update.put_u8(b'r');
        update.put_u64(self.received);
        update.put_u64(flushed);
        update.put_u64(flushed);
        update.put_i64(now_micros() - EPOCH_MICROS);
        update.put_u8(u8::from(ask));
        if let Ok(data) = frontend::CopyData::new(&update[..]) {
            data.write(&mut self.connection.wire.output);
        }
    }

    /// A last status and a clean end, so that the slot is free at once. Best effort.
    async fn goodbye(mut self) {
        self.put_status(false);
        frontend::copy_done(&mut self.connection.wire.output);
        frontend::terminate(&mut self.connection.wire.output);
        let _ = timeout(Duration::from_secs(1), self.connection.wire.flush()).await;
    }
}

/// The server only logs this clock; nothing is decided by it.
fn now_micros() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(0))
}

/// Adds what the catalog knows to what the log says about a table.
async fn resolve(message: &RelationMessage, catalog: &Catalog, pool: &Pool) -> Result<catalog::Shape> {
    let mut connection = pool.get().await?;
    let key = match message.own_key() {
        Some(key) => key,
        None => {
            let identity = catalog::identity(&mut connection, message.id).await?;
            key_of(message, &identity, &catalog.last_key(message.id)).ok_or_else(|| {
                Error::unsupported(format!("table {} has nothing that identifies a row", message.name))
                    .with_remedy(format!(
                        "ALTER TABLE {} ADD PRIMARY KEY (…)",
                        super::sql::table(&message.name)
                    ))
            })?
        }
    };
    let shape = catalog.shape(message.described(key), Seen::InLog, &mut connection).await?;
    connection.keep();
    Ok(shape)
}

/// The key when the message alone does not tell it. The catalog may be ahead of the log, so its answer counts only
/// if it fits the message.
fn key_of(message: &RelationMessage, identity: &Identity, last: &[Box<str>]) -> Option<Vec<usize>> {
    let place = |name: &str| message.columns.iter().position(|(column, ..)| **column == *name);
    let by_name = |names: &mut dyn Iterator<Item = &str>| names.map(place).collect::<Option<Vec<usize>>>();
    let mut candidates = vec![by_name(&mut identity.columns.iter().map(|(name, _)| &**name))];
    if identity.columns_of_table == message.columns.len() {
        // Renamed since: the places are still the same.
        candidates.push(Some(identity.columns.iter().map(|(_, place)| *place).collect()));
    }
    candidates.push(by_name(&mut last.iter().map(|name| &**name)));
    let flagged = message.flagged();
    let whole_row = message.identity == b'f' || flagged.is_empty();
    let fits = |key: &Vec<usize>| {
        let mut sorted = key.clone();
        sorted.sort_unstable();
        !key.is_empty() && (whole_row || sorted == flagged)
    };
    candidates
        .into_iter()
        .flatten()
        .find(fits)
        // A key of several columns whose order is not known any more: column order identifies as well.
        .or_else(|| (!whole_row).then_some(flagged))
}
