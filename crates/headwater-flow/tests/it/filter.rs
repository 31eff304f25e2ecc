//! Filters against SQLite's own evaluation: random expressions over random rows give the same answer, both as written
//! and as written back.

#![allow(clippy::unwrap_used)]

use headwater_model::filter::{Filter, Verdict};
use headwater_model::{Column, ColumnType, Row, Table, TableName, Value};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rusqlite::{Connection, params_from_iter};

const COLUMNS: [(&str, &str); 5] =
    [("i", "INTEGER"), ("r", "REAL"), ("t", "TEXT"), ("Odd name", "TEXT"), ("b", "INTEGER")];

#[test]
fn filters_answer_as_sqlite_does() {
    let table = Table {
        id: 1,
        version: 0,
        name: TableName::new(None, "t"),
        columns: COLUMNS
            .iter()
            .map(|(n, _)| Column { name: (*n).into(), kind: ColumnType::Dynamic })
            .collect(),
        key: vec![0],
    };
    let db = Connection::open_in_memory().unwrap();
    let columns: Vec<String> = COLUMNS.iter().map(|(n, kind)| format!("\"{n}\" {kind}")).collect();
    db.execute_batch(&format!("CREATE TABLE t ({})", columns.join(", "))).unwrap();
    for seed in 0..4000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let text = condition(&mut rng, 3);
        let filter = Filter::parse(&text).unwrap_or_else(|e| panic!("seed {seed}: {text}: {e}"));
        let bound = filter.bind(&table).unwrap_or_else(|e| panic!("seed {seed}: {text}: {e}"));
        let row: Vec<Value> = COLUMNS.iter().map(|(_, kind)| cell(&mut rng, kind)).collect();
        db.execute("DELETE FROM t", []).unwrap();
        let cells = row.iter().map(|value| match value {
            Value::Int(n) => rusqlite::types::Value::Integer(*n),
            Value::Float(f) => rusqlite::types::Value::Real(*f),
            Value::Text(text) => rusqlite::types::Value::Text(text.to_string()),
            _ => rusqlite::types::Value::Null,
        });
        db.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?)", params_from_iter(cells)).unwrap();
        let count = |sql: &str| -> i64 {
            db.query_row(&format!("SELECT count(*) FROM t WHERE {sql}"), [], |row| row.get(0))
                .unwrap_or_else(|e| panic!("seed {seed}: {sql}: {e}"))
        };
        let accepted = i64::from(bound.accepts(&Row(row.clone())) == Verdict::Accepted);
        assert_eq!(count(&text), accepted, "seed {seed}: {text} for {row:?}");
        assert_eq!(count(&filter.to_sql()), accepted, "seed {seed}: {} for {row:?}", filter.to_sql());
        undecided_is_honest(&bound, &row, seed, &text, &mut rng);
    }
}

/// Whatever an unchanged cell turns out to be, a verdict given without it holds.
fn undecided_is_honest(
    bound: &headwater_model::filter::BoundFilter,
    row: &[Value],
    seed: u64,
    text: &str,
    rng: &mut StdRng,
) {
    let mut partial = row.to_vec();
    for value in &mut partial {
        if rng.random_bool(0.4) {
            *value = Value::Unchanged;
        }
    }
    let verdict = bound.accepts_values(&partial);
    if verdict != Verdict::Undecided {
        assert_eq!(verdict, bound.accepts_values(row), "seed {seed}: {text} for {partial:?}");
    }
}

fn cell(rng: &mut StdRng, kind: &str) -> Value {
    if rng.random_bool(0.25) {
        return Value::Null;
    }
    match kind {
        "INTEGER" => Value::Int(rng.random_range(-2..4)),
        "REAL" => Value::Float(f64::from(rng.random_range(-4..8)) / 2.0),
        _ => Value::text(*["", "a", "b", "B", "é", "2", "it's"].choose(rng).unwrap()),
    }
}

fn condition(rng: &mut StdRng, depth: usize) -> String {
    if depth == 0 || rng.random_bool(0.3) {
        return predicate(rng);
    }
    let inner = |rng: &mut StdRng| condition(rng, depth - 1);
    match rng.random_range(0..6) {
        0 => format!("{} AND {}", inner(rng), inner(rng)),
        1 => format!("{} or {}", inner(rng), inner(rng)),
        2 => format!("NOT {}", inner(rng)),
        3 => format!("(({}) AND ({}))", inner(rng), inner(rng)),
        4 => format!(
            "({}) IS {}",
            inner(rng),
            ["NULL", "NOT NULL", "TRUE", "NOT TRUE", "FALSE"].choose(rng).unwrap()
        ),
        _ => format!("({})", inner(rng)),
    }
}

fn predicate(rng: &mut StdRng) -> String {
    let comparison = *["=", "<>", "!=", "<", "<=", ">", ">="].choose(rng).unwrap();
    let not = *["", "NOT "].choose(rng).unwrap();
    let numbers = ["i", "r", "b", "1", "-1.5", "0", "2", "NULL"];
    let texts = ["t", "\"Odd name\"", "'a'", "'it''s'", "''", "'2'", "NULL"];
    let number = |rng: &mut StdRng| *numbers.choose(rng).unwrap();
    let text = |rng: &mut StdRng| *texts.choose(rng).unwrap();
    match rng.random_range(0..10) {
        0..3 => format!("{} {comparison} {}", number(rng), number(rng)),
        3..5 => format!("{} {comparison} {}", text(rng), text(rng)),
        5 => format!("{} {not}IN ({}, {}, 3)", number(rng), number(rng), number(rng)),
        6 => format!("{} {not}BETWEEN {} AND {}", text(rng), text(rng), text(rng)),
        7 => format!("{} IS {not}NULL", [number(rng), text(rng)].choose(rng).unwrap()),
        8 => ["b", "TRUE", "FALSE", "i IS NOT FALSE", "b IS TRUE"].choose(rng).unwrap().to_string(),
        // A text beside a number column, a number beside a text column.
        _ => ["i = '2'", "r < '1.5'", "t = 2", "t <> 7", "t IN (2, 'a')"].choose(rng).unwrap().to_string(),
    }
}
