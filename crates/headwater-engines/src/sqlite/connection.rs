//! Opening files, quoting names, and what SQLite's errors mean for the caller.

use std::path::{Path, PathBuf};
use std::time::Duration;

use headwater_model::{Error, ErrorKind, Result};
use rusqlite::{Connection, ErrorCode, OpenFlags};

/// How long a statement waits for another writer before it gives up as `Transient`.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection, and which file it has open: the path may name another file by now.
pub(super) struct Opened {
    pub(super) connection: Connection,
    path: PathBuf,
    identity: Option<Identity>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity(u64, u64);

impl Opened {
    /// Opens an existing file.
    pub(super) fn existing(path: &Path) -> Result<Opened> {
        Opened::open(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
    }

    /// Opens a file, making it if it is not there.
    pub(super) fn existing_or_new(path: &Path) -> Result<Opened> {
        let create = OpenFlags::SQLITE_OPEN_CREATE;
        Opened::open(path, create | OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
    }

    fn open(path: &Path, flags: OpenFlags) -> Result<Opened> {
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.set_prepared_statement_cache_capacity(128);
            // Opening is lazy: a first read tells whether this is a database at all.
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
            Ok(connection)
        };
        let connection = open().map_err(|e| failed(e, format!("open {}", path.display())))?;
        Ok(Opened { connection, path: path.to_owned(), identity: identity(path) })
    }

    /// Whether the path still names the file that is open. A file that was removed or replaced would still take
    /// writes, and lose them.
    pub(super) fn is_current(&self) -> bool {
        self.identity == identity(&self.path)
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|m| Identity(m.dev(), m.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> Option<Identity> {
    // An open file cannot be removed or replaced here.
    path.exists().then_some(Identity(0, 0))
}

/// A name as SQL text.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// An error of the engine, with its kind and what was being done.
pub(super) fn failed(error: rusqlite::Error, doing: impl std::fmt::Display) -> Error {
    let Some(code) = error.sqlite_error_code() else {
        return Error::bug(doing.to_string()).with_cause(error);
    };
    let (kind, remedy) = match code {
        ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::FileLockingProtocolFailed
        | ErrorCode::OperationInterrupted
        | ErrorCode::SchemaChanged => (ErrorKind::Transient, None),
        ErrorCode::DiskFull => (ErrorKind::Transient, Some("free space on the disk of the file")),
        ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory => (ErrorKind::Transient, None),
        ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::AuthorizationForStatementDenied => {
            (ErrorKind::Denied, Some("let Headwater's user write the file and the folder it lies in"))
        }
        ErrorCode::CannotOpen => {
            (ErrorKind::Misconfigured, Some("check that the file and its folder exist and can be written"))
        }
        ErrorCode::DatabaseCorrupt => (ErrorKind::Corrupt, None),
        ErrorCode::NotADatabase => {
            (ErrorKind::Misconfigured, Some("name a SQLite database that is not encrypted"))
        }
        ErrorCode::TooBig => (ErrorKind::Unsupported, None),
        _ => (ErrorKind::Bug, None),
    };
    let error = Error::new(kind, doing.to_string()).with_cause(error);
    match remedy {
        Some(remedy) => error.with_remedy(remedy),
        None => error,
    }
}

/// Whether the statement named a table that is not there.
pub(super) fn is_missing_table(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::SqliteFailure(_, Some(message)) if message.starts_with("no such table"))
        || matches!(error, rusqlite::Error::SqlInputError { msg, .. } if msg.starts_with("no such table"))
}
