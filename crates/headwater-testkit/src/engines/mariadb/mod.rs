//! MariaDB and MySQL: a server of its own per [`MariaDb`], copied from a template that is made once per machine.

mod install;

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

pub use self::install::Flavour;

use self::install::Install;
use super::certificate::Certificate;
use super::folder::Folder;
use super::port::free_port;
use super::process::{self, Process};

/// How long a start, with crash recovery, or a stop may take.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct MariaDbBuilder {
    flavour: Flavour,
    args: Vec<String>,
    server_id: u32,
    durable: bool,
    tls_only: bool,
}

impl MariaDbBuilder {
    fn of(flavour: Flavour) -> MariaDbBuilder {
        MariaDbBuilder { flavour, args: Vec::new(), server_id: 1, durable: false, tls_only: false }
    }

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

    /// With a certificate for `localhost`, signed by an authority of its own ([`MariaDb::ca`]), and without it no connection by TCP.
    #[must_use]
    pub fn tls_only(mut self) -> Self {
        self.tls_only = true;
        self
    }

    #[track_caller]
    pub fn start(self) -> MariaDb {
        let install = Install::find(self.flavour);
        let folder = Folder::new(&self.flavour.name().to_lowercase());
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
            args.extend(self.flavour.lazy_settings().iter().map(|setting| (*setting).to_owned()));
        }
        let certificate = self.tls_only.then(|| Certificate::make(folder.path()));
        if let Some(certificate) = &certificate {
            install.own(&certificate.key);
            let files = [("cert", &certificate.certificate), ("key", &certificate.key)];
            args.extend(files.map(|(name, file)| format!("--ssl-{name}={}", file.display())));
            args.push("--require-secure-transport=ON".into());
        }
        let ca = certificate.map(|certificate| certificate.authority);
        let process = Process::default();
        let mariadb = MariaDb { install, port: free_port(), args, process, ca, folder };
        mariadb.launch();
        mariadb.wait_until_ready();
        mariadb.sql_in("", "CREATE DATABASE app");
        mariadb
    }
}

/// A running server of MariaDB, or of MySQL. The user `root` has no password and may do everything; the database is `app`. Stopped and
/// removed on drop.
#[derive(Debug)]
pub struct MariaDb {
    install: Install,
    port: u16,
    args: Vec<String>,
    process: Process,
    ca: Option<PathBuf>,
    // Last: removed after the process has ended.
    folder: Folder,
}

impl MariaDb {
    /// [`Flavour::is_left_out`] of MariaDB.
    pub fn is_left_out() -> bool {
        Flavour::MariaDb.is_left_out()
    }

    #[track_caller]
    pub fn start() -> MariaDb {
        MariaDb::builder().start()
    }

    pub fn builder() -> MariaDbBuilder {
        Flavour::MariaDb.builder()
    }

    pub fn flavour(&self) -> Flavour {
        self.install.flavour
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its release series: 10 and 11 of 10.11.14.
    #[track_caller]
    pub fn version(&self) -> (u32, u32) {
        let version = self.sql_in("", "SELECT VERSION()");
        let mut numbers = version.split('.').map_while(|number| number.parse().ok());
        numbers.next().zip(numbers.next()).expect("a version has two numbers")
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

    /// A file with the certificate authority that signed the server's certificate, after [`MariaDbBuilder::tls_only`].
    pub fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
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
            Err(error) => panic!("{}: {error}\n{sql}", self.flavour().name()),
        }
    }

    /// Like [`MariaDb::sql`], with the server's words as the error.
    pub fn try_sql(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut command = self.install.client();
        command
            .args(["--default-character-set=utf8mb4", "-N", "-B", "-u", "root"])
            .arg("--socket")
            .arg(self.folder.join("sock"))
            .args(["-e", sql]);
        if !database.is_empty() {
            command.args(["-D", database]);
        }
        let output =
            command.stdin(Stdio::null()).output().map_err(|error| format!("start the client: {error}"))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim_end().to_owned())
        }
    }

    /// A dump of a database, as the dumping program writes it.
    #[track_caller]
    pub fn dump(&self, database: &str) -> String {
        let output = (self.install.dump())
            .args(["--single-transaction", "-u", "root"])
            .arg("--socket")
            .arg(self.folder.join("sock"))
            .arg(database)
            .output()
            .expect("start the dump");
        assert!(output.status.success(), "dump: {}", String::from_utf8_lossy(&output.stderr));
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
        mysql_async::Conn::new(opts).await.expect("connect to the server")
    }

    /// Kill -9: a crash.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// A clean shutdown.
    pub fn stop(&self) {
        self.process.signal(Signal::SIGTERM);
        assert!(self.process.wait(PATIENCE), "the server did not stop\n{}", self.log_tail());
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
        let port = primary.port;
        let reset = self.reset();
        let sql = match self.flavour() {
            Flavour::MariaDb => format!(
                "STOP SLAVE; {reset}; SET GLOBAL gtid_slave_pos = ''; DROP DATABASE IF EXISTS app; {reset}; \
                 CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}, MASTER_USER='root', \
                 MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1; SET GLOBAL read_only = ON; START SLAVE"
            ),
            Flavour::MySql => format!(
                "DROP DATABASE IF EXISTS app; {reset}; \
                 CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={port}, SOURCE_USER='root', \
                 SOURCE_AUTO_POSITION=1, SOURCE_CONNECT_RETRY=1, GET_SOURCE_PUBLIC_KEY=1; \
                 SET GLOBAL read_only = ON; START REPLICA"
            ),
        };
        self.sql_in("", &sql);
    }

    /// Waits until this replica has what `primary` has committed.
    #[track_caller]
    pub fn catch_up(&self, primary: &MariaDb) {
        let position = primary.position();
        let (wait, status) = match self.flavour() {
            Flavour::MariaDb => ("MASTER_GTID_WAIT", "SHOW SLAVE STATUS\\G"),
            Flavour::MySql => ("WAIT_FOR_EXECUTED_GTID_SET", "SHOW REPLICA STATUS\\G"),
        };
        let reached = self.sql_in("", &format!("SELECT {wait}('{position}', 60)"));
        assert_eq!(reached, "0", "the replica does not catch up: {}", self.sql_in("", status));
    }

    /// What the server has committed, as it says it.
    #[track_caller]
    pub fn position(&self) -> String {
        self.sql_in(
            "",
            match self.flavour() {
                Flavour::MariaDb => "SELECT @@gtid_binlog_pos",
                Flavour::MySql => "SELECT @@gtid_executed",
            },
        )
    }

    /// The replica gets nothing from now on.
    #[track_caller]
    pub fn stop_replica(&self) {
        self.sql_in(
            "",
            match self.flavour() {
                Flavour::MariaDb => "STOP SLAVE",
                Flavour::MySql => "STOP REPLICA",
            },
        );
    }

    /// The replica takes writes from now on.
    #[track_caller]
    pub fn promote(&self) {
        self.sql_in(
            "",
            match self.flavour() {
                Flavour::MariaDb => "STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = OFF",
                Flavour::MySql => "STOP REPLICA; RESET REPLICA ALL; SET GLOBAL read_only = OFF",
            },
        );
    }

    /// Forgets its binary log and begins another history, as a server that was restored does.
    #[track_caller]
    pub fn reset_log(&self) {
        self.sql_in("", self.reset());
    }

    /// The statement for that, which newer versions of MySQL call otherwise.
    fn reset(&self) -> &'static str {
        let renamed = self.flavour() == Flavour::MySql && self.version() >= (8, 4);
        if renamed { "RESET BINARY LOGS AND GTIDS" } else { "RESET MASTER" }
    }

    /// The last lines of the server's log.
    pub fn log_tail(&self) -> String {
        process::log_tail(self.folder.path())
    }

    fn launch(&self) {
        let mut command = self.install.server();
        command
            .arg(format!("--datadir={}", self.folder.join("data").display()))
            .arg(format!("--socket={}", self.folder.join("sock").display()))
            .arg(format!("--pid-file={}", self.folder.join("pid").display()))
            .arg(format!("--tmpdir={}", self.folder.join("tmp").display()))
            .arg(format!("--port={}", self.port))
            .args(self.flavour().settings())
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
            assert!(!self.process.has_ended(), "the server did not start\n{}", self.log_tail());
            assert!(Instant::now() < until, "the server does not become ready\n{}", self.log_tail());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        self.process.kill();
    }
}

/// Whole numbers from `first` to `last` as a table with the column `seq`, as both flavours make one.
pub fn numbers(first: u32, last: u32) -> String {
    format!(
        "(WITH RECURSIVE n AS (SELECT {first} AS seq UNION ALL SELECT seq + 1 FROM n WHERE seq < {last}) \
         SELECT seq FROM n) numbers"
    )
}
