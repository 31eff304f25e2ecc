//! PostgreSQL: a cluster of its own per [`Postgres`], copied from a template that is made once per machine.
//!
//! Run as root, the server runs as the operating system's user `postgres`, since it refuses to be root.

mod builder;
pub(super) mod install;
mod standby;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use self::install::Install;
use super::folder::Folder;
use super::process::{self, Process};
pub use builder::PostgresBuilder;

/// How long a start, with crash recovery, or a stop may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Set where the extension cannot be had: its tests are skipped, and say so.
const WITHOUT_HYPOPG: &str = "HEADWATER_WITHOUT_HYPOPG";

/// A running PostgreSQL server. Superuser `postgres`, database `postgres`, everyone trusted unless the builder says
/// otherwise. Stopped and removed on drop.
#[derive(Debug)]
pub struct Postgres {
    install: Install,
    port: u16,
    process: Process,
    ca: Option<PathBuf>,
    // Last: removed after the process has ended.
    folder: Folder,
}

impl Postgres {
    /// With `wal_level=logical` and without fsync. Blocks for some 200 ms (once per machine 2 s).
    #[track_caller]
    pub fn start() -> Postgres {
        Postgres::builder().start()
    }

    pub fn builder() -> PostgresBuilder {
        PostgresBuilder::default()
    }

    /// Whether tests are to do without the extension hypopg: this machine cannot have it, and `cargo xtask test` has said so.
    pub fn lacks_hypopg() -> bool {
        let left_out = std::env::var_os(WITHOUT_HYPOPG).is_some();
        if left_out {
            eprintln!("SKIPPED: {WITHOUT_HYPOPG} is set");
        }
        left_out
    }

    /// `15.20` and the like.
    pub fn version(&self) -> &str {
        &self.install.version
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// As the superuser, over TCP.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// As a role made before with `psql`.
    pub fn url_as(&self, user: &str, password: &str) -> String {
        format!("postgres://{user}:{password}@127.0.0.1:{}/postgres", self.port)
    }

    /// A file with the certificate authority that signed the server's certificate, after [`PostgresBuilder::ssl`].
    pub fn ca(&self) -> Option<&std::path::Path> {
        self.ca.as_deref()
    }

    /// The folder that holds `data`, `log` and the unix socket.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// A program of the same installation, as `pg_recvlogical` or `pgbench`, with its connection set up in the
    /// environment.
    pub fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.install.bin.join(name));
        command
            .env("PGHOST", self.folder.path())
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", "postgres")
            .env("PGDATABASE", "postgres")
            .env("PGTZ", "UTC")
            .stdin(Stdio::null());
        command
    }

    /// A program that works on the server's files, as the user the server runs as.
    pub fn server_tool(&self, name: &str) -> Command {
        self.install.command(name)
    }

    /// Runs statements as the superuser and returns what `psql -At` prints, without the last line break. Blocks; panics
    /// with the server's words if one fails.
    #[track_caller]
    pub fn psql(&self, sql: &str) -> String {
        match self.try_psql(sql) {
            Ok(text) => text,
            Err(error) => panic!("psql: {error}\n{sql}"),
        }
    }

    /// Like [`Postgres::psql`], with the server's words as the error.
    pub fn try_psql(&self, sql: &str) -> Result<String, String> {
        let output = self
            .tool("psql")
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .output()
            .map_err(|error| format!("start psql: {error}"))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim_end().to_owned())
        }
    }

    /// A connection as the superuser; its task ends with the client.
    pub async fn connect(&self) -> tokio_postgres::Client {
        let config =
            format!("host={} port={} user=postgres dbname=postgres", self.folder.path().display(), self.port);
        let (client, connection) =
            tokio_postgres::connect(&config, tokio_postgres::NoTls).await.expect("connect to PostgreSQL");
        tokio::spawn(connection);
        client
    }

    /// Kill -9 of the server and all its workers: a crash.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// A clean (`fast`) shutdown. It waits for replication clients to take what is left of the log, hence async.
    pub async fn stop(&self) {
        self.process.signal(Signal::SIGINT);
        assert!(self.process.wait_async(PATIENCE).await, "PostgreSQL did not stop\n{}", self.log_tail());
    }

    /// Stops cleanly if it runs, then starts on the same port with the same data.
    pub async fn restart(&self) {
        if self.process.id().is_some() {
            self.stop().await;
        }
        self.launch();
        while !self.is_ready() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// SIGSTOP for the server and its workers: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.process.signal_all(Signal::SIGSTOP);
    }

    pub fn resume(&self) {
        self.process.signal_all(Signal::SIGCONT);
    }

    /// The last lines of the server's log.
    pub fn log_tail(&self) -> String {
        process::log_tail(self.folder.path())
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn launch(&self) {
        let mut command = self.install.command("postgres");
        command.arg("-D").arg(self.data()).current_dir(self.folder.path());
        self.process.start(&mut command, self.folder.path());
    }

    /// What `pg_ctl` waits for. Panics when the server has given up.
    #[track_caller]
    fn is_ready(&self) -> bool {
        let status = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let mut lines = status.lines();
        let ours = lines.next().and_then(|pid| pid.parse().ok()) == self.process.id();
        if ours && lines.nth(6).is_some_and(|word| word.trim() == "ready") {
            return true;
        }
        assert!(!self.process.has_ended(), "PostgreSQL did not start\n{}", self.log_tail());
        false
    }

    #[track_caller]
    fn wait_until_ready(&self) {
        let until = Instant::now() + PATIENCE;
        while !self.is_ready() {
            assert!(Instant::now() < until, "PostgreSQL does not become ready\n{}", self.log_tail());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.process.kill();
    }
}
