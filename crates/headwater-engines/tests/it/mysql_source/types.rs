//! Every type, from the log and from a chunk.

use headwater_model::ColumnType;

use super::*;

of_both!(
    every_type_reads_the_same_from_the_log_from_a_chunk_and_as_an_answer,
    dates_that_are_none_become_what_the_file_says,
);

/// Column type, and literals of values.
const TYPES: &[(&str, &[&str])] = &[
    ("TINYINT", &["-128", "127", "0"]),
    ("TINYINT UNSIGNED", &["255"]),
    ("BOOLEAN", &["TRUE", "FALSE"]),
    ("SMALLINT", &["-32768", "32767"]),
    ("SMALLINT UNSIGNED ZEROFILL", &["65535"]),
    ("MEDIUMINT", &["-8388608", "8388607"]),
    ("MEDIUMINT UNSIGNED", &["16777215"]),
    ("INT", &["-2147483648", "2147483647"]),
    ("YEAR", &["2024", "1901", "2155", "0"]),
    ("INT UNSIGNED", &["4294967295"]),
    ("BIGINT", &["-9223372036854775808", "9223372036854775807"]),
    ("BIGINT UNSIGNED", &["18446744073709551615", "7"]),
    (
        "DECIMAL(65,30)",
        &[
            "12345678901234567890123456789012345.123456789012345678901234567890",
            "-0.000000000000000000000000000001",
        ],
    ),
    ("DECIMAL(10,2)", &["1.5", "-99999999.99", "0"]),
    ("DECIMAL(9,0)", &["-999999999", "1"]),
    ("FLOAT", &["0.1", "-3.4e38", "16777217", "1e-30"]),
    ("DOUBLE", &["0.1", "1.7976931348623157e308", "-5e-324", "3"]),
    ("FLOAT(7,3)", &["1.5"]),
    ("BIT(1)", &["1", "0"]),
    ("BIT(10)", &["513"]),
    ("BIT(64)", &["18446744073709551615"]),
    ("CHAR(5)", &["'a'", "'é€😀'", "''"]),
    ("VARCHAR(300)", &["'it''s \\\\ \"q\"\\n'", "' pad '", "''"]),
    ("VARCHAR(20) CHARACTER SET latin1", &["'é€ñ'"]),
    ("VARCHAR(20) CHARACTER SET latin2", &["'řž'"]),
    ("VARCHAR(20) CHARACTER SET cp1251", &["'Привет'"]),
    ("VARCHAR(20) CHARACTER SET utf8mb3", &["'é€'"]),
    ("VARCHAR(20) CHARACTER SET utf16", &["'é😀'"]),
    ("VARCHAR(20) CHARACTER SET utf32", &["'é😀'"]),
    ("VARCHAR(20) CHARACTER SET ucs2", &["'é€'"]),
    ("VARCHAR(20) CHARACTER SET utf16le", &["'é😀'"]),
    ("CHAR(20) CHARACTER SET latin1", &["'é '"]),
    ("TINYTEXT", &["'x'"]),
    ("TEXT", &["REPEAT('é', 5000)"]),
    ("MEDIUMTEXT CHARACTER SET latin1", &["'é'"]),
    ("LONGTEXT", &["'long'"]),
    ("JSON", &["'{\"a\": [1, 2.50, \"é\", null]}'", "'null'", "'\"text\"'"]),
    ("BINARY(4)", &["X'00FF'", "X'0102'"]),
    ("VARBINARY(300)", &["X'00FF0A00'", "''"]),
    ("BLOB", &["X'000102'"]),
    ("LONGBLOB", &["X'FF'"]),
    ("POINT", &["POINT(1, 2)"]),
    ("GEOMETRY", &["ST_GeomFromText('LINESTRING(0 0, 1 1)')"]),
    ("ENUM('a', 'é', 'it''s')", &["'a'", "'é'", "'it''s'"]),
    ("ENUM('x', 'ñ') CHARACTER SET latin1", &["'ñ'"]),
    ("SET('a', 'b', 'c')", &["'a,c'", "''", "'b'"]),
    ("DATE", &["'2024-02-29'", "'0000-00-00'", "'9999-12-31'", "'1000-01-01'", "'2024-00-10'"]),
    ("DATETIME", &["'2024-02-29 23:59:59'", "'0000-00-00 00:00:00'"]),
    ("DATETIME(3)", &["'2024-02-29 23:59:59.125'", "'0001-01-01 00:00:00'"]),
    ("DATETIME(6)", &["'9999-12-31 23:59:59.999999'"]),
    ("TIMESTAMP NULL", &["'2024-02-29 12:00:00'", "'1970-01-01 00:00:01'", "0"]),
    ("TIMESTAMP(5) NULL", &["'2024-02-29 12:00:00.12345'"]),
    ("TIME", &["'-838:59:59'", "'12:34:56'", "'838:59:59'"]),
    ("TIME(1)", &["'00:00:00.5'", "'-00:00:00.5'"]),
    ("TIME(6)", &["'-01:02:03.000004'"]),
];

/// What MySQL has beyond these, and JSON as it writes it into its log: by the size of the document, and by what SQL put into it.
const OF_MYSQL: &[(&str, &[&str])] = &[
    (
        "JSON",
        &[
            "'{\"b\": -1, \"aa\": 18446744073709551615, \"c\": 1e30, \"d\": -0.5, \"e\": 70000, \"f\": -3000000000}'",
            "'[[], {}, \"\", true, false, null, [[1]], 1.0, 100000000000000000000, 1e15, -2.5e15, 1.5e-16]'",
            "JSON_OBJECT('d', DATE '2024-02-29', 't', TIME '-12:34:56.5', 'm', TIMESTAMP '2024-02-29 12:34:56.125')",
            "JSON_ARRAY(CAST(1.50 AS DECIMAL(10, 2)), CAST('x' AS BINARY), b'101', POINT(1, 2), 1 = 1)",
            "JSON_OBJECT('long', REPEAT('é', 40000), 'short', 'é\\u0001\\n\"\\\\')",
        ],
    ),
    ("VARCHAR(20) COLLATE utf8mb4_0900_as_cs", &["'aé'", "'AE'"]),
    ("CHAR(5) COLLATE utf8mb4_0900_ai_ci", &["'a'", "'A'", "''"]),
];

/// What MySQL has from 9.0 on.
const OF_MYSQL_9: &[(&str, &[&str])] = &[("VECTOR(3)", &["STRING_TO_VECTOR('[1, -2.5, 3e10]')"])];

type Types = Vec<(&'static str, &'static [&'static str])>;

fn types(server: &MariaDb) -> Types {
    let (own, newer) = match server.flavour() {
        Flavour::MariaDb => (&[][..], &[][..]),
        Flavour::MySql if server.version() < (9, 0) => (OF_MYSQL, &[][..]),
        Flavour::MySql => (OF_MYSQL, OF_MYSQL_9),
    };
    TYPES.iter().chain(own).chain(newer).copied().collect()
}

fn table(types: &Types) -> (String, Vec<String>) {
    let columns: Vec<String> =
        types.iter().enumerate().map(|(i, (kind, _))| format!("c{i} {kind}")).collect();
    let most = types.iter().map(|(_, values)| values.len()).max().unwrap();
    let mut inserts = Vec::new();
    for row in 0..=most {
        let value = |values: &&[&str]| values.get(row).map_or("NULL".to_owned(), |value| (*value).to_owned());
        let values: Vec<String> = types.iter().map(|(_, values)| value(values)).collect();
        inserts.push(format!("INSERT INTO types VALUES ({row}, {})", values.join(", ")));
    }
    (format!("CREATE TABLE types (id INT PRIMARY KEY, {})", columns.join(", ")), inserts)
}

async fn every_type_reads_the_same_from_the_log_from_a_chunk_and_as_an_answer(flavour: Flavour) {
    // Dates that are none are let in by default.
    let server = flavour.builder().arg("sql-mode", "").start();
    let types = types(&server);
    let (table, inserts) = table(&types);
    server.sql(&format!("SET time_zone = '+00:00'; {table}"));
    let mut log = Log::new(&server, &["types"]).await;
    server.sql(&format!("SET time_zone = '+00:00'; {}", inserts.join("; ")));
    let logged = log.rows().await;
    let chunk = log.source.read_chunk(&range("types")).await.unwrap();
    assert!(chunk.last && logged.len() == inserts.len());
    for (logged, read) in logged.iter().zip(&chunk.rows) {
        for (place, (a, b)) in logged.0.iter().zip(&read.0).enumerate() {
            assert_eq!(a, b, "{:?} {:?}", place.checked_sub(1).map(|i| types[i]), logged.0[0]);
        }
    }
    // Spot checks: what the server prints, read by hand.
    let value = |kind: &str, row: usize| {
        let place = TYPES.iter().position(|(name, _)| *name == kind).unwrap();
        (chunk.table.columns[place + 1].kind.clone(), chunk.rows[row].0[place + 1].clone())
    };
    let text = |text: &str| Value::text(text);
    assert_eq!(value("BIGINT UNSIGNED", 0), (ColumnType::Int, Value::Decimal("18446744073709551615".into())));
    assert_eq!(value("BIGINT UNSIGNED", 1).1, Value::Int(7));
    assert_eq!(value("DECIMAL(10,2)", 0), (ColumnType::Decimal, Value::Decimal("1.50".into())));
    assert_eq!(value("FLOAT", 0), (ColumnType::Float, Value::Float(0.1)));
    assert_eq!(value("FLOAT", 2).1, Value::Float(16_777_216.0));
    assert_eq!(value("BIT(10)", 0).1, Value::Int(513));
    assert_eq!(value("VARCHAR(20) CHARACTER SET latin1", 0).1, text("é€ñ"));
    assert_eq!(value("VARCHAR(20) CHARACTER SET cp1251", 0).1, text("Привет"));
    assert_eq!(value("CHAR(20) CHARACTER SET latin1", 0).1, text("é"));
    assert_eq!(value("JSON", 0).0, ColumnType::Json);
    assert_eq!(value("JSON", 1).1, Value::Json("null".into()));
    assert_eq!(value("BINARY(4)", 0).1, Value::Bytes([0, 255, 0, 0].into()));
    assert_eq!(value("ENUM('a', 'é', 'it''s')", 1).1, text("é"));
    assert_eq!(value("SET('a', 'b', 'c')", 0).1, text("a,c"));
    assert_eq!(value("DATE", 1), (ColumnType::Date, text("0000-00-00")));
    assert_eq!(value("DATE", 0).1.to_text(), "2024-02-29");
    assert_eq!(value("DATETIME(3)", 0).1.to_text(), "2024-02-29T23:59:59.125");
    assert_eq!(value("TIMESTAMP NULL", 0).1.to_text(), "2024-02-29T12:00:00+00:00");
    assert_eq!(value("TIME", 0), (ColumnType::Text, text("-838:59:59")));
    assert_eq!(value("TIME(1)", 1).1, text("-00:00:00.5"));
    super::access::assert_answers(&*log.source, &chunk).await;
}

async fn dates_that_are_none_become_what_the_file_says(flavour: Flavour) {
    let server = flavour.builder().arg("sql-mode", "").start();
    server.sql("CREATE TABLE t (id INT PRIMARY KEY, d DATE)");
    for (policy, expected) in [("text", "0000-00-00"), ("null", "NULL")] {
        let mut log = Log::of(open_with(&server.url(), &[("zero_dates", policy)]), &["t"], None).await;
        server.sql("INSERT INTO t VALUES (1, 0)");
        assert_eq!(values(&log.rows().await[0])[1], expected);
        let chunk = log.source.read_chunk(&range("t")).await.unwrap();
        assert_eq!(values(&chunk.rows[0])[1], expected);
        server.sql("DELETE FROM t");
        drop(log);
    }
    let source = open_with(&server.url(), &[("zero_dates", "refuse")]);
    source.prepare(&[name("t")]).await.unwrap();
    let follow = headwater_testkit::eventually(Duration::from_secs(30), "the lock is free", async || {
        source.follow(None).await
    })
    .await;
    let mut log = Log { source, follow, marks: 0, waiting: VecDeque::new(), last: None };
    server.sql(
        "INSERT INTO t VALUES (1, 0), (2, '2024-01-01'); UPDATE t SET d = '2024-01-02' WHERE id = 1; \
         UPDATE t SET d = 0 WHERE id = 2; DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (3, 0)",
    );
    let told: Vec<String> = log
        .drain()
        .await
        .into_iter()
        .filter_map(|event| match event {
            Event::Refused(refused) => Some(format!("{} x{}", refused.key.to_text(), refused.rows)),
            Event::Change(Change::Insert { row, .. }) => Some(format!("+{}", values(&row).join(","))),
            Event::Change(Change::Delete { key, .. }) => Some(format!("-{}", key.to_text())),
            Event::Change(other) => panic!("{other:?}"),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["1 x1", "+2,2024-01-01", "1 x0", "+1,2024-01-02", "2 x1", "-2", "2 x0", "3 x1"]);
    let chunk = log.source.read_chunk(&range("t")).await.unwrap();
    assert_eq!((chunk.rows.len(), chunk.refused.len()), (1, 1));
    assert_eq!((chunk.refused[0].key.to_text(), chunk.refused[0].rows), ("3".into(), 1));
    assert_eq!(chunk.upto, Some(key(&[Value::Int(3)])));
}
