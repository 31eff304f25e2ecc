//! What a read can do to a source: take its time for a while, use a few connections, and nothing else.

use std::time::Instant;

use headwater_model::{ErrorKind, Event};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn values_and_names_are_never_part_of_the_sql() {
    const EVIL: &[&str] = &[
        "'; DROP TABLE \"t\"; --",
        "\\'; DROP TABLE t; --",
        "\" OR \"1\"=\"1",
        "$1",
        "?1",
        "%s",
        "x') OR ('1'='1",
        "{}",
        "a\u{2028}b",
    ];
    for database in Database::both() {
        let name = "t\"; DROP TABLE \"t\"; --";
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        database
            .run(&format!(
                "CREATE TABLE {quoted} ({quoted} text PRIMARY KEY, \"it's %s {{}} $1 ?1\" text, n bigint);
             CREATE TABLE t (id bigint PRIMARY KEY)"
            ))
            .await;
        for (n, evil) in EVIL.iter().enumerate() {
            let text = evil.replace('\'', "''");
            database.run(&format!("INSERT INTO {quoted} VALUES ('{text}', '{text}', {n})")).await;
        }
        database.prepare(&[name, "t"]).await;
        let order = vec![Order { column: name.into(), descending: true }];
        let index = Index { by: vec!["it's %s {} $1 ?1".into()], order };
        let evil_view = view(name, name, ViewKind::Document, vec![index]);
        for (n, evil) in EVIL.iter().enumerate() {
            let key = Key(vec![Value::text(*evil)]);
            let document = database.get(&evil_view, vec![key]).await.remove(0).expect("found");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&document).unwrap()["n"], n);
            let mut read = range(&evil_view, 0, vec![Value::text(*evil)], 5);
            read.from = Some(Bound { value: Value::text(*evil), inclusive: true });
            let (page, _) = database.page(&read).await;
            assert_eq!(page.len(), 1);
            let mut filtered = (*evil_view).clone();
            filtered.filter =
                Some(format!("\"{}\" = '{}'", name.replace('"', "\"\""), evil.replace('\'', "''")).into());
            let keys = EVIL.iter().map(|evil| Key(vec![Value::text(*evil)])).collect();
            let found = database.get(&Arc::new(filtered), keys).await;
            assert_eq!(found.iter().position(Option::is_some), Some(n));
            assert_eq!(found.iter().flatten().count(), 1);
        }
        database.run("SELECT * FROM t").await;
    }
}

/// A read that takes many times the timeout.
fn endless(hops: usize) -> Read {
    let edge = headwater_model::Edge { source: "s".into(), label: "E".into(), target: "t".into() };
    let hop = headwater_model::Hop {
        views: vec![view("e", "e", ViewKind::Edge(edge), Vec::new())],
        against: false,
    };
    Read::Walk(headwater_model::WalkRead {
        start: Value::Int(1),
        hops: vec![hop; hops],
        limit: 10,
        edges_max: usize::MAX,
    })
}

/// 1,000 vertices, each with an edge to every one: a hop reads a million edges.
const DENSE: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
    INSERT INTO e SELECT a.i * 1000 + b.i, a.i, b.i FROM n a, n b";

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_takes_too_long_is_ended_and_the_next_one_is_answered() {
    for database in Database::both() {
        database.run(&format!("CREATE TABLE e (id bigint PRIMARY KEY, s bigint, t bigint); {DENSE}")).await;
        database.prepare(&["e"]).await;
        for _ in 0..6 {
            let started = Instant::now();
            let error = database.source.answer(&endless(12)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
            assert!(error.to_string().contains("more than 500ms"), "{error}");
            assert!(error.remedy().is_some_and(|remedy| remedy.contains("answer_timeout")));
            assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        }
        let e = view("e", "e", ViewKind::Document, Vec::new());
        let found = database.get(&e, vec![Key(vec![Value::Int(1001)])]).await;
        assert_eq!(found[0].as_deref(), Some(r#"{"id":1001,"s":1,"t":1}"#));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_ways_than_can_be_counted_are_refused() {
    let database = Database::sqlite();
    database.run("CREATE TABLE e (id INTEGER PRIMARY KEY, s INT, t INT)").await;
    // Edges from 1 to itself: each hop makes the ways twenty times as many.
    let edges: Vec<String> = (0..20).map(|id| format!("({id}, 1, 1)")).collect();
    database.run(&format!("INSERT INTO e VALUES {}", edges.join(", "))).await;
    database.prepare(&["e"]).await;
    for hops in [16, 33, 100] {
        let error = database.source.answer(&endless(hops)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{hops} hops: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_leaves_nothing_running() {
    let database = Database::postgres();
    database.run(&format!("CREATE TABLE e (id bigint PRIMARY KEY, s bigint, t bigint); {DENSE}")).await;
    let Engine::Postgres(postgres) = &database.engine else { unreachable!() };
    for _ in 0..10 {
        let read = endless(12);
        let gone = tokio::time::timeout(Duration::from_millis(20), database.source.answer(&read)).await;
        assert!(gone.is_err());
    }
    let client = postgres.connect().await;
    headwater_testkit::eventually(Duration::from_secs(10), "nothing runs", async || {
        let running: i64 = client
            .query_one(
                "SELECT count(*) FROM pg_stat_activity WHERE state = 'active'
                   AND datname = current_database() AND application_name LIKE '% answers'
                   AND backend_type = 'client backend'",
                &[],
            )
            .await
            .unwrap()
            .get(0);
        if running == 0 { Ok(()) } else { Err(running) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_answers_use_few_connections_and_following_goes_on() {
    let database = Database::postgres();
    database
        .run(&format!(
            "CREATE TABLE e (id bigint PRIMARY KEY, s bigint, t bigint); {DENSE};
         CREATE TABLE live (id bigint PRIMARY KEY)"
        ))
        .await;
    let Engine::Postgres(postgres) = &database.engine else { unreachable!() };
    let live = TableName::new(Some("public"), "live");
    database.source.prepare(std::slice::from_ref(&live)).await.unwrap();
    let mut follow = database.source.follow(None).await.unwrap();
    let reads: Vec<_> = (0..40)
        .map(|_| {
            let source = database.source.clone();
            tokio::spawn(async move { source.answer(&endless(12)).await })
        })
        .collect();
    let client = postgres.connect().await;
    let mut most = 0;
    for n in 0_i64..20 {
        client.execute("INSERT INTO live VALUES ($1)", &[&n]).await.unwrap();
        let seen = async {
            loop {
                let events = follow.next().await.unwrap();
                if events.iter().any(|event| matches!(event, Event::Commit { .. })) {
                    break;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), seen).await.expect("following goes on");
        let connections: i64 = client
            .query_one(
                "SELECT count(*) FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name LIKE '% answers'
                   AND backend_type = 'client backend'",
                &[],
            )
            .await
            .unwrap()
            .get(0);
        most = most.max(connections);
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    assert!((1..=4).contains(&most), "{most} connections");
    for read in reads {
        assert_eq!(read.await.unwrap().unwrap_err().kind(), ErrorKind::Transient);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_cannot_write_and_a_timeout_can_be_set() {
    let postgres = Postgres::start();
    // What the role or the database would have otherwise.
    postgres.psql(
        "CREATE TABLE t (id bigint PRIMARY KEY);
         DO $$ BEGIN
           EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = serializable', current_database());
         END $$",
    );
    let source = postgres_source(&postgres, &[("answer_timeout", "7s")]);
    let t = view("t", "t", ViewKind::Document, Vec::new());
    source.answer(&Read::Get { view: t.clone(), keys: vec![Key(vec![Value::Int(1)])] }).await.unwrap();
    let pid = postgres.psql("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'headwater answers'");
    assert!(!pid.trim().is_empty());
    let error = source
        .answer(&Read::Get { view: view("x", "missing", ViewKind::Document, Vec::new()), keys: Vec::new() })
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    let same = postgres.psql("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'headwater answers'");
    assert_eq!(pid, same, "a refused read does not cost a connection");
}
