//! Documents of keys: what the checker expects, byte for byte what the data plane writes, at a moment that is new enough.

use std::collections::BTreeMap;

use headwater_model::Embed;
use headwater_testkit::Chance;
use headwater_testkit::checker::{self, Body, Found as Bodies};
use headwater_testkit::workload::Workload;
use serde_json::Value as Json;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn random_trees_are_the_documents_that_the_checker_expects() {
    let postgres = Database::postgres();
    let first = Chance::from_env(1).below(1 << 40);
    let mut compared = 0;
    for seed in first..first + 8 {
        // The same names with other columns: what was known of the tables no longer holds.
        postgres.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
        compared += trees(&postgres, seed).await;
        compared += trees(&Database::sqlite(), seed).await;
    }
    assert!(compared > 500, "too few documents: {compared}");
}

async fn trees(database: &Database, seed: u64) -> usize {
    let mut workload = Workload::new(seed, database.dialect());
    database.run(&workload.ddl()).await;
    let script: Vec<String> = (0..60).map(|_| workload.transaction().sql()).collect();
    database.run(&script.join("\n")).await;
    let views = workload.views(&["near"]);
    let mut tables: Vec<&str> = views.iter().map(|view| &*view.from.name).collect();
    tables.sort_unstable();
    tables.dedup();
    database.prepare(&tables).await;

    let expected = checker::expected(&database.truth(), &views).await;
    let mut found = Bodies::new();
    for view in &views {
        let view = Arc::new(view.clone());
        // Of the table's rows and of none: some are not in the view.
        let keys = match &view.kind {
            ViewKind::Ranking(ranking) => groups(database, &view, ranking).await,
            _ => (0..400).map(|key| Key(vec![Value::Int(key)])).collect(),
        };
        let documents = database.get(&view, keys.clone()).await;
        let mut bodies = BTreeMap::new();
        for (key, document) in keys.iter().zip(documents) {
            let Some(text) = document else { continue };
            assert_order(&view.embeds, &serde_json::from_str(&text).unwrap());
            bodies.insert(key.to_text(), Body::Json(text.into_bytes()));
        }
        found.insert(view.name.to_string(), bodies);
        if view.kind.is_document() && view.columns.is_none() && view.embeds.is_empty() {
            for (key, record) in database.documents(&view).await {
                let text = database.get(&view, vec![key]).await.remove(0).expect("the row is there");
                assert_eq!(text, record.to_json(), "byte for byte");
            }
        }
    }
    let report = checker::compare(&expected, &found);
    assert!(report.is_equal(), "seed {seed}: {report}");
    report.compared
}

/// The keys of all groups that a ranking can have.
async fn groups(database: &Database, view: &View, ranking: &headwater_model::Ranking) -> Vec<Key> {
    let mut plain = view.clone();
    plain.filter = None;
    let rows = database.documents(&plain).await;
    let names = || ranking.within.iter().chain(&ranking.by);
    let key = |row: &Record| Key(names().map(|name| row.get(name).unwrap().clone()).collect());
    let mut keys: Vec<Key> = rows.iter().map(|(_, row)| key(row)).collect();
    keys.sort_by_key(Key::to_text);
    keys.dedup_by_key(|key| key.to_text());
    keys
}

/// Embedded rows come last, in the order of the file.
fn assert_order(embeds: &[Embed], document: &Json) {
    let names: Vec<&String> = document.as_object().unwrap().keys().collect();
    let wanted: Vec<&str> = embeds.iter().map(|embed| &*embed.field).collect();
    assert_eq!(names[names.len() - wanted.len()..], wanted);
    for embed in embeds {
        match &document[&*embed.field] {
            Json::Array(rows) => rows.iter().for_each(|row| assert_order(&embed.embeds, row)),
            Json::Null => {}
            row => assert_order(&embed.embeds, row),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_found_exactly_and_in_the_order_asked_for() {
    for database in Database::both() {
        database.run(
            "CREATE TABLE t (a varchar(10), b bigint, note text, PRIMARY KEY (a, b));
             INSERT INTO t VALUES ('ab', 1, 'x'), ('AB', 1, 'y'), ('', 2, NULL), ('a:b', 3, ''), ('日本', -4, 'z')",
        ).await;
        database.prepare(&["t"]).await;
        let t = view("t", "t", ViewKind::Document, Vec::new());
        let key = |a: &str, b: i64| Key(vec![Value::text(a), Value::Int(b)]);
        let keys = vec![
            key("AB", 1),
            key("ab", 1),
            key("ab ", 1),
            key("aB", 1),
            key("ab", 1),
            key("日本", -4),
            key("a:b", 3),
            key("", 2),
            key("\0", 2),
            Key(vec![Value::Null, Value::Int(1)]),
            // Of another kind.
            Key(vec![Value::text("ab"), Value::text("x")]),
            Key(vec![Value::Int(5), Value::Int(1)]),
        ];
        let note = |text: Option<&String>| {
            text.map(|text| serde_json::from_str::<Json>(text).unwrap()["note"].to_string())
        };
        let notes: Vec<Option<String>> =
            database.get(&t, keys).await.iter().map(|d| note(d.as_ref())).collect();
        let expected = ["\"y\"", "\"x\"", "", "", "\"x\"", "\"z\"", "\"\"", "null", "", "", "", ""];
        let expected: Vec<Option<String>> =
            expected.iter().map(|text| (!text.is_empty()).then(|| (*text).to_owned())).collect();
        assert_eq!(notes, expected);

        let short = Read::Get { view: t.clone(), keys: vec![Key(vec![Value::text("ab")])] };
        assert!(database.source.answer(&short).await.is_err());
        let many = Read::Get { view: t.clone(), keys: (0..1000).map(|n| key("ab", n)).collect() };
        assert!(
            matches!(database.answer(&many).await.found, Found::Documents(d) if d.len() == 1000 && d[1].is_some())
        );
        let more = Read::Get { view: t.clone(), keys: (0..1001).map(|n| key("ab", n)).collect() };
        let error = database.source.answer(&more).await.unwrap_err();
        assert_eq!(error.kind(), headwater_model::ErrorKind::Unsupported);
        assert!(database.get(&t, Vec::new()).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_an_answer_shows_lies_behind_its_end() {
    let database = Database::postgres();
    database.run("CREATE TABLE t (id bigint PRIMARY KEY, n bigint); INSERT INTO t VALUES (1, 0)").await;
    let t = view("t", "t", ViewKind::Document, Vec::new());
    let read = Read::Get { view: t.clone(), keys: vec![Key(vec![Value::Int(1)])] };
    database.answer(&read).await;
    let Engine::Postgres(postgres) = &database.engine else { unreachable!() };
    let client = postgres.connect().await;
    // The answer's place in the log is read before it waits for the table, and the commit it then shows comes between.
    client.batch_execute("BEGIN; LOCK TABLE t; UPDATE t SET n = 1").await.unwrap();
    let (source, asked) = (database.source.clone(), read.clone());
    let answer = tokio::spawn(async move { source.answer(&asked).await });
    headwater_testkit::eventually(Duration::from_secs(20), "the answer waits for the table", async || {
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted";
        match client.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) {
            0 => Err("nothing waits"),
            _ => Ok(()),
        }
    })
    .await;
    client.batch_execute("COMMIT").await.unwrap();
    let (committed, _) = database.source.progress().await.unwrap();
    let answer = answer.await.unwrap().unwrap();
    let AnswerMoment::Now { all_to, none_past, .. } = &answer.at else { panic!("{answer:?}") };
    assert_eq!(answer.found, Found::Documents(vec![Some(StoredBody::Json(r#"{"id":1,"n":1}"#.into()))]));
    assert!(*all_to < committed, "the commit came later than {all_to:?}");
    assert!(*none_past >= committed, "{none_past:?} is before {committed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_shows_what_was_committed_before_the_call_and_says_so() {
    for database in Database::both() {
        database.run("CREATE TABLE t (id bigint PRIMARY KEY, n bigint); INSERT INTO t VALUES (1, 0)").await;
        database.prepare(&["t"]).await;
        let t = view("t", "t", ViewKind::Document, Vec::new());
        let read = Read::Get { view: t.clone(), keys: vec![Key(vec![Value::Int(1)])] };
        let mut last = 0;
        for n in 1..20 {
            database.run(&format!("UPDATE t SET n = {n}")).await;
            let (before, _) = database.source.progress().await.unwrap();
            let answer = database.answer(&read).await;
            let AnswerMoment::Now { all_to, none_past, .. } = &answer.at else { panic!("{answer:?}") };
            assert!(*all_to >= before, "{all_to:?} is comparable with {before:?} and not before it");
            assert!(none_past >= all_to, "{none_past:?} is not before {all_to:?}");
            let Found::Documents(documents) = &answer.found else { panic!("{answer:?}") };
            let expected = StoredBody::Json(format!("{{\"id\":1,\"n\":{n}}}").into());
            assert_eq!(documents[..], [Some(expected)]);
            assert!(sequence(&answer) > last);
            last = sequence(&answer);
        }
        // What the tables look like is asked anew when it changes.
        database.run("ALTER TABLE t ADD COLUMN more text DEFAULT 'm'").await;
        let documents = database.get(&t, vec![Key(vec![Value::Int(1)])]).await;
        assert_eq!(documents[0].as_deref(), Some(r#"{"id":1,"n":19,"more":"m"}"#));
        database.run("ALTER TABLE t RENAME COLUMN n TO number").await;
        let documents = database.get(&t, vec![Key(vec![Value::Int(1)])]).await;
        assert_eq!(documents[0].as_deref(), Some(r#"{"id":1,"number":19,"more":"m"}"#));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_take_the_rows_that_the_data_plane_takes() {
    use headwater_model::filter::{Filter, Verdict};
    for database in Database::both() {
        let (moods, mood) = match database.dialect() {
            Dialect::Postgres => ("CREATE TYPE mood AS ENUM ('low', 'high');", "mood"),
            _ => ("", "text"),
        };
        database.run(&format!(
            "{moods} CREATE TABLE t (id bigint PRIMARY KEY, \"Na\"\"me\" text, n bigint, r real, mood {mood});
             INSERT INTO t VALUES (1, 'a', 1, 0.1, 'low'), (2, 'B', NULL, 2.5, 'high'), (3, 'é', -3, NULL, NULL),
               (4, NULL, 9007199254740993, 0.30000001, 'high'), (5, '''; DROP TABLE t; --', 0, 0, 'low')"
        )).await;
        database.prepare(&["t"]).await;
        let all = view("t", "t", ViewKind::Document, Vec::new());
        let documents = database.documents(&all).await;
        let table = database.source.shapes(&[TableName::new(None, "t")]).await.unwrap().remove(0).table;
        for filter in [
            "n > 0",
            "NOT (n > 0)",
            "\"Na\"\"me\" >= 'a'",
            "\"Na\"\"me\" < 'a' OR \"Na\"\"me\" IS NULL",
            "\"Na\"\"me\" = '''; DROP TABLE t; --'",
            "\"Na\"\"me\" IN ('a', 'é', NULL)",
            "r = 0.1",
            "r BETWEEN 0.1 AND 0.3",
            "r > n",
            "mood > 'high'",
            "mood <> 'high'",
            "(n = 1) IS NOT TRUE",
            "n IS NOT NULL AND n <> -3",
            "n = 9007199254740993",
            "TRUE",
            "NULL",
            "1 < 2 AND 'b' > 'a' AND id >= 2",
            "3 <= id",
        ] {
            let bound = Filter::parse(filter).unwrap().bind(&table).unwrap();
            let mut filtered = (*all).clone();
            filtered.filter = Some(filter.into());
            let filtered = Arc::new(filtered);
            for (key, record) in &documents {
                let accepted = bound.accepts_values(&record.values) == Verdict::Accepted;
                let found = database.get(&filtered, vec![key.clone()]).await.remove(0);
                assert_eq!(found, accepted.then(|| record.to_json()), "{filter} of {key}");
            }
        }
    }
}
