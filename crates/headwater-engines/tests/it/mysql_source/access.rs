//! Access patterns that the source answers, compared with what a chunk reads; and privileges.

use headwater_model::{
    Chunk, ErrorKind, Found, Index, Order, RangeRead, Read, Record, StoredBody, View, ViewKind,
};

use super::*;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_least_privileges_suffice_and_what_is_missing_is_said() {
    if MariaDb::is_left_out() {
        return;
    }
    let server = MariaDb::start();
    server.sql(
        "CREATE TABLE t (id INT PRIMARY KEY); CREATE TABLE keyless (a INT); CREATE TABLE old (id INT PRIMARY KEY) ENGINE = MyISAM; \
         CREATE TABLE odd (id INT PRIMARY KEY, u UUID); \
         CREATE USER low@'%' IDENTIFIED BY 'pw'; GRANT SELECT ON app.* TO low@'%'",
    );
    let source = open(&server.url_as("low", "pw"));
    let error = source.prepare(&[name("t")]).await.unwrap_err();
    assert_eq!(error.remedy(), Some("GRANT REPLICATION SLAVE ON *.* TO 'low'@'%'"), "{error}");
    server.sql("GRANT REPLICATION SLAVE ON *.* TO low@'%'");
    let error = open(&server.url_as("low", "pw")).prepare(&[name("t")]).await.unwrap_err();
    assert_eq!(error.remedy(), Some("GRANT BINLOG MONITOR ON *.* TO 'low'@'%'"), "{error}");
    server.sql("GRANT BINLOG MONITOR ON *.* TO low@'%'");
    let error = open(&server.url_as("low", "pw")).prepare(&[name("t")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    // The remedy is exact: what it says makes it work.
    server.sql(error.remedy().unwrap());
    let mut log = Log::of(open(&server.url_as("low", "pw")), &["t"], None).await;
    server.sql("INSERT INTO t VALUES (1)");
    assert_eq!(log.rows().await.len(), 1);
    assert_eq!(log.source.read_chunk(&range("t")).await.unwrap().rows.len(), 1);
    for (table, what) in
        [("keyless", "primary key"), ("old", "MyISAM"), ("odd", "uuid"), ("nowhere", "no table")]
    {
        let error = log.source.prepare(&[name(table)]).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Misconfigured && error.to_string().contains(what), "{error}");
    }
    let error = open(&server.url_as("low", "wrong")).inspect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(!error.to_string().contains("wrong"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_set_up_is_told_how() {
    if MariaDb::is_left_out() {
        return;
    }
    let server = MariaDb::builder()
        .arg("binlog-format", "MIXED")
        .arg("binlog-row-image", "MINIMAL")
        .arg("binlog-row-metadata", "NO_LOG")
        .arg("gtid-strict-mode", "OFF")
        .start();
    server.sql("CREATE TABLE t (id INT PRIMARY KEY, a INT, UNIQUE (a))");
    let source = open(&server.url());
    let facts = source.inspect().await.unwrap();
    assert!(facts.server.starts_with("MariaDB 1"), "{}", facts.server);
    let what: Vec<&str> = facts.risks.iter().map(|risk| &*risk.what).collect();
    assert_eq!(what.len(), 4, "{what:?}");
    assert!(source.prepare(&[name("t")]).await.unwrap_err().to_string().contains("binlog_format is MIXED"));
    for risk in &facts.risks {
        server.sql(risk.remedy.split([';', ',']).next().unwrap());
    }
    assert!(source.inspect().await.unwrap().risks.is_empty());
    Log::of(source, &["t"], None).await.drain().await;
}
