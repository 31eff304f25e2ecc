//! A user's SQLite database as a source: whatever writes to the file, Headwater follows it.
//!
//! - [`capture`] what is put into the database, and why it is only keys
//! - [`registry`] which tables are captured, and keeping that true while the schema changes
//! - [`log`] the change table as events · [`follow`] the thread that watches
//! - [`tables`] what the tables look like · [`answer`], [`dialect`] access patterns as SQL
//!
//! Invariant: nothing here holds a lock on the user's database for longer than a few milliseconds. Reads of one window
//! or chunk are one short read transaction each; writes are single rows, bounded deletes, or changes of the schema that
//! were asked for.

mod answer;
mod capture;
mod dialect;
mod follow;
mod inspect;
mod log;
mod registry;
mod release;
mod tables;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use headwater_model::file::SourceSection;
use headwater_model::{
    Answer, Catalogued, Chunk, ChunkId, ChunkRange, Error, Lineage, Moment, Position, Read, Result,
    RetainedLog, SourceFacts, TableName,
};
use rusqlite::Connection;

use self::answer::Answers;
use self::capture::kind;
use self::registry::Registry;
use self::release::Released;
use super::config::{LOG_ROW_BYTES, SourceOptions};
use super::connection::{Opened, failed};
use super::readers::Readers;

/// A SQLite database that is followed. Nothing is opened before it is asked for, and the file is never made.
pub struct Source {
    options: SourceOptions,
    readers: Arc<Readers>,
    answers: Answers,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// For marks and changes of the schema.
    writer: Mutex<Option<Opened>>,
    /// For releases, which take longer and must not hold up a mark.
    pruner: Mutex<Option<Opened>>,
    /// As the newest schema that was read has it.
    registry: Mutex<Option<Arc<Registry>>>,
    released: Mutex<Released>,
}

impl Source {
    pub fn new(section: &SourceSection) -> Result<Source> {
        let (options, answer_within) = SourceOptions::parse(section)?;
        Ok(Source::with_options(options).answering_within(answer_within))
    }

    pub fn with_options(options: SourceOptions) -> Source {
        let readers = Arc::new(Readers::new(options.path.clone()));
        let answers = Answers::new(options.path.clone());
        Source { options, readers, answers, shared: Arc::default() }
    }

    /// How long one access pattern may be worked on; half a second unless it is said.
    #[must_use]
    pub fn answering_within(mut self, timeout: Duration) -> Source {
        self.answers.within = timeout;
        self
    }

    /// Reads within one read transaction.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let work = move |connection: &Connection| {
            let moment = connection.unchecked_transaction().map_err(|e| failed(e, "begin to read"))?;
            read(&moment)
        };
        self.readers.read(work).await?.ok_or_else(|| self.missing())
    }

    fn missing(&self) -> Error {
        Error::misconfigured(format!("there is no database at {}", self.options.path.display()))
            .with_remedy("correct the path after sqlite: (a relative one starts at the working directory)")
    }

    /// Writes on one of the connections for that.
    async fn write<T: Send + 'static>(
        &self,
        slot: fn(&Shared) -> &Mutex<Option<Opened>>,
        write: impl FnOnce(&Connection, &Shared) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if !self.options.path.exists() {
            return Err(self.missing());
        }
        let (shared, path) = (self.shared.clone(), self.options.path.clone());
        let work = move || {
            let mut writer = slot(&shared).lock().unwrap_or_else(PoisonError::into_inner);
            let opened = match writer.take().filter(Opened::is_current) {
                Some(opened) => opened,
                None => Opened::existing(&path)?,
            };
            let written = write(&opened.connection, &shared);
            *writer = Some(opened);
            written
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|e| Error::bug("a write to the source ended early").with_cause(e))?
    }
}

impl Shared {
    fn registry(&self, connection: &Connection) -> Result<Arc<Registry>> {
        let version = registry::schema_version(connection)?;
        let mut known = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.as_ref().filter(|known| known.schema_version == version) {
            return Ok(known.clone());
        }
        let loaded = Arc::new(registry::load(connection)?);
        *known = Some(loaded.clone());
        Ok(loaded)
    }
}

/// `BEGIN IMMEDIATE`, so that what is read inside is still true when it is written.
fn in_write_transaction<T>(connection: &Connection, work: impl FnOnce() -> Result<T>) -> Result<T> {
    connection.execute_batch("BEGIN IMMEDIATE").map_err(|e| failed(e, "begin to write to the source"))?;
    let done = work().and_then(|done| {
        connection.execute_batch("COMMIT").map_err(|e| failed(e, "commit to the source"))?;
        Ok(done)
    });
    if done.is_err() && !connection.is_autocommit() {
        let _ = connection.execute_batch("ROLLBACK");
    }
    done
}

fn captured<'a>(registry: &'a Registry, name: &TableName) -> Result<&'a registry::Captured> {
    let named = |t: &&registry::Captured| *t.asked == *name.name || t.shape.name.name == name.name;
    registry.tables.values().find(named).filter(|t| t.present).ok_or_else(|| {
        Error::misconfigured(format!("table {name} is not there, or was not prepared for being followed"))
    })
}

#[async_trait]
impl headwater_model::Source for Source {
    async fn inspect(&self) -> Result<SourceFacts> {
        self.read(inspect::facts).await
    }

    async fn lineage(&self, _known: Option<&Position>) -> Result<Lineage> {
        let shared = self.shared.clone();
        self.read(move |connection| Ok(Lineage::only(&*shared.registry(connection)?.system))).await
    }

    async fn prepare(&self, tables: &[TableName]) -> Result<Vec<TableName>> {
        let (tables, rows_max) = (tables.to_vec(), self.options.log_rows_max());
        self.write(
            |shared| &shared.writer,
            move |connection, _| {
                if registry::is_prepared(connection, &tables, rows_max)? {
                    return Ok(Vec::new());
                }
                in_write_transaction(connection, || registry::prepare(connection, &tables, rows_max))
            },
        )
        .await
    }

    async fn follow(&self, after: Option<&Position>) -> Result<Box<dyn headwater_model::Follow>> {
        if !self.options.path.exists() {
            return Err(self.missing());
        }
        let (path, after) = (self.options.path.clone(), after.cloned());
        let follow = tokio::task::spawn_blocking(move || follow::start(&path, after))
            .await
            .map_err(|e| Error::bug("following ended before it began").with_cause(e))??;
        Ok(Box::new(follow))
    }

    async fn shapes(&self, tables: &[TableName]) -> Result<Vec<Catalogued>> {
        let (tables, shared) = (tables.to_vec(), self.shared.clone());
        self.read(move |connection| {
            let registry = shared.registry(connection)?;
            tables.iter().map(|name| Ok(captured(&registry, name)?.catalogued())).collect()
        })
        .await
    }

    async fn read_chunk(&self, range: &ChunkRange) -> Result<Chunk> {
        let (range, shared) = (range.clone(), self.shared.clone());
        self.read(move |connection| {
            let registry = shared.registry(connection)?;
            let captured = captured(&registry, &range.table)?;
            let page = if range.keys.is_empty() {
                log::page(connection, captured, range.after.as_ref(), range.limit.max(1), range.bytes_max)?
            } else {
                let mut rows = Vec::with_capacity(range.keys.len());
                for key in &range.keys {
                    rows.extend(log::row(connection, captured, key)?);
                }
                log::Page { rows, refused: Vec::new(), upto: None, last: true }
            };
            let moment = Moment::At(log::position(&registry.system, log::newest(connection)?));
            let log::Page { rows, refused, upto, last } = page;
            Ok(Chunk { table: captured.shape.clone(), rows, refused, upto, moment, last })
        })
        .await
    }

    async fn mark(&self, chunk: ChunkId) -> Result<()> {
        self.write(|shared| &shared.writer, move |connection, _| {
            connection
                .prepare_cached(
                    "INSERT INTO headwater_change (table_id, kind, at, k1) VALUES (0, ?1, julianday('now'), ?2)",
                )
                .and_then(|mut statement| statement.execute((kind::MARK, chunk as i64)))
                .map_err(|e| failed(e, "put a mark into the change table"))?;
            Ok(())
        })
        .await
    }

    async fn release(&self, upto: &Position) -> Result<()> {
        let upto = upto.clone();
        // Locked means that one is going on.
        if !self.shared.released.try_lock().is_ok_and(|released| released.is_due(&upto)) {
            return Ok(());
        }
        self.write(
            |shared| &shared.pruner,
            move |connection, shared| {
                let mut released = shared.released.lock().unwrap_or_else(PoisonError::into_inner);
                released.release(connection, &upto)
            },
        )
        .await
    }

    async fn progress(&self) -> Result<(Position, RetainedLog)> {
        let (shared, bound_bytes) = (self.shared.clone(), self.options.retained_log_bytes_max);
        self.read(move |connection| {
            let registry = shared.registry(connection)?;
            let (oldest, newest) = (log::oldest(connection)?, log::newest(connection)?);
            // The newest row always stays, so it does not count.
            let bytes = newest.saturating_sub(oldest).unsigned_abs() * LOG_ROW_BYTES;
            Ok((
                log::position(&registry.system, newest),
                RetainedLog { bytes, bound_bytes: Some(bound_bytes) },
            ))
        })
        .await
    }

    async fn forget(&self) -> Result<()> {
        self.write(
            |shared| &shared.writer,
            |connection, _| in_write_transaction(connection, || registry::forget(connection)),
        )
        .await
    }

    async fn answer(&self, read: &Read) -> Result<Answer> {
        let answer = self.answers.answer(&self.shared, read).await?;
        answer.ok_or_else(|| self.missing())
    }

    fn traffic(&self) -> Vec<headwater_model::Traffic> {
        Vec::new()
    }

    fn notation(&self, position: &Position) -> String {
        log::change_of(position).to_string()
    }

    fn sequence(&self, notation: &str) -> Option<u64> {
        notation.parse().ok().filter(|change| *change >= 0).map(log::sequence)
    }
}
