//! The store that a random case has beside those of every case: which one, what it can hold, and how to look into it from outside.

use std::sync::Arc;

use headwater_model::{Store, View, ViewKind};
use headwater_testkit::checker::Copy;
use headwater_testkit::{FalkorDb, InfluxDb, MariaDb, MongoDb, Redis};
use serde_json::json;

use crate::support;
use crate::writer::Writer;

pub enum More<'c> {
    Nothing,
    /// A database with a schema for the case; another one than the source.
    Reports(String),
    /// Tables whose names have the prefix.
    Catalog {
        port: u16,
        prefix: String,
    },
    /// A database of the case's own.
    Models {
        server: &'c MariaDb,
        database: String,
    },
    /// A graph of the case's own.
    Social {
        server: &'c Redis,
        graph: String,
    },
    /// A database of the case's own.
    Documents {
        server: &'c MongoDb,
        database: String,
    },
    /// A database of the case's own.
    History {
        server: &'c InfluxDb,
        database: String,
    },
}

impl<'c> More<'c> {
    pub fn models(server: &'c MariaDb, seed: u64) -> More<'c> {
        let database = format!("models_{seed}");
        server.sql(&format!("CREATE DATABASE {database} CHARACTER SET utf8mb4"));
        More::Models { server, database }
    }

    pub fn social(server: &'c Redis, seed: u64) -> More<'c> {
        More::Social { server, graph: format!("social_{seed}") }
    }

    pub fn history(server: &'c InfluxDb, seed: u64) -> More<'c> {
        let database = format!("history_{seed}");
        server.ask("", &format!("CREATE DATABASE {database}"));
        More::History { server, database }
    }

    pub fn name(&self) -> Option<&'static str> {
        Some(match self {
            More::Nothing => return None,
            More::Reports(_) => "reports",
            More::Catalog { .. } => "catalog",
            More::Models { .. } => "models",
            More::Social { .. } => "social",
            More::Documents { .. } => "documents",
            More::History { .. } => "history",
        })
    }

    /// Whether it can hold a view of this kind.
    pub fn holds(&self, view: &View) -> bool {
        match (self, &view.kind) {
            (More::History { .. }, ViewKind::Series(series)) => &*series.time == "at",
            (More::History { .. }, kind) => kind.is_document(),
            _ => true,
        }
    }

    pub fn store(&self, slot: &str) -> Option<Arc<dyn Store>> {
        Some(match self {
            More::Nothing => return None,
            More::Reports(url) => support::store(url, &[("schema", slot)]),
            More::Catalog { port, prefix } => support::tables(*port, prefix),
            More::Models { server, database } => support::store(&server.url_of(database), &[]),
            More::Social { server, graph } => support::store(&FalkorDb::url(server, graph), &[]),
            More::Documents { server, database } => support::store(&server.url(database), &[]),
            More::History { server, database } => support::store(&server.url(database), &[]),
        })
    }

    pub fn copy(&self, slot: &str) -> Option<Copy> {
        Some(match self {
            More::Nothing => return None,
            More::Reports(url) => Copy::Postgres { url: url.clone(), schema: slot.into() },
            More::Catalog { port, prefix } => Copy::DynamoDb { port: *port, prefix: prefix.clone() },
            More::Models { server, database } => {
                Copy::MariaDb { port: server.port(), database: database.clone() }
            }
            More::Social { server, graph } => Copy::FalkorDb { url: server.url(), graph: graph.clone() },
            More::Documents { server, database } => {
                Copy::MongoDb { port: server.port(), database: database.clone(), prefix: String::new() }
            }
            More::History { server, database } => {
                Copy::InfluxDb { port: server.port(), database: database.clone() }
            }
        })
    }

    /// Everything in it goes, where that can be done behind the service's back.
    pub fn drop(&self, slot: &str) {
        match self {
            More::Nothing | More::Catalog { .. } => {}
            More::Reports(url) => {
                Writer::connect(url).execute(&format!("DROP SCHEMA IF EXISTS {slot} CASCADE"));
            }
            More::Models { server, database } => {
                server.sql(&format!(
                    "DROP DATABASE {database}; CREATE DATABASE {database} CHARACTER SET utf8mb4"
                ));
            }
            More::Social { server, graph } => {
                server.cli(&["DEL", graph]);
            }
            More::Documents { server, database } => server.run(database, &json!({ "dropDatabase": 1 })),
            More::History { server, database } => {
                server.ask("", &format!("DROP DATABASE {database}"));
                server.ask("", &format!("CREATE DATABASE {database}"));
            }
        }
    }
}
