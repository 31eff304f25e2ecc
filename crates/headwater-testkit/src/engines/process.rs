//! An engine's server process in a [`Folder`]: started, signalled and waited for.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// At most one running server. Its output goes to `log` in the folder.
#[derive(Debug, Default)]
pub struct Process(Mutex<Option<Child>>);

impl Process {
    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts `command` with the folder's log as its output, and leaves its pid for the watchdog.
    pub fn start(&self, command: &mut Command, folder: &Path) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(folder.join("log"))
            .expect("open the engine's log");
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("share the engine's log"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("start {:?}: {error}", command.get_program()));
        fs::write(folder.join("engine.pid"), child.id().to_string()).expect("write the engine's pid");
        let before = self.child().replace(child);
        assert!(before.is_none(), "the engine is already running");
    }

    pub fn id(&self) -> Option<u32> {
        self.child().as_ref().map(Child::id)
    }

    /// Whether the process has ended by itself.
    pub fn has_ended(&self) -> bool {
        match self.child().as_mut() {
            Some(child) => child.try_wait().ok().flatten().is_some(),
            None => true,
        }
    }

    pub fn signal(&self, signal: Signal) {
        if let Some(child) = self.child().as_ref() {
            // Not reaped yet (we hold the child), so the pid is still its own.
            let _ = kill(Pid::from_raw(child.id() as i32), signal);
        }
    }

    /// Signals the process and its direct children (a forking server's workers).
    pub fn signal_all(&self, signal: Signal) {
        let children = self.children();
        self.signal(signal);
        for child in children {
            let _ = kill(child, signal);
        }
    }

    fn children(&self) -> Vec<Pid> {
        let Some(id) = self.id() else { return Vec::new() };
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect()
    }

    /// Waits for the end; false if it still runs after `within`.
    pub fn wait(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        while !self.has_ended() {
            if Instant::now() > until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        *self.child() = None;
        true
    }

    /// Like [`Process::wait`], without holding up the runtime: a server may wait for clients that live in it.
    pub async fn wait_async(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        while !self.has_ended() {
            if Instant::now() > until {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        *self.child() = None;
        true
    }

    /// SIGKILL, to the workers too. Gone when this returns: a server does not start again while one of them still holds its
    /// memory.
    pub fn kill(&self) {
        let children = self.children();
        self.signal_all(Signal::SIGKILL);
        let until = Instant::now() + Duration::from_secs(30);
        assert!(self.wait(Duration::from_secs(30)), "a killed engine did not end");
        while children.iter().any(|child| runs(*child)) {
            assert!(Instant::now() < until, "a killed engine's worker did not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Whether a process is there and has not ended; nobody may ever ask how it did.
fn runs(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name in brackets may hold anything.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

/// The end of the engine's log, for failure messages.
pub fn log_tail(folder: &Path) -> String {
    let text = fs::read(folder.join("log")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
