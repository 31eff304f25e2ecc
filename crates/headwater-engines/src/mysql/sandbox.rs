//! A MariaDB server of our own on this machine, for questions and measurements that no other server is to be troubled with: reached by
//! its socket alone, by whoever started it, and gone with its folder.

use std::fs;
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
use crate::sandbox::{Folder, Process, failed, output};

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

pub(super) struct Server {
    folder: PathBuf,
    process: Process,
}

impl Server {
    /// Starts one with nothing in it. Blocks. `buffer_pool`: as in the server's own settings, such as `64M`.
    pub fn scratch(sandbox: &Folder, buffer_pool: &str) -> Result<Server> {
        let program = program("mariadbd")?;
        let folder = sandbox.join("scratch");
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
        let data = folder.join("data");
        let mut install = self::command("mariadb-install-db")?;
        install
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
            .arg("--skip-name-resolve")
            .args(FILES)
            .arg(format!("--datadir={}", data.display()))
            .args(user.map(|_| "--user=mysql"));
        output(&mut install)?;
        let mut command = Command::new(program);
        if let Some((uid, gid)) = user {
            command.uid(uid.as_raw()).gid(gid.as_raw());
        }
        command
            .arg("--no-defaults")
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--socket={}", folder.join("sock").display()))
            .arg(format!("--pid-file={}", folder.join("server.pid").display()))
            .arg(format!("--tmpdir={}", folder.join("tmp").display()))
            .arg(format!("--innodb-buffer-pool-size={buffer_pool}"))
            .args(FILES)
            .args(SETTINGS);
        let server = Server { process: Process::new(sandbox, "scratch"), folder };
        server.process.start(&mut command, &server.folder)?;
        let until = Instant::now() + READY_WITHIN;
        while output(server.client()?.args(["-e", "SELECT 1"])).is_err() {
            if Instant::now() > until || !server.process.is_running() {
                let log = server.process.log_tail(5);
                return Err(Error::transient(format!("a MariaDB of our own does not start: {log}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
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

    pub async fn connect(&self) -> Result<Connection> {
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
