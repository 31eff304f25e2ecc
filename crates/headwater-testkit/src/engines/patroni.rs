//! Patroni with etcd: a PostgreSQL pair that fails over by itself, with its logical slots.
//!
//! Patroni starts the servers, and a server outlives the Patroni that started it: both are killed here.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::folder::Folder;
use super::haproxy::Haproxy;
use super::port::free_port;
use super::postgres::install::Install;
use super::process::Process;

/// How long a first start, with initdb and a base backup, or a failover may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Two servers under Patroni, one of them the primary. Superuser `postgres`, everyone trusted.
#[derive(Debug)]
pub struct Patroni {
    install: Install,
    nodes: [Node; 2],
    // Last: the nodes go first.
    _etcd: (Process, Folder),
}

#[derive(Debug)]
struct Node {
    name: &'static str,
    port: u16,
    api: u16,
    process: Process,
    folder: Folder,
}

impl Patroni {
    /// Returns when a primary takes writes, and its replica follows it and has the logical slot `slot`, which Patroni keeps at
    /// both (for the plugin `pgoutput`, in the database `postgres`).
    #[track_caller]
    pub fn start(slot: &str) -> Patroni {
        let install = Install::find();
        let etcd = Folder::new("etcd");
        let (client, peer) = (free_port(), free_port());
        let process = Process::default();
        let mut command = Command::new("etcd");
        command
            .args(["--name", "one", "--unsafe-no-fsync", "--data-dir"])
            .arg(etcd.join("data"))
            .args(["--listen-client-urls", &local(client), "--advertise-client-urls", &local(client)])
            .args(["--listen-peer-urls", &local(peer), "--initial-advertise-peer-urls", &local(peer)])
            .args(["--initial-cluster", &format!("one={}", local(peer))])
            .current_dir(etcd.path());
        process.start(&mut command, etcd.path());
        let nodes = ["one", "two"].map(|name| Node::new(name, &install, client, slot));
        let patroni = Patroni { install, nodes, _etcd: (process, etcd) };
        let [first, second] = &patroni.nodes;
        patroni.launch(first);
        patroni.wait("the first server is the primary", || first.says("/primary"));
        patroni.launch(second);
        patroni.wait_for_replica(slot);
        patroni
    }

    /// Both servers, for whoever needs the primary.
    pub fn url(&self) -> String {
        let [one, two] = &self.nodes;
        format!(
            "postgres://postgres@127.0.0.1:{},127.0.0.1:{}/postgres?target_session_attrs=read-write",
            one.port, two.port
        )
    }

    /// One address that leads to the primary, by Patroni's health checks.
    pub fn behind_haproxy(&self) -> Haproxy {
        Haproxy::start(self.nodes.iter().map(|node| (node.port, node.api)))
    }

    /// The server that is the primary now, once there is one.
    #[track_caller]
    pub fn primary_url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.primary().port)
    }

    /// Runs statements at the primary, and returns what `psql -At` prints. Panics with the server's words if one fails.
    #[track_caller]
    pub fn psql(&self, sql: &str) -> String {
        self.psql_at(self.primary(), sql).unwrap_or_else(|error| panic!("psql: {error}\n{sql}"))
    }

    /// Kills the primary's server with all its workers. Patroni, which is left alive, promotes the replica. Returns when that
    /// takes writes.
    ///
    /// Patroni starts the old primary again instead if the replica's health check does not answer in time, which a busy machine
    /// brings about: the primary is then killed again.
    #[track_caller]
    pub fn lose_primary(&self) {
        let (before, after) = self.roles();
        let mut killed = None;
        self.wait("the replica is the primary", || {
            let server = before.server();
            if server != killed && before.says("/primary") {
                before.kill_server();
                killed = server;
            }
            after.says("/primary")
        });
    }

    /// A planned change of roles. Returns when the replica takes writes.
    #[track_caller]
    pub fn switch_over(&self, slot: &str) {
        self.wait_for_replica(slot);
        let (before, after) = self.roles();
        let order = format!(r#"{{"leader":"{}","candidate":"{}"}}"#, before.name, after.name);
        let answer = before.ask("POST", "/switchover", &order).unwrap_or_default();
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
        self.wait("the replica is the primary", || after.says("/primary"));
    }

    /// Waits until there is a replica that streams from the primary and has the slot.
    #[track_caller]
    pub fn wait_for_replica(&self, slot: &str) {
        self.wait("the replica follows the primary and has the slot", || {
            let Some(primary) = self.nodes.iter().find(|node| node.says("/primary")) else { return false };
            let Some(replica) = self.nodes.iter().find(|node| node.name != primary.name) else { return false };
            let count = |node: &Node, sql: &str| self.psql_at(node, sql).is_ok_and(|text| text == "1");
            let slots = format!("SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{slot}'");
            replica.says("/replica")
                && count(primary, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND application_name IN ('one', 'two')")
                && count(replica, &slots)
        });
    }

    /// Waits until the replica has all the log that the slot would read from: a copy made after the slot was begins behind it,
    /// and is of use only once the slot has moved on. Somebody must be following it.
    #[track_caller]
    pub fn wait_for_log_of(&self, slot: &str) {
        let has_log = format!(
            "SELECT count(*) FROM pg_replication_slots s,
               (SELECT min(('x' || substr(name, 9, 8))::bit(32)::bigint * 256 + ('x' || substr(name, 17, 8))::bit(32)::bigint) AS segment
                FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{{24}}$') oldest
             WHERE s.slot_name = '{slot}' AND floor(pg_wal_lsn_diff(s.restart_lsn, '0/0') / 16777216) >= oldest.segment"
        );
        self.wait("the replica has the log that the slot needs", || {
            let Some(primary) = self.nodes.iter().find(|node| node.says("/primary")) else { return false };
            let Some(replica) = self.nodes.iter().find(|node| node.name != primary.name) else {
                return false;
            };
            // What runs is written to the log, which lets the slot move on.
            let _ = self.psql_at(primary, "CHECKPOINT");
            self.psql_at(replica, &has_log).is_ok_and(|text| text == "1")
        });
    }

    fn launch(&self, node: &Node) {
        let mut command = self.install.as_server("patroni");
        command.arg(node.folder.join("patroni.yml")).current_dir(node.folder.path());
        node.process.start(&mut command, node.folder.path());
    }

    #[track_caller]
    fn primary(&self) -> &Node {
        self.roles().0
    }

    /// The primary and the other, once there is one.
    #[track_caller]
    fn roles(&self) -> (&Node, &Node) {
        let [one, two] = &self.nodes;
        self.wait("one of the servers is the primary", || one.says("/primary") || two.says("/primary"));
        if one.says("/primary") { (one, two) } else { (two, one) }
    }

    fn psql_at(&self, node: &Node, sql: &str) -> Result<String, String> {
        let output = self
            .install
            .command("psql")
            .args(["-h", "127.0.0.1", "-p", &node.port.to_string(), "-U", "postgres", "-d", "postgres"])
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .current_dir("/")
            .output()
            .map_err(|error| format!("start psql: {error}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    #[track_caller]
    fn wait(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < until, "waited in vain: {what}\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn logs(&self) -> String {
        let mut text = String::new();
        for node in &self.nodes {
            let _ = writeln!(text, "--- {}\n{}", node.name, node.events());
        }
        text
    }
}

impl Node {
    fn new(name: &'static str, install: &Install, etcd: u16, slot: &str) -> Node {
        let folder = Folder::new("patroni");
        install.own(folder.path());
        let node = Node { name, port: free_port(), api: free_port(), process: Process::default(), folder };
        let (path, port, api) = (node.folder.path().display(), node.port, node.api);
        let bin = install.bin.display();
        // Without a grace period: a primary that is gone is replaced at once, and however far the replica is behind.
        let config = format!(
            "scope: headwater
name: {name}
restapi: {{listen: '127.0.0.1:{api}', connect_address: '127.0.0.1:{api}'}}
etcd3: {{hosts: '127.0.0.1:{etcd}'}}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 1
    retry_timeout: 5
    primary_start_timeout: 0
    maximum_lag_on_failover: 1073741824
    postgresql:
      use_pg_rewind: true
      use_slots: true
      parameters: {{wal_level: logical, wal_log_hints: 'on', fsync: 'off', wal_keep_size: 256MB}}
    slots:
      {slot}: {{type: logical, database: postgres, plugin: pgoutput}}
  initdb: [encoding: UTF8, locale: C.UTF-8, auth: trust, no-sync]
postgresql:
  listen: 127.0.0.1:{port}
  connect_address: 127.0.0.1:{port}
  data_dir: {path}/data
  bin_dir: {bin}
  pgpass: {path}/pgpass
  authentication:
    superuser: {{username: postgres}}
    replication: {{username: postgres}}
    rewind: {{username: postgres}}
  pg_hba: [local all all trust, host all all 127.0.0.1/32 trust, host replication all 127.0.0.1/32 trust]
  parameters: {{unix_socket_directories: {path}}}
"
        );
        fs::write(node.folder.join("patroni.yml"), config).expect("write patroni.yml");
        node
    }

    /// Whether Patroni's health check of that role says yes.
    fn says(&self, path: &str) -> bool {
        self.ask("GET", path, "").is_some_and(|answer| answer.starts_with("HTTP/1.0 200"))
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Option<String> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.api));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
        let request = format!(
            "{method} {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// The end of Patroni's and the server's log without what Patroni says every second.
    fn events(&self) -> String {
        let log = fs::read(self.folder.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let events: Vec<&str> = log.lines().filter(|line| !line.contains("INFO: no action.")).collect();
        events[events.len().saturating_sub(60)..].join("\n")
    }

    fn server(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.folder.join("data/postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok().map(Pid::from_raw)
    }

    /// SIGKILL for the server and its workers, which are no children of ours.
    fn kill_server(&self) {
        let Some(server) = self.server().filter(|server| works_in(*server, self.folder.path())) else {
            return;
        };
        let children =
            fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap_or_default();
        let _ = kill(server, Signal::SIGKILL);
        for child in children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()) {
            let _ = kill(Pid::from_raw(child), Signal::SIGKILL);
        }
    }
}

/// The number may have been given to somebody else.
fn works_in(process: Pid, folder: &Path) -> bool {
    fs::read_link(format!("/proc/{process}/cwd")).is_ok_and(|path: PathBuf| path.starts_with(folder))
}

impl Drop for Node {
    fn drop(&mut self) {
        self.process.kill();
        self.kill_server();
    }
}

fn local(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}
