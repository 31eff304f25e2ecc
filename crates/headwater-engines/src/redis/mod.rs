//! Redis (6.2 and newer) and Valkey as a store.
//!
//! Documents are hashes or JSON strings under `prefix + view + ":" + key`; the position lies in one more key and moves in
//! the same MULTI as the data, so a reader never sees a part of a transaction, and a server that lost its newest writes
//! says so itself. Epochs are fenced with WATCH. On Redis Cluster all of it needs a prefix with a hash tag.
//!
//! Supports: hashes with partial puts, JSON strings, TLS, ACL users, Unix sockets, steps larger than memory. Cannot:
//! partial puts of JSON documents, cluster without a hash tag, servers that evict keys (reported as a risk).
//!
//! | file | idea |
//! |---|---|
//! | `store` | connections, ownership, reads |
//! | `writer`, `step` | fencing, one MULTI |
//! | `codec`, `tape`, `rows` | changes to commands; what replies say about the number of rows |
//! | `foreign` | values of another type under our names |
//! | `keys`, `meta`, `scan` | what lies in the store, and walking it |
//! | `config`, `cluster`, `facts`, `failure` | URL and settings; the node to talk to; what the server says |
//! | `connection`, `resp` | bytes |

mod answer;
mod cluster;
mod codec;
mod config;
mod connection;
mod facts;
mod failure;
mod foreign;
mod index;
mod keys;
mod meta;
mod resp;
mod rows;
pub(crate) mod sandbox;
mod scan;
mod step;
mod store;
mod tape;
mod writer;

pub use store::Store;
