//! Who writes to the sandbox's source, and who reads from its stores, while things break. They know nothing of Headwater.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use headwater_engines::sandbox::{SandboxSource, SandboxStore};

/// Accounts that are written to in turn.
pub const ACCOUNTS: u64 = 20;

/// Entries from before anybody looked.
const ENTRIES_BEFORE: u64 = 500;

const COMMIT_EVERY: Duration = Duration::from_millis(20);
const READ_EVERY: Duration = Duration::from_millis(50);

/// The source that is written to now: another one after a failover.
pub type Current = Arc<RwLock<Arc<dyn SandboxSource>>>;

pub fn current(source: &Current) -> Arc<dyn SandboxSource> {
    Arc::clone(&source.read().unwrap_or_else(PoisonError::into_inner))
}

/// The tables and the rows from before.
pub fn schema() -> String {
    let mut sql = String::from(
        "CREATE TABLE account (id integer PRIMARY KEY, balance integer NOT NULL, version integer NOT NULL);
         CREATE TABLE entry (id integer PRIMARY KEY, account_id integer NOT NULL, amount integer NOT NULL, note text);",
    );
    for id in 1..=ACCOUNTS {
        sql.push_str(&format!("INSERT INTO account VALUES ({id}, 0, 0);"));
    }
    for id in 1..=ENTRIES_BEFORE {
        sql.push_str(&entry(id));
    }
    sql
}

fn entry(id: u64) -> String {
    let (account, amount) = (id % ACCOUNTS + 1, id % 100);
    format!(
        "UPDATE account SET balance = balance + {amount}, version = version + 1 WHERE id = {account};
         INSERT INTO entry VALUES ({id}, {account}, {amount}, 'entry {id}');"
    )
}

/// Commits one entry after the other until stopped.
pub struct Load {
    over: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<(Instant, u64)>>>,
    thread: JoinHandle<()>,
}

impl Load {
    pub fn start(source: &Current) -> Load {
        let (over, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let thread = std::thread::spawn({
            let (source, over, acknowledged) =
                (Arc::clone(source), Arc::clone(&over), Arc::clone(&acknowledged));
            move || write(&source, &over, &acknowledged)
        });
        Load { over, acknowledged, thread }
    }

    /// The newest that was acknowledged so long ago, and when the newest of all was.
    pub fn newest_before(&self, age: Duration) -> Option<(u64, Instant)> {
        let acknowledged = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = acknowledged.last()?.0;
        let old = acknowledged.iter().rev().find(|(at, _)| at.elapsed() >= age)?;
        Some((old.1, newest))
    }

    /// Ends it; the entries that were acknowledged.
    pub fn stop(self) -> BTreeSet<u64> {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
        let acknowledged = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        acknowledged.iter().map(|(_, id)| *id).collect()
    }
}

fn write(source: &Current, over: &AtomicBool, acknowledged: &Mutex<Vec<(Instant, u64)>>) {
    let (mut writer, mut id) = (None, ENTRIES_BEFORE);
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(COMMIT_EVERY);
        let Some(open) = writer.as_mut() else {
            writer = current(source).writer().ok();
            continue;
        };
        // One whose end is not known is not tried again: it may be committed.
        id += 1;
        match headwater_engines::sandbox::Writer::commit(&mut **open, &entry(id)) {
            Ok(()) => acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), id)),
            Err(_) => writer = None,
        }
    }
}

/// Reads one account in every store, and notes when it sees an older version than before.
pub struct Reader {
    over: Arc<AtomicBool>,
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Counts {
    reads: AtomicU64,
    went_back: AtomicU64,
    /// Grows when history itself takes another course: what comes then is not compared with what was before.
    courses: AtomicU64,
}

impl Reader {
    pub fn start(stores: &[Arc<dyn SandboxStore>]) -> Reader {
        let (over, counts) = (Arc::new(AtomicBool::new(false)), Arc::new(Counts::default()));
        let threads = stores.iter().map(|store| {
            let (store, over, counts) = (Arc::clone(store), Arc::clone(&over), Arc::clone(&counts));
            std::thread::spawn(move || read(&*store, &over, &counts))
        });
        let threads = threads.collect();
        Reader { over, counts, threads }
    }

    pub fn new_course(&self) {
        self.counts.courses.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads, and those that went back.
    pub fn stop(self) -> (u64, u64) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let _ = thread.join();
        }
        (self.counts.reads.load(Ordering::Relaxed), self.counts.went_back.load(Ordering::Relaxed))
    }
}

fn read(store: &dyn SandboxStore, over: &AtomicBool, counts: &Counts) {
    let (mut newest, mut course) = (0, 0);
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(READ_EVERY);
        let now = counts.courses.load(Ordering::Relaxed);
        // A store that does not answer, or is empty just now, shows nothing old.
        let Ok(Some(document)) = store.get("account", "1") else { continue };
        let parsed: Option<serde_json::Value> = serde_json::from_str(&document).ok();
        let Some(version) = parsed.and_then(|document| document["version"].as_u64()) else { continue };
        counts.reads.fetch_add(1, Ordering::Relaxed);
        if version < newest && now == course && now == counts.courses.load(Ordering::Relaxed) {
            counts.went_back.fetch_add(1, Ordering::Relaxed);
        }
        newest = if now == course { newest.max(version) } else { version };
        course = now;
    }
}
