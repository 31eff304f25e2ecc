//! `headwater run` as a process that tests start, kill, freeze and question.

use std::fs::File as LogFile;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use headwater_model::View;
use headwater_model::file::{File, References};
use headwater_testkit::checker::{Copy, Truth, eventually_equal};
use headwater_testkit::{Folder, Process, Redis, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value as Json;

use crate::support::{Ran, Site};

/// How long anything may take on a machine that is busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// How long a test of random faults goes on: HEADWATER_TEST_SECONDS, or `seconds`.
pub fn test_seconds(seconds: u64) -> Duration {
    let chosen = std::env::var("HEADWATER_TEST_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(chosen.unwrap_or(seconds))
}

/// A folder with a `headwater.toml`, and at most one `headwater run` of it. Killed and removed on drop.
pub struct Service {
    site: Site,
    child: Mutex<Option<Child>>,
    pub views: Vec<View>,
}

impl Service {
    pub fn new(name: &str, text: &str) -> Service {
        let site = Site::with_file(name, &with_a_port(text));
        Service { site, child: Mutex::default(), views: views(text) }
    }

    /// Of a file that refers to others, which the checker does not need.
    pub fn new_unread(name: &str, text: &str) -> Service {
        let site = Site::with_file(name, &with_a_port(text));
        Service { site, child: Mutex::default(), views: Vec::new() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.site.path(name)
    }

    /// Another file for the next start.
    pub fn rewrite(&mut self, text: &str) {
        self.site.write("headwater.toml", &with_a_port(text));
        self.views = views(text);
    }

    pub fn command(&self, args: &[&str]) -> Ran {
        self.site.run(args)
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[track_caller]
    pub fn start(&self) {
        self.start_with(&[]);
    }

    /// With more variables in its environment.
    #[track_caller]
    pub fn start_with(&self, variables: &[(&str, &str)]) {
        self.start_via(&[], variables);
    }

    /// With another program and its arguments in front, which becomes this one.
    #[track_caller]
    pub fn start_via(&self, via: &[String], variables: &[(&str, &str)]) {
        // Of an earlier start, which had another port.
        let _ = std::fs::remove_file(self.path("headwater-data/http.url"));
        let log = LogFile::options().create(true).append(true).open(self.path("log")).unwrap();
        let words: Vec<&str> =
            via.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_headwater"), "run"]).collect();
        let child = Command::new(words[0])
            .args(&words[1..])
            .current_dir(self.path("."))
            .env_remove("HEADWATER_FILE")
            .env_remove("HEADWATER_LOG")
            .env_remove("PGPASSWORD")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        // For the folder's watchdog, should the test run be killed.
        self.site.write("engine.pid", &child.id().to_string());
        assert!(self.child().replace(child).is_none(), "it runs already");
    }

    pub fn id(&self) -> i32 {
        self.child().as_ref().map(|child| child.id() as i32).expect("headwater runs")
    }

    pub fn signal(&self, signal: Signal) {
        if let Some(child) = self.child().as_ref() {
            // Not reaped yet, so the pid is still its own.
            let _ = kill(Pid::from_raw(child.id() as i32), signal);
        }
    }

    /// Kill -9.
    pub fn kill(&self) {
        if let Some(mut child) = self.child().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether the process still runs.
    pub fn is_running(&self) -> bool {
        self.child().as_mut().is_some_and(|child| child.try_wait().ok().flatten().is_none())
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            let ended = self.child().as_mut().expect("it was started").try_wait().unwrap();
            if let Some(status) = ended {
                *self.child() = None;
                return status;
            }
            assert!(Instant::now() < until, "headwater does not end\n{}", self.log_tail());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGTERM; it must end by itself, within its deadline, with exit code 0.
    #[track_caller]
    pub fn stop(&self) {
        self.signal(Signal::SIGTERM);
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "a clean stop\n{}", self.log_tail());
    }

    /// Everything it has logged since the first start.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path("log")).unwrap_or_default()).into_owned()
    }

    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Waits until the log, from byte `since`, has a line with all of `parts`.
    pub async fn says(&self, since: usize, parts: &[&str]) {
        self.eventually(&format!("a line of the log with {parts:?}"), async || {
            let log = self.log();
            let found = log.get(since..).unwrap_or_default().lines().any(|line| has_all(line, parts));
            if found { Ok(()) } else { Err(self.log_tail()) }
        })
        .await;
    }

    /// Like the kit's, but not for a process that has ended.
    pub async fn eventually<T>(&self, what: &str, check: impl AsyncFn() -> Result<T, String>) -> T {
        eventually(PATIENCE, what, async || match check().await {
            Err(seen) => {
                assert!(self.is_running(), "headwater ended before: {what}\n{seen}\n{}", self.log_tail());
                Err(seen)
            }
            fine => fine,
        })
        .await
    }

    /// What `status --json` prints, and its exit code.
    #[track_caller]
    pub fn status(&self) -> (Json, i32) {
        let ran = self.command(&["status", "--json"]);
        let json =
            serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}{}", ran.stdout, ran.stderr));
        (json, ran.code)
    }

    /// Where it answers over HTTP, as soon as it says so.
    pub async fn url(&self) -> String {
        let path = self.path("headwater-data/http.url");
        self.eventually("it says where it listens", async || {
            std::fs::read_to_string(&path).map(|url| url.trim().to_owned()).map_err(|error| error.to_string())
        })
        .await
    }

    pub async fn healthy(&self) {
        self.eventually("everything is healthy", async || match self.status() {
            (_, 0) => Ok(()),
            (json, _) => Err(format!("{json}\n{}", self.log_tail())),
        })
        .await;
    }

    /// Waits until `copy` holds what the source says, of the views that are in the store called `store`.
    pub async fn equal(&self, truth: &Truth, store: &str, copy: &Copy) {
        if let Copy::Sqlite(path) = copy {
            self.eventually("the embedded store is there", async || {
                if path.exists() { Ok(()) } else { Err("not yet".into()) }
            })
            .await;
        }
        let report = eventually_equal(PATIENCE, truth, copy, &self.views_of(store)).await;
        assert!(report.is_equal());
    }

    pub fn views_of(&self, store: &str) -> Vec<View> {
        self.views.iter().filter(|view| view.stores.iter().any(|name| **name == *store)).cloned().collect()
    }

    /// The most memory that the running process has held so far, in bytes.
    pub fn resident_max(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the end of headwater's log:\n{}", self.log_tail());
        }
    }
}

/// The file with a port of its own to listen on, if it says nothing of it: many instances run at once.
fn with_a_port(text: &str) -> String {
    let says = text.contains("[serve]");
    if says { text.to_owned() } else { format!("{text}\n[serve]\nlisten = \"127.0.0.1:0\"\n") }
}

/// A program that writes to the source until dropped.
pub struct Load {
    process: Process,
    pub folder: Folder,
}

impl Load {
    pub fn new() -> Load {
        Load { process: Process::default(), folder: Folder::new("pgbench") }
    }

    /// Starts `command` in the load's folder.
    pub fn start(self, command: &mut Command) -> Load {
        self.process.start(command.current_dir(self.folder.path()), self.folder.path());
        self
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.process.kill();
    }
}

/// A Redis as the checker sees it, without a key prefix.
pub fn near(redis: &Redis) -> Copy {
    Copy::Redis { url: redis.url(), prefix: String::new() }
}

/// An embedded store as the checker sees it.
pub fn local(path: &Path) -> Copy {
    Copy::Sqlite(path.to_owned())
}

fn has_all(text: &str, parts: &[&str]) -> bool {
    parts.iter().all(|part| text.contains(part))
}

fn views(text: &str) -> Vec<View> {
    struct Nothing;
    impl References for Nothing {
        fn variable(&self, _: &str) -> Option<String> {
            None
        }
        fn file(&self, _: &Path) -> Result<String, String> {
            Err("no files here".into())
        }
    }
    match File::load(text, &Nothing) {
        Ok(file) => file.views,
        Err(errors) => panic!("{errors:?}\n{text}"),
    }
}
