//! A MariaDB server of our own on this machine, gone with its folder: for questions and measurements that no other server is to be
//! troubled with, reached by its socket alone, by whoever started it; or the source of a drill, on a port of its own.

use std::fs;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use headwater_model::{Error, Result};
use mysql_async::{Conn, OptsBuilder};
use nix::unistd::{Gid, Uid, User, chown};

use super::connection::{About, Connection, text};
use super::error::failed as refused;
use crate::sandbox::{Folder, Process, SandboxSource, Session, Writer, failed, free_port, output};

const READY_WITHIN: Duration = Duration::from_secs(60);

/// Nothing that it is told has to outlive it.
const SETTINGS: &[&str] = &[
    "--skip-networking",
    "--skip-log-bin",
    "--skip-slave-start",
    "--performance-schema=OFF",
    "--character-set-server=utf8mb4",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-stats-auto-recalc=OFF",
    "--max-connections=20",
];

/// The same for those that make its folder: what they write need not be safe, and the less the sooner.
const FILES: &[&str] = &[
    "--innodb-flush-method=nosync",
    "--innodb-doublewrite=0",
    "--innodb-log-file-size=32M",
    "--aria-log-file-size=8M",
];

/// For [`Server::source`]. Commits and the log reach the disk: what a drill kills must come back with all of them.
const SOURCE: &[&str] = &[
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--server-id=1",
    "--log-bin=binlog",
    "--binlog-format=ROW",
    "--binlog-row-image=FULL",
    "--binlog-row-metadata=FULL",
    "--sync-binlog=1",
    "--innodb-flush-log-at-trx-commit=1",
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=32M",
];

const DATABASE: &str = "drill";

pub(crate) struct Server {
    folder: PathBuf,
    process: Process,
    settings: Vec<String>,
    /// If it listens on one.
    port: Option<u16>,
}

impl Server {
    /// Starts one with nothing in it. Blocks. `buffer_pool`: as in the server's own settings, such as `64M`.
    pub fn scratch(sandbox: &Folder, buffer_pool: &str) -> Result<Server> {
        let settings = FILES.iter().chain(SETTINGS).map(|setting| (*setting).to_owned());
        let pool = format!("--innodb-buffer-pool-size={buffer_pool}");
        Server::make(sandbox, "scratch", settings.chain([pool]).collect(), None)
    }

    /// Starts one that can be followed, with an empty database. Blocks.
    pub fn source(sandbox: &Folder) -> Result<Server> {
        let port = free_port()?;
        let settings = SOURCE.iter().map(|setting| (*setting).to_owned());
        let settings = settings.chain([format!("--port={port}")]).collect();
        let server = Server::make(sandbox, "mariadb", settings, Some(port))?;
        output(server.client()?.args(["-e", &format!("CREATE DATABASE {DATABASE}")]))?;
        Ok(server)
    }

    fn make(sandbox: &Folder, name: &str, settings: Vec<String>, port: Option<u16>) -> Result<Server> {
        let folder = sandbox.join(name);
        let user = user()?;
        for path in [folder.clone(), folder.join("tmp")] {
            fs::create_dir(&path).map_err(|error| failed("make a server's folder", error))?;
            if let Some((uid, gid)) = user {
                chown(&path, Some(uid), Some(gid))
                    .map_err(|error| failed("give a folder to the user mysql", error.into()))?;
            }
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))
            .map_err(|error| failed("close a server's folder", error))?;
        let mut install = self::command("mariadb-install-db")?;
        install
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
            .arg("--skip-name-resolve")
            .args(FILES)
            .arg(format!("--datadir={}", folder.join("data").display()))
            // Whatever server starts on a folder for temporary tables removes those that another one has there.
            .arg(format!("--tmpdir={}", folder.join("tmp").display()))
            .args(user.map(|_| "--user=mysql"));
        output(&mut install)?;
        let server = Server { process: Process::new(sandbox, name), folder, settings, port };
        server.launch()?;
        Ok(server)
    }

    fn launch(&self) -> Result<()> {
        let mut command = Command::new(program("mariadbd")?);
        if let Some((uid, gid)) = user()? {
            command.uid(uid.as_raw()).gid(gid.as_raw());
        }
        command
            .arg("--no-defaults")
            .arg(format!("--datadir={}", self.folder.join("data").display()))
            .arg(format!("--socket={}", self.socket().display()))
            .arg(format!("--pid-file={}", self.folder.join("server.pid").display()))
            .arg(format!("--tmpdir={}", self.folder.join("tmp").display()))
            .args(&self.settings);
        self.process.start(&mut command, &self.folder)?;
        let until = Instant::now() + READY_WITHIN;
        while output(self.client()?.args(["-e", "SELECT 1"])).is_err() {
            if Instant::now() > until || !self.process.is_running() {
                let log = self.process.log_tail(5);
                return Err(Error::transient(format!("a MariaDB of our own does not start: {log}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The client, in the database of [`Server::source`]; what it prints comes at once.
    fn session(&self) -> Result<Command> {
        let mut client = self.client()?;
        client.args(["--connect-timeout=2", "--unbuffered", "-D", DATABASE]);
        Ok(client)
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("sock")
    }

    /// The command-line client, as root.
    fn client(&self) -> Result<Command> {
        let mut client = command("mariadb")?;
        client
            .args(["--no-defaults", "--default-character-set=utf8mb4", "-N", "-B", "-u", "root", "--socket"])
            .arg(self.socket());
        Ok(client)
    }

    /// Runs what the client program dumped, in a database of this name. A dump of MySQL's is changed to what is known here.
    pub fn load(&self, dump: &Path, database: &str) -> Result<()> {
        let name = database.replace('`', "``");
        output(self.client()?.args(["-e", &format!("CREATE DATABASE IF NOT EXISTS `{name}`")]))?;
        let file = fs::File::open(dump).map_err(|error| failed("open it", error))?;
        let mut client = self
            .client()?
            .args(["-D", database])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed("start mariadb", error))?;
        // A client that has ended takes no more, and says why itself.
        let told = client.stdin.take().map(|stdin| known_here(BufReader::new(file), stdin));
        let ran = client.wait_with_output().map_err(|error| failed("wait for mariadb", error))?;
        if let Some(Err(error)) = told.filter(|_| ran.status.success()) {
            return Err(failed("read it", error));
        }
        if !ran.status.success() {
            let said = String::from_utf8_lossy(&ran.stderr);
            return Err(Error::misconfigured(said.trim().to_owned())
                .with_remedy("name a dump as mariadb-dump or mysqldump writes it, not compressed"));
        }
        Ok(())
    }

    pub(super) async fn connect(&self) -> Result<Connection> {
        let socket = self.socket().to_string_lossy().into_owned();
        let options =
            OptsBuilder::default().ip_or_hostname("localhost").socket(Some(socket)).user(Some("root"));
        let conn = Conn::new(options).await.map_err(refused)?;
        let about = About { version: String::new(), mariadb: true, member: "".into() };
        let mut connection = Connection { conn, about };
        let rows = connection.rows("SELECT VERSION()").await?;
        connection.about.version = rows.first().map(|row| text(row, 0)).unwrap_or_default();
        Ok(connection)
    }
}

/// Copies a dump without what only MySQL knows. Of rows, which have lines of their own, nothing is changed.
fn known_here(mut dump: impl BufRead, to: impl Write) -> std::io::Result<()> {
    let mut to = BufWriter::new(to);
    // The transactions that the dumped server had: no server but that one's replicas has them.
    let mut inside = false;
    loop {
        let mut line = Vec::new();
        if dump.read_until(b'\n', &mut line)? == 0 {
            return to.flush();
        }
        inside |= line.starts_with(b"SET @@GLOBAL.GTID_PURGED");
        match inside {
            true => inside = !line.trim_ascii_end().ends_with(b";"),
            false if line.starts_with(b"INSERT ") || line.starts_with(b"REPLACE ") => to.write_all(&line)?,
            false => to.write_all(as_known_here(&String::from_utf8_lossy(&line)).as_bytes())?,
        }
    }
}

/// A definition with collations that are known here: those that only MySQL has sort nearly as these do.
pub(super) fn as_known_here(definition: &str) -> String {
    let mut text = String::with_capacity(definition.len());
    let mut rest = definition;
    while let Some(at) = rest.find("utf8mb4_") {
        let (before, from) = rest.split_at(at);
        let end = from.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(from.len());
        let (name, after) = from.split_at(end);
        text.push_str(before);
        text.push_str(match name {
            name if !name.contains("_0900_") => name,
            name if name.ends_with("_bin") || name.ends_with("_cs") => "utf8mb4_bin",
            _ => "utf8mb4_unicode_520_ci",
        });
        rest = after;
    }
    text + rest
}

impl SandboxSource for Server {
    fn url(&self) -> String {
        format!("mysql://root@127.0.0.1:{}/{DATABASE}", self.port.unwrap_or_default())
    }

    fn name(&self) -> String {
        let version = command("mariadbd").and_then(|mut server| output(server.arg("--version")));
        let version = version.unwrap_or_default();
        let version = version.split_ascii_whitespace().nth(2).unwrap_or_default();
        format!("MariaDB {}", version.split('-').next().unwrap_or_default())
    }

    fn address(&self) -> Option<SocketAddr> {
        self.port.map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
    }

    fn process(&self) -> Option<&Process> {
        Some(&self.process)
    }

    fn start(&self) -> Result<()> {
        self.launch()
    }

    fn execute(&self, sql: &str) -> Result<()> {
        output(self.session()?.args(["-e", sql])).map(drop)
    }

    fn rows(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        let text = output(self.session()?.args(["-e", sql]))?;
        Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
    }

    fn writer(&self) -> Result<Box<dyn Writer>> {
        Ok(Box::new(Session::start(&mut self.session()?, |text| format!("SELECT '{text}';"))?))
    }

    fn standby(&self, _: &Folder) -> Result<Box<dyn SandboxSource>> {
        Err(Error::unsupported("a sandbox's MariaDB has no standby")
            .with_remedy("run this drill with the usual source"))
    }

    fn promote(&self) -> Result<()> {
        Err(Error::unsupported("a sandbox's MariaDB has no standby"))
    }
}

/// Who the server runs as, if not as ourselves.
fn user() -> Result<Option<(Uid, Gid)>> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    match User::from_name("mysql") {
        Ok(Some(user)) => Ok(Some((user.uid, user.gid))),
        _ => Err(Error::unsupported("MariaDB does not run as root, and there is no user `mysql`")
            .with_remedy("run this as another user")),
    }
}

fn command(name: &str) -> Result<Command> {
    let mut command = Command::new(program(name)?);
    command.stdin(Stdio::null()).current_dir("/");
    Ok(command)
}

fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program: &PathBuf| Path::exists(program))
        .ok_or_else(|| {
            Error::unsupported(format!("MariaDB is not installed here: there is no {name}"))
                .with_remedy("install it, such as with `apt-get install mariadb-server`")
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_dump_of_mysql_becomes_one_of_mariadb_and_its_rows_stay() {
        let dump = "SET @@GLOBAL.GTID_PURGED=/*!80000 '+'*/ 'a:1-5,\nb:1-2';\n\
                    CREATE TABLE `t` (`a` text COLLATE utf8mb4_0900_ai_ci, `b` text COLLATE utf8mb4_ja_0900_as_cs, `c` text \
                    COLLATE utf8mb4_general_ci) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_bin;\n\
                    INSERT INTO `t` VALUES ('utf8mb4_0900_ai_ci','','')";
        let mut out = Vec::new();
        known_here(dump.as_bytes(), &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "CREATE TABLE `t` (`a` text COLLATE utf8mb4_unicode_520_ci, `b` text COLLATE utf8mb4_bin, `c` text \
             COLLATE utf8mb4_general_ci) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;\n\
             INSERT INTO `t` VALUES ('utf8mb4_0900_ai_ci','','')"
        );
    }
}
