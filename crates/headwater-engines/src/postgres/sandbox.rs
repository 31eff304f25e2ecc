//! A PostgreSQL cluster as a sandbox's source, on a port of its own, with a standby if one is asked for.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use headwater_model::{Error, Result};
use nix::unistd::{Gid, Uid, User, chown};

use crate::sandbox::{Folder, Process, SandboxSource, Session, Writer, failed, free_port, output};

const READY_WITHIN: Duration = Duration::from_secs(60);

/// Small. Commits reach the disk: what a drill kills must come back with all of them.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
wal_level = logical
max_wal_senders = 8
max_replication_slots = 8
max_connections = 40
shared_buffers = 16MB
wal_sender_timeout = 2s
hot_standby = on
";

/// For [`Cluster::scratch`], after [`SETTINGS`].
const SCRATCH: &str = "
listen_addresses = ''
unix_socket_permissions = 0700
wal_level = minimal
max_wal_senders = 0
max_replication_slots = 0
fsync = off
synchronous_commit = off
full_page_writes = off
autovacuum = off
max_wal_size = 8GB
maintenance_work_mem = 256MB
jit = off
";

/// The newest installation of this machine, and who it runs as.
#[derive(Clone)]
struct Install {
    bin: PathBuf,
    user: Option<(Uid, Gid)>,
}

impl Install {
    fn find() -> Result<Install> {
        let mut folders: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
            .filter(|(_, bin)| bin.join("initdb").is_file())
            .collect();
        folders.sort();
        let in_path =
            || std::env::split_paths(&std::env::var_os("PATH")?).find(|dir| dir.join("initdb").is_file());
        let Some(bin) = folders.pop().map(|(_, bin)| bin).or_else(in_path) else {
            return Err(Error::unsupported("PostgreSQL is not installed here")
                .with_remedy("install it, such as with `apt-get install postgresql`"));
        };
        if !Uid::effective().is_root() {
            return Ok(Install { bin, user: None });
        }
        match User::from_name("postgres") {
            Ok(Some(user)) => Ok(Install { bin, user: Some((user.uid, user.gid)) }),
            _ => Err(Error::unsupported("PostgreSQL does not run as root, and there is no user `postgres`")
                .with_remedy("run the drill as another user")),
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        if let Some((uid, gid)) = self.user {
            command.uid(uid.as_raw()).gid(gid.as_raw());
        }
        command
    }

    fn own(&self, path: &Path) -> Result<()> {
        let Some((uid, gid)) = self.user else { return Ok(()) };
        chown(path, Some(uid), Some(gid))
            .map_err(|error| failed("give a folder to the user postgres", error.into()))
    }
}

pub struct Cluster {
    install: Install,
    folder: PathBuf,
    port: u16,
    process: Process,
}

impl Cluster {
    pub fn is_installed() -> bool {
        Install::find().is_ok()
    }

    pub fn new(folder: &Folder) -> Result<Cluster> {
        let cluster = Cluster::bare(folder, "postgres")?;
        let mut init = cluster.install.command("initdb");
        init.args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "-D",
        ]);
        output(init.arg(cluster.data()).current_dir("/"))?;
        cluster.configure("")?;
        cluster.start()?;
        Ok(cluster)
    }

    /// A server for questions whose answers nobody keeps: reached by its socket alone, by whoever started it, and nothing that it
    /// is told reaches the disk for sure.
    pub fn scratch(folder: &Folder, settings: &str) -> Result<Cluster> {
        let cluster = Cluster::bare(folder, "scratch")?;
        let mut init = cluster.install.command("initdb");
        init.args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ]);
        output(init.arg("-D").arg(cluster.data()).current_dir("/"))?;
        cluster.configure(&format!("{SCRATCH}{settings}"))?;
        cluster.start()?;
        Ok(cluster)
    }

    /// One of its databases, over its socket.
    pub fn socket_url(&self, database: &str) -> String {
        format!("postgres://postgres@/{database}?host={}&port={}", self.folder.display(), self.port)
    }

    /// A program of the same installation.
    pub fn client(&self, program: &str) -> Command {
        Command::new(self.install.bin.join(program))
    }

    /// Its files, for whoever makes them look as those of another server.
    pub fn file(&self, path: &str) -> PathBuf {
        self.data().join(path)
    }

    /// Gives a file that we made to the user that the server runs as.
    pub fn hand_over(&self, path: &Path) -> Result<()> {
        self.install.own(path)
    }

    /// A folder and a port; nothing in it yet.
    fn bare(sandbox: &Folder, name: &str) -> Result<Cluster> {
        let install = Install::find()?;
        let folder = sandbox.join(name);
        fs::create_dir(&folder).map_err(|error| failed("make a cluster's folder", error))?;
        install.own(&folder)?;
        Ok(Cluster { install, folder, port: free_port()?, process: Process::new(sandbox, name) })
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn configure(&self, more: &str) -> Result<()> {
        let path = self.data().join("postgresql.conf");
        let sockets = self.folder.display();
        let text = format!("{SETTINGS}port = {}\nunix_socket_directories = '{sockets}'\n{more}", self.port);
        fs::write(&path, text).map_err(|error| failed("write postgresql.conf", error))?;
        self.install.own(&path)
    }

    fn psql(&self) -> Command {
        let mut command = Command::new(self.install.bin.join("psql"));
        command
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h"])
            .arg(&self.folder)
            .args(["-p", &self.port.to_string(), "-U", "postgres", "-d", "postgres"])
            .env("PGCONNECT_TIMEOUT", "2");
        command
    }
}

impl SandboxSource for Cluster {
    fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    fn name(&self) -> String {
        let version = output(Command::new(self.install.bin.join("postgres")).arg("--version"));
        let version = version.unwrap_or_default();
        format!("PostgreSQL {}", version.split_ascii_whitespace().nth(2).unwrap_or_default())
    }

    fn address(&self) -> Option<SocketAddr> {
        Some(SocketAddr::from(([127, 0, 0, 1], self.port)))
    }

    fn process(&self) -> Option<&Process> {
        Some(&self.process)
    }

    fn start(&self) -> Result<()> {
        let mut command = self.install.command("postgres");
        self.process.start(command.arg("-D").arg(self.data()), &self.folder)?;
        let until = Instant::now() + READY_WITHIN;
        while self.rows("SELECT 1").is_err() {
            if Instant::now() > until || !self.process.is_running() {
                let log = self.process.log_tail(5);
                return Err(Error::transient(format!("the sandbox's PostgreSQL does not start: {log}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn execute(&self, sql: &str) -> Result<()> {
        output(self.psql().args(["-1", "-c", sql])).map(drop)
    }

    fn rows(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        let text = output(self.psql().args(["-F", "\t", "-c", sql]))?;
        Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }

    fn writer(&self) -> Result<Box<dyn Writer>> {
        Ok(Box::new(Session::start(&mut self.psql(), |text| format!("\\echo {text}"))?))
    }

    fn standby(&self, folder: &Folder) -> Result<Box<dyn SandboxSource>> {
        let standby = Cluster::bare(folder, "standby")?;
        let mut backup = self.install.command("pg_basebackup");
        backup
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &self.port.to_string(),
                "-U",
                "postgres",
                "-R",
                "-X",
                "stream",
                "-c",
                "fast",
            ])
            .arg("-D")
            .arg(standby.data())
            .current_dir("/");
        output(&mut backup)?;
        standby.configure("")?;
        standby.start()?;
        Ok(Box::new(standby))
    }

    fn promote(&self) -> Result<()> {
        self.rows("SELECT pg_promote(true, 30)").map(drop)
    }
}
