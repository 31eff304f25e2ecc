//! Which tables are captured, in which shape, and whether the triggers in place are exactly the ones needed.
//!
//! Applications rebuild tables (create, copy, drop, rename is SQLite's own recipe for most changes of a schema), and
//! a rebuilt table has lost its triggers. So whenever the schema's version moves, [`load`] compares the triggers in
//! place with those the table needs now, text by text; [`refresh`] makes them anew, and notes in the same transaction
//! that the table is to be read again as a whole, because writes may have gone unnoticed in between.

use std::collections::HashMap;
use std::sync::Arc;

use headwater_model::{
    Affinity, Catalogued, Column, ColumnRevision, Error, ErrorKind, Key, Refused, Result, Revision, Table,
    TableName,
};
use rusqlite::{Connection, OptionalExtension};

use super::capture::{self, kind};
use super::tables::{self, Description};
use crate::sqlite::codec;
use crate::sqlite::connection::{failed, is_missing_table, quoted};

/// What is captured, as one version of the schema has it.
pub(super) struct Registry {
    pub(super) schema_version: i64,
    pub(super) system: Arc<str>,
    /// How many `k` columns the change table has.
    pub(super) key_width: usize,
    pub(super) tables: HashMap<u32, Captured>,
    /// Whether [`refresh`] has something to do.
    pub(super) stale: bool,
}

/// One captured table.
pub(super) struct Captured {
    pub(super) asked: String,
    /// `false` while the table does not exist; the shape is the last one known.
    pub(super) present: bool,
    pub(super) shape: Arc<Table>,
    /// [`Description::declaration`]; 0 while the table does not exist.
    declaration: u64,
    /// Everything noted for this table before this change id is overtaken by a full read.
    pub(super) reread_id: i64,
    pub(super) key_affinities: Vec<Affinity>,
    pub(super) select: Select,
}

/// Row ids that are named of the rows of one key.
pub(super) const ROW_IDS_SHOWN: usize = 5;

/// The table's reads, as SQL. Parameters are the key's parts.
#[derive(Default)]
pub(super) struct Select {
    pub(super) row: String,
    /// The rows in key order, and their row ids if they have any.
    pub(super) first: String,
    /// The rows behind a key.
    pub(super) next: String,
    /// How many rows have exactly this key, NULL included, and the row ids of the first of them.
    pub(super) exact: String,
}

impl Captured {
    /// SQLite numbers neither columns nor conversions, and `ALTER TABLE` cannot touch a key: whoever rebuilds a table drops
    /// our triggers with it, and its rows come by again. What is left is a column that was dropped and added in one go.
    pub(super) fn catalogued(&self) -> Catalogued {
        let of = |column| if self.shape.key.contains(&column) { 0 } else { self.declaration };
        let column = |column| ColumnRevision { id: 0, definition: of(column) };
        let columns = (0..self.shape.columns.len()).map(column).collect();
        let revision = Some(Revision { storage: self.declaration, columns });
        Catalogued { table: self.shape.clone(), revision }
    }

    /// Whether a row can be handed on under this key: it has no part that is missing, and none that looks like another
    /// row's.
    pub(super) fn names_a_row(&self, key: &Key) -> bool {
        let parts = key.0.iter().zip(&self.key_affinities);
        parts.into_iter().all(|(part, affinity)| codec::identifies(*affinity, part))
    }

    /// The rows of a key that names none.
    pub(super) fn refused(&self, key: Key, rows: u64, row_ids: &str) -> Refused {
        let columns: Vec<&str> = self.shape.key.iter().map(|part| &*self.shape.columns[*part].name).collect();
        let columns = columns.join(", ");
        let reason = match key.0.iter().any(headwater_model::Value::is_null) {
            true => format!("the key ({columns}) is NULL, so the row has no name: UPDATE or DELETE it"),
            false => format!(
                "the storage class of the key ({columns}) is not the declared one, so it may look like another row's: \
                 UPDATE or DELETE it"
            ),
        };
        let place = if row_ids.is_empty() { String::new() } else { format!("rowid {row_ids}") };
        let table = self.shape.clone();
        Refused { table, key, rows, place: place.into(), reason: reason.into() }
    }
}

pub(super) fn schema_version(connection: &Connection) -> Result<i64> {
    connection
        .prepare_cached("PRAGMA schema_version")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(|e| failed(e, "read the schema's version"))
}

/// A row of `headwater_table`.
struct Remembered {
    id: u32,
    asked: String,
    name: Option<String>,
    version: u32,
    columns: String,
    reread_id: i64,
}

/// Reads what is captured, within the caller's transaction.
pub(super) fn load(connection: &Connection) -> Result<Registry> {
    let schema_version = schema_version(connection)?;
    let read = || -> rusqlite::Result<Registry> {
        let system: String =
            connection.query_row("SELECT system FROM headwater_system", [], |row| row.get(0))?;
        let key_width: i64 = connection.query_row(
            "SELECT count(*) FROM pragma_table_info('headwater_change') WHERE name GLOB 'k[0-9]*'",
            [],
            |row| row.get(0),
        )?;
        let (mut captured, mut stale) = (HashMap::new(), false);
        for remembered in remembered(connection)? {
            let now = Now::look(connection, &remembered)?;
            stale |= now.is_stale(&remembered);
            captured.insert(remembered.id, now.captured(remembered, schema_version as u32));
        }
        Ok(Registry {
            schema_version,
            system: system.into(),
            key_width: key_width as usize,
            tables: captured,
            stale,
        })
    };
    read().map_err(|error| {
        if is_missing_table(&error) {
            return not_prepared();
        }
        failed(error, "read which tables are captured")
    })
}

pub(super) fn not_prepared() -> Error {
    Error::out_of_step(
        "the database has no change table: it was never prepared, or what Headwater made was dropped",
    )
}

fn remembered(connection: &Connection) -> rusqlite::Result<Vec<Remembered>> {
    connection
        .prepare_cached(
            "SELECT id, asked, name, version, columns, reread_id FROM headwater_table ORDER BY id",
        )?
        .query_map([], |row| {
            Ok(Remembered {
                id: row.get(0)?,
                asked: row.get(1)?,
                name: row.get(2)?,
                version: row.get(3)?,
                columns: row.get(4)?,
                reread_id: row.get(5)?,
            })
        })?
        .collect()
}

/// A captured table as it is found.
struct Now {
    /// `None` if it does not exist.
    table: Option<Description>,
    columns: String,
    /// Triggers of ours, as they are in place.
    found: Vec<(String, String)>,
    /// Triggers as they should be.
    needed: Vec<(String, String)>,
}

impl Now {
    fn look(connection: &Connection, remembered: &Remembered) -> rusqlite::Result<Now> {
        let pattern = format!("headwater_{}_*", remembered.id);
        let mut on = None;
        let mut found = Vec::new();
        let mut statement = connection.prepare_cached(
            "SELECT name, sql, tbl_name FROM sqlite_schema WHERE type = 'trigger' AND name GLOB ?1 ORDER BY name",
        )?;
        let mut rows = statement.query([pattern])?;
        while let Some(row) = rows.next()? {
            found.push((row.get(0)?, row.get(1)?));
            on = Some(row.get::<_, String>(2)?);
        }
        // The table of the name that was asked for; failing that, the one that carries the triggers was renamed.
        let table = match (tables::describe(connection, &remembered.asked)?, on) {
            (Some(table), _) => Some(table),
            (None, Some(on)) => tables::describe(connection, &on)?,
            (None, None) => None,
        };
        let mut needed = match &table {
            Some(table) if table.obstacle().is_none() => capture::triggers(remembered.id, table),
            _ => Vec::new(),
        };
        needed.sort_unstable();
        let columns = table.as_ref().map_or_else(|| remembered.columns.clone(), columns_text);
        Ok(Now { table, columns, found, needed })
    }

    fn is_stale(&self, remembered: &Remembered) -> bool {
        self.found != self.needed
            || self.columns != remembered.columns
            || self.table.as_ref().map(|table| &table.name) != remembered.name.as_ref()
            || self.table.as_ref().is_some_and(|table| table.obstacle().is_some())
    }

    /// The version of the shape: the remembered one, or the schema's if the shape is another now.
    fn version(&self, remembered: &Remembered, schema_version: u32) -> u32 {
        let same_name = self.table.as_ref().map(|table| &table.name) == remembered.name.as_ref();
        let same = same_name && self.columns == remembered.columns && remembered.version > 0;
        if same { remembered.version } else { schema_version }
    }

    fn captured(self, remembered: Remembered, schema_version: u32) -> Captured {
        let version = self.version(&remembered, schema_version);
        let Remembered { id, asked, name, columns, reread_id, .. } = remembered;
        let name =
            self.table.as_ref().map(|table| table.name.clone()).or(name).unwrap_or_else(|| asked.clone());
        let (columns, key, affinities, select) = match &self.table {
            Some(table) => (
                table.columns.iter().map(|c| c.column.clone()).collect(),
                table.key.clone(),
                table.key.iter().map(|part| table.columns[*part].affinity).collect(),
                select(table),
            ),
            None => (columns_of_text(&columns), vec![0], Vec::new(), Select::default()),
        };
        let name = TableName::new(None, &name);
        Captured {
            asked,
            present: self.table.as_ref().is_some_and(|table| table.obstacle().is_none()),
            shape: Arc::new(Table { id, version, name, columns, key }),
            declaration: self.table.as_ref().map_or(0, Description::declaration),
            reread_id,
            key_affinities: affinities,
            select,
        }
    }
}

fn columns_text(table: &Description) -> String {
    let columns: Vec<(&str, &str, bool)> = table
        .columns
        .iter()
        .enumerate()
        .map(|(i, c)| (&*c.column.name, &*c.declared, table.key.contains(&i)))
        .collect();
    serde_json::to_string(&columns).unwrap_or_default()
}

/// Enough of a shape to say that a table is gone.
fn columns_of_text(text: &str) -> Vec<Column> {
    let columns: Vec<(Box<str>, String, bool)> = serde_json::from_str(text).unwrap_or_default();
    columns
        .into_iter()
        .map(|(name, _, _)| Column { name, kind: headwater_model::ColumnType::Dynamic })
        .collect()
}

fn select(table: &Description) -> Select {
    let columns: Vec<String> = table.columns.iter().map(|c| quoted(&c.column.name)).collect();
    let key: Vec<String> = table.key_names().map(quoted).collect();
    if key.is_empty() {
        return Select::default();
    }
    let (name, row_id) = (quoted(&table.name), table.row_id());
    let from = format!("SELECT {} FROM {name}", columns.join(", "));
    let rows = format!("SELECT {}, {row_id} FROM {name}", columns.join(", "));
    let each = |comparison: &str| -> String {
        let parts = key.iter().enumerate().map(|(i, name)| format!("{name} {comparison} ?{}", i + 1));
        parts.collect::<Vec<_>>().join(" AND ")
    };
    let places: Vec<String> = (1..=key.len()).map(|n| format!("?{n}")).collect();
    let (keys, places, exactly) = (key.join(", "), places.join(", "), each("IS"));
    Select {
        row: format!("{from} WHERE {}", each("=")),
        // The LIMIT that is none has rows read by the key's index, of which only the first are taken, and not sorted.
        first: format!("{rows} ORDER BY {keys} LIMIT -1"),
        next: format!("{rows} WHERE ({keys}) > ({places}) ORDER BY {keys} LIMIT -1"),
        exact: format!(
            "SELECT count(*), (SELECT group_concat(id, ', ') FROM (
                 SELECT {row_id} AS id FROM {name} WHERE {exactly} LIMIT {ROW_IDS_SHOWN}))
             FROM {name} WHERE {exactly}"
        ),
    }
}

/// Makes triggers and memory fit the tables as they are. To be called in a write transaction.
pub(super) fn refresh(connection: &Connection) -> Result<()> {
    let version = schema_version(connection)? as u32;
    let failed = |e| failed(e, "refresh the capture of changes");
    for remembered in remembered(connection).map_err(failed)? {
        let now = Now::look(connection, &remembered).map_err(failed)?;
        if !now.is_stale(&remembered) {
            continue;
        }
        if let Some(table) = &now.table {
            judge(table)?;
            widen(connection, table.key.len())?;
        }
        renew(connection, &remembered, &now, version).map_err(failed)?;
    }
    Ok(())
}

fn renew(connection: &Connection, remembered: &Remembered, now: &Now, version: u32) -> rusqlite::Result<()> {
    if now.found != now.needed {
        for (name, _) in &now.found {
            connection.execute_batch(&format!("DROP TRIGGER {}", quoted(name)))?;
        }
        for (_, sql) in &now.needed {
            connection.execute_batch(sql)?;
        }
    }
    let name = now.table.as_ref().map(|table| &table.name);
    let is_new = remembered.version == 0;
    let came_or_went = name.is_some() != remembered.name.is_some();
    let mut reread_id = remembered.reread_id;
    if !is_new && (now.found != now.needed || came_or_went) {
        connection.execute(
            "INSERT INTO headwater_change (table_id, kind, at) VALUES (?1, ?2, julianday('now'))",
            (remembered.id, kind::REREAD),
        )?;
        reread_id = connection.last_insert_rowid();
    }
    connection.execute(
        "UPDATE headwater_table SET name = ?2, version = ?3, columns = ?4, reread_id = ?5 WHERE id = ?1",
        (remembered.id, name, now.version(remembered, version), &now.columns, reread_id),
    )?;
    Ok(())
}

/// Refuses a table that cannot be followed.
fn judge(table: &Description) -> Result<()> {
    match table.obstacle() {
        Some(risk) => Err(Error::misconfigured(risk.what).with_remedy(risk.remedy)),
        None => Ok(()),
    }
}

fn widen(connection: &Connection, key_width: usize) -> Result<()> {
    let failed = |e| failed(e, "widen the change table");
    let has: i64 = connection
        .query_row(
            "SELECT count(*) FROM pragma_table_info('headwater_change') WHERE name GLOB 'k[0-9]*'",
            [],
            |row| row.get(0),
        )
        .map_err(failed)?;
    for n in has as usize + 1..=key_width {
        connection.execute_batch(&format!("ALTER TABLE headwater_change ADD COLUMN k{n}")).map_err(failed)?;
    }
    Ok(())
}

/// Captures exactly `asked` from now on. Returns those that were not until now. To be called in a write transaction.
pub(super) fn prepare(connection: &Connection, asked: &[TableName], rows_max: u64) -> Result<Vec<TableName>> {
    let making = |e| failed(e, "make the change table");
    connection.execute_batch(&capture::own_tables()).map_err(making)?;
    let bound = capture::bound_trigger(rows_max);
    let found: Option<String> = connection
        .query_row("SELECT sql FROM sqlite_schema WHERE name = 'headwater_bound'", [], |row| row.get(0))
        .optional()
        .map_err(making)?;
    if found.as_ref() != Some(&bound) {
        connection
            .execute_batch(&format!("DROP TRIGGER IF EXISTS headwater_bound; {bound}"))
            .map_err(making)?;
    }

    let before = remembered(connection).map_err(making)?;
    for gone in before.iter().filter(|r| !asked.iter().any(|name| *name.name == *r.asked)) {
        let now = Now::look(connection, gone).map_err(making)?;
        for (name, _) in &now.found {
            connection.execute_batch(&format!("DROP TRIGGER {}", quoted(name))).map_err(making)?;
        }
        connection.execute("DELETE FROM headwater_table WHERE id = ?1", [gone.id]).map_err(making)?;
    }
    let mut joined = Vec::new();
    for name in asked {
        if before.iter().any(|r| r.asked == *name.name) {
            continue;
        }
        joined.push(name.clone());
        let table = existing(connection, name)?;
        judge(&table)?;
        connection
            .execute(
                "INSERT INTO headwater_table (id, asked, name, version, columns, reread_id)
                 SELECT next_table_id, ?1, NULL, 0, '', 0 FROM headwater_system",
                [&name.name],
            )
            .and_then(|_| {
                connection.execute("UPDATE headwater_system SET next_table_id = next_table_id + 1", [])
            })
            .map_err(making)?;
    }
    refresh(connection)?;
    Ok(joined)
}

/// Whether [`prepare`] would change nothing.
pub(super) fn is_prepared(connection: &Connection, asked: &[TableName], rows_max: u64) -> Result<bool> {
    let registry = match load(connection) {
        Ok(registry) => registry,
        Err(error) if error.kind() == ErrorKind::OutOfStep => return Ok(false),
        Err(error) => return Err(error),
    };
    let bound: Option<String> = connection
        .query_row("SELECT sql FROM sqlite_schema WHERE name = 'headwater_bound'", [], |row| row.get(0))
        .optional()
        .map_err(|e| failed(e, "read the bound of the change table"))?;
    let all = asked.iter().all(|name| registry.tables.values().any(|t| *t.asked == *name.name));
    Ok(!registry.stale
        && all
        && registry.tables.len() == asked.len()
        && bound == Some(capture::bound_trigger(rows_max)))
}

fn existing(connection: &Connection, name: &TableName) -> Result<Description> {
    let reading = |e| failed(e, format!("look for the table {name}"));
    let main = name.schema.as_deref().is_none_or(|schema| schema.eq_ignore_ascii_case("main"));
    if let Some(table) = tables::describe(connection, &name.name).map_err(reading)?
        && main
    {
        return Ok(table);
    }
    let names = tables::names(connection).map_err(reading)?;
    let distance = |other: &String| strsim::damerau_levenshtein(other, &name.name);
    let missing = Error::misconfigured(format!("the database has no table {name}"));
    Err(match names.iter().min_by_key(|other| distance(other)) {
        Some(nearest) if distance(nearest) <= 3 => {
            missing.with_remedy(format!("did you mean \"{nearest}\"?"))
        }
        _ => missing.with_remedy(format!("its tables are: {}", names.join(", "))),
    })
}

/// Removes everything that [`prepare`] made. To be called in a write transaction.
pub(super) fn forget(connection: &Connection) -> Result<()> {
    let remove = || -> rusqlite::Result<()> {
        let triggers: Vec<String> = connection
            .prepare(
                "SELECT name FROM sqlite_schema WHERE type = 'trigger'
                 AND (name GLOB 'headwater_[0-9]*_*' OR name = 'headwater_bound')",
            )?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for name in triggers {
            connection.execute_batch(&format!("DROP TRIGGER {}", quoted(&name)))?;
        }
        connection.execute_batch(
            "DROP TABLE IF EXISTS headwater_change;
             DROP TABLE IF EXISTS headwater_table;
             DROP TABLE IF EXISTS headwater_system;",
        )
    };
    remove().map_err(|e| failed(e, "remove the change table and its triggers"))
}
