//! From a SQLite file that any client writes to, into the embedded store and the memory store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use headwater_testkit::Chance;
use headwater_testkit::checker::Truth;
use headwater_testkit::workload::{PairReader, PairStore};
use rusqlite::Connection;

use crate::service::{Service, local, test_seconds};

const FILE: &str = r#"
[source]
url = "sqlite:shop.db"
[stores]
local = { url = "sqlite:derived.db" }
memory = { url = "memory:" }
[backfill]
chunk_rows = 500
[views.item]
from = "item"
store = ["local", "memory"]
embed.parts = { from = "part", many = "item_id", order = "-id", limit = 3 }
[views.part]
from = "part"
store = ["local", "memory"]
[views.pair]
from = "pair"
store = ["local", "memory"]
"#;

/// A shop that somebody else writes to all the time.
struct Writer {
    over: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

fn open(path: &Path) -> Connection {
    let db = Connection::open(path).unwrap();
    db.busy_timeout(Duration::from_secs(30)).unwrap();
    db
}

impl Writer {
    fn start(path: PathBuf) -> Writer {
        let over = Arc::new(AtomicBool::new(false));
        let seen = over.clone();
        let thread = std::thread::spawn(move || {
            let (mut db, mut chance, mut committed) = (open(&path), Chance::new(5), 0);
            while !seen.load(Ordering::Relaxed) {
                let (item, part, n) = (1 + chance.below(2_000), 1 + chance.below(30_000), chance.below(100));
                let transaction =
                    db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
                let sql = match chance.below(6) {
                    0 => format!("UPDATE part SET item_id = {item} WHERE id = {part}"),
                    1 => format!("DELETE FROM part WHERE id = {part}"),
                    2 => format!("INSERT OR REPLACE INTO part VALUES ({part}, {item}, 'new {n}')"),
                    3 => format!("UPDATE OR REPLACE part SET id = {part} WHERE id = {}", part / 2),
                    4 => format!("UPDATE item SET name = 'name {n}' WHERE id = {item}"),
                    _ => format!(
                        "UPDATE pair SET version = version + 1, amount = CASE id WHEN 1 THEN {n} ELSE -{n} END"
                    ),
                };
                transaction.execute_batch(&sql).unwrap();
                transaction.commit().unwrap();
                committed += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            committed
        });
        Writer { over, thread }
    }

    fn finish(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_file_arrives_whole_although_headwater_is_killed_all_the_time() {
    let service = Service::new("sqlite", FILE);
    let shop = service.path("shop.db");
    open(&shop)
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT);
             CREATE TABLE part (id INTEGER PRIMARY KEY, item_id INTEGER, name TEXT);
             CREATE TABLE pair (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL, version INTEGER NOT NULL);
             INSERT INTO pair VALUES (1, 0, 0), (2, 0, 0);
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
             INSERT INTO item SELECT i, 'item ' || i FROM n;
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
             INSERT INTO part SELECT i, i % 2000, 'part ' || i FROM n;",
        )
        .unwrap();
    let mut chance = Chance::from_env(3);
    let writer = Writer::start(shop.clone());
    let reader = PairReader::start(PairStore::Sqlite(service.path("derived.db")));
    let until = Instant::now() + test_seconds(6);
    let mut kills = 0;
    while Instant::now() < until {
        service.start();
        tokio::time::sleep(Duration::from_millis(200 + chance.below(600))).await;
        service.kill();
        kills += 1;
    }
    let committed = writer.finish();
    let truth = Truth::Sqlite(shop.clone());
    let derived = local(&service.path("derived.db"));
    service.start();
    service.equal(&truth, "local", &derived).await;
    let seen = reader.finish().unwrap_or_else(|violation| panic!("{violation}\n{}", service.log_tail()));
    assert!(seen > 0, "the reader saw the pair");
    eprintln!("{kills} kills, {committed} transactions");

    // A clean stop; what is written meanwhile arrives, and the embedded store is not read again.
    service.healthy().await;
    service.stop();
    open(&shop)
        .execute_batch("DELETE FROM part WHERE id < 100; UPDATE item SET id = 5000 WHERE id = 7")
        .unwrap();
    service.start();
    service.equal(&truth, "local", &derived).await;
    service
        .eventually("the memory store is filled again", async || {
            let (status, code) = service.status();
            let rows = |store: usize| {
                let views = status["stores"][store]["views"].as_array().unwrap().clone();
                views.iter().map(|view| (view["name"].clone(), view["rows"].clone())).collect::<Vec<_>>()
            };
            if code == 0 && rows(0) == rows(1) { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
    service.stop();
}
