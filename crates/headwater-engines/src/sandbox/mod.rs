//! Real engines in a folder of their own, for drills: started, killed, frozen, emptied and read with their own tools.
//!
//! Owns: the folder, the processes, what an engine can be made to suffer. Does not own: what is done when, or what it
//! means. Nothing here is used by the data plane: what a drill reads is read past everything that it judges.
//!
//! Invariant: whatever is started here ends, and its folder goes, with the process that started it, `kill -9` included.

mod folder;
mod process;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod session;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};

use headwater_model::{Error, Result};

pub use folder::Folder;
pub use process::Process;
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) use session::Session;

/// A source that somebody writes to.
pub trait SandboxSource: Send + Sync {
    fn url(&self) -> String;
    /// What it is, and its version.
    fn name(&self) -> String;
    /// Where it listens; `None` for a file.
    fn address(&self) -> Option<SocketAddr>;
    /// Its server, to be killed or frozen; `None` for a file.
    fn process(&self) -> Option<&Process>;
    /// Starts the server again, on what it left.
    fn start(&self) -> Result<()>;
    fn execute(&self, sql: &str) -> Result<()>;
    /// Every column as text.
    fn rows(&self, sql: &str) -> Result<Vec<Vec<String>>>;
    /// Somebody who commits, over a connection of their own.
    fn writer(&self) -> Result<Box<dyn Writer>>;
    /// A copy that follows and can be promoted.
    fn standby(&self, folder: &Folder) -> Result<Box<dyn SandboxSource>>;
    fn promote(&self) -> Result<()>;
}

pub trait Writer: Send {
    /// Statements as one transaction. Fine only if the engine has said that it is committed.
    fn commit(&mut self, sql: &str) -> Result<()>;
}

/// A store, as whoever reads it without Headwater sees it. Views are laid out as JSON.
pub trait SandboxStore: Send + Sync {
    fn url(&self) -> String;
    fn name(&self) -> String;
    fn address(&self) -> Option<SocketAddr>;
    fn process(&self) -> Option<&Process>;
    fn start(&self) -> Result<()>;
    fn get(&self, view: &str, key: &str) -> Result<Option<String>>;
    /// Key and document of everything in a view.
    fn documents(&self, view: &str) -> Result<BTreeMap<String, String>>;
    /// Empties it behind everybody's back.
    fn flush(&self) -> Result<()>;
    /// Whether it is empty after it was killed.
    fn forgets(&self) -> bool;
}

/// A port of this machine that nobody listens on now, below those that the kernel hands out by itself.
pub(crate) fn free_port() -> Result<u16> {
    let start = std::process::id().wrapping_mul(2_654_435_761) >> 8;
    for step in 0..16_000u32 {
        let port = 15_000 + (start.wrapping_add(step * 7) % 16_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(Error::transient("this machine has no free port"))
}

pub(crate) fn failed(doing: impl std::fmt::Display, error: std::io::Error) -> Error {
    Error::transient(format!("{doing}")).with_cause(error)
}

/// What a command prints, without the last line break.
pub(crate) fn output(command: &mut std::process::Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|error| failed(format_args!("start {program}"), error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::transient(format!("{program}: {}", said.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned())
}
