//! Pruning what has been consumed, in deletes so small that the application's writers hardly notice.
//!
//! The row of the released position itself stays, so the change table is never empty and ids never start again.

use std::time::{Duration, Instant};

use headwater_model::{Error, ErrorKind, Position, Result};
use rusqlite::Connection;

use super::log;
use crate::sqlite::connection::failed;

/// Rows per delete: about a millisecond of holding the write lock.
const ROWS_PER_DELETE: i64 = 2000;

/// Fewer rows than this wait for [`EVERY`].
const ROWS_DUE: i64 = 20_000;
const EVERY: Duration = Duration::from_secs(1);

/// How long one release may take; the rest waits for the next.
const BUDGET: Duration = Duration::from_millis(500);

/// What has been pruned by this process.
#[derive(Default)]
pub(super) struct Released {
    upto: i64,
    at: Option<Instant>,
}

impl Released {
    /// Whether it is worth a write to the user's database.
    pub(super) fn is_due(&self, upto: &Position) -> bool {
        let rows = log::change_of(upto) - self.upto;
        rows > 0 && (rows >= ROWS_DUE || self.at.is_none_or(|at| at.elapsed() >= EVERY))
    }

    pub(super) fn release(&mut self, connection: &Connection, upto: &Position) -> Result<()> {
        let system: String = connection
            .prepare_cached("SELECT system FROM headwater_system")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .map_err(|e| failed(e, "read the database's id"))?;
        if *system != *upto.system {
            return Err(Error::out_of_step(format!(
                "the position to release belongs to the database {}, this one is {system}",
                upto.system
            )));
        }
        let started = Instant::now();
        self.at = Some(started);
        let mut oldest = log::oldest(connection)?;
        let end = log::change_of(upto).min(log::newest(connection)?);
        while oldest < end && started.elapsed() < BUDGET {
            let next = (oldest + ROWS_PER_DELETE).min(end);
            let deleting = Instant::now();
            let deleted = connection
                .prepare_cached("DELETE FROM headwater_change WHERE id < ?1")
                .and_then(|mut statement| statement.execute([next]))
                .map_err(|e| failed(e, "prune the change table"));
            match deleted {
                Ok(_) => oldest = next,
                // The application is writing: it goes first, there is no hurry here.
                Err(error) if error.kind() == ErrorKind::Transient => break,
                Err(error) => return Err(error),
            }
            // At least as much time for others as for us.
            std::thread::sleep(deleting.elapsed());
        }
        self.upto = oldest;
        Ok(())
    }
}
