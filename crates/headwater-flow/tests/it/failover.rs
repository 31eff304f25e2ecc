//! The source is lost and another takes its place: real streaming pairs, killed under load, promoted with and without the
//! slot, ahead and behind; old primaries that come back. What the promises become in each case, by the checker.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use headwater_flow::NamedStore;
use headwater_flow::serve::{Ask, Options, Refused, Serving};
use headwater_flow::status::{Incident, IncidentKind};
use headwater_model::{
    Access, AccessPlan, ColumnType, Field, FieldShape, Layout, Param, ParamRole, Pattern, PlannedRead, Store,
    View,
};
use headwater_testkit::checker::{Copy, Truth, eventually_equal};
use headwater_testkit::workload::{Dialect, PairReader, PairStore, Workload};
use headwater_testkit::{Folder, Postgres};

use crate::support::{self, Life, block_on};

const PATIENCE: Duration = Duration::from_secs(90);

/// A primary and its standby, under one URL, followed into two stores.
struct World {
    primary: Postgres,
    standby: Postgres,
    folder: Folder,
    views: Vec<View>,
    near: Arc<dyn Store>,
    workload: Option<Workload>,
}

impl World {
    fn new(seed: u64) -> World {
        support::log();
        println!("HEADWATER_SEED={seed}");
        let primary = Postgres::builder().setting("wal_keep_size", "512MB").start();
        let standby = primary.standby();
        let workload = Workload::new(seed, Dialect::Postgres);
        let mut views = views(&workload);
        // Partial updates of documents that the store alone has.
        let flat = views.iter().find(|view| view.embeds.is_empty() && view.layout() == Layout::Json).cloned();
        if let Some(view) = flat {
            views.push(View { name: "also".into(), layout: Some(Layout::Hash), ..view });
        }
        primary.psql(&workload.ddl());
        let near = support::store("memory:", &[]);
        World { primary, standby, folder: Folder::new("failover"), views, near, workload: Some(workload) }
    }

    fn url(&self) -> String {
        format!(
            "postgres://postgres@127.0.0.1:{},127.0.0.1:{}/postgres?target_session_attrs=read-write",
            self.primary.port(),
            self.standby.port()
        )
    }

    fn local(&self) -> PathBuf {
        self.folder.join("local.db")
    }

    fn begin(&self) -> Life {
        let local = support::store(&format!("sqlite:{}", self.local().display()), &[]);
        let stores: Vec<NamedStore> =
            vec![support::named("near", Arc::clone(&self.near)), support::named("local", local)];
        let source = support::source(&self.url(), &[]);
        Life::begin(support::options(&self.folder.join("data")), source, stores, &self.views)
    }

    fn equal(&self, source: &Postgres) {
        let truth = Truth::Postgres(source.url());
        for copy in [Copy::Store(Arc::clone(&self.near)), Copy::Sqlite(self.local())] {
            block_on(eventually_equal(PATIENCE, &truth, &copy, &self.views));
        }
    }

    /// Writes at the primary until it is told to stop, or the primary is gone.
    fn write(&mut self) -> Writing {
        Writing::begin(self.primary.url(), self.workload.take().unwrap())
    }
}

/// Of the workload's tables, in both stores.
pub(crate) fn views(workload: &Workload) -> Vec<View> {
    let mut views = workload.views(&["near", "local"]);
    views.iter_mut().for_each(support::in_public);
    views
}

/// A writer in a thread of its own.
pub(crate) struct Writing {
    over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Workload>,
}

impl Writing {
    pub(crate) fn begin(url: String, mut workload: Workload) -> Writing {
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            block_on(async {
                let (client, connection) =
                    tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
                tokio::spawn(connection);
                while !ends.load(Ordering::SeqCst) && !client.is_closed() {
                    if client.batch_execute(&workload.transaction().sql()).await.is_err() {
                        let _ = client.batch_execute("ROLLBACK").await;
                    }
                }
            });
            workload
        });
        Writing { over, thread }
    }

    pub(crate) fn end(self) -> Workload {
        self.over.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

pub(crate) fn seed() -> u64 {
    std::env::var("HEADWATER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand_seed)
}

fn rand_seed() -> u64 {
    u64::from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos())
}

/// Whether a gap is closed in this epoch or a later one. A table that the mirror had just been given when it was stopped may be
/// read once more without one.
pub(crate) fn closes(life: &Life, since: u64) -> bool {
    incidents(life, IncidentKind::Filling, since).iter().any(|incident| incident.cause.contains("meanwhile"))
}

pub(crate) fn wait_until(what: &str, life: &mut Life, condition: impl Fn(&Life) -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition(life) {
        life.assert_alive();
        assert!(Instant::now() < until, "waited in vain: {what}\n{:#?}", life.handle.incidents());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Of this epoch and later ones.
pub(crate) fn incidents(life: &Life, kind: IncidentKind, since: u64) -> Vec<Incident> {
    let all = life.handle.incidents().into_iter();
    all.filter(|incident| incident.kind == kind && incident.epoch >= since).collect()
}

#[test]
fn a_primary_that_is_killed_under_load_is_followed_by_its_standby_without_a_gap_if_the_slot_came_along() {
    let mut world = World::new(seed());
    let mut life = world.begin();
    world.write_some_at_primary(200);
    life.wait_settled(PATIENCE);
    block_on(world.primary.carry_slot("headwater", &world.standby));
    // No commit that is acknowledged is lost.
    world.primary.wait_for_standby(Some(&world.standby));
    let reader = PairReader::start(PairStore::Sqlite(world.local()));
    let present = Present::start(world.local());
    let writing = world.write();
    std::thread::sleep(Duration::from_millis(1500));
    let epoch = life.handle.status().epoch;
    let killed = Instant::now();
    world.primary.kill();
    // What waited for the standby was perhaps seen, was never acknowledged, and may be undone: not within an epoch.
    assert!(reader.finish().unwrap() > 0);
    world.standby.promote();
    world.workload = Some(writing.end());
    wait_until("the new primary is followed", &mut life, |life| life.handle.status().epoch > epoch);
    println!("followed again {} ms after the kill", killed.elapsed().as_millis());
    world.write_some_at_standby(200);
    world.equal(&world.standby);
    println!("in step again {} ms after the kill", killed.elapsed().as_millis());
    life.wait_settled(PATIENCE);
    assert_eq!(incidents(&life, IncidentKind::Promoted, 1).len(), 1, "{:#?}", life.handle.incidents());
    assert!(incidents(&life, IncidentKind::Gap, 1).is_empty(), "{:#?}", life.handle.incidents());
    assert!(present.finish() > 0);

    // The old primary comes back, takes writes, and is the first in the URL.
    block_on(world.primary.restart());
    world.primary.wait_for_standby(None);
    assert_eq!(world.primary.psql("SELECT pg_is_in_recovery()"), "f");
    world.primary.psql("DELETE FROM pair");
    let epoch = life.handle.status().epoch;
    life.stop();
    let mut life = world.begin();
    world.write_some_at_standby(20);
    life.wait_settled(PATIENCE);
    world.equal(&world.standby);
    assert!(!closes(&life, epoch + 1), "{:#?}", life.handle.incidents());

    // Alone it is refused, and nothing of it arrives.
    life.stop();
    block_on(world.standby.stop());
    let mut life = world.begin();
    let refused = |life: &Life| {
        let error = life.handle.status().source.error.unwrap_or_default();
        error.contains("an old primary that has come back") || error.contains("timeline 1")
    };
    wait_until("the old primary is refused", &mut life, refused);
    assert_eq!(world.primary.psql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"), "0");
    block_on(world.standby.restart());
    life.wait_settled(PATIENCE);
    world.equal(&world.standby);
    life.stop();
}

#[test]
fn a_promotion_without_the_slot_is_a_declared_gap_that_is_closed_in_place() {
    let mut world = World::new(seed());
    let mut life = world.begin();
    world.write_some_at_primary(300);
    life.wait_settled(PATIENCE);
    life.stop();
    block_on(world.primary.wait_replayed(&world.standby));
    let present = Present::start(world.local());
    let reader = PairReader::start(PairStore::Sqlite(world.local()));
    world.primary.kill();
    world.standby.promote();
    // All of it lies in the gap: what is deleted here no log ever tells.
    world.write_some_at_standby(100);
    let table = world.views.iter().map(|view| &view.from.name).find(|name| ***name != *"pair").unwrap();
    world.standby.psql(&format!("DELETE FROM \"{table}\" WHERE id % 2 = 0"));
    let mut life = world.begin();
    wait_until("the gap is declared", &mut life, |life| !incidents(life, IncidentKind::Gap, 0).is_empty());
    world.write_some_at_standby(100);
    world.equal(&world.standby);
    life.wait_settled(PATIENCE);
    assert!(present.finish() > 0, "nobody ever found the view empty");
    assert!(reader.finish().unwrap() > 0);
    let promoted = incidents(&life, IncidentKind::Promoted, 1);
    assert_eq!(incidents(&life, IncidentKind::Gap, 0).len(), 1, "{:#?}", life.handle.incidents());
    assert!(promoted.len() == 1 && !promoted[0].cause.contains("without"), "{:#?}", life.handle.incidents());
    let epoch = life.handle.status().epoch;
    life.stop();

    // Closed is closed.
    let mut life = world.begin();
    world.write_some_at_standby(20);
    life.wait_settled(PATIENCE);
    world.equal(&world.standby);
    assert!(!closes(&life, epoch + 1), "{:#?}", life.handle.incidents());
    life.stop();
}

#[test]
fn what_a_lagging_standby_never_had_is_undone_key_by_key_where_the_slot_came_along() {
    lagging(true);
}

#[test]
fn what_a_lagging_standby_never_had_is_undone_first_where_the_slot_did_not() {
    lagging(false);
}

fn lagging(with_slot: bool) {
    let mut world = World::new(seed());
    let mut life = world.begin();
    world.write_some_at_primary(200);
    life.wait_settled(PATIENCE);
    if with_slot {
        block_on(world.primary.carry_slot("headwater", &world.standby));
    }
    world.write_some_at_primary(50);
    world.primary.psql("UPDATE pair SET version = 1000000");
    block_on(world.primary.wait_replayed(&world.standby));
    let shared = world.primary.psql("SELECT pg_current_wal_insert_lsn()");
    world.standby.cut_off();
    // Acknowledged here, and lost with the primary.
    world.primary.psql("UPDATE pair SET version = 2000000");
    for _ in 0..100 {
        let transaction = world.workload.as_mut().unwrap().transaction();
        // Emptied tables are another case.
        if !transaction.sql().contains("TRUNCATE") {
            let _ = world.primary.try_psql(&transaction.sql());
        }
    }
    life.wait_settled(PATIENCE);
    world.equal(&world.primary);
    let lost = world.primary.psql("SELECT pg_current_wal_insert_lsn()");
    let epoch = life.handle.status().epoch;
    let killed = Instant::now();
    world.primary.kill();
    world.standby.promote();
    wait_until("the new primary is followed", &mut life, |life| life.handle.status().epoch > epoch);
    world.write_some_at_standby(50);
    world.equal(&world.standby);
    println!("put right {} ms after the kill", killed.elapsed().as_millis());
    life.wait_settled(PATIENCE);
    let version = || world.standby.psql("SELECT max(version) FROM pair").parse::<i64>().unwrap();
    assert!(version() < 2_000_000);
    let gaps = incidents(&life, IncidentKind::Gap, 0).len();
    assert_eq!(gaps == 0, with_slot, "{:#?}", life.handle.incidents());
    let undone = incidents(&life, IncidentKind::Recovered, epoch + 1);
    assert!(undone.iter().any(|i| i.cause.contains("undone")), "{:#?}", life.handle.incidents());

    // A position that both have is still one; one that only the old primary had is not.
    let serving = world.serving(&life);
    let system = world.standby.psql("SELECT system_identifier FROM pg_control_system()");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ask = |position: &str| {
        let ask = Ask {
            params: vec![("id".into(), "1".into())],
            after: Some(format!("{system}/1@{position}")),
            within: Some(PATIENCE),
        };
        runtime.block_on(serving.answer("pair", &ask))
    };
    assert!(ask(&shared).is_ok());
    let refused = ask(&lost).err();
    assert!(matches!(refused, Some(Refused::OtherHistory(_))), "{refused:?}");
    life.stop();
}

#[test]
fn a_table_that_was_taken_out_of_the_publication_is_a_declared_gap_of_its_views_alone() {
    let mut world = World::new(seed());
    world.primary.psql("CREATE TABLE aside (id bigint PRIMARY KEY, n int)");
    world.primary.psql("INSERT INTO aside SELECT i, 0 FROM generate_series(1, 2000) AS i");
    world.views.push(support::flat("aside", "aside", &["near", "local"]));
    let mut life = world.begin();
    world.write_some_at_primary(100);
    life.wait_settled(PATIENCE);
    life.stop();
    let publication = |verb: &str| {
        world.primary.psql(&format!("ALTER PUBLICATION headwater {verb} TABLE aside"));
    };
    publication("DROP");
    world.primary.psql("DELETE FROM aside WHERE id > 1500; UPDATE aside SET n = 1 WHERE id < 10");
    let mut life = world.begin();
    life.wait_settled(PATIENCE);
    world.equal(&world.primary);
    let gaps = incidents(&life, IncidentKind::Gap, 1);
    assert!(gaps.len() == 1 && gaps[0].cause.contains("aside"), "{gaps:#?}");
    let filled = incidents(&life, IncidentKind::Filling, 2);
    assert!(filled.iter().all(|i| i.cause.ends_with("meanwhile: aside")), "{filled:#?}");

    // The same while it is followed; and a table that is dropped and made again.
    publication("DROP");
    world.primary.psql("DELETE FROM aside WHERE id > 1000");
    wait_until("the gap is declared", &mut life, |life| {
        incidents(life, IncidentKind::Gap, 0).iter().map(|i| i.times).sum::<u64>() > 1
    });
    life.wait_settled(PATIENCE);
    world.equal(&world.primary);
    let epoch = life.handle.status().epoch;
    world.primary.psql("DROP TABLE aside; CREATE TABLE aside (id bigint PRIMARY KEY, n int); INSERT INTO aside VALUES (7, 7)");
    wait_until("a new term begins", &mut life, |life| life.handle.status().epoch > epoch);
    life.wait_settled(PATIENCE);
    world.equal(&world.primary);
    life.stop();
}

#[test]
fn a_slot_that_the_server_gave_up_is_a_declared_gap_that_is_closed_in_place() {
    let mut world = World::new(seed());
    let mut life = world.begin();
    world.write_some_at_primary(200);
    life.wait_settled(PATIENCE);
    life.stop();
    let present = Present::start(world.local());
    world.primary.psql("ALTER SYSTEM SET wal_keep_size = 0");
    world.primary.psql("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'");
    world.primary.psql("SELECT pg_reload_conf()");
    world.write_some_at_primary(100);
    world
        .primary
        .psql("CREATE TABLE ballast AS SELECT repeat(md5(i::text), 100) FROM generate_series(1, 2000) AS i");
    let until = Instant::now() + PATIENCE;
    while world.primary.psql("SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'headwater'")
        != "lost"
    {
        assert!(Instant::now() < until, "the slot is not lost");
        world.primary.psql("SELECT pg_switch_wal()");
        world.primary.psql("CHECKPOINT");
    }
    let mut life = world.begin();
    wait_until("the gap is declared", &mut life, |life| !incidents(life, IncidentKind::Gap, 0).is_empty());
    life.wait_settled(PATIENCE);
    world.equal(&world.primary);
    assert!(present.finish() > 0, "nobody ever found the view empty");

    // Dropped while it is followed.
    let gaps = |life: &Life| incidents(life, IncidentKind::Gap, 0).iter().map(|i| i.times).sum::<u64>();
    let before = gaps(&life);
    world.primary.psql(
        "DO $$ BEGIN LOOP
           PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active;
           BEGIN PERFORM pg_drop_replication_slot('headwater'); EXIT;
           EXCEPTION WHEN object_in_use THEN PERFORM pg_sleep(0.002); END;
         END LOOP; END $$",
    );
    wait_until("the gap is declared", &mut life, |life| gaps(life) > before);
    world.write_some_at_primary(20);
    life.wait_settled(PATIENCE);
    world.equal(&world.primary);
    life.stop();
}

/// Looks at the view `pair` of the embedded store as often as it can: it always has its two rows.
struct Present {
    over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<u64>,
}

impl Present {
    fn start(path: PathBuf) -> Present {
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
            let db = rusqlite::Connection::open_with_flags(path, flags).unwrap();
            db.busy_timeout(PATIENCE).unwrap();
            let mut looks = 0;
            while !ends.load(Ordering::SeqCst) {
                let rows: i64 = db.query_row("SELECT count(*) FROM pair", [], |row| row.get(0)).unwrap();
                assert_eq!(rows, 2);
                looks += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            looks
        });
        Present { over, thread }
    }

    fn finish(self) -> u64 {
        self.over.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

impl World {
    /// The view `pair`, by its key, from the stores alone.
    fn serving(&self, life: &Life) -> Serving {
        let view = self.views.iter().find(|view| &*view.name == "pair").unwrap();
        let local = support::store(&format!("sqlite:{}", self.local().display()), &[]);
        let stores = [support::named("near", Arc::clone(&self.near)), support::named("local", local)];
        let field = |name: &str| Field {
            name: name.into(),
            nullable: false,
            shape: FieldShape::Value { kind: ColumnType::Int, type_name: "bigint".into() },
        };
        let access = Access {
            name: "pair".into(),
            pattern: Pattern::Get { view: "pair".into() },
            stores: Vec::new(),
            source: false,
            stale: None,
            rate_per_second: None,
            p99: None,
        };
        let plan = AccessPlan {
            read: PlannedRead::Get { view: Arc::new(view.clone()) },
            params: vec![Param {
                name: "id".into(),
                role: ParamRole::Key,
                kind: ColumnType::Int,
                type_name: "bigint".into(),
                required: true,
            }],
            fields: vec![field("id"), field("amount"), field("version")],
            stores: vec!["near".into(), "local".into()],
            access,
        };
        let source = support::source(&self.url(), &[]);
        Serving::new(life.handle.clone(), source, &stores, vec![plan], Options::default())
    }

    fn write_some_at_primary(&mut self, count: usize) {
        let mut workload = self.workload.take().unwrap();
        run(&self.primary, &mut workload, count);
        self.workload = Some(workload);
    }

    fn write_some_at_standby(&mut self, count: usize) {
        let mut workload = self.workload.take().unwrap();
        run(&self.standby, &mut workload, count);
        self.workload = Some(workload);
    }
}

fn run(at: &Postgres, workload: &mut Workload, count: usize) {
    block_on(async {
        let client = at.connect().await;
        for _ in 0..count {
            if client.batch_execute(&workload.transaction().sql()).await.is_err() {
                let _ = client.batch_execute("ROLLBACK").await;
            }
        }
    });
}
