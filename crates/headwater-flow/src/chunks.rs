//! Chunks on their way: read at the source, their marks put into its log.
//!
//! Owns: how a range is read so that nothing is missed which came by before it ([`Chunks::start`]). Does not own: which ranges
//! are read and why ([`crate::backfill`], [`crate::verify`]), or what of a chunk is true where its mark comes by
//! ([`crate::landing`]).

use std::sync::Arc;
use std::time::Duration;

use headwater_model::{Chunk, ChunkId, ChunkRange, Error, Key, Offset, Result, Source, TableId, TableName};
use tokio::sync::oneshot;
use tracing::warn;

use crate::frontier::Frontier;
use crate::journal::{EntryKind, Item, Journal};
use crate::landing::{Delivered, Outcome, Purpose, Windows, earlier_touches, unknown_transaction};
use crate::retry::Backoff;

/// How long a mark may take to come by before its chunk is read again.
pub(crate) const MARK_WITHIN: Duration = Duration::from_secs(60);

/// What reading chunks takes; one per term.
pub(crate) struct Chunks {
    pub source: Arc<dyn Source>,
    pub windows: Arc<Windows>,
    pub journal: Journal,
    pub frontier: Arc<Frontier>,
}

/// A chunk that was read and waits for its mark to come by. Dropped, it is forgotten.
pub(crate) struct InFlight {
    pub from: Option<Key>,
    pub upto: Option<Key>,
    pub last: bool,
    pub read: u64,
    pub outcome: oneshot::Receiver<Outcome>,
    _window: OpenWindow,
}

/// Recording ends with this, at the latest.
struct OpenWindow {
    windows: Arc<Windows>,
    id: ChunkId,
}

impl Drop for OpenWindow {
    fn drop(&mut self) {
        self.windows.close(self.id);
    }
}

impl Chunks {
    /// The table's identity. Before it is told, a mark of ours has ended in the source: no read from now on can miss
    /// for its snapshot what earlier runs delivered ([`Windows::passed_before`]).
    pub async fn table_id(&self, table: &TableName) -> Result<TableId> {
        let mut backoff = Backoff::new();
        loop {
            let asked = async {
                self.source.mark(self.frontier.next_mark()).await?;
                self.source.shapes(std::slice::from_ref(table)).await
            };
            match asked.await {
                Ok(shapes) => {
                    let shape = shapes.first().ok_or_else(|| Error::bug("the source gave no shape"))?;
                    return Ok(shape.table.id);
                }
                Err(error) if error.is_retryable() => {
                    warn!(%error, %table, "the table's shape is asked again")
                }
                Err(error) => return Err(error),
            }
            backoff.pause().await;
        }
    }

    /// Reads a range and sends its mark on its way.
    pub async fn start(&self, range: &ChunkRange, table: TableId, purpose: Purpose) -> Result<InFlight> {
        let mut backoff = Backoff::new();
        loop {
            let id = self.frontier.next_mark();
            let window = OpenWindow { windows: Arc::clone(&self.windows), id };
            self.windows.open(id, table).await;
            match self.try_start(window, range, table, purpose.clone()).await {
                Ok(chunk) => return Ok(chunk),
                Err(error) if !error.is_retryable() => {
                    return Err(error.while_doing(format_args!("read table {}", range.table)));
                }
                Err(error) => {
                    warn!(%error, table = %range.table, "a chunk is read again");
                    backoff.pause().await;
                }
            }
        }
    }

    async fn try_start(
        &self,
        window: OpenWindow,
        range: &ChunkRange,
        table: TableId,
        purpose: Purpose,
    ) -> Result<InFlight> {
        let id = window.id;
        let chunk = self.source.read_chunk(range).await?;
        let passed = self.windows.passed_before(id, &chunk.moment).map_err(unknown_transaction)?;
        if let Some(newest) = passed.last() {
            self.wait_durable(*newest).await?;
        }
        let earlier = self.look_up(&passed, &chunk, table)?;
        let read = chunk.rows.len() as u64;
        let upto = chunk.upto.clone();
        let last = chunk.last;
        let outcome = self.windows.fill(id, chunk, purpose, earlier);
        self.source.mark(id).await?;
        Ok(InFlight { from: range.after.clone(), upto, last, read, outcome, _window: window })
    }

    /// The keys that transactions touched which came by before the window opened, from the journal.
    fn look_up(&self, offsets: &[Offset], chunk: &Chunk, table: TableId) -> Result<Vec<Delivered>> {
        let mut found = Vec::new();
        for offset in offsets {
            let mut reader = match self.journal.read(Offset(offset.0 - 1)) {
                Ok(reader) => reader,
                Err(error) => {
                    return Err(Error::transient(
                        "a transaction that readers do not see yet left the journal",
                    )
                    .with_cause(error));
                }
            };
            let (mut xid, mut seen) = (None, Vec::new());
            'entry: loop {
                let items = reader.try_next(1 << 20)?;
                if items.is_empty() {
                    return Err(Error::transient("a transaction is not durable yet"));
                }
                for item in items {
                    match item {
                        Item::Begin { kind: EntryKind::Transaction { xid: number }, .. } => xid = number,
                        Item::Begin { .. } => {}
                        Item::Changes(changes) => {
                            changes.iter().for_each(|change| earlier_touches(change, &mut seen))
                        }
                        Item::Commit { position, .. } => {
                            seen.retain(|(id, _)| *id == table);
                            if !chunk.moment.sees(xid, &position) {
                                found.push(Delivered { xid, position, touches: std::mem::take(&mut seen) });
                            }
                            break 'entry;
                        }
                    }
                }
            }
        }
        Ok(found)
    }

    pub async fn wait_durable(&self, offset: Offset) -> Result<()> {
        let mut durable = self.journal.durable_changed();
        match durable.wait_for(|known| *known >= offset).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::transient("the journal was closed")),
        }
    }
}
