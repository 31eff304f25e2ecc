//! The indexes of a view: one table of places beside the view's own, `headwater_index_VIEW`, and in each document's row
//! the column `places`, which remembers its entries. A view without indexes has neither.

use headwater_model::{Error, IndexEntry, Listed, Result, View};
use rusqlite::{Connection, OptionalExtension};

use super::step::Text;
use crate::entries::{self, Entry};
use crate::sqlite::connection::{failed, is_missing_table, quoted};

/// Makes what a view with indexes needs, unless it is there.
pub(super) fn make(connection: &Connection, view: &View) -> Result<()> {
    if view.indexes.is_empty() {
        return Ok(());
    }
    let make = || -> rusqlite::Result<()> {
        // In place order, so that a range is read front to back; the key finds the document.
        connection.execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS {} (number INTEGER, place BLOB, key TEXT NOT NULL, \
             PRIMARY KEY (number, place)) WITHOUT ROWID",
            table(view)
        ))?;
        let remembers = connection
            .query_row("SELECT 1 FROM pragma_table_info(?1) WHERE name = 'places'", [&*view.name], |_| Ok(()))
            .optional()?;
        if remembers.is_none() {
            connection
                .execute_batch(&format!("ALTER TABLE {} ADD COLUMN places BLOB", quoted(&view.name)))?;
        }
        Ok(())
    };
    make().map_err(|e| failed(e, format!("make the indexes of the view \"{}\"", view.name)))
}

/// The name of a view's table of places, as SQL.
pub(super) fn table(view: &View) -> String {
    quoted(&format!("headwater_index_{}", view.name))
}

/// Empties the indexes that the view has or ever had.
pub(super) fn clear(connection: &Connection, view: &View) -> rusqlite::Result<()> {
    match connection.execute(&format!("DELETE FROM {}", table(view)), []) {
        Err(error) if is_missing_table(&error) => Ok(()),
        cleared => cleared.map(|_| ()),
    }
}

/// A page of what lies in the indexes, in their order; rows that no entry of ours can be come with the first page.
pub(super) fn entries(
    connection: &Connection,
    view: &View,
    cursor: Option<&str>,
    limit: usize,
) -> Result<(Vec<Listed>, Option<String>)> {
    let (number, behind) = match cursor {
        Some(text) => entries::read_cursor(text).map(|(number, bytes)| (i64::from(number), bytes))?,
        None => (-1, Vec::new()),
    };
    let (table, limit_sql) = (table(view), i64::try_from(limit).unwrap_or(i64::MAX));
    let read = || -> rusqlite::Result<(Vec<Listed>, Option<String>)> {
        let mut listed = Vec::new();
        if cursor.is_none() {
            let foreign = format!(
                "SELECT CAST(number AS INTEGER), CAST(place AS BLOB) FROM {table} WHERE {FOREIGN} LIMIT ?1"
            );
            let mut statement = match connection.prepare_cached(&foreign) {
                Err(error) if is_missing_table(&error) => return Ok((listed, None)),
                statement => statement?,
            };
            let rows = statement.query_map([limit_sql], |row| {
                let (number, place): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
                Ok(Listed::Foreign([&number.to_be_bytes()[..], &place].concat().into()))
            })?;
            listed = rows.collect::<rusqlite::Result<_>>()?;
        }
        let sql = format!(
            "SELECT number, place, CAST(key AS TEXT) FROM {table} WHERE (number, place) > (?1, ?2) AND NOT ({FOREIGN}) \
             ORDER BY number, place LIMIT ?3"
        );
        let mut statement = match connection.prepare_cached(&sql) {
            Err(error) if is_missing_table(&error) => return Ok((listed, None)),
            statement => statement?,
        };
        let (mut rows, mut count, mut last) = (statement.query((number, behind, limit_sql))?, 0, None);
        while let Some(row) = rows.next()? {
            let (number, bytes): (u16, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let key = String::from_utf8_lossy(row.get_ref(2)?.as_bytes()?).into();
            count += 1;
            last = (count == limit).then(|| entries::cursor(number, &bytes));
            let place = entries::cut(view, number, &bytes);
            listed.push(Listed::Entry(IndexEntry { index: number, place, key }));
        }
        Ok((listed, last))
    };
    read().map_err(|e| failed(e, format!("read the indexes of the view \"{}\"", view.name)))
}

/// Rows that somebody else has written.
const FOREIGN: &str =
    "typeof(place) <> 'blob' OR typeof(number) <> 'integer' OR number NOT BETWEEN 0 AND 65535";

/// Takes rows out of the indexes, and nothing else.
pub(super) fn unplace(connection: &Connection, view: &View, strays: &[Listed]) -> Result<()> {
    let table = table(view);
    let unplace = || -> rusqlite::Result<()> {
        let mut entry = connection.prepare_cached(&format!(
            "DELETE FROM {table} WHERE number = ?1 AND place = ?2 AND CAST(key AS TEXT) = ?3"
        ))?;
        let mut foreign = connection.prepare_cached(&format!(
            "DELETE FROM {table} WHERE CAST(number AS INTEGER) = ?1 AND CAST(place AS BLOB) = ?2 AND ({FOREIGN})"
        ))?;
        for stray in strays {
            match stray {
                Listed::Entry(stray) => {
                    entry.execute((stray.index, &*Entry::from(stray).bytes, &*stray.key))?;
                }
                Listed::Foreign(bytes) => {
                    if let Some((number, place)) = bytes.split_first_chunk() {
                        foreign.execute((i64::from_be_bytes(*number), place))?;
                    }
                }
            }
        }
        Ok(())
    };
    unplace().map_err(|e| failed(e, format!("take entries out of the indexes of the view \"{}\"", view.name)))
}

/// The statements that keep a view's indexes.
pub(super) struct Places {
    select: String,
    insert: String,
    delete: String,
}

impl Places {
    /// `OutOfStep` if the view was never prepared with indexes.
    pub(super) fn of(connection: &Connection, view: &View) -> Result<Places> {
        let table = table(view);
        let select = format!("SELECT places FROM {} WHERE key = ?1", quoted(&view.name));
        let insert = format!("INSERT OR REPLACE INTO {table} VALUES (?1, ?2, ?3)");
        let delete = format!("DELETE FROM {table} WHERE number = ?1 AND place = ?2");
        let there = connection.prepare_cached(&delete).and_then(|_| connection.prepare_cached(&select));
        there.map_err(|e| {
            Error::out_of_step(format!("the store has no indexes for the view \"{}\"", view.name))
                .with_cause(e)
        })?;
        Ok(Places { select, insert, delete })
    }

    /// What the document of a key remembers.
    pub(super) fn stored(&self, connection: &Connection, key: &[u8]) -> Result<Vec<Entry>> {
        let packed: Option<Option<Vec<u8>>> = connection
            .prepare_cached(&self.select)
            .and_then(|mut statement| statement.query_row([Text(key)], |row| row.get(0)).optional())
            .map_err(|e| failed(e, "read the places of a document"))?;
        packed.flatten().map_or(Ok(Vec::new()), |packed| entries::unpack(&packed))
    }

    /// Goes from the old entries of a key to the new ones.
    pub(super) fn change(
        &self,
        connection: &Connection,
        key: &[u8],
        old: &[Entry],
        new: &[Entry],
    ) -> rusqlite::Result<()> {
        for entry in entries::without(old, new) {
            connection.prepare_cached(&self.delete)?.execute((entry.index, &*entry.bytes))?;
        }
        for entry in entries::without(new, old) {
            connection.prepare_cached(&self.insert)?.execute((entry.index, &*entry.bytes, Text(key)))?;
        }
        Ok(())
    }
}
