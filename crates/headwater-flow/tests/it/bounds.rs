//! What happens at each bound, and when a part comes back from an older state: always declared, never for good.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_flow::journal::{self, Journal};
use headwater_flow::status::PartState;
use headwater_flow::{NamedStore, Options};
use headwater_model::{
    Aggregate, Change, Epoch, ErrorKind, Offset, Ranking, Source, Store, TableName, View, ViewKind,
};
use headwater_testkit::checker::{Copy, Truth, eventually_equal};
use headwater_testkit::faults::{Call, Fault, FaultyStore, HeldLog};
use headwater_testkit::{Folder, Postgres};

use crate::support::{self, Life};

const PATIENCE: Duration = Duration::from_secs(60);

/// A SQLite file that is written to, and the views of its one table.
struct Shop {
    folder: Folder,
    db: rusqlite::Connection,
}

impl Shop {
    fn new() -> Shop {
        support::log();
        let folder = Folder::new("bounds");
        let db = rusqlite::Connection::open(folder.join("source.db")).unwrap();
        db.busy_timeout(PATIENCE).unwrap();
        db.execute_batch(
            "PRAGMA journal_mode = wal; PRAGMA synchronous = off;
             CREATE TABLE books (id INTEGER PRIMARY KEY, title TEXT);
             INSERT INTO books VALUES (1, 'one'), (2, 'two');",
        )
        .unwrap();
        Shop { folder, db }
    }

    fn execute(&self, sql: &str) {
        self.db.execute_batch(sql).unwrap();
    }

    /// Writes about `kib` KiB, in transactions of 16 KiB.
    fn write(&self, kib: usize) {
        for _ in 0..kib / 16 {
            self.execute("INSERT INTO books (title) VALUES (hex(zeroblob(8000)))");
        }
    }

    fn source(&self) -> Arc<dyn Source> {
        support::source(&format!("sqlite:{}", self.path().display()), &[])
    }

    fn path(&self) -> PathBuf {
        self.folder.join("source.db")
    }

    fn options(&self) -> Options {
        support::options(&self.folder.join("data"))
    }

    fn begin(&self, options: Options, stores: &[(&str, Arc<dyn Store>)]) -> Life {
        let names: Vec<&str> = stores.iter().map(|(name, _)| *name).collect();
        let stores: Vec<NamedStore> =
            stores.iter().map(|(name, store)| support::named(name, Arc::clone(store))).collect();
        Life::begin(options, self.source(), stores, &[self.view(&names)])
    }

    fn view(&self, stores: &[&str]) -> View {
        View { from: TableName::new(None, "books"), ..support::flat("book", "books", stores) }
    }

    fn equal(&self, copy: &Copy) {
        let view = self.view(&["any"]);
        block_on(eventually_equal(PATIENCE, &Truth::Sqlite(self.path()), copy, &[view]));
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn state_of(life: &Life, store: &str) -> PartState {
    let status = life.handle.status();
    let store = status.stores.iter().find(|part| part.name == store).unwrap();
    store.views[0].state
}

#[test]
fn a_stop_waits_for_no_source_whose_log_cannot_be_opened() {
    let shop = Shop::new();
    let log = HeldLog::never_opened(shop.source());
    let stores = vec![support::named("scratch", support::store("memory:", &[]))];
    let life = Life::begin(shop.options(), Arc::new(log.clone()), stores, &[shop.view(&["scratch"])]);
    let until = Instant::now() + PATIENCE;
    while log.asked() == 0 {
        assert!(Instant::now() < until, "it wants to follow");
        std::thread::sleep(Duration::from_millis(10));
    }
    life.stop();
}

#[test]
fn a_full_journal_lets_go_of_the_slowest_store_alone() {
    let shop = Shop::new();
    let near = support::store("memory:", &[]);
    let slow = FaultyStore::new(support::store("memory:", &[]));
    let options = Options { journal_bytes_max: 1 << 20, ..shop.options() };
    let stores = [("near", Arc::clone(&near)), ("slow", Arc::new(slow.clone()) as Arc<dyn Store>)];
    let mut life = shop.begin(options, &stores);
    life.wait_settled(PATIENCE);
    slow.inject(Call::Commit, Fault::Hold);
    wait_until("the slow store is let go", || {
        shop.write(256);
        assert_eq!(state_of(&life, "near"), PartState::Healthy, "the other store is unharmed");
        state_of(&life, "slow") == PartState::Rebuilding
    });
    shop.equal(&Copy::Store(Arc::clone(&near)));
    wait_until("the journal is within its bound again", || {
        // The last segment is never given up: it ends with a later entry.
        shop.write(16);
        life.handle.status().journal.bytes <= 1 << 20
    });
    assert_eq!(state_of(&life, "slow"), PartState::Rebuilding, "it still hangs");
    slow.behave();
    life.wait_settled(PATIENCE);
    shop.equal(&Copy::Store(Arc::new(slow)));
    shop.equal(&Copy::Store(near));
    life.stop();
}

#[test]
fn a_source_that_keeps_too_much_log_is_set_free_and_read_again() {
    support::log();
    let (postgres, folder) = (Postgres::start(), Folder::new("bounds"));
    postgres.psql("CREATE TABLE books (id bigint PRIMARY KEY, title text)");
    postgres.psql("INSERT INTO books VALUES (1, 'one'), (2, 'two')");
    let log = HeldLog::new(support::source(&postgres.url(), &[]));
    log.let_go();
    let near = support::store("memory:", &[]);
    let view = support::flat("book", "books", &["near"]);
    let options = Options { retained_log_bytes_max: 1 << 20, ..support::options(&folder.join("data")) };
    let stores = vec![support::named("near", Arc::clone(&near))];
    let mut life = Life::begin(options, Arc::new(log.clone()), stores, std::slice::from_ref(&view));
    life.wait_settled(PATIENCE);
    let slot = || postgres.psql("SELECT confirmed_flush_lsn FROM pg_replication_slots");
    log.hold();
    postgres.psql("INSERT INTO books SELECT i, repeat(md5(i::text), 50) FROM generate_series(10, 3000) AS i");
    postgres.psql("DELETE FROM books WHERE id = 2");
    let written = postgres.psql("SELECT pg_current_wal_insert_lsn()");
    // Nothing of it came by: only a slot that was given up for a new one lets go of it.
    wait_until("a new term begins", || life.handle.status().epoch > 1);
    wait_until("the source keeps none of it", || {
        let free = format!(
            "SELECT coalesce(bool_and(confirmed_flush_lsn >= '{written}'), false) FROM pg_replication_slots"
        );
        postgres.psql(&free) == "t"
    });
    assert_ne!(slot(), "");
    log.let_go();
    life.wait_settled(PATIENCE);
    block_on(eventually_equal(PATIENCE, &Truth::Postgres(postgres.url()), &Copy::Store(near), &[view]));
    life.stop();
}

#[test]
fn a_slow_store_holds_the_sources_log_only_for_so_long() {
    support::log();
    let (postgres, folder) = (Postgres::start(), Folder::new("bounds"));
    postgres.psql("CREATE TABLE books (id bigint PRIMARY KEY, title text)");
    let slow = FaultyStore::new(support::store("memory:", &[]));
    let view = support::flat("book", "books", &["slow"]);
    let hold_for = Duration::from_secs(4);
    let options = Options { hold_for, ..support::options(&folder.join("data")) };
    let stores = vec![support::named("slow", Arc::new(slow.clone()))];
    let source = support::source(&postgres.url(), &[]);
    let mut life = Life::begin(options, source, stores, std::slice::from_ref(&view));
    life.wait_settled(PATIENCE);
    slow.inject(Call::Commit, Fault::Hold);
    let began = Instant::now();
    postgres.psql("INSERT INTO books VALUES (1, 'one')");
    let written = postgres.psql("SELECT pg_current_wal_insert_lsn()");
    let released = || {
        let released =
            format!("SELECT bool_and(confirmed_flush_lsn >= '{written}') FROM pg_replication_slots");
        postgres.psql(&released) == "t"
    };
    wait_until("the journal has the row, the store has not, and the source may forget it", released);
    let held = began.elapsed();
    assert!(held >= hold_for, "the store held the log for {held:?} only");
    slow.behave();
    life.wait_settled(PATIENCE);
    let copy = Copy::Store(Arc::new(slow));
    block_on(eventually_equal(PATIENCE, &Truth::Postgres(postgres.url()), &copy, &[view]));
    life.stop();
}

#[test]
fn an_older_copy_of_a_store_catches_up_from_the_journal() {
    older_copy(16, &[]);
}

#[test]
fn a_copy_that_is_older_than_the_journal_is_filled_again() {
    older_copy(4 << 10, &[PartState::Rebuilding]);
}

/// The store's file is replaced by a copy from `kib` KiB of writes ago, while nothing runs. `passed` are the states that
/// its view is then seen in before it is healthy, from being connected on.
fn older_copy(kib: usize, passed: &[PartState]) {
    let shop = Shop::new();
    let (file, copy) = (shop.folder.join("local.db"), shop.folder.join("copy.db"));
    let options = Options { journal_bytes_max: 1 << 20, ..shop.options() };
    let life_with = |options: &Options| {
        let store = support::store(&format!("sqlite:{}", file.display()), &[]);
        shop.begin(options.clone(), &[("local", store)])
    };
    let mut life = life_with(&options);
    life.wait_settled(PATIENCE);
    let copied_at = life.handle.status().journal.durable_offset;
    life.stop();
    let closing = shop.folder.join("local.db-wal");
    wait_until("the store's file is closed", || !closing.exists());
    std::fs::copy(&file, &copy).unwrap();

    let mut life = life_with(&options);
    life.wait_settled(PATIENCE);
    shop.execute("DELETE FROM books WHERE id = 1; UPDATE books SET title = 'newer' WHERE id = 2");
    shop.write(kib);
    if kib > 1 << 10 {
        wait_until("the journal forgets what came after the copy", || {
            // The last segment is never given up: it ends with a later entry.
            shop.write(16);
            life.handle.status().journal.first_offset > copied_at + 1
        });
    }
    life.stop();
    // The last connection to be closed takes the write-ahead log along, by its name: before that, nothing may be replaced.
    wait_until("the store's file is closed", || !closing.exists());
    std::fs::remove_file(&file).unwrap();
    std::fs::copy(&copy, &file).unwrap();

    let mut life = life_with(&options);
    let mut seen = Vec::new();
    wait_until("the view is healthy", || life.handle.status().stores[0].promise.is_some());
    let until = Instant::now() + PATIENCE;
    while life.unsettled().is_some() {
        assert!(Instant::now() < until);
        let state = state_of(&life, "local");
        if state == PartState::Rebuilding && seen.last() != Some(&state) {
            seen.push(state);
        }
    }
    life.assert_alive();
    assert_eq!(seen, passed);
    shop.equal(&Copy::Sqlite(file.clone()));
    life.stop();
}

#[test]
fn a_row_that_a_store_refuses_is_quarantined_while_all_else_flows() {
    let shop = Shop::new();
    let near = support::store("memory:", &[]);
    let small = support::store("memory:", &[("bytes_max", "65536")]);
    let stores = [("near", Arc::clone(&near)), ("small", small)];
    let mut life = shop.begin(shop.options(), &stores);
    life.wait_settled(PATIENCE);
    shop.execute("INSERT INTO books VALUES (3, hex(zeroblob(50000)))");
    shop.execute("INSERT INTO books VALUES (4, 'four')");
    let quarantined = |life: &Life| -> Vec<u64> {
        life.handle.status().stores.iter().map(|store| store.quarantined_rows).collect()
    };
    wait_until("the row is quarantined", || quarantined(&life) == [0, 1]);
    shop.equal(&Copy::Store(Arc::clone(&near)));
    life.wait_settled(PATIENCE);
    let rows = |store: &Arc<dyn Store>| block_on(store.rows(&shop.view(&["any"]))).unwrap();
    assert_eq!((rows(&near), rows(&stores[1].1)), (4, 3), "the row behind it arrived");

    // A newer version that the store takes, and a delete, take the entry along.
    shop.execute("UPDATE books SET title = 'small' WHERE id = 3");
    wait_until("the mended row has left the quarantine", || quarantined(&life) == [0, 0]);
    shop.equal(&Copy::Store(Arc::clone(&stores[1].1)));
    shop.execute("UPDATE books SET title = hex(zeroblob(50000)) WHERE id = 3");
    wait_until("the row is quarantined again", || quarantined(&life) == [0, 1]);
    shop.execute("DELETE FROM books WHERE id = 3");
    wait_until("the deleted row has left the quarantine", || quarantined(&life) == [0, 0]);
    shop.execute("INSERT INTO books VALUES (3, hex(zeroblob(50000)))");
    wait_until("the row is quarantined once more", || quarantined(&life) == [0, 1]);
    life.wait_settled(PATIENCE);
    life.stop();

    // Still on record after a restart, and gone with what it stood for when the store is filled again.
    let mut life = shop.begin(shop.options(), &stores);
    life.wait_settled(PATIENCE);
    assert_eq!(quarantined(&life), [0, 1]);
    life.stop();
    let roomy = support::store("memory:", &[]);
    let mut life = shop.begin(shop.options(), &[("near", near), ("small", Arc::clone(&roomy))]);
    life.wait_settled(PATIENCE);
    assert_eq!(quarantined(&life), [0, 0]);
    shop.equal(&Copy::Store(roomy));
    life.stop();
}

#[test]
fn a_journal_that_lost_its_tail_heals() {
    for (source_forgot, part) in [(false, 0.1), (false, 0.5), (true, 0.1), (true, 0.5)] {
        lost_tail(source_forgot, part);
    }
}

/// The last `part` of the journal is lost with the power, though a store has applied them. If a second store was
/// behind, the source still keeps them; if not, it has forgotten them.
fn lost_tail(source_forgot: bool, part: f64) {
    let shop = Shop::new();
    let near = support::store("memory:", &[]);
    let behind = FaultyStore::new(support::store("memory:", &[]));
    let stores = [("near", Arc::clone(&near)), ("behind", Arc::new(behind.clone()) as Arc<dyn Store>)];
    let mut life = shop.begin(shop.options(), &stores);
    life.wait_settled(PATIENCE);
    if !source_forgot {
        behind.inject(Call::Commit, Fault::Hold);
    }
    for id in 10..60 {
        shop.execute(&format!("INSERT INTO books VALUES ({id}, 'a title of {id}')"));
        // SQLite is read in windows: what is written at once is one entry.
        std::thread::sleep(Duration::from_millis(10));
    }
    shop.execute("DELETE FROM books WHERE id = 10");
    shop.equal(&Copy::Store(Arc::clone(&near)));
    // What may be forgotten is told a few times a second.
    std::thread::sleep(Duration::from_millis(500));
    let durable = life.handle.status().journal.durable_offset;
    life.crash();
    let dir = shop.folder.join("data").join("journal");
    std::fs::remove_file(dir.join("synced")).unwrap();
    let mut segments: Vec<PathBuf> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "segment"))
        .collect();
    segments.sort();
    let last = std::fs::OpenOptions::new().write(true).open(segments.last().unwrap()).unwrap();
    let len = last.metadata().unwrap().len();
    last.set_len(len - (len as f64 * part) as u64).unwrap();
    drop(last);
    let (left, writer) = Journal::<Change>::open(journal::Options::new(&dir)).unwrap();
    assert!(left.durable().0 < durable, "entries are lost");
    drop((left, writer));
    shop.execute("UPDATE books SET title = 'after' WHERE id = 11; DELETE FROM books WHERE id = 12");

    behind.behave();
    let mut life = shop.begin(shop.options(), &stores);
    life.wait_settled(PATIENCE);
    shop.execute("INSERT INTO books VALUES (100, 'later')");
    shop.equal(&Copy::Store(near));
    shop.equal(&Copy::Store(Arc::new(behind)));
    life.stop();
}

#[test]
fn a_journal_that_was_lost_takes_the_rows_along_that_were_mirrored_from_it() {
    let shop = Shop::new();
    let near = support::store("memory:", &[]);
    let ranking = ViewKind::Ranking(Ranking {
        by: vec!["title".into()],
        within: Vec::new(),
        function: Aggregate::Count,
        column: None,
    });
    let titles = View { name: "titles".into(), kind: ranking, ..shop.view(&["near"]) };
    let begin = || {
        let stores = vec![support::named("near", Arc::clone(&near))];
        Life::begin(shop.options(), shop.source(), stores, std::slice::from_ref(&titles))
    };
    let mut life = begin();
    life.wait_settled(PATIENCE);
    life.stop();

    // As the remedy for damage says: the journal's folder goes. What happens meanwhile is in no log.
    std::fs::remove_dir_all(shop.folder.join("data").join("journal")).unwrap();
    block_on(shop.source().forget()).unwrap();
    shop.execute("DELETE FROM books WHERE id = 1; UPDATE books SET title = 'zwei' WHERE id = 2");
    let mut life = begin();
    life.wait_settled(PATIENCE);
    // A group that nobody touched since: what it counts tells which rows are there.
    shop.execute("INSERT INTO books VALUES (3, 'one')");
    let truth = Truth::Sqlite(shop.path());
    block_on(eventually_equal(
        PATIENCE,
        &truth,
        &Copy::Store(Arc::clone(&near)),
        std::slice::from_ref(&titles),
    ));
    life.stop();
}

#[test]
fn an_epoch_has_one_owner_also_when_the_store_did_not_say_which_it_knows() {
    let shop = Shop::new();
    let near = support::store("memory:", &[]);
    // Another instance writes with the first epoch.
    block_on(near.claim(Epoch(1))).unwrap();
    let faulty = FaultyStore::new(Arc::clone(&near));
    faulty.inject(Call::Held, Fault::Reject(ErrorKind::Transient));
    let mut life = shop.begin(shop.options(), &[("near", Arc::new(faulty))]);
    life.wait_settled(PATIENCE);
    assert!(life.handle.status().epoch > 1, "two instances write with one epoch");
    assert!(block_on(near.begin(Epoch(1), Offset(life.handle.status().journal.durable_offset))).is_err());
    shop.equal(&Copy::Store(near));
    life.stop();
}
