#![allow(clippy::unwrap_used)]

use super::*;
use crate::{Column, ColumnType, ErrorKind, Row, Table, TableName, Value};

fn table(columns: &[(&str, ColumnType)]) -> Table {
    Table {
        id: 1,
        version: 0,
        name: TableName::new(None, "t"),
        columns: columns.iter().map(|(n, k)| Column { name: (*n).into(), kind: k.clone() }).collect(),
        key: vec![0],
    }
}

fn verdict(filter: &str, columns: &[(&str, ColumnType)], values: Vec<Value>) -> Verdict {
    Filter::parse(filter).unwrap().bind(&table(columns)).unwrap().accepts(&Row(values))
}

fn error(text: &str) -> (usize, String) {
    let error = Filter::parse(text).unwrap_err();
    (error.offset, error.message)
}

#[test]
fn null_takes_no_row() {
    let columns = [("a", ColumnType::Int), ("b", ColumnType::Text)];
    let with = |filter: &str| verdict(filter, &columns, vec![Value::Int(5), Value::Null]);
    assert_eq!(with("b = 'x'"), Verdict::Rejected);
    assert_eq!(with("NOT b = 'x'"), Verdict::Rejected);
    assert_eq!(with("b = 'x' OR a >= 5"), Verdict::Accepted);
    assert_eq!(with("a NOT IN (1, NULL)"), Verdict::Rejected);
    assert_eq!(with("a IN (5, NULL)"), Verdict::Accepted);
    assert_eq!(with("a not between 6 and 9 and b is null"), Verdict::Accepted);
    assert_eq!(with("(b = 'x') IS NOT TRUE"), Verdict::Accepted);
    assert_eq!(with("b = NULL"), Verdict::Rejected);
}

#[test]
fn unchanged_cells_leave_open_only_what_depends_on_them() {
    let columns = [("a", ColumnType::Int), ("b", ColumnType::Text)];
    let with = |filter: &str| verdict(filter, &columns, vec![Value::Int(5), Value::Unchanged]);
    assert_eq!(with("b = 'x'"), Verdict::Undecided);
    assert_eq!(with("b = 'x' AND a = 4"), Verdict::Rejected);
    assert_eq!(with("b = 'x' OR a = 5"), Verdict::Accepted);
    assert_eq!(with("b IS NULL AND a = 5"), Verdict::Undecided);
    assert_eq!(with("(b = 'x') IS NULL"), Verdict::Undecided);
}

#[test]
fn literals_take_the_kind_of_their_column() {
    let columns = [
        ("at", ColumnType::TimestampTz),
        ("day", ColumnType::Date),
        ("on", ColumnType::Bool),
        ("price", ColumnType::Decimal),
    ];
    let row = || {
        vec![
            Value::TimestampTz(3_600_000_000),
            Value::Date(365),
            Value::Bool(true),
            Value::Decimal("1.50".into()),
        ]
    };
    for accepted in [
        "at >= '1970-01-01 02:00:00+01'",
        "day = DATE '1971-01-01' and \"on\"",
        "\"on\" = 'yes'",
        "price = 1.5 and price < '2'",
        "price between 1 and 15e-1",
        "DAY < '2000-01-01'",
    ] {
        assert_eq!(verdict(accepted, &columns, row()), Verdict::Accepted, "{accepted}");
    }
    for refused in [
        "day = 'soon'",
        "day = 5",
        "price = 'x'",
        "price = TRUE",
        "price",
        "day = at",
        "\"Day\" is null",
        "1 = 'x'",
    ] {
        let error = Filter::parse(refused).unwrap().bind(&table(&columns)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{refused}");
        assert!(error.remedy().is_some());
    }
}

#[test]
fn errors_point_at_the_place() {
    assert_eq!(error("a = "), (4, "expected a column or a value, found the end".into()));
    assert_eq!(error("a = 'x").0, 4);
    assert_eq!(error("a = 1 b").0, 6);
    assert_eq!(error("lower(a) = 'x'"), (0, "functions are not available in a filter: `lower(…)`".into()));
    assert_eq!(error("a LIKE 'x%'").0, 2);
    assert_eq!(error("(a = 1").0, 6);
    assert_eq!(error("a = 1)").0, 5);
    assert_eq!(error("a IN ()").0, 6);
    assert_eq!(error("a = 12x").0, 4);
    assert_eq!(error("a ; b").0, 2);
    assert_eq!(error("").0, 0);
    assert_eq!(error("(a = 1) = 2").0, 0);
    assert!(error(&"(".repeat(5000)).1.contains("too deep"));
    assert!(error(&"not ".repeat(5000)).1.contains("too deep"));
}

#[test]
fn names_are_exact_before_they_are_forgiving() {
    let filter = Filter::parse("Id = 1 and \"id\" = 2 and Id = 3").unwrap();
    let names: Vec<_> = filter.columns().iter().map(|c| (&*c.name, c.quoted, c.offset)).collect();
    assert_eq!(names, [("Id", false, 0), ("id", true, 11)]);
    assert_eq!(filter.columns()[0].find(["id", "Id"]), Some(1));
    assert_eq!(filter.columns()[0].find(["x", "ID"]), Some(1));
    assert_eq!(filter.columns()[0].find(["iD", "ID"]), None);
    assert_eq!(filter.columns()[1].find(["Id"]), None);
}

#[test]
fn sql_reads_back_as_the_same_filter() {
    for text in [
        "a = 1 or b <> 'it''s' and not c",
        "\"x\"\"y\" in (1, -2.5, null)",
        "a between 1 and 2",
        "(a is true) is not false",
    ] {
        let sql = Filter::parse(text).unwrap().to_sql();
        assert_eq!(Filter::parse(&sql).unwrap().to_sql(), sql, "{text}");
    }
    assert_eq!(
        Filter::parse("a = 1 or not b is null").unwrap().to_sql(),
        r#"(("a" = 1) OR (NOT ("b" IS NULL)))"#
    );
}
