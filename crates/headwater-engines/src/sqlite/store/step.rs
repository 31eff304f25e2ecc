//! One step inside its SQL transaction: how each change becomes a statement.
//!
//! Invariant: `rows` of a view in memory is what its table has inside the open transaction; it is written with the
//! position.

use std::collections::HashMap;

use headwater_model::{Error, Key, Record, Refusal, Result, View, ViewChange, ViewId};
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension};

use super::index::{self, Places};
use crate::entries;
use crate::sqlite::connection::{failed, quoted};
use crate::stored_json::write_merged;

/// Longer keys and documents are refused: SQLite's own limit is 1,000,000,000 bytes for a row.
pub(super) const KEY_BYTES_MAX: usize = 1 << 20;
pub(super) const DOCUMENT_BYTES_MAX: usize = 512 << 20;

/// Bytes that are known to be UTF-8, bound as text without looking again.
pub(super) struct Text<'a>(pub(super) &'a [u8]);

impl ToSql for Text<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

/// The views of the open step.
pub(super) struct Step {
    views: HashMap<ViewId, Table>,
    changes: usize,
    key: Vec<u8>,
    old_key: Vec<u8>,
    document: Vec<u8>,
}

struct Table {
    insert: String,
    update: String,
    /// The same for documents with places.
    insert_placed: String,
    update_placed: String,
    /// Of a view with indexes, once the step has met it.
    places: Option<Places>,
    delete: String,
    select: String,
    clear: String,
    rows: i64,
    changed: bool,
    /// Whether the newest put found its key: the next one probably will too, so the right statement goes first.
    finds: bool,
}

impl Table {
    fn new(name: &str, rows: i64) -> Table {
        let table = quoted(name);
        Table {
            insert: format!("INSERT INTO {table} (key, document) VALUES (?1, ?2) ON CONFLICT DO NOTHING"),
            update: format!("UPDATE {table} SET document = ?2 WHERE key = ?1"),
            insert_placed: format!(
                "INSERT INTO {table} (key, document, places) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING"
            ),
            update_placed: format!("UPDATE {table} SET document = ?2, places = ?3 WHERE key = ?1"),
            places: None,
            delete: format!("DELETE FROM {table} WHERE key = ?1"),
            select: format!("SELECT document FROM {table} WHERE key = ?1"),
            clear: format!("DELETE FROM {table}"),
            rows,
            changed: false,
            finds: false,
        }
    }

    /// `places` is what the document remembers, of a view with indexes.
    fn put(
        &mut self,
        connection: &Connection,
        key: &[u8],
        document: &[u8],
        places: Option<&[u8]>,
    ) -> rusqlite::Result<()> {
        let (key, document) = (Text(key), Text(document));
        let (insert, update) = match places {
            Some(_) => (&self.insert_placed, &self.update_placed),
            None => (&self.insert, &self.update),
        };
        let order = if self.finds { [update, insert] } else { [insert, update] };
        for (i, sql) in order.into_iter().enumerate() {
            let mut statement = connection.prepare_cached(sql)?;
            let done = match places {
                Some(places) => statement.execute((&key, &document, places))?,
                None => statement.execute((&key, &document))?,
            };
            if done == 0 {
                continue;
            }
            let inserted = self.finds == (i == 1);
            self.rows += i64::from(inserted);
            self.finds = !inserted;
            break;
        }
        self.changed = true;
        Ok(())
    }

    /// Removes a document and its entries.
    fn delete(&mut self, connection: &Connection, view: &View, key: &[u8]) -> Result<()> {
        if let Some(places) = self.places(connection, view)? {
            let stored = places.stored(connection, key)?;
            places
                .change(connection, key, &stored, &[])
                .map_err(|e| failed(e, doing("delete from the indexes of", view)))?;
        }
        self.delete_row(connection, key).map_err(|e| failed(e, doing("delete from", view)))
    }

    /// What keeps the view's indexes, if it has any.
    fn places(&mut self, connection: &Connection, view: &View) -> Result<Option<&Places>> {
        if view.indexes.is_empty() {
            return Ok(None);
        }
        if self.places.is_none() {
            self.places = Some(Places::of(connection, view)?);
        }
        Ok(self.places.as_ref())
    }

    fn delete_row(&mut self, connection: &Connection, key: &[u8]) -> rusqlite::Result<()> {
        let deleted = connection.prepare_cached(&self.delete)?.execute([Text(key)])?;
        self.rows -= deleted as i64;
        self.changed |= deleted > 0;
        Ok(())
    }
}

impl Step {
    /// Reads which views there are.
    pub(super) fn open(connection: &Connection) -> Result<Step> {
        let read = || -> rusqlite::Result<HashMap<ViewId, Table>> {
            let mut views = HashMap::new();
            let mut statement = connection.prepare_cached("SELECT name, \"rows\" FROM headwater_view")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let name: Box<str> = row.get(0)?;
                let table = Table::new(&name, row.get(1)?);
                views.insert(name, table);
            }
            Ok(views)
        };
        let views = read().map_err(|e| failed(e, "read which views the store has"))?;
        Ok(Step { views, changes: 0, key: Vec::new(), old_key: Vec::new(), document: Vec::new() })
    }

    pub(super) fn write(
        &mut self,
        connection: &Connection,
        changes: Vec<ViewChange>,
    ) -> Result<Vec<Refusal>> {
        let mut refusals = Vec::new();
        self.changes += changes.len();
        for change in changes {
            match change {
                ViewChange::Put { view, key, moved_from, document } => {
                    refusals.extend(self.put(connection, &view, &key, moved_from.as_ref(), &document)?);
                }
                ViewChange::Delete { view, key } => {
                    let table = table(&mut self.views, &view)?;
                    self.key.clear();
                    key.write_text(&mut self.key);
                    table.delete(connection, &view, &self.key)?;
                }
                ViewChange::Clear { view } => {
                    let table = table(&mut self.views, &view)?;
                    connection
                        .execute(&table.clear, [])
                        .and_then(|_| index::clear(connection, &view))
                        .map_err(|e| failed(e, doing("clear", &view)))?;
                    (table.rows, table.changed, table.finds) = (0, true, false);
                }
            }
        }
        Ok(refusals)
    }

    fn put(
        &mut self,
        connection: &Connection,
        view: &View,
        key: &Key,
        moved_from: Option<&Key>,
        document: &Record,
    ) -> Result<Option<Refusal>> {
        let table = table(&mut self.views, view)?;
        let (key_text, old_text, json) = (&mut self.key, &mut self.old_key, &mut self.document);
        key_text.clear();
        key.write_text(key_text);
        old_text.clear();
        if let Some(old) = moved_from {
            old.write_text(old_text);
        }
        let moved = moved_from.is_some() && old_text != key_text;

        json.clear();
        if document.is_partial() {
            let from = if moved { &*old_text } else { &*key_text };
            let stored: Option<Vec<u8>> = connection
                .prepare_cached(&table.select)
                .and_then(|mut s| {
                    s.query_row([Text(from)], |row| Ok(row.get_ref(0)?.as_bytes()?.to_vec())).optional()
                })
                .map_err(|e| failed(e, doing("read a stored document of", view)))?;
            write_merged(document, stored.as_deref(), json)
                .map_err(|e| e.while_doing(doing("merge into", view)))?;
        } else {
            document.write_json(json);
        }
        if let Some(reason) = too_large(key_text.len(), json.len()) {
            let key = String::from_utf8_lossy(key_text).into_owned();
            return Ok(Some(Refusal { view: view.name.clone(), key, reason }));
        }

        let entries = match table.places(connection, view)? {
            None => None,
            Some(places) => {
                let stored = places.stored(connection, if moved { old_text } else { key_text })?;
                Some(entries::of(view, key, document, &stored)?)
            }
        };
        if moved {
            table.delete(connection, view, old_text)?;
        }
        if let (Some(entries), Some(places)) = (&entries, &table.places) {
            let replaced = places.stored(connection, key_text)?;
            places
                .change(connection, key_text, &replaced, entries)
                .map_err(|e| failed(e, doing("put into the indexes of", view)))?;
        }
        table
            .put(connection, key_text, json, entries.map(|entries| entries::pack(&entries)).as_deref())
            .map_err(|e| failed(e, doing("put into", view)))?;
        Ok(None)
    }

    /// Writes the row counts, as the last thing before the position. Returns how many changes the step had.
    pub(super) fn close(self, connection: &Connection) -> Result<usize> {
        for (name, table) in self.views.iter().filter(|(_, table)| table.changed) {
            connection
                .prepare_cached("UPDATE headwater_view SET \"rows\" = ?2 WHERE name = ?1")
                .and_then(|mut statement| statement.execute((&**name, table.rows)))
                .map_err(|e| failed(e, "write row counts"))?;
        }
        Ok(self.changes)
    }
}

fn table<'a>(views: &'a mut HashMap<ViewId, Table>, view: &View) -> Result<&'a mut Table> {
    views.get_mut(&view.name).ok_or_else(|| {
        Error::out_of_step(format!(
            "the store has no table for the view \"{}\": it was never prepared",
            view.name
        ))
    })
}

fn too_large(key: usize, document: usize) -> Option<String> {
    if key > KEY_BYTES_MAX {
        Some(format!("the key has {key} bytes, the store takes {KEY_BYTES_MAX}"))
    } else if document > DOCUMENT_BYTES_MAX {
        Some(format!("the document has {document} bytes, the store takes {DOCUMENT_BYTES_MAX}"))
    } else {
        None
    }
}

fn doing(what: &str, view: &View) -> String {
    format!("{what} the view \"{}\"", view.name)
}
