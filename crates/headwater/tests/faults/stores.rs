//! What happens to stores: somebody else writes to them, a failover loses their tail, rows that they cannot take.

use std::collections::BTreeSet;

use headwater_testkit::{Redis, eventually};
use serde_json::Value as Json;

use crate::world::{PATIENCE, World};

/// A replica takes over that lacks what the old primary acknowledged last.
pub async fn replica_promoted(world: &mut World) {
    let replica = Redis::start();
    replica.cli(&["REPLICAOF", "127.0.0.1", &world.redis.port().to_string()]);
    eventually(PATIENCE, "the replica follows", async || {
        let state = replica.cli(&["INFO", "replication"]);
        if state.contains("master_link_status:up") { Ok(()) } else { Err(state) }
    })
    .await;
    world.pause(500).await;
    replica.cli(&["REPLICAOF", "NO", "ONE"]);
    let kept = world.shown_near();
    world.shows_newer(kept).await;
    world.pause(1000).await;
    let lost = world.redis.cli(&["HGET", "shop:pair:1", "version"]);
    assert_ne!(replica.cli(&["HGET", "shop:pair:1", "version"]), lost, "there is a tail to lose");
    world.redis.kill();
    world.store_moved(replica);
}

/// Fields and documents are changed by somebody else; verify names each.
pub async fn altered(world: &World) {
    world.healthy().await;
    for i in 1..=5 {
        world.redis.cli(&["HSET", &format!("shop:odd:odd {i}"), "body", "altered"]);
    }
    world.redis.cli(&["HSET", "shop:odd:odd 6", "more", "than there is"]);
    world.redis.cli(&["HDEL", "shop:odd:odd 7", "exact"]);
    let changed = world
        .embedded()
        .execute(
            "UPDATE odd SET document = json_set(document, '$.exact', -1) WHERE key IN ('odd 8', 'odd 9')",
            [],
        )
        .unwrap();
    assert_eq!(changed, 2);
    let near = (1..=7).map(|i| format!("odd {i}"));
    drifted(world, near.collect(), ["odd 8", "odd 9"].map(str::to_owned).into()).await;
}

/// The same of documents that are gone, and of some that nobody derived.
pub async fn removed_and_added(world: &World) {
    world.healthy().await;
    for i in 11..=14 {
        assert_eq!(world.redis.cli(&["DEL", &format!("shop:odd:odd {i}")]), "1");
    }
    world.redis.cli(&["HSET", "shop:odd:nobody's", "body", "made up"]);
    let db = world.embedded();
    assert_eq!(db.execute("DELETE FROM odd WHERE key IN ('odd 21', 'odd 22')", []).unwrap(), 2);
    db.execute("INSERT INTO odd (key, document) VALUES ('made up', '{}')", []).unwrap();
    let near = (11..=14).map(|i| format!("odd {i}")).chain(["nobody's".to_owned()]);
    drifted(world, near.collect(), ["odd 21", "odd 22", "made up"].map(str::to_owned).into()).await;
}

/// `headwater verify` finds exactly this drift, by key.
async fn drifted(world: &World, near: BTreeSet<String>, local: BTreeSet<String>) {
    let leader = world.healthy().await;
    let report: Json =
        serde_json::from_str(&leader.command(&["verify", "odd", "--json"]).expect(1).stdout).unwrap();
    for (store, damaged) in [("near", near), ("local", local)] {
        let views = report["views"].as_array().unwrap();
        let of = views.iter().find(|view| view["name"] == "odd" && view["store"] == store).unwrap();
        let found =
            of["drifted"].as_array().unwrap().iter().map(|key| key["key"].as_str().unwrap().to_owned());
        assert_eq!(found.collect::<BTreeSet<_>>(), damaged, "in {store}: {report}");
    }
    world.noticed.now();
}

pub async fn repair(world: &World) {
    world.healthy().await.command(&["verify", "odd", "--repair"]).expect(0);
}

/// Values at the edge of what there is arrive; a row that a store cannot take, and one without a key that is a text, are
/// quarantined. Everything else flows.
pub async fn poisoned(world: &World) {
    world.postgres.psql(
        "INSERT INTO odd VALUES ('not a number', 'NaN', 'NaN', NULL, NULL), ('endless', '-Infinity', 'Infinity', NULL, ''),
             ('no text', 1e-300, 1e100, '\\xfffe00ff', E'\\u0001');
         INSERT INTO odd SELECT 'large', 0, 0, NULL, string_agg(md5(i::text), '') FROM generate_series(1, 330000) AS i;
         INSERT INTO odd VALUES (E'no text \\xff', 2, 2, NULL, 'not UTF-8 in the key');",
    );
    // An index takes what becomes small when it is compressed; written as a key, each colon has three bytes.
    world.postgres.psql(
        "SET default_toast_compression = lz4;
         INSERT INTO odd VALUES (repeat(':', 400000), 3, 3, NULL, 'a key too long for one store')",
    );
    quarantined(world, 1, 1).await;
    world.shows_newer(world.committed()).await;
}

pub async fn mend_the_poisoned(world: &World) {
    world.postgres.psql("DELETE FROM odd WHERE number = 3; DELETE FROM odd WHERE number = 2");
    quarantined(world, 0, 0).await;
}

/// Waits until so many rows of the source are left out, and so many refused by the embedded store alone.
async fn quarantined(world: &World, source: u64, local: u64) {
    let leader = world.leader().await;
    eventually(PATIENCE, "the quarantine holds what it should", async || {
        let status = leader.status().0;
        let of = |store: &str| {
            let stores = status["stores"].as_array().into_iter().flatten();
            stores.filter(|one| one["name"] == store).find_map(|one| one["quarantined_rows"].as_u64())
        };
        let found = (status["source"]["quarantined_rows"].as_u64(), of("near"), of("local"));
        match found == (Some(source), Some(0), Some(local)) {
            true => Ok(()),
            false => Err(format!("{found:?}\n{}", leader.log_tail())),
        }
    })
    .await;
}
