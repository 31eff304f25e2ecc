//! MySQL: the newest, which Debian's unstable suite alone of all of Debian has, and older ones that many still run, which Ubuntu has.

use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::engines::Skips;
use crate::suite::{Server, Suites};

pub const SERVER: Server = Server {
    name: "MySQL",
    used_for: "source and store",
    folder: "mysql",
    suites: Suites::Debian(&["sid main"]),
    packages: &["mysql-server-core", "mysql-client-core"],
    program: "usr/sbin/mysqld",
    // `…/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))`
    version_after: "Ver ",
    skips: Skips { what: "MySQL as a source and a store", variable: "HEADWATER_WITHOUT_MYSQL" },
};

const OLDER: [(&str, Server); 2] = [
    (
        "8.0",
        Server {
            name: "MySQL 8.0",
            folder: "mysql-8.0",
            suites: Suites::Ubuntu(&["noble main", "noble-updates main"]),
            packages: &["mysql-server-core-8.0", "mysql-client-core-8.0"],
            ..SERVER
        },
    ),
    (
        "8.4",
        Server {
            name: "MySQL 8.4",
            folder: "mysql-8.4",
            suites: Suites::Ubuntu(&["resolute main", "resolute-updates main"]),
            ..SERVER
        },
    ),
];

/// Installs an older version, which tests take in the newest one's place when they are told its folder.
pub fn install_older(version: &str) -> anyhow::Result<PathBuf> {
    let Some((_, server)) = OLDER.iter().find(|(known, _)| *known == version) else {
        let known: Vec<&str> = OLDER.iter().map(|(known, _)| *known).collect();
        bail!("--mysql: there is {}, and without it the newest", known.join(" and "));
    };
    server.fetch().with_context(|| format!("install {}", server.name))
}
