//! What all connections share.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Instant;

use headwater_flow::Handle;
use headwater_flow::serve::Serving;

use super::cursors::Cursors;
use super::tokens::Tokens;
use super::views::Views;

pub struct Shared {
    pub serving: Serving,
    pub handle: Handle,
    pub views: Views,
    pub tokens: Tokens,
    /// Where one writes: product and version of the source.
    pub source: String,
    pub cursors: Mutex<Cursors>,
    pub began: Instant,
    pub connections: AtomicUsize,
    pub connections_total: AtomicU64,
    pub refused_total: AtomicU64,
    pub commands: AtomicU64,
}
