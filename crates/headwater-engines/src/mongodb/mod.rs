//! MongoDB, and what speaks its protocol (Amazon DocumentDB), as a store.
//!
//! A view is a collection: one document per row, under the text of its key, with fields of MongoDB's own types. What is ours
//! lies in it under `_hw`: who wrote it, as of when, and where it stands in the view's indexes, each of which is a secondary
//! index over one such field. So a document and its places change at once.
//!
//! Promise: each key goes forward only. A write of one document is atomic on every server; a transaction over a whole step
//! is not to be had on a single server, ends after a minute, and on some servers may not be larger than 16 MB. So every
//! document carries who wrote it and as of which offset, and every write is conditional on that, a thousand to a request:
//! [`crate::versioned`] has the rules.
//!
//! Supports: get, ranges, rankings, series, walks, partial puts. Cannot: documents beyond 16 MB, places in an index beyond
//! what the server indexes.
//!
//! | file | idea |
//! |---|---|
//! | `store` | ownership, reads |
//! | `server` | the driver's client; commands |
//! | `collections` | names, indexes |
//! | `state` | the position |
//! | `flush`, `sweep` | how a step reaches the collections; how a view is emptied |
//! | `fresh` | keys that surely have no document |
//! | `codec`, `item` | values to BSON; what a document has beside its fields |
//! | `answer`, `scan` | access patterns; all of a view |
//! | `config`, `failure` | URL and settings; what the server says |
//! | `checks` | what `doctor` looks for |

mod answer;
mod checks;
mod codec;
mod collections;
mod config;
mod failure;
mod flush;
mod fresh;
mod item;
mod scan;
mod server;
mod state;
mod store;
mod sweep;

use headwater_model::Result;
use headwater_model::file::StoreSection;

use crate::reach::Reach;
pub(crate) use checks::{Examiner, checks};
pub use store::Store;

pub(crate) fn reach(section: &StoreSection) -> Result<Reach> {
    let config = config::Config::new(section)?;
    Ok(Reach::new(config.hosts, config.encrypted, None))
}
