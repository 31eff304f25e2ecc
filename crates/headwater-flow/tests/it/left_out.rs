//! Rows that have no name a store could keep them under: one of them must not stop the others. It is in quarantine with a
//! reason until it is mended or gone, and then it comes by itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_model::{Store, TableName, View};
use headwater_testkit::checker::{Copy, Truth, eventually_equal};
use headwater_testkit::{Folder, Postgres};

use crate::support::{self, Life, block_on};

const PATIENCE: Duration = Duration::from_secs(60);

struct Site {
    url: String,
    truth: Truth,
    views: Vec<View>,
    memory: Arc<dyn Store>,
    folder: Folder,
    life: Option<Life>,
}

impl Site {
    fn new(url: String, truth: Truth, views: Vec<View>) -> Site {
        support::log();
        let memory = support::store("memory:", &[]);
        let mut site = Site { url, truth, views, memory, folder: Folder::new("left-out"), life: None };
        site.start();
        site
    }

    fn start(&mut self) {
        let stores = vec![support::named("scratch", Arc::clone(&self.memory))];
        let options = support::options(&self.folder.join("data"));
        let mut life = Life::begin(options, support::source(&self.url, &[]), stores, &self.views);
        life.wait_settled(PATIENCE);
        self.life = Some(life);
    }

    fn life(&mut self) -> &mut Life {
        self.life.as_mut().unwrap()
    }

    fn left_out(&mut self, rows: u64) {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = self.life().handle.status().source.quarantined_rows;
            if found == rows {
                return;
            }
            self.life().assert_alive();
            let listed = self.life().handle.quarantined_rows(100).unwrap();
            assert!(Instant::now() < until, "{found} rows are left out, not {rows}: {listed:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the list says, oldest first.
    fn listed(&mut self) -> Vec<String> {
        let rows = self.life().handle.quarantined_rows(100).unwrap();
        assert!(rows.iter().all(|row| row.store.is_none() && row.reason.contains("key")), "{rows:?}");
        let mut listed: Vec<String> = rows.iter().map(|row| format!("{} {}", row.view, row.key)).collect();
        listed.sort();
        listed
    }

    fn equal(&mut self) {
        block_on(eventually_equal(
            PATIENCE,
            &self.truth,
            &Copy::Store(Arc::clone(&self.memory)),
            &self.views,
        ));
    }

    fn holds(&mut self, view: usize, rows: u64) {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = block_on(self.memory.rows(&self.views[view])).unwrap();
            if found == rows {
                return;
            }
            assert!(Instant::now() < until, "the store holds {found} rows, not {rows}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn rows_of_sqlite_without_a_key_are_left_out_and_come_when_they_are_mended() {
    let folder = Folder::new("left-out-source");
    let path: PathBuf = folder.join("source.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.pragma_update(None, "journal_mode", "wal").unwrap();
    db.busy_timeout(PATIENCE).unwrap();
    let execute = |sql: &str| db.execute_batch(sql).unwrap();
    execute(
        "CREATE TABLE item (k TEXT PRIMARY KEY, a); CREATE TABLE pair (a TEXT, b INTEGER, x, PRIMARY KEY (a, b));
         INSERT INTO item VALUES ('a', 1), (NULL, 2), (NULL, 3);
         INSERT INTO pair VALUES ('x', NULL, 1), ('x', 1, 2), (NULL, NULL, 3), ('y', 2, 4);",
    );
    let flat = |table: &str, filter: &str| View {
        from: TableName::new(None, table),
        // The truth has to leave out what cannot be handed on.
        filter: Some(filter.into()),
        ..support::flat(table, table, &["scratch"])
    };
    let views = vec![flat("item", "k IS NOT NULL"), flat("pair", "a IS NOT NULL AND b IS NOT NULL")];
    let url = format!("sqlite:{}", path.display());
    let mut site = Site::new(url, Truth::Sqlite(path.clone()), views);
    site.left_out(4);
    let found_by_reading = ["item NULL (rowid 2, 3)", "pair NULL, NULL (rowid 3)", "pair x, NULL (rowid 1)"];
    assert_eq!(site.listed(), found_by_reading);
    site.equal();

    // Others of the same transaction flow.
    execute("BEGIN; INSERT INTO item VALUES (NULL, 4), (x'00', 5), ('b', 6); UPDATE pair SET x = 9; COMMIT");
    site.left_out(6);
    site.equal_but_bytes();

    // On record after a restart, and without being read again.
    site.life.take().unwrap().stop();
    site.start();
    site.left_out(6);
    execute("UPDATE item SET k = 'bytes' WHERE a = 5");
    site.left_out(5);
    site.equal();

    execute(
        "UPDATE item SET k = 'm' || a WHERE k IS NULL AND a < 4; UPDATE pair SET b = 7 WHERE b IS NULL AND a IS NOT NULL",
    );
    site.left_out(2);
    site.equal();
    execute("DELETE FROM item WHERE k IS NULL; DELETE FROM pair WHERE a IS NULL");
    site.left_out(0);
    site.equal();
    site.holds(0, 5);

    // A row that loses its key leaves the store.
    execute("UPDATE item SET k = NULL WHERE k = 'b'");
    site.left_out(1);
    site.equal();
    // The table is rebuilt, and read again as a whole.
    execute(
        "BEGIN; CREATE TABLE n (k TEXT PRIMARY KEY, a); INSERT INTO n SELECT * FROM item; INSERT INTO n VALUES (NULL, 8);
         DROP TABLE item; ALTER TABLE n RENAME TO item; COMMIT",
    );
    site.left_out(2);
    site.equal();
    execute(
        "BEGIN; DROP TABLE item; CREATE TABLE item (k TEXT PRIMARY KEY, a); INSERT INTO item VALUES ('z', 1); COMMIT",
    );
    site.left_out(0);
    site.equal();
    site.life.take().unwrap().stop();
}

impl Site {
    /// Bytes in a key cannot be told by a filter: compared once they are mended.
    fn equal_but_bytes(&mut self) {
        self.holds(0, 2);
        self.holds(1, 2);
    }
}

#[test]
fn texts_that_are_not_utf_8_stop_nothing() {
    let postgres = Postgres::start();
    postgres
        .psql("CREATE DATABASE anything ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
    let execute = |sql: &str| {
        let output = postgres
            .tool("psql")
            .env("PGDATABASE", "anything")
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .output()
            .unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    };
    execute(
        r"CREATE TABLE t (k text PRIMARY KEY, v text, list text[]);
          INSERT INTO t VALUES ('a', E'x\xff', ARRAY[E'\xfe']), (E'b\xff', 'v', NULL), ('c', 'v', NULL), (E'\xff\xfe', 'w', NULL)",
    );
    let url = format!("postgres://postgres@127.0.0.1:{}/anything", postgres.port());
    let mut site = Site::new(url.clone(), Truth::Postgres(url), vec![support::flat("t", "t", &["scratch"])]);
    site.left_out(2);
    site.holds(0, 2);
    execute(
        r"BEGIN; INSERT INTO t VALUES (E'\xfd', 'w', NULL), ('d', E'\xff', NULL); UPDATE t SET k = E'c\xff' WHERE k = 'c'; COMMIT",
    );
    site.left_out(4);
    site.holds(0, 2);
    // A value is its bytes, where it is not a text.
    let (stored, _) = block_on(site.memory.scan(&site.views[0], None, 100)).unwrap();
    let shown = format!("{stored:?}");
    assert!(shown.contains("x78ff") && shown.contains("x7bfe7d"), "{shown}");
    execute(
        r"UPDATE t SET k = 'mended' || length(k) WHERE k = E'b\xff'; DELETE FROM t WHERE k IN (E'\xfd', E'\xff\xfe');
          UPDATE t SET v = 'v', list = NULL; UPDATE t SET k = 'c' WHERE k = E'c\xff'",
    );
    site.left_out(0);
    site.equal();
    site.life.take().unwrap().stop();
}
