//! Redis (6.2 and newer) and Valkey as a store.
//!
//! Documents are hashes or JSON strings under `prefix + view + ":" + key`; the position lies in one more key and moves in
//! the same MULTI as the data, so a reader never sees a part of a transaction, and a server that lost its newest writes
//! says so itself. Epochs are fenced with WATCH. That is one lane: a server, or a slot of a cluster. In a cluster a store whose
//! prefix has no hash tag is spread over several lanes, and promises keys instead of transactions.
//!
//! Supports: hashes with partial puts, JSON strings, TLS, ACL users, Unix sockets, clusters, steps larger than memory. Cannot:
//! partial puts of JSON documents, servers that evict keys (reported as a risk).
//!
//! | file | idea |
//! |---|---|
//! | `store` | which of the two it is |
//! | `lane` | connections, ownership, reads of one lane |
//! | `lanes`, `slot`, `ahead` | many of them as one store; which lane a document is in; lanes that are apart after a failure |
//! | `writer`, `step` | fencing, one MULTI |
//! | `codec`, `tape`, `rows` | changes to commands; what replies say about the number of rows |
//! | `foreign` | values of another type under our names |
//! | `keys`, `meta`, `scan` | what lies in the store, and walking it |
//! | `answer` | access patterns |
//! | `index`, `listing` | indexes: kept, and compared with what they should be |
//! | `config`, `cluster`, `facts`, `failure` | URL and settings; the nodes to talk to; what the server says |
//! | `checks` | what erodes such a server, and how to see it |
//! | `connection`, `resp` | bytes |

mod ahead;
mod answer;
mod checks;
mod cluster;
mod codec;
pub(crate) mod config;
pub(crate) mod connection;
pub(crate) mod facts;
pub(crate) mod failure;
mod foreign;
mod index;
mod keys;
mod lane;
mod lanes;
mod listing;
mod meta;
pub(crate) mod resp;
mod rows;
pub(crate) mod sandbox;
mod scan;
mod slot;
mod step;
mod store;
mod tape;
mod writer;

use headwater_model::Result;
use headwater_model::file::StoreSection;

use crate::reach::Reach;
#[cfg(feature = "falkordb")]
pub(crate) use checks::examine_server;
pub(crate) use checks::{Examiner, checks};
pub use store::Store;

pub(crate) fn reach(section: &StoreSection) -> Result<Reach> {
    Ok(config::Config::new(section)?.reach())
}
