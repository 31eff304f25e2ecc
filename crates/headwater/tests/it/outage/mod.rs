//! A store dies while it is read, and nobody notices: Redis is killed at 2,000 reads per second over HTTP and the Redis
//! protocol, comes back with its data, is killed again and comes back with nothing. No read fails, none is older than its
//! pattern allows, no reader goes backwards, and Redis answers again by itself.
//!
//! A slow machine reads more slowly; what is waited for is always a number of answers.

mod readers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use headwater_testkit::checker::Truth;
use headwater_testkit::{Chance, Postgres, Redis, eventually, free_port};
use tokio_postgres::Client;

use crate::http::client::Client as Http;
use crate::service::{PATIENCE, Service, local, near, test_seconds};
use readers::{Readers, Written};

const ROWS: i64 = 400;

/// Of `fresh`: much less than what a store that is down for good would have, and more than a loaded machine takes.
pub const STALE: Duration = Duration::from_secs(10);

fn file(source: &str, redis: &str, resp: u16) -> String {
    format!(
        r#"
[source]
url = "{source}"
[stores]
near = {{ url = "{redis}" }}
local = {{ url = "sqlite:derived.db" }}
[views.item]
from = "items"
store = ["near", "local"]
[access.item]
get = "item"
[access.fresh]
get = "item"
stale = "{}s"
[access.shelf]
range = "item"
by = "shelf"
order = "id"
limit = 20
[serve]
listen = "127.0.0.1:0"
resp = "127.0.0.1:{resp}"
# A machine on which the stores are behind for a moment still answers.
source_rate = "2000/s"
source_parallel = 16
source_timeout = "20s"
"#,
        STALE.as_secs()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_fails_and_no_reader_goes_back_while_redis_is_killed_and_comes_back() {
    let postgres = Postgres::start();
    let redis = Redis::builder().arg("appendonly", "yes").start();
    postgres.psql(&format!(
        "CREATE TABLE items (id int PRIMARY KEY, shelf int NOT NULL, version bigint NOT NULL, text text);
         INSERT INTO items SELECT i, i % 20, 0, repeat('x', 100) FROM generate_series(1, {ROWS}) AS i"
    ));
    let resp = free_port();
    let service = Service::new("outage", &file(&postgres.url(), &redis.url(), resp));
    service.start();
    let http = Http::of(&service).await;
    service.healthy().await;

    let over = Arc::new(AtomicBool::new(false));
    let written = Arc::new(Written::new(ROWS));
    let writing = tokio::spawn(write(postgres.connect().await, Arc::clone(&written), Arc::clone(&over)));
    let readers = Readers::start(http.address, resp, Arc::clone(&written));
    let began = Instant::now();
    answers(&readers, "near").await;
    redis.kill();
    answers(&readers, "local").await;
    redis.restart();
    answers(&readers, "near").await;
    redis.kill();
    redis.lose_data();
    answers(&readers, "local").await;
    redis.restart();
    answers(&readers, "near").await;
    let took = began.elapsed();
    let read = readers.finish();
    over.store(true, Ordering::SeqCst);
    let commits = writing.await.unwrap();
    println!("{read} reads, {} per second, {commits} commits", read * 1000 / took.as_millis() as u64);
    assert!(commits > 0);
    service.healthy().await;
    let truth = Truth::Postgres(postgres.url());
    service.equal(&truth, "near", &near(&redis)).await;
    service.equal(&truth, "local", &local(&service.path("derived.db"))).await;
    service.stop();
}

/// Waits until the store has given a good number of answers from now on, for as long as the test is to go on.
async fn answers(readers: &Readers, store: &str) {
    let (since, from, least) = (Instant::now(), readers.answered_by(store), test_seconds(0));
    eventually(PATIENCE + least, &format!("{store} answers"), async || {
        readers.assert_well();
        let answered = readers.answered_by(store) - from;
        if answered >= 600 && since.elapsed() >= least { Ok(()) } else { Err(format!("{answered} times")) }
    })
    .await;
}

/// Commits one row after the other, until it is over; how many.
async fn write(client: Client, written: Arc<Written>, over: Arc<AtomicBool>) -> u64 {
    let update = client
        .prepare("UPDATE items SET version = version + 1 WHERE id = $1 RETURNING version")
        .await
        .unwrap();
    let (mut chance, mut commits) = (Chance::from_env(7), 0);
    while !over.load(Ordering::SeqCst) {
        let id = 1 + chance.below(ROWS as u64) as i32;
        let version: i64 = client.query_one(&update, &[&id]).await.unwrap().get(0);
        written.committed(i64::from(id), version);
        commits += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    commits
}
