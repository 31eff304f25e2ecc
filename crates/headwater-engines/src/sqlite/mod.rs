//! SQLite: the embedded store, and a source that follows a user's database file.
//!
//! - [`Store`] holds views as JSON documents in a file of its own, one table per view, readable by any SQLite client.
//!   Promise: whole transactions, for readers in other processes too.
//!
//! Not supported: in-memory and temporary databases (a file that only one connection sees), encrypted databases.

mod config;
mod connection;
mod store;

pub use config::StoreOptions;
pub use store::Store;
