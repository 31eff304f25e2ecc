//! Columns that are added while documents come.
//!
//! The server ends a transaction when a table is altered in it, and lets nobody alter a table that an open one has touched. So
//! a column is added from another session, before the step touches the table. A field that has its first value later in a step
//! lies in the rest of its rows until that step is committed: `headwater_view` remembers it as *late*, and the next step, which
//! begins at once, adds its column and moves the values there.
//!
//! Invariant: a column is a field's only once `fields` says so, in the transaction that first writes to it. One that was added
//! and is not in `fields` holds nothing.

use std::sync::Arc;

use headwater_model::{Error, Held, Result, json};

use super::column::{Column, Shape, aside};
use super::schema::Schema;
use super::sql::{bytes_of, packets, text_of};
use super::step::Step;
use crate::mysql::connection::{Connection, Pool, text};
use crate::sql::quoted;
use crate::sql::store::absent::Memory;
use crate::sql::store::rest;
use crate::sql::store::shape::{ColumnKind as _, KEY, REST};

/// What the comment of every column of ours is.
const COMMENT: &str = "headwater";

/// Rows whose rests are looked at by one statement.
const PAGE_ROWS: usize = 1000;

pub(super) type Added = Vec<(Box<str>, Column)>;

/// Adds columns to a table that no open transaction has touched, or makes one anew that was added for a step that was not committed.
pub(super) async fn add(side: &Pool, table: &str, name: &str, added: &Added) -> Result<()> {
    let mut lease = side.get().await?;
    let connection = &mut lease.connection;
    let rows = connection
        .rows(&format!(
            "SELECT COLUMN_NAME, COLUMN_COMMENT FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() \
             AND CAST(TABLE_NAME AS BINARY) = CAST({} AS BINARY)",
            text_of(name)
        ))
        .await?;
    let mut parts = Vec::with_capacity(added.len());
    for (field, column) in added {
        let there = rows.iter().find(|row| text(row, 0).to_lowercase() == field.to_lowercase());
        if there.is_some_and(|row| text(row, 1) != COMMENT) {
            return Err(Error::misconfigured(format!(
                "the table {table} has a column \"{field}\" that Headwater did not make, and a field of that name came"
            ))
            .with_remedy(format!("rename yours: ALTER TABLE {table} RENAME COLUMN …")));
        }
        let verb = if there.is_some() { "MODIFY" } else { "ADD" };
        parts.push(format!("{verb} COLUMN {} {} COMMENT '{COMMENT}'", quoted(field), column.sql()));
    }
    let altered = connection.run(&format!("ALTER TABLE {table} {}", parts.join(", "))).await;
    altered.map_err(|error| error.while_doing(format!("add columns to {table}")))?;
    lease.keep();
    Ok(())
}

/// Gives late fields their columns, at the beginning of a step: what lies in rests goes there.
pub(super) async fn settle(
    connection: &mut Connection,
    side: &Pool,
    table: &str,
    name: &str,
    shape: &mut Shape,
    late: Added,
    packet_max: usize,
) -> Result<()> {
    add(side, table, name, &late).await?;
    let mut after = Vec::new();
    loop {
        let rows = connection
            .rows(&format!(
                "SELECT {KEY}, {REST} FROM {table} WHERE {REST} IS NOT NULL AND {KEY} > {} ORDER BY {KEY} LIMIT {PAGE_ROWS}",
                bytes_of(&after)
            ))
            .await?;
        let mut updates = Vec::new();
        for row in &rows {
            let [Some(key), Some(stored)] = row.as_slice() else { continue };
            if let Some(set) = moved(stored, &late)? {
                updates
                    .push(format!("UPDATE {table} SET {set} WHERE {KEY} = {}", bytes_of(key)).into_bytes());
            }
        }
        for packet in packets(updates, packet_max) {
            connection.results(packet, super::schema::ROWS_BYTES_MAX).await?;
        }
        match rows.into_iter().next_back().and_then(|mut row| row.swap_remove(0)) {
            Some(key) => after = key,
            None => break,
        }
    }
    shape.fields.extend(late);
    Ok(())
}

/// What is set in a row with this rest; `None` if it has none of the fields.
fn moved(stored: &[u8], late: &Added) -> Result<Option<String>> {
    let (mut kept, mut set) = (Vec::new(), Vec::new());
    for field in json::fields(stored) {
        let field = field.map_err(|_| Error::corrupt("headwater_rest is not what Headwater writes there"))?;
        let (name, word, value) = rest::aside(&field)?;
        let column = late.iter().find(|(late, _)| **late == *name);
        let (cell, exact) = match (column, aside(&word, &value)) {
            (Some((_, column)), Some(value)) => column.cell(&value),
            _ => (None, false),
        };
        if let Some(cell) = cell {
            set.push(format!("{} = {}", quoted(&name), cell.literal()));
        }
        if !exact {
            rest::keep(&field, &mut kept);
        }
    }
    if set.is_empty() {
        return Ok(None);
    }
    let kept = rest::close(kept).map_or_else(|| "NULL".to_owned(), |rest| text_of(&rest));
    Ok(Some(format!("{}, {REST} = {kept}", set.join(", "))))
}

/// A step that does nothing but begin. If it cannot, the next one does what it would have done.
pub(super) async fn catch_up(
    connection: &mut Connection,
    side: &Pool,
    (schema, memory): (&Arc<Schema>, &Arc<Memory>),
    held: &Held,
) {
    let step = Step::open(connection, side, schema.clone(), memory.clone(), held.epoch, held.offset);
    if let Ok(step) = step.await {
        let _ = step.commit(connection, held).await;
    }
}
