//! Steps that take effect in some lanes only, at random, against a model.
//!
//! What makes a lane refuse a step here is somebody else's write to its position; for the store that is as good as a node that
//! died. The transactions are given again from where the store says it is, cut into other steps.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_model::file::Setting;
use headwater_model::{Epoch, Key, Layout, Offset, Record, Store, Value, View, ViewChange};
use headwater_testkit::contract::store::{held, key, record, view};
use headwater_testkit::{Chance, RedisCluster};

use super::{LANES, lane, shop};

const KEYS: u64 = 24;

type Model = BTreeMap<(usize, i64), Record>;

/// Transactions by offset, and what each view is after each of them.
struct History {
    views: [Arc<View>; 2],
    changes: Vec<Vec<ViewChange>>,
    models: Vec<Model>,
}

impl History {
    fn new(chance: &mut Chance, transactions: usize) -> History {
        let views = [view("book", Layout::Hash), view("page", Layout::Json)];
        let (mut changes, mut models) = (vec![Vec::new()], vec![Model::new()]);
        for offset in 1..=transactions {
            let mut model = models[offset - 1].clone();
            let mut made = Vec::new();
            for _ in 0..1 + chance.below(10) {
                made.push(change(chance, &views, &mut model, offset as i64));
            }
            changes.push(made);
            models.push(model);
        }
        History { views, changes, models }
    }
}

fn document(id: i64, n: i64, long: Value) -> Record {
    record(&[("id", Value::Int(id)), ("n", Value::Int(n)), ("long", long)])
}

fn change(chance: &mut Chance, views: &[Arc<View>; 2], model: &mut Model, n: i64) -> ViewChange {
    let (at, id) = (chance.below(2) as usize, chance.below(KEYS) as i64);
    let view = Arc::clone(&views[at]);
    let long = Value::text(format!("long {n} {}", chance.below(1000)));
    let there: Vec<i64> =
        model.keys().filter(|(of, other)| *of == at && *other != id).map(|(_, id)| *id).collect();
    match chance.below(10) {
        0 | 1 => {
            model.remove(&(at, id));
            ViewChange::Delete { view, key: key(id) }
        }
        // The key changes, and of a hash the long value stays as it was.
        2..=4 if at == 0 && !there.is_empty() => {
            let old = *chance.pick(&there);
            let base = model.remove(&(at, old)).unwrap();
            let kept = base.get("long").unwrap().clone();
            model.insert((at, id), document(id, n, kept));
            let document = document(id, n, Value::Unchanged);
            ViewChange::Put { view, key: key(id), moved_from: Some(key(old)), document }
        }
        5 if at == 0 && model.contains_key(&(at, id)) => {
            let kept = model[&(at, id)].get("long").unwrap().clone();
            model.insert((at, id), document(id, n, kept));
            ViewChange::Put {
                view,
                key: key(id),
                moved_from: None,
                document: document(id, n, Value::Unchanged),
            }
        }
        _ => {
            model.insert((at, id), document(id, n, long.clone()));
            ViewChange::Put { view, key: key(id), moved_from: None, document: document(id, n, long) }
        }
    }
}

/// The text of each field, as far as it has one.
fn texts(document: Option<&Record>) -> Option<BTreeMap<String, String>> {
    let fields = document?.fields().filter(|(_, value)| !value.is_null());
    Some(fields.map(|(name, value)| (name.to_owned(), value.to_text().to_string())).collect())
}

async fn stored(store: &dyn Store, view: &Arc<View>, id: i64) -> Option<BTreeMap<String, String>> {
    let found = headwater_testkit::read::document(store, view, &Key(vec![Value::Int(id)])).await.unwrap()?;
    Some(match found {
        headwater_model::StoredBody::Fields(fields) => fields
            .into_iter()
            .map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()))
            .collect(),
        headwater_model::StoredBody::Json(json) => {
            let json: BTreeMap<String, serde_json::Value> = serde_json::from_str(&json).unwrap();
            let text = |value: &serde_json::Value| value.as_str().map_or(value.to_string(), str::to_owned);
            json.iter().map(|(name, value)| (name.clone(), text(value))).collect()
        }
    })
}

/// Of each key: the least offset whose model may be what was last seen.
type Seen = BTreeMap<(usize, i64), usize>;

/// Each document is that of some moment, not before the one it was seen at before, and not before the store's own.
async fn look(store: &dyn Store, history: &History, seen: &mut Seen, least: usize, most: usize) {
    for at in 0..2 {
        for id in 0..KEYS as i64 {
            let found = stored(store, &history.views[at], id).await;
            let from = seen.get(&(at, id)).copied().unwrap_or(0).max(least);
            let fits = |offset: &usize| texts(history.models[*offset].get(&(at, id))) == found;
            let now = (from..=most).find(fits).unwrap_or_else(|| {
                let models: Vec<_> = (from..=most).map(|o| texts(history.models[o].get(&(at, id)))).collect();
                panic!(
                    "{}:{id} is {found:?}, from {from} to {most} it was {models:?}",
                    history.views[at].name
                )
            });
            seen.insert((at, id), now);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_that_part_come_together_and_no_key_goes_back() {
    let cluster = RedisCluster::start(3, 0);
    let first = Chance::from_env(1).number();
    for round in 0..4 {
        cluster.flush();
        let mut chance = Chance::new(first.wrapping_add(round));
        play(&cluster, &mut chance).await;
    }
}

async fn play(cluster: &RedisCluster, chance: &mut Chance) {
    const END: usize = 40;
    let history = History::new(chance, END);
    // Begins anew with every owner, as the part of a view does that a store keeps for its readers.
    let part = view("part", Layout::Hash);
    let mut store = shop(cluster);
    store.claim(Epoch(1)).await.unwrap();
    let (mut epoch, mut at, mut most, mut seen) = (1, 0, 0, Seen::new());
    let (mut part_from, mut failures) = (0, 0);
    while at < END {
        let end = (at + 1 + chance.below(4) as usize).min(END);
        let mut step = store.begin(Epoch(epoch), Offset(at as u64)).await.unwrap();
        for offset in at + 1..=end {
            let mut changes = history.changes[offset].clone();
            changes.push(ViewChange::Put {
                view: Arc::clone(&part),
                key: key(offset as i64),
                moved_from: None,
                document: document(offset as i64, offset as i64, Value::Null),
            });
            assert_eq!(step.write(changes).await.unwrap(), []);
        }
        for disturbed in 0..LANES {
            if chance.one_in(12) {
                cluster.cli(&["HSET", &format!("{}headwater", lane(disturbed).0), "disturbed", "1"]);
            }
        }
        most = most.max(end);
        match step.commit(&held(epoch, end as u64)).await {
            Ok(()) => at = end,
            Err(error) => {
                assert!(error.is_retryable(), "{error:?}");
                failures += 1;
                if chance.one_in(2) {
                    store = shop(cluster);
                    epoch += 1;
                }
                let found = store.claim(Epoch(epoch)).await.unwrap().unwrap();
                assert!(found.offset.0 as usize >= at, "a store never goes back by itself");
                at = found.offset.0 as usize;
                if chance.one_in(2) {
                    let mut clear = store.begin(Epoch(epoch), Offset(at as u64)).await.unwrap();
                    clear.write(vec![ViewChange::Clear { view: Arc::clone(&part) }]).await.unwrap();
                    clear.commit(&headwater_model::Held { epoch: Epoch(epoch), ..found }).await.unwrap();
                    part_from = at;
                }
            }
        }
        look(&*store, &history, &mut seen, at, most).await;
    }
    assert!(failures > 0, "nothing failed");
    for (at, view) in history.views.iter().enumerate() {
        for id in 0..KEYS as i64 {
            let expected = texts(history.models[END].get(&(at, id)));
            assert_eq!(stored(&*store, view, id).await, expected, "{}:{id}", view.name);
        }
        let count = history.models[END].keys().filter(|(of, _)| *of == at).count();
        assert_eq!(store.rows(view).await.unwrap(), count as u64);
    }
    // All that came by since it was cleared, and nothing from before.
    let (mut keys, _) = store.keys(&part, None, 1000).await.unwrap();
    keys.sort_by_key(|key| key.parse::<usize>().unwrap());
    let expected: Vec<String> = (part_from + 1..=END).map(|offset| offset.to_string()).collect();
    assert_eq!(keys, expected);
}

/// More than is held back of one lane: whether it is left out or written is guessed, and a wrong guess costs an attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_step_is_written_once_more_where_it_is_missing() {
    const MANY: i64 = 44_000;
    let cluster = RedisCluster::start(3, 0);
    let store = super::open(&cluster, &[("prefix", super::text("shop:")), ("lanes", Setting::Int(2))]);
    let book = view("book", Layout::Json);
    let puts = |n: i64, many: i64| (0..many).map(|id| super::put(&book, id, n)).collect::<Vec<_>>();
    let position = format!("{}headwater", headwater_testkit::lane("shop:", 0, 2).0);
    store.claim(Epoch(1)).await.unwrap();
    for ends in [1, 3] {
        // The other lane takes the step, this one does not.
        let mut step = store.begin(Epoch(1), Offset(ends - 1)).await.unwrap();
        assert_eq!(step.write(puts(ends as i64, MANY)).await.unwrap(), []);
        cluster.cli(&["HSET", &position, "disturbed", "1"]);
        let error = step.commit(&held(1, ends)).await.unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
        assert_eq!(store.claim(Epoch(1)).await.unwrap(), Some(held(1, ends - 1)));
        // At first the same step, then one that goes further.
        let (end, mut attempts) = (ends + u64::from(ends > 1), 0);
        loop {
            let mut step = store.begin(Epoch(1), Offset(ends - 1)).await.unwrap();
            assert_eq!(step.write(puts(ends as i64, MANY)).await.unwrap(), []);
            if end > ends {
                assert_eq!(step.write(puts(end as i64, 100)).await.unwrap(), []);
            }
            attempts += 1;
            match step.commit(&held(1, end)).await {
                Ok(()) => break,
                Err(error) => {
                    assert!(error.is_retryable() && attempts < 3, "{error:?}");
                    assert_eq!(store.claim(Epoch(1)).await.unwrap(), Some(held(1, ends - 1)));
                }
            }
        }
        assert_eq!(attempts, if end > ends { 2 } else { 1 });
        for id in [0, 1, 2, 3, 99, 100, 101, MANY - 2, MANY - 1] {
            let expected = if id < 100 { end as i64 } else { ends as i64 };
            assert_eq!(super::n_of(&*store, &book, id).await, Some(expected), "key {id}");
        }
        if ends == 1 {
            super::step(&*store, 1, 1, vec![super::put(&book, 0, 2)]).await;
        }
    }
    assert_eq!(store.rows(&book).await.unwrap(), MANY as u64);
}
