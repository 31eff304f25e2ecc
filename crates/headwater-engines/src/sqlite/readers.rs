//! Connections for reading a file: a few, each used by one read at a time, never by a writer.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use headwater_model::{Error, Result};
use rusqlite::Connection;

use super::connection::{Opened, failed};

/// Connections kept for later; more may be open while reads are many.
const IDLE_MAX: usize = 8;

/// Reads at once; the others wait.
const READS_MAX: usize = 32;

/// What is done to a new connection.
type Setup = fn(&Connection) -> rusqlite::Result<()>;

pub(super) struct Readers {
    path: PathBuf,
    setup: Setup,
    idle: Mutex<Vec<Opened>>,
    permits: tokio::sync::Semaphore,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Readers {
        Readers::with(path, READS_MAX, |_| Ok(()))
    }

    /// With another number of reads at once, and something that is done to each new connection.
    pub(super) fn with(path: PathBuf, reads_max: usize, setup: Setup) -> Readers {
        Readers { path, setup, idle: Mutex::default(), permits: tokio::sync::Semaphore::new(reads_max) }
    }

    /// Runs a read on a connection of its own; `None` if the file is not there.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<Option<T>> {
        self.read_with(|connection| read(connection)).await
    }

    /// [`Readers::read`], for a read that changes settings of its connection and puts them back. After an error the
    /// connection is not used again.
    pub(super) async fn read_with<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<Option<T>> {
        let _permit =
            self.permits.acquire().await.map_err(|_| Error::bug("the connections for reading are closed"))?;
        let readers = self.clone();
        let work = move || {
            let Some(mut opened) = readers.open()? else { return Ok(None) };
            let value = read(&mut opened.connection)?;
            let mut idle = readers.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE_MAX {
                idle.push(opened);
            }
            Ok(Some(value))
        };
        tokio::task::spawn_blocking(work).await.map_err(|e| Error::bug("a read ended early").with_cause(e))?
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
        opened
            .connection
            .pragma_update(None, "query_only", true)
            .and_then(|()| (self.setup)(&opened.connection))
            .map_err(|e| failed(e, "open the file for reading"))?;
        Ok(Some(opened))
    }
}
