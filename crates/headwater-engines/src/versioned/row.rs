//! What is known of a row, and what it is to become.

use std::collections::HashMap;
use std::sync::Arc;

use headwater_model::{Offset, View};

use super::version::Stamp;
use crate::entries::Entry;

/// How much of rows is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum What {
    /// Whole rows.
    All,
    /// Only what is ours in them.
    Ours,
}

/// What is known of a stored row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stored<B> {
    /// Who wrote it, as it is there, so that it can be compared with, whatever it is.
    pub(crate) seen: Option<String>,
    /// `None` also for what is no stamp: it is not ours.
    pub(crate) write: Option<Stamp>,
    pub(crate) at: Offset,
    pub(crate) is_gone: bool,
    /// Where the document stands in the view's indexes.
    pub(crate) places: Vec<Entry>,
    /// Where it stood before its last write, and perhaps is still found.
    pub(crate) stale: Vec<Entry>,
    pub(crate) body: B,
}

/// Of one view.
pub(crate) struct Changes<B> {
    pub(crate) view: Arc<View>,
    /// All that the store has is to go first.
    pub(crate) cleared: bool,
    pub(crate) rows: HashMap<String, Row<B>>,
}

/// What a key is to have.
pub(crate) struct Row<B> {
    /// `None`: nothing any more.
    pub(crate) document: Option<Document<B>>,
    /// What the store has under the key, where that matters.
    pub(crate) stored: Stored<B>,
    /// The document came from under another key, with fields that only that key's row has: it is written before that row
    /// changes, in this order.
    pub(crate) moved: Option<usize>,
    /// The step has deleted it, and put it again: what the store believes of its places is not relied on.
    pub(crate) again: bool,
}

pub(crate) struct Document<B> {
    pub(crate) body: B,
    pub(crate) places: Vec<Entry>,
}
