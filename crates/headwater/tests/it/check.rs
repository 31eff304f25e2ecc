//! `headwater check` finds what does not fit real engines, each at its line and column with a remedy.

use headwater_testkit::{Postgres, Redis, free_port};

use crate::shop::TABLES;
use crate::support::Site;

fn file(source: &str, rest: &str) -> String {
    format!("[source]\nurl = \"{source}\"\n[stores]\nlocal = {{ url = \"sqlite:derived.db\" }}\n{rest}")
}

#[test]
fn every_mistake_against_postgresql_is_located_in_one_run() {
    let postgres = Postgres::start();
    postgres.psql(TABLES);
    postgres.psql("CREATE SCHEMA archive; CREATE TABLE archive.invoices (id int PRIMARY KEY)");
    let site = Site::with_file(
        "check",
        &file(
            &postgres.url(),
            r#"[views.book]
from = "boks"
[views.audit]
from = "audit"
[views.review]
from = "reviews"
columns = ["id", "starz"]
where = "book = 7"
embed.book = { from = "books", key = "body", references = "title" }
embed.customer = { from = "customers", key = "custmer_id" }
[views.price]
from = "price_changes"
embed.book = { from = "books", key = "isbn" }
[views.invoice]
from = "public.invoices"
"#,
        ),
    );
    let ran = site.run(&["check"]).expect(1);
    ran.says(&["× ", "no table `boks`", "headwater.toml:6:8", "did you mean `books`?"]);
    ran.says(&["× ", "audit", "primary key", "headwater.toml:8:8", "help: "]);
    ran.says(&["× ", "no column `starz`", "headwater.toml:11:18", "did you mean `stars`?"]);
    ran.says(&["× ", "no column `book`", "headwater.toml:12:10", "help: "]);
    ran.says(&["× ", "`title`", "several rows", "headwater.toml:13:59", "ADD UNIQUE (title)"]);
    ran.says(&["× ", "no column `custmer_id`", "headwater.toml:14:46", "did you mean `customer_id`?"]);
    ran.says(&["× ", "never equal", "headwater.toml:17:38", "references = [\"isbn\"]"]);
    ran.says(&[
        "× ",
        "no table `public.invoices`",
        "headwater.toml:19:8",
        "did you mean `archive.invoices`?",
    ]);
}

#[test]
fn a_role_without_replication_is_an_error_with_the_statement_to_run() {
    let postgres = Postgres::start();
    postgres.psql(TABLES);
    postgres.psql("CREATE ROLE plain LOGIN; GRANT pg_read_all_data TO plain");
    let url = format!("postgres://plain@127.0.0.1:{}/postgres", postgres.port());
    let site = Site::with_file("check", &file(&url, "[views.author]\nfrom = \"authors\""));
    let ran = site.run(&["check"]).expect(1);
    ran.says(&["× ", "REPLICATION", "headwater.toml:2:7", "ALTER ROLE", "plain"]);
}

#[test]
fn wal_level_replica_is_an_error_with_the_statement_to_run() {
    let postgres = Postgres::builder().setting("wal_level", "replica").start();
    postgres.psql(TABLES);
    let site = Site::with_file("check", &file(&postgres.url(), "[views.author]\nfrom = \"authors\""));
    let ran = site.run(&["check"]).expect(1);
    ran.says(&["× ", "wal_level is replica", "headwater.toml:2:7", "ALTER SYSTEM SET wal_level = logical"]);
}

#[test]
fn hosts_that_cannot_be_reached_are_shown_at_their_url() {
    let (source, store) = (free_port(), free_port());
    let text = file(
        &format!("postgres://me:${{SHOP_PW}}@127.0.0.1:{source}/shop"),
        &format!(
            "near = {{ url = \"redis://127.0.0.1:{store}\" }}\n[views.author]\nfrom = \"authors\"\nstore = \"near\""
        ),
    );
    let site = Site::with_file("check", &text).env("SHOP_PW", "hunter2");
    let ran = site.run(&["check"]).expect(1);
    ran.says(&["× the source cannot be reached", "headwater.toml:2:7", "refused", "help: "]);
    ran.says(&["× store `near` cannot be reached", "headwater.toml:5:16", "refused", "help: "]);
    assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
}

#[test]
fn engines_and_settings_that_do_not_exist_are_shown_where_they_stand() {
    let text = "[source]\nurl = \"oracle://me@h/d\"\n[stores]\nnear = { url = \"redis://127.0.0.1:1\", prefx = \"a\" }\nfar = { url = \"dynamo:x\" }\n[views.a]\nfrom = \"a\"\nstore = \"nera\"\n";
    let site = Site::with_file("check", text);
    // What is wrong with the file by itself comes first: without it there is nothing to connect to.
    site.run(&["check"]).expect(1).says(&[
        "× there is no store `nera`",
        "headwater.toml:8:9",
        "did you mean `near`?",
    ]);
    site.write("headwater.toml", &text.replace("nera", "near"));
    let ran = site.run(&["check"]).expect(1);
    ran.says(&["× ", "oracle", "headwater.toml:2:7", "postgres:"]);
    ran.says(&["× ", "`prefx`", "headwater.toml:4:39", "did you mean `prefix`?"]);
    ran.says(&["× ", "dynamo", "headwater.toml:5:15", "redis:"]);
}

#[test]
fn what_fits_is_fine_on_every_engine() {
    let postgres = Postgres::start();
    postgres.psql(TABLES);
    let redis = Redis::start();
    let text = file(
        &postgres.url(),
        &format!(
            "near = {{ url = \"{}\" }}\n[views.book]\nfrom = \"books\"\nstore = [\"near\", \"local\"]\nwhere = \"price > 1\"\nembed.author = {{ from = \"authors\", key = \"author_id\" }}\n",
            redis.url()
        ),
    );
    let site = Site::with_file("check", &text);
    let ran = site.run(&["check"]).expect(0);
    assert!(ran.stdout.contains("Next: headwater run"), "{}", ran.stdout);
    // Looking changes nothing, here or there.
    assert!(!site.path("derived.db").exists(), "check created the embedded store");
    assert_eq!(postgres.psql("SELECT count(*) FROM pg_replication_slots"), "0");
    assert_eq!(redis.cli(&["DBSIZE"]), "0");
    let ran = site.run(&["check", "--json"]).expect(0);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(report["source"].as_str().unwrap().starts_with("PostgreSQL 15"), "{report}");
}

#[test]
fn findings_for_programs_are_json() {
    let site = Site::with_file("check", "[source]\nurl = \"sqlite:shop.db\"\n[views.a]\nform = 'a'\n");
    let ran = site.run(&["check", "--json"]).expect(1);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let finding = report["findings"].as_array().unwrap().iter().find(|f| f["line"] == 4).unwrap();
    assert_eq!(finding["severity"], "error");
    assert_eq!(finding["column"], 1);
    assert_eq!(finding["message"], "unknown key `form` in [views.a]");
    assert_eq!(finding["remedy"], "did you mean `from`?");
    assert_eq!(ran.stderr, "");
}

#[test]
fn a_sqlite_source_is_checked_as_well() {
    let site = Site::with_file(
        "check",
        &file(
            "sqlite:shop.db",
            "[views.book]\nfrom = \"boooks\"\n[views.order]\nfrom = \"orders\"\nembed.customer = { from = \"customers\", key = \"custmer_id\" }\n",
        ),
    );
    // No such database yet.
    site.run(&["check"]).expect(1).says(&["× ", "headwater.toml:2:7", "shop.db"]);
    rusqlite::Connection::open(site.path("shop.db"))
        .and_then(|db| db.execute_batch(&format!("PRAGMA journal_mode = wal; {TABLES}")))
        .unwrap();
    let ran = site.run(&["check"]).expect(1);
    ran.says(&["× ", "no table `boooks`", "headwater.toml:6:8", "did you mean `books`?"]);
    ran.says(&["× ", "no column `custmer_id`", "headwater.toml:9:46", "did you mean `customer_id`?"]);
}

const READ_BY_MORE: &str = r#"[views.customer]
from = "customers"
embed.orders = { from = "orders", many = "customer_id", order = "-placed", limit = 5 }
[views.order]
from = "orders"
[views.sold]
from = "orders"
edge = { source = "customer_id", label = "TOOK", target = "item" }
[access.customer_page]
get = "customer"
[access.taken]
walk = ["<TOOK"]
[access.newest]
range = "order"
by = "state"
order = "-placed"
[access.by_name]
range = "customer"
order = "name"
[serve]
listen = "127.0.0.1:0"
"#;

/// What makes the tables of [`READ_BY_MORE`] large enough to be worth an index.
const LARGE: &str = "CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL);
    CREATE TABLE orders (id int PRIMARY KEY, customer_id int NOT NULL, item int NOT NULL, state text NOT NULL,
                         placed int NOT NULL);";

/// The statements that `check` tells to run.
fn told(site: &Site) -> Vec<String> {
    let ran = site.run(&["check", "--json"]).expect(0);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let remedies = json["findings"].as_array().unwrap().iter().filter_map(|f| f["remedy"].as_str());
    let statements = remedies.filter(|remedy| remedy.starts_with("CREATE INDEX"));
    statements.map(|remedy| remedy.split("; or ").next().unwrap().to_owned()).collect()
}

#[test]
fn indexes_that_the_source_lacks_for_its_own_answers_are_told_and_are_enough() {
    let postgres = Postgres::start();
    postgres.psql(&format!(
        "{LARGE} INSERT INTO customers SELECT i, 'n' || i FROM generate_series(1, 20000) AS i;
         INSERT INTO orders SELECT i, i % 20000, i % 100, 's' || i % 3, i FROM generate_series(1, 50000) AS i; ANALYZE"
    ));
    let site = Site::with_file("check", &file(&postgres.url(), READ_BY_MORE));
    let ran = site.run(&["check"]).expect(0);
    ran.says(&["⚠ ", "`customer_page`", "all of `public.orders` (about 50000 rows", "headwater.toml:7:42"]);
    let statements = told(&site);
    assert_eq!(
        statements,
        [
            "CREATE INDEX CONCURRENTLY \"orders_customer_id_placed_id_idx\" ON \"public\".\"orders\" \
             (\"customer_id\", \"placed\" DESC, \"id\")",
            "CREATE INDEX CONCURRENTLY \"orders_item_customer_id_idx\" ON \"public\".\"orders\" \
             (\"item\", \"customer_id\")",
            "CREATE INDEX CONCURRENTLY \"orders_state_placed_id_idx\" ON \"public\".\"orders\" \
             (\"state\", \"placed\" DESC, \"id\")",
            "CREATE INDEX CONCURRENTLY \"customers_name_id_idx\" ON \"public\".\"customers\" \
             (\"name\" COLLATE \"C\", \"id\")",
        ]
    );
    statements.iter().for_each(|statement| drop(postgres.psql(statement)));
    assert!(told(&site).is_empty(), "{:?}", told(&site));
    // What the server would do for the order, with the index that was made for it.
    let explained =
        postgres.psql("EXPLAIN SELECT * FROM customers ORDER BY (name) COLLATE \"C\", id LIMIT 20");
    assert!(explained.contains("customers_name_id_idx") && !explained.contains("Sort"), "{explained}");

    let db = rusqlite::Connection::open(site.path("shop.db")).unwrap();
    db.execute_batch(&format!(
        "PRAGMA journal_mode = wal; {LARGE}
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
         INSERT INTO customers SELECT i, 'n' || i FROM n;
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)
         INSERT INTO orders SELECT i, i % 20000, i % 100, 's' || i % 3, i FROM n;"
    ))
    .unwrap();
    site.write("headwater.toml", &file("sqlite:shop.db", READ_BY_MORE));
    let statements = told(&site);
    assert_eq!(statements.len(), 4, "{statements:#?}");
    assert_eq!(statements[3], "CREATE INDEX \"customers_name_id_idx\" ON \"customers\" (\"name\", \"id\")");
    db.execute_batch(&statements.join(";")).unwrap();
    assert!(told(&site).is_empty(), "{:?}", told(&site));
}
