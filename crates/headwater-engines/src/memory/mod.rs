//! A store in memory: `memory:`. For tests, demonstrations and views that fit beside the program.
//!
//! Promise: whole transactions. A step is published under one write lock, so no answer ever shows
//! half of one. It forgets everything at restart, position included, so the data plane sees an empty store and fills it
//! again. Documents are JSON texts, whatever the view's layout; answers share them, nothing is copied.
//!
//! Memory is bounded by `bytes_max`; a row that would pass it is refused, not dropped in silence.

mod answer;
mod apply;
mod config;
mod indexes;
mod state;
mod store;

pub use config::Options;
pub use store::Store;
