//! The released program as a process, with a file of its own.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use headwater_testkit::{Folder, Process, log_tail};
use nix::sys::signal::Signal;

pub struct Headwater {
    binary: PathBuf,
    process: Process,
    folder: Folder,
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub resident_max: u64,
    pub cpu_seconds: f64,
}

impl Headwater {
    /// With one view `account` of `table`, from `source` into `store`.
    pub fn new(source: &str, store: &str, table: &str) -> anyhow::Result<Headwater> {
        Headwater::with(source, store, table, "[serve]\nlisten = \"off\"\n")
    }

    /// The same with `more` sections.
    pub fn with(source: &str, store: &str, table: &str, more: &str) -> anyhow::Result<Headwater> {
        let file = format!(
            "data = \"data\"\n\n[source]\nurl = \"{source}\"\n\n[stores]\nnear = {{ url = \"{store}\" }}\n\n\
             [views.account]\nfrom = \"{table}\"\nstore = [\"near\"]\n\n{more}"
        );
        Headwater::with_file(&file)
    }

    /// With this `headwater.toml`.
    pub fn with_file(file: &str) -> anyhow::Result<Headwater> {
        let binary = match std::env::var_os("HEADWATER_BIN") {
            // The program runs in a folder of its own.
            Some(path) => std::path::absolute(PathBuf::from(path))?,
            None => std::env::current_exe()?.with_file_name("headwater"),
        };
        ensure!(binary.is_file(), "{} is missing: run this by `cargo xtask bench`", binary.display());
        let folder = Folder::new("run");
        std::fs::write(folder.join("headwater.toml"), file)?;
        Ok(Headwater { binary, process: Process::default(), folder })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("-f").arg(self.folder.join("headwater.toml")).current_dir(self.folder.path());
        command
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn start(&self) {
        self.process.start(self.command().arg("run"), self.folder.path());
    }

    /// Polls until `done`; an error if the program ends before that.
    pub fn wait(
        &self,
        what: &str,
        pause: Duration,
        mut done: impl FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + Duration::from_secs(600);
        while !done()? {
            if self.process.has_ended() {
                bail!("headwater ended before {what}:\n{}", log_tail(self.folder.path()));
            }
            if Instant::now() > until {
                bail!("waited in vain for {what}:\n{}\n{}", self.status(), log_tail(self.folder.path()));
            }
            std::thread::sleep(pause);
        }
        Ok(())
    }

    fn verify_command(&self, rate: &str) -> Command {
        let mut command = self.command();
        command.args(["verify", "--json", "--rate", rate]);
        command
    }

    /// Compares everything as fast as it can; the report. An error if anything drifted or could not be compared.
    pub fn verify(&self) -> anyhow::Result<serde_json::Value> {
        let output = self.verify_command("full").output().context("start headwater verify")?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "headwater verify: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_str(&said).context("the report of headwater verify")
    }

    /// Begins to compare everything, in a process of its own.
    pub fn begin_verify(&self, rate: &str) -> anyhow::Result<Child> {
        let mut command = self.verify_command(rate);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("start headwater verify")
    }

    /// Whether everything could be compared, and is equal.
    pub fn is_verified(&self) -> anyhow::Result<bool> {
        let output = self.verify_command("full").output().context("start headwater verify")?;
        Ok(output.status.success())
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// As if its machine had gone.
    pub fn kill(&self) {
        self.process.kill();
    }

    fn status(&self) -> String {
        let output = self.command().args(["status", "--json"]).output();
        output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default()
    }

    pub fn usage(&self) -> anyhow::Result<Usage> {
        let pid = self.process.id().context("headwater does not run")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // After the name in parentheses: state is the first field, user and system time the twelfth and thirteenth.
        let fields: Vec<&str> =
            stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        Ok(Usage { resident_max: kib * 1024, cpu_seconds: (ticks(11) + ticks(12)) as f64 / 100.0 })
    }

    /// Stops cleanly and says what was used.
    pub fn stop(&self) -> anyhow::Result<Usage> {
        let usage = self.usage()?;
        self.process.signal(Signal::SIGTERM);
        if !self.process.wait(Duration::from_secs(30)) {
            self.process.kill();
            bail!("headwater did not stop within 30 s of SIGTERM:\n{}", log_tail(self.folder.path()));
        }
        Ok(usage)
    }
}

impl Drop for Headwater {
    fn drop(&mut self) {
        self.process.kill();
    }
}
