//! How `status` in one terminal asks `run` in another: a socket in the data folder. A client connects, and is sent one
//! JSON document.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use headwater_flow::Handle;
use headwater_flow::status::Status;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use tracing::warn;

/// A client that does not read is given up after this, and an instance that does not answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Rows in a status may have been counted so long ago: `--watch` need not wait for each count.
pub const ROWS_AGE_MAX: Duration = Duration::from_secs(10);

/// A store that counts for longer does not hold the answer up.
pub const ROWS_WITHIN: Duration = Duration::from_secs(1);

/// More than any status needs: a bound on what a client takes from a socket.
const STATUS_BYTES_MAX: u64 = 16 << 20;

fn path(data: &Path) -> PathBuf {
    data.join("control.sock")
}

/// Answers until dropped. The folder's lock, not the socket, decides who leads: a standby serves when it leads.
pub async fn serve(data: &Path, handle: Handle) -> io::Result<()> {
    let path = path(data);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    loop {
        let (mut client, _) = listener.accept().await?;
        let handle = handle.clone();
        tokio::spawn(async move {
            let status = handle.status_with_rows(ROWS_AGE_MAX, ROWS_WITHIN).await;
            match serde_json::to_vec(&status) {
                // A client that went away needs no answer.
                Ok(answer) => drop(timeout(ANSWER_WITHIN, client.write_all(&answer)).await),
                Err(error) => warn!(%error, "a status cannot be written as JSON"),
            }
        });
    }
}

/// The status of the instance that leads in this data folder; `None` if none runs.
pub async fn ask(data: &Path) -> io::Result<Option<Status>> {
    let client = match UnixStream::connect(path(data)).await {
        Ok(client) => client,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut answer = Vec::new();
    match timeout(ANSWER_WITHIN, client.take(STATUS_BYTES_MAX).read_to_end(&mut answer)).await {
        Ok(read) => read?,
        Err(_) => {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the running instance does not answer"));
        }
    };
    serde_json::from_slice(&answer).map(Some).map_err(io::Error::other)
}
