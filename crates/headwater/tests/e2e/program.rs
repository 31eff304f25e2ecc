//! The program itself as a process, as a user would run it: its file, its signals, its log.

use std::process::Command;
use std::time::Duration;

use headwater_model::View;
use headwater_model::file::toml_views;
use headwater_testkit::checker::{Copy, Report, Truth, expected, found};
use headwater_testkit::{Folder, Process, checker, eventually, log_tail};
use nix::sys::signal::Signal;

pub struct Headwater {
    process: Process,
    folder: Folder,
}

impl Headwater {
    /// `stores` are `(name, the rest of its entry)`.
    pub fn new(source: &str, stores: &[(&str, String)], views: &[View]) -> Headwater {
        // Chunks so small that even little tables have several.
        Headwater::with_chunks(50, source, stores, views)
    }

    pub fn with_chunks(rows: usize, source: &str, stores: &[(&str, String)], views: &[View]) -> Headwater {
        let folder = Folder::new("e2e");
        let stores: String = stores.iter().map(|(name, entry)| format!("{name} = {{ {entry} }}\n")).collect();
        let file = format!(
            "data = \"data\"\n\n[source]\nurl = \"{source}\"\n\n[stores]\n{stores}\n\
             [backfill]\nchunk_rows = {rows}\n{}",
            toml_views(views)
        );
        std::fs::write(folder.join("headwater.toml"), file).unwrap();
        Headwater { process: Process::default(), folder }
    }

    /// Another instance with the same file.
    pub fn again(&self) -> Headwater {
        let folder = Folder::new("e2e");
        let file = std::fs::read_to_string(self.folder.join("headwater.toml")).unwrap();
        let data = format!("data = \"{}\"", self.folder.join("data").display());
        std::fs::write(folder.join("headwater.toml"), file.replacen("data = \"data\"", &data, 1)).unwrap();
        Headwater { process: Process::default(), folder }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
        command.arg("-f").arg(self.folder.join("headwater.toml")).current_dir(self.folder.path());
        command
    }

    pub fn start(&self) {
        self.process.start(self.command().arg("run"), self.folder.path());
    }

    /// Kill -9.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// SIGTERM, and the end within the deadline.
    pub fn stop(&self) {
        assert!(!self.process.has_ended(), "headwater ended by itself\n{}", self.log());
        self.process.signal(Signal::SIGTERM);
        assert!(self.process.wait(Duration::from_secs(12)), "no clean end after SIGTERM\n{}", self.log());
    }

    pub fn log(&self) -> String {
        log_tail(self.folder.path())
    }

    /// `status --json`.
    pub fn status(&self) -> Result<serde_json::Value, String> {
        let output = self.command().args(["status", "--json"]).output().map_err(|error| error.to_string())?;
        serde_json::from_slice(&output.stdout)
            .map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Waits until `copy` holds exactly what the source says. The source must be at rest.
    pub async fn converges(&self, truth: &Truth, copy: &Copy, views: &[View]) -> Report {
        let expected = expected(truth, views).await;
        eventually(Duration::from_secs(60), "the store equals the source", async || {
            let report = checker::compare(&expected, &found(copy, views).await);
            if report.is_equal() { Ok(report) } else { Err(format!("{report}\n{}", self.log())) }
        })
        .await
    }
}

impl Drop for Headwater {
    fn drop(&mut self) {
        self.process.kill();
        if std::thread::panicking() {
            eprintln!("--- headwater's log\n{}", self.log());
        }
    }
}
