//! Repair while the store is always a little behind the source, as it is under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use headwater_flow::verify::report::Request;
use headwater_model::{TableName, View};
use headwater_testkit::Folder;
use headwater_testkit::checker::{Copy, Truth, eventually_equal};
use headwater_testkit::faults::{Call, Fault, FaultyStore};
use rusqlite::Connection;

use crate::support::{self, Life};

const PATIENCE: Duration = Duration::from_secs(60);

fn open(folder: &Folder, file: &str) -> Connection {
    let db = Connection::open(folder.join(file)).unwrap();
    db.busy_timeout(PATIENCE).unwrap();
    db
}

#[test]
fn a_store_that_is_behind_is_put_right_all_the_same() {
    support::log();
    let folder = Folder::new("behind");
    let mut db = open(&folder, "source.db");
    db.execute_batch(
        "PRAGMA journal_mode = wal; PRAGMA synchronous = off;
         CREATE TABLE books (id INTEGER PRIMARY KEY, title TEXT);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50)
         INSERT INTO books SELECT i, 'book ' || i FROM n;",
    )
    .unwrap();
    let store =
        FaultyStore::new(support::store(&format!("sqlite:{}", folder.join("local.db").display()), &[]));
    let view = View { from: TableName::new(None, "books"), ..support::flat("book", "books", &["local"]) };
    let source = support::source(&format!("sqlite:{}", folder.join("source.db").display()), &[]);
    let stores = vec![support::named("local", Arc::new(store.clone()))];
    let mut life =
        Life::begin(support::options(&folder.join("data")), source, stores, std::slice::from_ref(&view));
    life.wait_settled(PATIENCE);
    let damaged = open(&folder, "local.db").execute("DELETE FROM book WHERE key IN ('7', '8', '9')", []);
    assert_eq!(damaged.unwrap(), 3);

    let over = AtomicBool::new(false);
    let report = std::thread::scope(|scope| {
        let (db, over) = (&mut db, &over);
        scope.spawn(move || {
            while !over.load(Ordering::SeqCst) {
                db.execute_batch("UPDATE books SET title = title || '.' WHERE id = 1").unwrap();
                std::thread::sleep(Duration::from_millis(3));
            }
        });
        for _ in 0..1000 {
            store.inject(Call::Commit, Fault::Slow(Duration::from_millis(150)));
        }
        let report = life.verify(&Request { repair: Some(1.0), ..Request::default() });
        over.store(true, Ordering::SeqCst);
        report
    });
    let repaired: u64 = report.comparisons().map(|comparison| comparison.repaired).sum();
    assert_eq!((repaired, report.left()), (3, 0), "{report:#?}");
    store.behave();
    let (truth, copy) = (Truth::Sqlite(folder.join("source.db")), Copy::Sqlite(folder.join("local.db")));
    support::block_on(eventually_equal(PATIENCE, &truth, &copy, &[view]));
    life.stop();
}
