//! Writes of every kind, by every kind of writer.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use headwater_model::{
    ChunkRange, Error, ErrorKind, Event, Key, Moment, Position, Source as _, TableName, Value,
};

use super::replay::Replica;
use super::{Database, failure, names, next, read_until};

const ITEMS: &str = "CREATE TABLE item (id INTEGER PRIMARY KEY, a, b TEXT, c REAL, d BLOB);";

#[tokio::test]
async fn every_value_keeps_its_storage_class() {
    let database = Database::with(ITEMS, &["item"]).await;
    database.run(
        "INSERT INTO item VALUES (1, 9007199254740993, '1', 0.1, x'00ff');
         INSERT INTO item VALUES (2, '9007199254740993', 'é\"', 9e999, 'text in a blob column');
         INSERT INTO item VALUES (3, 1.0, NULL, -9e999, 7);
         INSERT INTO item VALUES (4, x'31', '', 3, NULL);
         INSERT INTO item VALUES (5, -9223372036854775808, x'41', 'not a number', 1.5);
         INSERT INTO item VALUES (-6, -0.0, 'a' || char(0) || 'b', -0.0, '');",
    );
    let mut replica = Replica::default();
    database.catch_up(&mut replica).await;
    replica.assert_equals(&database.connect(), "item", &["id"]);
    assert_eq!(replica.tables["item"]["1"].0[1], Value::Int(9_007_199_254_740_993));
    assert_eq!(replica.tables["item"]["2"].0[3], Value::Float(f64::INFINITY));
    assert_eq!(replica.tables["item"]["3"].0[1], Value::Float(1.0));
}

#[tokio::test]
async fn inserts_updates_deletes_and_key_changes_arrive() {
    let database = Database::with(ITEMS, &["item"]).await;
    let mut replica = Replica::default();
    let sql = [
        "INSERT INTO item (id, a) VALUES (1, 1), (2, 2), (3, 3)",
        "UPDATE item SET a = a * 10",
        "UPDATE item SET id = 7 WHERE id = 1",
        "UPDATE item SET rowid = 8 WHERE id = 7",
        "DELETE FROM item WHERE id = 2",
        "INSERT INTO item (id, a) VALUES (3, 33) ON CONFLICT (id) DO UPDATE SET a = excluded.a",
        "REPLACE INTO item (id, a) VALUES (3, 333)",
        "INSERT OR IGNORE INTO item (id, a) VALUES (3, 0)",
        "UPDATE OR REPLACE item SET id = 3 WHERE id = 8",
        "DELETE FROM item",
        "INSERT INTO item (a) VALUES (1), (2)",
    ];
    for statement in sql {
        database.run(statement);
        database.catch_up(&mut replica).await;
        replica.assert_equals(&database.connect(), "item", &["id"]);
    }
}

#[tokio::test]
async fn rows_removed_by_replace_through_any_unique_column_leave() {
    let schema = "CREATE TABLE user (
            name TEXT COLLATE NOCASE NOT NULL, site INT NOT NULL, mail TEXT UNIQUE, number INT, x,
            PRIMARY KEY (name, site));
        CREATE UNIQUE INDEX by_number ON user (number, site) WHERE number > 0;
        CREATE TABLE narrow (k TEXT PRIMARY KEY, u INT UNIQUE) WITHOUT ROWID;";
    let database = Database::with(schema, &["user", "narrow"]).await;
    let mut replica = Replica::default();
    let sql = [
        "INSERT INTO user VALUES ('ann', 1, 'a@x', 1, 0), ('bob', 1, 'b@x', 2, 0), ('cyd', 1, 'c@x', 3, 0)",
        "REPLACE INTO user VALUES ('dan', 1, 'a@x', 2, 1)",
        "REPLACE INTO user VALUES ('CYD', 1, 'e@x', 9, 2)",
        "INSERT OR IGNORE INTO user VALUES ('eve', 1, 'e@x', 10, 3)",
        "INSERT INTO user VALUES ('fay', 1, 'e@x', 11, 4) ON CONFLICT (mail) DO UPDATE SET x = 'upserted'",
        "INSERT INTO user VALUES ('gil', 2, 'g@x', 9, 5), ('hal', 1, 'h@x', 12, 6)",
        "UPDATE OR REPLACE user SET number = 9 WHERE name = 'hal'",
        "UPDATE user SET name = upper(name)",
        "INSERT INTO narrow VALUES ('a', 1), ('b', 2), ('c', 3)",
        "REPLACE INTO narrow VALUES ('d', 1), ('e', 2)",
        "UPDATE OR REPLACE narrow SET u = u + 1 WHERE k = 'e'",
    ];
    for statement in sql {
        database.run(statement);
        database.catch_up(&mut replica).await;
        replica.assert_equals(&database.connect(), "user", &["name", "site"]);
        replica.assert_equals(&database.connect(), "narrow", &["k"]);
    }
}

#[tokio::test]
async fn other_triggers_and_cascades_do_not_hide_the_last_state() {
    let schema = "CREATE TABLE parent (id INTEGER PRIMARY KEY, n, changed);
        CREATE TABLE child (id INTEGER PRIMARY KEY, parent_id REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE);
        CREATE TRIGGER early AFTER INSERT ON parent BEGIN UPDATE parent SET changed = 'early' WHERE id = NEW.id; END;";
    let database = Database::with(schema, &["parent", "child"]).await;
    database.run(
        "CREATE TRIGGER late AFTER INSERT ON parent BEGIN UPDATE parent SET n = n + 1 WHERE id = NEW.id; END;
         PRAGMA foreign_keys = ON;
         INSERT INTO parent VALUES (1, 1, NULL), (2, 2, NULL), (3, 3, NULL);
         INSERT INTO child VALUES (10, 1), (20, 2), (21, 2), (30, 3);
         DELETE FROM parent WHERE id = 2;
         UPDATE parent SET id = 33 WHERE id = 3;
         REPLACE INTO parent VALUES (1, 100, 'again');",
    );
    let mut replica = Replica::default();
    database.catch_up(&mut replica).await;
    replica.assert_equals(&database.connect(), "parent", &["id"]);
    replica.assert_equals(&database.connect(), "child", &["id"]);
    assert_eq!(replica.tables["child"]["30"].0[1], Value::Int(33));
}

#[tokio::test]
async fn what_is_rolled_back_never_appears() {
    let database = Database::with(ITEMS, &["item"]).await;
    let mut replica = Replica::default();
    database.run(
        "BEGIN; INSERT INTO item (id) VALUES (1); ROLLBACK;
         BEGIN; INSERT INTO item (id) VALUES (2); SAVEPOINT s; INSERT INTO item (id) VALUES (3); ROLLBACK TO s;
         INSERT INTO item (id) VALUES (4); COMMIT;",
    );
    database.catch_up(&mut replica).await;
    replica.assert_equals(&database.connect(), "item", &["id"]);
    assert_eq!(replica.changes, 2);
}

#[tokio::test]
async fn the_command_line_client_is_followed_too() {
    if Command::new("sqlite3").arg("--version").output().is_err() {
        eprintln!("skipped: no sqlite3 on this machine");
        return;
    }
    let database = Database::with(ITEMS, &["item"]).await;
    let mut client = Command::new("sqlite3").arg(database.path()).stdin(Stdio::piped()).spawn().unwrap();
    client
        .stdin
        .take()
        .unwrap()
        .write_all(
            b"INSERT INTO item (id, a) VALUES (1, 'from outside'); REPLACE INTO item VALUES (1, 2, 3, 4, 5);",
        )
        .unwrap();
    assert!(client.wait().unwrap().success());
    let mut replica = Replica::default();
    database.catch_up(&mut replica).await;
    replica.assert_equals(&database.connect(), "item", &["id"]);
    assert_eq!(replica.tables["item"].len(), 1);
}

/// A small generator, so that a failing seed can be run again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn random_statement(dice: &mut Dice) -> String {
    let (id, other, u) = (dice.roll(60), dice.roll(60), dice.roll(40));
    let n = dice.roll(1_000_000);
    match dice.roll(12) {
        0 | 1 => format!("INSERT OR IGNORE INTO item VALUES ({id}, 'k{other}', {u}, {n})"),
        2 => format!("INSERT OR REPLACE INTO item VALUES ({id}, 'k{other}', {u}, {n})"),
        3 => {
            format!("INSERT INTO item VALUES ({id}, 'k{other}', {u}, {n}) ON CONFLICT DO UPDATE SET x = {n}")
        }
        4 => format!("UPDATE item SET x = {n} WHERE id = {id}"),
        5 => format!("UPDATE OR REPLACE item SET id = {other} WHERE id = {id}"),
        6 => format!("UPDATE OR REPLACE item SET u = {u}, x = 'u{n}' WHERE id % 7 = {}", id % 7),
        7 => format!("DELETE FROM item WHERE id = {id}"),
        8 => format!("INSERT OR REPLACE INTO pair VALUES ('p{}', {}, {n})", id % 9, other % 5),
        9 => format!("UPDATE OR IGNORE pair SET a = 'p{}', b = {} WHERE b = {}", id % 9, other % 5, u % 5),
        10 => format!("DELETE FROM pair WHERE b = {} AND a > 'p{}'", u % 5, id % 9),
        _ => format!("UPDATE pair SET x = {n} WHERE a = 'p{}'", id % 9),
    }
}

fn write_at_random(database: &Database, seed: u64, transactions: usize) {
    let connection = database.connect();
    let mut dice = Dice(seed);
    for _ in 0..transactions {
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        for _ in 0..dice.roll(5) + 1 {
            let savepoint = dice.roll(5) == 0;
            if savepoint {
                connection.execute_batch("SAVEPOINT s").unwrap();
            }
            // Constraint failures are part of life.
            let _ = connection.execute_batch(&random_statement(&mut dice));
            if savepoint {
                let end = if dice.roll(2) == 0 { "RELEASE s" } else { "ROLLBACK TO s; RELEASE s" };
                connection.execute_batch(end).unwrap();
            }
        }
        // Two rows that always sum to zero, for readers to check.
        connection.execute_batch("UPDATE sum SET n = -n").unwrap();
        connection.execute_batch(if dice.roll(6) == 0 { "ROLLBACK" } else { "COMMIT" }).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_writes_of_several_connections_end_in_the_same_rows() {
    let seed: u64 = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_122);
    println!("SEED={seed}");
    let schema = "CREATE TABLE item (id INTEGER PRIMARY KEY, k TEXT UNIQUE, u INT UNIQUE, x);
        CREATE TABLE pair (a TEXT, b INT NOT NULL, x, PRIMARY KEY (a, b)) WITHOUT ROWID;
        CREATE TABLE sum (id INTEGER PRIMARY KEY, n INT); INSERT INTO sum VALUES (1, 5), (2, -5);";
    let database = Arc::new(Database::with(schema, &["item", "pair", "sum"]).await);
    let writers: Vec<_> = (0..3)
        .map(|n| {
            let database = database.clone();
            std::thread::spawn(move || write_at_random(&database, seed + n, 300))
        })
        .collect();
    let mut replica = Replica::default();
    let mut dice = Dice(seed);
    while writers.iter().any(|writer| !writer.is_finished()) {
        // A new follower each time: it must go on exactly where the last committed.
        let source = database.again();
        let mut follow = source.follow(replica.position.as_ref()).await.unwrap();
        for _ in 0..dice.roll(20) {
            let events = tokio::time::timeout(std::time::Duration::from_millis(50), follow.next()).await;
            let Ok(events) = events else { break };
            replica.take(events.unwrap());
            if let Some(sum) = replica.tables.get("sum").filter(|rows| rows.len() == 2) {
                let total: i64 =
                    sum.values().map(|row| if let Value::Int(n) = row.0[1] { n } else { 99 }).sum();
                assert_eq!(total, 0, "no torn transaction");
            }
        }
        replica.crash();
        if let Some(position) = &replica.position {
            source.release(position).await.unwrap();
        }
    }
    for writer in writers {
        writer.join().unwrap();
    }
    database.catch_up(&mut replica).await;
    let connection = database.connect();
    replica.assert_equals(&connection, "item", &["id"]);
    replica.assert_equals(&connection, "pair", &["a", "b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_larger_than_a_window_is_one_transaction_even_while_writes_go_on() {
    let database = Arc::new(Database::with(ITEMS, &["item"]).await);
    let all = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)";
    database.run(&format!("{all} INSERT INTO item (id, a) SELECT i, 0 FROM n"));
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (database, stop) = (database.clone(), stop.clone());
        std::thread::spawn(move || {
            let connection = database.connect();
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                // The first and the last row always change together.
                let sql = format!("UPDATE item SET a = {round} WHERE id IN (1, 60000)");
                connection.execute_batch(&sql).unwrap();
            }
        })
    };
    let mut follow = database.source.follow(None).await.unwrap();
    let mut replica = Replica::default();
    for _ in 0..100 {
        let events = next(&mut *follow).await;
        replica.take(events);
        if let Some(rows) = replica.tables.get("item") {
            assert_eq!(rows.len(), 60_000);
            assert_eq!(rows["1"].0[1], rows["60000"].0[1], "no torn transaction");
        }
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    let (end, _) = database.source.progress().await.unwrap();
    read_until(&mut *follow, &mut replica, &end).await;
    replica.assert_equals(&database.connect(), "item", &["id"]);
}

#[tokio::test]
async fn one_instance_follows_at_a_time() {
    let database = Database::with(ITEMS, &["item"]).await;
    let first = database.source.follow(None).await.unwrap();
    let error = database.again().follow(None).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.to_string().contains("another instance"), "{error}");
    drop(first);
    database.again().follow(None).await.unwrap();
}

#[tokio::test]
async fn a_chunk_and_the_stream_agree_about_the_moment() {
    let database = Database::with(ITEMS, &["item"]).await;
    database.run("INSERT INTO item (id, a) VALUES (1, 1), (2, 2), (3, 3), (4, 4), (5, 5)");
    let range = |after: Option<i64>, keys: &[i64]| ChunkRange {
        table: TableName::new(None, "item"),
        after: after.map(|id| Key(vec![Value::Int(id)])),
        limit: 2,
        bytes_max: 1 << 20,
        keys: keys.iter().map(|id| Key(vec![Value::Int(*id)])).collect(),
    };
    let chunk = database.source.read_chunk(&range(None, &[])).await.unwrap();
    assert_eq!((chunk.rows.len(), chunk.last), (2, false));
    let chunk = database.source.read_chunk(&range(Some(4), &[])).await.unwrap();
    assert_eq!((chunk.rows.len(), chunk.last), (1, true));
    let keys = database.source.read_chunk(&range(None, &[4, 99, 1])).await.unwrap();
    assert_eq!((keys.rows.len(), keys.last), (2, true));
    assert_eq!(keys.rows[0].0[1], Value::Int(4));
    let tiny = ChunkRange { bytes_max: 1, ..range(None, &[]) };
    let tiny = database.source.read_chunk(&tiny).await.unwrap();
    assert_eq!((tiny.rows.len(), tiny.last), (1, false));

    database.run("UPDATE item SET a = 50 WHERE id = 5");
    database.source.mark(u64::MAX - 3).await.unwrap();
    database.source.mark(7).await.unwrap();
    database.run("UPDATE item SET a = 51 WHERE id = 5");
    let mut replica = Replica::default();
    let mut follow = database.source.follow(None).await.unwrap();
    while replica.marks.len() < 2 {
        replica.take(next(&mut *follow).await);
    }
    assert_eq!(replica.marks[1].0, 7);
    database.source.mark(8).await.unwrap();
    database.run("UPDATE item SET a = 52 WHERE id = 5");
    let (end, _) = database.source.progress().await.unwrap();
    read_until(&mut *follow, &mut replica, &end).await;
    let (marked, position) = &replica.marks[0];
    assert_eq!(*marked, u64::MAX - 3);
    let Moment::At(at) = &chunk.moment else { panic!("SQLite reads at positions") };
    assert!(at < position);
    assert!(!chunk.moment.sees(None, position));
    assert_eq!(*chunk.table, *database.source.shapes(&names(&["item"])).await.unwrap()[0].table);
}

#[tokio::test]
async fn what_was_released_is_gone_and_what_was_not_is_there() {
    let database = Database::with(ITEMS, &["item"]).await;
    let all = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)";
    database.run(&format!("{all} INSERT INTO item (id, a) SELECT i, 0 FROM n"));
    let mut replica = Replica::default();
    database.catch_up(&mut replica).await;
    let consumed = replica.position.clone().unwrap();
    let (_, before) = database.source.progress().await.unwrap();
    assert!(before.bytes > 1_000_000, "{before:?}");
    // Each call takes a bounded time; the data plane calls again and again.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        database.source.release(&consumed).await.unwrap();
        let (position, after) = database.source.progress().await.unwrap();
        assert_eq!(position, consumed);
        if after.bytes == 0 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{after:?}");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    database.run("UPDATE item SET a = 1 WHERE id = 1");
    database.catch_up(&mut replica).await;
    replica.assert_equals(&database.connect(), "item", &["id"]);
    let early = Position::new(consumed.system.clone(), 5);
    assert_eq!(failure(&database.source, Some(&early)).await.kind(), ErrorKind::OutOfStep);
    let foreign = Position::new("another", consumed.sequence);
    assert_eq!(failure(&database.source, Some(&foreign)).await.kind(), ErrorKind::OutOfStep);
}

#[tokio::test]
async fn an_older_copy_is_noticed() {
    let database = Database::with(ITEMS, &["item"]).await;
    let copy = database.path().with_extension("copy");
    database.run(&format!("VACUUM INTO '{}'", copy.display()));
    database.run("INSERT INTO item (id) VALUES (1), (2), (3)");
    let mut replica = Replica::default();
    database.catch_up(&mut replica).await;
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", database.path().display()));
    }
    std::fs::rename(copy, database.path()).unwrap();
    let error: Error = failure(&database.again(), replica.position.as_ref()).await;
    assert_eq!(error.kind(), ErrorKind::OutOfStep);
    assert!(error.to_string().contains("older copy"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_replaced_while_followed_is_noticed() {
    let database = Database::with(ITEMS, &["item"]).await;
    let copy = database.path().with_extension("copy");
    database.run(&format!("VACUUM INTO '{}'", copy.display()));
    let mut follow = database.source.follow(None).await.unwrap();
    let _ = next(&mut *follow).await;
    std::fs::rename(copy, database.path()).unwrap();
    // It may still say that there is nothing new before it looks at the name again.
    let error = loop {
        if let Err(error) = follow.next().await {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::OutOfStep);
}

#[tokio::test]
async fn a_log_that_nobody_reads_stays_bounded_and_the_gap_is_told() {
    let database = Database::with(ITEMS, &["item"]).await;
    let options =
        headwater_engines::sqlite::SourceOptions { path: database.path(), retained_log_bytes_max: 5000 * 40 };
    let source = headwater_engines::sqlite::Source::with_options(options);
    source.prepare(&names(&["item"])).await.unwrap();
    let mut replica = Replica::default();
    database.catch_up(&mut replica).await;
    let all = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)";
    database.run(&format!("{all} INSERT INTO item (id, a) SELECT i, 0 FROM n"));
    let rows: i64 =
        database.connect().query_row("SELECT count(*) FROM headwater_change", [], |r| r.get(0)).unwrap();
    assert!((5000..7000).contains(&rows), "{rows}");
    let error = failure(&source, replica.position.as_ref()).await;
    assert_eq!(error.kind(), ErrorKind::OutOfStep);
}

#[tokio::test]
async fn an_idle_follower_hands_on_a_commit_within_milliseconds() {
    let database = Database::with(ITEMS, &["item"]).await;
    let mut follow = database.source.follow(None).await.unwrap();
    let _ = next(&mut *follow).await;
    let connection = database.connect();
    let mut waits = Vec::new();
    for id in 0..50 {
        connection.execute("INSERT INTO item (id) VALUES (?1)", [id]).unwrap();
        let committed = std::time::Instant::now();
        let events = next(&mut *follow).await;
        assert!(matches!(events.last(), Some(Event::Commit { .. })));
        waits.push(committed.elapsed());
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    waits.sort_unstable();
    println!("commit to event: p50 {:?}, p98 {:?}", waits[25], waits[48]);
}
