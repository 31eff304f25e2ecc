//! A look at the whole database: tables, keys, and what may hurt.

use std::collections::HashMap;

use headwater_model::{
    ColumnFacts, ErrorKind, Indexable, Result, RetainedLog, Risk, Severity, SourceFacts, TableFacts,
    TableName,
};
use rusqlite::{Connection, OptionalExtension};

use super::log;
use super::tables::{self, Description};
use crate::sqlite::config::LOG_ROW_BYTES;
use crate::sqlite::connection::{failed, quoted};

/// Without the engine's own statistics, a table that cannot be asked for its last row id is counted up to here.
const COUNT_MAX: i64 = 100_000;

pub(super) fn facts(connection: &Connection) -> Result<SourceFacts> {
    let looking = |e| failed(e, "look at the database");
    let mut risks = Vec::new();
    let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).map_err(looking)?;
    if mode != "wal" {
        risks.push(Risk {
            severity: Severity::Warning,
            what: format!("journal_mode is {mode}: while Headwater reads, the application cannot commit"),
            remedy: "PRAGMA journal_mode=WAL".to_owned(),
        });
    }
    let statistics = statistics(connection).map_err(looking)?;
    let mut found = Vec::new();
    for name in tables::names(connection).map_err(looking)? {
        let Some(table) = tables::describe(connection, &name).map_err(looking)? else { continue };
        risks.extend(replace_risk(&table));
        risks.extend(null_key_risk(connection, &table).map_err(looking)?);
        found.push(table_facts(connection, &table, &statistics).map_err(looking)?);
    }
    share_bytes(connection, &mut found).map_err(looking)?;
    let retained = match log::oldest(connection).and_then(|oldest| Ok(log::newest(connection)? - oldest)) {
        Ok(rows) => Some(RetainedLog { bytes: rows.unsigned_abs() * LOG_ROW_BYTES, bound_bytes: None }),
        // Never prepared.
        Err(error) if error.kind() == ErrorKind::OutOfStep => None,
        Err(error) => return Err(error),
    };
    Ok(SourceFacts {
        server: format!("SQLite {}", rusqlite::version()),
        tables: found,
        retained,
        risks,
        ..SourceFacts::default()
    })
}

fn table_facts(
    connection: &Connection,
    table: &Description,
    statistics: &HashMap<String, u64>,
) -> rusqlite::Result<TableFacts> {
    let obstacle = table.obstacle();
    let key: Vec<Box<str>> = table.key_names().map(Box::from).collect();
    let never_null = |name: &str| table.columns.iter().any(|c| &*c.column.name == name && !c.nullable);
    let mut unique: Vec<Vec<Box<str>>> = if key.is_empty() { Vec::new() } else { vec![key.clone()] };
    for set in table.unique.iter().filter(|set| !set.primary && !set.partial && !set.has_expression()) {
        let names: Vec<Box<str>> =
            set.members.iter().flatten().map(|(name, _)| name.as_str().into()).collect();
        if names.iter().all(|name| never_null(name)) && !unique.contains(&names) {
            unique.push(names);
        }
    }
    let collates = table.sql.to_ascii_uppercase().contains("COLLATE");
    Ok(TableFacts {
        name: TableName::new(None, &table.name),
        columns: (table.columns.iter())
            .map(|column| ColumnFacts {
                name: column.column.name.clone(),
                kind: column.column.kind.clone(),
                // Upper case as in SQLite's own documentation: a lower-case `integer` is a type of 32 bits elsewhere.
                type_name: column.declared.to_ascii_uppercase().into(),
                nullable: column.nullable,
                may_be_unchanged: false,
                absent_from_log: false,
                indexable: Indexable::InOrder(if collates { " COLLATE BINARY" } else { "" }),
            })
            .collect(),
        key,
        unique,
        foreign_keys: tables::foreign_keys(connection, &table.name)?,
        indexes: tables::indexes(connection, table)?,
        create_index: "CREATE INDEX",
        rows_estimate: match statistics.get(&table.name) {
            Some(rows) => *rows,
            None => count(connection, table)?,
        },
        bytes_estimate: 0,
        obstacle,
    })
}

/// Rows by table, where `ANALYZE` has been run.
fn statistics(connection: &Connection) -> rusqlite::Result<HashMap<String, u64>> {
    let has: bool =
        connection.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_stat1'")?.exists([])?;
    if !has {
        return Ok(HashMap::new());
    }
    connection
        .prepare("SELECT tbl, max(CAST(stat AS INTEGER)) FROM sqlite_stat1 GROUP BY tbl")?
        .query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.max(0).unsigned_abs())))?
        .collect()
}

fn count(connection: &Connection, table: &Description) -> rusqlite::Result<u64> {
    let name = quoted(&table.name);
    let sql = if table.without_row_id {
        format!("SELECT count(*) FROM (SELECT 1 FROM {name} LIMIT {COUNT_MAX})")
    } else {
        format!("SELECT min(coalesce(max(_rowid_), 0), {}) FROM {name}", i64::MAX)
    };
    let rows: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
    Ok(rows.max(0).unsigned_abs())
}

/// The file's size, shared out by rows and columns: SQLite does not say how large a table is.
fn share_bytes(connection: &Connection, tables: &mut [TableFacts]) -> rusqlite::Result<()> {
    let bytes: i64 = connection.query_row(
        "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
        [],
        |row| row.get(0),
    )?;
    let weight = |table: &TableFacts| table.rows_estimate as f64 * table.columns.len() as f64;
    let all: f64 = tables.iter().map(weight).sum();
    for table in tables.iter_mut().filter(|_| all > 0.0) {
        table.bytes_estimate = (bytes as f64 * weight(table) / all) as u64;
    }
    Ok(())
}

/// SQLite allows NULL in most keys. A row without a key is left out, and says so in the quarantine.
fn null_key_risk(connection: &Connection, table: &Description) -> rusqlite::Result<Option<Risk>> {
    let Some(sql) = table.null_keys().filter(|_| table.obstacle().is_none()) else { return Ok(None) };
    let name = &table.name;
    Ok(Some(match connection.query_row(&sql, [], |_| Ok(())).optional()? {
        Some(()) => Risk {
            severity: Severity::Warning,
            what: format!(
                "table \"{name}\" has rows with NULL in their primary key: they are left out, in quarantine"
            ),
            remedy: format!("correct or delete what this finds: {}", sql.replacen("SELECT 1", "SELECT *", 1)),
        },
        None => Risk {
            severity: Severity::Note,
            what: format!(
                "the primary key of table \"{name}\" may be NULL, as SQLite has it; a row without a key would be left out, \
                 in quarantine"
            ),
            remedy: "declare the key NOT NULL, or make the table STRICT or WITHOUT ROWID".to_owned(),
        },
    }))
}

fn replace_risk(table: &Description) -> Option<Risk> {
    let index = table.unique.iter().find(|set| set.has_expression())?;
    Some(Risk {
        severity: Severity::Warning,
        what: format!(
            "a row of table \"{}\" that REPLACE removes through the unique index \"{}\", which is over an expression, \
             goes unnoticed",
            table.name, index.index
        ),
        remedy:
            "run PRAGMA recursive_triggers=ON on the application's connections, or do not use REPLACE there"
                .to_owned(),
    })
}
