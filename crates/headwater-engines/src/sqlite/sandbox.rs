//! A SQLite file as a sandbox's source or store. Needs nothing installed, and cannot be killed: it is no process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use headwater_model::{Error, Result};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::sandbox::{Folder, Process, SandboxSource, SandboxStore, Writer};

const WAIT: Duration = Duration::from_secs(10);

pub struct File {
    path: PathBuf,
}

impl File {
    pub fn source(folder: &Folder) -> Result<File> {
        let file = File { path: folder.join("source.db") };
        let db = Connection::open(&file.path).map_err(failed)?;
        db.pragma_update(None, "journal_mode", "wal").map_err(failed)?;
        Ok(file)
    }

    /// Headwater makes the file itself.
    pub fn store(folder: &Folder, name: &str) -> File {
        File { path: folder.join(format!("{name}.db")) }
    }

    fn open(&self) -> Result<Connection> {
        // Never made by looking at it.
        let db =
            Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
        db.busy_timeout(WAIT).map_err(failed)?;
        Ok(db)
    }
}

fn failed(error: rusqlite::Error) -> Error {
    Error::transient("use a SQLite file of the sandbox").with_cause(error)
}

fn no(what: &str) -> Error {
    Error::unsupported(format!("a SQLite file cannot {what}"))
}

impl SandboxSource for File {
    fn url(&self) -> String {
        format!("sqlite:{}", self.path.display())
    }

    fn name(&self) -> String {
        format!("SQLite {}", rusqlite::version())
    }

    fn address(&self) -> Option<SocketAddr> {
        None
    }

    fn process(&self) -> Option<&Process> {
        None
    }

    fn start(&self) -> Result<()> {
        Ok(())
    }

    fn execute(&self, sql: &str) -> Result<()> {
        self.open()?.execute_batch(sql).map_err(failed)
    }

    fn rows(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        let db = self.open()?;
        let mut select = db.prepare(sql).map_err(failed)?;
        let columns = select.column_count();
        let mut rows = select.query([]).map_err(failed)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            let text = |at| {
                Ok(match row.get_ref(at).map_err(failed)? {
                    ValueRef::Null => String::new(),
                    ValueRef::Integer(n) => n.to_string(),
                    ValueRef::Real(x) => x.to_string(),
                    ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                        String::from_utf8_lossy(bytes).into_owned()
                    }
                })
            };
            found.push((0..columns).map(text).collect::<Result<_>>()?);
        }
        Ok(found)
    }

    fn writer(&self) -> Result<Box<dyn Writer>> {
        Ok(Box::new(Committer(self.open()?)))
    }

    fn standby(&self, _: &Folder) -> Result<Box<dyn SandboxSource>> {
        Err(no("be followed by a standby"))
    }

    fn promote(&self) -> Result<()> {
        Err(no("be promoted"))
    }
}

struct Committer(Connection);

impl Writer for Committer {
    fn commit(&mut self, sql: &str) -> Result<()> {
        let transaction =
            self.0.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(failed)?;
        transaction.execute_batch(sql).map_err(failed)?;
        transaction.commit().map_err(failed)
    }
}

impl SandboxStore for File {
    fn url(&self) -> String {
        SandboxSource::url(self)
    }

    fn name(&self) -> String {
        SandboxSource::name(self)
    }

    fn address(&self) -> Option<SocketAddr> {
        None
    }

    fn process(&self) -> Option<&Process> {
        None
    }

    fn start(&self) -> Result<()> {
        Ok(())
    }

    fn get(&self, view: &str, key: &str) -> Result<Option<String>> {
        let sql = format!("SELECT document FROM \"{view}\" WHERE key = ?");
        self.open()?.query_row(&sql, [key], |row| row.get(0)).optional().map_err(failed)
    }

    fn documents(&self, view: &str) -> Result<BTreeMap<String, String>> {
        let db = self.open()?;
        let mut select = db.prepare(&format!("SELECT key, document FROM \"{view}\"")).map_err(failed)?;
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(failed)?;
        rows.collect::<rusqlite::Result<_>>().map_err(failed)
    }

    /// Without any table, as somebody with a client could make it.
    fn flush(&self) -> Result<()> {
        let mut db = self.open()?;
        let transaction =
            db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(failed)?;
        let tables: Vec<String> = transaction
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
            .and_then(|mut select| select.query_map([], |row| row.get(0))?.collect())
            .map_err(failed)?;
        for table in tables {
            transaction.execute(&format!("DROP TABLE \"{table}\""), []).map_err(failed)?;
        }
        transaction.commit().map_err(failed)
    }

    fn forgets(&self) -> bool {
        false
    }
}
