//! The changes of one view, folded to at most one per key, so that a set of rows can be written by one statement.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use headwater_model::{Key, Record, Value};

#[derive(Default)]
pub(crate) struct Fold {
    changes: Vec<Folded>,
    /// Where the change of a key's text is.
    places: HashMap<String, usize>,
}

pub(crate) struct Folded {
    /// [`Key::to_text`].
    pub text: String,
    pub key: Key,
    /// `None`: the document goes away. Fields that are unchanged stay as they are in the store.
    pub document: Option<Record>,
}

impl Fold {
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub fn take(&mut self) -> Vec<Folded> {
        self.places.clear();
        std::mem::take(&mut self.changes)
    }

    pub fn clear(&mut self) {
        self.places.clear();
        self.changes.clear();
    }

    pub fn delete(&mut self, text: String, key: Key) {
        self.set(text, key, None);
    }

    pub fn put(&mut self, text: String, key: Key, document: Record) {
        let document = match self.places.get(&text) {
            Some(place) if document.is_partial() => over(document, self.changes[*place].document.as_ref()),
            _ => document,
        };
        self.set(text, key, Some(document));
    }

    fn set(&mut self, text: String, key: Key, document: Option<Record>) {
        match self.places.entry(text) {
            Entry::Occupied(place) => self.changes[*place.get()].document = document,
            Entry::Vacant(place) => {
                let text = place.key().clone();
                place.insert(self.changes.len());
                self.changes.push(Folded { text, key, document });
            }
        }
    }
}

/// A partial document over the one before it; fields that nothing holds are left out.
fn over(document: Record, before: Option<&Record>) -> Record {
    let mut names = Vec::with_capacity(document.values.len());
    let mut values = Vec::with_capacity(document.values.len());
    for (name, value) in document.names.iter().zip(document.values) {
        let value = match (&value, before.and_then(|before| before.get(name))) {
            (Value::Unchanged, Some(kept)) => kept.clone(),
            (Value::Unchanged, None) => continue,
            _ => value,
        };
        names.push(name.clone());
        values.push(value);
    }
    Record { names: names.into(), values }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(fields: &[(&str, Value)]) -> Record {
        Record {
            names: fields.iter().map(|(name, _)| Box::from(*name)).collect(),
            values: fields.iter().map(|(_, value)| value.clone()).collect(),
        }
    }

    #[test]
    fn of_the_changes_of_a_key_the_last_one_stays_over_what_it_leaves() {
        let key = |n: i64| Key(vec![Value::Int(n)]);
        let mut fold = Fold::default();
        let whole = record(&[("a", Value::Int(1)), ("b", Value::text("x"))]);
        let part = record(&[("a", Value::Int(2)), ("b", Value::Unchanged)]);
        fold.put("1".into(), key(1), whole.clone());
        fold.put("2".into(), key(2), part.clone());
        fold.put("1".into(), key(1), part.clone());
        fold.delete("3".into(), key(3));
        fold.put("3".into(), key(3), part.clone());
        fold.put("4".into(), key(4), whole);
        fold.delete("4".into(), key(4));
        fold.put("2".into(), key(2), record(&[("a", Value::Unchanged), ("b", Value::Null)]));
        let folded: Vec<_> = fold.take().into_iter().map(|f| (f.text, f.document)).collect();
        assert_eq!(
            folded,
            [
                ("1".into(), Some(record(&[("a", Value::Int(2)), ("b", Value::text("x"))]))),
                ("2".into(), Some(record(&[("a", Value::Int(2)), ("b", Value::Null)]))),
                ("3".into(), Some(record(&[("a", Value::Int(2))]))),
                ("4".into(), None),
            ]
        );
        assert!(fold.is_empty());
    }
}
