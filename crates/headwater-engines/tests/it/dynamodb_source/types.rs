//! What items become.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ScalarAttributeType};
use headwater_model::{Change, ColumnType, Event, Value};

use super::*;

const COLUMNS: &[(&str, &str)] = &[
    ("s", "text"),
    ("num", "number"),
    ("whole", "integer"),
    ("flag", "boolean"),
    ("bytes", "bytes"),
    ("list", "json"),
    ("map", "json"),
    ("words", "json"),
    ("numbers", "json"),
    ("blobs", "json"),
    ("gone", "text"),
];

fn blob(bytes: &[u8]) -> Blob {
    Blob::new(bytes.to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_reads_the_same_from_the_stream_from_a_scan_and_by_its_key() {
    let account = Account::new();
    let table = account.table("all", ScalarAttributeType::N, Some(ScalarAttributeType::B)).await;
    let source = account.source(&[("all", COLUMNS)]);
    let mut log = Log::of(source, &[&table], None).await;
    let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let deep = AttributeValue::M(Item::from([
        ("z".to_owned(), AttributeValue::L(vec![number("1E-3"), AttributeValue::Null(true)])),
        ("a".to_owned(), text("é\"\n")),
    ]));
    account
        .put(
            &table,
            &[
                ("id", number("1.50")),
                ("n", AttributeValue::B(blob(&[0, 255]))),
                ("s", text("\u{1f600} \\")),
                ("num", number("-0.00000000000000000000000000000000000012")),
                ("whole", number("9223372036854775807")),
                ("flag", AttributeValue::Bool(false)),
                ("bytes", AttributeValue::B(blob(&[1, 2]))),
                (
                    "list",
                    AttributeValue::L(vec![number("12345678901234567890123456789012345678"), text("x")]),
                ),
                ("map", deep),
                ("words", AttributeValue::Ss(texts(&["b", "a", "é"]))),
                ("numbers", AttributeValue::Ns(texts(&["10", "9", "-1.5"]))),
                ("blobs", AttributeValue::Bs(vec![blob(&[2]), blob(&[1, 1])])),
                ("gone", AttributeValue::Null(true)),
                ("undeclared", text("nobody asked")),
            ],
        )
        .await;
    account
        .put(&table, &[("id", number(-7)), ("n", AttributeValue::B(blob(&[9]))), ("num", number("9.9E+125"))])
        .await;
    let mut streamed: Vec<_> = log
        .changes()
        .await
        .into_iter()
        .map(|change| match change {
            Change::Insert { row, .. } => row,
            other => panic!("unexpected {other:?}"),
        })
        .collect();
    let chunk = log.source.read_chunk(&range(&table)).await.unwrap();
    assert!(chunk.last && chunk.refused.is_empty());
    let mut scanned = chunk.rows.clone();
    let order = |row: &headwater_model::Row| row.0[0].to_text();
    streamed.sort_by_key(order);
    scanned.sort_by_key(order);
    assert_eq!(streamed, scanned);
    let keys: Vec<_> = scanned.iter().map(|row| row.key(&chunk.table)).collect();
    let mut got = log.source.read_chunk(&ChunkRange { keys, ..range(&table) }).await.unwrap().rows;
    got.sort_by_key(order);
    assert_eq!(got, scanned);

    let columns: Vec<_> = chunk.table.columns.iter().map(|c| (&*c.name, c.kind.clone())).collect();
    assert_eq!(
        columns[..3],
        [("id", ColumnType::Decimal), ("n", ColumnType::Bytes), ("blobs", ColumnType::Json)]
    );
    let of = |row: usize, column: &str| {
        let place = chunk.table.column(column).unwrap();
        scanned[row].0[place].clone()
    };
    assert_eq!(of(0, "id"), Value::Decimal("-7".into()));
    assert_eq!(of(0, "num").to_text(), format!("99{}", "0".repeat(124)));
    assert_eq!(of(0, "flag"), Value::Null);
    for (column, expected) in [
        ("id", "1.5"),
        ("n", "\\x00ff"),
        ("s", "\u{1f600} \\"),
        ("num", "-0.00000000000000000000000000000000000012"),
        ("whole", "9223372036854775807"),
        ("flag", "false"),
        ("bytes", "\\x0102"),
        ("list", r#"[12345678901234567890123456789012345678,"x"]"#),
        ("map", r#"{"a":"é\"\n","z":[0.001,null]}"#),
        ("words", r#"["a","b","é"]"#),
        ("numbers", "[-1.5,9,10]"),
        ("blobs", r#"["\\x0101","\\x02"]"#),
    ] {
        assert_eq!(of(1, column).to_text(), expected, "{column}");
    }
    assert_eq!(of(1, "gone"), Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_of_another_type_is_left_out_and_said_until_it_is_mended() {
    let account = Account::new();
    let table = account.table("odd", ScalarAttributeType::S, None).await;
    let source = account.source(&[("odd", &[("total", "number")])]);
    let mut log = Log::of(source, &[&table], None).await;
    let id = |id: &str| key(&[Value::text(id)]);
    account.put(&table, &[("id", text("a")), ("total", text("1"))]).await;
    let events = log.drain().await;
    let [Event::Begin { .. }, Event::Refused(refused), Event::Commit { .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((&refused.key, refused.rows), (&id("a"), 1));
    assert_eq!(&*refused.reason, "its attribute \"total\" is S, and is declared as number");
    let chunk = log.source.read_chunk(&range(&table)).await.unwrap();
    assert_eq!((chunk.rows.len(), chunk.refused.len()), (0, 1));
    // What was left out is passed by, too.
    let behind = ChunkRange { after: chunk.upto, ..range(&table) };
    assert_eq!(log.source.read_chunk(&behind).await.unwrap().refused, []);

    account.put(&table, &[("id", text("a")), ("total", number(1))]).await;
    let events = log.drain().await;
    let [_, Event::Refused(mended), Event::Change(Change::Insert { row, .. }), _] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((&mended.key, mended.rows), (&id("a"), 0));
    assert_eq!(values(row), ["a", "1"]);

    account.put(&table, &[("id", text("a")), ("total", AttributeValue::Bool(true))]).await;
    let events = log.drain().await;
    let [_, Event::Refused(_), Event::Change(Change::Delete { key, .. }), _] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(*key, id("a"), "what was there before is not left there as if it were still true");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facts_tell_what_is_declared_and_what_a_sample_has() {
    let account = Account::new();
    let orders = account.table("orders", ScalarAttributeType::S, Some(ScalarAttributeType::N)).await;
    account.bare("plain", ScalarAttributeType::S, None).await;
    account
        .put(&orders, &[("id", text("a")), ("n", number(1)), ("total", number(1)), ("x", text("y"))])
        .await;
    account.put(&orders, &[("id", text("b")), ("n", number(1)), ("x", number(7))]).await;
    let mut section = account.section(&[]);
    section.settings.insert("create".into(), Setting::Bool(false));
    let facts = headwater_engines::source(&section).unwrap().inspect().await.unwrap();
    let table = facts.tables.iter().find(|table| *table.name.name == *orders).unwrap();
    let columns: Vec<_> = table.columns.iter().map(|c| (&*c.name, &*c.type_name, c.nullable)).collect();
    let expected =
        [("id", "text", false), ("n", "number", false), ("total", "number", true), ("x", "json", true)];
    assert_eq!(columns, expected);
    assert_eq!(facts.undeclared.len(), 2);
    assert!(facts.tables.iter().all(|table| table.obstacle.is_none()));
    assert_eq!(facts.risks.len(), 1, "{:?}", facts.risks);
    assert!(facts.risks[0].remedy.contains("StreamViewType=NEW_AND_OLD_IMAGES"));

    let mut section = account.section(&[("orders", &[("total", "number")]), ("plain", &[])]);
    section.settings.insert("create".into(), Setting::Bool(false));
    let facts = headwater_engines::source(&section).unwrap().inspect().await.unwrap();
    assert!(facts.undeclared.is_empty());
    assert!(facts.risks[0].remedy.contains("x = \"json\""), "{:?}", facts.risks);
    let plain = facts.tables.iter().find(|table| *table.name.name == *account.named("plain")).unwrap();
    assert!(plain.obstacle.as_ref().unwrap().remedy.contains("aws dynamodb update-table"));
}
