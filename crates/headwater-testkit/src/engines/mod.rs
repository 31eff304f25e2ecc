//! Real engines as child processes. One file per engine; what they share is the folder (removed whatever happens),
//! the port and the process.

pub mod dynamodb;
pub mod falkordb;
pub mod folder;
pub mod influxdb;
pub mod mariadb;
pub mod patroni;
pub mod port;
pub mod postgres;
pub mod process;
pub mod redis;
pub mod redis_cluster;
