//! Rows are counted while somebody looks, and not otherwise.

use std::time::Duration;

use headwater_model::{TableName, View};
use headwater_testkit::Folder;

use crate::support::{self, Life};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn stores_count_their_rows_when_somebody_asks_and_not_before() {
    support::log();
    let folder = Folder::new("counting");
    let path = folder.join("source.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode = wal; CREATE TABLE books (id INTEGER PRIMARY KEY);
         INSERT INTO books VALUES (1), (2), (3);",
    )
    .unwrap();
    db.busy_timeout(PATIENCE).unwrap();
    let source = support::source(&format!("sqlite:{}", path.display()), &[]);
    let stores = vec![support::named("scratch", support::store("memory:", &[]))];
    let view = View { from: TableName::new(None, "books"), ..support::flat("book", "books", &["scratch"]) };
    let mut life = Life::begin(support::options(&folder.join("data")), source, stores, &[view]);
    life.wait_settled(PATIENCE);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(life.handle.status().stores[0].views[0].rows, None, "nobody has asked");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rows = |age_max| {
        let status = runtime.block_on(life.handle.status_with_rows(age_max, PATIENCE));
        status.stores[0].views[0].rows
    };
    assert_eq!(rows(PATIENCE), Some(3));
    db.execute_batch("INSERT INTO books VALUES (4)").unwrap();
    let until = std::time::Instant::now() + PATIENCE;
    while rows(Duration::ZERO) != Some(4) {
        assert!(std::time::Instant::now() < until, "a fresh count shows the new row");
    }
    assert_eq!(rows(Duration::from_secs(3600)), Some(4), "a count of the last hour is at hand");
    life.stop();
}
