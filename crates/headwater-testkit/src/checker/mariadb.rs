//! What lies in the tables of a database of MariaDB, asked for in plain SQL. What the columns are is asked of the server; of a
//! moment, whether it has a zone is what the store's own table says.

use std::collections::BTreeMap;

use headwater_model::View;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};

use super::tables::rest;
use super::{Body, Found};

type Cells = Vec<Option<Vec<u8>>>;

/// A table per view, as one moment. A table that is not there has no documents.
pub async fn found(port: u16, database: &str, views: &[View]) -> Found {
    let options = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(port)
        .user(Some("root"))
        .db_name(Some(database))
        .prefer_socket(false);
    let mut connection = Conn::new(options).await.expect("connect to the store");
    connection
        .query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        .await
        .expect("begin to read from the store");
    let mut found = Found::new();
    for view in views {
        let documents = found.entry(view.name.to_string()).or_default();
        let columns = rows(
            &mut connection,
            &format!(
                "SELECT column_name, data_type FROM information_schema.columns \
                 WHERE table_schema = DATABASE() AND BINARY table_name = {} ORDER BY ordinal_position",
                literal(&view.name)
            ),
        )
        .await;
        if columns.is_empty() {
            continue;
        }
        let fields = format!("SELECT fields FROM headwater_view WHERE name = {}", literal(&view.name));
        let fields = rows(&mut connection, &fields).await;
        let fields: Vec<(String, String)> =
            fields.first().map_or(Vec::new(), |row| serde_json::from_str(&text(row, 0)).expect("pairs"));
        let zoned = |name: &str| fields.iter().any(|(field, kind)| field == name && kind == "timestamptz");
        let columns: Vec<(String, String)> = columns.iter().map(|row| (text(row, 0), text(row, 1))).collect();
        for row in rows(&mut connection, &format!("SELECT * FROM {}", quoted(&view.name))).await {
            let (mut key, mut document, mut aside) = (None, None, BTreeMap::new());
            let mut fields = BTreeMap::new();
            for (place, (name, kind)) in columns.iter().enumerate() {
                let Some(cell) = row[place].clone() else { continue };
                match name.as_str() {
                    "headwater_key" => key = Some(text(&row, place)),
                    "headwater_rest" => rest(&text(&row, place), &mut aside),
                    "document" => document = Some(cell),
                    place if place.starts_with("headwater_place_") => {}
                    _ => drop(fields.insert(name.clone(), printed(kind, cell, zoned(name)))),
                }
            }
            // What no column holds to the letter.
            fields.extend(aside);
            let body = document.map_or(Body::Fields(fields), Body::Json);
            documents.insert(key.expect("a key"), body);
        }
    }
    let _ = connection.disconnect().await;
    found
}

/// A value as JSON has it.
fn printed(kind: &str, cell: Vec<u8>, zoned: bool) -> Vec<u8> {
    match kind {
        "tinyint" => if cell == b"0" { "false" } else { "true" }.into(),
        "longblob" => {
            let hex: String = cell.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("\\x{hex}").into_bytes()
        }
        "datetime" => {
            let text = String::from_utf8_lossy(&cell).replacen(' ', "T", 1);
            let text = text.trim_end_matches('0').trim_end_matches('.');
            format!("{text}{}", if zoned { "+00:00" } else { "" }).into_bytes()
        }
        "time" => String::from_utf8_lossy(&cell).trim_end_matches('0').trim_end_matches('.').into(),
        _ => cell,
    }
}

async fn rows(connection: &mut Conn, sql: &str) -> Vec<Cells> {
    let rows: Vec<mysql_async::Row> =
        connection.query(sql).await.unwrap_or_else(|error| panic!("{error}\n{sql}"));
    let cell = |value: mysql_async::Value| match value {
        mysql_async::Value::Bytes(bytes) => Some(bytes),
        _ => None,
    };
    rows.into_iter().map(|row| row.unwrap().into_iter().map(cell).collect()).collect()
}

fn text(row: &Cells, place: usize) -> String {
    String::from_utf8_lossy(row[place].as_deref().unwrap_or_default()).into_owned()
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
