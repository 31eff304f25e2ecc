//! One change per document and transaction.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use headwater_model::{Key, Value, View, ViewChange};

/// Up to this many changes, comparing each with each is cheaper than hashing.
const FEW: usize = 8;

/// Reduces `changes[from..]`, one transaction's changes in order, to what they amount to: every `Clear` first, then
/// at most one change per document.
///
/// The last write wins; fields that a later put leaves `Unchanged` are taken from the earlier one; a put after a
/// delete keeps nothing of what was there before. Documents that take part in a move (`moved_from`) keep their changes in
/// order, because a chain of moves, such as two documents that swap keys, is no longer the same when shortened.
pub fn collapse(changes: &mut Vec<ViewChange>, from: usize) {
    if changes.len().saturating_sub(from) < 2 {
        return;
    }
    apply_clears(changes, from);
    let first = from + changes[from..].iter().take_while(|c| matches!(c, ViewChange::Clear { .. })).count();
    let fixed = moved_keys(&changes[first..]);
    let mut index =
        if changes.len() - first <= FEW { Index::Few } else { Index::Many(HashMap::default(), Vec::new()) };
    let tail: Vec<ViewChange> = changes.drain(first..).collect();
    for change in tail {
        let Some((view, key)) = subject(&change) else { continue };
        if fixed.iter().any(|(v, k)| Arc::ptr_eq(v, view) && k == key) {
            // Places in the index are places among all changes, so these take one too; they are never looked up.
            index.skip();
            changes.push(change);
            continue;
        }
        match index.place(view, key, &changes[first..]) {
            Some(place) => merge(&mut changes[first + place], change),
            None => changes.push(change),
        }
    }
}

fn subject(change: &ViewChange) -> Option<(&Arc<View>, &Key)> {
    match change {
        ViewChange::Put { view, key, .. } | ViewChange::Delete { view, key } => Some((view, key)),
        ViewChange::Clear { .. } => None,
    }
}

/// Drops what a later `Clear` of the same view wipes, and puts the clears first, one per view.
fn apply_clears(changes: &mut Vec<ViewChange>, from: usize) {
    let mut cleared: Vec<Arc<View>> = Vec::new();
    if !changes[from..].iter().any(|c| matches!(c, ViewChange::Clear { .. })) {
        return;
    }
    let mut kept = Vec::new();
    for change in changes.drain(from..).rev() {
        let (ViewChange::Put { view, .. } | ViewChange::Delete { view, .. } | ViewChange::Clear { view }) =
            &change;
        if cleared.iter().any(|c| Arc::ptr_eq(c, view)) {
            continue;
        }
        if matches!(change, ViewChange::Clear { .. }) {
            cleared.push(view.clone());
        } else {
            kept.push(change);
        }
    }
    changes.extend(cleared.into_iter().map(|view| ViewChange::Clear { view }));
    changes.extend(kept.into_iter().rev());
}

/// Both ends of every move. Moves with cells missing are rare: a list will do.
fn moved_keys(changes: &[ViewChange]) -> Vec<(Arc<View>, Key)> {
    let mut keys = Vec::new();
    for change in changes {
        if let ViewChange::Put { view, key, moved_from: Some(old), .. } = change {
            keys.push((view.clone(), key.clone()));
            keys.push((view.clone(), old.clone()));
        }
    }
    keys
}

fn merge(earlier: &mut ViewChange, later: ViewChange) {
    if let ViewChange::Put { view, key, moved_from: None, mut document } = later {
        if document.is_partial() {
            let had = match earlier {
                ViewChange::Put { document: had, .. } => Some(had),
                _ => None,
            };
            for (i, value) in document.values.iter_mut().enumerate() {
                if !value.is_unchanged() {
                    continue;
                }
                // After a delete nothing is there to keep.
                *value = match &had {
                    None => Value::Null,
                    // Found by name: the table's shape may have changed in between.
                    Some(had) => had.get(&document.names[i]).cloned().unwrap_or(Value::Unchanged),
                };
            }
        }
        *earlier = ViewChange::Put { view, key, moved_from: None, document };
    } else {
        *earlier = later;
    }
}

/// Where the change of a document is among those kept so far.
enum Index {
    Few,
    /// By hash: the newest place with that hash; and for each place, the next older one.
    Many(HashMap<u64, u32, BuildHasherDefault<Plain>>, Vec<u32>),
}

const NONE: u32 = u32::MAX;

impl Index {
    /// The place of the document's change among `kept`; if there is none, the caller adds it at the end.
    fn place(&mut self, view: &Arc<View>, key: &Key, kept: &[ViewChange]) -> Option<usize> {
        let is_it =
            |place: usize| matches!(subject(&kept[place]), Some((v, k)) if Arc::ptr_eq(v, view) && k == key);
        match self {
            Index::Few => (0..kept.len()).find(|place| is_it(*place)),
            Index::Many(newest, older) => match newest.entry(hash(view, key)) {
                Entry::Vacant(vacant) => {
                    vacant.insert(older.len() as u32);
                    older.push(NONE);
                    None
                }
                Entry::Occupied(mut occupied) => {
                    let mut place = *occupied.get();
                    while place != NONE {
                        if is_it(place as usize) {
                            return Some(place as usize);
                        }
                        place = older[place as usize];
                    }
                    older.push(occupied.insert(older.len() as u32));
                    None
                }
            },
        }
    }

    fn skip(&mut self) {
        if let Index::Many(_, older) = self {
            older.push(NONE);
        }
    }
}

/// The map's keys are hashes already.
#[derive(Default)]
struct Plain(u64);

impl Hasher for Plain {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn hash(view: &Arc<View>, key: &Key) -> u64 {
    fn mix(hash: u64, word: u64) -> u64 {
        let mixed = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 29)
    }
    let mut hash = mix(0x51_7c_c1_b7, Arc::as_ptr(view) as u64);
    for part in &key.0 {
        match part {
            Value::Int(n) => hash = mix(hash, *n as u64),
            Value::Text(text) => {
                for chunk in text.as_bytes().chunks(8) {
                    let mut word = [0; 8];
                    word[..chunk.len()].copy_from_slice(chunk);
                    hash = mix(hash, u64::from_le_bytes(word));
                }
                hash = mix(hash, text.len() as u64);
            }
            other => {
                for byte in (Key(vec![other.clone()])).to_bytes() {
                    hash = mix(hash, u64::from(byte));
                }
            }
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use headwater_model::{Names, Record, TableName};

    use super::*;

    fn view(name: &str) -> Arc<View> {
        Arc::new(View {
            name: name.into(),
            from: TableName::new(None, name),
            columns: None,
            filter: None,
            embeds: vec![],
            stores: vec![],
            parts: Vec::new(),
            layout: None,
            kind: headwater_model::ViewKind::Document,
            indexes: Vec::new(),
        })
    }

    fn names() -> Names {
        Arc::from(["a".into(), "b".into()])
    }

    fn key(n: i64) -> Key {
        Key(vec![Value::Int(n)])
    }

    fn put(view: &Arc<View>, n: i64, a: Value, b: Value) -> ViewChange {
        ViewChange::Put {
            view: view.clone(),
            key: key(n),
            moved_from: None,
            document: Record { names: names(), values: vec![a, b] },
        }
    }

    fn moved(view: &Arc<View>, from: i64, to: i64) -> ViewChange {
        let document = Record { names: names(), values: vec![Value::Int(0), Value::Unchanged] };
        ViewChange::Put { view: view.clone(), key: key(to), moved_from: Some(key(from)), document }
    }

    fn delete(view: &Arc<View>, n: i64) -> ViewChange {
        ViewChange::Delete { view: view.clone(), key: key(n) }
    }

    fn collapsed(mut changes: Vec<ViewChange>) -> Vec<ViewChange> {
        collapse(&mut changes, 0);
        changes
    }

    /// Runs the same changes between fillers, so that both kinds of index are used.
    fn both_ways(changes: Vec<ViewChange>, expected: Vec<ViewChange>) {
        assert_eq!(collapsed(changes.clone()), expected);
        let filler = view("filler");
        let mut many = changes;
        many.extend((0..20).map(|n| put(&filler, n, Value::Null, Value::Null)));
        let kept: Vec<_> = collapsed(many)
            .into_iter()
            .filter(|c| !matches!(c, ViewChange::Put { view, .. } if Arc::ptr_eq(view, &filler)))
            .collect();
        assert_eq!(kept, expected);
    }

    #[test]
    fn last_write_wins_field_by_field() {
        let v = view("v");
        let int = Value::Int;
        both_ways(
            vec![
                put(&v, 1, int(1), int(2)),
                put(&v, 2, int(0), int(0)),
                put(&v, 1, int(3), Value::Unchanged),
            ],
            vec![put(&v, 1, int(3), int(2)), put(&v, 2, int(0), int(0))],
        );
        both_ways(
            vec![put(&v, 1, Value::Unchanged, int(2)), put(&v, 1, Value::Unchanged, int(3))],
            vec![put(&v, 1, Value::Unchanged, int(3))],
        );
    }

    #[test]
    fn a_put_after_a_delete_keeps_no_old_field() {
        let v = view("v");
        let int = Value::Int;
        both_ways(
            vec![put(&v, 1, int(1), int(2)), delete(&v, 1), put(&v, 1, int(3), Value::Unchanged)],
            vec![put(&v, 1, int(3), Value::Null)],
        );
        both_ways(vec![put(&v, 1, int(1), int(2)), delete(&v, 1)], vec![delete(&v, 1)]);
    }

    #[test]
    fn a_clear_wipes_what_came_before_it() {
        let (v, w) = (view("v"), view("w"));
        let int = Value::Int;
        both_ways(
            vec![
                put(&v, 1, int(1), int(1)),
                put(&w, 1, int(1), int(1)),
                ViewChange::Clear { view: v.clone() },
                delete(&v, 3),
                ViewChange::Clear { view: v.clone() },
                put(&v, 2, int(2), int(2)),
            ],
            vec![
                ViewChange::Clear { view: v.clone() },
                put(&w, 1, int(1), int(1)),
                put(&v, 2, int(2), int(2)),
            ],
        );
    }

    #[test]
    fn documents_that_swap_keys_keep_their_order() {
        let v = view("v");
        let int = Value::Int;
        let moves = vec![moved(&v, 1, 9), moved(&v, 2, 1), moved(&v, 9, 2)];
        let mut changes = moves.clone();
        changes.push(put(&v, 5, int(1), int(1)));
        changes.push(put(&v, 5, int(2), int(2)));
        let mut expected = moves;
        expected.push(put(&v, 5, int(2), int(2)));
        both_ways(changes, expected);
    }

    #[test]
    fn only_the_transaction_itself_is_touched() {
        let v = view("v");
        let mut changes = vec![delete(&v, 1), delete(&v, 1), delete(&v, 1)];
        collapse(&mut changes, 1);
        assert_eq!(changes, [delete(&v, 1), delete(&v, 1)]);
        collapse(&mut changes, 2);
        collapse(&mut changes, 7);
        assert_eq!(changes.len(), 2);
    }
}
