//! What capture costs the application, and how fast changes are read. Run with
//! `cargo test --release -p headwater-engines --test it -- --ignored --nocapture sqlite_source::speed`

use std::time::Instant;

use headwater_model::{Event, Source as _};

use super::{Database, next};

const ROWS: u32 = 200_000;
const PER_TRANSACTION: u32 = 1000;

const SCHEMA: &str =
    "CREATE TABLE item (id INTEGER PRIMARY KEY, title TEXT, price REAL, stock INT, note TEXT);
    CREATE TABLE person (id INTEGER PRIMARY KEY, mail TEXT UNIQUE, name TEXT);";

fn insert(database: &Database, sql: &str, per_transaction: u32, rows: u32) -> f64 {
    let connection = database.connect();
    connection.execute_batch("PRAGMA synchronous=NORMAL").unwrap();
    let started = Instant::now();
    for first in (0..rows).step_by(per_transaction as usize) {
        connection.execute_batch("BEGIN").unwrap();
        for id in first..first + per_transaction {
            connection.prepare_cached(sql).unwrap().execute([id]).unwrap();
        }
        connection.execute_batch("COMMIT").unwrap();
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(rows)
}

#[tokio::test]
#[ignore = "a measurement"]
async fn capture_overhead() {
    let plain = Database::with(SCHEMA, &[]).await;
    let captured = Database::with(SCHEMA, &["item", "person"]).await;
    let item =
        "INSERT INTO item VALUES (?1, 'The Art of Computer Programming', 79.9, 12, 'a note of some length')";
    let update = "UPDATE item SET stock = stock + 1 WHERE id = (?1 * 7919) % 200000";
    let person = "INSERT INTO person VALUES (?1, 'person' || ?1 || '@example.com', 'A Name')";
    for (what, sql, per, rows) in [
        ("insert, 1000 per transaction", item, PER_TRANSACTION, ROWS),
        ("update, 1000 per transaction", update, PER_TRANSACTION, ROWS),
        ("update, 1 per transaction", update, 1, 20_000),
        ("insert with a unique column", person, PER_TRANSACTION, ROWS),
    ] {
        let (without, with) = (insert(&plain, sql, per, rows), insert(&captured, sql, per, rows));
        println!("{what}: {without:.2} us without capture, {with:.2} us with, {:+.2} us", with - without);
    }
}

#[tokio::test]
#[ignore = "a measurement"]
async fn changes_drained() {
    let database = Database::with(SCHEMA, &["item"]).await;
    let item =
        "INSERT INTO item VALUES (?1, 'The Art of Computer Programming', 79.9, 12, 'a note of some length')";
    insert(&database, item, PER_TRANSACTION, ROWS);
    let mut after = None;
    for what in ["inserts in key order", "updates of random keys"] {
        let mut follow = database.source.follow(after.as_ref()).await.unwrap();
        let started = Instant::now();
        let mut changes = 0;
        'all: loop {
            for event in next(&mut *follow).await {
                match event {
                    Event::Change(_) => changes += 1,
                    Event::Commit { position, .. } => {
                        after = Some(position);
                        break 'all;
                    }
                    _ => {}
                }
            }
        }
        println!("{what}: {changes} changes, {:.0}/s", f64::from(changes) / started.elapsed().as_secs_f64());
        drop(follow);
        insert(&database, "UPDATE item SET stock = stock + 1 WHERE id = (?1 * 7919) % 200000", 1000, ROWS);
    }
}

#[tokio::test]
#[ignore = "a measurement"]
async fn idle_cost() {
    let database = Database::with(SCHEMA, &["item"]).await;
    let mut follow = database.source.follow(None).await.unwrap();
    let _ = next(&mut *follow).await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let cpu = || -> f64 {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    };
    let before = cpu();
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    println!("idle: {:.2} % of a core", (cpu() - before) * 10.0);
}
