//! The independent checker: does a store hold exactly what the source says?
//!
//! It shares no code with what it checks. What should be there is computed by the *source* itself, in plain SQL made from
//! the views: correlated subqueries for embedded rows, the database's own JSON functions for documents. What is
//! there is read with plain commands of the store. Keys are escaped and numbers compared by code of its own. Of the model
//! it takes only the description of the views and, for stores without an outside, `Store::scan`.
//!
//! What a reader of an access pattern should get is said in two ways: by the source, in a plain statement ([`page`]), and by
//! going through all documents that the source makes ([`answer`]).
//!
//! Not its job: saying *when* a store should be equal. The source must be at rest, or the caller polls with
//! [`eventually_equal`].

pub mod answer;
mod compare;
pub(crate) mod dynamodb;
mod falkordb;
mod found;
mod influxdb;
mod key;
mod mariadb;
mod mongodb;
mod number;
mod page;
mod postgres;
mod sql;
mod sqlite;
mod tables;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use headwater_model::{Store, View};
use serde_json::Value as Json;

pub use compare::{Report, compare};
pub use page::page;

/// The database whose word counts.
#[derive(Clone, Debug)]
pub enum Truth {
    /// By URL, without TLS.
    Postgres(String),
    Sqlite(PathBuf),
}

/// The store under suspicion.
#[derive(Clone)]
pub enum Copy {
    /// Keys are `prefix`, the view's name, `:` and the key's text.
    Redis { url: String, prefix: String },
    /// The same on several servers, with a hash tag and a colon behind the prefix.
    RedisCluster { urls: Vec<String>, prefix: String },
    /// A table per view, with the columns `key` and `document`.
    Sqlite(PathBuf),
    /// Tables of a schema, by URL without TLS: a column per field, or the column `document`.
    Postgres { url: String, schema: String },
    /// Tables of a database of MariaDB on this machine, as `root`: a column per field, or the column `document`.
    MariaDb { port: u16, database: String },
    /// Tables of DynamoDB Local, whose names are `prefix` and the view's.
    DynamoDb { port: u16, prefix: String },
    /// A graph, by the URL of its server as a Redis.
    FalkorDb { url: String, graph: String },
    /// A database of MongoDB on this machine: collections, whose names are `prefix` and the view's.
    MongoDb { port: u16, database: String, prefix: String },
    /// A database of InfluxDB on this machine.
    InfluxDb { port: u16, database: String },
    /// Through the store's own `scan`.
    Store(Arc<dyn Store>),
}

/// A document as the source makes it.
#[derive(Clone, Debug)]
pub struct Document {
    /// The parts of its key.
    pub key: Vec<Json>,
    pub fields: serde_json::Map<String, Json>,
    /// Fields of a JSON type: as a hash field they are JSON text, even if they are a JSON string.
    pub json: Arc<[String]>,
    /// Fields that hold JSON's own `null`, which is not SQL's.
    pub json_nulls: Vec<String>,
}

/// A document as the store holds it.
#[derive(Clone, Debug)]
pub enum Body {
    Json(Vec<u8>),
    Fields(BTreeMap<String, Vec<u8>>),
}

/// By view, by key text.
pub type Expected = BTreeMap<String, BTreeMap<String, Document>>;
/// By view, by key text.
pub type Found = BTreeMap<String, BTreeMap<String, Body>>;

/// What should be there, as one moment of the source.
pub async fn expected(truth: &Truth, views: &[View]) -> Expected {
    match truth {
        Truth::Postgres(url) => postgres::expected(url, views).await,
        Truth::Sqlite(path) => sqlite::expected(path, views),
    }
}

/// What is there.
pub async fn found(copy: &Copy, views: &[View]) -> Found {
    match copy {
        Copy::Redis { url, prefix } => found::redis(url, prefix, views).await,
        Copy::RedisCluster { urls, prefix } => found::redis_cluster(urls, prefix, views).await,
        Copy::Sqlite(path) => found::sqlite(path, views),
        Copy::Postgres { url, schema } => tables::found(url, schema, views).await,
        Copy::MariaDb { port, database } => mariadb::found(*port, database, views).await,
        Copy::DynamoDb { port, prefix } => dynamodb::found(*port, prefix, views),
        Copy::FalkorDb { url, graph } => falkordb::found(url, graph, views).await,
        Copy::MongoDb { port, database, prefix } => mongodb::found(*port, database, prefix, views),
        Copy::InfluxDb { port, database } => influxdb::found(*port, database, views),
        Copy::Store(store) => found::store(&**store, views).await,
    }
}

/// Compares each of `views` document by document.
pub async fn report(truth: &Truth, copy: &Copy, views: &[View]) -> Report {
    let expected = expected(truth, views).await;
    compare(&expected, &found(copy, views).await)
}

/// Panics with the first differences unless the store holds exactly what the source says.
pub async fn assert_equal(truth: &Truth, copy: &Copy, views: &[View]) {
    let report = report(truth, copy, views).await;
    assert!(report.is_equal(), "the store differs from the source: {report}");
}

/// Waits for the store to catch up with a source that no longer changes.
pub async fn eventually_equal(timeout: Duration, truth: &Truth, copy: &Copy, views: &[View]) -> Report {
    let expected = expected(truth, views).await;
    crate::eventually(timeout, "the store equals the source", async || {
        let report = compare(&expected, &found(copy, views).await);
        if report.is_equal() { Ok(report) } else { Err(report) }
    })
    .await
}
