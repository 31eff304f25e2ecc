//! TPC-B at full speed while Headwater is killed every few seconds. `HEADWATER_PGBENCH_SECONDS` makes it longer.

use std::time::{Duration, Instant};

use headwater_testkit::checker::Truth;
use headwater_testkit::{Postgres, Redis};

use crate::program::Headwater;
use crate::{flat, redis_store};

#[tokio::test]
async fn accounts_and_the_three_aggregates_agree_after_kills_at_full_speed() {
    let seconds =
        std::env::var("HEADWATER_PGBENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let postgres = Postgres::start();
    let redis = Redis::start();
    assert!(postgres.tool("pgbench").args(["-i", "-q", "-s", "1"]).output().unwrap().status.success());
    postgres.psql("ALTER TABLE pgbench_history ADD COLUMN id bigserial PRIMARY KEY");

    let (entry, near) = redis_store(&redis);
    let names = ["accounts", "tellers", "branches", "history"];
    let views: Vec<_> = names.iter().map(|name| flat(name, &format!("pgbench_{name}"), &["near"])).collect();
    let headwater = Headwater::with_chunks(5_000, &postgres.url(), &[("near", entry)], &views);
    headwater.start();
    let mut load = postgres
        .tool("pgbench")
        .args(["-n", "-c", "4", "-j", "1", "-T", &seconds.to_string()])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(2_700)).await;
        headwater.kill();
        headwater.start();
    }
    assert!(load.wait().unwrap().success());

    let report = headwater.converges(&Truth::Postgres(postgres.url()), &near, &views).await;
    assert!(report.compared > 100_000);
    let sum = |view: &str, field: &str| -> i64 {
        let script = "local sum, cursor = 0, '0'
            repeat
                local page = redis.call('SCAN', cursor, 'MATCH', ARGV[1], 'COUNT', 10000)
                cursor = page[1]
                for _, key in ipairs(page[2]) do sum = sum + tonumber(redis.call('HGET', key, ARGV[2])) end
            until cursor == '0'
            return string.format('%d', sum)";
        redis.cli(&["EVAL", script, "0", &format!("shop:{view}:*"), field]).parse().unwrap()
    };
    let accounts = sum("accounts", "abalance");
    assert_eq!(accounts, sum("tellers", "tbalance"));
    assert_eq!(accounts, sum("branches", "bbalance"));
    assert_eq!(accounts, sum("history", "delta"));
    headwater.stop();
}
