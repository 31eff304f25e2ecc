//! Random schemas, random transactions, random kill points: in the end every store equals the source, and on the way no
//! reader saw a torn transaction or an older one than before.
//!
//! A failing seed is printed: `HEADWATER_SEED=… cargo test -p headwater --test it random`. More of them:
//! `HEADWATER_SEEDS=50`.

use std::time::Duration;

use headwater_model::file::toml_views;
use headwater_testkit::checker::{Copy, Truth};
use headwater_testkit::workload::{Dialect, PairReader, PairStore, Transaction, Workload};
use headwater_testkit::{Chance, Folder, Postgres, Redis};
use tokio_postgres::Client;

use crate::service::{self, Service};

/// Transactions before Headwater is started for the first time, for it to backfill.
const BEFORE: usize = 60;
const ROUNDS: usize = 25;

fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match (number("HEADWATER_SEED"), number("HEADWATER_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, Some(count)) => (0..count).collect(),
        (None, None) => vec![1, 2],
    }
}

enum Source {
    Postgres { engine: Postgres, client: Client },
    Sqlite { db: rusqlite::Connection, truth: Truth, url: String },
}

impl Source {
    async fn postgres() -> Source {
        let engine = Postgres::start();
        let client = engine.connect().await;
        Source::Postgres { engine, client }
    }

    fn sqlite(folder: &Folder) -> Source {
        let path = folder.join("source.db");
        let db = rusqlite::Connection::open(&path).unwrap();
        db.pragma_update(None, "journal_mode", "wal").unwrap();
        db.busy_timeout(Duration::from_secs(10)).unwrap();
        Source::Sqlite { db, url: format!("sqlite:{}", path.display()), truth: Truth::Sqlite(path) }
    }

    fn url(&self) -> String {
        match self {
            Source::Postgres { engine, .. } => engine.url(),
            Source::Sqlite { url, .. } => url.clone(),
        }
    }

    fn truth(&self) -> Truth {
        match self {
            Source::Postgres { engine, .. } => Truth::Postgres(engine.url()),
            Source::Sqlite { truth, .. } => truth.clone(),
        }
    }

    async fn run(&self, sql: &str) {
        match self {
            Source::Postgres { client, .. } => {
                client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{error:?}\n{sql}"));
            }
            Source::Sqlite { db, .. } => {
                db.execute_batch(sql).unwrap_or_else(|error| panic!("{error}\n{sql}"))
            }
        }
    }

    async fn apply(&self, transaction: &Transaction) {
        self.run(&transaction.sql()).await;
    }
}

/// The store's line in the file: its role is another than the source's.
fn by_its_keeper(url: &str) -> String {
    format!("reports = {{ url = \"{}\" }}\n", url.replace("postgres@", "keeper@"))
}

async fn converges_through_kills(seed: u64, dialect: Dialect) {
    eprintln!("HEADWATER_SEED={seed} ({dialect:?})");
    let folder = Folder::new("random");
    let redis = Redis::start();
    let source = match dialect {
        Dialect::Postgres => Source::postgres().await,
        _ => Source::sqlite(&folder),
    };
    let mut workload = Workload::new(seed, dialect);
    let mut chance = Chance::new(seed ^ 0xfa17);
    source.run(&workload.ddl()).await;
    for _ in 0..BEFORE {
        source.apply(&workload.transaction()).await;
    }

    let local = folder.join("derived.db");
    let near = Copy::Redis { url: redis.url(), prefix: "shop:".into() };
    // Tables beside those that are followed, in the same database.
    let reports = match &source {
        Source::Postgres { engine, .. } => {
            engine.psql("CREATE ROLE keeper LOGIN; GRANT CREATE ON DATABASE postgres TO keeper");
            Some(engine.url())
        }
        Source::Sqlite { .. } => None,
    };
    let names: &[&str] = if reports.is_some() { &["near", "local", "reports"] } else { &["near", "local"] };
    let views = workload.views(names);
    // Chunks so small that even little tables have several.
    let headwater = Service::new(
        "random",
        &format!(
            "[source]\nurl = \"{}\"\n\n[stores]\nnear = {{ url = \"{}\", prefix = \"shop:\" }}\n\
             local = {{ url = \"sqlite:{}\" }}\n{}\n[backfill]\nchunk_rows = 50\n{}",
            source.url(),
            redis.url(),
            local.display(),
            reports.iter().map(|url| by_its_keeper(url)).collect::<String>(),
            toml_views(&views)
        ),
    );
    headwater.start();
    let mut readers = vec![
        PairReader::start(PairStore::Redis { url: redis.url(), prefix: "shop:".into() }),
        PairReader::start(PairStore::Sqlite(local.clone())),
    ];
    if let Some(url) = reports.clone() {
        readers.push(PairReader::start(PairStore::Postgres { url, schema: "headwater".into() }));
    }
    for _ in 0..ROUNDS {
        for _ in 0..chance.below(12) {
            source.apply(&workload.transaction()).await;
        }
        tokio::time::sleep(Duration::from_millis(chance.below(150))).await;
        if chance.one_in(4) {
            headwater.kill();
            for _ in 0..chance.below(6) {
                source.apply(&workload.transaction()).await;
            }
            headwater.start();
        }
    }
    let truth = source.truth();
    headwater.equal(&truth, "near", &near).await;
    headwater.equal(&truth, "local", &service::local(&local)).await;
    if let Some(url) = reports {
        let tables = Copy::Postgres { url, schema: "headwater".into() };
        headwater.equal(&truth, "reports", &tables).await;
    }
    for reader in readers {
        reader
            .finish()
            .unwrap_or_else(|violation| panic!("seed {seed}: {violation}\n{}", headwater.log_tail()));
    }
    headwater.stop();
}

#[tokio::test]
async fn stores_converge_with_postgres_through_random_kills() {
    for seed in seeds() {
        converges_through_kills(seed, Dialect::Postgres).await;
    }
}

#[tokio::test]
async fn stores_converge_with_sqlite_through_random_kills() {
    for seed in seeds() {
        converges_through_kills(seed, Dialect::Sqlite).await;
    }
}
