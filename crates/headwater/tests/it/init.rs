//! `headwater init` looks at real databases and writes files that fit them.

use headwater_testkit::{Flavour, Postgres, eventually};

use crate::service::PATIENCE;
use crate::shop::TABLES;
use crate::support::Site;

#[test]
fn a_first_file_for_postgresql_fits_it() {
    let postgres = Postgres::builder().setting("max_slot_wal_keep_size", "1GB").start();
    postgres.psql(TABLES);
    postgres.psql("CREATE ROLE headwater LOGIN REPLICATION PASSWORD 'p@ss'; GRANT pg_read_all_data TO headwater; GRANT CREATE ON DATABASE postgres TO headwater");
    let site = Site::new("init").env("PGPASSWORD", "p@ss");
    let ran = site.run(&["init", &postgres.url_as("headwater", "p%40ss")]).expect(0);
    assert!(ran.stdout.contains("Next: headwater check"), "{}", ran.stdout);
    let text = site.read("headwater.toml");
    assert!(text.contains("${PGPASSWORD}") && !text.contains("p%40ss") && !text.contains("p@ss"), "{text}");
    for line in [
        "[views.book]",
        "embed.author = { from = \"authors\", key = \"author_id\" }",
        "embed.reviews = { from = \"reviews\", many = \"book_id\", order = \"-created_at\", limit = 20 }",
        "embed.price_changes = { from = \"price_changes\", many = \"isbn\", references = \"isbn\", order = \"-changed_at\", limit = 20 }",
        "embed.book_tags = { from = \"book_tags\", many = \"book_id\", embed.tag = { from = \"tags\", key = \"tag_id\" } }",
        "embed.gift_for_customer = { from = \"customers\", key = \"gift_for\" }",
        "# public.audit: left out",
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
    let ran = site.run(&["check"]).expect(0);
    assert!(ran.stdout.contains(" views fit PostgreSQL 15"), "{}", ran.stdout);
    assert_eq!(ran.stderr, "");
}

#[test]
fn a_first_file_for_mariadb_fits_it() {
    fits(Flavour::MariaDb, "BINLOG MONITOR");
}

#[test]
fn a_first_file_for_mysql_fits_it() {
    fits(Flavour::MySql, "REPLICATION CLIENT");
}

fn fits(flavour: Flavour, monitor: &str) {
    if flavour.is_left_out() {
        return;
    }
    let server = flavour.start();
    server.sql(&format!(
        "CREATE TABLE authors (id BIGINT UNSIGNED PRIMARY KEY, name VARCHAR(80) NOT NULL); \
         CREATE TABLE books (id BIGINT UNSIGNED PRIMARY KEY, author_id BIGINT UNSIGNED, title TEXT, price DECIMAL(8,2), \
                             created_at DATETIME(6) NOT NULL, FOREIGN KEY (author_id) REFERENCES authors (id)); \
         CREATE TABLE audit (what TEXT); \
         CREATE USER headwater@'%' IDENTIFIED BY 'p@ss'; GRANT SELECT, CREATE, INSERT, UPDATE ON app.* TO headwater@'%'; \
         GRANT REPLICATION SLAVE, {monitor} ON *.* TO headwater@'%'",
    ));
    let site = Site::new("init").env("SOURCE_PASSWORD", "p@ss");
    site.run(&["init", &server.url_as("headwater", "p%40ss")]).expect(0);
    let text = site.read("headwater.toml");
    assert!(
        text.contains("${SOURCE_PASSWORD}") && !text.contains("p%40ss") && !text.contains("p@ss"),
        "{text}"
    );
    for line in [
        "[views.book]",
        "embed.author = { from = \"authors\", key = \"author_id\" }",
        "embed.books = { from = \"books\", many = \"author_id\", order = \"-created_at\", limit = 20 }",
        "# audit: left out",
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
    let ran = site.run(&["check"]).expect(0);
    assert!(ran.stdout.contains(&format!(" views fit {} ", flavour.name())), "{}", ran.stdout);
}

#[test]
fn a_first_file_for_sqlite_fits_it() {
    let site = Site::new("init");
    rusqlite::Connection::open(site.path("shop.db"))
        .and_then(|db| db.execute_batch(&format!("PRAGMA journal_mode = wal; {TABLES}")))
        .unwrap();
    site.run(&["init", "sqlite:shop.db"]).expect(0);
    let text = site.read("headwater.toml");
    assert!(text.contains("embed.author = { from = \"authors\", key = \"author_id\" }"), "{text}");
    assert!(text.contains("many = \"book_id\", order = \"-created_at\", limit = 20"), "{text}");
    site.run(&["check"]).expect(0);
    // The same database, from a file in another folder.
    std::fs::create_dir(site.path("etc")).unwrap();
    site.run(&["init", "sqlite:shop.db", "--out", "etc/shop.toml"]).expect(0);
    site.run(&["check", "--file", "etc/shop.toml"]).expect(0);
}

#[test]
fn a_first_file_for_several_databases_fits_them() {
    let postgres = Postgres::builder().setting("max_slot_wal_keep_size", "1GB").start();
    postgres
        .psql("CREATE ROLE headwater LOGIN REPLICATION PASSWORD 'p@ss'; GRANT pg_read_all_data TO headwater");
    postgres.psql("CREATE DATABASE shop OWNER headwater");
    let tables = postgres.tool("psql").args(["-q", "-d", "shop", "-c", TABLES]).status();
    assert!(tables.unwrap().success());
    let site = Site::new("init-several").env("SHOP_PASSWORD", "p@ss");
    rusqlite::Connection::open(site.path("shop.db"))
        .and_then(|db| db.execute_batch(&format!("PRAGMA journal_mode = wal; {TABLES}")))
        .unwrap();
    let url = postgres.url_as("headwater", "p%40ss").replace("/postgres", "/shop");
    let ran = site.run(&["init", &url, "sqlite:shop.db"]).expect(0);
    for part in ["Looked at shop (PostgreSQL ", "; shop_2 (SQLite ", "Next: headwater check"] {
        assert!(ran.stdout.contains(part), "{}", ran.stdout);
    }
    let text = site.read("headwater.toml");
    for part in [
        "[sources.shop]\nurl = \"postgres://headwater:${SHOP_PASSWORD}@",
        "[sources.shop_2]\nurl = \"sqlite:shop.db\"",
        "# shop: public.books: by id\n[views.book]\nsource = \"shop\"\nfrom = \"books\"\nembed.author",
        "[views.shop_2_book]\nsource = \"shop_2\"\nfrom = \"books\"\nembed.author",
        "# [access.shop_2_book]\n# get = \"shop_2_book\"",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert!(!text.contains("p%40ss") && !text.contains("p@ss"), "{text}");
    let ran = site.run(&["check"]).expect(0);
    assert!(
        ran.stdout.contains("shop (PostgreSQL ") && ran.stdout.contains("shop_2 (SQLite "),
        "{}",
        ran.stdout
    );

    // Which of them cannot be reached is said.
    let gone = format!("postgres://me@127.0.0.1:{}/ledger", headwater_testkit::free_port());
    let ran = site.run(&["init", &url, &gone, "--out", "other.toml"]).expect(1);
    assert!(ran.stderr.contains("look at ledger: "), "{}", ran.stderr);
    assert!(!site.path("other.toml").exists());
}

#[test]
fn a_file_that_is_there_is_not_overwritten() {
    let site = Site::with_file("init", "# mine\n");
    // Nothing is asked of the database before: this one does not exist.
    let ran = site.run(&["init", "postgres://me@nowhere.invalid/d"]).expect(2);
    assert!(ran.stderr.contains("--force") && ran.stderr.contains("--out"), "{}", ran.stderr);
    assert_eq!(site.read("headwater.toml"), "# mine\n");

    let postgres = Postgres::start();
    postgres.psql(TABLES);
    site.run(&["init", &postgres.url(), "--out", "other.toml"]).expect(0);
    assert!(site.read("other.toml").contains("[views.book]"));
    let ran = site.run(&["init", &postgres.url(), "--out", "-"]).expect(0);
    assert!(ran.stdout.contains("[views.book]"));
    site.run(&["init", &postgres.url(), "--force"]).expect(0);
    assert!(site.read("headwater.toml").contains("[views.book]"));
}

#[test]
fn a_database_that_cannot_be_reached_is_said_and_no_file_is_written() {
    let site = Site::new("init");
    let port = headwater_testkit::free_port();
    let ran = site.run(&["init", &format!("postgres://me:hunter2@127.0.0.1:{port}/d")]).expect(1);
    assert!(ran.stderr.contains("refused") && !ran.stderr.contains("hunter2"), "{}", ran.stderr);
    let ran = site.run(&["init", "mongodb://h/d"]).expect(1);
    assert!(ran.stderr.contains("mongodb") && ran.stderr.contains("postgres:"), "{}", ran.stderr);
    assert!(!site.path("headwater.toml").exists());
}

/// What PostgreSQL itself counts, from a workload that was run: a file that `check` and `plan` take.
#[tokio::test(flavor = "multi_thread")]
async fn a_workload_is_imported_from_what_the_database_counted() {
    let postgres = Postgres::builder()
        .setting("max_slot_wal_keep_size", "1GB")
        .setting("shared_preload_libraries", "pg_stat_statements")
        .start();
    postgres.psql(TABLES);
    postgres.psql(
        "INSERT INTO authors SELECT i, 'a' || i FROM generate_series(1, 20) i;
         INSERT INTO customers SELECT i, 'c' || i, 'c' || i FROM generate_series(1, 50) i;
         INSERT INTO books SELECT i, 'isbn' || i, 'title', 1 + i % 20, 9 FROM generate_series(1, 400) i;
         INSERT INTO reviews SELECT i, 1 + i % 400, 1 + i % 50, 3, repeat('x', 50), now() FROM generate_series(1, 2000) i;
         ANALYZE",
    );
    postgres.psql("CREATE ROLE headwater LOGIN REPLICATION PASSWORD 'p@ss'; GRANT pg_read_all_data TO headwater; GRANT CREATE ON DATABASE postgres TO headwater");
    let site = Site::new("import").env("PGPASSWORD", "p@ss");
    let url = postgres.url_as("headwater", "p%40ss");

    // Without the extension: what is missing is said, and there is a file to start from all the same.
    let blind = site.run(&["import", &url, "--out", "blind.toml"]).expect(0);
    blind.says(&["no extension pg_stat_statements", "CREATE EXTENSION"]);
    let text = site.read("blind.toml");
    assert!(
        text.contains("How applications read is not known") && text.contains("# [access.book]"),
        "{text}"
    );
    site.run(&["-f", "blind.toml", "check"]).expect(0);

    postgres.psql("CREATE EXTENSION pg_stat_statements");
    let hidden = site.run(&["import", &url, "--out", "-"]).expect(0);
    assert!(
        hidden.stderr.is_empty() || hidden.stderr.contains("GRANT pg_read_all_stats"),
        "{}",
        hidden.stderr
    );
    postgres.psql(
        "GRANT pg_read_all_stats TO headwater; SELECT pg_stat_statements_reset(); SELECT pg_stat_reset()",
    );
    let work = "SELECT * FROM books WHERE id = 7; SELECT b.title FROM books b WHERE b.id = 9;
         SELECT * FROM reviews WHERE book_id = 3 ORDER BY created_at DESC LIMIT 4;
         SELECT stars, count(*) FROM reviews GROUP BY stars;
         UPDATE books SET title = 'secret' WHERE id = 5;";
    for _ in 0..10 {
        postgres.psql(work);
    }
    let found = async || {
        let ran = site.run(&["import", &url, "--force"]).expect(0);
        let text = site.read("headwater.toml");
        // Counters of rows come to the others' eyes a moment later.
        let books = text.lines().find(|line| line.starts_with("books = {")).unwrap_or_default().to_owned();
        if books.contains("writes = \"0") { Err(text) } else { Ok((ran, text)) }
    };
    let (ran, text) = eventually(PATIENCE, "rows are counted", found).await;
    assert!(
        ran.stdout.contains("2 access patterns with rates, 1 statement left as comments"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("Next: headwater plan") && ran.stderr.is_empty(),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
    for part in [
        "20 calls, 1.0 rows and ",
        "[access.book]\nget = \"book\"\nrate = ",
        "[access.reviews_by_book_id]\nrange = \"review\"\nby = \"book_id\"\norder = \"-created_at\"\nlimit = 4",
        "adds rows up: SELECT stars, count(*) FROM reviews GROUP BY stars",
        "books = { rows = 400, row = ",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert!(!text.contains("secret") && !text.contains("p@ss"), "{text}");
    let checked = site.run(&["check"]).expect(0);
    assert_eq!(checked.stderr, "", "{text}");
    let plan = site.run(&["plan"]).expect(0).stdout;
    assert!(plan.contains("reviews_by_book_id") && plan.contains("per month in us-east-1"), "{plan}");

    // What goes on while it watches, and nothing of before.
    let before = site.read("headwater.toml");
    site.run(&["import", &url, "--watch", "1s"]).expect(2).says(&["is there already"]);
    assert_eq!(site.read("headwater.toml"), before);
    let watched = site.run(&["import", &url, "--watch", "1s", "--out", "-"]).expect(0).stdout;
    assert!(watched.contains("in 1 s") && !watched.contains("[access.book]\nget"), "{watched}");
}
