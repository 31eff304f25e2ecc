#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_model::{
    Column, ColumnType, Epoch, Field, FieldShape, Hold, Key, Offset, Record, Refusal, StoredBody, Table,
    TableName, Value, View, ViewChange, ViewKind,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Keeper, Keepers, Offer, Part, PartFilter};

const EPOCH: Epoch = Epoch(3);

/// A part, and what its applier does: the store is what the changes make of it.
struct Cache {
    part: Arc<Part>,
    view: Arc<View>,
    keepers: Keepers,
    store: BTreeMap<String, i64>,
}

impl Cache {
    fn new(hold: u64, ttl: Option<Duration>, filter: Option<&str>) -> Cache {
        let declared = headwater_model::Part {
            store: "near".into(),
            hold: Hold::Documents(hold),
            ttl,
            filter: filter.map(Into::into),
        };
        let view = Arc::new(View {
            name: "book".into(),
            from: TableName::new(None, "books"),
            kind: ViewKind::Document,
            columns: None,
            filter: None,
            embeds: Vec::new(),
            stores: vec!["far".into()],
            parts: vec![declared],
            layout: None,
            indexes: Vec::new(),
        });
        let column = |name: &str| Column { name: name.into(), kind: ColumnType::Int };
        let columns = vec![column("id"), column("version")];
        let table = Table { id: 1, version: 0, name: view.from.clone(), columns, key: vec![0] };
        let filter = filter.map(|text| PartFilter::new(&view, text, &table).unwrap());
        let part = Part::all(&[Arc::clone(&view)]).remove(0);
        let mut keepers = Keepers(vec![Keeper::new(Arc::clone(&part), filter)]);
        keepers.begin(EPOCH, Offset(10));
        Cache { part, view, keepers, store: BTreeMap::new() }
    }

    fn put(&self, id: i64, version: Value) -> ViewChange {
        let document = Record {
            names: vec!["id".into(), "version".into()].into(),
            values: vec![Value::Int(id), version],
        };
        ViewChange::Put { view: Arc::clone(&self.view), key: key(id), moved_from: None, document }
    }

    fn delete(&self, id: i64) -> ViewChange {
        ViewChange::Delete { view: Arc::clone(&self.view), key: key(id) }
    }

    /// A step of these changes that ends at `at`.
    fn step(&mut self, changes: Vec<ViewChange>, at: u64) {
        let kept = self.keepers.keep(changes);
        self.apply(kept);
        self.keepers.close(Offset(at));
        let taken = self.keepers.take(Offset(at));
        self.apply(taken);
    }

    fn apply(&mut self, changes: Vec<ViewChange>) {
        for change in changes {
            match change {
                ViewChange::Put { key, moved_from, document, .. } => {
                    assert!(moved_from.is_none() && !document.is_partial());
                    let version = document.get("version").unwrap().to_text().parse().unwrap();
                    self.store.insert(key.to_text(), version);
                }
                ViewChange::Delete { key, .. } => {
                    self.store.remove(&key.to_text());
                }
                ViewChange::Clear { .. } => self.store.clear(),
            }
        }
    }

    /// A reader loaded the document from a store that was between these offsets.
    fn offer(&self, id: i64, version: i64, from: u64, upto: u64) {
        let shape = FieldShape::Value { kind: ColumnType::Int, type_name: "bigint".into() };
        let field = |name: &str| Field { name: name.into(), nullable: false, shape: shape.clone() };
        self.part.offer(Offer {
            key: key(id),
            body: StoredBody::Json(format!("{{\"id\":{id},\"version\":{version}}}").into()),
            fields: [field("id"), field("version")].into(),
            from: Offset(from),
            upto: Offset(upto),
            epoch: EPOCH,
        });
    }

    fn held(&self, id: i64) -> Option<i64> {
        let held = self.store.get(&id.to_string()).copied();
        assert_eq!(held.is_some(), self.part.directory.entry(&id.to_string()).is_some());
        held
    }
}

fn key(id: i64) -> Key {
    Key(vec![Value::Int(id)])
}

#[test]
fn a_fill_that_was_read_before_a_change_and_comes_after_it_does_not_bring_the_old_value_back() {
    let mut cache = Cache::new(10, None, None);
    // Read at 11, changed at 12, offered then.
    cache.step(vec![cache.put(1, Value::Int(2))], 12);
    cache.offer(1, 1, 11, 11);
    cache.step(Vec::new(), 12);
    assert_eq!(cache.held(1), None);
    assert_eq!(cache.part.status().fills_dropped, 1);
    // Offered before the change, in whose step it would come in.
    cache.offer(1, 2, 12, 12);
    cache.step(vec![cache.put(1, Value::Int(3))], 13);
    assert_eq!(cache.held(1), None);
    // The same of a document that went away.
    cache.offer(1, 3, 13, 13);
    cache.step(vec![cache.delete(1)], 14);
    assert_eq!(cache.held(1), None);
    // And what is still the one comes in, and moves on with the log.
    cache.step(vec![cache.put(1, Value::Int(4))], 15);
    cache.offer(1, 4, 15, 15);
    cache.step(vec![cache.put(2, Value::Int(1))], 20);
    assert_eq!(cache.held(1), Some(4));
    cache.step(vec![cache.put(1, Value::Int(5))], 21);
    assert_eq!(cache.held(1), Some(5));
    assert_eq!(cache.held(2), None, "nobody read it");
}

#[test]
fn a_fill_from_a_store_that_is_ahead_waits_and_nothing_goes_backwards() {
    let mut cache = Cache::new(10, None, None);
    // The other store is at 15 and shows what was changed at 12 and 14.
    cache.offer(1, 14, 15, 15);
    cache.step(Vec::new(), 10);
    assert_eq!(cache.held(1), None);
    cache.step(vec![cache.put(1, Value::Int(12))], 12);
    assert_eq!(cache.held(1), None);
    cache.step(vec![cache.put(1, Value::Int(14))], 14);
    assert_eq!(cache.held(1), None);
    cache.step(vec![cache.put(2, Value::Int(1))], 15);
    assert_eq!(cache.held(1), Some(14));
    // A step may end behind it: with a change of the key, which of the two is newer is not known.
    cache.offer(3, 17, 17, 17);
    cache.step(vec![cache.put(3, Value::Int(17))], 18);
    assert_eq!(cache.held(3), None);
    // A store that promises keys only shows something between two offsets.
    cache.offer(4, 20, 18, 20);
    cache.step(vec![cache.put(4, Value::Int(19))], 19);
    cache.step(vec![cache.put(4, Value::Int(20))], 20);
    assert_eq!(cache.held(4), None);
    cache.offer(4, 20, 20, 22);
    cache.step(Vec::new(), 21);
    assert_eq!(cache.held(4), None, "it may show what comes at 22");
    cache.step(Vec::new(), 22);
    assert_eq!(cache.held(4), Some(20));
}

#[test]
fn what_was_read_before_the_part_began_or_in_another_term_is_not_taken() {
    let mut cache = Cache::new(10, None, None);
    cache.offer(1, 1, 9, 9);
    cache.step(Vec::new(), 11);
    assert_eq!(cache.held(1), None);
    cache.offer(1, 1, 11, 11);
    cache.keepers.begin(Epoch(4), Offset(11));
    cache.offer(2, 1, 11, 11);
    cache.step(Vec::new(), 12);
    assert_eq!((cache.held(1), cache.held(2)), (None, None));
    assert!(cache.store.is_empty());
}

#[test]
fn rows_of_a_chunk_count_as_changes_of_its_place() {
    let mut cache = Cache::new(10, None, None);
    cache.offer(1, 1, 11, 11);
    let kept = cache.keepers.keep(vec![cache.put(1, Value::Int(1))]);
    assert!(kept.is_empty());
    // As the applier does for a step within an entry: it is at 10, and the chunk is at 11.
    cache.keepers.close(Offset(11));
    cache.step(Vec::new(), 11);
    assert_eq!(cache.held(1), Some(1), "read where the chunk had landed");
    cache.offer(2, 1, 11, 11);
    cache.keepers.keep(vec![cache.put(2, Value::Int(1))]);
    cache.keepers.close(Offset(12));
    cache.step(Vec::new(), 12);
    assert_eq!(cache.held(2), None);
}

#[test]
fn partial_documents_and_moves_make_a_key_leave() {
    let mut cache = Cache::new(10, None, None);
    (1..=4).for_each(|id| cache.offer(id, 1, 10, 10));
    cache.step(Vec::new(), 10);
    assert_eq!(cache.store.len(), 4);
    cache.step(vec![cache.put(1, Value::Unchanged)], 11);
    assert_eq!(cache.held(1), None);
    let ViewChange::Put { view, document, .. } = cache.put(3, Value::Unchanged) else { unreachable!() };
    let moved = ViewChange::Put { view, key: key(3), moved_from: Some(key(2)), document };
    cache.step(vec![moved], 12);
    assert_eq!((cache.held(2), cache.held(3), cache.held(4)), (None, None, Some(1)));
    // And none of them comes back as it was.
    (1..=3).for_each(|id| cache.offer(id, 1, 11, 11));
    cache.step(Vec::new(), 12);
    assert_eq!((cache.held(1), cache.held(2), cache.held(3)), (Some(1), None, None));
    cache.step(vec![ViewChange::Clear { view: Arc::clone(&cache.view) }], 13);
    assert!(cache.store.is_empty());
    cache.offer(4, 1, 12, 12);
    cache.step(Vec::new(), 13);
    assert_eq!(cache.held(4), None);
}

#[test]
fn what_the_filter_does_not_take_is_never_held() {
    let mut cache = Cache::new(10, None, Some("version >= 10"));
    cache.offer(1, 9, 10, 10);
    cache.offer(2, 10, 10, 10);
    cache.step(Vec::new(), 10);
    assert_eq!((cache.held(1), cache.held(2)), (None, Some(10)));
    cache.step(vec![cache.put(2, Value::Int(11)), cache.put(1, Value::Int(12))], 11);
    assert_eq!((cache.held(1), cache.held(2)), (None, Some(11)));
    cache.step(vec![cache.put(2, Value::Int(5))], 12);
    assert_eq!(cache.held(2), None);
    cache.step(vec![cache.put(2, Value::Int(50))], 13);
    assert_eq!(cache.held(2), None, "it is not read yet");
}

#[test]
fn what_a_store_refuses_leaves_the_part_and_is_no_row_in_quarantine() {
    let mut cache = Cache::new(10, None, None);
    cache.offer(1, 1, 10, 10);
    cache.step(Vec::new(), 10);
    let refusal = |view: &str| Refusal { view: view.into(), key: "1".into(), reason: "full".into() };
    let (leave, others) = cache.keepers.refused(vec![refusal("book"), refusal("other")]);
    assert_eq!(others, [refusal("other")]);
    cache.apply(leave);
    assert_eq!(cache.held(1), None);
}

#[tokio::test(start_paused = true)]
async fn documents_leave_when_they_are_too_old() {
    let mut cache = Cache::new(10, Some(Duration::from_secs(5)), None);
    cache.offer(1, 1, 10, 10);
    cache.step(Vec::new(), 10);
    tokio::time::advance(Duration::from_secs(3)).await;
    cache.offer(2, 1, 10, 10);
    cache.step(vec![cache.put(1, Value::Int(2))], 11);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(!cache.part.holds(&[key(1)]), "nobody is shown it any more, though it is still there");
    assert!(cache.part.holds(&[key(2)]));
    // The applier is woken for it, a little later: many leave together.
    let began = tokio::time::Instant::now();
    // What the offers left of a permit goes first.
    cache.keepers.work().await;
    cache.keepers.work().await;
    assert!(began.elapsed() < Duration::from_millis(150), "{:?}", began.elapsed());
    cache.step(Vec::new(), 11);
    assert_eq!((cache.held(1), cache.held(2)), (None, Some(1)));
    assert_eq!(cache.part.status().expired, 1);
    // One that left and came back is as old as its return.
    cache.step(vec![cache.delete(2)], 12);
    tokio::time::advance(Duration::from_secs(2)).await;
    cache.offer(2, 3, 12, 12);
    cache.step(Vec::new(), 12);
    tokio::time::advance(Duration::from_secs(2)).await;
    cache.step(Vec::new(), 12);
    assert_eq!(cache.held(2), Some(3));
}

#[test]
fn what_waits_to_become_too_old_is_bounded_by_what_is_held() {
    let mut cache = Cache::new(10, Some(Duration::from_secs(86_400)), None);
    for id in 0..20_000 {
        cache.offer(id, 1, 10, 10);
        cache.step(Vec::new(), 10);
    }
    assert!(cache.store.len() <= 10);
    assert!(cache.keepers.0[0].expiries.len() <= 1_100);
}

#[test]
fn a_part_of_another_size_is_no_other_view() {
    // What stores that hold all of it are filled by.
    let written = |cache: &Cache| serde_json::to_string(&*cache.view).unwrap();
    let other = Cache::new(20, Some(Duration::from_secs(9)), Some("id > 1"));
    assert_eq!(written(&Cache::new(10, None, None)), written(&other));
}

#[test]
fn offers_are_bounded() {
    let cache = Cache::new(10, None, None);
    for id in 0..5_000 {
        // None of them can be taken yet.
        cache.offer(id, 1, 100, 100);
    }
    let mut cache = cache;
    assert!(cache.part.status().fills_dropped >= 5_000 - 1_024);
    cache.step(Vec::new(), 100);
    assert_eq!(cache.part.status().fills, 1_024);
    assert!(cache.store.len() <= 10);
}

/// The whole of it against arithmetic: a log of random changes, applied in steps of random size; stores that hold everything, anywhere
/// in the log, from which random documents are offered at random times. After each step the part holds nothing but what is
/// true at its end.
#[test]
fn whatever_is_offered_whenever_a_part_holds_what_the_log_says_at_its_place() {
    let (mut fills, mut evicted) = (0, 0);
    for seed in 0..300 {
        let mut chance = StdRng::seed_from_u64(seed);
        let (keys, end) = (chance.random_range(2..30), 400u64);
        let hold = chance.random_range(1..keys as u64 + 1);
        // The changes of each offset, and everything as it is behind each.
        let mut states: Vec<BTreeMap<i64, i64>> = vec![BTreeMap::new(); 11];
        let mut log: Vec<Vec<(i64, Option<i64>)>> = vec![Vec::new(); 11];
        for at in 11..=end {
            let mut state = states.last().unwrap().clone();
            let mut changes = Vec::new();
            for _ in 0..chance.random_range(0..3) {
                let id = chance.random_range(0..keys);
                let now = chance.random_bool(0.8).then_some(at as i64);
                changes.push((id, now));
                match now {
                    Some(version) => state.insert(id, version),
                    None => state.remove(&id),
                };
            }
            states.push(state);
            log.push(changes);
        }
        let mut cache = Cache::new(hold, None, None);
        let mut at = 10;
        while at < end {
            for _ in 0..chance.random_range(0..4) {
                let from = chance.random_range(at.saturating_sub(6).max(5)..(at + 8).min(end));
                let upto = chance.random_range(from..(from + 4).min(end));
                let shown = chance.random_range(from..=upto);
                let id = chance.random_range(0..keys);
                if let Some(version) = states[shown as usize].get(&id) {
                    cache.offer(id, *version, from, upto);
                }
            }
            let to = (at + chance.random_range(0..5)).min(end);
            let mut changes = Vec::new();
            for offset in at + 1..=to {
                for (id, now) in &log[offset as usize] {
                    changes.push(match now {
                        Some(version) => cache.put(*id, Value::Int(*version)),
                        None => cache.delete(*id),
                    });
                }
            }
            at = to;
            cache.step(changes, at);
            assert!(cache.store.len() as u64 <= hold, "seed {seed}");
            for id in 0..keys {
                if let Some(version) = cache.held(id) {
                    assert_eq!(Some(&version), states[at as usize].get(&id), "seed {seed}: {id} at {at}");
                }
            }
        }
        fills += cache.part.status().fills;
        evicted += cache.part.status().evicted;
    }
    assert!(fills > 10_000 && evicted > 1_000, "{fills} fills and {evicted} evictions show nothing");
}
