//! Views as keys for any Redis client, over RESP2 and RESP3.
//!
//! Owns: the protocol, what keys name, and connections. Does not own: who answers and how new an answer is
//! (`headwater_flow::serve`).
//!
//! Connections live on one thread of their own with a runtime of its own: most requests are answered from memory within
//! a few microseconds, and handing each to another thread and back would cost more than that. Slow stores are waited for
//! like everything else.
//!
//! Bounds: connections, bytes of a request, arguments, documents per read, bytes of replies that are not read, bytes of
//! all that together, time for a request to become whole, time for replies to be read.

mod buffers;
mod client;
mod command;
mod connection;
mod cursors;
mod documents;
mod execute;
mod failure;
mod fields;
mod glob;
mod info;
mod listener;
mod parse;
mod rankings;
mod reply;
mod scan;
mod session;
mod shared;
mod tokens;
mod views;

pub use listener::{Options, Server};
pub use shared::Flow;
