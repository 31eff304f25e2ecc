//! Getting in, being refused, and what an operator is told.

use headwater_model::{Error, ErrorKind, IndexFacts, Indexable, IndexedColumn, Severity, TableFacts};

use super::*;

/// An error in one line: kind, message, remedy.
fn told(error: &Error) -> String {
    format!("{error:?} | {}", error.remedy().unwrap_or("no remedy"))
}

#[track_caller]
fn assert_told(error: &Error, kind: ErrorKind, words: &[&str]) {
    let text = told(error);
    assert_eq!(error.kind(), kind, "{text}");
    for word in words {
        assert!(text.contains(word), "\"{word}\" is not in: {text}");
    }
}

async fn prepare_error(source: &Arc<dyn Source>, table: &str) -> Error {
    source.prepare(&[name(table)]).await.expect_err("preparing is refused")
}

#[tokio::test(flavor = "multi_thread")]
async fn scram_and_tls_are_spoken_and_certificates_are_checked() {
    let postgres = Postgres::builder()
        .ssl()
        .hba("hostssl all all 127.0.0.1/32 scram-sha-256")
        .hba("hostssl replication all 127.0.0.1/32 scram-sha-256")
        .start();
    postgres.psql("CREATE ROLE app LOGIN SUPERUSER PASSWORD 's3cret'; CREATE TABLE t (id int PRIMARY KEY)");
    let ca = postgres.ca().unwrap().display().to_string();
    let url = |host: &str, password: &str, more: &str| {
        format!("postgres://app:{password}@{host}:{}/postgres?{more}", postgres.port())
    };
    for (host, more) in [
        ("127.0.0.1", ""),
        ("127.0.0.1", "sslmode=require"),
        ("127.0.0.1", &format!("sslmode=verify-ca&sslrootcert={ca}")),
        ("localhost", &format!("sslmode=verify-full&sslrootcert={ca}")),
    ] {
        let mut log = Log::of(open(&url(host, "s3cret", more)), &["t"]).await;
        assert!(log.changes().await.is_empty());
    }
    let refused = async |host: &str, password: &str, more: &str| {
        let error = open(&url(host, password, more)).inspect().await.expect_err("access is refused");
        assert!(!told(&error).contains("s3cret") && !told(&error).contains("wr0ng"), "{}", told(&error));
        error
    };
    assert_told(&refused("127.0.0.1", "wr0ng", "").await, ErrorKind::Denied, &["28P01"]);
    assert_told(&refused("127.0.0.1", "s3cret", "sslmode=disable").await, ErrorKind::Denied, &["pg_hba"]);
    // An authority that did not sign it.
    let unknown = refused("127.0.0.1", "s3cret", "sslmode=verify-full").await;
    assert_told(&unknown, ErrorKind::Misconfigured, &["TLS", "sslrootcert"]);
    // A name that is not in the certificate.
    let verified = format!("sslmode=verify-full&sslrootcert={ca}");
    let misnamed = refused("127.0.0.1", "s3cret", &verified).await;
    assert_told(&misnamed, ErrorKind::Misconfigured, &["TLS", "the name in the server's certificate"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn md5_and_cleartext_passwords_and_sockets_work() {
    let postgres = Postgres::builder()
        .setting("password_encryption", "md5")
        .hba("host all app 127.0.0.1/32 md5")
        .hba("host all plain 127.0.0.1/32 password")
        .start();
    postgres.psql("CREATE ROLE app LOGIN PASSWORD 'p'; CREATE ROLE plain LOGIN PASSWORD 'p'");
    for user in ["app", "plain"] {
        open(&postgres.url_as(user, "p")).inspect().await.unwrap();
    }
    let folder = postgres.folder().display();
    let socket = format!("postgres://postgres@/postgres?host={folder}&port={}", postgres.port());
    open(&socket).inspect().await.unwrap();
    let several = format!("postgres://app:p@127.0.0.1:1,127.0.0.1:{}/postgres", postgres.port());
    open(&several).inspect().await.unwrap();
    let no_password = format!("postgres://app@127.0.0.1:{}/postgres", postgres.port());
    let error = open(&no_password).inspect().await.unwrap_err();
    assert_told(&error, ErrorKind::Denied, &["asks for a password"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_reached_is_transient_and_named() {
    let error = open("postgres://me@127.0.0.1:1/x").inspect().await.unwrap_err();
    assert_told(&error, ErrorKind::Transient, &["127.0.0.1:1"]);
    let postgres = Postgres::start();
    let url = format!("postgres://postgres@127.0.0.1:{}/nowhere", postgres.port());
    let error = open(&url).inspect().await.unwrap_err();
    assert_told(&error, ErrorKind::Misconfigured, &["nowhere"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_is_told_the_exact_sql() {
    let postgres = Postgres::start();
    postgres.psql(
        "CREATE ROLE app LOGIN; CREATE SCHEMA s; CREATE TABLE s.t (id int PRIMARY KEY);
         CREATE TABLE r (id int PRIMARY KEY); ALTER TABLE r ENABLE ROW LEVEL SECURITY; GRANT SELECT ON r TO app",
    );
    let source = open(&postgres.url_as("app", ""));
    let step = async |sql: &str| {
        let error = prepare_error(&source, "s.t").await;
        assert_told(&error, ErrorKind::Denied, &[sql]);
        let remedy = error.remedy().unwrap().to_owned();
        // The remedy is what a superuser may paste.
        let command = remedy.split(": ").last().unwrap();
        let command = command.strip_suffix(" superuser").unwrap_or(command);
        postgres.psql(command);
    };
    step(r#"GRANT USAGE ON SCHEMA "s" TO "app"; GRANT SELECT ON TABLE "s"."t" TO "app""#).await;
    step(r#"CREATE PUBLICATION "headwater" FOR TABLE "s"."t" WITH (publish = 'insert, update, delete, truncate', publish_via_partition_root = true)"#).await;
    let error = prepare_error(&source, "s.t").await;
    assert_told(
        &error,
        ErrorKind::Denied,
        &[r#"ALTER ROLE "app" REPLICATION"#, "pg_create_logical_replication_slot"],
    );
    postgres.psql("ALTER ROLE app REPLICATION");
    let mut log = Log::of(open(&postgres.url_as("app", "")), &["s.t"]).await;
    postgres.psql("INSERT INTO s.t VALUES (1)");
    assert_eq!(log.changes().await.len(), 1);
    assert_eq!(log.source.read_chunk(&range("s.t")).await.unwrap().rows.len(), 1);

    let error = prepare_error(&source, "r").await;
    assert_told(&error, ErrorKind::Denied, &["row security", r#"ALTER ROLE "app" BYPASSRLS"#]);
    // Rows hidden by row security are an error in a chunk too, not missing rows.
    assert_eq!(source.read_chunk(&range("r")).await.unwrap_err().kind(), ErrorKind::Denied);
    // Least privileges let it be forgotten, too; the publication is not the role's own.
    drop(log);
    source.forget().await.unwrap();
    assert_eq!(postgres.psql("SELECT count(*) FROM pg_replication_slots"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_cannot_be_followed_are_refused_with_the_remedy() {
    let postgres = Postgres::start();
    postgres.psql(
        "CREATE TABLE none (id int); CREATE TABLE candidate (id int NOT NULL UNIQUE);
         CREATE TABLE deferred (id int PRIMARY KEY DEFERRABLE); CREATE UNLOGGED TABLE u (id int PRIMARY KEY);
         CREATE VIEW v AS SELECT 1 AS id; CREATE TABLE nothing (id int PRIMARY KEY);
         ALTER TABLE nothing REPLICA IDENTITY NOTHING;
         CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9); CREATE TABLE ok (id int PRIMARY KEY)",
    );
    let source = open(&postgres.url());
    let cases: &[(&str, &[&str])] = &[
        ("missing", &["there is no table"]),
        ("none", &["no primary key", r#"ALTER TABLE "public"."none" ADD PRIMARY KEY"#]),
        ("candidate", &[r#"ALTER TABLE "public"."candidate" REPLICA IDENTITY USING INDEX candidate_id_key"#]),
        ("deferred", &["deferrable", r#"ALTER TABLE "public"."deferred" REPLICA IDENTITY FULL"#]),
        ("u", &["unlogged", "SET LOGGED"]),
        ("v", &["is a view"]),
        ("nothing", &[r#"ALTER TABLE "public"."nothing" REPLICA IDENTITY DEFAULT"#]),
        ("p1", &["is a partition of public.p", "name public.p instead"]),
    ];
    for (table, words) in cases {
        assert_told(&prepare_error(&source, table).await, ErrorKind::Misconfigured, words);
    }
    for table in ["candidate", "deferred", "nothing"] {
        postgres.psql(prepare_error(&source, table).await.remedy().unwrap());
        source.prepare(&[name(table)]).await.unwrap();
    }
    // Refusing left nothing behind; the publication holds exactly what was asked for last.
    let members =
        || postgres.psql("SELECT string_agg(tablename, ',' ORDER BY tablename) FROM pg_publication_tables");
    assert_eq!(members(), "nothing");
    source.prepare(&[name("ok"), name("p")]).await.unwrap();
    assert_eq!(members(), "ok,p");
    source.prepare(&[name("ok"), name("p")]).await.unwrap();
    source.forget().await.unwrap();
    source.forget().await.unwrap();
    assert_eq!(postgres.psql("SELECT count(*) FROM pg_publication"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_ready_says_what_to_set() {
    let postgres = Postgres::builder().setting("wal_level", "replica").start();
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY)");
    let source = open(&postgres.url());
    assert_told(
        &prepare_error(&source, "t").await,
        ErrorKind::Misconfigured,
        &["wal_level is replica", "ALTER SYSTEM SET wal_level = logical"],
    );
    let risks = source.inspect().await.unwrap().risks;
    assert!(risks.iter().any(|risk| risk.severity == Severity::Error && risk.what.contains("wal_level")));

    let postgres = Postgres::builder().setting("max_replication_slots", "1").start();
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY); SELECT pg_create_physical_replication_slot('other')");
    let source = open(&postgres.url());
    assert_told(
        &prepare_error(&source, "t").await,
        ErrorKind::Misconfigured,
        &["slot", "max_replication_slots"],
    );
    let risks = source.inspect().await.unwrap().risks;
    assert!(risks.iter().any(|risk| risk.what.contains("slots are taken")), "{risks:?}");
    let other = open_with(&postgres.url(), &[("slot", "other")]);
    assert_told(&prepare_error(&other, "t").await, ErrorKind::Misconfigured, &["physical", "`slot`"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_slot_names_who_holds_it() {
    let postgres = Postgres::start();
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY)");
    let log = Log::new(&postgres, &["t"]).await;
    let pid = postgres.psql("SELECT active_pid FROM pg_replication_slots");
    let second = open(&postgres.url());
    let error = second.follow(None).await.err().expect("the slot is busy");
    assert_told(&error, ErrorKind::Transient, &["in use", &pid]);
    let error = second.forget().await.expect_err("nothing of others is ended");
    assert_eq!(error.kind(), ErrorKind::Transient);
    // A standby with another set of tables takes nothing away from the one that follows.
    postgres.psql("CREATE TABLE u (id int PRIMARY KEY)");
    let error = prepare_error(&second, "u").await;
    assert_told(&error, ErrorKind::Transient, &["in use"]);
    assert_eq!(postgres.psql("SELECT string_agg(tablename, ',') FROM pg_publication_tables"), "t");
    drop(log);
    second.prepare(&[name("u")]).await.unwrap();
    second.follow(None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_or_missing_slot_is_a_declared_gap_and_prepare_starts_anew() {
    let postgres = Postgres::builder()
        .setting("max_slot_wal_keep_size", "1MB")
        .setting("min_wal_size", "32MB")
        .setting("max_wal_size", "32MB")
        .start();
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE other (id int, v text)");
    let mut log = Log::new(&postgres, &["t"]).await;
    postgres.psql("INSERT INTO t VALUES (1)");
    let position = loop {
        if let Event::Commit { position, .. } = log.next().await {
            break position;
        }
    };
    let source = log.source.clone();
    let (_, retained) = source.progress().await.unwrap();
    assert_eq!(retained.bound_bytes, Some(1 << 20));
    drop(log);
    for _ in 0..4 {
        postgres.psql("INSERT INTO other SELECT i, repeat('x', 1000) FROM generate_series(1, 20000) i");
        postgres.psql("CHECKPOINT");
    }
    assert_eq!(postgres.psql("SELECT wal_status FROM pg_replication_slots"), "lost");
    for after in [Some(&position), None] {
        let error = source.follow(after).await.err().expect("the log is lost");
        assert_told(&error, ErrorKind::OutOfStep, &["max_slot_wal_keep_size"]);
    }
    source.prepare(&[name("t")]).await.unwrap();
    let error = source.follow(Some(&position)).await.err().expect("a gap is declared");
    assert_told(&error, ErrorKind::OutOfStep, &["is gone"]);
    source.follow(None).await.unwrap();

    // A publication that vanished takes the slot with it: the log in between cannot be decoded for a new one.
    postgres.psql("DROP PUBLICATION headwater; INSERT INTO t VALUES (2)");
    source.prepare(&[name("t")]).await.unwrap();
    let mut log =
        Log { follow: source.follow(None).await.unwrap(), source, marks: 0, waiting: Default::default() };
    postgres.psql("INSERT INTO t VALUES (3)");
    assert_eq!(log.changes().await.len(), 1);
    let source = log.source.clone();
    drop(log);
    source.forget().await.unwrap();
    let error = source.follow(None).await.err().expect("there is no slot");
    assert_eq!(error.kind(), ErrorKind::OutOfStep);
    // Positions of other systems do not fit.
    source.prepare(&[name("t")]).await.unwrap();
    let foreign = headwater_model::Position::new("1/1", position.sequence);
    let error = source.follow(Some(&foreign)).await.err().expect("another system");
    assert_told(&error, ErrorKind::OutOfStep, &["system 1/1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn inspect_sees_tables_keys_and_what_hurts() {
    let postgres = Postgres::start();
    postgres.psql(
        r#"CREATE TYPE mood AS ENUM ('a');
           CREATE TABLE authors (id int PRIMARY KEY, name text NOT NULL, code varchar(8) NOT NULL UNIQUE, alias text UNIQUE);
           CREATE INDEX ON authors (name COLLATE "C", id DESC); CREATE INDEX ON authors (lower(name));
           CREATE INDEX ON authors (code) WHERE id > 7; CREATE INDEX ON authors USING hash (code);
           CREATE TABLE books (author int NOT NULL REFERENCES authors, id bigint GENERATED ALWAYS AS IDENTITY,
             moods mood[], price numeric(8, 2), twice int GENERATED ALWAYS AS (author * 2) STORED, PRIMARY KEY (id, author));
           CREATE TABLE bare (id int); CREATE SCHEMA "X"; CREATE TABLE "X"."Y z" (id int PRIMARY KEY);
           CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);
           CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100);
           INSERT INTO p SELECT generate_series(0, 99);
           INSERT INTO authors SELECT i, 'n', i, NULL FROM generate_series(1, 500) i; ANALYZE"#,
    );
    let facts = open(&postgres.url()).inspect().await.unwrap();
    assert!(facts.server.starts_with("PostgreSQL 1"), "{}", facts.server);
    let names: Vec<String> = facts.tables.iter().map(|table| table.name.to_string()).collect();
    assert_eq!(names, ["X.Y z", "public.authors", "public.bare", "public.books", "public.p"]);
    let [_, authors, bare, books, p] = &facts.tables[..] else { unreachable!() };
    let columns = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect::<Vec<Box<str>>>();
    assert_eq!(authors.unique, [columns(&["id"]), columns(&["code"])]);
    assert_eq!((authors.rows_estimate, p.rows_estimate), (500, 100));
    assert!(authors.bytes_estimate > 0 && p.bytes_estimate > 0);
    assert_eq!(books.key, columns(&["id", "author"]));
    assert_eq!(books.foreign_keys.len(), 1);
    assert_eq!(books.foreign_keys[0].to.to_string(), "public.authors");
    assert_eq!(books.foreign_keys[0].to_columns, columns(&["id"]));
    let columns: Vec<String> = books
        .columns
        .iter()
        .map(|c| {
            format!(
                "{} {:?} {}{}{}{}",
                c.name,
                c.kind,
                c.type_name,
                if c.nullable { " null" } else { "" },
                if c.may_be_unchanged { " toast" } else { "" },
                if c.absent_from_log { " absent" } else { "" }
            )
        })
        .collect();
    assert_eq!(
        columns,
        [
            "author Int integer",
            "id Int bigint",
            "moods List(Text) public.mood[] null toast",
            "price Decimal numeric(8,2) null toast",
            "twice Int integer null absent",
        ]
    );
    let indexes = |table: &TableFacts| -> Vec<String> {
        let column = |c: &IndexedColumn| {
            let descending = if c.descending { " desc" } else { "" };
            format!("{}{descending}{}", c.name, if c.as_stores { "" } else { " otherwise" })
        };
        let columns = |index: &IndexFacts| index.columns.iter().map(column).collect::<Vec<_>>().join(", ");
        table.indexes.iter().map(columns).collect()
    };
    assert_eq!(indexes(authors), ["id", "code otherwise", "alias otherwise", "name, id desc"]);
    assert_eq!(indexes(books), ["id, author"]);
    let indexable = |i: usize| authors.columns[i].indexable;
    assert_eq!([indexable(0), indexable(1)], [Indexable::InOrder(""), Indexable::InOrder(" COLLATE \"C\"")]);
    assert_eq!((books.create_index, p.create_index), ("CREATE INDEX CONCURRENTLY", "CREATE INDEX"));
    assert!(bare.obstacle.as_ref().unwrap().remedy.contains("ADD PRIMARY KEY"));
    assert!(books.obstacle.is_none() && p.obstacle.is_none());
    assert!(facts.risks.iter().any(|risk| risk.what.contains("max_slot_wal_keep_size")), "{:?}", facts.risks);
}

#[test]
fn unknown_settings_are_refused_with_the_nearest_name() {
    let section = |name: &str| SourceSection {
        name: None,
        url: Secret::new("postgres://u@h/d"),
        settings: [(name.into(), Setting::Text(Secret::new("x")))].into(),
        hold_for: Duration::ZERO,
        retained_log_bytes_max: 0,
    };
    let error = headwater_engines::source(&section("slott")).err().unwrap();
    assert_told(&error, ErrorKind::Misconfigured, &["slott", "did you mean", "slot"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_was_copied_without_its_log_is_a_gap() {
    let postgres = Postgres::start();
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE other (id int)");
    let log = Log::new(&postgres, &["t"]).await;
    let source = log.source.clone();
    drop(log);
    let kept = postgres.psql("SELECT pg_walfile_name(restart_lsn) FROM pg_replication_slots");
    for _ in 0..3 {
        postgres.psql("INSERT INTO other VALUES (1)");
        postgres.psql("SELECT pg_switch_wal()");
    }
    postgres.psql("CHECKPOINT");
    // A clean end needs no older log to start from.
    postgres.stop().await;
    std::fs::remove_file(postgres.folder().join("data/pg_wal").join(kept)).unwrap();
    postgres.restart().await;
    assert_eq!(postgres.psql("SELECT wal_status FROM pg_replication_slots WHERE NOT active"), "reserved");
    let mut follow = source.follow(None).await.unwrap();
    let error = loop {
        if let Err(error) = follow.next().await {
            break error;
        }
    };
    assert_told(&error, ErrorKind::OutOfStep, &["removed log that the slot needs"]);
}
