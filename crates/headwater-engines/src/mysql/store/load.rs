//! New rows that go to their table by LOAD DATA LOCAL, which the server works on with less effort than on statements, and while
//! the next ones are still being written out.
//!
//! The server is asked nothing by it that an INSERT would not be, but says otherwise what it does not take: it leaves rows out,
//! or changes values, and counts warnings.
//!
//! Invariant: rows that were loaded with a warning, or not all of them, are taken back and inserted, so that what comes of them
//! is what comes of an INSERT.

use std::sync::Arc;

use bytes::Bytes;
use headwater_model::Result;

use super::schema::ROWS_BYTES_MAX;
use super::sql::{packets, statements};
use super::written::Written;
use crate::mysql::connection::Connection;

/// Below, a round trip more costs more than it saves.
pub(super) const ROWS_MIN: usize = 200;

/// What is written out at once. A packet has twice as much at most: no server that is written to takes less.
const PIECE_BYTES: usize = 128 << 10;

/// Where a load that is taken back began.
const SAVEPOINT: &str = "headwater_load";

/// Rows of one table.
pub(super) struct Load {
    pub table: String,
    /// As they are written in SQL.
    pub columns: String,
    pub rows: Vec<Written>,
}

impl Load {
    /// What inserts the rows.
    pub fn inserts(&self, bytes_max: usize) -> Vec<Vec<u8>> {
        let head = format!("INSERT INTO {} ({}) VALUES ", self.table, self.columns);
        let lines: Vec<Vec<u8>> = self.rows.iter().map(|row| row.values(&[])).collect();
        statements(&head, &lines, "", bytes_max, usize::MAX)
    }

    /// Inside the open transaction.
    pub async fn run(self, connection: &mut Connection, bytes_max: usize) -> Result<()> {
        let load = Arc::new(self);
        // The name of the file means nothing. Values are bytes: no column of ours is of another character set than UTF-8.
        let sql = format!(
            r"SAVEPOINT {SAVEPOINT}; LOAD DATA LOCAL INFILE 'rows' INTO TABLE {} CHARACTER SET binary FIELDS TERMINATED BY '\t' ESCAPED BY '\\' LINES TERMINATED BY '\n' ({})",
            load.table, load.columns
        );
        match connection.load(&sql, file(load.clone())).await {
            Ok(Some(added)) if added == load.rows.len() as u64 => return Ok(()),
            Err(error) if error.is_retryable() => return Err(error),
            // A proxy may refuse what the server takes.
            Ok(_) | Err(_) => {}
        }
        let back = format!("ROLLBACK TO SAVEPOINT {SAVEPOINT}").into_bytes();
        let inserts = load.inserts(bytes_max);
        for packet in packets([vec![back], inserts].concat(), bytes_max) {
            connection.results(packet, ROWS_BYTES_MAX).await?;
        }
        Ok(())
    }
}

/// The rows as the file that the server reads, written out as it is sent.
fn file(load: Arc<Load>) -> impl Iterator<Item = Bytes> + Send + Sync {
    let (mut next, mut ready) = (0, Bytes::new());
    std::iter::from_fn(move || {
        if ready.is_empty() {
            let mut lines = Vec::with_capacity(2 * PIECE_BYTES);
            while lines.len() < PIECE_BYTES
                && let Some(row) = load.rows.get(next)
            {
                row.push_line(&mut lines);
                next += 1;
            }
            ready = lines.into();
        }
        (!ready.is_empty()).then(|| ready.split_to(ready.len().min(2 * PIECE_BYTES)))
    })
}
