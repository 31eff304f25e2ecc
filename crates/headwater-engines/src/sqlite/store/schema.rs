//! The tables of the embedded store: one per view, one for its indexes, and two of Headwater's own. All of them can be read by any SQLite
//! client while the store is written to.

use headwater_model::{Epoch, Error, Held, Offset, Position, Result, View};
use rusqlite::{Connection, OptionalExtension};

use super::index;
use crate::sqlite::connection::{failed, is_missing_table, quoted};

/// `rows` is kept by whoever writes documents, in the same transaction, so that asking for it is one lookup.
const VIEWS_TABLE: &str = "
    CREATE TABLE IF NOT EXISTS headwater_view (
        name TEXT PRIMARY KEY,
        \"rows\" INTEGER NOT NULL
    ) WITHOUT ROWID;";

/// The table that says how far the store is: of each source that has its views in the file, one of its own.
#[derive(Clone, Debug)]
pub(super) struct HeldTable(String);

impl HeldTable {
    pub(super) fn of(source: Option<&str>) -> HeldTable {
        HeldTable(match source {
            None => quoted("headwater_held"),
            Some(source) => quoted(&format!("headwater_held@{source}")),
        })
    }

    pub(super) fn make(&self, connection: &Connection) -> Result<()> {
        let held = format!(
            "CREATE TABLE IF NOT EXISTS {} (
                id INTEGER PRIMARY KEY CHECK (id = 1),
                epoch INTEGER NOT NULL,
                \"offset\" INTEGER NOT NULL,
                system TEXT,
                sequence INTEGER,
                committed_at INTEGER NOT NULL
            );",
            self.0
        );
        (connection.execute_batch(&held))
            .and_then(|()| connection.execute_batch(VIEWS_TABLE))
            .map_err(|e| failed(e, "make the store's own tables"))
    }

    /// What the store holds; `None` if it has never been claimed.
    pub(super) fn held(&self, connection: &Connection) -> Result<Option<Held>> {
        let sql = format!("SELECT epoch, \"offset\", system, sequence, committed_at FROM {}", self.0);
        let read = || {
            connection
                .prepare_cached(&sql)?
                .query_row([], |row| {
                    let (system, sequence): (Option<String>, Option<i64>) = (row.get(2)?, row.get(3)?);
                    Ok(Held {
                        epoch: Epoch(row.get::<_, i64>(0)? as u64),
                        offset: Offset(row.get::<_, i64>(1)? as u64),
                        position: system.zip(sequence).map(|(system, n)| Position::new(system, n as u64)),
                        committed_at: row.get(4)?,
                    })
                })
                .optional()
        };
        match read() {
            Err(error) if is_missing_table(&error) => Ok(None),
            read => read.map_err(|e| failed(e, "read what the store holds")),
        }
    }

    /// Numbers go in as SQLite's signed 64 bits and come out as the same unsigned ones.
    pub(super) fn set(&self, connection: &Connection, held: &Held) -> Result<()> {
        connection
            .prepare_cached(&format!("INSERT OR REPLACE INTO {} VALUES (1, ?1, ?2, ?3, ?4, ?5)", self.0))
            .and_then(|mut statement| {
                statement.execute((
                    held.epoch.0 as i64,
                    held.offset.0 as i64,
                    held.position.as_ref().map(|p| &*p.system),
                    held.position.as_ref().map(|p| p.sequence as i64),
                    held.committed_at,
                ))
            })
            .map_err(|e| failed(e, "write what the store holds"))?;
        Ok(())
    }
}

/// Makes a view's table and its indexes, unless they are there.
pub(super) fn make_view(connection: &Connection, view: &View) -> Result<()> {
    let name = &*view.name;
    if name.to_ascii_lowercase().starts_with("headwater_") || name.to_ascii_lowercase().starts_with("sqlite_")
    {
        return Err(Error::misconfigured(format!("no table can have the name of the view \"{name}\""))
            .with_remedy("rename the view: names that start with headwater_ or sqlite_ are reserved"));
    }
    let known: Option<String> = connection
        .query_row("SELECT name FROM headwater_view WHERE name = ?1 COLLATE NOCASE", [name], |row| row.get(0))
        .optional()
        .map_err(|e| failed(e, "look for the view"))?;
    match known {
        Some(known) if known == name => return index::make(connection, view),
        Some(known) => {
            return Err(Error::misconfigured(format!(
                "the views \"{known}\" and \"{name}\" would have the same table, because SQLite's names have no case"
            ))
            .with_remedy("rename one of them, or put them into different stores"));
        }
        None => {}
    }
    let foreign: Option<i64> = connection
        .query_row("SELECT 1 FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE", [name], |row| row.get(0))
        .optional()
        .map_err(|e| failed(e, "look for the view's table"))?;
    if foreign.is_some() {
        return Err(Error::misconfigured(format!(
            "the store's file already has a table \"{name}\" that Headwater did not make"
        ))
        .with_remedy("give the store a file of its own"));
    }
    // WITHOUT ROWID: one b-tree instead of a table and an index, and a scan in key order reads it front to back.
    let table = format!(
        "CREATE TABLE {} (key TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;",
        quoted(name)
    );
    connection
        .execute_batch(&table)
        .and_then(|()| connection.execute("INSERT INTO headwater_view VALUES (?1, 0)", [name]))
        .map_err(|e| failed(e, format!("make the table of the view \"{name}\"")))?;
    index::make(connection, view)
}
