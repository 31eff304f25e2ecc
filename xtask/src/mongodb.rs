//! MongoDB, which no suite of Debian has any more: the last version that Ubuntu had, with its shell and the programs that import
//! and export.

use crate::engines::Skips;
use crate::suite::{Server, Suites};

pub const SERVER: Server = Server {
    name: "MongoDB",
    used_for: "store",
    folder: "mongodb",
    suites: Suites::Ubuntu(&["focal main universe"]),
    packages: &["mongodb-server-core", "mongodb-clients", "mongo-tools"],
    program: "usr/bin/mongod",
    // `db version v3.6.8`
    version_after: "version v",
    skips: Skips { what: "MongoDB as a store", variable: "HEADWATER_WITHOUT_MONGODB" },
};
