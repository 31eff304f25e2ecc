//! Real engines as child processes. One file per engine; what they share is the folder (removed whatever happens),
//! the port and the process.

mod aside;
pub mod certificate;
pub mod dynamodb;
pub mod falkordb;
pub mod folder;
pub mod haproxy;
pub mod influxdb;
pub mod mariadb;
pub mod mongodb;
pub mod patroni;
pub mod port;
pub mod postgres;
pub mod process;
pub mod redis;
pub mod redis_cluster;

use std::path::PathBuf;

/// Where an engine's program is: in the PATH, or among Debian's servers, which are not in everybody's PATH.
pub fn program(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .chain(std::iter::once(PathBuf::from("/usr/sbin")))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}
