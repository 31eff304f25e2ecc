//! Where each flavour's programs are, with what settings its servers run, and the template of their data.
//!
//! MariaDB's are the distribution's; run as root, the server runs as the operating system's user `mysql`, which the package
//! makes. MySQL's are in `target/mysql`.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{Gid, Uid, User, chown};

use super::{MariaDb, MariaDbBuilder};
use crate::engines::aside::Aside;

/// Which of the two servers, which share a protocol and most of their SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    MariaDb,
    MySql,
}

impl Flavour {
    /// Whether tests are to do without it: this machine cannot have it, and `cargo xtask test` has said so.
    pub fn is_left_out(self) -> bool {
        let without = match self {
            Flavour::MariaDb => "HEADWATER_WITHOUT_MARIADB",
            Flavour::MySql => "HEADWATER_WITHOUT_MYSQL",
        };
        let left_out = std::env::var_os(without).is_some();
        if left_out {
            eprintln!("SKIPPED: {without} is set");
        }
        left_out
    }

    #[track_caller]
    pub fn start(self) -> MariaDb {
        self.builder().start()
    }

    pub fn builder(self) -> MariaDbBuilder {
        MariaDbBuilder::of(self)
    }

    /// As the server calls itself to clients.
    pub fn name(self) -> &'static str {
        match self {
            Flavour::MariaDb => "MariaDB",
            Flavour::MySql => "MySQL",
        }
    }

    /// Small, and followed as a source has to be.
    pub(super) fn settings(self) -> impl Iterator<Item = &'static str> {
        let own = match self {
            Flavour::MariaDb => MARIADB_SETTINGS,
            Flavour::MySql => MYSQL_SETTINGS,
        };
        SETTINGS.iter().chain(own).copied()
    }

    /// What is written reaches the disk at the system's leisure.
    pub(super) fn lazy_settings(self) -> &'static [&'static str] {
        match self {
            Flavour::MariaDb => &["--innodb-flush-log-at-trx-commit=2", "--sync-binlog=0"],
            // Every change of a table syncs files there.
            Flavour::MySql => &[
                "--innodb-flush-log-at-trx-commit=2",
                "--sync-binlog=0",
                "--innodb-flush-method=nosync",
                "--innodb-doublewrite=OFF",
            ],
        }
    }
}

const SETTINGS: &[&str] = &[
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--log-bin=binlog",
    "--binlog-format=ROW",
    "--binlog-row-image=FULL",
    "--binlog-row-metadata=FULL",
    "--character-set-server=utf8mb4",
    "--innodb-buffer-pool-size=32M",
    "--max-connections=100",
    "--max-allowed-packet=16M",
    "--performance-schema=OFF",
];

const MARIADB_SETTINGS: &[&str] = &[
    "--gtid-strict-mode=ON",
    "--log-slave-updates=ON",
    "--innodb-log-file-size=16M",
    "--max-recursive-iterations=1000000",
];

const MYSQL_SETTINGS: &[&str] = &[
    "--gtid-mode=ON",
    "--enforce-gtid-consistency=ON",
    "--mysqlx=OFF",
    "--innodb-redo-log-capacity=32M",
    "--table-open-cache=400",
    "--table-definition-cache=400",
    "--cte-max-recursion-depth=1000000",
];

/// MySQL's root is one of the socket alone: tests come by TCP too.
const MYSQL_ROOT: &str =
    "CREATE USER root@'127.0.0.1'; GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;";

#[derive(Debug)]
pub(super) struct Install {
    pub flavour: Flavour,
    /// Of MySQL: its folder.
    home: Option<Aside>,
    server: PathBuf,
    /// Who the server runs as, if not as ourselves.
    user: Option<(Uid, Gid)>,
}

impl Install {
    #[track_caller]
    pub fn find(flavour: Flavour) -> Install {
        match flavour {
            Flavour::MariaDb => Install::mariadb(),
            Flavour::MySql => Install::mysql(),
        }
    }

    #[track_caller]
    fn mariadb() -> Install {
        let server = crate::engines::program("mariadbd")
            .expect("MariaDB is not installed: run `cargo xtask test`, or `apt-get install mariadb-server`");
        let user = Uid::effective().is_root().then(|| {
            let user = User::from_name("mysql").ok().flatten();
            let user = user.expect("the user `mysql` is missing, and MariaDB does not run as root");
            (user.uid, user.gid)
        });
        Install { flavour: Flavour::MariaDb, home: None, server, user }
    }

    /// Beside the program that runs: in the target folder. `HEADWATER_MYSQL` is the folder of another version.
    #[track_caller]
    fn mysql() -> Install {
        let other = std::env::var_os("HEADWATER_MYSQL").map(|folder| Aside::at(folder.into()));
        let home = other.or_else(|| Aside::find("mysql"));
        let home = home.expect("MySQL is not installed: run `cargo xtask test`");
        let server = home.join("usr/sbin/mysqld");
        Install { flavour: Flavour::MySql, home: Some(home), server, user: None }
    }

    /// The server, without a setting.
    pub fn server(&self) -> Command {
        let mut command = self.program(self.server.clone());
        command.arg("--no-defaults");
        if let Some((uid, gid)) = self.user {
            command.uid(uid.as_raw()).gid(gid.as_raw());
        }
        if let Some(home) = &self.home {
            // Built in are the places where its package would be.
            let place = |option: &str, place: &str| {
                let mut arg = OsString::from(option);
                arg.push(home.join(place));
                arg
            };
            command
                .arg(place("--basedir=", "usr"))
                .arg(place("--lc-messages-dir=", "usr/share/mysql"))
                .arg(place("--character-sets-dir=", "usr/share/mysql/charsets"))
                .arg(place("--plugin-dir=", "usr/lib/mysql/plugin"))
                .arg("--secure-file-priv=NULL");
            if Uid::effective().is_root() {
                command.arg("--user=root");
            }
        }
        command
    }

    pub fn client(&self) -> Command {
        self.tool("mariadb", "mysql")
    }

    pub fn dump(&self) -> Command {
        self.tool("mariadb-dump", "mysqldump")
    }

    fn tool(&self, mariadb: &str, mysql: &str) -> Command {
        let mut command = match &self.home {
            Some(home) => home.program(Path::new("usr/bin").join(mysql)),
            None => Command::new(mariadb),
        };
        command.arg("--no-defaults");
        command
    }

    /// With its own libraries, where it has some.
    fn program(&self, program: PathBuf) -> Command {
        match &self.home {
            Some(home) => home.program(program),
            None => Command::new(program),
        }
    }

    /// Gives a folder of ours to the user the server runs as.
    pub fn own(&self, path: &Path) {
        if let Some((uid, gid)) = self.user {
            chown(path, Some(uid), Some(gid)).expect("give the folder to the user mysql");
        }
    }

    /// A data folder that no server ran on, made once per machine and version.
    pub fn template(&self) -> PathBuf {
        let output = self.program(self.server.clone()).arg("--version").output();
        let output = output.expect("ask the server its version");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text.split_ascii_whitespace().nth(2).unwrap_or("0").to_owned();
        let name = self.flavour.name().to_lowercase();
        let cache = std::env::temp_dir().join(format!("headwater-testkit-{}", Uid::effective()));
        // The number at the end grows whenever what makes it changes.
        let template = cache.join(format!("{name}-{version}-1"));
        fs::create_dir_all(&cache).expect("make the cache folder");
        let lock = fs::File::create(cache.join(format!("{name}-lock"))).expect("open the cache's lock");
        // Other test processes may be here at the same time: one makes it, the others wait.
        let _lock =
            Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error).expect("lock the cache");
        if !template.exists() {
            let unfinished = cache.join(format!("{name}-unfinished"));
            let _ = fs::remove_dir_all(&unfinished);
            // Whatever server starts on a folder for temporary tables removes those that another one has there.
            let temporary = cache.join(format!("{name}-temporary"));
            fs::create_dir_all(&temporary).expect("make a folder for temporary tables");
            self.own(&temporary);
            match self.flavour {
                Flavour::MariaDb => self.make_mariadb(&unfinished, &temporary),
                Flavour::MySql => self.make_mysql(&unfinished, &temporary),
            }
            let _ = fs::remove_dir_all(&temporary);
            fs::rename(&unfinished, &template).expect("keep the template");
        }
        template
    }

    fn make_mariadb(&self, data: &Path, temporary: &Path) {
        let mut command = Command::new("mariadb-install-db");
        command
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
            .args(["--skip-name-resolve", "--innodb-log-file-size=16M", "--aria-log-file-size=8M"])
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--tmpdir={}", temporary.display()));
        if self.user.is_some() {
            command.arg("--user=mysql");
        }
        made(command);
    }

    fn make_mysql(&self, data: &Path, temporary: &Path) {
        let statements = data.with_extension("sql");
        fs::write(&statements, MYSQL_ROOT).expect("write the first statements");
        let mut command = self.server();
        command
            .args(["--initialize-insecure", "--innodb-redo-log-capacity=32M"])
            .arg(format!("--init-file={}", statements.display()))
            .arg(format!("--tmpdir={}", temporary.display()))
            .arg(format!("--datadir={}", data.display()));
        made(command);
        // The server's name in every transaction: each copy gives itself another one.
        let _ = fs::remove_file(data.join("auto.cnf"));
    }
}

fn made(mut command: Command) {
    let output = command.stdin(Stdio::null()).output().expect("start what makes a server's data");
    let told = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&told));
}
