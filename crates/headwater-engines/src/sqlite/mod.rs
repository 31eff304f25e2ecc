//! SQLite: the embedded store, and a source that follows a user's database file.
//!
//! - [`Store`] holds views as JSON documents in a file of its own, one table per view, readable by any SQLite client.
//!   Promise: whole transactions, for readers in other processes too.
//! - [`Source`] follows a database that any SQLite client writes to, by triggers that note changed keys in the writer's
//!   own transaction.
//!
//! Not supported: in-memory and temporary databases (a file that only one connection sees), encrypted databases.

mod codec;
mod config;
mod connection;
mod readers;
pub(crate) mod sandbox;
mod source;
mod store;

pub use config::{SourceOptions, StoreOptions, Synchronous};
pub use source::Source;
pub use store::Store;
