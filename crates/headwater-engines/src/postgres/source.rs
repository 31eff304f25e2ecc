//! The [`headwater_model::Source`] of PostgreSQL: which connection does what. The work is in the other files.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use headwater_model::file::SourceSection;
use headwater_model::{
    Answer, Catalogued, Chunk, ChunkId, ChunkRange, Error, ErrorKind, Follow, Lineage, Position, Read,
    Result, RetainedLog, SourceFacts, TableName,
};

use super::answer::Answers;
use super::catalog::Catalog;
use super::config::Config;
use super::connection::{Connection, Purpose};
use super::line::{self, Course};
use super::pgoutput::{Decoder, MARK_PREFIX, mark_text};
use super::pool::Pool;
use super::wanted::Wanted;
use super::{chunk, follow, inspect, lsn, prepare, slot, sql};

/// Connections for chunks, and for everything else, so that long reads never hold up a mark.
const READERS_MAX: usize = 4;
const OTHERS_MAX: usize = 3;

/// One PostgreSQL database that can be followed.
pub struct Source {
    config: Arc<Config>,
    readers: Arc<Pool>,
    others: Arc<Pool>,
    answers: Answers,
    catalog: Arc<Catalog>,
    wanted: Arc<Wanted>,
    /// Whether tables joined the publication, and the caller has not gone on to follow since.
    unsettled: AtomicBool,
    /// The server may forget its log up to here. Read by the running stream.
    released: Arc<AtomicU64>,
    /// `system identifier/timeline` of the server that answered last.
    system: Mutex<Option<Arc<str>>>,
}

impl Source {
    /// Reads the section; connects on first use.
    pub fn new(section: &SourceSection) -> Result<Source> {
        let config = Arc::new(Config::new(section)?);
        Ok(Source {
            readers: Arc::new(Pool::new(config.clone(), READERS_MAX)),
            others: Arc::new(Pool::new(config.clone(), OTHERS_MAX)),
            answers: Answers::new(config.clone()),
            config,
            catalog: Arc::default(),
            wanted: Arc::default(),
            unsettled: AtomicBool::new(false),
            released: Arc::default(),
            system: Mutex::default(),
        })
    }

    async fn replication(&self) -> Result<Connection> {
        Connection::open(&self.config, Purpose::Replication).await.map_err(no_sender)
    }

    /// The same to the primary: behind one address for several servers every connection may lead to another one.
    async fn primary(&self) -> Result<Connection> {
        let replication = self.replication().await?;
        if replication.is_standby() {
            return Err(prepare::standby());
        }
        Ok(replication)
    }

    fn known_system(&self) -> Option<Arc<str>> {
        self.system.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, course: &Course) -> Arc<str> {
        let system = course.name();
        *self.system.lock().unwrap_or_else(PoisonError::into_inner) = Some(system.clone());
        system
    }

    /// Checks that the log after `after` is there to be had.
    fn check_start(&self, after: &Position, system: &Arc<str>, end: u64, confirmed: u64) -> Result<()> {
        if after.system != *system {
            return Err(Error::out_of_step(format!(
                "the position belongs to system {}, the server is {system} now: it was promoted, restored or replaced",
                after.system
            )));
        }
        if after.sequence < confirmed {
            return Err(Error::out_of_step(format!(
                "the log between {} and {} is gone: the slot \"{}\" was advanced or made anew",
                lsn::format(after.sequence),
                lsn::format(confirmed),
                self.config.slot
            )));
        }
        if after.sequence > end {
            return Err(Error::out_of_step(format!(
                "the server's log ends at {}, before {}: it was restored from an older copy",
                lsn::format(end),
                lsn::format(after.sequence)
            )));
        }
        Ok(())
    }
}

#[async_trait]
impl headwater_model::Source for Source {
    async fn inspect(&self) -> Result<SourceFacts> {
        let mut connection = self.others.get().await?;
        let facts = inspect::inspect(&mut connection, &self.catalog, &self.config).await?;
        connection.keep();
        Ok(facts)
    }

    async fn lineage(&self, known: Option<&Position>) -> Result<Lineage> {
        self.config.line.expect(known);
        let mut replication = self.primary().await?;
        let (course, _) = line::identify(&mut replication).await?;
        let ancestors = line::ancestors(&mut replication, &course).await?;
        replication.close().await;
        Ok(Lineage { system: course.name(), ancestors })
    }

    async fn prepare(&self, tables: &[TableName]) -> Result<Vec<TableName>> {
        let mut connection = self.others.get().await?;
        let prepared = prepare::prepare(&mut connection, &self.config, tables).await?;
        self.wanted.set(&prepared.tables);
        self.unsettled.store(prepared.unsettled, Ordering::Release);
        connection.keep();
        Ok(prepared.joined)
    }

    async fn follow(&self, after: Option<&Position>) -> Result<Box<dyn Follow>> {
        let mut connection = self.others.get().await?;
        let state = slot::wait_until_free(&mut connection, &self.config).await?;
        let rows =
            connection.query("SELECT pg_snapshot_xmax(pg_current_snapshot()), pg_is_in_recovery()").await?;
        let cell = |i: usize| rows.first().and_then(|row| row.get(i).cloned().flatten());
        if cell(1).as_deref() == Some("t") {
            // That the slot is missing says nothing then.
            return Err(prepare::standby());
        }
        let xid = cell(0).and_then(|xid| xid.parse().ok());
        let xid = xid.ok_or_else(|| Error::bug("the server has no transaction number"))?;
        connection.keep();

        let slot = &self.config.slot;
        let Some(state) = state else {
            return Err(Error::out_of_step(format!("the slot \"{slot}\" does not exist")));
        };
        if state.lost {
            return Err(Error::out_of_step(format!(
                "the server has given up the slot \"{slot}\": it removed log that was not read in time"
            ))
            .with_remedy("raise max_slot_wal_keep_size if following must survive longer pauses"));
        }
        let mut replication = self.primary().await?;
        let (course, end) = line::identify(&mut replication).await?;
        let system = self.remember(&course);
        if let Some(after) = after {
            self.check_start(after, &system, end, state.confirmed)?;
        }
        let start = after.map_or(state.confirmed, |after| after.sequence);
        replication
            .copy_both(&format!(
                "START_REPLICATION SLOT {} LOGICAL {} (proto_version '1', publication_names {}, messages 'true')",
                sql::identifier(slot),
                lsn::format(start),
                sql::literal(&sql::identifier(&self.config.publication)),
            ))
            .await
            .map_err(|error| match error.kind() {
                // It was there a moment ago: dropped or given up in between.
                ErrorKind::Misconfigured => {
                    Error::out_of_step(format!("the slot \"{slot}\" is there no more")).with_cause(error)
                }
                _ => error.while_doing("start following"),
            })?;
        self.config.line.follow(&course);
        if self.unsettled.load(Ordering::Acquire) {
            let mut connection = self.others.get().await?;
            prepare::settled(&mut connection, &self.config).await;
            connection.keep();
            self.unsettled.store(false, Ordering::Release);
        }
        let decoder = Decoder::new(system, slot, xid, start);
        Ok(Box::new(follow::start(
            replication,
            decoder,
            follow::Shared {
                config: self.config.clone(),
                catalog: self.catalog.clone(),
                pool: self.others.clone(),
                released: self.released.clone(),
                wanted: self.wanted.clone(),
            },
        )))
    }

    async fn shapes(&self, tables: &[TableName]) -> Result<Vec<Catalogued>> {
        let mut connection = self.others.get().await?;
        let mut shapes = Vec::with_capacity(tables.len());
        for name in tables {
            shapes.push(chunk::shape(&mut connection, &self.catalog, name).await?);
        }
        connection.keep();
        Ok(shapes)
    }

    async fn read_chunk(&self, range: &ChunkRange) -> Result<Chunk> {
        chunk::read(&self.readers, &self.catalog, range).await
    }

    /// A transactional message: its commit flushes the log, where a message of its own would lie unflushed until
    /// something else does. The session's `synchronous_commit = local` keeps it from waiting for standbys.
    async fn mark(&self, chunk: ChunkId) -> Result<()> {
        let mut connection = self.others.get().await?;
        let text = sql::literal(&mark_text(&self.config.slot, chunk));
        connection
            .query(&format!("SELECT pg_logical_emit_message(true, '{MARK_PREFIX}', {text})"))
            .await
            .map_err(|error| error.while_doing("put a mark into the log"))?;
        connection.keep();
        Ok(())
    }

    async fn release(&self, upto: &Position) -> Result<()> {
        match self.known_system() {
            Some(system) if system == upto.system => {
                self.released.fetch_max(upto.sequence, Ordering::AcqRel);
                Ok(())
            }
            // Not following yet: the server keeps its log, which is safe.
            None => Ok(()),
            Some(system) => Err(Error::out_of_step(format!(
                "a position of system {} cannot be released at system {system}",
                upto.system
            ))),
        }
    }

    async fn progress(&self) -> Result<(Position, RetainedLog)> {
        let system = match self.known_system() {
            Some(system) => system,
            None => {
                let mut replication = self.replication().await?;
                let (course, _) = line::identify(&mut replication).await?;
                replication.close().await;
                self.remember(&course)
            }
        };
        let mut connection = self.others.get().await?;
        let rows = connection.query("SELECT pg_current_wal_flush_lsn()").await?;
        let end = rows.first().and_then(|row| row[0].as_deref()).unwrap_or_default();
        let end = lsn::parse(end)?;
        let state = slot::state(&mut connection, &self.config).await?;
        let bound_bytes = inspect::retained_bound(&mut connection).await?;
        connection.keep();
        let bytes = state.map_or(0, |state| state.retained_bytes);
        Ok((Position { system, sequence: end }, RetainedLog { bytes, bound_bytes }))
    }

    async fn forget(&self) -> Result<()> {
        let mut connection = self.others.get().await?;
        prepare::forget(&mut connection, &self.config).await?;
        connection.keep();
        Ok(())
    }

    async fn answer(&self, read: &Read) -> Result<Answer> {
        self.answers.answer(&self.catalog, read).await
    }

    fn traffic(&self) -> Vec<headwater_model::Traffic> {
        Vec::new()
    }

    fn notation(&self, position: &Position) -> String {
        lsn::format(position.sequence)
    }

    fn sequence(&self, notation: &str) -> Option<u64> {
        lsn::parse(notation).ok()
    }
}

/// A replication connection needs more than SQL does; say what.
fn no_sender(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Denied => error.while_doing("open a replication connection").with_remedy(
            "give the role REPLICATION (ALTER ROLE … REPLICATION), and let it in through pg_hba.conf",
        ),
        _ => error.while_doing("open a replication connection"),
    }
}
