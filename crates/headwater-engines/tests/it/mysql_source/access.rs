//! Access patterns that the source answers, compared with what a chunk reads; and privileges.

use headwater_model::{
    Chunk, Edge, ErrorKind, Found, Hop, Index, Order, RangeRead, Read, Record, StoredBody, View, ViewKind,
    WalkRead,
};

use mysql_async::prelude::Queryable as _;

use super::*;

of_both!(
    the_least_privileges_suffice_and_what_is_missing_is_said,
    a_server_that_is_not_set_up_is_told_how,
    an_answer_that_takes_too_long_is_ended_by_the_server,
    the_sizes_of_tables_are_those_of_now,
);

fn view(table: &str, indexes: Vec<Index>) -> Arc<View> {
    Arc::new(View {
        name: table.into(),
        from: name(table),
        kind: ViewKind::Document,
        columns: None,
        filter: None,
        embeds: Vec::new(),
        stores: Vec::new(),
        parts: Vec::new(),
        layout: None,
        indexes,
    })
}

/// Every row of a chunk is found by its key, and every column sorts and compares as the model does.
pub(super) async fn assert_answers(source: &dyn Source, chunk: &Chunk) {
    let table = &chunk.table;
    let names: Arc<[Box<str>]> = table.columns.iter().map(|column| column.name.clone()).collect();
    let records: Vec<(Key, Record)> = chunk
        .rows
        .iter()
        .map(|row| (row.key(table), Record { names: names.clone(), values: row.0.clone() }))
        .collect();
    let by_key = view(&table.name.name, Vec::new());
    let keys: Vec<Key> = records.iter().map(|(key, _)| key.clone()).collect();
    let answer = source.answer(&Read::Get { view: by_key, keys }).await.unwrap();
    let Found::Documents(found) = answer.found else { panic!("no documents") };
    for ((_, record), found) in records.iter().zip(found) {
        assert_eq!(found, Some(StoredBody::Json(record.to_json().into())));
    }
    for (place, column) in table.columns.iter().enumerate().skip(1) {
        // The server sorts dates that are none before the others, and they are texts to stores.
        let zero = |row: &Row| {
            use headwater_model::ColumnType::{Date, Timestamp, TimestampTz};
            matches!(column.kind, Date | Timestamp | TimestampTz) && matches!(row.0[place], Value::Text(_))
        };
        if chunk.rows.iter().any(zero) {
            continue;
        }
        for descending in [false, true] {
            let order = vec![Order { column: column.name.clone(), descending }];
            let index = Index { by: Vec::new(), order };
            let mut expected: Vec<(Vec<u8>, String)> = records
                .iter()
                .filter_map(|(key, record)| Some((index.place(key, record)?.sort, key.to_text())))
                .collect();
            expected.sort();
            let view = view(&table.name.name, vec![index]);
            let mut read = RangeRead {
                view,
                index: 0,
                by: Vec::new(),
                from: None,
                to: None,
                after: None,
                reverse: false,
                limit: 2,
            };
            let mut found = Vec::new();
            loop {
                let answer = source.answer(&Read::Range(read.clone())).await;
                let answer = answer.unwrap_or_else(|e| panic!("{} {:?}: {e}", column.name, column.kind));
                let Found::Page { documents, next } = answer.found else { panic!("no page") };
                found.extend(documents.into_iter().map(|stored| stored.key));
                match next {
                    Some(next) => read.after = Some(next),
                    None => break,
                }
            }
            let expected: Vec<String> = expected.into_iter().map(|(_, key)| key).collect();
            assert_eq!(found, expected, "{} {:?} descending: {descending}", column.name, column.kind);
        }
    }
}

async fn the_least_privileges_suffice_and_what_is_missing_is_said(flavour: Flavour) {
    let server = flavour.start();
    server.sql(
        "CREATE TABLE t (id INT PRIMARY KEY); CREATE TABLE keyless (a INT); CREATE TABLE old (id INT PRIMARY KEY) ENGINE = MyISAM; \
         CREATE USER low@'%' IDENTIFIED BY 'pw'; GRANT SELECT ON app.* TO low@'%'",
    );
    let mut refused =
        vec![("keyless", "primary key"), ("old", "MyISAM"), ("gbk", "is in gbk"), ("nowhere", "no table")];
    server.sql("CREATE TABLE gbk (id INT PRIMARY KEY, a TEXT CHARACTER SET gbk)");
    if flavour == Flavour::MariaDb {
        server.sql("CREATE TABLE odd (id INT PRIMARY KEY, u UUID)");
        refused.push(("odd", "uuid"));
    }
    let monitor = match flavour {
        Flavour::MariaDb => "GRANT BINLOG MONITOR ON *.* TO 'low'@'%'",
        Flavour::MySql => "GRANT REPLICATION CLIENT ON *.* TO 'low'@'%'",
    };
    let source = open(&server.url_as("low", "pw"));
    let error = source.prepare(&[name("t")]).await.unwrap_err();
    assert_eq!(error.remedy(), Some("GRANT REPLICATION SLAVE ON *.* TO 'low'@'%'"), "{error}");
    server.sql("GRANT REPLICATION SLAVE ON *.* TO low@'%'");
    let error = open(&server.url_as("low", "pw")).prepare(&[name("t")]).await.unwrap_err();
    assert_eq!(error.remedy(), Some(monitor), "{error}");
    server.sql(monitor);
    let error = open(&server.url_as("low", "pw")).prepare(&[name("t")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    // The remedy is exact: what it says makes it work.
    server.sql(error.remedy().unwrap());
    let mut log = Log::of(open(&server.url_as("low", "pw")), &["t"], None).await;
    server.sql("INSERT INTO t VALUES (1)");
    assert_eq!(log.rows().await.len(), 1);
    assert_eq!(log.source.read_chunk(&range("t")).await.unwrap().rows.len(), 1);
    for (table, what) in refused {
        let error = log.source.prepare(&[name(table)]).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Misconfigured && error.to_string().contains(what), "{error}");
    }
    if flavour == Flavour::MySql {
        // It makes itself a certificate.
        server.sql("ALTER USER low@'%' REQUIRE SSL");
        let error = open(&server.url_as("low", "pw")).inspect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        open(&format!("{}?sslmode=require", server.url_as("low", "pw"))).inspect().await.unwrap();
    }
    let error = open(&server.url_as("low", "wrong")).inspect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(!error.to_string().contains("wrong"), "{error}");
}

async fn a_server_that_is_not_set_up_is_told_how(flavour: Flavour) {
    let server = flavour.builder().arg("binlog-format", "MIXED").arg("binlog-row-image", "MINIMAL");
    let server = match flavour {
        Flavour::MariaDb => server.arg("binlog-row-metadata", "NO_LOG").arg("gtid-strict-mode", "OFF"),
        Flavour::MySql => {
            server.arg("binlog-row-metadata", "MINIMAL").arg("binlog-row-value-options", "PARTIAL_JSON")
        }
    };
    let server = server.start();
    server.sql("CREATE TABLE t (id INT PRIMARY KEY, a INT, UNIQUE (a))");
    let source = open(&server.url());
    let facts = source.inspect().await.unwrap();
    assert!(facts.server.starts_with(&format!("{} ", flavour.name())), "{}", facts.server);
    let what: Vec<&str> = facts.risks.iter().map(|risk| &*risk.what).collect();
    assert_eq!(what.len(), 4, "{what:?}");
    assert!(source.prepare(&[name("t")]).await.unwrap_err().to_string().contains("binlog_format is MIXED"));
    for risk in &facts.risks {
        server.sql(risk.remedy.split([';', ',']).next().unwrap());
    }
    assert!(source.inspect().await.unwrap().risks.is_empty());
    Log::of(source, &["t"], None).await.drain().await;
}

/// It waits for a table that somebody has locked, and no longer than it may.
async fn an_answer_that_takes_too_long_is_ended_by_the_server(flavour: Flavour) {
    let server = flavour.start();
    server.sql("CREATE TABLE e (id INT PRIMARY KEY, s INT, t INT); INSERT INTO e VALUES (1, 1, 2)");
    let source = open_with(&server.url(), &[("answer_timeout", "300ms")]);
    let documents = view("e", Vec::new());
    let edge = Edge { source: "s".into(), label: "E".into(), target: "t".into() };
    let edges = Arc::new(View { kind: ViewKind::Edge(edge), ..(*documents).clone() });
    let hops = vec![Hop { views: vec![edges], against: false }];
    let reads = [
        Read::Get { view: documents, keys: vec![key(&[Value::Int(1)])] },
        Read::Walk(WalkRead { start: Value::Int(1), hops, limit: 10, edges_max: 10 }),
    ];
    let mut other = server.connect("app").await;
    for read in reads {
        source.answer(&read).await.unwrap();
        other.query_drop("LOCK TABLES e WRITE").await.unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(30), source.answer(&read)).await;
        let error = answer.expect("the server ends it").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
        assert!(error.remedy().is_some_and(|remedy| remedy.contains("answer_timeout")), "{error:?}");
        other.query_drop("UNLOCK TABLES").await.unwrap();
    }
}

async fn the_sizes_of_tables_are_those_of_now(flavour: Flavour) {
    let server = flavour.start();
    server.sql("CREATE TABLE t (id INT PRIMARY KEY) STATS_PERSISTENT = 0");
    let source = open(&server.url());
    let rows = async || {
        let facts = source.inspect().await.unwrap();
        facts.tables.into_iter().find(|table| table.name == name("t")).unwrap().rows_estimate
    };
    assert!(rows().await < 500);
    server.sql(&format!("INSERT INTO t SELECT seq FROM {}", numbers(1, 1000)));
    headwater_testkit::eventually(Duration::from_secs(20), "the rows are counted", async || {
        match rows().await {
            0..500 => Err("as before"),
            _ => Ok(()),
        }
    })
    .await;
}
