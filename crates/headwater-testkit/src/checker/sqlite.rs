//! The expected documents, made by SQLite: `json_object` and `json_group_array` over values that one function of ours
//! turns into JSON, because SQLite's own JSON rounds reals and refuses blobs.

use std::path::Path;

use headwater_model::{Aggregate, TableName, View};
use rusqlite::functions::{Aggregate as SqlAggregate, Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::sql::{self, Column, Dialect, Shape, Shapes, literal};
use super::{Document, Expected, Json, key, number};

/// One snapshot for all views.
fn begin(path: &Path, views: &[View]) -> (Connection, Shapes) {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("open the source");
    db.busy_timeout(std::time::Duration::from_secs(10)).expect("set the timeout");
    db.create_scalar_function("value_json", 1, FunctionFlags::SQLITE_UTF8, |context| {
        Ok(value_json(context.get_raw(0)))
    })
    .expect("add the function");
    db.create_aggregate_function("exact_sum", 1, FunctionFlags::SQLITE_UTF8, ExactSum)
        .expect("add the aggregate");
    db.execute_batch("BEGIN").expect("begin a snapshot");
    let shapes: Shapes =
        sql::tables(views).into_iter().map(|table| (table.to_string(), shape(&db, &table))).collect();
    (db, shapes)
}

/// What the column `d` of a statement holds, as JSON, by its column `n`. `statement` is made of the dialect and the tables of `view`.
pub fn query(path: &Path, view: &View, statement: &dyn Fn(&dyn Dialect, &Shapes) -> String) -> Vec<Json> {
    let (db, shapes) = begin(path, std::slice::from_ref(view));
    let statement = statement(&Sqlite, &shapes);
    let read = |db: &Connection| {
        let mut query = db.prepare(&format!("SELECT d FROM ({statement}) ORDER BY n"))?;
        let rows = query.query_map([], |row| row.get::<_, String>(0))?;
        rows.collect::<rusqlite::Result<Vec<String>>>()
    };
    let texts = read(&db).unwrap_or_else(|error| panic!("{error}\n{statement}"));
    texts.iter().map(|text| serde_json::from_str(text).expect("json_object gives JSON")).collect()
}

pub fn expected(path: &Path, views: &[View]) -> Expected {
    let (db, shapes) = begin(path, views);
    let mut expected = Expected::new();
    for view in views {
        let statement = sql::statement(&Sqlite, &shapes, view, "");
        let mut query = db.prepare(&statement).unwrap_or_else(|error| panic!("{error}\n{statement}"));
        let documents = query
            .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))
            .and_then(|rows| {
                rows.map(|row| {
                    let (parts, document) = row?;
                    let fields = serde_json::from_str(&document).expect("json_object gives JSON");
                    let document =
                        Document { key: key::parts(&parts), fields, json: [].into(), json_nulls: Vec::new() };
                    Ok((key::text(&parts), document))
                })
                .collect()
            })
            .unwrap_or_else(|error| panic!("{error}\n{statement}"));
        expected.insert(view.name.to_string(), documents);
    }
    expected
}

fn value_json(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "null".into(),
        ValueRef::Integer(n) => n.to_string(),
        ValueRef::Real(n) if n.is_infinite() => if n > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" }.into(),
        ValueRef::Real(n) => format!("{n:?}"),
        ValueRef::Text(text) => serde_json::Value::from(String::from_utf8_lossy(text)).to_string(),
        ValueRef::Blob(bytes) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("\"\\\\x{hex}\"")
        }
    }
}

/// SQLite's own sum overflows with integers and rounds reals. Reals count as the decimals that they print as.
struct ExactSum;

impl SqlAggregate<Option<i128>, String> for ExactSum {
    fn init(&self, _: &mut Context<'_>) -> rusqlite::Result<Option<i128>> {
        Ok(None)
    }

    fn step(&self, context: &mut Context<'_>, sum: &mut Option<i128>) -> rusqlite::Result<()> {
        let text = match context.get_raw(0) {
            ValueRef::Null => return Ok(()),
            ValueRef::Integer(n) => n.to_string(),
            ValueRef::Real(n) => n.to_string(),
            other => panic!("{other:?} is not summed here"),
        };
        *sum.get_or_insert(0) += number::trillionths(&text);
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, sum: Option<Option<i128>>) -> rusqlite::Result<String> {
        Ok(sum.flatten().map_or("null".into(), number::from_trillionths))
    }
}

fn shape(db: &Connection, table: &TableName) -> Shape {
    let mut columns = Vec::new();
    let mut key = Vec::new();
    db.prepare("SELECT name, pk FROM pragma_table_info(?1) ORDER BY cid")
        .and_then(|mut query| {
            let mut rows = query.query([&table.name])?;
            while let Some(row) = rows.next()? {
                let name: String = row.get(0)?;
                let place: i64 = row.get(1)?;
                if place > 0 {
                    key.push((place, name.clone()));
                }
                columns.push(Column { name, json: false, order: "{} COLLATE BINARY" });
            }
            Ok(())
        })
        .unwrap_or_else(|error| panic!("look at {table}: {error}"));
    key.sort();
    Shape { columns, key: key.into_iter().map(|(_, name)| name).collect() }
}

struct Sqlite;

impl Dialect for Sqlite {
    fn value(&self, column: &str) -> String {
        format!("json(value_json({column}))")
    }

    fn object(&self, fields: &[(String, String)]) -> String {
        let pairs: Vec<_> = fields.iter().map(|(name, json)| format!("{}, {json}", literal(name))).collect();
        format!("json_object({})", pairs.join(", "))
    }

    fn array(&self, values: &[String]) -> String {
        format!("json_array({})", values.join(", "))
    }

    fn score(&self, function: Aggregate, column: Option<&str>, order: &str) -> String {
        let Some(column) = column else { return "count(*)".into() };
        match function {
            Aggregate::Count => format!("count({column})"),
            Aggregate::Sum => format!("json(exact_sum({column}))"),
            Aggregate::Min => self.value(&format!("min({})", order.replace("{}", column))),
            Aggregate::Max => self.value(&format!("max({})", order.replace("{}", column))),
        }
    }

    fn one(&self, select: &str) -> String {
        format!("json(({select}))")
    }

    fn list(&self, rows: &str) -> String {
        format!("json((SELECT json_group_array(json(x.o) ORDER BY x.n) FROM ({rows}) AS x))")
    }
}
