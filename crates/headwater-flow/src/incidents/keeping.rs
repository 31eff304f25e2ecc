//! Keeps the log while this instance leads: only the leader holds the data folder's lock, so there is one writer.
//!
//! A disk that refuses a line is no reason to stop what flows: the line waits, and is tried again.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use headwater_model::{Error, Result};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{Log, folder, read};
use crate::board::Board;
use crate::status::{Incident, IncidentKind};

/// How often lines that wait are written.
const WRITE_EVERY: Duration = Duration::from_millis(200);

pub(crate) struct Keeping {
    board: Arc<Board>,
    log: Option<Log>,
    refused: bool,
    /// On a machine that is simulated there are no threads.
    own_thread: bool,
}

impl Keeping {
    /// Opens the log in the data folder. A log that cannot be opened is told of, and nothing else.
    pub fn open(data: &Path, board: Arc<Board>, own_thread: bool) -> Keeping {
        let folder = folder(data);
        let log = match read(&folder).and_then(|before| Ok((before, Log::open(&folder)?))) {
            Ok((before, (log, found))) => {
                board.with_incidents(|incidents| incidents.resume(before.incidents));
                if found.torn_bytes > 0 {
                    warn!(bytes = found.torn_bytes, "the incident log ended in half a line, which is cut");
                }
                if let Some(first) = found.problems.first() {
                    let cause = format!("{first}; {} problems in all", found.problems.len());
                    error!(%cause, "the incident log is damaged; it goes on in a new file");
                    board.happened("incident log", IncidentKind::LogDamaged, &cause);
                }
                Some(log)
            }
            Err(error) => {
                error!(%error, "incidents are kept in memory only");
                None
            }
        };
        Keeping { board, log, refused: false, own_thread }
    }

    /// Writes what happens until cancelled, and then what is left.
    pub async fn run(mut self, cancel: CancellationToken) -> Result<()> {
        let mut tick = tokio::time::interval(WRITE_EVERY);
        loop {
            let last = tokio::select! {
                biased;
                () = cancel.cancelled() => true,
                _ = tick.tick() => false,
            };
            if self.own_thread {
                self = tokio::task::spawn_blocking(move || {
                    self.write(last);
                    self
                })
                .await
                .map_err(|error| Error::bug("writing the incident log panicked").with_cause(error))?;
            } else {
                self.write(last);
            }
            if last {
                return Ok(());
            }
        }
    }

    /// Writes what is left, at once.
    pub fn close(mut self) {
        self.write(true);
    }

    fn write(&mut self, all: bool) {
        let Some(log) = &mut self.log else { return };
        let now = self.board.now_micros();
        let mut lines: Vec<Incident> = self.board.with_incidents(|incidents| incidents.take_lines(now, all));
        match log.append(&mut lines) {
            Ok(()) => self.refused = false,
            Err(error) => {
                if !std::mem::replace(&mut self.refused, true) {
                    error!(%error, "incidents cannot be written down; trying again");
                }
                self.board.with_incidents(|incidents| incidents.give_back(lines));
            }
        }
    }
}
