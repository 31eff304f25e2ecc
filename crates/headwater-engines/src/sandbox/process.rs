//! A server's process in a [`super::Folder`]: started, killed, frozen and thawed.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use headwater_model::{Error, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Folder, failed};

/// How long a killed process may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(30);

/// At most one running process under this name.
pub struct Process {
    name: String,
    folder: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Process {
    pub fn new(folder: &Folder, name: &str) -> Process {
        Process { name: name.to_owned(), folder: folder.path().to_owned(), child: Mutex::default() }
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where its output goes.
    pub fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    /// The end of its output, for messages.
    pub fn log_tail(&self, lines: usize) -> String {
        let text = fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Starts it. It has to work inside the folder: by that the watchdog knows it.
    pub fn start(&self, command: &mut Command, cwd: &Path) -> Result<()> {
        let doing = format!("start {}", command.get_program().to_string_lossy());
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .map_err(|error| failed(format_args!("open {}", self.log().display()), error))?;
        let copy = log.try_clone().map_err(|error| failed("share a log", error))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(copy)
            .stderr(log)
            .current_dir(cwd)
            .process_group(0)
            .spawn()
            .map_err(|error| failed(&doing, error))?;
        let pid = self.folder.join(format!("{}.pid", self.name));
        fs::write(&pid, child.id().to_string()).map_err(|error| failed("note a process", error))?;
        if self.child().replace(child).is_some() {
            return Err(Error::bug(format!("{} runs already", self.name)));
        }
        Ok(())
    }

    pub fn id(&self) -> Option<u32> {
        self.child().as_ref().map(Child::id)
    }

    /// Whether it runs; one that has ended by itself is forgotten.
    pub fn is_running(&self) -> bool {
        let mut child = self.child();
        let running = child.as_mut().is_some_and(|child| child.try_wait().ok().flatten().is_none());
        if !running {
            *child = None;
        }
        running
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = self.child().as_ref() {
            // Not reaped yet, so the number is still its own.
            let _ = kill(Pid::from_raw(child.id() as i32), signal);
        }
    }

    /// To the process and its direct children: a forking server's workers.
    fn signal_all(&self, signal: Signal) {
        let Some(id) = self.id() else { return };
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        self.signal(signal);
        for child in children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()) {
            let _ = kill(Pid::from_raw(child), signal);
        }
    }

    /// SIGSTOP: connections stay open, and nothing answers.
    pub fn freeze(&self) {
        self.signal_all(Signal::SIGSTOP);
    }

    pub fn thaw(&self) {
        self.signal_all(Signal::SIGCONT);
    }

    /// SIGKILL, to the workers too. Gone when this returns.
    pub fn kill(&self) {
        self.signal_all(Signal::SIGKILL);
        self.wait_gone();
    }

    /// SIGTERM, and SIGKILL if that does not do it.
    pub fn stop(&self) {
        self.signal(Signal::SIGTERM);
        self.wait_gone();
    }

    fn wait_gone(&self) {
        let until = Instant::now() + GONE_WITHIN;
        while self.is_running() {
            if Instant::now() > until {
                self.signal_all(Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
