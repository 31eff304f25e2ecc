//! What a fault happens to: PostgreSQL that an application writes to, Redis and the embedded store, the program between them
//! as a process, readers that watch, and proxies on both ways.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use headwater_model::file::toml_views;
use headwater_testkit::checker::{Copy, Truth, compare, expected, found};
use headwater_testkit::faults::Proxy;
use headwater_testkit::workload::{Dialect, PairReader, PairStore, Workload};
use headwater_testkit::{Chance, Folder, Postgres, Redis};

use crate::service::{Service, local};

/// For everything to become equal, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct World {
    pub chance: Chance,
    pub postgres: Postgres,
    pub redis: Redis,
    /// Between the program and its source, and its store in Redis.
    pub to_source: Proxy,
    pub to_store: Proxy,
    pub service: Service,
    /// The same file in a folder of its own; not started.
    pub second: Service,
    derived: Folder,
    application: Option<Application>,
    readers: Vec<PairReader>,
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
    pub async fn start(seed: u64) -> World {
        let postgres = Postgres::builder()
            .setting("wal_sender_timeout", "3s")
            .setting("max_slot_wal_keep_size", "64MB")
            .setting("max_wal_size", "64MB")
            .start();
        let redis = Redis::start();
        let (to_source, to_store) = (Proxy::to(postgres.port()).await, Proxy::to(redis.port()).await);
        let derived = Folder::new("derived");
        let mut workload = Workload::new(seed, Dialect::Postgres);
        let client = postgres.connect().await;
        client.batch_execute(&workload.ddl()).await.unwrap();
        for _ in 0..200 {
            client.batch_execute(&workload.transaction().sql()).await.unwrap();
        }
        let text = format!(
            "[source]\nurl = \"{}\"\n[stores]\nnear = {{ url = \"{}\", prefix = \"shop:\" }}\n\
             local = {{ url = \"sqlite:{}\" }}\n[backfill]\nchunk_rows = 5\n{}",
            to_source.url(&postgres.url(), postgres.port()),
            to_store.url(&redis.url(), redis.port()),
            derived.join("derived.db").display(),
            toml_views(&workload.views(&["near", "local"]))
        );
        let (service, second) = (Service::new("one", &text), Service::new("two", &text));
        service.start();
        service.healthy().await;
        let readers = vec![
            PairReader::start(PairStore::Redis { url: redis.url(), prefix: "shop:".into() }),
            PairReader::start(PairStore::Sqlite(derived.join("derived.db"))),
        ];
        let application = Some(Application::start(postgres.url(), workload));
        let chance = Chance::new(seed);
        World { chance, postgres, redis, to_source, to_store, service, second, derived, application, readers }
    }

    /// A moment of random length under load.
    pub async fn pause(&mut self, ms_max: u64) {
        tokio::time::sleep(Duration::from_millis(self.chance.below(ms_max))).await;
    }

    /// The application ends; then every store comes to equal the source, or does not.
    pub async fn quiet(&mut self, ended: Instant) -> Outcome {
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
        let mut backwards = 0;
        for reader in self.readers.drain(..) {
            if let Err(violation) = reader.finish() {
                backwards += 1;
                what = what.or(Some(violation));
            }
        }
        Outcome { recovery, keys_lost, backwards, what }
    }

    fn runs(&self) -> bool {
        self.service.is_running() || self.second.is_running()
    }

    /// How much the log of the program has, to know later what is new.
    pub fn told(&self) -> usize {
        self.service.log().len() + self.second.log().len()
    }
}

/// Writes at a moderate pace, and goes on after errors: what it cannot commit, it leaves.
struct Application {
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Application {
    fn start(url: String, mut workload: Workload) -> Application {
        let (over, written) = (Arc::new(AtomicBool::new(false)), AtomicU64::new(0));
        let seen = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                while !seen.load(Ordering::SeqCst) {
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
                        written.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(3)).await;
                    }
                    connection.abort();
                }
            });
        });
        Application { over, thread }
    }

    fn finish(self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = self.thread.join();
    }
}
