//! MySQL, which Debian's unstable suite alone of all of Debian has.

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
