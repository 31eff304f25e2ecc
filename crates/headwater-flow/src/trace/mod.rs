//! Where time goes, of a few: sampled transactions from their commit until every store shows them ([`transactions`]),
//! sampled reads from the question to the answer ([`read`]), and every table that is read to fill views.
//!
//! Owns: when each step was done. Does not own: which are sampled, what they are called, and where they go; that is for
//! whoever implements [`Tracer`].
//!
//! Invariant: nothing here holds a value of a row, nothing waits, and what is kept is bounded. Without a tracer nothing is
//! kept at all.

pub(crate) mod read;
pub(crate) mod transactions;

use std::sync::Arc;

use headwater_model::Offset;

use crate::serve::{Refused, Shown};
pub use read::{Asked, ReadTrace};

/// Takes what was traced. Called from the tasks of the data plane: it must not wait.
pub trait Tracer: std::fmt::Debug + Send + Sync {
    /// Whether the transaction at this place of the journal is traced. Asked of each.
    fn samples(&self, offset: Offset) -> bool;

    /// Whether a read that nobody traces yet is traced, and with what. Asked of each.
    fn samples_read(&self) -> Option<Arc<ReadTrace>>;

    /// Reads of a pattern, put together into one, that [`Tracer::samples_read`] wanted to know of.
    fn read(&self, pattern: &str, reads: u64, trace: &ReadTrace, answered: Result<&Shown, &Refused>);

    /// Every store shows it, or no more is waited for.
    fn transaction(&self, trace: TransactionTrace);

    /// A table was read to its end to fill views.
    fn backfill(&self, trace: BackfillTrace);
}

/// A source transaction. Times are microseconds since 1970, by this machine's clock but for that of the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionTrace {
    pub offset: Offset,
    /// In the source's notation.
    pub position: String,
    pub changes: u64,
    /// By the source's clock.
    pub committed_at: i64,
    /// Read from the source's log.
    pub captured_at: i64,
    /// Safe on disk.
    pub journaled_at: Option<i64>,
    /// Embeds and rankings are made of it; `None` if nobody waited for that.
    pub derived_at: Option<i64>,
    pub shown: Vec<StoreTrace>,
    /// Stores that did not show it for as long as was waited.
    pub lacking: Vec<Box<str>>,
}

/// The step with which a store showed a transaction: it may hold others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreTrace {
    pub store: Box<str>,
    pub begun_at: i64,
    /// Committed: readers see it.
    pub shown_at: i64,
    /// Of the whole step.
    pub transactions: u64,
    pub changes: u64,
}

/// A table that was read to fill views.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackfillTrace {
    pub table: String,
    /// As `store/view`.
    pub views: Vec<String>,
    pub began_at: i64,
    pub ended_at: i64,
    /// Whether an earlier start had read some of it.
    pub resumed: bool,
    pub rows: u64,
    pub chunks: u64,
    /// Chunks that had to be read again.
    pub again: u64,
}
