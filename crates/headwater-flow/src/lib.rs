//! The data plane: everything between a source and its stores.
//!
//! ```text
//! Source ─► capture ─► journal ─► mapping ─► apply ─► Store        one task each, per store from mapping on
//!    ▲         ▲          └─► deriving ─► derived journal ─┘       documents with embedded rows
//!    └─ backfill (chunks) ┘
//! ```
//!
//! [`Service`] owns the tasks, [`Handle`] looks at them. `landing` decides what of a chunk is still true, by what `passed`
//! says of transactions that a read did not see; `frontier` knows how far the log has been read; `upkeep` frees journal and
//! source; `state` remembers what must survive a restart; `trace` says where time goes.

mod amend;
mod apply;
mod backfill;
mod board;
mod capture;
mod chunks;
mod closing;
mod counting;
pub mod derive;
mod deriving;
mod fingerprint;
mod frontier;
pub mod heal;
mod history;
pub mod incidents;
pub mod journal;
mod landing;
mod left_out;
mod lock;
mod lookback;
pub mod machine;
mod mapping;
mod part;
mod passed;
mod refused;
mod repair;
mod reshape;
mod retry;
pub mod serve;
mod service;
mod state;
pub mod status;
pub mod trace;
mod upkeep;
pub mod verify;
mod watch;
pub mod whereabouts;

pub use service::{Handle, NamedStore, Options, Service, parts_of};
