//! Random rows of many kinds, for both engines.

use std::fmt::Write as _;

use headwater_testkit::Chance;

use super::*;

/// Columns that indexes may name, after the key's.
pub const COLUMNS: &[&str] =
    &["grp", "label", "price", "amount", "at", "day", "code", "raw", "flag", "small"];

/// Keys of several kinds: the type of each column, for PostgreSQL and for SQLite.
pub const KEYS: &[(&str, &str)] = &[
    ("k1 bigint", "k1 INTEGER"),
    ("k1 text, k2 numeric", "k1 TEXT COLLATE NOCASE, k2 NUMERIC"),
    ("k1 uuid, k2 bytea", "k1 TEXT, k2 BLOB"),
    ("k1 date, k2 varchar(4), k3 smallint", "k1 TEXT, k2 TEXT, k3 INT"),
];

/// Makes and fills `item{key}`; returns the table's name.
pub async fn table(database: &Database, key: usize, chance: &mut Chance, rows: u64) -> String {
    let postgres = database.dialect() == Dialect::Postgres;
    let (name, columns) = (format!("item{key}"), if postgres { KEYS[key].0 } else { KEYS[key].1 });
    let names: Vec<&str> = columns.split(", ").filter_map(|column| column.split(' ').next()).collect();
    let kinds: Vec<&str> = columns.split(", ").filter_map(|column| column.split(' ').nth(1)).collect();
    let rest = if postgres {
        "grp int, label text, price numeric, amount double precision, at timestamptz, day date, code char(3), \
         raw bytea, flag boolean, small real"
    } else {
        "grp INT, label TEXT, price NUMERIC, amount DOUBLE, at, day TEXT COLLATE NOCASE, code ANY, raw BLOB, \
         flag INTEGER, small REAL"
    };
    let not_null: Vec<String> = columns.split(", ").map(|column| format!("{column} NOT NULL")).collect();
    let key_of = names.join(", ");
    let mut sql = format!("CREATE TABLE {name} ({}, {rest}, PRIMARY KEY ({key_of}));\n", not_null.join(", "));
    for _ in 0..rows {
        let mut values: Vec<String> = kinds.iter().map(|kind| part(chance, kind, postgres)).collect();
        for column in COLUMNS {
            let value = cell(chance, column, postgres);
            values.push(if chance.one_in(5) { "NULL".into() } else { value });
        }
        let _ = writeln!(sql, "INSERT INTO {name} VALUES ({}) ON CONFLICT DO NOTHING;", values.join(", "));
    }
    database.run(&sql).await;
    name
}

const TEXTS: &[&str] =
    &["", "a", "A", "B", "b", "ä", "a:b", "it''s", "\"q\"\\", "日本", "😀", "Z", "a ", "5", "10"];

fn text(chance: &mut Chance) -> String {
    format!("'{}'", chance.pick(TEXTS))
}

fn bytes(chance: &mut Chance, postgres: bool) -> String {
    let digits: String = (0..chance.below(3)).map(|_| *chance.pick(&["00", "5c", "ff", "61"])).collect();
    if postgres { format!("'\\x{digits}'") } else { format!("x'{digits}'") }
}

fn decimal(chance: &mut Chance) -> String {
    (*chance.pick(&["0", "1", "1.5", "-1.5", "-2", "10", "9.99", "100.25", "-0.001", "1e3", "7"])).into()
}

fn part(chance: &mut Chance, kind: &str, postgres: bool) -> String {
    match kind {
        "bigint" | "INTEGER" => {
            chance.pick(&[i64::MAX, 0, -1]).saturating_sub(chance.below(400) as i64).to_string()
        }
        "smallint" | "INT" => (chance.below(9) as i64 - 4).to_string(),
        "numeric" | "NUMERIC" => decimal(chance),
        "uuid" => format!("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a{:02x}'", chance.below(200)),
        "bytea" | "BLOB" => bytes(chance, postgres),
        "date" => format!(
            "'{}'",
            chance.pick(&["2024-02-29", "0044-03-15 BC", "1969-12-31", "2024-03-01", "infinity"])
        ),
        "varchar(4)" => text(chance),
        _ => text(chance),
    }
}

fn cell(chance: &mut Chance, column: &str, postgres: bool) -> String {
    match column {
        "grp" => chance.below(3).to_string(),
        "label" => text(chance),
        "price" if postgres && chance.one_in(6) => {
            (*chance.pick(&["'NaN'", "'-Infinity'", "1.50", "10.00", "123456789012345678901234567890.5"]))
                .into()
        }
        "price" => decimal(chance),
        "amount" => (*chance.pick(&["0.1", "-2.5", "1e20", "1e-7", "3", "3.5", "123456.789"])).into(),
        "at" if postgres => (*chance.pick(&[
            "'2024-07-01 12:00:00.5+02'",
            "'2024-07-01 10:00:00.5Z'",
            "'-infinity'",
            "'1800-01-01Z'",
        ]))
        .into(),
        // Values of every class in one column.
        "at" | "code" if !postgres => match chance.below(4) {
            0 => chance.below(12).to_string(),
            1 => "2.5".into(),
            2 => bytes(chance, postgres),
            _ => text(chance),
        },
        "day" if postgres => (*chance.pick(&["'2024-02-29'", "'0044-03-15 BC'", "'1969-12-31'"])).into(),
        "code" => (*chance.pick(&["'ab'", "'abc'", "'AB'", "'é'", "''"])).into(),
        "raw" => bytes(chance, postgres),
        "flag" if postgres => (*chance.pick(&["true", "false"])).into(),
        "flag" => chance.below(2).to_string(),
        "small" => (*chance.pick(&["0.1", "0.3", "-1.25", "16777217"])).into(),
        _ => text(chance),
    }
}
