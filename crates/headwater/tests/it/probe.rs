//! The conformance probe: what change pipelines commonly get wrong, all of it in one run, from PostgreSQL to hashes and
//! JSON in Redis, to the embedded store, to tables of MariaDB, and to a second Redis that comes and goes.

use headwater_testkit::checker::{Copy, Truth};
use headwater_testkit::{MariaDb, Postgres, Redis, eventually};

use crate::service::{PATIENCE, Service, local, near};

const TABLES: &str = "
CREATE TABLE item (id text PRIMARY KEY, name text, note text, long text);
ALTER TABLE item ALTER COLUMN long SET STORAGE EXTERNAL;
CREATE TABLE parent (id int PRIMARY KEY, name text, long text);
ALTER TABLE parent ALTER COLUMN long SET STORAGE EXTERNAL;
CREATE TABLE child (id int PRIMARY KEY, parent_id int, name text);
CREATE TABLE big (id int PRIMARY KEY, round int NOT NULL);
INSERT INTO big VALUES (-1, 0);
INSERT INTO item SELECT 'i' || i, 'name ' || i, CASE i % 3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'note' END,
    (SELECT string_agg(md5(i::text || j), '') FROM generate_series(1, 200) j) FROM generate_series(1, 60) i;
INSERT INTO parent SELECT i, 'p' || i, (SELECT string_agg(md5(i::text || j), '') FROM generate_series(1, 200) j)
    FROM generate_series(1, 10) i;
INSERT INTO child SELECT i, i % 10, 'c' || i FROM generate_series(1, 40) i;
";

const VIEWS: &str = r#"
[views.item]
from = "item"
store = ["near", "far", "local", "kept"]
[views.itemjson]
from = "item"
layout = "json"
store = ["near", "local"]
[views.parent]
from = "parent"
embed.children = { from = "child", many = "parent_id", order = "name" }
store = ["near", "far", "local"]
[views.child]
from = "child"
embed.parent = { from = "parent", key = "parent_id" }
store = ["near", "local", "kept"]
[views.big]
from = "big"
store = ["near", "local"]
"#;

struct Probe {
    postgres: Postgres,
    near: Redis,
    far: Redis,
    /// In the probes that are made with it.
    models: Option<MariaDb>,
    service: Service,
}

impl Probe {
    fn new() -> Probe {
        Probe::with("", None)
    }

    /// With more sections of the file.
    fn with(sections: &str, models: Option<MariaDb>) -> Probe {
        let (more, views) = match &models {
            Some(server) => (
                format!("models = {{ url = \"{}\" }}", server.url()),
                VIEWS.replace("\"local\"", "\"local\", \"models\""),
            ),
            None => (String::new(), VIEWS.to_owned()),
        };
        let (postgres, near, far) = (Postgres::start(), Redis::start(), Redis::start());
        postgres.psql(TABLES);
        let service = Service::new(
            "probe",
            &format!(
                "[source]\nurl = \"{}\"\n[stores]\nnear = {{ url = \"{}\" }}\nfar = {{ url = \"{}\" }}\n\
                 local = {{ url = \"sqlite:derived.db\" }}\nkept = {{ url = \"memory:\" }}\n{more}\n{sections}\n{views}",
                postgres.url(),
                near.url(),
                far.url()
            ),
        );
        Probe { postgres, near, far, models, service }
    }

    /// All stores that can be seen from outside hold what the source says.
    async fn equal(&self) {
        self.equal_but_far().await;
        self.service.equal(&self.truth(), "far", &near(&self.far)).await;
    }

    async fn equal_but_far(&self) {
        self.service.equal(&self.truth(), "near", &near(&self.near)).await;
        self.service.equal(&self.truth(), "local", &local(&self.service.path("derived.db"))).await;
        if let Some(server) = &self.models {
            let copy = Copy::MariaDb { port: server.port(), database: "app".into() };
            self.service.equal(&self.truth(), "models", &copy).await;
        }
    }

    fn truth(&self) -> Truth {
        Truth::Postgres(self.postgres.url())
    }

    async fn after(&self, sql: &str) {
        self.postgres.psql(sql);
        self.equal().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pipelines_get_wrong_arrives_right_in_every_store() {
    let models = (!MariaDb::is_left_out()).then(MariaDb::start);
    let probe = Probe::with("[backfill]\nchunk_rows = 7\nrate = \"100/s\"", models);
    let long = "(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 200))";

    // Unchanged TOAST values and changed keys while tables are read for the first time.
    probe.service.start();
    for i in 1..=20 {
        probe.postgres.psql(&format!(
            "UPDATE item SET name = name || '!' WHERE id = 'i{i}'; UPDATE parent SET name = name || '!' WHERE id = {i};
             UPDATE item SET id = 'moved{i}' WHERE id = 'i{}'",
            i + 20
        ));
    }
    probe.equal().await;

    // A changed key removes the old one, in documents and in what embeds them.
    probe.after("UPDATE item SET id = 'new' WHERE id = 'i1'").await;
    assert_eq!(probe.near.cli(&["EXISTS", "item:i1", "itemjson:i1"]), "0");
    probe
        .after("UPDATE parent SET id = 100 WHERE id = 1; UPDATE child SET id = id + 1000 WHERE id < 5")
        .await;

    // An unchanged TOAST value survives, alone and together with a changed key.
    probe.after("UPDATE item SET name = 'touched'").await;
    probe.after("UPDATE parent SET name = 'touched', id = id + 200").await;
    probe.after("UPDATE item SET id = 'again', name = 'both' WHERE id = 'new'").await;
    probe.after(&format!("UPDATE item SET long = {long}, note = NULL WHERE id = 'again'")).await;
    assert!(probe.near.cli(&["HGET", "item:again", "long"]).len() > 6_000);

    // NULL is not "".
    probe
        .after("UPDATE item SET note = '' WHERE id = 'i2'; UPDATE item SET note = NULL WHERE id = 'i4'")
        .await;
    assert_eq!(probe.near.cli(&["HEXISTS", "item:i2", "note"]), "1");
    assert_eq!(probe.near.cli(&["HEXISTS", "item:i4", "note"]), "0");

    // A child moves to another parent, to none, and back.
    probe.after("UPDATE child SET parent_id = 205 WHERE id IN (10, 11, 12)").await;
    probe
        .after(
            "UPDATE child SET parent_id = NULL WHERE id = 10; UPDATE child SET parent_id = 999 WHERE id = 11",
        )
        .await;
    probe.after("INSERT INTO parent VALUES (999, 'late', NULL); DELETE FROM parent WHERE id = 205").await;

    // Rolled back changes do not exist.
    probe.after("BEGIN; DELETE FROM child; SAVEPOINT s; DELETE FROM parent; ROLLBACK; SELECT 1").await;

    // TRUNCATE empties, and what comes after it in the same transaction stays.
    probe.after("BEGIN; TRUNCATE child; INSERT INTO child VALUES (1, 999, 'only'); COMMIT").await;
    probe.after("TRUNCATE item").await;
    assert_eq!(probe.near.cli(&["KEYS", "item*:*"]), "");
    probe
        .after("INSERT INTO item VALUES ('a', NULL, '', NULL), ('b', '', NULL, 'x'), ('k:1', '%', 'ü', '\\')")
        .await;

    // The memory store cannot be seen from outside, but it counts its rows.
    probe.service.healthy().await;
    probe
        .service
        .eventually("the memory store has every row", async || {
            let (status, _) = probe.service.status();
            let store =
                status["stores"].as_array().unwrap().iter().find(|s| s["name"] == "kept").unwrap().clone();
            let rows = |view: &str| {
                store["views"].as_array().unwrap().iter().find(|v| v["name"] == view).unwrap()["rows"].clone()
            };
            if (rows("item"), rows("child")) == (3.into(), 1.into()) {
                Ok(())
            } else {
                Err(store.to_string())
            }
        })
        .await;
    probe.service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_changes_its_shape_while_running_is_read_again() {
    let probe = Probe::new();
    probe.service.start();
    probe.equal().await;
    // Rows that nobody touches afterwards get the new columns too.
    probe
        .after("ALTER TABLE item ADD COLUMN grade int DEFAULT 7; UPDATE item SET name = 'x' WHERE id = 'i1'")
        .await;
    assert_eq!(probe.near.cli(&["HGET", "item:i9", "grade"]), "7");
    probe
        .after("ALTER TABLE item RENAME COLUMN note TO remark; UPDATE item SET name = 'y' WHERE id = 'i2'")
        .await;
    probe.after("ALTER TABLE item DROP COLUMN grade; INSERT INTO item VALUES ('n', 'n', 'n', 'n')").await;
    assert_eq!(probe.near.cli(&["HEXISTS", "item:i9", "grade"]), "0");
    // Embedded tables as well, and several steps at once.
    probe
        .after(
            "ALTER TABLE child ADD COLUMN age int; UPDATE child SET age = id WHERE id < 3;
             ALTER TABLE child RENAME COLUMN age TO years; UPDATE child SET years = years + 1 WHERE id < 4;
             ALTER TABLE parent ADD COLUMN color text DEFAULT 'red'; UPDATE parent SET name = 'z' WHERE id = 3",
        )
        .await;
    // And if no row is written at all.
    probe.after("ALTER TABLE big ADD COLUMN extra int DEFAULT 5; ALTER TABLE child ADD COLUMN kind text DEFAULT 'x'").await;
    probe.after("ALTER TABLE item ALTER COLUMN name TYPE int USING length(name); UPDATE item SET name = 3 WHERE id = 'i3'").await;
    probe.service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_store_does_not_stop_the_others_and_comes_back_right() {
    let probe = Probe::new();
    probe.service.start();
    probe.equal().await;

    // Down, and empty when it comes back: it keeps nothing on disk.
    probe.far.kill();
    probe.postgres.psql("UPDATE item SET name = 'while far is down'; DELETE FROM child WHERE id = 3");
    probe.equal_but_far().await;
    let (status, code) = probe.service.status();
    assert_eq!(code, 1, "{status}");
    probe.far.restart();
    probe.equal().await;

    // Not answering, then answering again.
    probe.far.pause();
    probe.postgres.psql("UPDATE item SET name = 'while far hangs'; INSERT INTO child VALUES (3, 3, 'back')");
    probe.equal_but_far().await;
    probe.far.resume();
    probe.equal().await;

    // Emptied behind our back.
    probe.near.cli(&["FLUSHALL"]);
    probe.after("UPDATE item SET name = 'after the flush' WHERE id = 'i1'").await;

    // Down while the source changes, children included.
    probe.service.kill();
    probe.postgres.psql(
        "UPDATE item SET id = 'away' WHERE id = 'i5'; DELETE FROM child WHERE id = 7; INSERT INTO child VALUES (77, 7, 'x');
         UPDATE child SET parent_id = 2 WHERE id = 8",
    );
    let before = probe.service.log().len();
    probe.service.start();
    probe.equal().await;
    let log = probe.service.log()[before..].to_owned();
    let filled =
        ["near", "far", "local"].map(|store| log.contains(&format!("filled from the source store={store}")));
    assert_eq!(filled, [false; 3], "stores that keep what they hold are not filled again:\n{log}");

    // Emptied while down.
    probe.service.stop();
    probe.near.cli(&["FLUSHALL"]);
    probe.service.start();
    probe.equal().await;
    probe.service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_store_is_noticed_even_if_nothing_is_written() {
    let probe = Probe::new();
    probe.service.start();
    probe.equal().await;
    probe.near.cli(&["FLUSHALL"]);
    probe.equal().await;
    probe.service.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_300_000_rows_appears_at_once_in_bounded_memory() {
    let probe = Probe::new();
    probe.service.start();
    probe.equal().await;
    let sizes = std::sync::Mutex::new(std::collections::BTreeSet::new());
    for (sql, rows) in [
        ("INSERT INTO big SELECT i, 1 FROM generate_series(1, 300000) i", 300_001),
        ("UPDATE big SET round = 2", 300_001),
        ("DELETE FROM big WHERE id > 0", 1),
    ] {
        probe.postgres.psql(sql);
        let done = "INSERT INTO item VALUES ('done', 'x', NULL, NULL) ON CONFLICT (id) DO UPDATE SET name = item.name || 'x'";
        probe.postgres.psql(done);
        let count = postgres_count(&probe);
        let db = rusqlite::Connection::open(probe.service.path("derived.db")).unwrap();
        let name = probe.postgres.psql("SELECT name FROM item WHERE id = 'done'");
        eventually(PATIENCE, "the transaction is applied", async || {
            let seen: i64 = db.query_row("SELECT count(*) FROM big", [], |row| row.get(0)).unwrap();
            sizes.lock().unwrap().insert(seen);
            let near = probe.near.cli(&["HGET", "item:done", "name"]);
            let local = db.query_row(
                "SELECT json_extract(document, '$.name') FROM item WHERE key = 'done'",
                [],
                |row| row.get::<_, String>(0),
            );
            if near == name && local.as_ref() == Ok(&name) {
                Ok(())
            } else {
                Err(format!("{near} {local:?} {seen}"))
            }
        })
        .await;
        assert_eq!(count, rows);
    }
    let sizes = sizes.into_inner().unwrap();
    assert!(
        sizes.iter().all(|size| [1, 300_001].contains(size)),
        "a part of a transaction was seen: {sizes:?}"
    );
    let resident = probe.service.resident_max();
    assert!(resident < 256 << 20, "{} MiB resident", resident >> 20);
    probe.equal().await;
    probe.service.stop();
}

fn postgres_count(probe: &Probe) -> i64 {
    probe.postgres.psql("SELECT count(*) FROM big").parse().unwrap()
}
