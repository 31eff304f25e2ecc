//! The seam to an engine that holds views.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    Answer, AnswerMoment, Epoch, Error, ErrorKind, IndexPlace, Key, Offset, Position, Read, Record, Result,
    Risk, Traffic, View, ViewId,
};

/// What a store shows of a source transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Promise {
    /// All of it at once, together with the position.
    Transaction,
    /// Each key goes forward only; different keys of one transaction may appear one after the other.
    Key,
}

#[derive(Clone, Debug)]
pub struct StoreFacts {
    /// Product and version, for people: `Redis 7.0.15`.
    pub server: String,
    pub promise: Promise,
    /// Whether a document with [`crate::Value::Unchanged`] fields can be put: the store keeps what it has for these.
    /// Asked per layout of a view.
    pub partial_hash: bool,
    pub partial_json: bool,
    /// Longest key and largest document the store takes, in bytes.
    pub key_bytes_max: usize,
    pub document_bytes_max: usize,
    /// What may hurt this store or what it holds (eviction, no persistence, a read-only replica), with the exact remedy.
    pub risks: Vec<Risk>,
}

/// How far a store is, as the store itself holds it: written in the same atomic step as the data where the
/// promise is [`Promise::Transaction`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub epoch: Epoch,
    pub offset: Offset,
    /// Of the newest source transaction applied; `None` before the first.
    pub position: Option<Position>,
    /// Commit time of that transaction, microseconds since 1970-01-01T00:00:00Z by the source's clock.
    pub committed_at: i64,
}

impl Held {
    /// Refuses an owner of an older epoch than the store's: [`ErrorKind::Fenced`].
    pub fn fence(&self, epoch: Epoch) -> Result<()> {
        let owner = self.epoch;
        if owner <= epoch {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Fenced,
            format!("the store belongs to epoch {owner}, not to epoch {epoch}"),
        ))
    }

    /// Refuses a step of `epoch` behind `after` in a store that is another's, or stands elsewhere: [`ErrorKind::Fenced`] or
    /// [`ErrorKind::OutOfStep`].
    pub fn admit(&self, epoch: Epoch, after: Offset) -> Result<()> {
        self.fence(epoch)?;
        let (owner, offset) = (self.epoch, self.offset);
        if owner != epoch {
            return Err(Error::out_of_step(format!(
                "the store belongs to epoch {owner}, epoch {epoch} has not claimed it"
            )));
        }
        if offset != after {
            return Err(Error::out_of_step(format!("the store holds offset {offset}, not {after}")));
        }
        Ok(())
    }

    /// Why a step of `epoch` that was open can no longer be written to a store that holds this: it is another's, or was claimed again.
    pub fn lost_to(&self, epoch: Epoch) -> Error {
        let again = || Error::out_of_step("the store was claimed again meanwhile");
        self.admit(epoch, self.offset).err().unwrap_or_else(again)
    }
}

/// One change of a view. Changes take effect in the order given. A transaction that fits in memory has each key at most
/// once, except those that take part in moves, and any `Clear` first.
#[derive(Clone, Debug, PartialEq)]
pub enum ViewChange {
    /// The document is now exactly this; fields that are [`crate::Value::Unchanged`] stay as the store holds them,
    /// under `moved_from` if that is given (a changed key: the old key's document goes away). The store moves the
    /// document in the view's indexes itself ([`crate::Index::place_over`]), from what it remembers of it.
    Put {
        view: Arc<View>,
        key: Key,
        moved_from: Option<Key>,
        document: Record,
    },
    Delete {
        view: Arc<View>,
        key: Key,
    },
    /// The view is now empty, and so are all indexes it has or ever had.
    Clear {
        view: Arc<View>,
    },
}

impl ViewChange {
    pub fn view(&self) -> &Arc<View> {
        match self {
            ViewChange::Put { view, .. } | ViewChange::Delete { view, .. } | ViewChange::Clear { view } => {
                view
            }
        }
    }
}

/// What a store would not take: the row is quarantined, the rest goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub view: ViewId,
    pub key: String,
    pub reason: String,
}

/// What one view has used of an engine that is paid by the request, in the engine's own units.
#[derive(Clone, Debug, PartialEq)]
pub struct Consumed {
    pub view: ViewId,
    pub read_units: f64,
    pub write_units: f64,
    /// Of each of its tables that was used.
    pub tables: Vec<Traffic>,
}

/// A stored document as it lies in the store, for verification and for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// [`Key::to_text`].
    pub key: String,
    pub body: StoredBody,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredBody {
    /// Shared, so that a store which holds its documents as text hands them out without a copy.
    Json(Arc<str>),
    /// Fields sorted by name; a field that is NULL in the source is not there.
    Fields(Vec<(String, Vec<u8>)>),
}

/// A document's entry in an index of its view.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexEntry {
    /// Which of [`View::indexes`].
    pub index: u16,
    pub place: IndexPlace,
    /// [`Key::to_text`].
    pub key: Box<str>,
}

/// What lies in an index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listed {
    Entry(IndexEntry),
    /// What can be no document's entry, wherever that stood: in the store's own words, for [`Apply::unplace`].
    Foreign(Box<[u8]>),
}

/// Where a document should stand in the indexes of its view, and nowhere else; and where it perhaps stands all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// [`Key::to_text`].
    pub key: Box<str>,
    pub should: Vec<IndexEntry>,
    pub should_not: Vec<IndexEntry>,
}

/// What is not as a [`Standing`] says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Astray {
    /// Of [`Standing::should`]: those that the index lacks, by number.
    pub lacks: Vec<usize>,
    /// Of [`Standing::should_not`]: those that the index has.
    pub strays: Vec<usize>,
    /// The store remembers other places of the document than it should: from there it takes away what is not there, and leaves
    /// what is.
    pub misremembers: bool,
}

/// An engine that holds views. One value serves one store of the file; methods may be called concurrently, but only
/// one [`Apply`] is open at a time.
#[async_trait]
pub trait Store: Send + Sync {
    /// Connects and looks. Reads only.
    async fn inspect(&self) -> Result<StoreFacts>;

    /// Takes the store over: from now on every write of a lower epoch is refused. Returns what the store held before;
    /// `None` for an empty store, in which case it now holds offset 0 of this epoch. `Fenced` if the store already knows
    /// a higher epoch.
    async fn claim(&self, epoch: Epoch) -> Result<Option<Held>>;

    /// Makes room for a view and its indexes: tables, key space. Idempotent; keeps data. A view whose indexes changed is
    /// cleared and filled again before they are asked: until then they lack what was there before.
    async fn prepare(&self, view: &View) -> Result<()>;

    /// What the store holds now, read from the store; `None` if it is empty.
    async fn held(&self) -> Result<Option<Held>>;

    /// Opens the next atomic step. `Fenced` if a higher epoch took over; `OutOfStep` if the store is empty or does not
    /// hold `after` (it was flushed, or restored from an older copy): the caller then asks [`Store::held`] and heals.
    async fn begin(&self, epoch: Epoch, after: Offset) -> Result<Box<dyn Apply>>;

    /// An access pattern with its values, answered at one moment of the store: documents and position belong together.
    /// `OutOfStep` if the store is empty: what it lacks is not known to be absent. `Unsupported` if the store cannot answer
    /// this.
    async fn answer(&self, read: &Read) -> Result<Answer>;

    /// Up to `limit` documents after the cursor a former call returned (`None`: from the start), in an order of the
    /// store's own, and the next cursor; `None` at the end. With no writes going on, nor just ended, each document comes
    /// exactly once.
    async fn scan(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Stored>, Option<String>)>;

    /// As [`Store::scan`], but only the keys ([`Key::to_text`]): what lies under them is not read.
    async fn keys(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<String>, Option<String>)>;

    /// As [`Store::scan`], but what lies in the view's indexes, whether the documents know of it or not: about `limit` of it. A store
    /// that believes an entry only where the document remembers it lists nothing: there no stray changes an answer.
    async fn entries(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Listed>, Option<String>)>;

    /// Whether documents stand where they should in the indexes of their view, at one moment; one answer for each that is asked.
    /// `OutOfStep` if the store is empty.
    async fn astray(&self, view: &View, asked: &[Standing]) -> Result<(AnswerMoment, Vec<Astray>)>;

    /// How many documents the view has; may be an estimate while writes go on.
    async fn rows(&self, view: &View) -> Result<u64>;

    /// What each view has consumed since the store was opened, as the engine counted it. Asks nobody; empty where use is not
    /// what is paid for.
    fn consumed(&self) -> Vec<Consumed>;
}

/// One atomic step: changes of whole transactions, then the position. Dropped without `commit`, it leaves nothing.
#[async_trait]
pub trait Apply: Send {
    /// Adds changes in order. May be called often for one step that is larger than memory: a store with
    /// [`Promise::Transaction`] holds them back from readers until `commit`.
    async fn write(&mut self, changes: Vec<ViewChange>) -> Result<Vec<Refusal>>;

    /// Takes entries out of the view's indexes, whatever the documents remember, before what is written next. For documents that
    /// this step has deleted, and that nothing of it has put since.
    async fn unplace(&mut self, view: &Arc<View>, strays: &[Listed]) -> Result<()>;

    /// Makes data and position visible and as durable as the engine is configured to be. An error may mean that it took
    /// effect (a lost reply): the caller asks [`Store::held`] before it tries again; a replay changes nothing.
    async fn commit(self: Box<Self>, held: &Held) -> Result<()>;
}
