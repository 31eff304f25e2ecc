//! FalkorDB as a store: a property graph on a Redis server, asked in openCypher. It stands for Amazon Neptune on a laptop.
//!
//! What lies in the graph, and how it is written and read, is in [`crate::graph`]; here is how a statement gets to the
//! server. The connection is the one of Redis.
//!
//! Promise: whole transactions. A step is one `GRAPH.QUERY`. The server runs writing queries one after the other, holds
//! readers off while one of them changes the graph, undoes a query that fails, and hands what it changed to the
//! append-only file and to replicas as one piece. (Several queries in a MULTI would not do: readers that wait in the module's own
//! queue get in between.)
//!
//! Supports: get, ranges, rankings, series, walks, partial puts of flat documents. Cannot: partial puts of JSON documents, clusters (a graph is one key), steps larger than
//! `step_bytes_max`.
//!
//! | file | idea |
//! |---|---|
//! | `checks` | what erodes such a graph, and how to see it |
//! | `config` | URL and settings |
//! | `database` | connections, queries, their replies |
//! | `failure` | what the module says |

mod checks;
mod config;
mod database;
mod failure;

use std::sync::Arc;

use headwater_model::Result;
use headwater_model::file::StoreSection;

use crate::reach::Reach;

pub(crate) use checks::{Examiner, checks};

pub(crate) fn reach(section: &StoreSection) -> Result<Reach> {
    Ok(config::Config::new(section)?.redis.reach())
}

/// The graph that `section.url` names. Reads settings, does not connect.
pub fn store(section: &StoreSection) -> Result<Arc<dyn headwater_model::Store>> {
    let config = config::Config::new(section)?;
    Ok(Arc::new(crate::graph::Store::new(section, database::Database::new(config))))
}
