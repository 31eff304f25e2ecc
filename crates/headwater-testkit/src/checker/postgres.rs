//! The expected documents, made by PostgreSQL: `to_jsonb` for values, subqueries for embedded rows.

use std::sync::Arc;

use headwater_model::{Aggregate, TableName, View};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Error, NoTls};

use super::sql::{self, Column, Dialect, Shape, Shapes, literal, quote};
use super::{Document, Expected, Json, key};

/// One snapshot for all views, and every setting that could change how a value prints.
const BEGIN: &str = "
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL timezone = 'UTC';
SET LOCAL datestyle = 'ISO, YMD';
SET LOCAL intervalstyle = 'postgres';
SET LOCAL bytea_output = 'hex';
SET LOCAL extra_float_digits = 1;
SET LOCAL jit = off;
";

async fn begin(url: &str, views: &[View]) -> (Client, Shapes, JoinHandle<Result<(), Error>>) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("connect to the source");
    let connection = tokio::spawn(connection);
    client.batch_execute(BEGIN).await.expect("begin a snapshot");
    let mut shapes = Shapes::new();
    for table in sql::tables(views) {
        let shape = shape(&client, &table).await;
        shapes.insert(table.to_string(), shape);
    }
    (client, shapes, connection)
}

/// What the column `d` of a statement holds, by its column `n`. `statement` is made of the dialect and the tables of `view`.
pub async fn query(
    url: &str,
    view: &View,
    statement: &(dyn Fn(&dyn Dialect, &Shapes) -> String + Sync),
) -> Vec<Json> {
    let (client, shapes, connection) = begin(url, std::slice::from_ref(view)).await;
    let statement = format!("SELECT d::text FROM ({}) AS s ORDER BY n", statement(&Postgres, &shapes));
    let rows = client.query(&statement, &[]).await.unwrap_or_else(|e| panic!("{e:?}\n{statement}"));
    drop(client);
    let _ = connection.await;
    rows.iter().map(|row| serde_json::from_str(row.get(0)).expect("jsonb is JSON")).collect()
}

pub async fn expected(url: &str, views: &[View]) -> Expected {
    let (client, shapes, connection) = begin(url, views).await;
    let mut expected = Expected::new();
    for view in views {
        let shape = sql::shape(&shapes, &view.from);
        let is_json = |name: &str| shape.columns.iter().any(|c| c.name == name && c.json);
        let (columns, json): (Vec<_>, Vec<_>) =
            sql::own_fields(shape, view).into_iter().filter(|(column, _)| is_json(column)).unzip();
        let json: Arc<[String]> = json.into();
        let nulls: Vec<String> = columns
            .iter()
            .zip(json.iter())
            .map(|(column, field)| {
                let column = format!("to_jsonb(a0.{})", quote(column));
                format!("CASE WHEN {column} = 'null' THEN {} END", literal(field))
            })
            .collect();
        let nulls = format!(", array_remove(ARRAY[{}]::text[], NULL)", nulls.join(", "));
        let statement = sql::statement(&Postgres, &shapes, view, &nulls);
        let statement = format!("SELECT k::text, d::text, n FROM ({statement}) AS s (k, d, n)");
        let rows = client.query(&statement, &[]).await.unwrap_or_else(|e| panic!("{e:?}\n{statement}"));
        let documents = rows
            .iter()
            .map(|row| {
                let fields = serde_json::from_str(row.get(1)).expect("jsonb is JSON");
                let key = key::parts(row.get(0));
                (key::text(row.get(0)), Document { key, fields, json: json.clone(), json_nulls: row.get(2) })
            })
            .collect();
        expected.insert(view.name.to_string(), documents);
    }
    drop(client);
    let _ = connection.await;
    expected
}

async fn shape(client: &Client, table: &TableName) -> Shape {
    let name = sql::table(table);
    // Stored generated columns are not in the log (up to PostgreSQL 17), so a view cannot have them.
    let columns = client
        .query(
            "SELECT a.attname::text, coalesce(b.typname, t.typname)::text, t.typcategory::text, a.attcollation <> 0
             FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type b ON b.oid = t.typbasetype
             WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
             ORDER BY a.attnum",
            &[&name],
        )
        .await
        .unwrap_or_else(|error| panic!("look at {name}: {error:?}"))
        .iter()
        .map(|row| {
            let (kind, category): (String, String) = (row.get(1), row.get(2));
            Column { name: row.get(0), json: matches!(&*kind, "json" | "jsonb"), order: order(&kind, &category, row.get(3)) }
        })
        .collect();
    let key = client
        .query(
            "SELECT a.attname::text
             FROM pg_class c
             JOIN pg_index i ON i.indrelid = c.oid
              AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END
             CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k (attnum, n)
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
             WHERE c.oid = $1::text::regclass AND k.n <= i.indnkeyatts
             ORDER BY k.n",
            &[&name],
        )
        .await
        .unwrap_or_else(|error| panic!("look at the key of {name}: {error:?}"))
        .iter()
        .map(|row| row.get(0))
        .collect();
    Shape { columns, key }
}

/// Text sorts by bytes, and so does everything that a document shows as text and nothing else.
fn order(kind: &str, category: &str, collatable: bool) -> &'static str {
    match (kind, category) {
        _ if collatable => "{} COLLATE \"C\"",
        (_, "N" | "B" | "A") | ("date" | "time" | "timestamp" | "timestamptz" | "bytea", _) => "{}",
        _ => "{}::text COLLATE \"C\"",
    }
}

struct Postgres;

impl Dialect for Postgres {
    fn value(&self, column: &str) -> String {
        format!("to_jsonb({column})")
    }

    fn object(&self, fields: &[(String, String)]) -> String {
        // A function takes 100 arguments.
        let parts: Vec<String> = fields
            .chunks(40)
            .map(|fields| {
                let pairs: Vec<_> =
                    fields.iter().map(|(name, json)| format!("{}, {json}", literal(name))).collect();
                format!("jsonb_build_object({})", pairs.join(", "))
            })
            .collect();
        if parts.is_empty() { "'{}'::jsonb".into() } else { format!("({})", parts.join(" || ")) }
    }

    fn array(&self, values: &[String]) -> String {
        format!("jsonb_build_array({})", values.join(", "))
    }

    fn score(&self, function: Aggregate, column: Option<&str>, order: &str) -> String {
        let Some(column) = column else { return "to_jsonb(count(*))".into() };
        match function {
            Aggregate::Count => format!("to_jsonb(count({column}))"),
            Aggregate::Sum => format!("to_jsonb(sum({column}))"),
            Aggregate::Min => format!("to_jsonb(min({}))", order.replace("{}", column)),
            Aggregate::Max => format!("to_jsonb(max({}))", order.replace("{}", column)),
        }
    }

    fn one(&self, select: &str) -> String {
        format!("({select})")
    }

    fn list(&self, rows: &str) -> String {
        format!("coalesce((SELECT jsonb_agg(x.o ORDER BY x.n) FROM ({rows}) AS x), '[]'::jsonb)")
    }
}
