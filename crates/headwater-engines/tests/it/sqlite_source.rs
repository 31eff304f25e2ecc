//! The SQLite source, on real files that real clients write to.

mod replay;
mod schema;
mod speed;
mod writes;

use headwater_engines::sqlite::{Source, SourceOptions};
use headwater_model::{Error, Event, Follow, Position, Source as _, TableName};
use rusqlite::Connection;
use tempfile::TempDir;

use self::replay::Replica;

/// A database of its own, and the source on it.
pub struct Database {
    folder: TempDir,
    pub source: Source,
}

impl Database {
    /// A database with these tables, captured.
    pub async fn with(schema: &str, tables: &[&str]) -> Database {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("PRAGMA journal_mode=WAL").unwrap();
        connection.execute_batch(schema).unwrap();
        let options = SourceOptions { path, retained_log_bytes_max: 1 << 30 };
        let database = Database { source: Source::with_options(options), folder };
        database.source.prepare(&names(tables)).await.unwrap();
        database
    }

    pub fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("app.db")
    }

    /// Another source on the same file, as another process would have it.
    pub fn again(&self) -> Source {
        Source::with_options(SourceOptions { path: self.path(), retained_log_bytes_max: 1 << 30 })
    }

    pub fn connect(&self) -> Connection {
        let connection = Connection::open(self.path()).unwrap();
        connection.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
        connection
    }

    pub fn run(&self, sql: &str) {
        self.connect().execute_batch(sql).unwrap();
    }

    /// Follows from `replica`'s position until it has everything that is there now, then lets go.
    pub async fn catch_up(&self, replica: &mut Replica) {
        let (end, _) = self.source.progress().await.unwrap();
        let mut follow = self.source.follow(replica.position.as_ref()).await.unwrap();
        read_until(&mut *follow, replica, &end).await;
    }
}

pub fn names(tables: &[&str]) -> Vec<TableName> {
    tables.iter().map(|table| TableName::new(None, table)).collect()
}

pub async fn read_until(follow: &mut dyn Follow, replica: &mut Replica, end: &Position) {
    while replica.position.as_ref().is_none_or(|position| position < end) {
        let events = next(follow).await;
        replica.take(events);
    }
}

pub async fn next(follow: &mut dyn Follow) -> Vec<Event> {
    let events = tokio::time::timeout(std::time::Duration::from_secs(20), follow.next());
    let events = events.await.expect("events within 20 s").unwrap();
    assert!(!events.is_empty());
    events
}

pub async fn failure(source: &Source, after: Option<&Position>) -> Error {
    match source.follow(after).await {
        Err(error) => error,
        Ok(mut follow) => loop {
            if let Err(error) = follow.next().await {
                break error;
            }
        },
    }
}
