//! MariaDB: a server of its own per [`MariaDb`], copied from a template that is made once per machine.
//!
//! Run as root, the server runs as the operating system's user `mysql`, which the package makes.

use std::fs;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, User, chown};

use super::folder::Folder;
use super::port::free_port;
use super::process::{self, Process};

/// How long a start, with crash recovery, or a stop may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Set where the server cannot be had: its tests are skipped, and say so.
const WITHOUT: &str = "HEADWATER_WITHOUT_MARIADB";

/// Small, and followed as a source has to be.
const SETTINGS: &[&str] = &[
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--log-bin=binlog",
    "--binlog-format=ROW",
    "--binlog-row-image=FULL",
    "--binlog-row-metadata=FULL",
    "--gtid-strict-mode=ON",
    "--log-slave-updates=ON",
    "--character-set-server=utf8mb4",
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=16M",
    "--max-connections=100",
    "--performance-schema=OFF",
];

#[derive(Debug)]
pub struct MariaDbBuilder {
    args: Vec<String>,
    server_id: u32,
    durable: bool,
}

impl Default for MariaDbBuilder {
    fn default() -> Self {
        MariaDbBuilder { args: Vec::new(), server_id: 1, durable: false }
    }
}

impl MariaDbBuilder {
    /// An option of the server, after the kit's own: `.arg("binlog-format", "STATEMENT")`.
    #[must_use]
    pub fn arg(mut self, name: &str, value: &str) -> Self {
        self.args.push(format!("--{name}={value}"));
        self
    }

    #[must_use]
    pub fn server_id(mut self, id: u32) -> Self {
        self.server_id = id;
        self
    }

    /// As in production: commits and the log reach the disk.
    #[must_use]
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    #[track_caller]
    pub fn start(self) -> MariaDb {
        let install = Install::find();
        let folder = Folder::new("mariadb");
        let status = Command::new("cp")
            .args(["-a", "--reflink=auto"])
            .arg(install.template())
            .arg(folder.join("data"))
            .status()
            .expect("copy the template");
        assert!(status.success(), "copy the template");
        // Of its own: a server that starts removes what it takes for leftovers, which may be another one's.
        fs::create_dir(folder.join("tmp")).expect("make a folder for temporary tables");
        install.own(&folder.join("tmp"));
        install.own(folder.path());
        let mut args = self.args;
        args.push(format!("--server-id={}", self.server_id));
        if !self.durable {
            args.push("--innodb-flush-log-at-trx-commit=2".into());
            args.push("--sync-binlog=0".into());
        }
        let mariadb = MariaDb { install, port: free_port(), args, process: Process::default(), folder };
        mariadb.launch();
        mariadb.wait_until_ready();
        mariadb.sql_in("", "CREATE DATABASE app");
        mariadb
    }
}

/// A running MariaDB server. The user `root` has no password and may do everything; the database is `app`. Stopped and
/// removed on drop.
#[derive(Debug)]
pub struct MariaDb {
    install: Install,
    port: u16,
    args: Vec<String>,
    process: Process,
    // Last: removed after the process has ended.
    folder: Folder,
}

impl MariaDb {
    /// Whether tests are to do without it: this machine cannot have it, and `cargo xtask test` has said so.
    pub fn is_left_out() -> bool {
        let left_out = std::env::var_os(WITHOUT).is_some();
        if left_out {
            eprintln!("SKIPPED: {WITHOUT} is set");
        }
        left_out
    }

    #[track_caller]
    pub fn start() -> MariaDb {
        MariaDb::builder().start()
    }

    pub fn builder() -> MariaDbBuilder {
        MariaDbBuilder::default()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The database `app`, as `root`.
    pub fn url(&self) -> String {
        self.url_of("app")
    }

    pub fn url_of(&self, database: &str) -> String {
        format!("mysql://root@127.0.0.1:{}/{database}", self.port)
    }

    /// As a user made before.
    pub fn url_as(&self, user: &str, password: &str) -> String {
        format!("mysql://{user}:{password}@127.0.0.1:{}/app", self.port)
    }

    /// Runs statements in `app` and returns what the command-line client prints without headings. Blocks; panics with the
    /// server's words if one fails.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        self.sql_in("app", sql)
    }

    #[track_caller]
    pub fn sql_in(&self, database: &str, sql: &str) -> String {
        match self.try_sql(database, sql) {
            Ok(text) => text,
            Err(error) => panic!("mariadb: {error}\n{sql}"),
        }
    }

    /// Like [`MariaDb::sql`], with the server's words as the error.
    pub fn try_sql(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut command = Command::new("mariadb");
        command
            .args(["--no-defaults", "--default-character-set=utf8mb4", "-N", "-B", "-u", "root"])
            .arg("--socket")
            .arg(self.folder.join("sock"))
            .args(["-e", sql]);
        if !database.is_empty() {
            command.args(["-D", database]);
        }
        let output =
            command.stdin(Stdio::null()).output().map_err(|error| format!("start mariadb: {error}"))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim_end().to_owned())
        }
    }

    /// A dump of a database, as the dumping program writes it.
    #[track_caller]
    pub fn dump(&self, database: &str) -> String {
        let output = Command::new("mariadb-dump")
            .args(["--no-defaults", "--single-transaction", "-u", "root"])
            .arg("--socket")
            .arg(self.folder.join("sock"))
            .arg(database)
            .output()
            .expect("start mariadb-dump");
        assert!(output.status.success(), "mariadb-dump: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("a dump of texts")
    }

    /// A connection as `root` to a database; names may stand between double quotes.
    pub async fn connect(&self, database: &str) -> mysql_async::Conn {
        let opts = mysql_async::OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.port)
            .user(Some("root"))
            .db_name(Some(database))
            .prefer_socket(false)
            .init(vec!["SET sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES'), time_zone = '+00:00'"]);
        mysql_async::Conn::new(opts).await.expect("connect to MariaDB")
    }

    /// Kill -9: a crash.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// A clean shutdown.
    pub fn stop(&self) {
        self.process.signal(Signal::SIGTERM);
        assert!(self.process.wait(PATIENCE), "MariaDB did not stop\n{}", self.log_tail());
    }

    /// Stops cleanly if it runs, then starts on the same port with the same data.
    #[track_caller]
    pub fn restart(&self) {
        if self.process.id().is_some() {
            self.stop();
        }
        self.launch();
        self.wait_until_ready();
    }

    /// Makes this server, which has nothing in it yet, a replica of `primary` from its first transaction on.
    #[track_caller]
    pub fn replicate(&self, primary: &MariaDb) {
        self.sql_in(
            "",
            &format!(
                "STOP SLAVE; RESET MASTER; SET GLOBAL gtid_slave_pos = ''; DROP DATABASE IF EXISTS app; RESET MASTER; \
                 CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={}, MASTER_USER='root', \
                 MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1; SET GLOBAL read_only = ON; START SLAVE",
                primary.port
            ),
        );
    }

    /// Waits until this replica has what `primary` has committed.
    #[track_caller]
    pub fn catch_up(&self, primary: &MariaDb) {
        let position = primary.sql("SELECT @@gtid_binlog_pos");
        let reached = self.sql_in("", &format!("SELECT MASTER_GTID_WAIT('{position}', 60)"));
        assert_eq!(
            reached,
            "0",
            "the replica does not catch up: {}",
            self.sql_in("", "SHOW SLAVE STATUS\\G")
        );
    }

    /// The replica takes writes from now on.
    #[track_caller]
    pub fn promote(&self) {
        self.sql_in("", "STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = OFF");
    }

    /// The last lines of the server's log.
    pub fn log_tail(&self) -> String {
        process::log_tail(self.folder.path())
    }

    fn launch(&self) {
        let mut command = self.install.command();
        command
            .arg("--no-defaults")
            .arg(format!("--datadir={}", self.folder.join("data").display()))
            .arg(format!("--socket={}", self.folder.join("sock").display()))
            .arg(format!("--pid-file={}", self.folder.join("pid").display()))
            .arg(format!("--tmpdir={}", self.folder.join("tmp").display()))
            .arg(format!("--port={}", self.port))
            .args(SETTINGS)
            .args(&self.args)
            .current_dir(self.folder.path());
        self.process.start(&mut command, self.folder.path());
    }

    #[track_caller]
    fn wait_until_ready(&self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let listens = TcpStream::connect(("127.0.0.1", self.port)).is_ok();
            if listens && self.try_sql("", "SELECT 1").is_ok() {
                return;
            }
            assert!(!self.process.has_ended(), "MariaDB did not start\n{}", self.log_tail());
            assert!(Instant::now() < until, "MariaDB does not become ready\n{}", self.log_tail());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        self.process.kill();
    }
}

#[derive(Debug)]
struct Install {
    server: PathBuf,
    /// Who the server runs as, if not as ourselves.
    user: Option<(Uid, Gid)>,
}

impl Install {
    #[track_caller]
    fn find() -> Install {
        let server = super::program("mariadbd")
            .expect("MariaDB is not installed: run `cargo xtask test`, or `apt-get install mariadb-server`");
        let user = Uid::effective().is_root().then(|| {
            let user = User::from_name("mysql").ok().flatten();
            let user = user.expect("the user `mysql` is missing, and MariaDB does not run as root");
            (user.uid, user.gid)
        });
        Install { server, user }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.server);
        if let Some((uid, gid)) = self.user {
            command.uid(uid.as_raw()).gid(gid.as_raw());
        }
        command
    }

    /// Gives a folder of ours to the user the server runs as.
    fn own(&self, path: &Path) {
        if let Some((uid, gid)) = self.user {
            chown(path, Some(uid), Some(gid)).expect("give the folder to the user mysql");
        }
    }

    /// A data folder that no server ran on, made once per machine and version.
    fn template(&self) -> PathBuf {
        let output = Command::new(&self.server).arg("--version").output().expect("ask mariadbd its version");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text.split_ascii_whitespace().nth(2).unwrap_or("0").to_owned();
        // The number at the end grows whenever the statement below changes.
        let cache = std::env::temp_dir().join(format!("headwater-testkit-{}", Uid::effective()));
        let template = cache.join(format!("mariadb-{version}-1"));
        fs::create_dir_all(&cache).expect("make the cache folder");
        let lock = fs::File::create(cache.join("mariadb-lock")).expect("open the cache's lock");
        // Other test processes may be here at the same time: one makes it, the others wait.
        let _lock =
            Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error).expect("lock the cache");
        if !template.exists() {
            let unfinished = cache.join("mariadb-unfinished");
            let _ = fs::remove_dir_all(&unfinished);
            let mut command = Command::new("mariadb-install-db");
            command
                .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
                .args(["--skip-name-resolve", "--innodb-log-file-size=16M", "--aria-log-file-size=8M"])
                .arg(format!("--datadir={}", unfinished.display()));
            if self.user.is_some() {
                command.arg("--user=mysql");
            }
            let output = command.stdin(Stdio::null()).output().expect("start mariadb-install-db");
            assert!(
                output.status.success(),
                "mariadb-install-db: {}",
                String::from_utf8_lossy(&output.stdout)
            );
            fs::rename(&unfinished, &template).expect("keep the template");
        }
        template
    }
}
