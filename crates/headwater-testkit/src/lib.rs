//! What tests stand on: real engines on free ports in throw-away folders, faults, and a checker that shares no code
//! with what it checks.
//!
//! Everything here is for tests and benches, so a failure of the kit itself (an engine that is not installed, a
//! statement that is refused) panics with what was being done instead of returning an error.
//!
//! Invariant: nothing outlives the test run. Engines die with the process that started them, even if that one is
//! killed, and only processes that the kit started itself are ever signalled.

#![allow(clippy::unwrap_used)]

mod chance;
pub mod checker;
pub mod contract;
mod engines;
mod eventually;
pub mod faults;
pub mod read;
pub mod simulated;
pub mod workload;

pub use chance::Chance;
pub use engines::certificate::Certificate;
pub use engines::dynamodb::DynamoDb;
pub use engines::falkordb::FalkorDb;
pub use engines::folder::Folder;
pub use engines::haproxy::Haproxy;
pub use engines::influxdb::InfluxDb;
pub use engines::mariadb::{Flavour, MariaDb, MariaDbBuilder, numbers};
pub use engines::mongodb::MongoDb;
pub use engines::patroni::Patroni;
pub use engines::port::free_port;
pub use engines::postgres::{Postgres, PostgresBuilder};
pub use engines::process::{Process, log_tail};
pub use engines::program;
pub use engines::redis::{Redis, RedisBuilder};
pub use engines::redis_cluster::{RedisCluster, lane, lane_of};
pub use eventually::eventually;
