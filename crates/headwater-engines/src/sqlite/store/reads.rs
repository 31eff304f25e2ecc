//! Scans and counts of the store, each on a connection that is its own for as long.

use headwater_model::{Result, Stored, StoredBody};
use rusqlite::{Connection, OptionalExtension};

use crate::sqlite::connection::{failed, is_missing_table, quoted};

/// A page in key order, and the key to go on after.
pub(super) fn scan(
    connection: &Connection,
    view: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<Stored>, Option<String>)> {
    let read = || -> rusqlite::Result<Vec<Stored>> {
        let (table, limit) = (quoted(view), i64::try_from(limit).unwrap_or(i64::MAX));
        let lower = if after.is_some() { "WHERE key > ?2" } else { "WHERE ?2 IS NULL" };
        let sql = format!("SELECT key, document FROM {table} {lower} ORDER BY key LIMIT ?1");
        let mut statement = match connection.prepare_cached(&sql) {
            Err(error) if is_missing_table(&error) => return Ok(Vec::new()),
            statement => statement?,
        };
        let rows = statement.query_map((limit, after), |row| {
            Ok(Stored { key: row.get(0)?, body: StoredBody::Json(row.get(1)?) })
        })?;
        rows.collect()
    };
    let page = read().map_err(|e| failed(e, format!("scan the view \"{view}\"")))?;
    let next = if page.len() < limit { None } else { page.last().map(|stored| stored.key.clone()) };
    Ok((page, next))
}

/// A page of keys, and the key to go on after.
pub(super) fn keys(
    connection: &Connection,
    view: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<String>, Option<String>)> {
    let read = || -> rusqlite::Result<Vec<String>> {
        let (table, limit) = (quoted(view), i64::try_from(limit).unwrap_or(i64::MAX));
        let lower = if after.is_some() { "WHERE key > ?2" } else { "WHERE ?2 IS NULL" };
        let sql = format!("SELECT key FROM {table} {lower} ORDER BY key LIMIT ?1");
        let mut statement = match connection.prepare_cached(&sql) {
            Err(error) if is_missing_table(&error) => return Ok(Vec::new()),
            statement => statement?,
        };
        statement.query_map((limit, after), |row| row.get(0))?.collect()
    };
    let page = read().map_err(|e| failed(e, format!("read the keys of the view \"{view}\"")))?;
    let next = if page.len() < limit { None } else { page.last().cloned() };
    Ok((page, next))
}

pub(super) fn rows(connection: &Connection, view: &str) -> Result<u64> {
    let read = || -> rusqlite::Result<Option<i64>> {
        let mut statement =
            match connection.prepare_cached("SELECT \"rows\" FROM headwater_view WHERE name = ?1") {
                Err(error) if is_missing_table(&error) => return Ok(None),
                statement => statement?,
            };
        statement.query_row([view], |row| row.get(0)).optional()
    };
    let rows = read().map_err(|e| failed(e, format!("count the view \"{view}\"")))?;
    Ok(rows.map_or(0, |rows| rows.max(0) as u64))
}
