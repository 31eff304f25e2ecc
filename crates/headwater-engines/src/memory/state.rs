//! What the store holds: views, their documents and indexes, the position, and how many bytes that is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use headwater_model::{Held, ViewId};
use smol_str::SmolStr;

use crate::entries::{self, Entry};

/// What a document costs beside its text and its key: its place in the table and in the order, two shared headers.
const DOCUMENT_BYTES: u64 = 128;

/// What an entry of an index costs beside its bytes.
const ENTRY_BYTES: u64 = 96;

#[derive(Default)]
pub(super) struct State {
    pub(super) held: Option<Held>,
    pub(super) views: HashMap<ViewId, Documents, RandomState>,
}

/// The documents of a view by key text.
#[derive(Default)]
pub(super) struct Documents {
    /// A hash table, because a document by its key is what is asked most. Keys of up to 23 bytes lie in the table itself:
    /// comparing them touches no other memory, and what a read costs is mostly memory that no cache holds.
    pub(super) by_key: HashMap<SmolStr, Document, RandomState>,
    /// The same keys in order, so that a scan can go on from any of them.
    pub(super) order: BTreeSet<SmolStr>,
    /// By the number of the index: the bytes of an entry, and the key of its document.
    pub(super) indexes: Vec<BTreeMap<Arc<[u8]>, SmolStr>>,
    pub(super) bytes: u64,
}

pub(super) struct Document {
    pub(super) json: Arc<str>,
    pub(super) entries: Box<[Entry]>,
}

impl State {
    pub(super) fn bytes(&self) -> u64 {
        self.views.values().map(|documents| documents.bytes).sum()
    }

    /// The documents of a view; made when the first change arrives, prepared or not.
    pub(super) fn documents(&mut self, view: &ViewId) -> &mut Documents {
        // The name is copied only for a view that is new.
        if !self.views.contains_key(view) {
            self.views.insert(view.clone(), Documents::default());
        }
        self.views.get_mut(view).unwrap_or_else(|| unreachable!("it was put there above"))
    }
}

impl Documents {
    pub(super) fn put(&mut self, key: &SmolStr, json: Arc<str>, entries: Vec<Entry>) {
        self.bytes += cost(key, json.len(), &entries);
        let (key, old) = match self.by_key.get_key_value(key) {
            Some((key, stored)) => {
                self.bytes -= cost(key, stored.json.len(), &stored.entries);
                (key.clone(), &*stored.entries)
            }
            None => {
                self.order.insert(key.clone());
                (key.clone(), &[][..])
            }
        };
        for entry in entries::without(old, &entries) {
            remove_entry(&mut self.indexes, entry);
        }
        for entry in entries::without(&entries, old) {
            let index = usize::from(entry.index);
            if self.indexes.len() <= index {
                self.indexes.resize_with(index + 1, BTreeMap::new);
            }
            self.indexes[index].insert(Arc::clone(&entry.bytes), key.clone());
        }
        self.by_key.insert(key, Document { json, entries: entries.into() });
    }

    pub(super) fn remove(&mut self, key: &str) {
        let Some(stored) = self.by_key.remove(key) else { return };
        self.order.remove(key);
        self.bytes -= cost(key, stored.json.len(), &stored.entries);
        for entry in &stored.entries {
            remove_entry(&mut self.indexes, entry);
        }
    }

    /// Takes entries out of the indexes, and out of nothing else.
    pub(super) fn unplace(&mut self, entries: &[Entry]) {
        entries.iter().for_each(|entry| remove_entry(&mut self.indexes, entry));
    }

    pub(super) fn clear(&mut self) {
        *self = Documents::default();
    }
}

fn remove_entry(indexes: &mut [BTreeMap<Arc<[u8]>, SmolStr>], entry: &Entry) {
    if let Some(index) = indexes.get_mut(usize::from(entry.index)) {
        index.remove(&*entry.bytes);
    }
}

pub(super) fn cost(key: &str, document_bytes: usize, entries: &[Entry]) -> u64 {
    let entries: u64 = entries.iter().map(|entry| entry.bytes.len() as u64 + ENTRY_BYTES).sum();
    (key.len() + document_bytes) as u64 + DOCUMENT_BYTES + entries
}
