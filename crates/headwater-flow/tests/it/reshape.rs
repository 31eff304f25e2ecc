//! Tables that are altered so that their columns keep names and kinds, while their rows read otherwise: nothing in the log
//! tells of it, and the views must follow by themselves; and alterations that leave every row as it was, for which nothing
//! must be read again.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use headwater_flow::status::IncidentKind;
use headwater_model::{Aggregate, Embed, EmbedKind, Ranking, Store, TableName, View, ViewKind};
use headwater_testkit::checker::{Copy, Truth, eventually_equal};
use headwater_testkit::faults::HeldLog;
use headwater_testkit::{Folder, Postgres};

use crate::support::{self, Life, block_on};

const PATIENCE: Duration = Duration::from_secs(60);

const POSTGRES: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'glad');
    CREATE DOMAIN grade AS int CHECK (VALUE < 10);
    CREATE TABLE books (id bigint PRIMARY KEY, title text, mood mood, stars grade, code varchar(10), shelf text);
    CREATE TABLE sales (id text PRIMARY KEY, book_id bigint, region text, copies int, note text);
    CREATE TABLE spare (id bigint PRIMARY KEY, title text);
    CREATE TABLE parted (id int, part int, words text, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
    CREATE TABLE parted1 PARTITION OF parted FOR VALUES IN (1);
    INSERT INTO books SELECT i, 'title ' || i, 'sad', i % 7, 'c' || i, 's' || i % 3 FROM generate_series(1, 40) i;
    INSERT INTO sales SELECT 'x' || i, i % 20, 'r' || i % 4, i, 'n' FROM generate_series(1, 200) i;
    INSERT INTO spare SELECT i, 'spare ' || i FROM generate_series(1, 9) i;
    INSERT INTO parted SELECT i, 1, 'w' || i FROM generate_series(1, 9) i;";

const SQLITE: &str = "
    CREATE TABLE books (id INTEGER PRIMARY KEY, title TEXT, shelf TEXT DEFAULT 'a');
    CREATE TABLE sales (id INTEGER PRIMARY KEY, book_id INTEGER, region TEXT, copies INTEGER);
    WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < 60)
        INSERT INTO books SELECT n, 'title ' || n, 's' || n % 3 FROM i;
    WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < 200)
        INSERT INTO sales SELECT n, n % 20, 'r' || n % 4, n FROM i;";

/// Flat, with an embedded row, with a list, and by groups.
fn views(schema: Option<&str>) -> Vec<View> {
    let of = |name: &str, table: &str| View {
        from: TableName::new(schema, table),
        ..support::flat(name, table, &["scratch"])
    };
    let embed = |field: &str, from: &str, kind| Embed {
        field: field.into(),
        from: TableName::new(schema, from),
        kind,
        columns: None,
        filter: None,
        order: Vec::new(),
        limit: None,
        embeds: Vec::new(),
    };
    let one = EmbedKind::One { columns: vec!["book_id".into()], references: None };
    let many = EmbedKind::Many { columns: vec!["book_id".into()], references: None };
    let ranking = Ranking {
        by: vec!["region".into()],
        within: Vec::new(),
        function: Aggregate::Sum,
        column: Some("copies".into()),
    };
    vec![
        of("book", "books"),
        View { embeds: vec![embed("book", "books", one)], ..of("sale", "sales") },
        View { embeds: vec![embed("sales", "sales", many)], ..of("page", "books") },
        View { kind: ViewKind::Ranking(ranking), ..of("regions", "sales") },
    ]
}

/// A source, a memory store that outlives the service, and a service.
struct Site<'a> {
    url: &'a str,
    views: Vec<View>,
    truth: Truth,
    memory: Arc<dyn Store>,
    folder: Folder,
    life: Option<(Life, HeldLog)>,
    /// Fills that earlier lives have noted.
    earlier: u64,
}

impl Site<'_> {
    fn new(url: &str, views: Vec<View>, truth: Truth) -> Site<'_> {
        support::log();
        let memory = support::store("memory:", &[]);
        let mut site =
            Site { url, views, truth, memory, folder: Folder::new("reshape"), life: None, earlier: 0 };
        site.start();
        site
    }

    fn data(&self) -> std::path::PathBuf {
        self.folder.join("data")
    }

    fn start(&mut self) {
        let log = HeldLog::new(support::source(self.url, &[]));
        log.let_go();
        let stores = vec![support::named("scratch", Arc::clone(&self.memory))];
        let source = Arc::new(log.clone());
        let life = Life::begin(support::options(&self.data()), source, stores, &self.views);
        self.life = Some((life, log));
        self.equal();
    }

    fn stop(&mut self) {
        self.earlier += self.fills();
        self.life.take().unwrap().0.stop();
    }

    fn life(&mut self) -> &mut Life {
        &mut self.life.as_mut().unwrap().0
    }

    fn equal(&mut self) {
        self.life().wait_settled(PATIENCE);
        block_on(eventually_equal(
            PATIENCE,
            &self.truth,
            &Copy::Store(Arc::clone(&self.memory)),
            &self.views,
        ));
        self.life().wait_settled(PATIENCE);
    }

    fn fills(&mut self) -> u64 {
        let incidents = self.life().handle.incidents();
        let all: u64 = incidents.iter().filter(|i| i.kind == IncidentKind::Filling).map(|i| i.times).sum();
        all - self.earlier
    }

    fn epoch(&mut self) -> u64 {
        self.life().handle.status().epoch
    }

    /// The tables have been looked at since, more than once, and nothing came of it.
    fn undisturbed(&mut self, since: (u64, u64), what: &str) {
        let looked = self.life.as_ref().unwrap().1.looks() + 2;
        let until = std::time::Instant::now() + PATIENCE;
        while self.life.as_ref().unwrap().1.looks() < looked {
            assert!(std::time::Instant::now() < until, "the tables are looked at");
            std::thread::sleep(Duration::from_millis(20));
        }
        self.equal();
        assert_eq!((self.epoch(), self.fills()), since, "{what}");
    }
}

/// Rows that read otherwise. Each is a transaction of its own; no row is written afterwards.
const ALTERED: &[&str] = &[
    "ALTER TABLE books DROP COLUMN shelf; ALTER TABLE books ADD COLUMN shelf text DEFAULT 'new'",
    "ALTER TABLE books ALTER COLUMN title TYPE text USING upper(title)",
    "ALTER TABLE books ALTER COLUMN code TYPE varchar(2) USING left(code, 2)",
    "ALTER TABLE sales ALTER COLUMN copies TYPE int USING copies * 10",
    "ALTER TABLE sales ALTER COLUMN region TYPE text USING 'region ' || right(region, 1)",
    // A column with a default, which is made anew with it.
    "ALTER TABLE books ALTER COLUMN shelf TYPE text USING shelf || id",
    "ALTER TABLE parted ALTER COLUMN words TYPE text USING words || '!'",
    // Keys that are others now.
    "ALTER TABLE sales ALTER COLUMN id TYPE text USING 'y' || id",
    // Another table under the same name.
    "ALTER TABLE spare RENAME TO spent; CREATE TABLE spare (id bigint PRIMARY KEY, title text);
     INSERT INTO spare SELECT i, 'fresh ' || i FROM generate_series(5, 20) i",
];

/// Rows that read as before. Files written anew, then columns touched, then files again: each is seen by itself.
const SAME: [&[&str]; 3] = [
    &[
        "VACUUM FULL books",
        "CLUSTER sales USING sales_pkey",
        "ALTER TYPE mood ADD VALUE 'wild'",
        "CREATE TABLE parted2 PARTITION OF parted FOR VALUES IN (2)",
    ],
    &[
        "ALTER DOMAIN grade ADD CONSTRAINT more CHECK (VALUE > -5)",
        "ALTER TABLE books ALTER COLUMN title SET STATISTICS 500",
        "ALTER TABLE books ALTER COLUMN code TYPE varchar(40)",
        "ALTER TABLE sales ALTER COLUMN region SET NOT NULL",
        "ALTER TABLE sales ALTER COLUMN note SET DEFAULT 'x'",
        "CREATE INDEX ON sales (region)",
        "ANALYZE",
    ],
    &["VACUUM FULL books", "VACUUM FULL sales"],
];

fn postgres_views() -> Vec<View> {
    let mut views = views(Some("public"));
    views.extend(["spare", "parted"].map(|table| support::flat(table, table, &["scratch"])));
    views
}

#[test]
fn rows_that_ddl_wrote_anew_reach_every_view_while_running() {
    let postgres = Postgres::start();
    postgres.psql(POSTGRES);
    let url = postgres.url();
    let mut site = Site::new(&url, postgres_views(), Truth::Postgres(url.clone()));
    for sql in ALTERED {
        let epoch = site.epoch();
        postgres.psql(&format!("BEGIN; {sql}; COMMIT"));
        site.equal();
        assert!(site.epoch() > epoch, "{sql}");
    }
    // The other table is followed as well.
    postgres.psql("INSERT INTO spare VALUES (100, 'later'); DELETE FROM spare WHERE id = 6");
    site.equal();
    site.stop();
}

#[test]
fn rows_that_ddl_wrote_anew_while_nobody_followed_reach_every_view() {
    let postgres = Postgres::start();
    postgres.psql(POSTGRES);
    let url = postgres.url();
    let mut site = Site::new(&url, postgres_views(), Truth::Postgres(url.clone()));
    for round in ALTERED.chunks(3) {
        site.stop();
        for sql in round {
            postgres.psql(&format!("BEGIN; {sql}; COMMIT"));
        }
        site.start();
    }
    site.stop();
    site.start();
    assert_eq!(site.fills(), 0, "nothing happened since");
    site.stop();
}

#[test]
fn what_leaves_every_row_as_it_was_reads_nothing_again() {
    let postgres = Postgres::start();
    postgres.psql(POSTGRES);
    // A column whose value the rows do not hold: writing the table anew puts it into them.
    postgres.psql("ALTER TABLE books ADD COLUMN extra text DEFAULT 'x'");
    let url = postgres.url();
    let mut site = Site::new(&url, postgres_views(), Truth::Postgres(url.clone()));
    let before = (site.epoch(), site.fills());
    for round in SAME {
        round.iter().for_each(|sql| drop(postgres.psql(sql)));
        site.undisturbed(before, &round.join("; "));
    }
    site.stop();
    site.start();
    assert_eq!(site.fills(), 0, "nor after a start");
    site.stop();
}

#[test]
fn columns_of_sqlite_that_are_dropped_and_added_in_one_go_are_read_again() {
    let folder = Folder::new("reshape-source");
    let path = folder.join("source.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.pragma_update(None, "journal_mode", "wal").unwrap();
    db.busy_timeout(PATIENCE).unwrap();
    db.execute_batch(SQLITE).unwrap();
    let url = format!("sqlite:{}", path.display());
    let mut site = Site::new(&url, views(None), Truth::Sqlite(path.clone()));
    let again = |table: &str, column: &str, definition: &str| {
        db.execute_batch(&format!(
            "BEGIN; ALTER TABLE {table} DROP COLUMN {column};
             ALTER TABLE {table} ADD COLUMN {column} {definition}; COMMIT"
        ))
        .unwrap();
    };
    again("books", "shelf", "TEXT DEFAULT 'b'");
    site.equal();
    again("sales", "copies", "INTEGER DEFAULT 3");
    site.equal();
    site.stop();
    again("books", "shelf", "TEXT DEFAULT 'c'");
    again("sales", "copies", "INTEGER DEFAULT 4");
    site.start();

    let before = (site.epoch(), site.fills());
    db.execute_batch("CREATE INDEX regions ON sales (region); VACUUM; ANALYZE").unwrap();
    site.undisturbed(before, "an index, VACUUM and ANALYZE");

    // SQLite's recipe for every other change.
    db.execute_batch(
        "BEGIN; CREATE TABLE n (id INTEGER PRIMARY KEY, title TEXT, shelf TEXT);
         INSERT INTO n SELECT id, upper(title), shelf FROM books WHERE id < 50; DROP TABLE books;
         ALTER TABLE n RENAME TO books; COMMIT",
    )
    .unwrap();
    site.equal();
    site.stop();
}

#[test]
fn a_data_folder_of_an_earlier_release_is_gone_on_with() {
    let postgres = Postgres::start();
    postgres.psql(POSTGRES);
    let url = postgres.url();
    let mut site = Site::new(&url, views(Some("public")), Truth::Postgres(url.clone()));
    site.stop();
    as_written_before(&site.data().join("state.db"));
    site.start();
    assert_eq!(site.fills(), 0, "nothing is read again for the new release alone");
    postgres.psql("ALTER TABLE books ALTER COLUMN title TYPE text USING lower(title)");
    site.equal();
    site.stop();
    postgres.psql("ALTER TABLE sales ALTER COLUMN copies TYPE int USING copies + 1");
    site.start();
    site.stop();
}

/// Takes out of the state file what releases before this one did not write.
fn as_written_before(path: &Path) {
    let db = rusqlite::Connection::open(path).unwrap();
    let mut select = db.prepare("SELECT rowid, shapes FROM fill").unwrap();
    let rows: Vec<(i64, String)> = select
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert!(!rows.is_empty());
    for (row, shapes) in rows {
        let now: Vec<serde_json::Value> = serde_json::from_str(&shapes).unwrap();
        let of = |now: &serde_json::Value| {
            let table = &now["table"];
            serde_json::json!([table["name"], [table["columns"], table["key"]]])
        };
        let before = serde_json::Value::Array(now.iter().map(of).collect()).to_string();
        db.execute("UPDATE fill SET shapes = ?2 WHERE rowid = ?1", (row, before)).unwrap();
    }
    db.execute_batch("DROP TABLE mirrored").unwrap();
}
