//! The seam to a transactional database.

use async_trait::async_trait;

use crate::{
    Answer, Catalogued, Chunk, ChunkId, ChunkRange, Event, Lineage, Position, Read, Result, RetainedLog,
    SourceFacts, TableName, Traffic,
};

/// A transactional database that can be followed.
///
/// One value serves one database; methods may be called concurrently.
#[async_trait]
pub trait Source: Send + Sync {
    /// Tables, keys, settings and risks. Reads only.
    async fn inspect(&self) -> Result<SourceFacts>;

    /// Who the source is: its course of history, and those it came from. `known` is a place that was followed before; from
    /// now on no server is spoken to that is of the same database and still on an older course than that, or than one that was
    /// followed since. `Transient` while only such a server, or one that takes no writes, is there.
    async fn lineage(&self, known: Option<&Position>) -> Result<Lineage>;

    /// Makes the source ready to be followed for `tables`: creates what is missing (publication and slot, change table
    /// and triggers). Idempotent. Of `tables`, returns those whose changes the log tells only from now on: if they were followed
    /// before, it lacks some. `Denied` with the exact SQL to run when the role may not.
    async fn prepare(&self, tables: &[TableName]) -> Result<Vec<TableName>>;

    /// The log after `after`, or from the source's own retained start when `None`. Waits (bounded) and returns
    /// `Transient` while another instance follows; `OutOfStep` when the log after `after` is gone or belongs to
    /// another system.
    async fn follow(&self, after: Option<&Position>) -> Result<Box<dyn Follow>>;

    /// The shapes of `tables` as they are now, in the same order: the same ids and versions that the log and chunks
    /// carry for these shapes; and their revisions. `Misconfigured` names a table that is not there.
    async fn shapes(&self, tables: &[TableName]) -> Result<Vec<Catalogued>>;

    /// Reads a chunk and the moment it shows, in one short read-only transaction.
    async fn read_chunk(&self, range: &ChunkRange) -> Result<Chunk>;

    /// Puts a mark into the log, after everything that is visible now: it comes back as [`Event::Mark`].
    async fn mark(&self, chunk: ChunkId) -> Result<()>;

    /// The source may forget its log up to and including `upto`. Cheap; takes effect soon.
    async fn release(&self, upto: &Position) -> Result<()>;

    /// Where the source is now, and the log it keeps for us.
    async fn progress(&self) -> Result<(Position, RetainedLog)>;

    /// Gives up following: removes what `prepare` made, so that the source keeps no log for us.
    async fn forget(&self) -> Result<()>;

    /// An access pattern with its values, in SQL: the oracle, and the fallback when no store can answer. It shows every
    /// transaction whose commit was acknowledged to its client before the call ([`crate::AnswerMoment::Now`]). Documents
    /// are JSON texts, the same as stores are given. Bounded by the source in time, memory and connections: `Transient` if
    /// it takes too long, `Unsupported` if the read asks for too much. Dropping the future ends the work soon.
    async fn answer(&self, read: &Read) -> Result<Answer>;

    /// What went through our hands of each table, where the source is paid by the request. Asks nobody; empty elsewhere.
    fn traffic(&self) -> Vec<Traffic>;

    /// A position in the source's own notation (PostgreSQL: `0/16B3748`), without blanks.
    fn notation(&self, position: &Position) -> String;

    /// The sequence of the position that an application writes in the source's own notation; `None` if it is none.
    fn sequence(&self, notation: &str) -> Option<u64>;
}

/// A running read of the log.
#[async_trait]
pub trait Follow: Send {
    /// The next events, in order, at least one: as many as have arrived, up to a bound of the engine's. Cancel safe:
    /// dropping the future loses no event. Backpressure: what is not asked for is not read from the source.
    async fn next(&mut self) -> Result<Vec<Event>>;
}
