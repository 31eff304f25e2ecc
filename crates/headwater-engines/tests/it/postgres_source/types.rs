//! Values: whatever the type, the log and a chunk give the same, and it is what `to_jsonb` gives.

use headwater_model::{Change, Found, Index, Order, RangeRead, Read, StoredBody, View, ViewKind};
use headwater_testkit::Postgres;

use super::*;

/// A column type and values of it, as SQL.
const COLUMNS: &[(&str, &[&str])] = &[
    ("boolean", &["true", "false"]),
    ("smallint", &["-32768", "32767"]),
    ("integer", &["-2147483648", "2147483647"]),
    ("bigint", &["-9223372036854775808", "9223372036854775807", "9007199254740993"]),
    ("oid", &["0", "4294967295"]),
    ("real", &["0.1", "'-Infinity'", "'NaN'", "1e-45", "3.4028235e38", "'-0'"]),
    (
        "double precision",
        &["0.1", "'Infinity'", "'NaN'", "5e-324", "1.7976931348623157e308", "1e20", "1.5e-7"],
    ),
    (
        "numeric",
        &[
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "0.10",
            "-0.000",
            "1e130",
            "123456789012345678901234567890.12",
        ],
    ),
    ("numeric(10, 3)", &["1.5", "-0.001"]),
    ("money", &["12.34"]),
    (
        "text",
        &[
            "''",
            "'NULL'",
            "'a\tb\\c\nd\re'",
            "E'\\b\\f\\v\\u0001'",
            "'ünïcødé 🦀'",
            "'\\N'",
            "repeat('x', 20000)",
        ],
    ),
    ("varchar(10)", &["'abc '"]),
    ("char(5)", &["'ab'"]),
    ("\"char\"", &["'x'"]),
    ("name", &["'a name'"]),
    ("bytea", &["''", "'\\x00ff5c0a09'"]),
    (
        "date",
        &[
            "'2024-02-29'",
            "'infinity'",
            "'-infinity'",
            "'0044-03-15 BC'",
            "'5874897-12-31'",
            "'4714-11-24 BC'",
        ],
    ),
    ("time", &["'00:00'", "'24:00'", "'12:34:56.789012'"]),
    ("timetz", &["'12:34:56.7+05:30'"]),
    (
        "timestamp",
        &[
            "'2024-02-29 12:00:00.000001'",
            "'infinity'",
            "'-infinity'",
            "'0001-01-01 00:00 BC'",
            "'294276-12-31 23:59:59.999999'",
        ],
    ),
    (
        "timestamptz",
        &[
            "'2024-07-01 12:00:00.5+02'",
            "'infinity'",
            "'-infinity'",
            "'4713-06-01 00:00+00 BC'",
            "'294276-12-31 23:59:59.999999+00'",
            "'1800-01-01'",
        ],
    ),
    ("interval", &["'1 year 2 mons -3 days 04:05:06.789'", "'0'"]),
    ("uuid", &["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"]),
    ("json", &["'{\"a\" : [1, 2.50, null], \"b\": \"x\\ty\"}'", "'null'", "'12345678901234567890.123'"]),
    ("jsonb", &["'{\"a\" : [1, 2.50, null], \"b\": \"\\u00e9\"}'", "'null'", "'\"text\"'"]),
    ("xml", &["'<a>b</a>'"]),
    ("inet", &["'192.168.0.1/24'", "'::1'"]),
    ("cidr", &["'10.0.0.0/8'"]),
    ("macaddr", &["'08:00:2b:01:02:03'"]),
    ("bit(4)", &["B'1010'"]),
    ("varbit", &["B'101'"]),
    ("point", &["'(1.5,-2)'"]),
    ("box", &["'(1,1),(0,0)'"]),
    ("circle", &["'<(1,2),3>'"]),
    ("tsvector", &["'a fat cat'"]),
    ("pg_lsn", &["'16/B374D848'"]),
    ("xid8", &["'42'"]),
    ("regclass", &["'pg_class'"]),
    ("int4range", &["'[1,5)'", "'empty'", "'(,)'"]),
    ("tstzrange", &["'[2024-01-01 00:00+00,2024-06-01 00:00+02)'"]),
    ("numrange", &["'(1.50,)'"]),
    ("int4multirange", &["'{[1,3),[5,8)}'"]),
    ("mood", &["'happy'", "'it''s \"so\" so'"]),
    ("positive", &["7"]),
    ("\"Ünique\".\"Odd domain\"", &["'a'"]),
    ("many_ints", &["'{1,2}'"]),
    (
        "bigint[]",
        &["'{}'", "'{1,NULL,-3}'", "'{{1,2},{3,NULL}}'", "'[2:3]={7,8}'", "'[0:1][1:2]={{1,2},{3,4}}'"],
    ),
    ("text[]", &[r#"'{"a,b","NULL",NULL,"","q\"\\x","{}"}'"#, "ARRAY[E'tab\\t', E'line\\n']"]),
    ("double precision[]", &["'{0.1,NaN,Infinity}'"]),
    ("numeric[]", &["'{0.10,NaN}'"]),
    ("boolean[]", &["'{t,f,NULL}'"]),
    ("bytea[]", &[r#"ARRAY['\x00ff'::bytea, '\x']"#]),
    ("date[]", &["'{2024-01-01,infinity,\"0044-03-15 BC\"}'"]),
    ("timestamptz[]", &["ARRAY['2024-01-01 00:00+00'::timestamptz, 'infinity']"]),
    ("timestamp[]", &["ARRAY['2024-01-01 00:00'::timestamp, '0001-01-01 BC']"]),
    ("jsonb[]", &["ARRAY['{\"a\": \"b,\\\"c\"}'::jsonb, 'null', NULL]"]),
    ("uuid[]", &["ARRAY['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid]"]),
    ("box[]", &["'{(1,1),(0,0);(2,2),(1,1)}'"]),
    ("mood[]", &["ARRAY['happy'::mood, NULL, 'it''s \"so\" so']"]),
    ("positive[]", &["'{1,2}'"]),
    ("many_ints[]", &["ARRAY['{1,2}'::many_ints]"]),
    ("int2vector", &["'1 2 3'"]),
    ("oidvector", &["'1 2'"]),
];

const TYPES: &str = r#"
    CREATE SCHEMA "Ünique";
    CREATE TYPE mood AS ENUM ('happy', 'it''s "so" so');
    CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
    CREATE DOMAIN "Ünique"."Odd domain" AS varchar(3);
    CREATE DOMAIN many_ints AS integer[];
"#;

#[tokio::test(flavor = "multi_thread")]
async fn every_type_reads_as_to_jsonb_from_the_log_and_from_a_chunk() {
    // Defaults of the server that must not matter.
    let postgres = Postgres::builder()
        .setting("timezone", "Asia/Kolkata")
        .setting("datestyle", "SQL, DMY")
        .setting("extra_float_digits", "0")
        .setting("intervalstyle", "iso_8601")
        .setting("bytea_output", "escape")
        .start();
    let columns: Vec<String> =
        COLUMNS.iter().enumerate().map(|(i, (kind, _))| format!("c{i} {kind}")).collect();
    postgres.psql(&format!("{TYPES} CREATE TABLE t (id integer PRIMARY KEY, {})", columns.join(", ")));
    let mut log = Log::new(&postgres, &["t"]).await;

    let rows = COLUMNS.iter().map(|(_, values)| values.len()).max().unwrap();
    for i in 0..=rows {
        // The last row is all NULL.
        let values: Vec<&str> =
            COLUMNS.iter().map(|(_, v)| if i == rows { "NULL" } else { v[i % v.len()] }).collect();
        postgres.psql(&format!("SET TimeZone = 'UTC'; INSERT INTO t VALUES ({i}, {})", values.join(", ")));
    }
    let expected = {
        let text = postgres.psql(
            "SET TimeZone = 'UTC'; SET intervalstyle = postgres; SET datestyle = 'ISO';
             SET extra_float_digits = 1; SET bytea_output = hex; SELECT to_jsonb(t) FROM t ORDER BY id",
        );
        text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap()).collect::<Vec<_>>()
    };

    let chunk = log.source.read_chunk(&range("t")).await.unwrap();
    let changes = log.changes().await;
    assert_eq!((chunk.rows.len(), changes.len(), expected.len()), (rows + 1, rows + 1, rows + 1));
    for (i, change) in changes.iter().enumerate() {
        let Change::Insert { table, row } = change else { panic!("an insert, not {change:?}") };
        assert_same(&json(table, row), &expected[i], &format!("log row {i}"));
        assert_same(&json(&chunk.table, &chunk.rows[i]), &expected[i], &format!("chunk row {i}"));
        // NaN is not itself, so the values are compared as they print.
        assert_eq!(format!("{row:?}"), format!("{:?}", chunk.rows[i]));
        assert!(Arc::ptr_eq(table, &chunk.table), "log and chunk name one shape alike");
    }
    let shapes = log.source.shapes(&[name("t")]).await.unwrap();
    assert_eq!(shapes[0].table, chunk.table);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_any_type_continue_a_chunk_where_it_ended() {
    let postgres = Postgres::start();
    postgres.psql(TYPES);
    let mut number = 0;
    for (kind, values) in COLUMNS {
        let sortable = !["json", "xml", "point", "box", "circle", "box[]", "many_ints[]"].contains(kind);
        if !sortable {
            continue;
        }
        number += 1;
        let table = format!("k{number}");
        postgres.psql(&format!("CREATE TABLE {table} (k {kind}, n serial, PRIMARY KEY (k, n))"));
        for value in *values {
            // Too long for an index; and arrays with bounds of their own, which a key cannot tell apart.
            if value.starts_with("repeat") || value.starts_with("'[") && value.contains('=') {
                continue;
            }
            postgres.psql(&format!("INSERT INTO {table} (k) VALUES ({value}), ({value})"));
        }
        let source = open(&postgres.url());
        let whole = source.read_chunk(&range(&table)).await.unwrap();
        assert!(whole.last);
        let mut pieces = Vec::new();
        let mut piece = ChunkRange { limit: 1, ..range(&table) };
        loop {
            let chunk = source.read_chunk(&piece).await.unwrap_or_else(|e| panic!("{kind}: {e}"));
            piece.after = chunk.rows.last().map(|row| row.key(&chunk.table)).or(piece.after);
            pieces.extend(chunk.rows);
            if chunk.last {
                break;
            }
            assert!(pieces.len() <= whole.rows.len(), "{kind}: {pieces:?}");
        }
        assert_eq!(format!("{pieces:?}"), format!("{:?}", whole.rows), "{kind}");
        let keys: Vec<Key> = whole.rows.iter().map(|row| row.key(&whole.table)).collect();
        let chosen = source.read_chunk(&ChunkRange { keys, ..range(&table) }).await.unwrap();
        assert_eq!(format!("{:?}", chosen.rows), format!("{:?}", whole.rows), "{kind}");
    }
}

/// A document view of all of a table's columns, in the order of one of them.
fn view_of(table: &str, order: &str, descending: bool) -> Arc<View> {
    let order = vec![Order { column: order.into(), descending }];
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
        indexes: vec![Index { by: Vec::new(), order }],
    })
}

async fn range_of(
    source: &Arc<dyn Source>,
    read: &RangeRead,
) -> Option<(Vec<(String, String)>, Option<Vec<u8>>)> {
    let Found::Page { documents, next } = source.answer(&Read::Range(read.clone())).await.ok()?.found else {
        panic!("a page")
    };
    let json = |body| match body {
        StoredBody::Json(text) => text.to_string(),
        StoredBody::Fields(_) => panic!("JSON"),
    };
    Some((documents.into_iter().map(|stored| (stored.key, json(stored.body))).collect(), next))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_answered_as_a_chunk_reads_it_and_in_the_order_of_its_values() {
    let postgres = Postgres::builder()
        .setting("timezone", "Asia/Kolkata")
        .setting("datestyle", "SQL, DMY")
        .setting("extra_float_digits", "0")
        .setting("bytea_output", "escape")
        .start();
    let columns: Vec<String> =
        COLUMNS.iter().enumerate().map(|(i, (kind, _))| format!("c{i} {kind}")).collect();
    postgres.psql(&format!("{TYPES} CREATE TABLE t (id integer PRIMARY KEY, {})", columns.join(", ")));
    let rows = COLUMNS.iter().map(|(_, values)| values.len()).max().unwrap();
    for i in 0..=rows + 2 {
        // The last rows are all NULL. Timestamps too late to be counted are text to the model, and sort as such; arrays of
        // several dimensions are lists of lists to the model, and one list to the server.
        let value = |v: &&'static [&'static str]| match v[i % v.len()] {
            value if i > rows || value.starts_with("'294276") || value.contains("{{") => "NULL",
            value => value,
        };
        let values: Vec<&str> = COLUMNS.iter().map(|(_, v)| value(v)).collect();
        postgres.psql(&format!("SET TimeZone = 'UTC'; INSERT INTO t VALUES ({i}, {})", values.join(", ")));
    }
    let source = open(&postgres.url());
    let chunk = source.read_chunk(&range("t")).await.unwrap();
    let rows: Vec<(Key, Record)> =
        chunk.rows.iter().map(|row| (row.key(&chunk.table), record(&chunk.table, row))).collect();
    for (i, (kind, _)) in COLUMNS.iter().enumerate() {
        let view = view_of("t", &format!("c{i}"), i % 2 == 0);
        let index = &view.indexes[0];
        let mut expected: Vec<_> =
            rows.iter().map(|(key, record)| (index.place(key, record).unwrap(), key, record)).collect();
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        let mut read = RangeRead {
            view: view.clone(),
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
            let Some((page, next)) = range_of(&source, &read).await else {
                // The server has no order for these.
                assert!(["box[]", "many_ints[]"].contains(kind), "{kind}");
                break;
            };
            found.extend(page);
            let Some(next) = next else {
                let expected: Vec<(String, String)> =
                    expected.iter().map(|(_, key, record)| (key.to_text(), record.to_json())).collect();
                assert_eq!(found, expected, "{kind}");
                break;
            };
            assert_eq!(next, expected[found.len() - 1].0.sort, "{kind}");
            read.after = Some(next);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_any_type_are_found_exactly() {
    let postgres = Postgres::start();
    postgres.psql(TYPES);
    for (number, (kind, values)) in COLUMNS.iter().enumerate() {
        if ["json", "xml", "point", "box", "circle", "box[]", "many_ints[]"].contains(kind) {
            continue;
        }
        let table = format!("k{number}");
        postgres.psql(&format!("CREATE TABLE {table} (k {kind}, n serial, PRIMARY KEY (k, n))"));
        for value in *values {
            // Too long for an index; and arrays with bounds of their own, which a key cannot tell apart.
            if value.starts_with("repeat") || value.starts_with("'[") && value.contains('=') {
                continue;
            }
            postgres.psql(&format!("INSERT INTO {table} (k) VALUES ({value}), ({value})"));
        }
        let source = open(&postgres.url());
        let chunk = source.read_chunk(&range(&table)).await.unwrap();
        let view = view_of(&table, "k", false);
        let keys: Vec<Key> = chunk.rows.iter().map(|row| row.key(&chunk.table)).collect();
        let get = async |keys: Vec<Key>| {
            let read = Read::Get { view: view.clone(), keys };
            match source.answer(&read).await.unwrap_or_else(|e| panic!("{kind}: {e}")).found {
                Found::Documents(documents) => documents,
                other => panic!("{other:?}"),
            }
        };
        let json = |row| Some(StoredBody::Json(record(&chunk.table, row).to_json().into()));
        let expected: Vec<_> = chunk.rows.iter().map(json).collect();
        assert_eq!(get(keys.clone()).await, expected, "{kind}");
        let other = |key: &Key| Key(vec![key.0[0].clone(), Value::Int(-1)]);
        assert!(get(keys.iter().map(other).collect()).await.iter().all(Option::is_none), "{kind}");
        // What is no value of the type is the key of no row.
        let strange = Key(vec![Value::text("\'no such value"), keys[0].0[1].clone()]);
        assert_eq!(get(vec![strange]).await, [None], "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_array_key_with_bounds_of_its_own_is_refused_and_never_read_forever() {
    let postgres = Postgres::start();
    postgres.psql("CREATE TABLE t (k bigint[] PRIMARY KEY); INSERT INTO t VALUES ('[2:3]={7,8}'), ('{9}')");
    let source = open(&postgres.url());
    let first = source.read_chunk(&ChunkRange { limit: 1, ..range("t") }).await.unwrap();
    let after = Some(first.rows[0].key(&first.table));
    let error = source.read_chunk(&ChunkRange { limit: 1, after, ..range("t") }).await.unwrap_err();
    assert_eq!(error.kind(), headwater_model::ErrorKind::Unsupported);
}
