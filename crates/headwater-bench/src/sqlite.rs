//! The same two measures with SQLite as source and as store: backfill and follow, against a plain read of the rows and a
//! plain batch insert of the same documents.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use headwater_testkit::Folder;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use crate::Size;
use crate::headwater::{Headwater, Usage};
use crate::report::{Report, median};

/// Rows or documents per transaction of the limits.
const BATCH: usize = 10_000;

pub fn run(size: Size) -> anyhow::Result<()> {
    let (mut backfills, mut follows) = (Times::default(), Times::default());
    for _ in 0..size.repeat {
        round(size, &mut backfills, &mut follows)?;
    }
    backfills.print("sqlite_backfill", size.rows, "rows", 0.85);
    follows.print("sqlite_follow", size.transactions, "changes", 0.9);
    Ok(())
}

#[derive(Default)]
struct Times {
    reads: Vec<Duration>,
    writes: Vec<Duration>,
    ours: Vec<Duration>,
    used: Usage,
}

impl Times {
    fn print(self, bench: &'static str, count: u64, unit: &str, aim: f64) {
        let (read, write, ours) = (median(self.reads), median(self.writes), median(self.ours));
        let mut report = Report::new(bench);
        report.time("limit: read the rows", read, count, unit);
        report.time("limit: batch insert of the documents", write, count, unit);
        report.time("headwater", ours, count, unit);
        report.memory("headwater resident max", self.used.resident_max);
        report.seconds("headwater cpu", self.used.cpu_seconds);
        let ratio = read.max(write).as_secs_f64() / ours.as_secs_f64();
        report.ratio(bench, ratio, &format!("of the slower limit; aim {aim}"));
        report.print();
    }
}

fn round(size: Size, backfill: &mut Times, follow: &mut Times) -> anyhow::Result<()> {
    let folder = Folder::new("bench");
    let (source, store, scratch) =
        (folder.join("source.db"), folder.join("derived.db"), folder.join("scratch.db"));
    let writer = fill(&source, size.rows)?;

    // Backfill.
    let (read, documents) = read(&source, "SELECT * FROM accounts ORDER BY aid")?;
    backfill.reads.push(read);
    backfill.writes.push(insert(&scratch, &documents)?);
    drop(documents);
    let headwater = Headwater::new(
        &format!("sqlite:{}", source.display()),
        &format!("sqlite:{}", store.display()),
        "accounts",
    )?;
    let started = Instant::now();
    headwater.start();
    // Counting is dear, so it is asked for when a key of each part of the table is there.
    let probes: Vec<u64> = (0..100).map(|i| 1 + i * (size.rows - 1) / 99).collect();
    let pause = Duration::from_millis(10);
    headwater.wait("a row of each part of the table", pause, || {
        Ok(probes.iter().rev().all(|aid| balance(&store, *aid).is_ok_and(|b| b.is_some())))
    })?;
    headwater.wait("all rows", pause, || Ok(count(&store)? >= size.rows))?;
    backfill.ours.push(started.elapsed());
    write_sentinel(&writer, 5)?;
    headwater.wait("it follows", pause, || Ok(balance(&store, 1)? == Some(5)))?;
    backfill.used = headwater.stop()?;

    // Follow: what happened while nobody did.
    update(&writer, size)?;
    write_sentinel(&writer, 900_000_001)?;
    let changed = format!("SELECT * FROM accounts ORDER BY random() LIMIT {}", size.transactions);
    let shuffled = folder.join("shuffled.db");
    // In a table of its own, so that sorting is not part of the limit.
    writer.execute("ATTACH ?1 AS shuffled", [shuffled.display().to_string()])?;
    writer.execute_batch(&format!("CREATE TABLE shuffled.accounts AS {changed}; DETACH shuffled"))?;
    let (read, documents) = self::read(&shuffled, "SELECT * FROM accounts")?;
    follow.reads.push(read);
    follow.writes.push(insert(&scratch, &documents)?);
    drop(documents);
    let started = Instant::now();
    headwater.start();
    headwater.wait("the last change is visible", Duration::from_millis(2), || {
        Ok(balance(&store, 1)? == Some(900_000_001))
    })?;
    follow.ours.push(started.elapsed());
    follow.used = headwater.stop()?;
    Ok(())
}

/// A table like `pgbench_accounts`.
fn fill(path: &Path, rows: u64) -> anyhow::Result<Connection> {
    let mut db = Connection::open(path)?;
    db.pragma_update(None, "journal_mode", "wal")?;
    db.pragma_update(None, "synchronous", "off")?;
    db.busy_timeout(Duration::from_secs(30))?;
    db.execute_batch(
        "CREATE TABLE accounts (aid INTEGER PRIMARY KEY, bid INTEGER NOT NULL, abalance INTEGER NOT NULL, filler TEXT)",
    )?;
    let transaction = db.transaction()?;
    {
        let mut insert = transaction.prepare("INSERT INTO accounts VALUES (?1, ?2, 0, ?3)")?;
        let filler = " ".repeat(84);
        for aid in 1..=rows as i64 {
            insert.execute(params![aid, 1 + aid / 100_000, filler])?;
        }
    }
    transaction.commit()?;
    db.pragma_update(None, "wal_checkpoint", "truncate").or_else(ignore_rows)?;
    nix::unistd::sync();
    Ok(db)
}

/// A checkpoint answers with a row, which `pragma_update` takes for a mistake.
fn ignore_rows(error: rusqlite::Error) -> rusqlite::Result<()> {
    if let rusqlite::Error::ExecuteReturnedResults = error { Ok(()) } else { Err(error) }
}

/// Single-row transactions, on random rows but the first.
fn update(db: &Connection, size: Size) -> anyhow::Result<()> {
    let mut update = db.prepare("UPDATE accounts SET abalance = abalance + ?1 WHERE aid = ?2")?;
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    for _ in 0..size.transactions {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        update.execute(params![
            (state >> 40) as i64 % 10_000 - 5_000,
            2 + ((state >> 20) % (size.rows - 1)) as i64
        ])?;
    }
    Ok(())
}

fn write_sentinel(db: &Connection, value: i64) -> anyhow::Result<()> {
    db.execute("UPDATE accounts SET abalance = ?1 WHERE aid = 1", [value])?;
    Ok(())
}

/// The limit of reading; and, not counted, the documents to write.
fn read(path: &Path, select: &str) -> anyhow::Result<(Duration, Vec<(String, String)>)> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut query = db.prepare(select)?;
    let started = Instant::now();
    let mut rows = query.query([])?;
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        for column in 0..4 {
            bytes += row.get_ref(column)?.as_bytes().map_or(8, <[u8]>::len);
        }
    }
    drop(rows);
    let took = started.elapsed();
    std::hint::black_box(bytes);

    let documents = query
        .query_map([], |row| {
            let (aid, bid, balance): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let filler: String = row.get(3)?;
            let document = format!(r#"{{"aid":{aid},"bid":{bid},"abalance":{balance},"filler":"{filler}"}}"#);
            Ok((aid.to_string(), document))
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok((took, documents))
}

/// The limit of writing.
fn insert(path: &Path, documents: &[(String, String)]) -> anyhow::Result<Duration> {
    let mut db = Connection::open(path)?;
    db.pragma_update(None, "journal_mode", "wal")?;
    db.pragma_update(None, "synchronous", "normal")?;
    db.execute_batch(
        "CREATE TABLE IF NOT EXISTS account (key TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID",
    )?;
    let started = Instant::now();
    for batch in documents.chunks(BATCH) {
        let transaction = db.transaction()?;
        let mut insert = transaction.prepare_cached(
            "INSERT INTO account VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET document = excluded.document",
        )?;
        for (key, document) in batch {
            insert.execute([key, document])?;
        }
        drop(insert);
        transaction.commit()?;
    }
    Ok(started.elapsed())
}

fn open(store: &Path) -> anyhow::Result<Option<Connection>> {
    if !store.exists() {
        return Ok(None);
    }
    let db = Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    db.busy_timeout(Duration::from_secs(5))?;
    let ready: i64 = db
        .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'account'", [], |row| row.get(0))
        .context("look into the store")?;
    Ok((ready > 0).then_some(db))
}

fn balance(store: &Path, aid: u64) -> anyhow::Result<Option<i64>> {
    let Some(db) = open(store)? else { return Ok(None) };
    let sql = "SELECT json_extract(document, '$.abalance') FROM account WHERE key = ?1";
    Ok(db.query_row(sql, [aid.to_string()], |row| row.get(0)).optional()?)
}

fn count(store: &Path) -> anyhow::Result<u64> {
    let Some(db) = open(store)? else { return Ok(0) };
    Ok(db.query_row("SELECT count(*) FROM account", [], |row| row.get::<_, i64>(0))? as u64)
}
