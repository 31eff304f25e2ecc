//! Amazon DynamoDB as a store; as a source it is in [`source`].
//!
//! A view is a table: one item per document, under the text of its key; its columns are attributes of their own types. A
//! view with indexes has a second table of places, partitioned and sorted as the index is. Both are read strongly
//! consistent, which a global secondary index cannot be, and without which a reader could see an older version after a
//! newer one.
//!
//! Promise: each key goes forward only. There is no write over a whole step that is atomic (a transaction takes 100 items
//! and costs twice), so every item carries who wrote it and as of which offset, and every write is conditional on that.
//! The position is written after all rows of its step were acknowledged: a reader sees what the position says, or
//! something newer. [`crate::versioned`] has the rules and what follows from them.
//!
//! Supports: get, ranges, rankings, series, walks, partial puts of flat documents. Cannot: partial puts of JSON documents,
//! documents beyond 400 KB, keys beyond 2048 bytes.
//!
//! | file | idea |
//! |---|---|
//! | `store` | ownership, reads |
//! | `state` | the position |
//! | `flush`, `sweep` | how a step reaches the tables; how a view is emptied |
//! | `fetch` | items by their keys |
//! | `codec`, `item` | values to attributes; what an item has beside them |
//! | `answer`, `scan` | access patterns; all of a view |
//! | `tables` | names, keys, creation |
//! | `meter`, `gauge`, `heavy` | capacity consumed, per view; of each table its busiest minutes; the keys that take the most |
//! | `checks`, `judge` | what erodes such tables, and how to see it |
//! | `config`, `client`, `failure` | URL and settings; the SDK; what the service says |

mod answer;
mod checks;
mod client;
mod codec;
mod config;
mod failure;
mod fetch;
mod flush;
mod gauge;
mod heavy;
mod item;
mod judge;
mod meter;
mod scan;
mod source;
mod state;
mod store;
mod sweep;
mod tables;

use headwater_model::Result;
use headwater_model::file::StoreSection;

use crate::reach::Reach;
pub(crate) use checks::Examiner;
pub(crate) use source::Examiner as SourceExaminer;
pub use source::Source;
pub use store::Store;
pub use tables::{Layout, layout};

/// The provider's own endpoints speak TLS alone; an endpoint of the settings may not.
pub(crate) fn reach(section: &StoreSection) -> Result<Reach> {
    let config = config::Config::new(section)?;
    let (encrypted, host) = match config.endpoint.as_deref().and_then(|endpoint| endpoint.split_once("://")) {
        Some((scheme, rest)) => {
            let host = rest.split(['/', '?']).next().unwrap_or_default();
            (scheme == "https", host.rsplit_once(':').map_or(host, |(host, _)| host))
        }
        None => (true, "dynamodb.amazonaws.com"),
    };
    Ok(Reach::new(vec![host.to_owned()], encrypted, config.region.as_deref()))
}

/// Every check, in the order of their ids.
pub(crate) fn checks() -> Vec<&'static headwater_model::exam::Check> {
    let mut all = checks::checks();
    all.extend(source::checks());
    all
}
