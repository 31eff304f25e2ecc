//! A table leaves the file, and the process dies before what the source had logged by then is in the journal. Rows are
//! deleted that nobody follows any more. Then the table comes back, and with it the old log: it must not bring the
//! deleted rows back for good.

use std::sync::Arc;
use std::time::Duration;

use headwater_model::{Embed, EmbedKind, Source, TableName, View};
use headwater_testkit::checker::{Copy, Truth, eventually_equal};
use headwater_testkit::faults::HeldLog;
use headwater_testkit::{Folder, Postgres};

use crate::support::{self, Life};

const PATIENCE: Duration = Duration::from_secs(30);

const SCHEMA: &str = "
    CREATE TABLE books (id bigint PRIMARY KEY, title text);
    CREATE TABLE reviews (id bigint PRIMARY KEY, book_id bigint, words text);
    CREATE TABLE notes (id bigint PRIMARY KEY, words text);
    INSERT INTO books VALUES (1, 'one'), (2, 'two');
    INSERT INTO reviews VALUES (10, 1, 'first'), (11, 1, 'second'), (20, 2, 'third');
    INSERT INTO notes VALUES (1, 'kept');";

/// What is in the source's log, and not in the journal, when `reviews` leaves the file.
const BACKLOG: &str = "
    INSERT INTO reviews VALUES (12, 1, 'fourth'), (21, 2, 'fifth');
    UPDATE reviews SET words = 'older' WHERE id = 10;
    UPDATE notes SET words = 'kept still' WHERE id = 1;";

/// What nobody follows.
const UNSEEN: &str = "
    DELETE FROM reviews WHERE id IN (11, 12);
    UPDATE reviews SET words = 'newer' WHERE id = 10;
    UPDATE reviews SET book_id = 1 WHERE id = 21;";

/// What comes after.
const LATER: &str = "INSERT INTO reviews VALUES (13, 1, 'sixth'); DELETE FROM reviews WHERE id = 20;";

#[test]
fn rows_deleted_while_their_table_was_not_followed_stay_deleted_on_postgresql() {
    on_postgresql(true);
    on_postgresql(false);
}

#[test]
fn rows_deleted_while_their_table_was_not_followed_stay_deleted_on_sqlite() {
    on_sqlite(true);
    on_sqlite(false);
}

fn on_postgresql(opens: bool) {
    let postgres = Postgres::start();
    let url = postgres.url();
    comes_back(
        |sql| {
            postgres.psql(sql);
        },
        &|| support::source(&url, &[]),
        &Truth::Postgres(url.clone()),
        Some("public"),
        opens,
    );
}

fn on_sqlite(opens: bool) {
    let folder = Folder::new("comeback-source");
    let path = folder.join("source.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.pragma_update(None, "journal_mode", "wal").unwrap();
    db.busy_timeout(PATIENCE).unwrap();
    let url = format!("sqlite:{}", path.display());
    comes_back(
        |sql| db.execute_batch(sql).unwrap(),
        &|| support::source(&url, &[]),
        &Truth::Sqlite(path.clone()),
        None,
        opens,
    );
}

/// The reviews alone, and a book with its reviews; then what stays in the file all the time, books among it, so that
/// there is a mirror that the reviews come back to.
fn views(schema: Option<&str>) -> (Vec<View>, Vec<View>) {
    let flat = |name: &str, table: &str| View {
        from: TableName::new(schema, table),
        ..support::flat(name, table, &["scratch"])
    };
    let many = |table: &str, column: &str| Embed {
        field: table.into(),
        from: TableName::new(schema, table),
        kind: EmbedKind::Many { columns: vec![column.into()], references: None },
        columns: None,
        filter: None,
        order: Vec::new(),
        limit: None,
        embeds: Vec::new(),
    };
    let with_reviews = View { embeds: vec![many("reviews", "book_id")], ..flat("page", "books") };
    let with_notes = View { embeds: vec![many("notes", "id")], ..flat("noted", "books") };
    (vec![flat("review", "reviews"), with_reviews], vec![flat("note", "notes"), with_notes])
}

/// The second life ends before it has opened the log, unless it `opens`.
fn comes_back(
    execute: impl Fn(&str),
    source: &dyn Fn() -> Arc<dyn Source>,
    truth: &Truth,
    schema: Option<&str>,
    opens: bool,
) {
    support::log();
    execute(SCHEMA);
    let folder = Folder::new("comeback");
    let memory = support::store("memory:", &[]);
    let (leaving, staying) = views(schema);
    let all: Vec<View> = leaving.into_iter().chain(staying.clone()).collect();
    let begin = |log: &HeldLog, views: &[View]| {
        let stores = vec![support::named("scratch", Arc::clone(&memory))];
        Life::begin(support::options(&folder.join("data")), Arc::new(log.clone()), stores, views)
    };

    let log = HeldLog::new(source());
    log.let_go();
    let mut life = begin(&log, &all);
    life.wait_settled(PATIENCE);
    log.hold();
    execute(BACKLOG);
    life.crash();

    let log = if opens { HeldLog::new(source()) } else { HeldLog::never_opened(source()) };
    let life = begin(&log, &staying);
    let until = std::time::Instant::now() + PATIENCE;
    while if opens { life.handle.status().epoch < 2 } else { log.asked() == 0 } {
        assert!(std::time::Instant::now() < until, "the second life has begun");
        std::thread::sleep(Duration::from_millis(10));
    }
    execute(UNSEEN);
    life.crash();

    let log = HeldLog::new(source());
    let mut life = begin(&log, &all);
    // Long enough for a store to be cleared too early.
    std::thread::sleep(Duration::from_millis(1500));
    execute(LATER);
    log.let_go();
    life.wait_settled(PATIENCE);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(eventually_equal(PATIENCE, truth, &Copy::Store(Arc::clone(&memory)), &all));
    life.stop();
}
