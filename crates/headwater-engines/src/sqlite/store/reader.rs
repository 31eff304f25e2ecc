//! Reads of the store: a few connections of their own, each used by one read at a time.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use headwater_model::{Error, Result, Stored, StoredBody};
use rusqlite::{Connection, OptionalExtension};

use crate::sqlite::connection::{Opened, failed, is_missing_table, quoted};

/// Connections kept for later; more may be open while reads are many.
const IDLE_MAX: usize = 8;

/// Reads at once; the others wait.
const READS_MAX: usize = 32;

pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Opened>>,
    permits: tokio::sync::Semaphore,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Readers {
        Readers { path, idle: Mutex::default(), permits: tokio::sync::Semaphore::new(READS_MAX) }
    }

    /// Runs a read on a connection of its own; `None` if the store's file is not there yet.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<Option<T>> {
        let _permit = self.permits.acquire().await.map_err(|_| Error::bug("the store is closed"))?;
        let readers = self.clone();
        let work = move || {
            let Some(opened) = readers.open()? else { return Ok(None) };
            let value = read(&opened.connection)?;
            let mut idle = readers.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE_MAX {
                idle.push(opened);
            }
            Ok(Some(value))
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|e| Error::bug("a read of the store ended early").with_cause(e))?
    }

    fn open(&self) -> Result<Option<Opened>> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        while let Some(opened) = idle() {
            if opened.is_current() {
                return Ok(Some(opened));
            }
        }
        if !self.path.exists() {
            return match self.path.parent() {
                Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
                    Err(Error::misconfigured(format!("the folder {} does not exist", folder.display()))
                        .with_remedy(format!("make it: mkdir -p {}", folder.display())))
                }
                _ => Ok(None),
            };
        }
        let opened = Opened::existing(&self.path)?;
        // The file is opened for writing because write-ahead mode wants it, but no statement here may write.
        opened.connection.pragma_update(None, "query_only", true).map_err(|e| failed(e, "open the store"))?;
        Ok(Some(opened))
    }
}

/// Documents by view and key text, all of one moment.
pub(super) fn documents(
    connection: &Connection,
    reads: &[(Box<str>, String)],
) -> Result<Vec<Option<StoredBody>>> {
    let read = || -> rusqlite::Result<Vec<Option<StoredBody>>> {
        let moment = connection.unchecked_transaction()?;
        let mut found = Vec::with_capacity(reads.len());
        for (view, key) in reads {
            let sql = format!("SELECT document FROM {} WHERE key = ?1", quoted(view));
            let document = match moment.prepare_cached(&sql) {
                Err(error) if is_missing_table(&error) => None,
                statement => statement?.query_row([key], |row| row.get(0)).optional()?,
            };
            found.push(document.map(StoredBody::Json));
        }
        Ok(found)
    };
    read().map_err(|e| failed(e, "read from the store"))
}

/// A page in key order, and the key to go on after.
pub(super) fn scan(
    connection: &Connection,
    view: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<Stored>, Option<String>)> {
    let read = || -> rusqlite::Result<Vec<Stored>> {
        let (table, limit) = (quoted(view), i64::try_from(limit).unwrap_or(i64::MAX));
        let lower = if after.is_some() { "WHERE key > ?2" } else { "WHERE ?2 IS NULL" };
        let sql = format!("SELECT key, document FROM {table} {lower} ORDER BY key LIMIT ?1");
        let mut statement = match connection.prepare_cached(&sql) {
            Err(error) if is_missing_table(&error) => return Ok(Vec::new()),
            statement => statement?,
        };
        let rows = statement.query_map((limit, after), |row| {
            Ok(Stored { key: row.get(0)?, body: StoredBody::Json(row.get(1)?) })
        })?;
        rows.collect()
    };
    let page = read().map_err(|e| failed(e, format!("scan the view \"{view}\"")))?;
    let next = if page.len() < limit { None } else { page.last().map(|stored| stored.key.clone()) };
    Ok((page, next))
}

pub(super) fn rows(connection: &Connection, view: &str) -> Result<u64> {
    let read = || -> rusqlite::Result<Option<i64>> {
        let mut statement =
            match connection.prepare_cached("SELECT \"rows\" FROM headwater_view WHERE name = ?1") {
                Err(error) if is_missing_table(&error) => return Ok(None),
                statement => statement?,
            };
        statement.query_row([view], |row| row.get(0)).optional()
    };
    let rows = read().map_err(|e| failed(e, format!("count the view \"{view}\"")))?;
    Ok(rows.map_or(0, |rows| rows.max(0) as u64))
}
