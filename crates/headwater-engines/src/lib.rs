//! The engines: one folder each, one cargo feature each.
//!
//! This crate owns everything that knows a product's name, its protocol and its dialect. It deliberately does not
//! decide when to read, write or retry: that is the data plane's job, which sees only the traits of
//! `headwater-model`. [`registry`] is the only list of engines.

// What engines share is there whichever of them are built in: each uses its part of it.
#![cfg_attr(
    not(all(
        feature = "dynamodb",
        feature = "falkordb",
        feature = "influxdb",
        feature = "memory",
        feature = "mongodb",
        feature = "mysql",
        feature = "neptune",
        feature = "postgres",
        feature = "redis",
        feature = "sqlite"
    )),
    allow(dead_code, unused_imports, unused_macros)
)]

#[cfg(any(feature = "mysql", feature = "postgres"))]
mod advice;
mod checks;
#[cfg(feature = "dynamodb")]
pub mod dynamodb;
pub mod engine;
mod entries;
#[cfg(feature = "falkordb")]
pub mod falkordb;
mod filter;
#[cfg(any(feature = "falkordb", feature = "neptune"))]
mod graph;
#[cfg(any(feature = "influxdb", feature = "neptune"))]
mod http;
#[cfg(feature = "influxdb")]
pub mod influxdb;
#[cfg(feature = "memory")]
pub mod memory;
#[cfg(feature = "mongodb")]
pub mod mongodb;
#[cfg(feature = "mysql")]
pub mod mysql;
#[cfg(feature = "neptune")]
pub mod neptune;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod reach;
#[cfg(feature = "redis")]
pub mod redis;
pub mod registry;
pub mod sandbox;
mod settings;
mod span;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod sql;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(any(
    feature = "falkordb",
    feature = "influxdb",
    feature = "memory",
    feature = "mysql",
    feature = "neptune",
    feature = "postgres",
    feature = "sqlite"
))]
mod stored_json;
mod versioned;
mod walk;

// What each engine says of itself is known whether it is built in or not.
#[path = "dynamodb/engine.rs"]
mod declared_dynamodb;
#[path = "falkordb/engine.rs"]
mod declared_falkordb;
#[path = "influxdb/engine.rs"]
mod declared_influxdb;
#[path = "memory/engine.rs"]
mod declared_memory;
#[path = "mongodb/engine.rs"]
mod declared_mongodb;
#[path = "mysql/engine.rs"]
mod declared_mysql;
#[path = "neptune/engine.rs"]
mod declared_neptune;
#[path = "postgres/engine.rs"]
mod declared_postgres;
#[path = "redis/engine.rs"]
mod declared_redis;
#[path = "sqlite/engine.rs"]
mod declared_sqlite;

pub use registry::{fits, source, store};
