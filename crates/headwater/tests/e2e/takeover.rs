//! Two instances for one source: one leads, the other waits and takes over.

use std::time::Duration;

use headwater_testkit::checker::Truth;
use headwater_testkit::{Postgres, Redis, eventually};

use crate::program::Headwater;
use crate::{flat, redis_store};

#[tokio::test]
async fn the_second_instance_waits_and_takes_over_from_a_killed_one() {
    let (postgres, redis) = (Postgres::start(), Redis::start());
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 500) i");
    let (entry, near) = redis_store(&redis);
    let views = [flat("t", "t", &["near"])];
    let first = Headwater::new(&postgres.url(), &[("near", entry)], &views);
    let truth = Truth::Postgres(postgres.url());
    first.start();
    first.converges(&truth, &near, &views).await;
    let epoch = epoch(&first).await;

    let second = first.again();
    second.start();
    postgres.psql("UPDATE t SET n = 1");
    first.converges(&truth, &near, &views).await;

    first.kill();
    postgres.psql("UPDATE t SET n = 2");
    second.converges(&truth, &near, &views).await;
    assert!(self::epoch(&second).await > epoch, "a takeover has an epoch of its own");
    second.stop();
}

async fn epoch(headwater: &Headwater) -> u64 {
    eventually(Duration::from_secs(10), "status answers", async || {
        let status = headwater.status()?;
        status["epoch"].as_u64().filter(|epoch| *epoch > 0).ok_or_else(|| format!("no epoch in {status}"))
    })
    .await
}
