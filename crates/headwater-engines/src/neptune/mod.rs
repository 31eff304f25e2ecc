//! Amazon Neptune as a store: a property graph, asked in openCypher over HTTPS, signed with SigV4.
//!
//! What lies in the graph, and how it is written and read, is in [`crate::graph`]; here is how a statement gets to the
//! cluster. Statement and parameters are the form of one POST to `/openCypher`, the parameters as JSON.
//!
//! Promise: whole transactions, because Neptune runs each request as one transaction and a step is one request. Reads at
//! the writer's endpoint are snapshots.
//!
//! There is no Neptune to test with outside AWS. Signatures are compared with those that AWS publishes; steps
//! and answers go over the same HTTP with FalkorDB behind it. What only a cluster can
//! show (its planner, its limits, its locks) was not seen, and `check` and the log say so.
//!
//! | file | idea |
//! |---|---|
//! | `config` | URL and settings |
//! | `database` | requests and replies |
//! | `sign` | SigV4, and whose credentials |
//! | `failure` | what the service says |

mod config;
mod database;
mod failure;
mod sign;

use std::sync::Arc;

use headwater_model::Result;
use headwater_model::file::StoreSection;

use crate::reach::Reach;

pub(crate) fn reach(section: &StoreSection) -> Result<Reach> {
    let config = config::Config::new(section)?;
    Ok(Reach::new(vec![config.host], config.tls, config.region.as_deref()))
}

/// The cluster that `section.url` names. Reads settings, does not connect.
pub fn store(section: &StoreSection) -> Result<Arc<dyn headwater_model::Store>> {
    let config = config::Config::new(section)?;
    Ok(Arc::new(crate::graph::Store::new(section, database::Database::new(config))))
}
