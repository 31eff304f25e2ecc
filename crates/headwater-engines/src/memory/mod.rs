//! A store in memory: `memory:`. For tests, demonstrations and views that fit beside the program.
//!
//! Promise: whole transactions. A step is published under one write lock, so neither [`headwater_model::Store::get`]
//! nor [`Store::read_many`] ever sees half of one. It forgets everything at restart, position included, so the data
//! plane sees an empty store and fills it again. Documents are JSON texts, whatever the view's layout.
//!
//! Memory is bounded by `bytes_max`; a row that would pass it is refused, not dropped in silence.

mod apply;
mod config;
mod state;
mod store;

pub use config::Options;
pub use store::Store;
