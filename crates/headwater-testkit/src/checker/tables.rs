//! What lies in the tables of a PostgreSQL schema, asked for in plain SQL. What the columns are is asked of the server.

use std::collections::BTreeMap;

use headwater_model::View;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage, SimpleQueryRow};

use super::sql::{literal, quote};
use super::{Body, Found};

/// A table per view, as one moment. A table that is not there has no documents.
pub async fn found(url: &str, schema: &str, views: &[View]) -> Found {
    loop {
        match read(url, schema, views).await {
            Ok(found) => return found,
            // Columns were added meanwhile, to one table that was read and to one that was to be: this reader had to give way.
            Err(error) if error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

async fn read(url: &str, schema: &str, views: &[View]) -> Result<Found, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    let connection = tokio::spawn(connection);
    rows(&client, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL timezone = 'UTC'").await?;
    let mut found = Found::new();
    for view in views {
        let documents = found.entry(view.name.to_string()).or_default();
        let table = format!("{}.{}", quote(schema), quote(&view.name));
        let columns = rows(
            &client,
            &format!(
                "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
                 WHERE attrelid = to_regclass({}) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
                literal(&table)
            ),
        )
        .await?;
        let columns: Vec<(String, String)> = columns
            .iter()
            .map(|row| (cell(row, 0).expect("a name"), cell(row, 1).expect("a type")))
            .collect();
        if columns.is_empty() {
            continue;
        }
        // Times as JSON has them; everything else as its type prints it.
        let texts: Vec<String> = (columns.iter())
            .map(|(name, kind)| match kind.starts_with("timestamp") {
                true => format!("to_json({}) #>> '{{}}'", quote(name)),
                false => format!("{}::text", quote(name)),
            })
            .collect();
        for row in rows(&client, &format!("SELECT {} FROM {table}", texts.join(", "))).await? {
            let mut key = None;
            let mut fields = BTreeMap::new();
            let mut document = None;
            for (place, (name, _)) in columns.iter().enumerate() {
                let Some(text) = cell(&row, place) else { continue };
                match name.as_str() {
                    "headwater_key" => key = Some(text),
                    "headwater_rest" => rest(&text, &mut fields),
                    "document" => document = Some(text),
                    place if place.starts_with("headwater_place_") => {}
                    _ => drop(fields.insert(name.clone(), text.into_bytes())),
                }
            }
            let body = match document {
                Some(text) => Body::Json(text.into_bytes()),
                None => Body::Fields(fields),
            };
            documents.insert(key.expect("a key"), body);
        }
    }
    drop(client);
    let _ = connection.await;
    Ok(found)
}

/// Values that no column holds: each is a pair of its type and itself.
pub(super) fn rest(text: &str, fields: &mut BTreeMap<String, Vec<u8>>) {
    let all: BTreeMap<String, (String, serde_json::Value)> =
        serde_json::from_str(text).expect("an object of pairs");
    for (name, (kind, value)) in all {
        let text = match value {
            serde_json::Value::String(text) if kind != "json" => text,
            other => other.to_string(),
        };
        fields.insert(name, text.into_bytes());
    }
}

fn cell(row: &SimpleQueryRow, place: usize) -> Option<String> {
    row.get(place).map(str::to_owned)
}

async fn rows(client: &Client, sql: &str) -> Result<Vec<SimpleQueryRow>, tokio_postgres::Error> {
    let messages = client.simple_query(sql).await?;
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    };
    Ok(messages.into_iter().filter_map(row).collect())
}
