//! A running read of the log: a task that reads and decodes, and a short queue that it fills.
//!
//! The queue is bounded; a full one stops the reading, and the server waits. One follower per database: a lock that the
//! server holds for the very connection that the log comes through.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use headwater_model::{Error, ErrorKind, Event, Follow, Position, Result, TableName};
use mysql_async::{BinlogStream, BinlogStreamRequest, Sid};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::catalog::Catalog;
use super::config::ZeroDates;
use super::connection::{Connection, Pool, Servers, literal, text};
use super::course::{Course, History};
use super::error::{code, failed};
use super::event::{HEARTBEAT, HEARTBEAT_V2};
use super::gtid::{Gtid, GtidSet};
use super::log::{Decoder, Layout, Whose};
use super::{catalog, layout};

/// Batches that may wait for the consumer, and how large each is.
const BATCHES_MAX: usize = 4;
const BATCH_EVENTS_MAX: usize = 1024;
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// How often the server says that there is nothing, and when silence means that it is gone.
const HEARTBEAT_EVERY: Duration = Duration::from_millis(400);
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);

/// How often a log in which nothing concerns us is said to have been read.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// How long another follower is waited for.
const LOCK_SECONDS: u32 = 3;

/// The consumer's end. Dropping it ends the task, and with it the connection.
pub(super) struct Following {
    batches: mpsc::Receiver<Result<Vec<Event>>>,
    task: JoinHandle<()>,
}

#[async_trait]
impl Follow for Following {
    async fn next(&mut self) -> Result<Vec<Event>> {
        let ended = || Err(Error::transient("following ended with the error given before"));
        self.batches.recv().await.unwrap_or_else(ended)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What following has in common with the rest of the source.
pub(super) struct Shared {
    pub servers: Arc<Servers>,
    pub catalog: Arc<Catalog>,
    pub pool: Arc<Pool>,
    pub wanted: Option<Arc<Vec<TableName>>>,
}

/// Begins behind `start`, which lies on `course`.
pub(super) async fn start(shared: Shared, start: Position, course: &Course) -> Result<Following> {
    let (stream, first, history) = open(&shared, &start, course).await?;
    let config = &shared.servers.config;
    let whose = match &history {
        History::MariaDb { domain, .. } => Whose::Domain(*domain),
        History::MySql { .. } => Whose::Servers(course.writers()),
    };
    let zero_dates: ZeroDates = config.zero_dates;
    let mut decoder = Decoder::new(start, config.database.clone(), whose, zero_dates, shared.wanted.clone());
    if let Some(wanted) = &shared.wanted {
        let mut lease = shared.pool.get().await?;
        let described = catalog::describe(&mut lease.connection, Some(wanted)).await?;
        for described in described.values() {
            // A table that cannot be followed any more is found when it changes.
            if let Ok(shape) = shared.catalog.shape(described) {
                decoder.knows(Layout { shape, cells: Arc::new([]) });
            }
        }
        lease.keep();
    }
    let (sender, batches) = mpsc::channel(BATCHES_MAX);
    let mut reading =
        Reading { stream, decoder, shared, batch: Vec::new(), batch_bytes: 0, told: Instant::now() };
    let task = tokio::spawn(async move {
        if let Err(error) = reading.run(first, &sender).await {
            // What was decoded before the error is good and comes first.
            let batch = std::mem::take(&mut reading.batch);
            if !batch.is_empty() && sender.send(Ok(batch)).await.is_err() {
                return;
            }
            let _ = sender.send(Err(error)).await;
        }
    });
    Ok(Following { batches, task })
}

type Packet = mysql_async::binlog::events::Event;

/// A stream behind `start`, with its first event.
async fn open(shared: &Shared, start: &Position, course: &Course) -> Result<(BinlogStream, Packet, History)> {
    let mut refused = None;
    for attempt in 0.. {
        let mut connection = shared.servers.open(&[]).await?;
        lock(&mut connection, &shared.servers.config.database).await?;
        let history = connection.history().await?;
        if start.sequence > history.sequence() {
            return Err(Error::out_of_step(format!(
                "the server's log ends at {}, before {}: it was restored from an older copy",
                history.sequence(),
                start.sequence
            )));
        }
        // One that no other replica has: the server would end the older of two.
        let rows = connection.rows("SELECT CONNECTION_ID()").await?;
        let id: u64 = rows.first().and_then(|row| text(row, 0).parse().ok()).unwrap_or(0);
        let server_id = 0x4857_0000 | (id & 0xffff) as u32;
        let request = BinlogStreamRequest::new(server_id).with_pos(4);
        connection
            .run(&format!(
                "SET @master_heartbeat_period = {ns}, @source_heartbeat_period = {ns}",
                ns = HEARTBEAT_EVERY.as_nanos()
            ))
            .await?;
        let request = match &history {
            History::MariaDb { .. } => {
                let candidates = history.committers(course, start.sequence);
                let Some(state) = place(&mut connection, start.sequence, &candidates, attempt).await? else {
                    return Err(refused.unwrap_or_else(|| {
                        Error::out_of_step(format!("no server committed transaction {}", start.sequence))
                    }));
                };
                connection
                    .run(&format!(
                        "SET @mariadb_slave_capability = 4, @slave_connect_state = {}, @slave_gtid_strict_mode = 0, \
                         @slave_gtid_ignore_duplicates = 0",
                        literal(&state)
                    ))
                    .await?;
                request
            }
            History::MySql { .. } => {
                let set = history.executed_at(course, start.sequence).ok_or_else(|| {
                    Error::out_of_step(
                        "the server has executed transactions that no primary committed: what it had executed at the \
                         position cannot be told",
                    )
                })?;
                missing(&mut connection, &set).await?;
                request.with_gtid().with_gtid_set(sids(&set)?)
            }
        };
        let mut stream = connection.conn.get_binlog_stream(request).await.map_err(failed)?;
        match timeout(GIVE_UP_AFTER, stream.next()).await {
            Ok(Some(Ok(first))) => return Ok((stream, first, history)),
            Ok(Some(Err(error))) => {
                // MariaDB knows its transactions by who committed them: perhaps it was another one.
                let is_other =
                    code(&error) == Some(1236) && error.to_string().contains("is not in the master's binlog");
                let error = gap(failed(error));
                match is_other {
                    true => refused = Some(error),
                    false => return Err(error),
                }
            }
            Ok(None) => return Err(Error::transient("the server ended the log before it began")),
            Err(_) => return Err(Error::transient("the server does not send its log")),
        }
    }
    Err(Error::bug("following did not begin"))
}

fn gap(error: Error) -> Error {
    match error.kind() {
        ErrorKind::OutOfStep => error.while_doing("the log behind the position is not there").with_remedy(
            "keep the binary log for longer (binlog_expire_logs_seconds, expire_logs_days) if following must survive \
             longer pauses",
        ),
        _ => error.while_doing("read the binary log"),
    }
}

/// What MariaDB is told of where to begin: the place in our domain, and the end of every other.
async fn place(
    connection: &mut Connection,
    sequence: u64,
    candidates: &[Gtid],
    attempt: usize,
) -> Result<Option<String>> {
    let rows = connection.rows("SELECT @@global.gtid_binlog_pos, @@global.gtid_domain_id").await?;
    let row = rows.first().cloned().unwrap_or_default();
    let others = Gtid::list(&text(&row, 0)).unwrap_or_default();
    let ours: u32 = text(&row, 1).parse().unwrap_or(0);
    let mut state: Vec<Gtid> = others.into_iter().filter(|gtid| gtid.domain != ours).collect();
    if sequence > 0 {
        let Some(candidate) = candidates.get(attempt) else { return Ok(None) };
        state.push(*candidate);
    } else if attempt > 0 {
        return Ok(None);
    }
    Ok(Some(state.iter().map(Gtid::to_string).collect::<Vec<_>>().join(",")))
}

/// MySQL sends what it has without a word if the rest was purged in a way that it does not notice: it is compared here.
async fn missing(connection: &mut Connection, set: &GtidSet) -> Result<()> {
    let sql = format!("SELECT GTID_SUBTRACT(@@global.gtid_purged, {})", literal(&set.to_string()));
    let rows = connection.rows(&sql).await?;
    let missing = rows.first().map(|row| text(row, 0)).unwrap_or_default();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(gap(Error::out_of_step(format!("the server has purged {missing}")))),
    }
}

fn sids(set: &GtidSet) -> Result<Vec<Sid<'static>>> {
    let sid = |text: &str| text.parse().map_err(|e| Error::bug("a set of global ids is none").with_cause(e));
    set.to_string().split(',').filter(|text| !text.is_empty()).map(sid).collect()
}

async fn lock(connection: &mut Connection, database: &str) -> Result<()> {
    // Names of locks have 64 characters at most.
    let name: String = format!("headwater {database}").chars().take(64).collect();
    let rows = connection.rows(&format!("SELECT GET_LOCK({}, {LOCK_SECONDS})", literal(&name))).await?;
    match rows.first().map(|row| text(row, 0)).as_deref() {
        Some("1") => Ok(()),
        _ => Err(Error::transient(format!(
            "another instance follows this database: it holds the lock \"{name}\""
        ))),
    }
}

struct Reading {
    stream: BinlogStream,
    decoder: Decoder,
    shared: Shared,
    batch: Vec<Event>,
    batch_bytes: usize,
    told: Instant,
}

impl Reading {
    async fn run(&mut self, first: Packet, sender: &mpsc::Sender<Result<Vec<Event>>>) -> Result<()> {
        let mut packet = Some(first);
        loop {
            if let Some(packet) = packet.take() {
                self.packet(&packet).await?;
            }
            if self.batch.len() >= BATCH_EVENTS_MAX || self.batch_bytes >= BATCH_BYTES_MAX {
                self.hand_over(sender).await?;
            }
            // What has arrived is taken first; then what was decoded is handed over.
            let arrived = match futures::FutureExt::now_or_never(self.stream.next()) {
                Some(arrived) => arrived,
                None => {
                    self.hand_over(sender).await?;
                    let next = timeout(GIVE_UP_AFTER, self.stream.next());
                    next.await.map_err(|_| Error::transient("the server has been silent for a minute"))?
                }
            };
            match arrived {
                Some(Ok(event)) => packet = Some(event),
                Some(Err(error)) => return Err(gap(failed(error))),
                None => return Err(Error::transient("the server ended the stream")),
            }
        }
    }

    async fn packet(&mut self, packet: &Packet) -> Result<()> {
        let header = packet.header();
        let kind = header.event_type_raw();
        if kind == HEARTBEAT || kind == HEARTBEAT_V2 {
            self.idle();
            return Ok(());
        }
        let data = packet.data();
        self.batch_bytes += data.len();
        let wants = self.decoder.event(kind, data, header.timestamp(), &mut self.batch)?;
        if let Some(wants) = wants {
            let mut lease = self.shared.pool.get().await?;
            let layout = layout::resolve(&wants.map, &self.shared.catalog, &mut lease.connection).await?;
            lease.keep();
            self.decoder.define(wants, layout);
        }
        if self.batch.is_empty() && self.told.elapsed() >= TELL_EVERY {
            self.idle();
        }
        Ok(())
    }

    /// Everything up to here was read, and there was nothing else to say.
    fn idle(&mut self) {
        if let Some(position) = self.decoder.position() {
            self.batch.push(Event::Idle { position });
        }
    }

    async fn hand_over(&mut self, sender: &mpsc::Sender<Result<Vec<Event>>>) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.batch_bytes = 0;
        self.told = Instant::now();
        let batch = std::mem::take(&mut self.batch);
        sender.send(Ok(batch)).await.map_err(|_| Error::transient("nobody follows any more"))
    }
}
