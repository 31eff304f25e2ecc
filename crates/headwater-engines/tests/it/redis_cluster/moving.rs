//! Slots that move from one node to another while the store is read and written.

use std::sync::Arc;
use std::time::Duration;

use headwater_model::{Epoch, ErrorKind, Found, Key, Layout, Read, Store, View};
use headwater_testkit::contract::store::{key, view};
use headwater_testkit::{RedisCluster, eventually};

use super::{LANES, lane, n_of, number, put, shop, step, try_step};

const KEYS: i64 = 400;

async fn all(store: &dyn Store, view: &Arc<View>) -> headwater_model::Result<Vec<Option<i64>>> {
    let keys: Vec<Key> = (0..KEYS).map(key).collect();
    match store.answer(&Read::Get { view: Arc::clone(view), keys }).await?.found {
        Found::Documents(found) => Ok(found.iter().map(|body| number(body.as_ref()?)).collect()),
        found => panic!("{found:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_may_move_while_the_store_is_read_and_written() {
    let cluster = RedisCluster::start(3, 0);
    let (store, book) = (shop(&cluster), view("book", Layout::Hash));
    store.claim(Epoch(1)).await.unwrap();
    let puts = |n: i64| (0..KEYS).map(|id| put(&book, id, n)).collect::<Vec<_>>();
    step(&*store, 1, 0, puts(1)).await;
    let (prefix, slot) = lane(3);
    let from = cluster.master_of(slot);
    let to = cluster.masters().iter().find(|other| other.port() != from.port()).unwrap();

    cluster.begin_move(slot, from, to);
    assert_eq!(all(&*store, &book).await.unwrap(), vec![Some(1); KEYS as usize]);
    assert_eq!(cluster.move_keys(slot, from, to, 20), 20);
    // Some keys of the lane are here, some there: readers find all of them, and no step takes effect in it.
    assert_eq!(all(&*store, &book).await.unwrap(), vec![Some(1); KEYS as usize]);
    let error = try_step(&*store, 1, 1, 2, puts(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error:?}");
    let found = all(&*store, &book).await.unwrap();
    assert!(found.contains(&Some(1)) && found.contains(&Some(2)), "other lanes went on");
    while cluster.move_keys(slot, from, to, 20) > 0 {}
    assert_eq!(all(&*store, &book).await.unwrap(), found);
    cluster.end_move(slot, to);

    // The new owner is found.
    let claimed = async || store.claim(Epoch(1)).await;
    let held = eventually(Duration::from_secs(20), "the lane's new owner", claimed).await;
    assert_eq!(held.unwrap().offset.0, 1, "the store is where its last lane is");
    try_step(&*store, 1, 1, 2, puts(2)).await.unwrap();
    assert_eq!(all(&*store, &book).await.unwrap(), vec![Some(2); KEYS as usize]);
    assert_eq!(store.rows(&book).await.unwrap(), KEYS as u64);
    let moved: Vec<String> =
        to.cli(&["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), "1000"]).lines().map(str::to_owned).collect();
    assert!(moved.len() > 20 && moved.iter().all(|key| key.starts_with(&prefix)), "{moved:?}");
}

/// A cleared view must not keep what the clearing could not see: keys that are on their way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_is_not_cleared_in_a_lane_whose_slot_is_moving() {
    let cluster = RedisCluster::start(3, 0);
    let (store, book) = (shop(&cluster), view("book", Layout::Json));
    store.claim(Epoch(1)).await.unwrap();
    step(&*store, 1, 0, (0..KEYS).map(|id| put(&book, id, 1)).collect()).await;
    let slots: Vec<usize> = (0..LANES).map(|at| lane(at).1).collect();
    // Of one lane only documents have moved, and its position is where it was.
    let slot = slots[2];
    let from = cluster.master_of(slot);
    let to = cluster.masters().iter().find(|other| other.port() != from.port()).unwrap();
    cluster.begin_move(slot, from, to);
    let position = format!("{}headwater", lane(2).0);
    let keys = from.cli(&["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), "1000"]);
    for key in keys.lines().filter(|key| *key != position).take(10) {
        from.cli(&["MIGRATE", "127.0.0.1", &to.port().to_string(), key, "0", "5000"]);
    }
    let clear = || vec![headwater_model::ViewChange::Clear { view: Arc::clone(&book) }];
    let error = try_step(&*store, 1, 1, 2, clear()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error:?}");
    while cluster.move_keys(slot, from, to, 100) > 0 {}
    cluster.end_move(slot, to);
    let claimed = async || store.claim(Epoch(1)).await;
    let held = eventually(Duration::from_secs(20), "the lane's new owner", claimed).await;
    assert_eq!(held.unwrap().offset.0, 1);
    try_step(&*store, 1, 1, 2, clear()).await.unwrap();
    assert_eq!(store.rows(&book).await.unwrap(), 0);
    for id in 0..KEYS {
        assert_eq!(n_of(&*store, &book, id).await, None);
    }
}
