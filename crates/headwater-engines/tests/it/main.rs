//! The engines against real servers; one module per engine.
#![allow(clippy::unwrap_used)]

#[cfg(feature = "mysql")]
#[macro_use]
mod of_both;

#[cfg(all(feature = "postgres", feature = "sqlite"))]
mod answers;
#[cfg(any(feature = "memory", feature = "sqlite"))]
mod contract;
#[cfg(feature = "dynamodb")]
mod dynamodb_source;
#[cfg(feature = "dynamodb")]
mod dynamodb_store;
mod engines;
#[cfg(feature = "falkordb")]
mod falkordb_store;
#[cfg(feature = "influxdb")]
mod influxdb_store;
#[cfg(feature = "memory")]
mod memory_store;
#[cfg(feature = "mongodb")]
mod mongodb_store;
#[cfg(feature = "mysql")]
mod mysql_doctor;
#[cfg(feature = "mysql")]
mod mysql_source;
#[cfg(feature = "mysql")]
mod mysql_store;
#[cfg(all(feature = "falkordb", feature = "neptune"))]
mod neptune_store;
#[cfg(feature = "postgres")]
mod postgres_doctor;
#[cfg(feature = "postgres")]
mod postgres_source;
#[cfg(feature = "postgres")]
mod postgres_store;
#[cfg(feature = "redis")]
mod redis_cluster;
#[cfg(feature = "redis")]
mod redis_doctor;
#[cfg(feature = "redis")]
mod redis_store;
#[cfg(feature = "sqlite")]
mod sqlite_source;
#[cfg(feature = "sqlite")]
mod sqlite_store;
#[cfg(any(feature = "memory", feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod store_promises;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod store_tls;
