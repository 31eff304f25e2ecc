//! What one instance remembers between starts, besides the journal: its epoch, which views are filled, how far the
//! reads of tables have come, and what is quarantined. A small SQLite file, every write durable before it returns.
//!
//! Losing it loses no data: views are filled again from the source.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use headwater_model::{
    Catalogued, Epoch, Error, Key, Lineage, Offset, Refusal, Reshaped, Result, TableName, wire,
};
use rusqlite::{Connection, OptionalExtension, params};

use crate::fingerprint::{self, Fingerprint};
use crate::left_out;
use crate::status::{QuarantinedRow, VerifiedStatus};

/// One read of a whole table, chunk by chunk, on behalf of some views.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    pub id: u64,
    pub table: TableName,
    /// Everything up to this key has landed.
    pub after: Option<Key>,
    pub rows: u64,
    /// Offset at which the last chunk landed; `None` while reading.
    pub done: Option<Offset>,
    pub consumers: Vec<Consumer>,
}

/// A view in a store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Consumer {
    pub store: Box<str>,
    pub view: Box<str>,
}

/// How a view in a store stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Holds nothing that can be relied on: to be cleared, then read.
    Wanted,
    /// Holds the whole view as its tables were shaped before: to be read again, over what is there.
    Stale,
    /// Cleared; its jobs are running.
    Filling,
    /// Holds the whole view.
    Ready,
    /// Holds the whole view as it was before the log had a gap: to be read again in place, while it is read from.
    Gapped,
    /// The reads that close the gap are running.
    Closing,
}

/// What a view in a store may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    /// It shows everything up to here.
    pub upto: Offset,
    /// When that was committed, microseconds since 1970: of what came later, some may be missing.
    pub since: i64,
}

/// Entries of the journal that the source's present course of history never had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undo {
    pub from: Offset,
    pub upto: Offset,
    /// Commit time of the last entry before them.
    pub since: i64,
}

pub struct State {
    connection: Mutex<Connection>,
}

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS owner (one INTEGER PRIMARY KEY CHECK (one = 1), epoch INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS fill (
    store TEXT NOT NULL, view TEXT NOT NULL, definition TEXT NOT NULL, shapes TEXT NOT NULL, state TEXT NOT NULL,
    PRIMARY KEY (store, view));
CREATE TABLE IF NOT EXISTS job (
    id INTEGER PRIMARY KEY AUTOINCREMENT, schema_name TEXT, table_name TEXT NOT NULL,
    after BLOB, rows INTEGER NOT NULL DEFAULT 0, done INTEGER);
CREATE TABLE IF NOT EXISTS consumer (
    job INTEGER NOT NULL REFERENCES job (id) ON DELETE CASCADE, store TEXT NOT NULL, view TEXT NOT NULL,
    PRIMARY KEY (job, store, view));
CREATE TABLE IF NOT EXISTS quarantine (
    id INTEGER PRIMARY KEY, store TEXT NOT NULL, view TEXT NOT NULL, key TEXT NOT NULL, reason TEXT NOT NULL,
    at_offset INTEGER NOT NULL, UNIQUE (store, view, key));
CREATE TABLE IF NOT EXISTS verified (
    store TEXT NOT NULL, view TEXT NOT NULL, at_micros INTEGER NOT NULL, rows INTEGER NOT NULL,
    drifted INTEGER NOT NULL, PRIMARY KEY (store, view)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mirrored (one INTEGER PRIMARY KEY CHECK (one = 1), shapes TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS filled (
    store TEXT NOT NULL, view TEXT NOT NULL, definition TEXT NOT NULL, PRIMARY KEY (store, view));
INSERT OR IGNORE INTO filled SELECT store, view, definition FROM fill WHERE state = 'ready';
CREATE TABLE IF NOT EXISTS gap (
    store TEXT NOT NULL, view TEXT NOT NULL, upto INTEGER NOT NULL, since INTEGER NOT NULL, PRIMARY KEY (store, view));
CREATE TABLE IF NOT EXISTS mirror_gap (schema_name TEXT, table_name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS new_mirror (one INTEGER PRIMARY KEY CHECK (one = 1));
CREATE TABLE IF NOT EXISTS joined (schema_name TEXT, table_name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS lineage (one INTEGER PRIMARY KEY CHECK (one = 1), text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS undo (
    one INTEGER PRIMARY KEY CHECK (one = 1), first INTEGER NOT NULL, upto INTEGER NOT NULL, since INTEGER NOT NULL);
";

const FORGET_GAP: &str = "DELETE FROM gap WHERE store = ?1 AND view = ?2";

const FORGET_IDLE_JOBS: &str = "DELETE FROM job WHERE id NOT IN (SELECT job FROM consumer)";

/// Rows of the quarantine, at most; past it a store is stopped instead, for then not rows are bad but something else.
pub const QUARANTINE_MAX: u64 = 10_000;

impl State {
    pub fn open(path: &Path) -> Result<State> {
        let connection = Connection::open(path).map_err(|e| failed("open", path, e))?;
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")
            .and_then(|()| connection.execute_batch(SCHEMA))
            .and_then(|()| connection.execute_batch(left_out::SCHEMA))
            .map_err(|e| failed("prepare", path, e))?;
        Ok(State { connection: Mutex::new(connection) })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Connection> {
        // SQLite rolls an interrupted transaction back, so a panic elsewhere leaves nothing half done.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn epoch(&self) -> Result<Epoch> {
        let epoch: Option<i64> = self
            .lock()
            .query_row("SELECT epoch FROM owner", [], |row| row.get(0))
            .optional()
            .map_err(broken)?;
        Ok(Epoch(epoch.unwrap_or(0).unsigned_abs()))
    }

    pub fn set_epoch(&self, epoch: Epoch) -> Result<()> {
        self.lock()
            .execute(
                "INSERT INTO owner VALUES (1, ?1) ON CONFLICT (one) DO UPDATE SET epoch = ?1",
                [epoch.0 as i64],
            )
            .map_err(broken)?;
        Ok(())
    }

    /// A view in a store is complete, if reads still ran for it: whoever asked for it anew meanwhile has taken it out of
    /// them. Whether it is complete now.
    pub fn finish_fill(&self, consumer: &Consumer) -> Result<bool> {
        let mut connection = self.lock();
        let transaction = connection.transaction().map_err(broken)?;
        let of = params![consumer.store, consumer.view];
        let waited =
            transaction.execute("DELETE FROM consumer WHERE store = ?1 AND view = ?2", of).map_err(broken)?;
        if waited > 0 {
            transaction
                .execute("UPDATE fill SET state = 'ready' WHERE store = ?1 AND view = ?2", of)
                .map_err(broken)?;
            transaction
                .execute(
                    "INSERT OR REPLACE INTO filled SELECT store, view, definition FROM fill WHERE store = ?1 AND view = ?2",
                    of,
                )
                .map_err(broken)?;
            transaction.execute(FORGET_GAP, of).map_err(broken)?;
            transaction.execute(FORGET_IDLE_JOBS, []).map_err(broken)?;
        }
        transaction.commit().map_err(broken)?;
        Ok(waited > 0)
    }

    /// A view in a store holds nothing that can be relied on: reads that began before do not serve it.
    pub fn want_fill(&self, consumer: &Consumer, fingerprint: &Fingerprint) -> Result<()> {
        let shapes = fingerprint.tables_text()?;
        let mut connection = self.lock();
        let transaction = connection.transaction().map_err(broken)?;
        transaction
            .execute(
                "INSERT INTO fill VALUES (?1, ?2, ?3, ?4, 'wanted')
                 ON CONFLICT (store, view) DO UPDATE SET definition = ?3, shapes = ?4, state = 'wanted'",
                params![consumer.store, consumer.view, fingerprint.definition, shapes],
            )
            .map_err(broken)?;
        transaction
            .execute(
                "DELETE FROM consumer WHERE store = ?1 AND view = ?2",
                params![consumer.store, consumer.view],
            )
            .map_err(broken)?;
        transaction.execute(FORGET_GAP, params![consumer.store, consumer.view]).map_err(broken)?;
        transaction.execute(FORGET_IDLE_JOBS, []).map_err(broken)?;
        transaction.commit().map_err(broken)
    }

    /// The log has a gap for a view in a store, which may lack what came after `stale`. If it holds the whole view, it is to
    /// be read again in place; if not, it is wanted anew. Whether it is in place. Reads that began before do not serve it.
    pub fn open_gap(&self, consumer: &Consumer, fingerprint: &Fingerprint, stale: Stale) -> Result<bool> {
        if !matches!(self.fill(consumer, fingerprint)?, Fill::Ready | Fill::Gapped | Fill::Closing) {
            self.want_fill(consumer, fingerprint)?;
            return Ok(false);
        }
        let mut connection = self.lock();
        let transaction = connection.transaction().map_err(broken)?;
        let of = params![consumer.store, consumer.view];
        transaction
            .execute("UPDATE fill SET state = 'gapped' WHERE store = ?1 AND view = ?2", of)
            .map_err(broken)?;
        // An older gap that is still open goes further back.
        transaction
            .execute(
                "INSERT OR IGNORE INTO gap VALUES (?1, ?2, ?3, ?4)",
                params![consumer.store, consumer.view, stale.upto.0 as i64, stale.since],
            )
            .map_err(broken)?;
        transaction.execute("DELETE FROM consumer WHERE store = ?1 AND view = ?2", of).map_err(broken)?;
        transaction.execute(FORGET_IDLE_JOBS, []).map_err(broken)?;
        transaction.commit().map_err(broken)?;
        Ok(true)
    }

    /// What a view in a store may lack because of a gap that is not closed yet.
    pub fn stale(&self, consumer: &Consumer) -> Result<Option<Stale>> {
        let found = self
            .lock()
            .query_row(
                "SELECT upto, since FROM gap WHERE store = ?1 AND view = ?2",
                params![consumer.store, consumer.view],
                stale,
            )
            .optional();
        found.map_err(broken)
    }

    /// What a view may lack that is read from whichever store holds it.
    pub fn stale_anywhere(&self, view: &str) -> Result<Option<Stale>> {
        let found = self
            .lock()
            .query_row("SELECT upto, since FROM gap WHERE view = ?1 ORDER BY upto LIMIT 1", [view], stale)
            .optional();
        found.map_err(broken)
    }

    /// Of the views that a job reads for, those that are read in place.
    pub fn closing(&self, job: u64) -> Result<Vec<Consumer>> {
        let connection = self.lock();
        let mut select = connection
            .prepare(
                "SELECT store, view FROM consumer JOIN fill USING (store, view) WHERE job = ?1 AND state = 'closing'",
            )
            .map_err(broken)?;
        let consumer = |row: &rusqlite::Row<'_>| {
            Ok(Consumer { store: row.get::<_, String>(0)?.into(), view: row.get::<_, String>(1)?.into() })
        };
        select.query_map([job as i64], consumer).and_then(Iterator::collect).map_err(broken)
    }

    /// The log tells of these tables only from now on. Remembered until [`State::forget_joined`].
    pub fn note_joined(&self, tables: &[TableName]) -> Result<()> {
        let connection = self.lock();
        for table in tables {
            connection
                .execute("INSERT INTO joined VALUES (?1, ?2)", params![table.schema, table.name])
                .map_err(broken)?;
        }
        Ok(())
    }

    pub fn joined(&self) -> Result<BTreeSet<TableName>> {
        self.table_names("SELECT schema_name, table_name FROM joined")
    }

    /// The mirror's rows of these tables may lack what the log did not tell, and may be the source's no more: until
    /// [`State::close_mirror_gap`], whoever is filled from them is so only after they were read again and swept.
    pub fn open_mirror_gap<'a>(&self, tables: impl IntoIterator<Item = &'a TableName>) -> Result<()> {
        let connection = self.lock();
        for table in tables {
            connection
                .execute("INSERT INTO mirror_gap VALUES (?1, ?2)", params![table.schema, table.name])
                .map_err(broken)?;
        }
        Ok(())
    }

    pub fn mirror_gap(&self) -> Result<BTreeSet<TableName>> {
        self.table_names("SELECT schema_name, table_name FROM mirror_gap")
    }

    pub fn close_mirror_gap(&self, table: &TableName) -> Result<()> {
        self.lock()
            .execute(
                "DELETE FROM mirror_gap WHERE schema_name IS ?1 AND table_name = ?2",
                params![table.schema, table.name],
            )
            .map_err(broken)?;
        Ok(())
    }

    /// The mirror is to be made anew before a term goes on, until [`State::has_new_mirror`].
    pub fn want_new_mirror(&self) -> Result<()> {
        self.lock().execute("INSERT OR IGNORE INTO new_mirror VALUES (1)", []).map_err(broken)?;
        Ok(())
    }

    pub fn wants_new_mirror(&self) -> Result<bool> {
        let found: Option<i64> = self
            .lock()
            .query_row("SELECT one FROM new_mirror", [], |row| row.get(0))
            .optional()
            .map_err(broken)?;
        Ok(found.is_some())
    }

    /// A new mirror was begun: it has no gaps.
    pub fn has_new_mirror(&self) -> Result<()> {
        let mut connection = self.lock();
        let transaction = connection.transaction().map_err(broken)?;
        transaction.execute("DELETE FROM mirror_gap", []).map_err(broken)?;
        transaction.execute("DELETE FROM new_mirror", []).map_err(broken)?;
        transaction.commit().map_err(broken)
    }

    fn table_names(&self, select: &str) -> Result<BTreeSet<TableName>> {
        let connection = self.lock();
        let mut select = connection.prepare(select).map_err(broken)?;
        let name = |row: &rusqlite::Row<'_>| {
            Ok(TableName::new(row.get::<_, Option<String>>(0)?.as_deref(), &row.get::<_, String>(1)?))
        };
        select.query_map([], name).and_then(Iterator::collect).map_err(broken)
    }

    pub fn forget_joined(&self) -> Result<()> {
        self.lock().execute("DELETE FROM joined", []).map_err(broken)?;
        Ok(())
    }

    /// The history that was followed last.
    pub fn lineage(&self) -> Result<Option<Lineage>> {
        let text: Option<String> = self
            .lock()
            .query_row("SELECT text FROM lineage", [], |row| row.get(0))
            .optional()
            .map_err(broken)?;
        // One that cannot be read is none: it only ever makes the judgement stricter.
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    pub fn set_lineage(&self, lineage: &Lineage) -> Result<()> {
        let text = serde_json::to_string(lineage)
            .map_err(|e| Error::bug("a history cannot be written").with_cause(e))?;
        self.lock()
            .execute("INSERT INTO lineage VALUES (1, ?1) ON CONFLICT (one) DO UPDATE SET text = ?1", [text])
            .map_err(broken)?;
        Ok(())
    }

    /// What of the journal is to be undone, until it is.
    pub fn undo(&self) -> Result<Option<Undo>> {
        let undo = |row: &rusqlite::Row<'_>| {
            Ok(Undo {
                from: Offset(row.get::<_, i64>(0)?.unsigned_abs()),
                upto: Offset(row.get::<_, i64>(1)?.unsigned_abs()),
                since: row.get(2)?,
            })
        };
        self.lock().query_row("SELECT first, upto, since FROM undo", [], undo).optional().map_err(broken)
    }

    /// To be undone too, beside what already is.
    pub fn want_undo(&self, undo: Undo) -> Result<()> {
        self.lock()
            .execute(
                "INSERT INTO undo VALUES (1, ?1, ?2, ?3) ON CONFLICT (one) DO UPDATE
                 SET first = min(first, ?1), upto = max(upto, ?2), since = min(since, ?3)",
                params![undo.from.0 as i64, undo.upto.0 as i64, undo.since],
            )
            .map_err(broken)?;
        Ok(())
    }

    pub fn forget_undo(&self) -> Result<()> {
        self.lock().execute("DELETE FROM undo", []).map_err(broken)?;
        Ok(())
    }

    /// A view in a store is to be read again, over what is there.
    pub fn refresh_fill(&self, consumer: &Consumer) -> Result<()> {
        self.lock()
            .execute(
                "UPDATE fill SET state = 'stale' WHERE store = ?1 AND view = ?2 AND state = 'ready'",
                params![consumer.store, consumer.view],
            )
            .map_err(broken)?;
        Ok(())
    }

    /// How a view in a store stands. A view whose definition changed since is wanted again. If the rows of its tables are
    /// the same, the tables are known as they are now from here on.
    pub fn fill(&self, consumer: &Consumer, fingerprint: &Fingerprint) -> Result<Fill> {
        let tables = fingerprint.tables_text()?;
        let connection = self.lock();
        let found: Option<(String, String, String)> = connection
            .query_row(
                "SELECT definition, shapes, state FROM fill WHERE store = ?1 AND view = ?2",
                params![consumer.store, consumer.view],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .optional()
            .map_err(broken)?;
        let Some((definition, shapes, state)) = found else { return Ok(Fill::Wanted) };
        if definition != fingerprint.definition {
            return Ok(Fill::Wanted);
        }
        let since = fingerprint.since(&shapes);
        if since == Reshaped::No && shapes != tables {
            let update = "UPDATE fill SET shapes = ?3 WHERE store = ?1 AND view = ?2";
            connection.execute(update, params![consumer.store, consumer.view, tables]).map_err(broken)?;
        }
        Ok(match (state.as_str(), since) {
            ("ready", Reshaped::No) => Fill::Ready,
            ("filling", Reshaped::No) => Fill::Filling,
            ("gapped", Reshaped::No) => Fill::Gapped,
            ("closing", Reshaped::No) => Fill::Closing,
            ("ready" | "stale", Reshaped::No | Reshaped::Rows) => Fill::Stale,
            _ => Fill::Wanted,
        })
    }

    /// The table's rows are still the same, although its catalogue entry has moved: whoever was in step with the one before
    /// is in step with this one.
    pub fn same_rows(&self, now: &Catalogued) -> Result<()> {
        let mut connection = self.lock();
        let transaction = connection.transaction().map_err(broken)?;
        for table in ["fill", "mirrored"] {
            let known: Vec<(i64, String)> = transaction
                .prepare(&format!("SELECT rowid, shapes FROM {table}"))
                .and_then(|mut select| select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
                .map_err(broken)?;
            for (row, shapes) in known {
                let Some(shapes) = fingerprint::same_rows(&shapes, now)? else { continue };
                let update = format!("UPDATE {table} SET shapes = ?2 WHERE rowid = ?1");
                transaction.execute(&update, params![row, shapes]).map_err(broken)?;
            }
        }
        transaction.commit().map_err(broken)
    }

    /// The tables as they were when the mirror last took them over.
    pub fn mirrored(&self) -> Result<Vec<Catalogued>> {
        let found: Option<String> = self
            .lock()
            .query_row("SELECT shapes FROM mirrored", [], |row| row.get(0))
            .optional()
            .map_err(broken)?;
        Ok(found.map(|text| fingerprint::read_now(&text)).unwrap_or_default())
    }

    pub fn set_mirrored(&self, tables: &[Catalogued]) -> Result<()> {
        let shapes = fingerprint::write(tables)?;
        self.lock()
            .execute(
                "INSERT INTO mirrored VALUES (1, ?1) ON CONFLICT (one) DO UPDATE SET shapes = ?1",
                [shapes],
            )
            .map_err(broken)?;
        Ok(())
    }

    /// Whether the view in the store was complete at some time, as it is defined now: to fill it again is to mend it.
    pub fn was_filled(&self, consumer: &Consumer, fingerprint: &Fingerprint) -> Result<bool> {
        self.lock()
            .query_row(
                "SELECT count(*) FROM filled WHERE store = ?1 AND view = ?2 AND definition = ?3",
                params![consumer.store, consumer.view, fingerprint.definition],
                |row| row.get(0),
            )
            .map_err(broken)
    }

    /// Nothing counts as ever filled any more: everything may be filled as if it were new.
    pub fn forget_filled(&self) -> Result<()> {
        self.lock().execute("DELETE FROM filled", []).map_err(broken)?;
        Ok(())
    }

    /// Forgets every view in a store that is not among `consumers`: it is not kept in step any more, and should it
    /// come back, it is wanted like a new one.
    pub fn keep_only(&self, consumers: &[Consumer]) -> Result<()> {
        let kept: BTreeSet<(&str, &str)> = consumers.iter().map(|c| (&*c.store, &*c.view)).collect();
        let mut connection = self.lock();
        let transaction = connection.transaction().map_err(broken)?;
        let known: Vec<(String, String)> = transaction
            .prepare("SELECT store, view FROM fill UNION SELECT store, view FROM consumer")
            .and_then(|mut select| select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
            .map_err(broken)?;
        for (store, view) in known.iter().filter(|(store, view)| !kept.contains(&(store, view))) {
            for table in ["fill", "consumer", "quarantine", "filled", "gap"] {
                let delete = format!("DELETE FROM {table} WHERE store = ?1 AND view = ?2");
                transaction.execute(&delete, params![store, view]).map_err(broken)?;
            }
        }
        transaction
            .execute("DELETE FROM job WHERE id NOT IN (SELECT job FROM consumer)", [])
            .map_err(broken)?;
        transaction.commit().map_err(broken)
    }

    /// Starts the reads that fill consumers, and marks them as `filling`, or those whose gap they close as `closing`, in one
    /// step.
    pub fn start_jobs(
        &self,
        jobs: &[(TableName, Vec<Consumer>)],
        filling: &[(Consumer, Fingerprint)],
        closing: &[Consumer],
    ) -> Result<()> {
        let mut connection = self.lock();
        let transaction = connection.transaction().map_err(broken)?;
        for (table, consumers) in jobs {
            transaction
                .execute(
                    "INSERT INTO job (schema_name, table_name) VALUES (?1, ?2)",
                    params![table.schema, table.name],
                )
                .map_err(broken)?;
            let job = transaction.last_insert_rowid();
            for consumer in consumers {
                transaction
                    .execute(
                        "INSERT INTO consumer VALUES (?1, ?2, ?3)",
                        params![job, consumer.store, consumer.view],
                    )
                    .map_err(broken)?;
            }
        }
        for (consumer, fingerprint) in filling {
            transaction
                .execute(
                    "INSERT INTO fill VALUES (?1, ?2, ?3, ?4, 'filling')
                     ON CONFLICT (store, view) DO UPDATE SET definition = ?3, shapes = ?4, state = 'filling'",
                    params![
                        consumer.store,
                        consumer.view,
                        fingerprint.definition,
                        fingerprint.tables_text()?
                    ],
                )
                .map_err(broken)?;
        }
        for consumer in closing {
            transaction
                .execute(
                    "UPDATE fill SET state = 'closing' WHERE store = ?1 AND view = ?2",
                    params![consumer.store, consumer.view],
                )
                .map_err(broken)?;
        }
        transaction.commit().map_err(broken)
    }

    /// All jobs whose consumers still need them, oldest first.
    pub fn jobs(&self) -> Result<Vec<Job>> {
        let connection = self.lock();
        let mut jobs = Vec::new();
        let mut select = connection
            .prepare("SELECT id, schema_name, table_name, after, rows, done FROM job ORDER BY id")
            .map_err(broken)?;
        let mut consumers =
            connection.prepare("SELECT store, view FROM consumer WHERE job = ?1").map_err(broken)?;
        let mut rows = select.query([]).map_err(broken)?;
        while let Some(row) = rows.next().map_err(broken)? {
            let id: i64 = row.get(0).map_err(broken)?;
            let schema: Option<String> = row.get(1).map_err(broken)?;
            let name: String = row.get(2).map_err(broken)?;
            let after: Option<Vec<u8>> = row.get(3).map_err(broken)?;
            let done: Option<i64> = row.get(5).map_err(broken)?;
            let found = consumers
                .query_map([id], |row| {
                    Ok(Consumer {
                        store: row.get::<_, String>(0)?.into(),
                        view: row.get::<_, String>(1)?.into(),
                    })
                })
                .and_then(Iterator::collect)
                .map_err(broken)?;
            jobs.push(Job {
                id: id.unsigned_abs(),
                table: TableName::new(schema.as_deref(), &name),
                after: after.map(|bytes| wire::Reader::new(&bytes).key()).transpose()?,
                rows: row.get::<_, i64>(4).map_err(broken)?.unsigned_abs(),
                done: done.map(|offset| Offset(offset.unsigned_abs())),
                consumers: found,
            });
        }
        Ok(jobs)
    }

    /// A chunk landed durably: the read goes on behind `after`. Whether anything still waits for the job.
    pub fn advance_job(
        &self,
        job: u64,
        after: Option<&Key>,
        rows: u64,
        done: Option<Offset>,
    ) -> Result<bool> {
        let after = after.map(|key| {
            let mut bytes = Vec::new();
            wire::write_key(key, &mut bytes);
            bytes
        });
        let updated = self
            .lock()
            .execute(
                "UPDATE job SET after = coalesce(?2, after), rows = rows + ?3, done = ?4 WHERE id = ?1",
                params![job as i64, after, rows as i64, done.map(|offset| offset.0 as i64)],
            )
            .map_err(broken)?;
        Ok(updated > 0)
    }

    /// Records what a store refused. `Unsupported` when the quarantine is full.
    pub fn quarantine(&self, store: &str, refusals: &[Refusal], offset: Offset) -> Result<()> {
        let mut connection = self.lock();
        let transaction = connection.transaction().map_err(broken)?;
        for refusal in refusals {
            transaction
                .execute(
                    "INSERT INTO quarantine (store, view, key, reason, at_offset) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (store, view, key) DO UPDATE SET reason = ?4, at_offset = ?5",
                    params![store, refusal.view, refusal.key, refusal.reason, offset.0 as i64],
                )
                .map_err(broken)?;
        }
        let count: i64 = transaction
            .query_row("SELECT count(*) FROM quarantine WHERE store = ?1", [store], |row| row.get(0))
            .map_err(broken)?;
        if count.unsigned_abs() > QUARANTINE_MAX {
            return Err(Error::unsupported(format!(
                "store `{store}` refused more than {QUARANTINE_MAX} rows"
            ))
            .with_remedy("look at `headwater status` for the reason of the last refusals"));
        }
        transaction.commit().map_err(broken)
    }

    /// View and key of every row in a store's quarantine.
    pub fn quarantined_keys(&self, store: &str) -> Result<Vec<(String, String)>> {
        let connection = self.lock();
        let mut select =
            connection.prepare("SELECT view, key FROM quarantine WHERE store = ?1").map_err(broken)?;
        select
            .query_map([store], |row| Ok((row.get(0)?, row.get(1)?)))
            .and_then(Iterator::collect)
            .map_err(broken)
    }

    /// The store has taken newer versions of these keys, or they are gone.
    pub fn settle_quarantine(&self, store: &str, settled: &[(Box<str>, String)]) -> Result<()> {
        let mut connection = self.lock();
        let transaction = connection.transaction().map_err(broken)?;
        for (view, key) in settled {
            transaction
                .execute(
                    "DELETE FROM quarantine WHERE store = ?1 AND view = ?2 AND key = ?3",
                    params![store, view, key],
                )
                .map_err(broken)?;
        }
        transaction.commit().map_err(broken)
    }

    pub fn quarantined(&self, store: &str) -> Result<u64> {
        let count: i64 = self
            .lock()
            .query_row("SELECT count(*) FROM quarantine WHERE store = ?1", [store], |row| row.get(0))
            .map_err(broken)?;
        Ok(count.unsigned_abs())
    }

    /// All of a view was compared in a store.
    pub fn verified(&self, consumer: &Consumer, verified: &VerifiedStatus) -> Result<()> {
        self.lock()
            .execute(
                "INSERT OR REPLACE INTO verified VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    consumer.store,
                    consumer.view,
                    verified.at_micros,
                    verified.rows as i64,
                    verified.drifted as i64
                ],
            )
            .map_err(broken)?;
        Ok(())
    }

    /// When each was, with what was found.
    pub fn all_verified(&self) -> Result<Vec<(Consumer, VerifiedStatus)>> {
        let connection = self.lock();
        let mut select = connection
            .prepare("SELECT store, view, at_micros, rows, drifted FROM verified")
            .map_err(broken)?;
        let row = |row: &rusqlite::Row<'_>| {
            let (store, view): (String, String) = (row.get(0)?, row.get(1)?);
            let verified = VerifiedStatus {
                at_micros: row.get(2)?,
                rows: row.get::<_, i64>(3)?.unsigned_abs(),
                drifted: row.get::<_, i64>(4)?.unsigned_abs(),
            };
            Ok((Consumer { store: store.into(), view: view.into() }, verified))
        };
        select.query_map([], row).and_then(Iterator::collect).map_err(broken)
    }

    /// When the view was last compared in the store where that is longest ago, and how much was left drifted in all.
    pub fn verified_at(&self, view: &str) -> Result<Option<(i64, u64)>> {
        let row = |row: &rusqlite::Row<'_>| {
            let (at, drifted): (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
            Ok(at.map(|at| (at, drifted.unwrap_or(0).unsigned_abs())))
        };
        self.lock()
            .query_row("SELECT min(at_micros), sum(drifted) FROM verified WHERE view = ?1", [view], row)
            .map_err(broken)
    }

    pub fn quarantined_row(&self, id: i64) -> Result<Option<QuarantinedRow>> {
        Ok(self.quarantined_rows(usize::MAX)?.into_iter().find(|row| row.id == id))
    }

    pub fn is_quarantined(&self, consumer: &Consumer, key: &str) -> Result<bool> {
        self.lock()
            .query_row(
                "SELECT 1 FROM quarantine WHERE store = ?1 AND view = ?2 AND key = ?3",
                params![consumer.store, consumer.view, key],
                |_| Ok(()),
            )
            .optional()
            .map(|found| found.is_some())
            .map_err(broken)
    }

    /// At most `limit` rows that stores refused or that the source does not hand on, the newest first.
    pub fn quarantined_rows(&self, limit: usize) -> Result<Vec<QuarantinedRow>> {
        let connection = self.lock();
        let mut select = connection
            .prepare(
                "SELECT id, store, view, key, reason, at_offset FROM quarantine
                 UNION ALL
                 SELECT -id, NULL, iif(schema_name = '', '', schema_name || '.') || table_name, shown, reason, at_offset
                 FROM left_out
                 ORDER BY at_offset DESC, id DESC LIMIT ?1",
            )
            .map_err(broken)?;
        let row = |row: &rusqlite::Row<'_>| {
            Ok(QuarantinedRow {
                id: row.get(0)?,
                store: row.get(1)?,
                view: row.get(2)?,
                key: row.get(3)?,
                reason: row.get(4)?,
                offset: row.get::<_, i64>(5)?.unsigned_abs(),
            })
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        select.query_map([limit], row).and_then(Iterator::collect).map_err(broken)
    }

    /// Why a document is in quarantine, if it is.
    pub fn why_quarantined(&self, consumer: &Consumer, key: &str) -> Result<Option<String>> {
        let reason = self.lock().query_row(
            "SELECT reason FROM quarantine WHERE store = ?1 AND view = ?2 AND key = ?3",
            params![consumer.store, consumer.view, key],
            |row| row.get(0),
        );
        reason.optional().map_err(broken)
    }

    /// Forgets that a row was refused. The store it was refused by, `None` for the source; nothing if there is no such entry
    /// (any more).
    pub fn discard_quarantined(&self, id: i64) -> Result<Option<Option<Box<str>>>> {
        let (delete, id) = match id {
            0.. => ("DELETE FROM quarantine WHERE id = ?1 RETURNING store", id),
            // As they are listed.
            _ => ("DELETE FROM left_out WHERE id = ?1 RETURNING NULL", id.saturating_neg()),
        };
        let store: Option<Option<String>> =
            self.lock().query_row(delete, [id], |row| row.get(0)).optional().map_err(broken)?;
        Ok(store.map(|store| store.map(Into::into)))
    }

    /// A view is empty again: so is its quarantine.
    pub fn release_quarantine(&self, consumer: &Consumer) -> Result<()> {
        self.lock()
            .execute(
                "DELETE FROM quarantine WHERE store = ?1 AND view = ?2",
                params![consumer.store, consumer.view],
            )
            .map_err(broken)?;
        Ok(())
    }
}

fn stale(row: &rusqlite::Row<'_>) -> rusqlite::Result<Stale> {
    Ok(Stale { upto: Offset(row.get::<_, i64>(0)?.unsigned_abs()), since: row.get(1)? })
}

fn failed(doing: &str, path: &Path, error: rusqlite::Error) -> Error {
    Error::misconfigured(format!("{doing} the state file {}", path.display())).with_cause(error).with_remedy(
        "make the data folder writable; a damaged state.db may be deleted, views are then filled again",
    )
}

pub(crate) fn broken(error: rusqlite::Error) -> Error {
    Error::transient("read or write the state file").with_cause(error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use headwater_model::Value;

    use super::*;
    use crate::fingerprint::tests::altered;

    fn fingerprint(definition: &str, times: u64) -> Fingerprint {
        Fingerprint { definition: definition.into(), tables: vec![altered(times)] }
    }

    fn consumer(view: &str) -> Consumer {
        Consumer { store: "near".into(), view: view.into() }
    }

    #[test]
    fn a_read_resumes_where_its_last_chunk_landed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let table = TableName::new(Some("public"), "books");
        {
            let state = State::open(&path).unwrap();
            state
                .start_jobs(
                    &[(table.clone(), vec![consumer("book")])],
                    &[(consumer("book"), fingerprint("f1", 1))],
                    &[],
                )
                .unwrap();
            let key = Key(vec![Value::Int(500), Value::text("x")]);
            state.advance_job(1, Some(&key), 500, None).unwrap();
        }
        let state = State::open(&path).unwrap();
        let jobs = state.jobs().unwrap();
        assert_eq!(jobs.len(), 1);
        assert_eq!((jobs[0].rows, jobs[0].done, &jobs[0].table), (500, None, &table));
        assert_eq!(jobs[0].after, Some(Key(vec![Value::Int(500), Value::text("x")])));
        assert_eq!(state.fill(&consumer("book"), &fingerprint("f1", 1)).unwrap(), Fill::Filling);
        assert_eq!(state.fill(&consumer("book"), &fingerprint("f2", 1)).unwrap(), Fill::Wanted);
    }

    #[test]
    fn a_view_is_read_again_or_cleared_by_what_became_of_its_tables() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("state.db")).unwrap();
        let fill = |times| state.fill(&consumer("book"), &fingerprint("f", times)).unwrap();
        let filled = |times| {
            let of = [(consumer("book"), fingerprint("f", times))];
            state.start_jobs(&[(altered(1).table.name.clone(), vec![consumer("book")])], &of, &[]).unwrap();
            assert!(state.finish_fill(&consumer("book")).unwrap());
        };
        filled(1);
        assert_eq!((fill(1), fill(2)), (Fill::Ready, Fill::Stale));
        let mut other = altered(1);
        other.table = std::sync::Arc::new(headwater_model::Table { id: 8, ..(*other.table).clone() });
        let other = Fingerprint { definition: "f".into(), tables: vec![other] };
        assert_eq!(state.fill(&consumer("book"), &other).unwrap(), Fill::Wanted);
        state.refresh_fill(&consumer("book")).unwrap();
        assert_eq!((fill(1), fill(2)), (Fill::Stale, Fill::Stale));
        assert_eq!(
            state.fill(&consumer("book"), &other).unwrap(),
            Fill::Wanted,
            "a refresh does not hide it"
        );

        // A file written anew, then a column that was touched: neither means anything, also not one after the other.
        filled(1);
        state.set_mirrored(&[altered(1)]).unwrap();
        let mut moved = altered(1);
        if let Some(revision) = &mut moved.revision {
            revision.storage = 9;
        }
        state.same_rows(&moved).unwrap();
        assert_eq!(state.mirrored().unwrap(), [moved.clone()]);
        if let Some(revision) = &mut moved.revision {
            revision.columns[1].definition = 9;
        }
        let now = Fingerprint { definition: "f".into(), tables: vec![moved.clone()] };
        assert_eq!(state.fill(&consumer("book"), &now).unwrap(), Fill::Ready);
        state.same_rows(&altered(4)).unwrap();
        assert_ne!(
            state.mirrored().unwrap(),
            [altered(4)],
            "rows that read otherwise are not taken for the same"
        );
    }

    #[test]
    fn jobs_without_a_view_that_needs_them_go_away() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("state.db")).unwrap();
        let table = TableName::new(None, "t");
        let both = vec![consumer("a"), consumer("b")];
        state
            .start_jobs(
                &[(table, both)],
                &[(consumer("a"), fingerprint("f", 1)), (consumer("b"), fingerprint("f", 1))],
                &[],
            )
            .unwrap();
        state.want_fill(&consumer("a"), &fingerprint("f", 1)).unwrap();
        assert_eq!(state.jobs().unwrap()[0].consumers, vec![consumer("b")]);
        assert!(
            !state.finish_fill(&consumer("a")).unwrap(),
            "a read that no longer serves it does not complete it"
        );
        assert_eq!(state.fill(&consumer("a"), &fingerprint("f", 1)).unwrap(), Fill::Wanted);
        assert!(!state.was_filled(&consumer("b"), &fingerprint("f", 1)).unwrap());
        assert!(state.finish_fill(&consumer("b")).unwrap());
        assert!(
            state.was_filled(&consumer("b"), &fingerprint("f", 2)).unwrap(),
            "whatever its tables look like"
        );
        assert!(
            !state.was_filled(&consumer("b"), &fingerprint("g", 1)).unwrap(),
            "another definition is new"
        );
        assert_eq!(state.fill(&consumer("b"), &fingerprint("f", 1)).unwrap(), Fill::Ready);
        assert!(state.jobs().unwrap().is_empty());
    }

    #[test]
    fn a_gap_is_closed_in_place_where_a_view_was_whole_and_filled_anew_where_not() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("state.db")).unwrap();
        let of = fingerprint("f", 1);
        let table = TableName::new(None, "t");
        let fill = |view: &str| state.fill(&consumer(view), &of).unwrap();
        let both = [(consumer("whole"), of.clone()), (consumer("half"), of.clone())];
        state.start_jobs(&[(table.clone(), vec![consumer("whole"), consumer("half")])], &both, &[]).unwrap();
        state.finish_fill(&consumer("whole")).unwrap();
        let first = Stale { upto: Offset(7), since: 100 };
        assert!(state.open_gap(&consumer("whole"), &of, first).unwrap());
        assert!(!state.open_gap(&consumer("half"), &of, first).unwrap());
        assert_eq!((fill("whole"), fill("half")), (Fill::Gapped, Fill::Wanted));
        state.start_jobs(&[(table, vec![consumer("whole")])], &[], &[consumer("whole")]).unwrap();
        assert_eq!(fill("whole"), Fill::Closing);
        let job = state.jobs().unwrap()[0].id;
        assert_eq!(state.closing(job).unwrap(), [consumer("whole")]);
        // A second gap before the first is closed: reads begin anew, and what may be missing goes back to the first.
        assert!(state.open_gap(&consumer("whole"), &of, Stale { upto: Offset(9), since: 200 }).unwrap());
        assert_eq!((fill("whole"), state.jobs().unwrap().len()), (Fill::Gapped, 0));
        assert_eq!(state.stale(&consumer("whole")).unwrap(), Some(first));
        assert_eq!(state.stale_anywhere("whole").unwrap(), Some(first));
        state.want_fill(&consumer("whole"), &of).unwrap();
        assert_eq!(state.stale(&consumer("whole")).unwrap(), None);
    }

    #[test]
    fn what_is_to_be_undone_adds_up_until_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("state.db")).unwrap();
        assert_eq!(state.undo().unwrap(), None);
        state.want_undo(Undo { from: Offset(5), upto: Offset(9), since: 50 }).unwrap();
        state.want_undo(Undo { from: Offset(8), upto: Offset(12), since: 80 }).unwrap();
        assert_eq!(state.undo().unwrap(), Some(Undo { from: Offset(5), upto: Offset(12), since: 50 }));
        state.forget_undo().unwrap();
        assert_eq!(state.undo().unwrap(), None);
    }

    #[test]
    fn the_quarantine_is_listed_newest_first_and_entries_are_discarded_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("state.db")).unwrap();
        let refusal = |key: &str| Refusal { view: "book".into(), key: key.into(), reason: "too long".into() };
        state.quarantine("near", &[refusal("1")], Offset(7)).unwrap();
        state.quarantine("near", &[refusal("2"), refusal("3")], Offset(9)).unwrap();
        let rows = state.quarantined_rows(2).unwrap();
        assert_eq!(rows.iter().map(|row| (&*row.key, row.offset)).collect::<Vec<_>>(), [("3", 9), ("2", 9)]);
        assert_eq!(state.discard_quarantined(rows[1].id).unwrap(), Some(Some("near".into())));
        assert_eq!(state.discard_quarantined(rows[1].id).unwrap(), None);
        assert_eq!(state.quarantined("near").unwrap(), 2);
    }
}
