//! PostgreSQL 15 and later: as a source, followed by logical replication (pgoutput), and as a store of read models.
//!
//! - `source`: the [`headwater_model::Source`]; which connection does what
//! - `store`: the [`headwater_model::Store`]: views as tables
//! - `config`: the URL and the settings
//! - `wire`, `connection`, `tls`, `pool`: the protocol, spoken by our own small client
//! - `pgoutput`, `codec`, `time`: the log and its values
//! - `catalog`, `tables`, `revision`: what only the database's catalog knows
//! - `line`: which server may be spoken to after a failover
//! - `prepare`, `slot`, `wanted`: publication and slot, and whether they still are what they were
//! - `follow`, `chunk`, `inspect`: the running read, a chunk, a look
//! - `usage`: what its statistics counted
//! - `advisor`: which indexes its workload asks for
//! - `checks`: what erodes such a database, and how to see it
//! - `answer`, `dialect`: access patterns as SQL, and how PostgreSQL says it
//! - `error`: what the server's errors ask the caller to do
//!
//! Not supported: composite values as objects (they are text, as PostgreSQL prints them), generated columns (not in
//! the log before version 18), large objects, sequences.

mod advisor;
mod answer;
mod catalog;
mod checks;
mod chunk;
mod codec;
mod config;
mod connection;
mod dialect;
mod error;
mod follow;
mod inspect;
mod line;
mod lsn;
mod pgoutput;
mod pool;
mod prepare;
mod revision;
pub(crate) mod sandbox;
mod slot;
mod source;
mod sql;
mod store;
mod tables;
mod time;
mod tls;
mod usage;
mod wanted;
mod wire;

use headwater_model::Result;
use headwater_model::file::StoreSection;

use crate::reach::Reach;
pub(crate) use advisor::Advisor;
pub(crate) use checks::{Examiner, checks};
pub use source::Source;
pub use store::{Store, fits};
pub(crate) use usage::usage;

pub(crate) fn store_reach(section: &StoreSection) -> Result<Reach> {
    Ok(config::Config::of_store(section)?.0.reach())
}
