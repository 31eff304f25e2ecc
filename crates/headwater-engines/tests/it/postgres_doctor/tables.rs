//! Findings about tables, indexes, functions and schemas of one database.

use super::*;

/// `n` numbers as rows of a table.
fn numbered(table: &str, n: u32) -> String {
    format!(
        "CREATE TABLE {table} (id int PRIMARY KEY, n int, t text); INSERT INTO {table} SELECT i, i, 'x' FROM generate_series(1, {n}) i"
    )
}

#[tokio::test]
async fn indexes_that_are_missing_needless_broken_or_in_the_way() {
    let postgres = Postgres::start();
    let patient = Patient::new(&postgres, "indexes");
    patient.psql(
        "CREATE TABLE customer (id int PRIMARY KEY); INSERT INTO customer SELECT generate_series(1, 100);
         CREATE TABLE \"Order\" (id int PRIMARY KEY, customer_id int REFERENCES customer);
         INSERT INTO \"Order\" SELECT i, 1 + i % 99 FROM generate_series(1, 2000) i; ANALYZE \"Order\";",
    );
    let rows = [("child_rows", 1000.0)];
    assert!(patient.look("HW1001", &rows).await.is_empty(), "nobody deletes from the parent yet");
    patient.psql("DELETE FROM customer WHERE id = 100");
    let found = patient.heals("HW1001", &rows, "\"Order\" (customer_id)").await;
    assert_eq!(found.table.as_ref().map(ToString::to_string).as_deref(), Some("public.Order"));
    assert_eq!(found.answered["child_rows"], "2000");
    assert!(found.asked.contains("t.reltuples >= 1000"), "{}", found.asked);

    patient.psql(&format!("{}; CREATE INDEX book_n ON book (n)", numbered("book", 1000)));
    let ever = [("bytes", 0.0), ("days", 0.0)];
    assert!(patient.look("HW1002", &[]).await.is_empty(), "it is small, and its statistics are young");
    patient.psql("SET enable_seqscan = off; SELECT * FROM book WHERE n = 1");
    assert!(
        patient.look("HW1002", &ever).await.iter().all(|found| found.subject != "public.book_n"),
        "a query used it"
    );
    patient.psql("CREATE INDEX book_t ON book (t)");
    patient.heals("HW1002", &ever, "book_t").await;
    assert_eq!(patient.psql("SELECT count(*) FROM pg_class WHERE relname = 'book_t'"), "1", "undone");

    patient.psql("CREATE INDEX book_n_t ON book (n, t); CREATE INDEX book_n_desc ON book (n DESC)");
    let found = patient.heals("HW1003", &[], "book_n").await;
    assert!(found.subject == "public.book_n" && found.what.contains("book_n_t"), "{found:?}");
    patient.psql("DROP INDEX book_n; CREATE UNIQUE INDEX book_id_again ON book (id)");
    let found = patient.heals("HW1003", &[], "book_id_again").await;
    assert!(found.what.contains("book_pkey"), "the constraint's index stays: {found:?}");
    patient.psql("DROP INDEX book_id_again; DROP INDEX book_n_desc");

    patient.psql("UPDATE book SET n = 1 WHERE id < 3");
    assert!(patient.try_psql("CREATE UNIQUE INDEX CONCURRENTLY book_unique ON book (n)").is_err());
    patient.psql("UPDATE book SET n = id");
    patient.heals("HW1004", &[], "book_unique").await;

    patient.psql("UPDATE book SET n = n + 1000");
    let updates = [("updates", 500.0)];
    patient.heals("HW1005", &updates, "book").await;
}

#[tokio::test]
async fn space_that_is_not_used() {
    let postgres = Postgres::start();
    let patient = Patient::new(&postgres, "space");
    let skipped = patient.examine(&ExamBudget { only: vec!["HW1011".into()], ..ExamBudget::default() }).await;
    assert_eq!(skipped.made, 0);
    assert_eq!(skipped.skipped[0].remedy.as_deref(), Some("CREATE EXTENSION pgstattuple;"));
    patient.psql("CREATE EXTENSION pgstattuple");
    patient.psql(&numbered("book", 100_000));
    patient.psql("DELETE FROM book WHERE id % 10 <> 0");
    patient.psql("VACUUM book");
    let some = [("bytes", 1_000_000.0), ("wasted_bytes", 500_000.0)];
    patient.heals("HW1006", &some, "book_pkey").await;
    patient.heals("HW1011", &some, "book").await;
}

#[tokio::test]
async fn tables_that_nobody_looks_after() {
    let postgres = Postgres::start();
    let patient = Patient::new(&postgres, "care");
    patient.psql("CREATE TABLE named (id int NOT NULL, UNIQUE (id)); CREATE TABLE nameless (n int); CREATE PUBLICATION p FOR TABLE nameless");
    patient.heals("HW1010", &[], "named").await;
    let found = patient.heals("HW1010", &[], "nameless").await;
    assert_eq!(found.urgency.name(), "high", "its updates fail: {found:?}");

    patient.psql(
        "CREATE TABLE dead (id int PRIMARY KEY) WITH (autovacuum_enabled = false);
                  INSERT INTO dead SELECT generate_series(1, 3000)",
    );
    let found = patient.heals("HW1013", &[], "dead").await;
    assert!(found.what.contains("never analyzed"), "{found:?}");
    patient.psql("DELETE FROM dead WHERE id > 1000");
    let found = patient.heals("HW1012", &[], "dead").await;
    assert!(found.what.contains("autovacuum is off"), "{found:?}");

    patient.psql(
        "CREATE TABLE serials (id serial PRIMARY KEY, small smallint GENERATED ALWAYS AS IDENTITY);
                  SELECT setval('serials_id_seq', 2147483000); SELECT setval('serials_small_seq', 30000)",
    );
    let found = patient.heals("HW1014", &[], "serials.id").await;
    assert_eq!(found.urgency.name(), "critical");
    patient.heals("HW1014", &[], "serials.small").await;
    patient.psql("INSERT INTO serials DEFAULT VALUES");
}

#[tokio::test]
async fn rights_that_reach_too_far() {
    let postgres = Postgres::start();
    let patient = Patient::new(&postgres, "rights");
    patient.psql("CREATE FUNCTION sudo() RETURNS int SECURITY DEFINER LANGUAGE sql AS 'SELECT 1'");
    patient.heals("HW1053", &[], "sudo()").await;
    patient.psql("GRANT CREATE ON SCHEMA public TO PUBLIC");
    patient.heals("HW1054", &[], "schema public").await;
    patient.psql(
        "CREATE ROLE app LOGIN SUPERUSER CREATEROLE; GRANT pg_execute_server_program TO app;
                  CREATE ROLE \"tempor ary\" LOGIN VALID UNTIL 'tomorrow'",
    );
    let _sessions = [
        patient.session("app", "SELECT pg_sleep(600)"),
        patient.session("tempor ary", "SELECT pg_sleep(600)"),
    ];
    let found = patient.heals("HW1052", &[], "role app").await;
    assert!(found.what.contains("superuser, createrole, member of pg_execute_server_program"), "{found:?}");
    patient.heals("HW1055", &[], "tempor ary").await;
}

#[tokio::test]
async fn statements_that_cost_most() {
    let postgres = Postgres::builder().setting("shared_preload_libraries", "pg_stat_statements").start();
    let patient = Patient::new(&postgres, "statements");
    patient.heals("HW1043", &[], "pg_stat_statements").await;
    patient.psql(&numbered("book", 20_000));
    patient.psql("CREATE ROLE reporter LOGIN IN ROLE pg_read_all_data; SELECT pg_stat_statements_reset()");
    for _ in 0..3 {
        patient.psql("SELECT count(*) FROM book a JOIN book b ON a.n % 50 = b.id % 50 WHERE a.n < 2000");
    }
    let slow = [("calls", 3.0), ("mean_ms", 1.0)];
    let found = patient.finds("HW1060", &slow, "statement").await;
    assert!(found.answered["statement"].contains("JOIN book b"), "{found:?}");

    let children: String = (0..200).map(|n| format!("SELECT t FROM book WHERE id = {n};")).collect();
    for _ in 0..20 {
        patient.psql("SELECT id FROM book WHERE n <= 10");
    }
    patient.psql(&children);
    let found = patient.finds("HW1061", &[("total_ms", 0.0)], "statement").await;
    assert!(found.answered["statement"].contains("SELECT t FROM book"), "{found:?}");

    let spill =
        "SET enable_indexscan = off; SELECT * FROM (SELECT * FROM book ORDER BY t, n DESC) b OFFSET 19999";
    let as_reporter = |count: usize| {
        for _ in 0..count {
            let status = patient
                .tool("psql")
                .env("PGUSER", "reporter")
                .args(["-X", "-q", "-c", spill])
                .stdout(Stdio::null())
                .status();
            assert!(status.unwrap().success());
        }
    };
    patient.psql("ALTER ROLE reporter SET work_mem = '64kB'");
    as_reporter(2);
    let some = [("bytes", 10_000.0)];
    let found = patient.finds("HW1062", &some, "statement").await;
    patient.paste(&found.remedy);
    patient.psql("SELECT pg_stat_statements_reset()");
    as_reporter(2);
    patient.is_gone("HW1062", &some, "statement").await;
    patient.is_gone("HW1061", &[], "statement").await;
    patient.is_gone("HW1060", &slow, "statement").await;
}
