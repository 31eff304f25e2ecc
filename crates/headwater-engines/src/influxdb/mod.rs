//! InfluxDB as a store of series.
//!
//! | measurement | holds |
//! |---|---|
//! | `price` | the series `price`: a point per document, its tags and fields as columns of their own, and all of it as [`record`] |
//! | `hw:key:price` | the directory: a point per key ever seen, addressed by a hash of the key, with the same record |
//! | `hw:state`, or `hw:state@SOURCE` | one point: who owns the store, its position, and what is being written just now |
//!
//! InfluxDB names a point by measurement, tags and time, has neither transactions nor conditional writes, and makes a point
//! visible field by field. So whatever is read back here is *one* field, a text; documents are believed as the directory
//! has them; and numbers come back from the text and not from a float.
//!
//! Promise: each key goes forward only, and the position is written after the data. An old owner is kept out by looking
//! before each write, not by the write itself: [`state`] says what follows from that.
//!
//! Invariant: while the state says that nothing is in flight, a series holds exactly the points that the directory says. In
//! flight, a reader asks the directory ([`answer`]); if the writer went away, its successor clears up first ([`flush`]).
//!
//! Supports: get, window, partial puts. Cannot: other orders than a series' own by time, rankings, edges, times that are no
//! dates or timestamps of the years 1678 to 2261, documents beyond 48 KiB.
//!
//! | file | idea |
//! |---|---|
//! | `store`, `state` | ownership; the position, what is in flight |
//! | `step`, `flush` | what a step gathers; how it gets there, and what a broken one leaves |
//! | `place`, `guard` | where a point lies; which tags and types a series takes |
//! | `directory`, `record` | where a key lies; a document as one text |
//! | `answer`, `scan` | access patterns; all of a view |
//! | `checks`, `sandbox` | what erodes such a database, and how to see it; a server for drills |
//! | `line`, `client`, `config`, `failure` | line protocol and InfluxQL; HTTP; URL and settings; what the server says |

mod answer;
mod checks;
mod client;
mod config;
mod directory;
mod failure;
mod flush;
mod guard;
mod line;
mod place;
mod record;
pub(crate) mod sandbox;
mod scan;
mod state;
mod step;
mod store;

use headwater_model::Result;
use headwater_model::file::StoreSection;

use crate::reach::Reach;
pub(crate) use checks::{Examiner, checks};
pub(crate) use place::fits;
pub use store::Store;

pub(crate) fn reach(section: &StoreSection) -> Result<Reach> {
    let server = config::Config::new(section)?.server;
    Ok(Reach::new(vec![server.host], server.tls, None))
}
