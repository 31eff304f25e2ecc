//! Reading over HTTP: access patterns as JSON, what they are as OpenAPI, and whether this instance can answer.
//!
//! - `listen`: the port, connections and their bounds; `pace`: no client holds a connection for nothing
//! - `gate`: who may pass: the Host, the token, how many at once
//! - `routes`: the paths; one module per family of paths
//! - `problem`: every answer that is none, as problem details with a remedy
//!
//! Does not own: which engine answers and what the answer holds (`headwater_flow::serve`).
//!
//! Invariant: whatever a client sends, or does not send, costs a bounded amount of memory and time, and nobody else's.

mod dashboard;
mod gate;
mod health;
mod listen;
mod metrics;
mod openapi;
mod pace;
mod patterns;
mod problem;
mod query;
mod routes;
mod site;

use std::net::SocketAddr;
use std::time::Duration;

use headwater_model::file::{File, TlsFiles, Token};

pub use listen::{Server, raise_descriptor_limit};
pub use site::Site;

/// Where and for whom, from the file; and the bounds.
#[derive(Clone, Debug)]
pub struct Options {
    pub listen: SocketAddr,
    pub tls: Option<TlsFiles>,
    /// Empty: whoever can connect may do everything.
    pub tokens: Vec<Token>,
    pub bounds: Bounds,
}

/// What one client, and all of them together, may cost.
#[derive(Clone, Debug)]
pub struct Bounds {
    pub connections: usize,
    /// Requests that are worked on at once.
    pub requests: usize,
    /// From the first byte of a request to the end of its head.
    pub head_within: Duration,
    /// Between requests, and before the first.
    pub idle_for: Duration,
    /// From an answer's first byte that the client does not take to the last that it does.
    pub written_within: Duration,
    /// Target and header fields of one request, in bytes.
    pub head_bytes: usize,
    pub header_fields: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            connections: 10_000,
            requests: 1_024,
            head_within: Duration::from_secs(10),
            idle_for: Duration::from_secs(75),
            written_within: Duration::from_secs(30),
            head_bytes: 16 << 10,
            header_fields: 64,
        }
    }
}

impl Options {
    /// `None` if the file says that nothing is to be listened on.
    pub fn of(file: &File) -> Option<Options> {
        Some(Options {
            listen: file.serve.listen?,
            tls: file.serve.tls.clone(),
            tokens: file.serve.tokens.clone(),
            bounds: Bounds::default(),
        })
    }
}
