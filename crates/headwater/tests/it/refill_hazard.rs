//! Visibility order is not log order: a commit that waits for a synchronous standby is in the log while readers still see
//! the old row. Whoever trusts watermarks then writes the old row over the new one, for good.

use std::time::Duration;

use headwater_testkit::checker::Truth;
use headwater_testkit::{Postgres, Redis, eventually};

use crate::service::{Service, near};

#[tokio::test]
async fn a_chunk_read_while_a_commit_waits_for_its_standby_does_not_bring_the_old_row_back() {
    let (postgres, redis) = (Postgres::start(), Redis::start());
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'old' FROM generate_series(1, 120) i");
    let headwater = Service::new(
        "refill-hazard",
        &format!(
            "[source]\nurl = \"{}\"\n\n[stores]\nnear = {{ url = \"{}\" }}\n\n[backfill]\nchunk_rows = 50\n\n\
             [views.t]\nfrom = \"t\"\n",
            postgres.url(),
            redis.url()
        ),
    );
    let (truth, copy) = (Truth::Postgres(postgres.url()), near(&redis));
    headwater.start();
    headwater.equal(&truth, "near", &copy).await;
    postgres.psql("SELECT pg_create_logical_replication_slot('naive', 'test_decoding')");

    // The update is decoded and cannot be seen.
    postgres.psql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    postgres.psql("SELECT pg_reload_conf()");
    let client = postgres.connect().await;
    let waiting =
        tokio::spawn(async move { client.execute("UPDATE t SET v = 'new' WHERE id = 7", &[]).await });
    eventually(Duration::from_secs(10), "the update is delivered", async || {
        match redis.cli(&["HGET", "t:7", "v"]).as_str() {
            "new" => Ok(()),
            other => Err(format!("the store has {other:?}")),
        }
    })
    .await;
    let read = || postgres.psql("SELECT v FROM t WHERE id = 7");
    assert_eq!(read(), "old", "readers do not see it yet");

    // The usual way: low watermark, read, high watermark, and what the log has between the two wins over what was read.
    let mark = |name: &str| {
        postgres.psql(&format!(
            "SET synchronous_commit = local; SELECT pg_logical_emit_message(true, 'naive', '{name}')"
        ));
    };
    mark("low");
    let naive = read();
    mark("high");
    let log = postgres.psql("SELECT data FROM pg_logical_slot_peek_changes('naive', NULL, NULL)");
    let place = |what: &str| {
        log.lines().position(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}: {log}"))
    };
    let (update, low, high) = (place("id[integer]:7"), place("content:low"), place("content:high"));
    assert!(update < low && low < high, "nothing between the watermarks contradicts what was read: {log}");
    assert_eq!(naive, "old", "so it would be written, behind the update, and stay");
    postgres.psql("SELECT pg_drop_replication_slot('naive')");

    // Ours: the store loses everything and is filled again from chunks that are read right now.
    redis.cli(&["FLUSHALL"]);
    postgres.psql("SET synchronous_commit = local; UPDATE t SET v = 'other' WHERE id = 9");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_ne!(redis.cli(&["HGET", "t:7", "v"]), "old", "the old row must not come back");

    postgres.psql("ALTER SYSTEM RESET synchronous_standby_names");
    postgres.psql("SELECT pg_reload_conf()");
    waiting.await.unwrap().unwrap();
    assert_eq!(read(), "new");
    headwater.equal(&truth, "near", &copy).await;
    headwater.stop();
}
