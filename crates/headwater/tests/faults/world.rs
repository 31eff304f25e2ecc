//! What a fault happens to: PostgreSQL that an application writes to, Redis and the embedded store, the program between them
//! as a process, readers that watch, and proxies on both ways.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use headwater_model::file::toml_views;
use headwater_testkit::checker::{Copy, Truth, compare, expected, found};
use headwater_testkit::faults::{Disk, Network, Proxy};
use headwater_testkit::workload::{Dialect, PairReader, PairStore, Workload};
use headwater_testkit::{Chance, Folder, Postgres, Redis, eventually};
use rusqlite::Connection;

use crate::catalogue::Fault;
use crate::instance::Instance;
use crate::service::local;

/// For everything to become equal, on a machine that has other things to do.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Rows that the application leaves alone: for damage that nothing mends by chance.
const ODD: &str = "
CREATE TABLE odd (id text PRIMARY KEY, number double precision, exact numeric, bytes bytea, body text);
INSERT INTO odd SELECT 'odd ' || i, i / 7.0, i, NULL, 'body ' || i FROM generate_series(1, 300) AS i;
";

const ODD_VIEW: &str = "[views.odd]\nfrom = \"odd\"\nstore = [\"near\", \"local\"]\n";

pub struct World {
    pub chance: Chance,
    /// Of the source's log, if a fault needs a small one. Before the source: it is in its folder.
    pub log_disk: Option<Disk>,
    pub postgres: Postgres,
    /// It was replaced by `postgres`.
    pub old_primary: Option<Postgres>,
    pub redis: Redis,
    /// Between the program and its source, and its store in Redis.
    pub to_source: Proxy,
    pub to_store: Proxy,
    pub service: Instance,
    /// The same file in a folder of its own; not started.
    pub second: Instance,
    pub noticed: Noticed,
    /// Of the data folder of `service`, if a fault needs a small one.
    pub disk: Option<Disk>,
    /// Between the instances and everything else, if a fault needs one.
    pub network: Option<Network>,
    derived: Folder,
    application: Option<Application>,
    near: PairReader,
    local: PairReader,
    /// Of readers that ended before the others.
    violations: Vec<String>,
}

/// What was found when all was quiet again.
pub struct Outcome {
    /// From the end of the fault until every store equals the source.
    pub recovery: Duration,
    pub keys_lost: usize,
    pub backwards: usize,
    pub what: Option<String>,
}

impl World {
    /// With every view filled, and writes going on.
    pub async fn start(seed: u64, faults: &[Fault]) -> World {
        let mut postgres = Postgres::builder()
            .setting("wal_sender_timeout", "3s")
            .setting("max_slot_wal_keep_size", "64MB")
            .setting("max_wal_size", "64MB");
        if faults.contains(&Fault::PoisonRows) {
            postgres = postgres.any_bytes();
        }
        let (postgres, log_disk) = match faults.contains(&Fault::LogDiskFull) {
            true => {
                let (postgres, disk) = postgres.start_with_log_on(192);
                (postgres, Some(disk))
            }
            false => (postgres.start(), None),
        };
        let redis = Redis::start();
        let apart = [Fault::OneWayLoss, Fault::LossAndDisorder];
        let network = faults.iter().any(|fault| apart.contains(fault)).then(Network::start);
        let here = network.as_ref().map_or(Ipv4Addr::LOCALHOST.into(), Network::here);
        let (to_source, to_store) =
            (Proxy::at(here, postgres.port()).await, Proxy::at(here, redis.port()).await);
        let derived = Folder::new("derived");
        let mut workload = Workload::new(seed, Dialect::Postgres);
        let client = postgres.connect().await;
        client.batch_execute(&workload.ddl()).await.unwrap();
        client.batch_execute(ODD).await.unwrap();
        for _ in 0..200 {
            client.batch_execute(&workload.transaction().sql()).await.unwrap();
        }
        // Few rows, so that much happens between chunks; a repair of many rows would not come to its end.
        let chunk_rows = if faults.contains(&Fault::KilledInARepair) { 500 } else { 5 };
        let text = format!(
            "[source]\nurl = \"{}?sslmode=disable\"\n[stores]\nnear = {{ url = \"{}\", prefix = \"shop:\" }}\n\
             local = {{ url = \"sqlite:{}\" }}\n[backfill]\nchunk_rows = {chunk_rows}\n{}\n{ODD_VIEW}",
            to_source.url(&postgres.url(), postgres.port()),
            to_store.url(&redis.url(), redis.port()),
            derived.join("derived.db").display(),
            toml_views(&workload.views(&["near", "local"]))
        );
        let via = network.as_ref().map_or(Vec::new(), Network::via);
        let (service, second) = (Instance::new("one", &text, via.clone()), Instance::new("two", &text, via));
        let disk = faults.contains(&Fault::OurDiskFull).then(|| Disk::at(service.path("headwater-data"), 96));
        service.start();
        service.healthy().await;
        World {
            chance: Chance::new(seed),
            near: watch_near(&redis),
            local: PairReader::start(PairStore::Sqlite(derived.join("derived.db"))),
            application: Some(Application::start(postgres.url(), workload)),
            violations: Vec::new(),
            old_primary: None,
            disk,
            log_disk,
            network,
            noticed: Noticed::in_log([service.path("log"), second.path("log")]),
            postgres,
            redis,
            to_source,
            to_store,
            service,
            second,
            derived,
        }
    }

    /// A moment of random length under load.
    pub async fn pause(&mut self, ms_max: u64) {
        tokio::time::sleep(Duration::from_millis(self.chance.below(ms_max))).await;
    }

    /// Whoever leads, and waits until somebody does.
    pub async fn leader(&self) -> &Instance {
        eventually(PATIENCE, "an instance leads", async || {
            match [&self.service, &self.second].into_iter().find(|instance| instance.leads()) {
                Some(leader) => Ok(leader),
                None => Err(self.service.log_tail()),
            }
        })
        .await
    }

    /// The leader, with every view filled.
    pub async fn healthy(&self) -> &Instance {
        let leader = self.leader().await;
        leader.healthy().await;
        leader
    }

    /// Waits until one of the instances was killed by an order that both had, and starts it again after `meanwhile`.
    pub async fn killed(&self, meanwhile: impl FnOnce(&Instance)) {
        let running: Vec<&Instance> =
            [&self.service, &self.second].into_iter().filter(|instance| instance.is_running()).collect();
        let killed = eventually(PATIENCE, "the kernel kills an instance", async || {
            match running.iter().find(|instance| !instance.is_running()) {
                Some(killed) => Ok(*killed),
                None => Err(self.service.log_tail()),
            }
        })
        .await;
        killed.was_killed();
        for instance in [&self.service, &self.second] {
            instance.syscalls().kill_before_sync(0);
            instance.syscalls().kill_after_sync(0);
        }
        meanwhile(killed);
        killed.start();
    }

    /// The newest version of `pair` that the source has.
    pub fn committed(&self) -> i64 {
        self.postgres.psql("SELECT min(version) FROM pair").parse().unwrap()
    }

    /// The version of `pair` in Redis; 0 while it is not there.
    pub fn shown_near(&self) -> i64 {
        self.redis.cli(&["HGET", "shop:pair:1", "version"]).parse().unwrap_or(0)
    }

    /// Waits until Redis shows a newer version of `pair` than this one.
    pub async fn shows_newer(&self, version: i64) {
        eventually(PATIENCE, "newer changes arrive", async || match self.shown_near() {
            shown if shown > version => Ok(()),
            shown => Err(format!("version {shown}\n{}", self.service.log_tail())),
        })
        .await;
    }

    /// The embedded store's file, as somebody else who writes to it.
    pub fn embedded(&self) -> Connection {
        let db = Connection::open(self.derived.join("derived.db")).unwrap();
        db.busy_timeout(PATIENCE).unwrap();
        db
    }

    /// `redis` has taken over the address of the store. What it had is all that a reader of it can have seen so far.
    pub fn store_moved(&mut self, redis: Redis) {
        self.to_store.lead_to(redis.port());
        let before = std::mem::replace(&mut self.near, watch_near(&redis));
        self.violations.extend(before.finish().err());
        self.redis = redis;
    }

    /// `postgres` is the primary now, behind the same address. Commits that it has not are lost, and were perhaps shown: readers
    /// may see that they are undone.
    pub fn source_moved(&mut self, postgres: Postgres) {
        let kept = postgres.psql("SELECT min(version) FROM pair").parse().unwrap();
        for reader in [&self.near, &self.local] {
            reader.lost_after(kept);
        }
        self.to_source.lead_to(postgres.port());
        if let Some(application) = &self.application {
            *application.url.lock().unwrap() = postgres.url();
        }
        self.old_primary = Some(std::mem::replace(&mut self.postgres, postgres));
    }

    /// The application ends; then every store comes to equal the source, or does not.
    pub async fn quiet(mut self, ended: Instant) -> Outcome {
        if let Some(application) = self.application.take() {
            application.finish();
        }
        let truth = Truth::Postgres(self.postgres.url());
        let copies = [
            ("near", Copy::Redis { url: self.redis.url(), prefix: "shop:".into() }),
            ("local", local(&self.derived.join("derived.db"))),
        ];
        let (mut keys_lost, mut what) = (0, None);
        for (store, copy) in copies {
            let views = self.service.views_of(store);
            let expected = expected(&truth, &views).await;
            loop {
                let report = compare(&expected, &found(&copy, &views).await);
                if report.is_equal() {
                    break;
                }
                if ended.elapsed() > PATIENCE || !self.runs() {
                    keys_lost += report.missing.len() + report.extra.len() + report.different.len();
                    what = Some(format!("{store} differs: {report}\n{}", self.service.log_tail()));
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        let recovery = ended.elapsed();
        let World { near, local, mut violations, .. } = self;
        violations.extend([near, local].into_iter().filter_map(|reader| reader.finish().err()));
        let backwards = violations.len();
        what = what.or(violations.pop());
        Outcome { recovery, keys_lost, backwards, what }
    }

    fn runs(&self) -> bool {
        self.service.is_running() || self.second.is_running()
    }

    /// From now on it is watched when the program first says something.
    pub fn notice(&mut self) {
        self.noticed = Noticed::in_log([self.service.path("log"), self.second.path("log")]);
    }
}

/// When the program first said something of a fault.
pub struct Noticed {
    since: Instant,
    within: Arc<OnceLock<Duration>>,
}

impl Noticed {
    fn in_log(logs: [PathBuf; 2]) -> Noticed {
        let told = move || logs.iter().map(|log| log.metadata().map_or(0, |log| log.len())).sum::<u64>();
        let (before, since, within) = (told(), Instant::now(), Arc::new(OnceLock::new()));
        let first = Arc::clone(&within);
        tokio::spawn(async move {
            while told() == before {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let _ = first.set(since.elapsed());
        });
        Noticed { since, within }
    }

    /// It said so to whoever asked.
    pub fn now(&self) {
        let _ = self.within.set(self.since.elapsed());
    }

    /// How long it took; `None` if nothing was said so far.
    pub fn within(&self) -> Option<Duration> {
        self.within.get().copied()
    }
}

fn watch_near(redis: &Redis) -> PairReader {
    PairReader::start(PairStore::Redis { url: redis.url(), prefix: "shop:".into() })
}

/// Writes at a moderate pace, and goes on after errors: what it cannot commit, it leaves.
struct Application {
    over: Arc<AtomicBool>,
    url: Arc<Mutex<String>>,
    thread: JoinHandle<()>,
}

impl Application {
    fn start(url: String, mut workload: Workload) -> Application {
        let (over, url) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(url)));
        let (seen, place) = (Arc::clone(&over), Arc::clone(&url));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                while !seen.load(Ordering::SeqCst) {
                    let url = place.lock().unwrap().clone();
                    let Ok((client, connection)) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await
                    else {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    };
                    let connection = tokio::spawn(connection);
                    while !seen.load(Ordering::SeqCst) && !client.is_closed() {
                        let ran = client.batch_execute(&workload.transaction().sql()).await;
                        if ran.is_err() {
                            let _ = client.batch_execute("ROLLBACK").await;
                        }
                        tokio::time::sleep(Duration::from_millis(3)).await;
                    }
                    connection.abort();
                }
            });
        });
        Application { over, url, thread }
    }

    fn finish(self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = self.thread.join();
    }
}
