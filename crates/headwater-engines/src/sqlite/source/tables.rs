//! What a user's table looks like now: columns, key, unique sets, and why it cannot be followed, if so.
//!
//! Reads only, inside whatever transaction the caller has open.

use headwater_model::{Affinity, Column, ForeignKey, IndexFacts, IndexedColumn, Risk, Severity, TableName};
use rusqlite::{Connection, OptionalExtension};

use crate::sqlite::codec::{affinity, column_type};
use crate::sqlite::connection::quoted;

/// A table as it is at one moment.
#[derive(Clone, Debug)]
pub(super) struct Description {
    pub(super) name: String,
    pub(super) columns: Vec<ColumnDescription>,
    /// Places of the key's columns, in key order.
    pub(super) key: Vec<usize>,
    pub(super) unique: Vec<UniqueSet>,
    pub(super) without_row_id: bool,
    /// The text that made the table, as SQLite keeps it up to date.
    pub(super) sql: String,
}

#[derive(Clone, Debug)]
pub(super) struct ColumnDescription {
    pub(super) column: Column,
    pub(super) declared: String,
    pub(super) affinity: Affinity,
    pub(super) nullable: bool,
}

/// A unique index other than the primary key's, or the primary key's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UniqueSet {
    pub(super) index: String,
    pub(super) primary: bool,
    /// `WHERE` in the index: only some rows are in it.
    pub(super) partial: bool,
    /// Name and collation of each member; `None` for an expression.
    pub(super) members: Vec<Option<(String, String)>>,
}

impl UniqueSet {
    pub(super) fn has_expression(&self) -> bool {
        self.members.iter().any(Option::is_none)
    }
}

/// Names of the user's ordinary tables.
pub(super) fn names(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare_cached(
            "SELECT name FROM pragma_table_list
             WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
               AND name NOT LIKE 'headwater\\_%' ESCAPE '\\' ORDER BY name",
        )?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// `None` if there is no ordinary table of that name. Names are found as SQLite finds them, without regard to case.
pub(super) fn describe(connection: &Connection, name: &str) -> rusqlite::Result<Option<Description>> {
    let found = connection
        .prepare_cached(
            "SELECT l.name, l.wr, l.strict, s.sql FROM pragma_table_list l
             JOIN sqlite_schema s ON s.type = 'table' AND s.name = l.name
             WHERE l.schema = 'main' AND l.type = 'table' AND l.name = ?1 COLLATE NOCASE",
        )?
        .query_row([name], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, bool>(1)?,
                row.get::<_, bool>(2)?,
                row.get::<_, String>(3)?,
            ))
        })
        .optional()?;
    let Some((name, without_row_id, strict, sql)) = found else { return Ok(None) };

    let mut columns = Vec::new();
    let mut key: Vec<(i64, usize)> = Vec::new();
    let mut statement = connection.prepare_cached(
        "SELECT name, type, \"notnull\", pk FROM pragma_table_xinfo(?1) WHERE hidden <> 1 ORDER BY cid",
    )?;
    let mut rows = statement.query([&name])?;
    while let Some(row) = rows.next()? {
        let (column, declared): (String, String) = (row.get(0)?, row.get(1)?);
        let (not_null, place): (bool, i64) = (row.get(2)?, row.get(3)?);
        if place > 0 {
            key.push((place, columns.len()));
        }
        columns.push(ColumnDescription {
            affinity: affinity(&declared, strict),
            column: Column { kind: column_type(&declared, strict, false), name: column.into() },
            nullable: !not_null,
            declared,
        });
    }
    key.sort_unstable();
    let key: Vec<usize> = key.into_iter().map(|(_, column)| column).collect();

    let unique = unique_sets(connection, &name)?;
    let has_key_index = unique.iter().any(|set| set.primary);
    for &part in &key {
        let column = &mut columns[part];
        // A key without an index of its own is the row id: an integer, never null.
        if without_row_id || !has_key_index {
            column.nullable = false;
        }
        if !without_row_id && !has_key_index {
            column.column.kind = column_type(&column.declared, strict, true);
        }
    }
    Ok(Some(Description { name, columns, key, unique, without_row_id, sql }))
}

fn unique_sets(connection: &Connection, table: &str) -> rusqlite::Result<Vec<UniqueSet>> {
    let mut list = connection.prepare_cached(
        "SELECT name, origin, partial FROM pragma_index_list(?1) WHERE \"unique\" ORDER BY name",
    )?;
    let mut members = connection
        .prepare_cached("SELECT cid, name, coll FROM pragma_index_xinfo(?1) WHERE key ORDER BY seqno")?;
    let mut sets = Vec::new();
    let mut rows = list.query([table])?;
    while let Some(row) = rows.next()? {
        let (index, origin): (String, String) = (row.get(0)?, row.get(1)?);
        let members: Vec<Option<(String, String)>> = members
            .query_map([&index], |member| {
                let (name, collation): (Option<String>, String) = (member.get(1)?, member.get(2)?);
                Ok(name.map(|name| (name, collation)))
            })?
            .collect::<rusqlite::Result<_>>()?;
        sets.push(UniqueSet { primary: origin == "pk", partial: row.get(2)?, index, members });
    }
    Ok(sets)
}

/// Indexes over whole columns of all rows. A row id has none, and finds and sorts all the same.
pub(super) fn indexes(connection: &Connection, table: &Description) -> rusqlite::Result<Vec<IndexFacts>> {
    let key =
        table.key_names().map(|name| IndexedColumn { name: name.into(), descending: false, as_stores: true });
    let mut indexes = Vec::new();
    if !table.unique.iter().any(|set| set.primary) {
        indexes.push(IndexFacts { columns: key.collect() });
    }
    let mut list = connection
        .prepare_cached("SELECT name FROM pragma_index_list(?1) WHERE NOT partial ORDER BY name")?;
    let mut members = connection.prepare_cached(
        "SELECT name, \"desc\", coll = 'BINARY' FROM pragma_index_xinfo(?1) WHERE key ORDER BY seqno",
    )?;
    let mut rows = list.query([&table.name])?;
    while let Some(row) = rows.next()? {
        let columns: Vec<Option<IndexedColumn>> = members
            .query_map([row.get::<_, String>(0)?], |member| {
                let (name, descending, as_stores) = (member.get(0)?, member.get(1)?, member.get(2)?);
                let named = |name: String| IndexedColumn { name: name.into(), descending, as_stores };
                Ok(Option::map(name, named))
            })?
            .collect::<rusqlite::Result<_>>()?;
        indexes.extend(columns.into_iter().collect::<Option<_>>().map(|columns| IndexFacts { columns }));
    }
    Ok(indexes)
}

pub(super) fn foreign_keys(connection: &Connection, table: &str) -> rusqlite::Result<Vec<ForeignKey>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, \"table\", \"from\", \"to\" FROM pragma_foreign_key_list(?1) ORDER BY id, seq",
    )?;
    let mut keys: Vec<(i64, ForeignKey)> = Vec::new();
    let mut rows = statement.query([table])?;
    while let Some(row) = rows.next()? {
        let (id, to): (i64, String) = (row.get(0)?, row.get(1)?);
        let (from, to_column): (String, Option<String>) = (row.get(2)?, row.get(3)?);
        if keys.last().is_none_or(|(last, _)| *last != id) {
            let to = TableName::new(None, &to);
            keys.push((id, ForeignKey { columns: Vec::new(), to, to_columns: Vec::new() }));
        }
        if let Some((_, key)) = keys.last_mut() {
            key.columns.push(from.into());
            key.to_columns.extend(to_column.map(Box::from));
        }
    }
    let mut keys: Vec<ForeignKey> = keys.into_iter().map(|(_, key)| key).collect();
    // Without columns, a foreign key means the primary key.
    for key in keys.iter_mut().filter(|key| key.to_columns.is_empty()) {
        if let Some(to) = describe(connection, &key.to.name)? {
            key.to_columns = to.key.iter().map(|part| to.columns[*part].column.name.clone()).collect();
        }
    }
    Ok(keys)
}

impl Description {
    pub(super) fn key_names(&self) -> impl Iterator<Item = &str> {
        self.key.iter().map(|part| &*self.columns[*part].column.name)
    }

    /// A number for what the table's columns are declared to be. Renaming the table leaves it.
    pub(super) fn declaration(&self) -> u64 {
        let body = self.sql.find('(').map_or("", |begin| &self.sql[begin..]);
        // FNV-1a: it must be the same in every release.
        body.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }

    /// Why the table cannot be followed. Judged by its declaration alone.
    pub(super) fn obstacle(&self) -> Option<Risk> {
        let error = |what: String, remedy: String| Some(Risk { severity: Severity::Error, what, remedy });
        if self.key.is_empty() {
            return error(
                format!("table \"{}\" has no primary key, so its rows have no name", self.name),
                format!(
                    "create a new table with the same columns and a primary key (id INTEGER PRIMARY KEY), copy the rows, \
                     drop \"{0}\" and rename the new one to \"{0}\"",
                    self.name
                ),
            );
        }
        let untyped =
            self.key.iter().map(|part| &self.columns[*part]).find(|c| c.affinity == Affinity::None)?;
        error(
            format!(
                "key column \"{}\" of table \"{}\" has no type, so 1 and '1' would be two keys that look the same",
                untyped.column.name, self.name
            ),
            "declare a type for it (INTEGER, TEXT or BLOB): create a new table with it, copy the rows, drop the old one, \
             rename the new one"
                .to_owned(),
        )
    }

    /// An expression for the row's id, under the first of its names that no column has taken; NULL if there is none.
    pub(super) fn row_id(&self) -> &'static str {
        let is_column =
            |name: &&str| self.columns.iter().any(|column| column.column.name.eq_ignore_ascii_case(name));
        let free = ["rowid", "_rowid_", "oid"].into_iter().find(|name| !is_column(name));
        free.filter(|_| !self.without_row_id).unwrap_or("NULL")
    }

    /// SQL that finds a row whose key is NULL in part: SQLite allows that in keys that are not declared NOT NULL.
    pub(super) fn null_keys(&self) -> Option<String> {
        let nullable: Vec<String> = (self.key.iter().map(|part| &self.columns[*part]))
            .filter(|column| column.nullable)
            .map(|column| format!("{} IS NULL", quoted(&column.column.name)))
            .collect();
        (!nullable.is_empty())
            .then(|| format!("SELECT 1 FROM {} WHERE {} LIMIT 1", quoted(&self.name), nullable.join(" OR ")))
    }
}
