//! What the source does not hand on: rows that have no name a store could keep them under. They are on record, with the
//! reason, until they are mended or gone; all others flow.
//!
//! Owns the record in the state file. What it says of a key replaces what was said before, so a transaction that comes by
//! twice changes nothing, and an entry goes by itself when the source says that there are no such rows any more.

use std::sync::Arc;

use headwater_model::{Refused, Result, Table, TableName, Value};
use rusqlite::{OptionalExtension, Transaction, params};

use crate::state::{QUARANTINE_MAX, State, broken};

pub(crate) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS left_out (
    id INTEGER PRIMARY KEY, schema_name TEXT NOT NULL, table_name TEXT NOT NULL, key BLOB NOT NULL, rows INTEGER NOT NULL,
    shown TEXT NOT NULL, reason TEXT NOT NULL, at_offset INTEGER NOT NULL, UNIQUE (schema_name, table_name, key));
";

/// Something to be put on record.
#[derive(Debug)]
pub(crate) enum LeftOut {
    Rows(Refused),
    /// The tables were emptied.
    Emptied(Vec<Arc<Table>>),
}

fn names(table: &TableName) -> (&str, &str) {
    (table.schema.as_deref().unwrap_or(""), &table.name)
}

impl State {
    /// Records what was left out, in order. How many rows are left out now.
    pub fn leave_out(&self, notes: &[LeftOut], offset: headwater_model::Offset) -> Result<u64> {
        let mut connection = self.lock();
        let transaction = connection.transaction().map_err(broken)?;
        for note in notes {
            match note {
                LeftOut::Rows(refused) => record(&transaction, refused, offset.0)?,
                LeftOut::Emptied(tables) => {
                    for table in tables {
                        forget(&transaction, &table.name)?;
                    }
                }
            }
        }
        transaction.commit().map_err(broken)?;
        drop(connection);
        self.left_out()
    }

    /// How many rows are left out.
    pub fn left_out(&self) -> Result<u64> {
        let sum: i64 = self
            .lock()
            .query_row("SELECT coalesce(sum(rows), 0) FROM left_out", [], |row| row.get(0))
            .map_err(broken)?;
        Ok(sum.unsigned_abs())
    }

    /// Forgets what was left out of every table but these.
    pub fn keep_left_out(&self, kept: &[TableName]) -> Result<()> {
        let mut connection = self.lock();
        let transaction = connection.transaction().map_err(broken)?;
        let known: Vec<(String, String)> = transaction
            .prepare("SELECT DISTINCT schema_name, table_name FROM left_out")
            .and_then(|mut select| select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
            .map_err(broken)?;
        for (schema, name) in known {
            let table = TableName::new(Some(&*schema).filter(|schema| !schema.is_empty()), &name);
            if !kept.contains(&table) {
                forget(&transaction, &table)?;
            }
        }
        transaction.commit().map_err(broken)
    }
}

fn forget(transaction: &Transaction<'_>, table: &TableName) -> Result<()> {
    let delete = "DELETE FROM left_out WHERE schema_name = ?1 AND table_name = ?2";
    transaction.execute(delete, names(table)).map_err(broken)?;
    Ok(())
}

fn record(transaction: &Transaction<'_>, refused: &Refused, offset: u64) -> Result<()> {
    let (schema, table) = names(&refused.table.name);
    let key = refused.key.to_bytes();
    if refused.rows == 0 {
        let delete = "DELETE FROM left_out WHERE schema_name = ?1 AND table_name = ?2 AND key = ?3";
        transaction.execute(delete, params![schema, table, key]).map_err(broken)?;
        return Ok(());
    }
    let others: i64 = transaction
        .query_row(
            "SELECT count(*) FROM left_out WHERE schema_name = ?1 AND table_name = ?2 AND key <> ?3",
            params![schema, table, key],
            |row| row.get(0),
        )
        .map_err(broken)?;
    let known = transaction
        .query_row(
            "SELECT 1 FROM left_out WHERE schema_name = ?1 AND table_name = ?2 AND key = ?3",
            params![schema, table, key],
            |_| Ok(()),
        )
        .optional()
        .map_err(broken)?;
    let put = "INSERT INTO left_out (schema_name, table_name, key, rows, shown, reason, at_offset)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
               ON CONFLICT (schema_name, table_name, key)
               DO UPDATE SET rows = ?4, shown = ?5, reason = ?6, at_offset = ?7";
    let rows = i64::try_from(refused.rows).unwrap_or(i64::MAX);
    if known.is_none() && others.unsigned_abs() >= QUARANTINE_MAX {
        // An empty key is nobody's.
        let reason = "more keys of this table are left out than are listed";
        transaction
            .execute(put, params![schema, table, Vec::<u8>::new(), 1, "…", reason, offset as i64])
            .map_err(broken)?;
        return Ok(());
    }
    transaction
        .execute(put, params![schema, table, key, rows, shown(refused), &*refused.reason, offset as i64])
        .map_err(broken)?;
    Ok(())
}

/// The key as people write it, and where to find its rows.
fn shown(refused: &Refused) -> String {
    let part = |part: &Value| if part.is_null() { "NULL".to_owned() } else { part.to_text() };
    let key: Vec<String> = refused.key.0.iter().map(part).collect();
    match &*refused.place {
        "" => key.join(", "),
        place => format!("{} ({place})", key.join(", ")),
    }
}
