//! Random schemas and transactions, from every source into every store at once, with the service ended at random points.
//!
//! Each case is one seed: a workload writes before, while and after the service lives; the service has several lives, most
//! of which end like a crash; stores reject, lose replies, hang and lose everything. When all is quiet, every store equals
//! the source by the checker. All the while readers watch a pair of rows in Redis and in the embedded store: never
//! torn, never backwards.
//!
//! A failure names its seed. `HEADWATER_SEED=n` plays that one alone, `HEADWATER_SEED=n HEADWATER_CASES=m` that and those
//! after it; `HEADWATER_LOG=debug` shows what the service says.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use headwater_flow::{NamedStore, Options};
use headwater_model::{ErrorKind, Layout, Source, Store, TableName, View};
use headwater_testkit::checker::{Copy, Truth, eventually_equal};
use headwater_testkit::faults::{Call, Fault, FaultyStore};
use headwater_testkit::workload::{Dialect, PairReader, PairStore, Workload};
use headwater_testkit::{
    Chance, DynamoDb, FalkorDb, Flavour, Folder, InfluxDb, MariaDb, MongoDb, Postgres, Redis, RedisCluster,
};

use crate::cases::{self, SetOnDrop};
use crate::more::More;
use crate::support::{self, Life, block_on};
use crate::twin::{self, Twin};
use crate::writer::Writer;

const CASES: u64 = 12;

/// Against a cluster.
const CLUSTER_CASES: u64 = 4;

/// With MariaDB as the source, and with MySQL.
const MARIADB_CASES: u64 = 4;
const MYSQL_CASES: u64 = 1;

/// With DynamoDB as the source.
const DYNAMODB_CASES: u64 = 3;

/// What a store in a cluster has if it is not said.
const LANES: usize = 16;

/// Cases that run at the same time: most of a case is waiting.
const AT_ONCE: u64 = 4;

/// For everything to become quiet and equal, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(60);

const STORES: [&str; 3] = ["near", "local", "scratch"];

/// A case has one more store, in turns: tables of PostgreSQL, tables of DynamoDB, where each request costs as much as a case's
/// worth of the others', tables of MariaDB, documents of MongoDB, a graph, or series of InfluxDB. No case has two of them, so none has more to do than
/// a slow machine does in time.
const TURNS: u64 = 6;

#[test]
fn every_store_equals_the_source_after_any_writes_and_any_crashes() {
    support::log();
    let (postgres, redis, dynamodb) = (Postgres::start(), Redis::start(), DynamoDb::start());
    let mariadb = (!MariaDb::is_left_out()).then(MariaDb::start);
    let (graphs, influxdb, mongodb) = (FalkorDb::start(), InfluxDb::start(), MongoDb::start());
    cases::run(CASES, AT_ONCE, |seed, worker| {
        let more = match seed % TURNS {
            1 => Some(More::Catalog { port: dynamodb.port(), prefix: format!("case{seed}_") }),
            2 => mariadb.as_ref().map(|server| More::models(server, seed)),
            3 => mongodb
                .as_ref()
                .map(|server| More::Documents { server, database: format!("documents_{seed}") }),
            4 => graphs.as_ref().map(|server| More::social(server, seed)),
            5 => influxdb.as_ref().map(|server| More::history(server, seed)),
            _ => Some(More::Reports(postgres.url())),
        };
        let more = more.unwrap_or(More::Nothing);
        // SQLite has no times, and InfluxDB nothing without.
        let is_timed = matches!(more, More::History { .. }) || Chance::new(seed).one_in(2);
        let dialect = if is_timed { Dialect::Postgres } else { Dialect::Sqlite };
        let near = Near::Server(format!("{}/{worker}", redis.url()));
        case(seed, Origin::of(dialect, &postgres), near, more);
    });
}

/// The same with MariaDB as the source. What should be there is said by a twin of it in SQLite.
#[test]
fn every_store_equals_a_mariadb_source_after_any_writes_and_any_crashes() {
    equals(Flavour::MariaDb, 200, MARIADB_CASES);
}

#[test]
fn every_store_equals_a_mysql_source_after_any_writes_and_any_crashes() {
    equals(Flavour::MySql, 251, MYSQL_CASES);
}

fn equals(flavour: Flavour, first: u64, count: u64) {
    if flavour.is_left_out() {
        return;
    }
    support::log();
    let (server, postgres, redis) = (flavour.start(), Postgres::start(), Redis::start());
    let influxdb = InfluxDb::start();
    cases::run(count, count, |seed, worker| {
        let near = Near::Server(format!("{}/{worker}", redis.url()));
        let more = match ((first + seed) % 4, &influxdb) {
            // In the same server, beside what is followed.
            (1 | 3, _) => More::models(&server, first + seed),
            (2, Some(influxdb)) => More::history(influxdb, first + seed),
            _ => More::Reports(postgres.url()),
        };
        case(first + seed, Origin::MariaDb(&server), near, more);
    });
}

/// The same with tables of DynamoDB as the source. What should be there is what a scan of them shows.
#[test]
fn every_store_equals_a_dynamodb_source_after_any_writes_and_any_crashes() {
    support::log();
    let (dynamodb, postgres, redis) = (DynamoDb::start(), Postgres::start(), Redis::start());
    cases::run(DYNAMODB_CASES, DYNAMODB_CASES, |seed, worker| {
        let near = Near::Server(format!("{}/{worker}", redis.url()));
        let more = if seed.is_multiple_of(2) { More::Reports(postgres.url()) } else { More::Nothing };
        case(300 + seed, Origin::DynamoDb(&dynamodb), near, more);
    });
}

/// The same where a transaction cannot show at once: Redis is a cluster, and each key goes forward by itself.
#[test]
fn a_cluster_equals_the_source_after_any_writes_and_any_crashes() {
    support::log();
    let (postgres, cluster) = (Postgres::start(), RedisCluster::start(3, 0));
    cases::run(CLUSTER_CASES, CLUSTER_CASES, |seed, worker| {
        // A cluster has one database: each case has its keys in it.
        let dialect = if Chance::new(100 + seed).one_in(2) { Dialect::Postgres } else { Dialect::Sqlite };
        let more = if seed.is_multiple_of(2) { More::Reports(postgres.url()) } else { More::Nothing };
        case(
            100 + seed,
            Origin::of(dialect, &postgres),
            Near::Cluster(&cluster, format!("case{worker}:")),
            more,
        );
    });
}

/// What the source is.
#[derive(Clone, Copy)]
enum Origin<'c> {
    Postgres(&'c Postgres),
    Sqlite,
    MariaDb(&'c MariaDb),
    DynamoDb(&'c DynamoDb),
}

impl<'c> Origin<'c> {
    fn of(dialect: Dialect, postgres: &'c Postgres) -> Origin<'c> {
        match dialect {
            Dialect::Postgres => Origin::Postgres(postgres),
            _ => Origin::Sqlite,
        }
    }

    fn dialect(self) -> Dialect {
        match self {
            Origin::Postgres(_) => Dialect::Postgres,
            // What its twin speaks.
            Origin::Sqlite | Origin::DynamoDb(_) => Dialect::Sqlite,
            Origin::MariaDb(_) => Dialect::MariaDb,
        }
    }
}

/// What the store `near` is.
enum Near<'c> {
    /// A database of its own.
    Server(String),
    Cluster(&'c RedisCluster, String),
}

impl Near<'_> {
    fn store(&self) -> Arc<dyn Store> {
        match self {
            Near::Server(url) => support::store(url, &[("prefix", "p:")]),
            Near::Cluster(cluster, prefix) => support::store(&cluster.url(), &[("prefix", prefix)]),
        }
    }

    fn copy(&self) -> Copy {
        match self {
            Near::Server(url) => Copy::Redis { url: url.clone(), prefix: "p:".into() },
            Near::Cluster(cluster, prefix) => Copy::RedisCluster {
                urls: cluster.masters().iter().map(Redis::url).collect(),
                prefix: prefix.clone(),
            },
        }
    }

    fn pair(&self) -> PairStore {
        match self {
            Near::Server(url) => PairStore::Redis { url: url.clone(), prefix: "p:".into() },
            Near::Cluster(cluster, prefix) => {
                PairStore::Apart(["pair:1", "pair:2"].map(|name| cluster.place_of(prefix, name, LANES)))
            }
        }
    }

    fn rows_apart(&self) -> PairStore {
        match self {
            Near::Server(url) => {
                PairStore::Apart(["pair:1", "pair:2"].map(|name| (url.clone(), format!("p:{name}"))))
            }
            Near::Cluster(..) => self.pair(),
        }
    }

    /// Everything in it goes; in a cluster, all that one node had.
    fn empty(&self) {
        match self {
            Near::Server(url) => {
                let mut connection = redis::Client::open(&**url).unwrap().get_connection().unwrap();
                redis::cmd("FLUSHDB").exec(&mut connection).unwrap();
            }
            Near::Cluster(cluster, prefix) => {
                let node = &cluster.masters()[1];
                let mut connection = redis::Client::open(node.url()).unwrap().get_connection().unwrap();
                let keys: Vec<Vec<u8>> =
                    redis::cmd("KEYS").arg(format!("{prefix}*")).query(&mut connection).unwrap();
                for key in keys {
                    redis::cmd("DEL").arg(key).exec(&mut connection).unwrap();
                }
            }
        }
    }
}

/// One world: a source that is written to, three or four stores, and what may happen to them.
struct Case<'c> {
    chance: Chance,
    folder: Folder,
    origin: Origin<'c>,
    dialect: Dialect,
    /// Of tables of DynamoDB, what their names begin with.
    source_url: String,
    slot: String,
    near: Near<'c>,
    views: Vec<View>,
    scratch: Arc<dyn Store>,
    more: More<'c>,
}

fn case<'c>(seed: u64, origin: Origin<'c>, near: Near<'c>, more: More<'c>) {
    let mut chance = Chance::new(seed);
    // What decided between the dialects.
    let _ = chance.one_in(2);
    let dialect = origin.dialect();
    let folder = Folder::new("property");
    let source_url = match origin {
        Origin::Postgres(postgres) => {
            postgres.psql(&format!("CREATE DATABASE case_{seed}"));
            let url = postgres.url();
            let (server, _) = url.rsplit_once('/').unwrap();
            format!("{server}/case_{seed}")
        }
        Origin::Sqlite => format!("sqlite:{}", folder.join("source.db").display()),
        Origin::MariaDb(mariadb) => {
            mariadb.sql(&format!("CREATE DATABASE case_{seed}"));
            mariadb.url_of(&format!("case_{seed}"))
        }
        Origin::DynamoDb(_) => format!("case{seed}_"),
    };
    let workload = Workload::new(seed, dialect);
    let slot = format!("case_{seed}");
    let mut views = views(&workload, &more, dialect, &mut chance);
    if let Origin::DynamoDb(_) = origin {
        let named = |table: &TableName| twin::named(&source_url, table);
        views.iter_mut().for_each(|view| support::rename_tables(view, &named));
    }
    let mut case = Case {
        chance,
        origin,
        dialect,
        source_url,
        slot,
        near,
        views,
        scratch: support::store("memory:", &[]),
        more,
        folder,
    };
    case.near.empty();
    case.run(workload);
    if let Origin::Postgres(postgres) = origin {
        block_on(case.source().forget()).expect("forget");
        postgres.psql(&format!("DROP DATABASE case_{seed} WITH (FORCE)"));
    }
    case.near.empty();
    case.more.drop(&case.slot);
}

/// The workload's views, and some of them once more in the other layout, each in the stores that can hold it.
fn views(workload: &Workload, more: &More<'_>, dialect: Dialect, chance: &mut Chance) -> Vec<View> {
    let mut views = workload.views(&STORES);
    if matches!(more, More::History { .. }) {
        views.extend(workload.clock(&STORES.map(Box::from), chance).map(|clock| View {
            filter: Some("at IS NOT NULL".into()),
            indexes: clock.kind.indexes(),
            ..clock
        }));
    }
    for view in views.clone() {
        if chance.one_in(2) {
            let layout = if view.layout() == Layout::Json { Layout::Hash } else { Layout::Json };
            views.push(View { name: format!("{}_also", view.name).into(), layout: Some(layout), ..view });
        }
    }
    for view in &mut views {
        if dialect == Dialect::Postgres {
            support::in_public(view);
        }
        if more.holds(view) {
            view.stores.extend(more.name().map(Box::from));
        }
    }
    views
}

impl Case<'_> {
    fn run(&mut self, mut workload: Workload) {
        let twin = self.twin();
        let mut writer = match self.origin {
            Origin::MariaDb(mariadb) => {
                let (_, database) = self.source_url.rsplit_once('/').unwrap();
                mariadb.sql_in(database, &format!("SET sql_mode = 'ANSI_QUOTES'; {}", workload.ddl()));
                Writer::connect(&format!("sqlite:{}", twin.display())).execute(&workload.ddl());
                Writer::twins(mariadb, database, &twin)
            }
            Origin::DynamoDb(dynamodb) => {
                let chance = Chance::new(self.chance.number());
                Writer::DynamoDb(Twin::begin(
                    dynamodb.port(),
                    &self.source_url,
                    &twin,
                    &workload.ddl(),
                    chance,
                ))
            }
            _ => {
                let mut writer = Writer::connect(&self.source_url);
                writer.execute(&workload.ddl());
                writer
            }
        };
        for _ in 0..self.chance.below(120) {
            writer.execute(&workload.transaction().sql());
        }
        let over = AtomicBool::new(false);
        let readers = match self.origin {
            // It tells of no transactions: either row goes forward by itself.
            Origin::DynamoDb(_) => vec![PairReader::start(self.near.rows_apart())],
            _ => {
                vec![PairReader::start(self.near.pair()), PairReader::start(PairStore::Sqlite(self.local()))]
            }
        };
        let pace = self.chance.below(8);
        let neighbour = Neighbour::connect(self);
        std::thread::scope(|scope| {
            // Whatever happens, the writers end, or the scope would wait for them for ever.
            let _end = SetOnDrop(&over);
            let over = &over;
            let writer = scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    writer.execute(&workload.transaction().sql());
                    std::thread::sleep(Duration::from_millis(pace));
                }
            });
            if let Some(neighbour) = neighbour {
                scope.spawn(move || neighbour.run(over));
            }
            for _ in 0..self.chance.below(4) {
                self.short_life();
            }
            self.last_life(over, writer);
        });
        for reader in readers {
            if let Err(violation) = reader.finish() {
                panic!("{violation}");
            }
        }
    }

    fn options(&mut self) -> Options {
        let rows = match self.origin {
            // A mark takes as long as its streams may take to tell of a write.
            Origin::DynamoDb(_) => [7, 20, 50, 200, 1000],
            _ => [1, 3, 7, 50, 1000],
        };
        Options {
            backfill_parallel: 1 + self.chance.below(4) as usize,
            backfill_chunk_rows: *self.chance.pick(&rows),
            ..support::options(&self.folder.join("data"))
        }
    }

    fn source(&self) -> Arc<dyn Source> {
        match self.origin {
            Origin::Postgres(_) => {
                support::source(&self.source_url, &[("slot", &self.slot), ("publication", &self.slot)])
            }
            Origin::DynamoDb(dynamodb) => {
                let columns = twin::columns(&self.source_url, &self.twin());
                support::streams(dynamodb.port(), &self.source_url, columns)
            }
            Origin::Sqlite | Origin::MariaDb(_) => support::source(&self.source_url, &[]),
        }
    }

    /// The source, if it is SQLite, or its twin.
    fn twin(&self) -> PathBuf {
        self.folder.join("source.db")
    }

    /// The source, where it is at rest.
    fn truth(&self) -> Truth {
        match self.origin {
            Origin::Postgres(_) => Truth::Postgres(self.source_url.clone()),
            Origin::Sqlite | Origin::MariaDb(_) => Truth::Sqlite(self.twin()),
            Origin::DynamoDb(dynamodb) => {
                let scanned = self.folder.join("scanned.db");
                twin::scanned(dynamodb.port(), &self.source_url, &self.twin(), &scanned);
                Truth::Sqlite(scanned)
            }
        }
    }

    fn local(&self) -> PathBuf {
        self.folder.join("local.db")
    }

    /// The stores anew, each in a wrapper that may misbehave.
    fn stores(&mut self) -> Vec<(FaultyStore, NamedStore)> {
        let local = format!("sqlite:{}", self.local().display());
        let three = [self.near.store(), support::store(&local, &[]), Arc::clone(&self.scratch)];
        let mut engines: Vec<(&str, Arc<dyn Store>)> = STORES.into_iter().zip(three).collect();
        engines.extend(self.more.name().zip(self.more.store(&self.slot)));
        let mut stores = Vec::new();
        for (name, engine) in engines {
            let store = if self.chance.one_in(2) {
                FaultyStore::seeded(engine, Chance::new(self.chance.number()), 4 + self.chance.below(60))
            } else {
                FaultyStore::new(engine)
            };
            if self.chance.one_in(3) {
                let (call, fault) = (
                    *self.chance.pick(&[Call::Commit, Call::Commit, Call::Write, Call::Claim]),
                    *self.chance.pick(&[
                        Fault::Hold,
                        Fault::FailAfter(ErrorKind::Transient),
                        Fault::Slow(Duration::from_millis(200)),
                    ]),
                );
                store.let_through(call, self.chance.below(6) as usize);
                store.inject(call, fault);
            }
            let named = support::named(name, Arc::new(store.clone()));
            stores.push((store, named));
        }
        stores
    }

    /// A life that ends at some point, mostly like a crash.
    fn short_life(&mut self) {
        let options = self.options();
        let stores = self.stores();
        // Views leave the file, and their tables with them, and come back later: they are filled while the others go on.
        let views: Vec<View> = if self.chance.one_in(3) {
            self.views.iter().filter(|view| &*view.name == "pair" || self.chance.one_in(2)).cloned().collect()
        } else {
            self.views.clone()
        };
        let named = stores.iter().map(|(_, named)| named.clone()).collect();
        let life = Life::begin(options, self.source(), named, &views);
        self.wait(900);
        if self.chance.one_in(6) {
            self.near.empty();
            self.wait(300);
        }
        if self.chance.one_in(5) {
            self.cut_connections();
            self.wait(300);
        }
        if self.chance.one_in(4) {
            stores.iter().for_each(|(store, _)| store.release());
            life.stop();
        } else {
            life.crash();
        }
        if self.chance.one_in(5) {
            self.scratch = support::store("memory:", &[]);
        }
        if self.chance.one_in(8) {
            self.near.empty();
        }
        if self.chance.one_in(8) {
            self.more.drop(&self.slot);
        }
    }

    /// The life in which everything becomes quiet and equal.
    fn last_life(&mut self, over: &AtomicBool, writer: ScopedJoinHandle<'_, ()>) {
        let options = self.options();
        let stores = self.stores();
        let named: Vec<NamedStore> = stores.iter().map(|(_, named)| named.clone()).collect();
        let mut life = Life::begin(options, self.source(), named, &self.views);
        self.wait(600);
        over.store(true, Ordering::SeqCst);
        writer.join().expect("the writer ends");
        stores.iter().for_each(|(store, _)| store.behave());
        life.wait_settled(PATIENCE);
        let truth = self.truth();
        let three = [self.near.copy(), Copy::Sqlite(self.local()), Copy::Store(Arc::clone(&self.scratch))];
        let mut copies: Vec<(&str, Copy)> = STORES.into_iter().zip(three).collect();
        copies.extend(self.more.name().zip(self.more.copy(&self.slot)));
        for (name, copy) in &copies {
            let views: Vec<View> = self.views.iter().filter(|view| view.is_in(name)).cloned().collect();
            // A moment for what was written last to arrive; filling is over.
            block_on(eventually_equal(Duration::from_secs(15), &truth, copy, &views));
        }
        let status = life.handle.status();
        for store in &status.stores {
            assert_eq!(store.quarantined_rows, 0, "{} refused rows", store.name);
            // Whoever pays by the request is told for what.
            let is_paid = store
                .views
                .iter()
                .any(|view| view.consumed.is_some_and(|used| used.read_units + used.write_units > 0.0));
            assert_eq!(is_paid, store.name == "catalog", "{}", store.name);
        }
        life.stop();
    }

    fn wait(&mut self, most: u64) {
        std::thread::sleep(Duration::from_millis(self.chance.below(most)));
    }

    /// Every connection of the service to its source ends.
    fn cut_connections(&self) {
        if let Origin::MariaDb(mariadb) = self.origin {
            let (_, database) = self.source_url.rsplit_once('/').unwrap();
            let ours = mariadb.sql(&format!(
                "SELECT id FROM information_schema.processlist WHERE db = '{database}' \
                 AND (command LIKE 'Binlog%' OR command = 'Sleep' AND id % 2 = 0) \
                 AND id NOT IN (SELECT owner FROM (SELECT MIN(id) AS owner FROM information_schema.processlist \
                                WHERE db = '{database}') AS writer)"
            ));
            // One that has just ended is none.
            ours.lines().for_each(|id| drop(mariadb.try_sql("", &format!("KILL {id}"))));
        }
        if self.dialect == Dialect::Postgres {
            let mut writer = Writer::connect(&self.source_url);
            writer.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name LIKE 'headwater%'",
            );
        }
    }
}

/// A second application on PostgreSQL, with transactions that stay open for a while: so commits overtake each other, and
/// chunks see transactions in progress. It works on negative keys that no statement of the workload names, one table at a
/// time, so the two never wait for each other in a circle.
struct Neighbour {
    writer: Writer,
    chance: Chance,
    tables: Vec<String>,
}

impl Neighbour {
    fn connect(case: &mut Case<'_>) -> Option<Neighbour> {
        if case.dialect != Dialect::Postgres {
            return None;
        }
        let flat = case.views.iter().filter(|view| view.name.starts_with("flat"));
        let tables = flat.map(|view| format!("\"{}\"", view.from.name)).collect();
        Some(Neighbour {
            writer: Writer::connect(&case.source_url),
            chance: Chance::new(case.chance.number()),
            tables,
        })
    }

    fn run(mut self, over: &AtomicBool) {
        while !over.load(Ordering::SeqCst) {
            self.writer.execute("BEGIN");
            let table = self.chance.pick(&self.tables).clone();
            let mut failed = false;
            for _ in 0..1 + self.chance.below(4) {
                let statement = self.statement(&table);
                // A key that is taken already: the transaction is over.
                failed |= self.writer.try_execute(&statement).is_err();
                if failed {
                    break;
                }
                std::thread::sleep(Duration::from_millis(self.chance.below(15)));
            }
            let rolls_back = failed || self.chance.one_in(6);
            self.writer.execute(if rolls_back { "ROLLBACK" } else { "COMMIT" });
        }
    }

    fn statement(&mut self, table: &str) -> String {
        let (key, other, rank) = (self.key(), self.key(), self.chance.below(6));
        match self.chance.below(8) {
            0..4 => format!(
                "INSERT INTO {table} (id, rank) VALUES ({key}, {rank}) ON CONFLICT (id) DO UPDATE SET rank = {rank}"
            ),
            4 | 5 => format!("UPDATE {table} SET rank = {rank} WHERE id = {key}"),
            6 => format!("UPDATE {table} SET id = {other} WHERE id = {key}"),
            _ => format!("DELETE FROM {table} WHERE id = {key}"),
        }
    }

    /// Negative, and never divisible by three: the workload updates all rows that are.
    fn key(&mut self) -> i64 {
        -(3 * self.chance.below(20) as i64 + 1 + self.chance.below(2) as i64)
    }
}
