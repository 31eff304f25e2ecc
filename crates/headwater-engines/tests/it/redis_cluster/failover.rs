//! A node dies, and its replica, which lacks the newest writes, takes its place.

use std::time::Duration;

use headwater_model::{Epoch, ErrorKind, Held, Layout, Offset};
use headwater_testkit::contract::store::{held, view};
use headwater_testkit::{RedisCluster, eventually};

use super::{n_of, put, shop, step, try_step};

const KEYS: i64 = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_replica_says_itself_what_it_lacks() {
    let cluster = RedisCluster::start(3, 1);
    let (store, book) = (shop(&cluster), view("book", Layout::Hash));
    store.claim(Epoch(1)).await.unwrap();
    let puts = |n: i64| (0..KEYS).map(|id| put(&book, id, n)).collect::<Vec<_>>();
    step(&*store, 1, 0, puts(1)).await;
    let (master, replica) = (&cluster.masters()[0], &cluster.replicas()[0]);
    let arrived = async || {
        let at =
            |info: String, field: &str| info.lines().find(|line| line.starts_with(field)).map(str::to_owned);
        let [written, read] =
            [(master, "master_repl_offset:"), (replica, "slave_repl_offset:")].map(|(node, field)| {
                at(node.cli(&["INFO", "replication"]), field)
                    .and_then(|line| Some(line.split_once(':')?.1.to_owned()))
            });
        if written.is_some() && written == read { Ok(()) } else { Err(format!("{written:?} {read:?}")) }
    };
    eventually(Duration::from_secs(20), "a replica that has everything", arrived).await;
    // From now on nothing reaches the replica.
    replica.pause();
    master.cli(&["CLIENT", "KILL", "TYPE", "replica"]);
    for n in 2..=4 {
        step(&*store, 1, n - 1, puts(n as i64)).await;
    }
    assert_eq!(store.held().await.unwrap(), Some(held(1, 4)));
    let mut open = store.begin(Epoch(1), Offset(4)).await.unwrap();
    open.write(puts(5)).await.unwrap();
    master.kill();
    replica.resume();
    let error = open.commit(&held(1, 5)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error:?}");

    // Lanes of the other nodes have come to 5; what the store says is what the replica has.
    let claimed = async || store.claim(Epoch(1)).await;
    let found: Held = eventually(Duration::from_secs(60), "the replica's promotion", claimed).await.unwrap();
    assert_eq!(found, held(1, 1));
    let mut seen = Vec::new();
    for id in 0..KEYS {
        seen.push(n_of(&*store, &book, id).await.unwrap());
    }
    assert!(seen.contains(&1) && seen.contains(&5), "{seen:?}");
    // What is written once more takes nothing back where it was not lost.
    for n in 2..=6 {
        try_step(&*store, 1, n - 1, n, puts(n as i64)).await.unwrap();
        for (id, seen) in (0..KEYS).zip(&mut seen) {
            let now = n_of(&*store, &book, id).await.unwrap();
            assert!(now >= *seen, "key {id} went from {seen} back to {now}");
            *seen = now;
        }
        assert!(seen.iter().all(|now| *now >= n as i64));
    }
    assert_eq!(store.rows(&book).await.unwrap(), KEYS as u64);
    assert_eq!(store.held().await.unwrap(), Some(held(1, 6)));
}
