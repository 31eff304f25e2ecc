//! Redis (or Valkey, if that is what is installed): one server per [`Redis`], nothing written to disk unless asked.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::folder::Folder;
use super::port::free_port;
use super::process::{self, Process};

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub struct RedisBuilder {
    /// `None`: the one that is installed.
    program: Option<PathBuf>,
    args: Vec<String>,
    password: Option<String>,
    cluster: bool,
    bus_port: Option<u16>,
}

impl RedisBuilder {
    /// Another server than the one that is installed.
    #[must_use]
    pub(super) fn program(mut self, program: PathBuf) -> Self {
        self.program = Some(program);
        self
    }

    /// A setting as in `redis.conf`: `.arg("maxmemory", "10mb")`.
    #[must_use]
    pub fn arg(mut self, name: &str, value: &str) -> Self {
        self.args.push(format!("--{name}"));
        self.args.push(value.into());
        self
    }

    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.into());
        self.arg("requirepass", password)
    }

    #[must_use]
    pub fn maxmemory(self, bytes: &str) -> Self {
        self.arg("maxmemory", bytes)
    }

    /// Keeps the data over a [`Redis::kill`]: every write reaches the append-only file before it is answered.
    #[must_use]
    pub fn appendonly(self) -> Self {
        self.arg("appendonly", "yes").arg("appendfsync", "always")
    }

    /// Cluster mode: one node that owns all slots. It refuses commands and transactions across slots.
    #[must_use]
    pub fn cluster(mut self) -> Self {
        self.cluster = true;
        self.in_cluster_mode("2000")
    }

    /// Cluster mode: a node that knows no other and owns no slot yet.
    #[must_use]
    pub(super) fn cluster_node(self) -> Self {
        self.in_cluster_mode("1500")
            // A replica that was just made may be promoted, and the others go on meanwhile.
            .arg("cluster-replica-validity-factor", "0")
            .arg("repl-diskless-sync-delay", "0")
    }

    fn in_cluster_mode(mut self, node_timeout_ms: &str) -> Self {
        // Of its own choice it takes a bus port among those that clients are given.
        let bus = free_port();
        self.bus_port = Some(bus);
        self.arg("cluster-enabled", "yes")
            .arg("cluster-port", &bus.to_string())
            .arg("cluster-node-timeout", node_timeout_ms)
    }

    #[track_caller]
    pub fn start(self) -> Redis {
        let folder = Folder::new("redis");
        let redis = Redis {
            port: free_port(),
            program: self.program.unwrap_or_else(|| program(&["redis-server", "valkey-server"]).into()),
            args: self.args,
            password: self.password,
            bus_port: self.bus_port,
            process: Default::default(),
            folder,
        };
        redis.launch();
        redis.wait_until_ready();
        if self.cluster {
            redis.cli(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
            redis.wait_for("a cluster that is up", |redis| {
                redis.try_cli(&["CLUSTER", "INFO"]).is_ok_and(|info| info.contains("cluster_state:ok"))
            });
        }
        redis
    }
}

/// A running Redis server. Without [`RedisBuilder::appendonly`] it is empty after a restart. Stopped and
/// removed on drop.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    program: PathBuf,
    args: Vec<String>,
    password: Option<String>,
    bus_port: Option<u16>,
    process: Process,
    folder: Folder,
}

impl Redis {
    #[track_caller]
    pub fn start() -> Redis {
        Redis::builder().start()
    }

    pub fn builder() -> RedisBuilder {
        RedisBuilder::default()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes `other` a node of this one's cluster; both run in cluster mode.
    #[track_caller]
    pub fn meet(&self, other: &Redis) {
        let bus = other.bus_port.expect("a server in cluster mode").to_string();
        self.cli(&["CLUSTER", "MEET", "127.0.0.1", &other.port.to_string(), &bus]);
    }

    pub fn is_running(&self) -> bool {
        self.process.id().is_some()
    }

    pub fn url(&self) -> String {
        match &self.password {
            Some(password) => format!("redis://:{password}@127.0.0.1:{}", self.port),
            None => format!("redis://127.0.0.1:{}", self.port),
        }
    }

    /// `redis-cli` against this server.
    pub fn tool(&self) -> Command {
        let mut command = Command::new(program(&["redis-cli", "valkey-cli"]));
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        if let Some(password) = &self.password {
            command.env("REDISCLI_AUTH", password);
        }
        command.stdin(Stdio::null());
        command
    }

    /// What `redis-cli` prints for a command, without the last line break. Blocks; panics on an error reply.
    #[track_caller]
    pub fn cli(&self, args: &[&str]) -> String {
        match self.try_cli(args) {
            Ok(text) => text,
            Err(error) => panic!("redis-cli {args:?}: {error}"),
        }
    }

    pub fn try_cli(&self, args: &[&str]) -> Result<String, String> {
        let output =
            self.tool().arg("-e").args(args).output().map_err(|error| format!("start redis-cli: {error}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\n').to_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(format!("{}{}", text(&output.stdout), text(&output.stderr)))
        }
    }

    /// Kill -9.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// A clean shutdown.
    pub fn stop(&self) {
        self.process.signal(Signal::SIGTERM);
        assert!(self.process.wait(PATIENCE), "Redis did not stop\n{}", self.log_tail());
    }

    /// Stops cleanly if it runs, then starts on the same port in the same folder.
    pub fn restart(&self) {
        if self.process.id().is_some() {
            self.stop();
        }
        self.launch();
        self.wait_until_ready();
    }

    /// What a [`RedisBuilder::appendonly`] server kept on its disk is gone. It must not run.
    pub fn lose_data(&self) {
        assert!(self.process.id().is_none(), "the server still runs");
        for kept in ["appendonlydir", "dump.rdb"] {
            let path = self.folder.join(kept);
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            assert!(removed.is_ok() || !path.exists(), "{}: {removed:?}", path.display());
        }
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.process.signal(Signal::SIGSTOP);
    }

    pub fn resume(&self) {
        self.process.signal(Signal::SIGCONT);
    }

    /// The last lines of the server's log.
    pub fn log_tail(&self) -> String {
        process::log_tail(self.folder.path())
    }

    fn launch(&self) {
        let mut command = Command::new(&self.program);
        command
            .args([
                "--port",
                &self.port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--daemonize",
                "no",
            ])
            .arg("--dir")
            .arg(self.folder.path())
            .args(&self.args)
            .current_dir(self.folder.path());
        self.process.start(&mut command, self.folder.path());
    }

    #[track_caller]
    fn wait_until_ready(&self) {
        // NOAUTH is an answer too; LOADING is not yet one.
        self.wait_for("an answer to PING", |redis| {
            let ping = || -> std::io::Result<String> {
                let mut stream = TcpStream::connect(("127.0.0.1", redis.port))?;
                stream.set_read_timeout(Some(Duration::from_secs(1)))?;
                stream.write_all(b"PING\r\n")?;
                let mut reply = [0; 64];
                let length = stream.read(&mut reply)?;
                Ok(String::from_utf8_lossy(&reply[..length]).into_owned())
            };
            ping().is_ok_and(|reply| reply.starts_with("+PONG") || reply.starts_with("-NOAUTH"))
        });
    }

    #[track_caller]
    fn wait_for(&self, what: &str, mut done: impl FnMut(&Redis) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(!self.process.has_ended(), "Redis did not start\n{}", self.log_tail());
            assert!(Instant::now() < until, "waited too long for {what}\n{}", self.log_tail());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.process.kill();
    }
}

fn program(names: &[&'static str]) -> &'static str {
    names.iter().find(|name| super::program(name).is_some()).copied().unwrap_or_else(|| {
        panic!("{} is not installed: run `cargo xtask test`, or `apt-get install redis-server`", names[0])
    })
}
