//! Stores without a write over a whole step that is atomic: every row carries who wrote it and as of which offset, and every
//! write is conditional on that. So each key goes forward only, and a step may be written again, in part or whole.
//!
//! The position is written after all rows of its step were acknowledged: a reader sees what the position says, or something
//! newer. [`version`] has the rules and what follows from them.
//!
//! | file | idea |
//! |---|---|
//! | `version` | who wrote a row, as of when |
//! | `owner` | whose store it is |
//! | `row` | what is known of a row, what it is to become |
//! | `step` | what changed, one row per key, until the engine writes it |

mod owner;
mod row;
mod step;
mod version;

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use headwater_model::{Record, Result, View};

use crate::entries::Entry;
pub(crate) use owner::{Owner, SYSTEM, State, ensure_owned};
pub(crate) use row::{Changes, Document, Row, Stored, What};
pub(crate) use step::Step;
pub(crate) use version::{As, Session, Stamp};

/// What an engine has of its own for such rows.
#[async_trait]
pub(crate) trait Engine: Send + Sync + 'static {
    /// A document as the engine holds it.
    type Body: Clone + Default + Send + Sync;

    /// What the store says of itself; `None`: it is empty, or not even there.
    async fn state(&self) -> Result<Option<State>>;

    /// Makes the state `new` if it is still `old`; `false` if it is not.
    async fn change(&self, old: Option<&State>, new: &State) -> Result<bool>;

    /// Those rows that are there, by the text of their key. A deleted document may have left one.
    async fn stored(
        &self,
        view: &View,
        keys: HashSet<String>,
        what: What,
    ) -> Result<HashMap<String, Stored<Self::Body>>>;

    /// A document; fields that are unchanged are taken from `base`.
    fn encode(&self, view: &View, record: &Record, base: Option<&Self::Body>) -> Self::Body;

    /// Bytes of a document as the engine counts them, never fewer.
    fn size(&self, body: &Self::Body) -> usize;

    /// What a row is refused for, if it is.
    fn refuse(&self, key: &str, size: usize, places: &[Entry]) -> Option<String>;

    /// Whether there can be a row under this key.
    fn takes(&self, key: &str) -> bool;

    /// Writes rows of one view: each by itself, unless what is there is newer.
    async fn write(&self, changes: Changes<Self::Body>, session: &Session, at: As) -> Result<()>;
}
