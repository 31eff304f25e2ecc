//! What the store holds: views, their documents, the position, and how many bytes that is.

use std::collections::{BTreeMap, HashMap};

use headwater_model::{Held, ViewId};

/// What a document costs beside its text and its key: two boxes and its share of a map node.
const ENTRY_BYTES: u64 = 64;

#[derive(Default)]
pub(super) struct State {
    pub(super) held: Option<Held>,
    pub(super) views: HashMap<ViewId, Documents>,
}

/// The documents of a view by key text. Ordered, so that a scan can go on from any key.
#[derive(Default)]
pub(super) struct Documents {
    pub(super) by_key: BTreeMap<Box<str>, Box<str>>,
    pub(super) bytes: u64,
}

impl State {
    pub(super) fn bytes(&self) -> u64 {
        self.views.values().map(|documents| documents.bytes).sum()
    }

    /// The documents of a view; made when the first change arrives, prepared or not.
    pub(super) fn documents(&mut self, view: &ViewId) -> &mut Documents {
        self.views.entry(view.clone()).or_default()
    }
}

impl Documents {
    pub(super) fn put(&mut self, key: &str, document: Box<str>) {
        let added = cost(key, document.len());
        match self.by_key.get_mut(key) {
            Some(stored) => {
                self.bytes -= cost(key, stored.len());
                *stored = document;
            }
            None => {
                self.by_key.insert(key.into(), document);
            }
        }
        self.bytes += added;
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<Box<str>> {
        let stored = self.by_key.remove(key)?;
        self.bytes -= cost(key, stored.len());
        Some(stored)
    }

    pub(super) fn clear(&mut self) {
        self.by_key.clear();
        self.bytes = 0;
    }
}

pub(super) fn cost(key: &str, document_bytes: usize) -> u64 {
    (key.len() + document_bytes) as u64 + ENTRY_BYTES
}
