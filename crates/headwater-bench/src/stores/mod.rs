//! Rows/s that each store takes, beside what its engine's own bulk loader takes of the same rows in the same run: `redis-cli --pipe`,
//! COPY, LOAD DATA, BatchWriteItem, mongoimport, the line protocol, UNWIND.
//!
//! The store is written to as `run` does it: steps of whole transactions with their position, none of them seen half.

mod bulk;
mod rows;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use headwater_model::file::{Setting, StoreSection};
use headwater_model::{Epoch, Held, Offset, Position, Secret, Store, View, ViewChange};
use headwater_testkit::{DynamoDb, FalkorDb, InfluxDb, MariaDb, MongoDb, Postgres, Redis};

use self::rows::Rows;
use crate::Size;
use crate::report::{Report, median};

const NAMES: [&str; 7] = ["redis", "postgres", "mariadb", "dynamodb", "mongodb", "influxdb", "falkordb"];

/// Rows of one step: what `run` puts together of a table that is read for the first time.
const STEP_ROWS: u64 = 10_000;

/// Engines that take this many times fewer rows, so that no bench takes all day.
const SLOWER: [(&str, u64); 3] = [("dynamodb", 25), ("influxdb", 4), ("falkordb", 10)];

/// Rows by the engine's own loader.
type Load = dyn Fn(&Rows) -> anyhow::Result<Duration>;

/// An engine that is up: how it is written to in both ways, and emptied.
struct Bench {
    /// What its own loader is called.
    bulk: &'static str,
    url: String,
    settings: Vec<(&'static str, String)>,
    load: Box<Load>,
    empty: Box<dyn Fn()>,
}

pub fn run(size: Size, only: Option<&str>) -> anyhow::Result<()> {
    if let Some(name) = only.filter(|name| !NAMES.contains(name)) {
        bail!("no store is called {name}: there are {}", NAMES.join(", "));
    }
    let mut report = Report::new("stores");
    for name in NAMES.into_iter().filter(|name| only.is_none_or(|only| only == *name)) {
        let Some(bench) = start(name)? else { continue };
        let slower = SLOWER.iter().find(|(slow, _)| *slow == name).map_or(1, |(_, times)| *times);
        let rows = Rows { count: (size.rows / slower).max(STEP_ROWS), series: name == "influxdb" };
        let (mut bulks, mut fills, mut updates) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..size.repeat {
            (bench.empty)();
            bulks.push((bench.load)(&rows).with_context(|| format!("{name}: {}", bench.bulk))?);
            (bench.empty)();
            let (fill, update) = ours(name, &bench, &rows).with_context(|| format!("{name}: the store"))?;
            fills.push(fill);
            updates.push(update);
        }
        let (bulk, fill, update) = (median(bulks), median(fills), median(updates));
        report.time(&format!("{name}: {}", bench.bulk), bulk, rows.count, "rows");
        report.time(&format!("{name}: filled"), fill, rows.count, "rows");
        report.time(&format!("{name}: written again"), update, rows.count, "rows");
        report.ratio(name, bulk.as_secs_f64() / fill.as_secs_f64(), "of its own bulk ingest; aim 0.7");
    }
    report.print();
    Ok(())
}

/// Fills an empty store, then writes every row again with another balance.
fn ours(name: &str, bench: &Bench, rows: &Rows) -> anyhow::Result<(Duration, Duration)> {
    let text = |text: &str| Setting::Text(Secret::new(text));
    let setting = |(name, value): &(&str, String)| match value.as_str() {
        "true" => ((*name).into(), Setting::Bool(true)),
        value => ((*name).into(), text(value)),
    };
    let section = StoreSection {
        name: name.into(),
        url: Secret::new(bench.url.clone()),
        settings: bench.settings.iter().map(setting).collect(),
        source: None,
    };
    let store = headwater_engines::store(&section)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let view = rows.view();
        store.claim(Epoch(1)).await?;
        store.prepare(&view).await?;
        // As `run` begins with every view that it fills.
        step(&*store, vec![ViewChange::Clear { view: view.clone() }], 0).await?;
        let started = Instant::now();
        let offset = pass(&*store, &view, rows, 0, 1).await?;
        let filled = started.elapsed();
        anyhow::ensure!(store.rows(&view).await? == rows.count, "not all rows are in the store");
        let started = Instant::now();
        pass(&*store, &view, rows, 1, offset).await?;
        Ok((filled, started.elapsed()))
    })
}

/// Every row once; returns the offset that the store then holds.
async fn pass(
    store: &dyn Store,
    view: &Arc<View>,
    rows: &Rows,
    round: u64,
    mut offset: u64,
) -> anyhow::Result<u64> {
    for from in (0..rows.count).step_by(STEP_ROWS as usize) {
        let changes = (from..rows.count.min(from + STEP_ROWS)).map(|n| rows.put(view, n, round)).collect();
        step(store, changes, offset).await?;
        offset += 1;
    }
    Ok(offset)
}

async fn step(store: &dyn Store, changes: Vec<ViewChange>, offset: u64) -> anyhow::Result<()> {
    let mut step = store.begin(Epoch(1), Offset(offset)).await?;
    let refusals = step.write(changes).await?;
    anyhow::ensure!(refusals.is_empty(), "a row was refused: {:?}", refusals[0]);
    let (offset, position) = (Offset(offset + 1), Some(Position::new("bench", offset + 1)));
    step.commit(&Held { epoch: Epoch(1), offset, position, committed_at: 0 }).await?;
    Ok(())
}

/// `None` where the machine has none of it, which is said.
fn start(name: &str) -> anyhow::Result<Option<Bench>> {
    Ok(Some(match name {
        "redis" => {
            let server = Arc::new(Redis::builder().appendonly().start());
            let other = server.clone();
            Bench {
                bulk: "redis-cli --pipe",
                url: server.url(),
                settings: Vec::new(),
                empty: Box::new(move || drop(other.cli(&["FLUSHALL"]))),
                load: Box::new(move |rows| bulk::redis(&server, rows)),
            }
        }
        "postgres" => {
            let server = Arc::new(Postgres::builder().fsync().start());
            let other = server.clone();
            Bench {
                bulk: "COPY",
                url: server.url(),
                settings: Vec::new(),
                empty: Box::new(move || {
                    other.psql("DROP SCHEMA IF EXISTS headwater CASCADE; DROP TABLE IF EXISTS bulk");
                }),
                load: Box::new(move |rows| bulk::postgres(&server, rows)),
            }
        }
        "mariadb" if MariaDb::is_left_out() => return Ok(None),
        "mariadb" => {
            let server = Arc::new(
                MariaDb::builder()
                    .durable()
                    .arg("innodb-buffer-pool-size", "512M")
                    .arg("innodb-log-file-size", "512M")
                    .start(),
            );
            let other = server.clone();
            Bench {
                bulk: "LOAD DATA",
                url: server.url(),
                settings: Vec::new(),
                empty: Box::new(move || {
                    drop(other.sql_in("", "DROP DATABASE app; CREATE DATABASE app CHARACTER SET utf8mb4"))
                }),
                load: Box::new(move |rows| bulk::mariadb(&server, rows)),
            }
        }
        "dynamodb" => {
            let server = Arc::new(DynamoDb::start());
            let other = server.clone();
            Bench {
                bulk: "BatchWriteItem",
                url: "dynamodb://us-east-1/bench_".into(),
                settings: vec![
                    ("endpoint", server.endpoint()),
                    ("access_key_id", "local".into()),
                    ("secret_access_key", "local".into()),
                    ("create", "true".into()),
                ],
                empty: Box::new(move || {
                    other.kill();
                    other.launch();
                }),
                load: Box::new(move |rows| bulk::dynamodb(server.port(), rows)),
            }
        }
        "mongodb" => {
            let Some(server) = MongoDb::start().map(Arc::new) else { return Ok(None) };
            let other = server.clone();
            Bench {
                bulk: "mongoimport",
                url: server.url("bench"),
                settings: Vec::new(),
                empty: Box::new(move || other.run("bench", &serde_json::json!({ "dropDatabase": 1 }))),
                load: Box::new(move |rows| bulk::mongodb(&server, rows)),
            }
        }
        "influxdb" => {
            let Some(server) = InfluxDb::start().map(Arc::new) else { return Ok(None) };
            let other = server.clone();
            Bench {
                bulk: "line protocol",
                url: server.url("bench"),
                settings: Vec::new(),
                empty: Box::new(move || {
                    other.ask("", "DROP DATABASE bench");
                    other.ask("", "CREATE DATABASE bench");
                }),
                load: Box::new(move |rows| bulk::influxdb(&server, rows)),
            }
        }
        _ => {
            let Some(server) = FalkorDb::start().map(Arc::new) else { return Ok(None) };
            let other = server.clone();
            Bench {
                bulk: "UNWIND, pipelined",
                url: FalkorDb::url(&server, "bench"),
                settings: Vec::new(),
                empty: Box::new(move || drop(other.cli(&["FLUSHALL"]))),
                load: Box::new(move |rows| bulk::falkordb(&server, rows)),
            }
        }
    }))
}
