//! Documents whose key changes, and with it, most likely, their lane.
//!
//! A change of a row's key may lack the row's large values, which stay as they are: then the document under the new key takes
//! them over from the one under the old. Between lanes the server cannot do that, so we must know them: from what the store
//! has, and from what this very step changed before, which the server shows nobody yet. That is kept here, of views
//! stored as hashes (others are always written whole), as far as the memory for it goes; of the rest it is only known that it
//! was changed.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use headwater_model::{Key, Record, Value, View, ViewChange, ViewId};

/// Documents of one step that are remembered, in bytes.
const BYTES_MAX: usize = 32 << 20;

/// What a step has made of documents so far.
#[derive(Default)]
pub(super) struct Overlay {
    views: HashMap<ViewId, Changed>,
    bytes: usize,
    /// Hashes of view and key of documents that were changed and are not remembered.
    forgotten: HashSet<u64>,
}

#[derive(Default)]
struct Changed {
    cleared: bool,
    /// By key text. `None`: it was removed. A field that is `Unchanged` is as the store has it.
    documents: HashMap<String, Option<Record>>,
}

impl Overlay {
    pub(super) fn note(&mut self, change: &ViewChange) {
        let view = &change.view().name;
        if !self.views.contains_key(view) {
            self.views.insert(view.clone(), Changed::default());
        }
        let Some(changed) = self.views.get_mut(view) else { return };
        match change {
            ViewChange::Put { key, moved_from, document, .. } => {
                let base = moved_from.as_ref().unwrap_or(key);
                let unknown = document.is_partial() && self.forgotten.contains(&place(view, base));
                let put = (!unknown).then(|| changed.over(base, document));
                if let Some(old) = moved_from {
                    self.keep(view, old, Some(None));
                }
                self.keep(view, key, put.map(Some));
            }
            ViewChange::Delete { key, .. } => self.keep(view, key, Some(None)),
            ViewChange::Clear { .. } => *changed = Changed { cleared: true, documents: HashMap::new() },
        }
    }

    /// Remembers what became of a document; `None` if that is not known.
    fn keep(&mut self, view: &ViewId, key: &Key, now: Option<Option<Record>>) {
        let Some(changed) = self.views.get_mut(view) else { return };
        let text = key.to_text();
        let size = text.len() + 64 + now.iter().flatten().map(size).sum::<usize>();
        let room = self.bytes + size <= BYTES_MAX;
        match now {
            Some(now) if room => {
                self.bytes += size;
                self.forgotten.remove(&place(view, key));
                changed.documents.insert(text, now);
            }
            _ => {
                changed.documents.remove(&text);
                self.forgotten.insert(place(view, key));
            }
        }
    }

    /// What is known of the document under a key, once the step has put it there.
    pub(super) fn under(&self, view: &View, key: &Key) -> Option<Record> {
        self.views.get(&view.name)?.documents.get(&key.to_text())?.clone()
    }

    /// The document under a key is known to be this.
    pub(super) fn known(&mut self, view: &View, key: &Key, record: Record) {
        self.keep(&view.name, key, Some(Some(record)));
    }
}

impl Changed {
    /// The document once it is put over the one under `base`.
    fn over(&self, base: &Key, record: &Record) -> Record {
        let mut put = record.clone();
        if !record.is_partial() {
            return put;
        }
        let stored = match self.documents.get(&base.to_text()) {
            Some(stored) => stored.as_ref(),
            None if !self.cleared => return put,
            None => None,
        };
        // Of a document that is not there nothing can stay.
        for (name, value) in put.names.iter().zip(&mut put.values) {
            if value.is_unchanged() {
                *value = stored.and_then(|stored| stored.get(name)).cloned().unwrap_or(Value::Null);
            }
        }
        put
    }
}

fn place(view: &ViewId, key: &Key) -> u64 {
    let mut hasher = DefaultHasher::new();
    (view, key.to_text()).hash(&mut hasher);
    hasher.finish()
}

/// About how much memory a document keeps from being freed.
fn size(record: &Record) -> usize {
    let text = |value: &Value| match value {
        Value::Text(text) | Value::Decimal(text) | Value::Json(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => 64 * items.len(),
        _ => 0,
    };
    record.values.iter().map(|value| 32 + text(value)).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use headwater_model::{Layout, TableName, ViewKind};

    use super::*;

    fn view() -> Arc<View> {
        Arc::new(View {
            name: "v".into(),
            from: TableName::new(None, "t"),
            columns: None,
            filter: None,
            embeds: Vec::new(),
            stores: Vec::new(),
            parts: Vec::new(),
            layout: Some(Layout::Hash),
            kind: ViewKind::Document,
            indexes: Vec::new(),
        })
    }

    fn record(a: Value, b: Value) -> Record {
        Record { names: vec!["a".into(), "b".into()].into(), values: vec![a, b] }
    }

    fn key(id: i64) -> Key {
        Key(vec![Value::Int(id)])
    }

    fn put(id: i64, from: Option<i64>, a: Value, b: Value) -> ViewChange {
        ViewChange::Put { view: view(), key: key(id), moved_from: from.map(key), document: record(a, b) }
    }

    fn known(overlay: &Overlay, id: i64) -> Option<Record> {
        overlay.under(&view(), &key(id))
    }

    #[test]
    fn a_document_is_what_the_step_made_of_it() {
        let mut overlay = Overlay::default();
        overlay.note(&put(1, None, Value::Int(1), Value::Unchanged));
        overlay.note(&put(2, Some(1), Value::Unchanged, Value::Unchanged));
        assert_eq!(known(&overlay, 1), None);
        assert_eq!(known(&overlay, 2), Some(record(Value::Int(1), Value::Unchanged)));
        overlay.note(&put(2, None, Value::Unchanged, Value::Int(5)));
        overlay.note(&put(3, Some(2), Value::Int(7), Value::Unchanged));
        assert_eq!(known(&overlay, 3), Some(record(Value::Int(7), Value::Int(5))));
        // Of a document that is not there nothing stays.
        overlay.note(&ViewChange::Delete { view: view(), key: key(3) });
        overlay.note(&put(3, None, Value::Int(8), Value::Unchanged));
        assert_eq!(known(&overlay, 3), Some(record(Value::Int(8), Value::Null)));
        overlay.note(&ViewChange::Clear { view: view() });
        overlay.note(&put(4, Some(9), Value::Int(9), Value::Unchanged));
        assert_eq!(known(&overlay, 4), Some(record(Value::Int(9), Value::Null)));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_not_is_known_not_to_be() {
        let mut overlay = Overlay::default();
        let long = Value::text("x".repeat(1 << 20));
        (0..40).for_each(|id| overlay.note(&put(id, None, long.clone(), Value::Null)));
        assert!(overlay.bytes <= BYTES_MAX && known(&overlay, 39).is_none() && known(&overlay, 0).is_some());
        // What came of it is not known either; a document that nobody changed is as the store has it.
        overlay.note(&put(50, Some(39), Value::Int(1), Value::Unchanged));
        assert_eq!(known(&overlay, 50), None);
        overlay.note(&put(51, Some(60), Value::Int(1), Value::Unchanged));
        assert_eq!(known(&overlay, 51), Some(record(Value::Int(1), Value::Unchanged)));
    }
}
