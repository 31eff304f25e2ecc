//! Putting right what is held while it is read from: after a gap in the log, and after a failover that lost commits.
//!
//! Owns: the second half of closing a gap, which is to delete what is held and the source has no more ([`Closing::sweep`]; the
//! first half, reading every table over what is there, is [`crate::backfill`]'s), and keys that are read again one by one
//! ([`Closing::mend`]). Does not own: which views have a gap ([`crate::state`]), or what of a chunk is true where its mark comes by
//! ([`crate::landing`]).
//!
//! Keys are taken from what is held, page by page, and asked for at the source: a range would not do, for the order of keys is
//! the source's own (collations). Nothing is deleted that the source was not asked for by its key at a known place of the log.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use headwater_model::{
    ChunkRange, Error, Key, Offset, Param, Result, Store, TableId, TableName, View, read_key,
};
use tracing::{info, warn};

use crate::board::Board;
use crate::chunks::{Chunks, MARK_WITHIN};
use crate::derive::{HeldKeys, Tables};
use crate::landing::{Outcome, Purpose, Seen};
use crate::retry::Backoff;
use crate::state::Consumer;
use crate::watch;

/// Keys that are asked for at once.
const KEYS_AT_ONCE: usize = 1000;

/// A store that is behind is looked at again this often.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(crate) struct Closing {
    pub chunks: Arc<Chunks>,
    pub board: Arc<Board>,
    pub stores: BTreeMap<Box<str>, Arc<dyn Store>>,
    /// The views that are made row by row, and how their keys read.
    pub flat: BTreeMap<Box<str>, (Arc<View>, Vec<Param>)>,
    pub mirror: Option<MirrorAt>,
}

/// The rows that the other views are made from.
pub(crate) struct MirrorAt {
    pub path: PathBuf,
    pub views: Vec<Arc<View>>,
    pub tables: Arc<Tables>,
    pub upto: watch::Receiver<Offset>,
}

/// How a sweep ended.
pub(crate) struct Swept {
    /// Deletions lie in the journal up to here.
    pub offset: Offset,
    /// Consumers whose store went away before it was looked through.
    pub left_out: Vec<Consumer>,
}

impl Closing {
    /// Deletes what stores hold of a table and the source does not, on behalf of `consumers`, and what the `mirror` does. To be
    /// called when every row of the source has landed.
    pub async fn sweep(
        &self,
        table: &TableName,
        id: TableId,
        mirror: bool,
        consumers: &[Consumer],
    ) -> Result<Swept> {
        let begun = self.chunks.journal.durable();
        let mut swept = Swept { offset: begun, left_out: Vec::new() };
        let mut deleted = 0;
        if let Some(mirror) = self.mirror.as_ref().filter(|_| mirror) {
            let closed = |_| Error::transient("documents are not derived any more");
            mirror.upto.clone().wait_for(|upto| *upto >= begun).await.map_err(closed)?;
            let mut held = HeldKeys::open(&mirror.path, &mirror.views, &mirror.tables)?;
            let mut after = Vec::new();
            while let Some((keys, next)) = held.page(table, &after, KEYS_AT_ONCE)? {
                deleted += self.delete_absent(table, id, keys, &mut swept.offset).await?;
                after = next;
            }
        }
        for consumer in consumers {
            let Some((view, params)) = self.flat.get(&consumer.view) else { continue };
            let Some(store) = self.stores.get(&consumer.store).filter(|_| view.from == *table) else {
                continue;
            };
            if !self.arrives(&consumer.store, begun).await {
                swept.left_out.push(consumer.clone());
                continue;
            }
            let mut cursor = None;
            let mut backoff = Backoff::new();
            loop {
                let (texts, next) = match store.keys(view, cursor.clone(), KEYS_AT_ONCE).await {
                    Ok(page) => page,
                    Err(error) if self.is_connected(&consumer.store) => {
                        warn!(store = %consumer.store, %error, "the store's keys are read again");
                        backoff.pause().await;
                        continue;
                    }
                    Err(_) => {
                        swept.left_out.push(consumer.clone());
                        break;
                    }
                };
                let read: Vec<Option<Key>> = texts.iter().map(|text| read_key(params, text)).collect();
                if let Some(place) = read.iter().position(Option::is_none) {
                    let (store, view) = (&consumer.store, &consumer.view);
                    warn!(%store, %view, key = texts[place], "what lies there is no key of the view and is left alone");
                }
                let keys = read.into_iter().flatten().collect();
                deleted += self.delete_absent(table, id, keys, &mut swept.offset).await?;
                match next {
                    Some(next) => cursor = Some(next),
                    None => break,
                }
            }
        }
        info!(%table, deleted, "what the source no longer has is deleted");
        Ok(swept)
    }

    /// Reads keys again and puts them right, whatever is held of them: the offset at which the last landed.
    pub async fn mend(&self, table: &TableName, id: TableId, keys: &[Key]) -> Result<Offset> {
        let mut offset = Offset::ZERO;
        for keys in keys.chunks(KEYS_AT_ONCE) {
            offset = offset.max(self.mend_page(table, id, keys.to_vec()).await?);
        }
        Ok(offset)
    }

    async fn delete_absent(
        &self,
        table: &TableName,
        id: TableId,
        keys: Vec<Key>,
        offset: &mut Offset,
    ) -> Result<usize> {
        if keys.is_empty() {
            return Ok(0);
        }
        let absent = self.look(table, id, keys).await?.absent;
        if !absent.is_empty() {
            *offset = self.mend(table, id, &absent).await?.max(*offset);
        }
        Ok(absent.len())
    }

    async fn look(&self, table: &TableName, id: TableId, keys: Vec<Key>) -> Result<Seen> {
        let mut backoff = Backoff::new();
        loop {
            let purpose = Purpose::Look { asked: keys.clone() };
            let chunk = self.chunks.start(&by_keys(table, keys.clone()), id, purpose).await?;
            if let Ok(Ok(Outcome::Seen(seen))) = tokio::time::timeout(MARK_WITHIN, chunk.outcome).await {
                return Ok(seen);
            }
            backoff.pause().await;
        }
    }

    async fn mend_page(&self, table: &TableName, id: TableId, mut keys: Vec<Key>) -> Result<Offset> {
        let mut offset = Offset::ZERO;
        let mut backoff = Backoff::new();
        loop {
            let purpose = Purpose::Mend { asked: keys.clone() };
            let chunk = self.chunks.start(&by_keys(table, keys.clone()), id, purpose).await?;
            if let Ok(Ok(Outcome::Landed(landed))) = tokio::time::timeout(MARK_WITHIN, chunk.outcome).await {
                offset = offset.max(landed.offset);
                if landed.reread.is_empty() {
                    return Ok(offset);
                }
                keys = landed.reread;
            }
            backoff.pause().await;
        }
    }

    /// Waits until a store has applied everything up to `offset`; false if it goes away before.
    async fn arrives(&self, store: &str, offset: Offset) -> bool {
        while self.board.offset(store) < offset {
            if !self.is_connected(store) {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.is_connected(store)
    }

    fn is_connected(&self, store: &str) -> bool {
        self.board.progress(store).borrow().connected
    }
}

fn by_keys(table: &TableName, keys: Vec<Key>) -> ChunkRange {
    ChunkRange { table: table.clone(), after: None, limit: keys.len(), bytes_max: usize::MAX, keys }
}
