//! What it costs to ask for one's own writes when the store shows them already: a `get` through the serving layer, in
//! process, with a position and without.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use headwater_flow::serve::{Ask, Content, Serving};
use headwater_flow::{NamedStore, Service};
use headwater_model::file::{Settings, SourceSection, StoreSection};
use headwater_model::{
    Access, AccessPlan, ColumnType, Param, ParamRole, Pattern, PlannedRead, Secret, TableName, View, ViewKind,
};
use headwater_testkit::Folder;
use tokio_util::sync::CancellationToken;

use crate::Size;
use crate::report::Report;

const ROWS: u64 = 10_000;
const READS: u64 = 200_000;

/// The wait may cost this much.
const LIMIT: Duration = Duration::from_micros(5);

pub fn run(size: Size) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let folder = Folder::new("bench-wait");
    let path = folder.join("shop.db");
    let db = rusqlite::Connection::open(&path)?;
    db.execute_batch(&format!(
        "PRAGMA journal_mode = wal;
         CREATE TABLE books (id INTEGER PRIMARY KEY, title TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
         INSERT INTO books SELECT i, 'title ' || i FROM n;"
    ))?;
    let source = headwater_engines::source(&SourceSection {
        name: None,
        url: Secret::new(format!("sqlite:{}", path.display())),
        settings: Settings::new(),
        hold_for: Duration::from_secs(10),
        retained_log_bytes_max: 1 << 30,
    })?;
    let store = headwater_engines::store(&StoreSection {
        name: "near".into(),
        url: Secret::new("memory:"),
        settings: Settings::new(),
        source: None,
    })?;
    let stores = vec![NamedStore { name: "near".into(), store }];
    let view = Arc::new(view());
    let options = headwater_flow::Options {
        data: folder.join("data"),
        journal_bytes_max: 1 << 30,
        hold_for: Duration::from_secs(10),
        retained_log_bytes_max: 1 << 30,
        backfill_parallel: 2,
        backfill_chunk_rows: 10_000,
        backfill_rows_per_second_max: None,
        heal: Default::default(),
    };
    let service = Service::new(options, Arc::clone(&source), stores.clone(), vec![Arc::clone(&view)])?;
    let serving = Serving::new(service.handle(), source, &stores, vec![plan(view)], Default::default());
    let cancel = CancellationToken::new();
    let running = runtime.spawn(service.run(cancel.clone()));
    runtime.block_on(filled(&serving))?;
    db.execute("UPDATE books SET title = 'new' WHERE id = 1", [])?;
    let newest: i64 = db.query_row("SELECT max(id) FROM headwater_change", [], |row| row.get(0))?;

    let (mut plain, mut with) = (Vec::new(), Vec::new());
    for _ in 0..size.repeat {
        plain.push(runtime.block_on(reads(&serving, None))?);
        with.push(runtime.block_on(reads(&serving, Some(newest.to_string())))?);
    }
    cancel.cancel();
    runtime.block_on(running)??;
    let per_read = |mut runs: Vec<Duration>| {
        runs.sort();
        runs[runs.len() / 2] / u32::try_from(READS).unwrap_or(u32::MAX)
    };
    let (plain, with) = (per_read(plain), per_read(with));
    let wait = with.saturating_sub(plain);
    let mut report = Report::new("wait");
    report.micros("get", plain);
    report.micros("get with a position", with);
    report.micros("satisfied wait", wait);
    report.ratio(
        "limit to wait",
        LIMIT.as_secs_f64() / wait.as_secs_f64().max(1e-9),
        "of the 5 µs allowed; above 1 is within",
    );
    report.print();
    Ok(())
}

/// Waits until the store answers.
async fn filled(serving: &Serving) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until {
        match serving.answer("book", &ask(1, None)).await {
            Ok(reply) if reply.shown.store.is_some() => return Ok(()),
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    bail!("the store is not filled")
}

async fn reads(serving: &Serving, after: Option<String>) -> anyhow::Result<Duration> {
    let began = Instant::now();
    for n in 0..READS {
        let reply = serving.answer("book", &ask(n % ROWS + 1, after.clone())).await;
        let reply = reply.map_err(|refused| anyhow::anyhow!("{refused:?}"))?;
        let Content::Document(Some(_)) = reply.content else { bail!("a book is not there") };
        reply.shown.store.context("the store answers")?;
    }
    Ok(began.elapsed())
}

fn ask(id: u64, after: Option<String>) -> Ask {
    Ask { params: vec![("id".to_owned(), id.to_string())], after, within: None }
}

fn view() -> View {
    View {
        name: "book".into(),
        from: TableName::new(None, "books"),
        kind: ViewKind::Document,
        columns: None,
        filter: None,
        embeds: Vec::new(),
        stores: vec!["near".into()],
        parts: Vec::new(),
        layout: None,
        indexes: Vec::new(),
    }
}

fn plan(view: Arc<View>) -> AccessPlan {
    let access = Access {
        name: "book".into(),
        pattern: Pattern::Get { view: "book".into() },
        stores: Vec::new(),
        source: false,
        stale: None,
        rate_per_second: None,
        p99: None,
    };
    let id = Param {
        name: "id".into(),
        role: ParamRole::Key,
        kind: ColumnType::Dynamic,
        type_name: "INTEGER".into(),
        required: true,
    };
    AccessPlan {
        access,
        read: PlannedRead::Get { view },
        params: vec![id],
        fields: Vec::new(),
        stores: vec!["near".into()],
    }
}
