//! One step inside its SQL transaction: how changes become rows.
//!
//! A batch of changes is folded per view to one change per key. Which keys are there already is asked of all views in one go;
//! then deletes, updates and new rows go to the server in another one, each a statement over arrays. Many new rows go by COPY, and
//! the server works on the first of them while the next are made.
//! Nobody else writes to these tables, so what was asked stays true until the step ends.
//!
//! Invariant: `rows` of a view in memory is what its table has inside the open transaction; it is written with the
//! position.

use std::collections::{HashMap, HashSet};
use std::mem::take;
use std::sync::Arc;

use headwater_model::{
    Epoch, Error, Held, Key, Layout, Offset, Record, Refusal, Result, Value, View, ViewChange, ViewId,
};

use super::cells::{Array, Lines, bytea};
use super::schema::{self, ROWS_BYTES_MAX, Schema, held_params};
use super::shape::{Shape, takes};
use crate::postgres::codec::Decode;
use crate::postgres::connection::{Bound, COPY_PIECE_BYTES, Connection, Row};
use crate::postgres::sql::identifier;
use crate::sql::store::absent::{Absent, Memory};
use crate::sql::store::fold::{Fold, Folded};
use crate::sql::store::kind::{Kind, is_json};
use crate::sql::store::row::{self, Before, Cell, Fields};
use crate::sql::store::shape::{KEY, own_column, place_column};

/// How every connection that writes is set up. Rows are found by their keys, also while the server has no statistics yet.
pub(super) const SETUP: &str =
    "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off";

/// An index takes entries of 2704 bytes.
pub(super) const KEY_BYTES_MAX: usize = 2600;
/// A value takes 1 GB as the server reads it, where a byte may stand for two.
pub(super) const DOCUMENT_BYTES_MAX: usize = 256 << 20;

/// The views of the open step.
pub(super) struct Step {
    schema: Arc<Schema>,
    memory: Arc<Memory>,
    epoch: Epoch,
    views: HashMap<ViewId, Table>,
}

struct Table {
    view: Option<Arc<View>>,
    sql: String,
    shape: Shape,
    rows: u64,
    absent: Absent,
    changed: bool,
    fold: Fold,
}

struct Statement {
    sql: String,
    params: Vec<Option<String>>,
}

/// So many new rows of a view are written by COPY: fewer are not worth a round trip of their own.
const COPIED_ROWS: usize = 100;

/// A row that is written: what it holds in the columns of its table, as the texts that the types read.
struct Written {
    text: String,
    rest: Option<String>,
    places: Vec<Option<String>>,
    /// One per field of the shape.
    cells: Vec<Cell<String>>,
}

impl Step {
    /// Opens the transaction and locks what the store holds.
    pub async fn open(
        connection: &mut Connection,
        schema: Arc<Schema>,
        memory: Arc<Memory>,
        epoch: Epoch,
        after: Offset,
    ) -> Result<Step> {
        let out_of_step = |what: String| Err(Error::out_of_step(format!("the store {what}")));
        let (held, views) = (format!("{} FOR UPDATE OF h", schema.held_sql()), schema.views_sql());
        let all = [
            Bound { sql: "BEGIN ISOLATION LEVEL READ COMMITTED", params: &[] },
            Bound { sql: &held, params: &[] },
            Bound { sql: &views, params: &[] },
        ];
        let mut results = match connection.run_bound(&all, ROWS_BYTES_MAX).await {
            Ok(results) => results,
            Err(error) if schema::is_missing(&error) => return out_of_step("is empty".to_owned()),
            Err(error) => return Err(error.while_doing("begin to write to the store")),
        };
        let (Some(rows), Some(held)) = (results.pop(), results.pop()) else {
            return Err(Error::bug("the server left out a result"));
        };
        match schema::held(&held)? {
            None => out_of_step("is empty".to_owned()),
            Some(held) => {
                held.admit(epoch, after)?;
                let mut absent = memory.take(epoch, after);
                let views = rows.iter().map(|row| table(&schema, row, &mut absent)).collect::<Result<_>>()?;
                Ok(Step { schema, memory, epoch, views })
            }
        }
    }

    pub async fn write(
        &mut self,
        connection: &mut Connection,
        changes: Vec<ViewChange>,
    ) -> Result<Vec<Refusal>> {
        let mut refusals = Vec::new();
        for change in changes {
            let view = change.view().clone();
            let table = self.views.get_mut(&view.name).ok_or_else(|| {
                Error::out_of_step(format!(
                    "the store has no table for the view \"{}\": it was never prepared",
                    view.name
                ))
            })?;
            if table.view.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &view) && **known != *view) {
                flush([&mut *table], connection, &mut refusals).await?;
                table.view = Some(view);
            }
            match change {
                ViewChange::Put { key, moved_from, document, .. } => {
                    table.put(connection, key, moved_from, document, &mut refusals).await?;
                }
                ViewChange::Delete { key, .. } => table.fold.delete(key.to_text(), key),
                ViewChange::Clear { .. } => table.clear(connection).await?,
            }
        }
        flush(self.views.values_mut(), connection, &mut refusals).await?;
        Ok(refusals)
    }

    /// Writes row counts and position, and ends the transaction.
    pub async fn commit(mut self, connection: &mut Connection, held: &Held) -> Result<()> {
        if held.epoch != self.epoch {
            return Err(Error::bug(format!("a step of epoch {} ends as epoch {}", self.epoch, held.epoch)));
        }
        let set_view = self.schema.set_view_sql();
        let views: Vec<[Option<String>; 3]> = (self.views.iter())
            .filter(|(_, table)| table.changed)
            .map(|(name, table)| {
                [Some(name.to_string()), Some(table.rows.to_string()), Some(table.shape.fields_text())]
            })
            .collect();
        let (set_held, params) = (self.schema.set_held_sql(), held_params(held));
        let mut all: Vec<Bound<'_>> = views.iter().map(|params| Bound { sql: &set_view, params }).collect();
        all.push(Bound { sql: &set_held, params: &params });
        all.push(Bound { sql: "COMMIT", params: &[] });
        connection.run_bound(&all, ROWS_BYTES_MAX).await.map_err(|e| e.while_doing("commit to the store"))?;
        self.memory.keep(held, self.views.iter_mut().map(|(view, table)| (view, take(&mut table.absent))));
        Ok(())
    }
}

/// Reads a row of [`Schema::views_sql`].
fn table(schema: &Schema, row: &Row, absent: &mut impl FnMut(&ViewId) -> Absent) -> Result<(ViewId, Table)> {
    let [Some(layout), Some(fields), Some(rows), Some(name)] = row.as_slice() else {
        return Err(Error::corrupt("what headwater_view says cannot be read"));
    };
    let view = ViewId::from(name.as_str());
    let table = Table {
        view: None,
        sql: schema.table(name),
        shape: Shape::read(layout, fields)?,
        rows: rows.parse().unwrap_or(0),
        absent: absent(&view),
        changed: false,
        fold: Fold::default(),
    };
    Ok((view, table))
}

impl Table {
    async fn put(
        &mut self,
        connection: &mut Connection,
        key: Key,
        moved_from: Option<Key>,
        document: Record,
        refusals: &mut Vec<Refusal>,
    ) -> Result<()> {
        let text = key.to_text();
        if text.len() > KEY_BYTES_MAX {
            let reason = format!("the key has {} bytes, the store takes {KEY_BYTES_MAX}", text.len());
            refusals.push(self.refusal(text, reason));
            return Ok(());
        }
        if let Some(old) = moved_from {
            let old_text = old.to_text();
            if old_text != text {
                if document.is_partial() {
                    flush([&mut *self], connection, refusals).await?;
                    self.rename(connection, &old_text, &text).await?;
                } else {
                    self.fold.delete(old_text, old);
                }
            }
        }
        self.fold.put(text, key, document);
        Ok(())
    }

    /// Gives a row another key, so that what a partial document leaves stays.
    async fn rename(&mut self, connection: &mut Connection, old: &str, new: &str) -> Result<()> {
        let params = [Some(old.to_owned()), Some(new.to_owned())];
        let delete = format!("DELETE FROM {} WHERE {KEY} = $1 RETURNING 1", self.sql);
        let update = format!("UPDATE {} SET {KEY} = $2 WHERE {KEY} = $1", self.sql);
        let all = [Bound { sql: &delete, params: &params[1..] }, Bound { sql: &update, params: &params }];
        let results = connection.run_bound(&all, ROWS_BYTES_MAX).await.map_err(|e| self.failed("move", e))?;
        self.rows = self.rows.saturating_sub(results.first().map_or(0, Vec::len) as u64);
        self.absent.not(new);
        self.changed = true;
        Ok(())
    }

    /// By DELETE, which readers that are under way do not see: TRUNCATE would empty the table for them too.
    async fn clear(&mut self, connection: &mut Connection) -> Result<()> {
        self.fold.clear();
        connection.query(&format!("DELETE FROM {}", self.sql)).await.map_err(|e| self.failed("clear", e))?;
        (self.rows, self.changed) = (0, true);
        self.absent.all();
        Ok(())
    }

    /// What is asked before these changes are written: which of the keys have a row, and what the rows hold that partial
    /// documents are laid over.
    fn asks(&self, view: &View, changes: &[Folded]) -> Vec<Statement> {
        let unsure = |change: &&Folded| !self.absent.has(change, self.rows);
        let unsure: Vec<&Folded> = changes.iter().filter(unsure).collect();
        if unsure.is_empty() {
            return Vec::new();
        }
        let of = |columns: &str, keys: String| {
            let sql = format!("SELECT {columns} FROM {} WHERE {KEY} = ANY($1::text[])", self.sql);
            Statement { sql, params: vec![Some(keys)] }
        };
        let mut asks = vec![of(KEY, Array::of(unsure.iter().map(|change| &*change.text)))];
        let is_partial = |change: &&Folded| change.document.as_ref().is_some_and(Record::is_partial);
        let partial: Vec<&str> = unsure.into_iter().filter(is_partial).map(|change| &*change.text).collect();
        if !partial.is_empty() {
            let places: String = (0..view.indexes.len()).map(|n| format!(", {}", place_column(n))).collect();
            asks.push(of(&format!("{KEY}, {}{places}", own_column(self.shape.layout)), Array::of(partial)));
        }
        asks
    }

    /// The statements that write changes, but for [`Table::copy`].
    fn writes(
        &mut self,
        view: &View,
        changes: Vec<Folded>,
        there: &HashSet<String>,
        before: &HashMap<String, Before>,
        refusals: &mut Vec<Refusal>,
    ) -> Result<Vec<Statement>> {
        let (mut deleted, mut inserted) = (Vec::new(), Vec::new());
        let mut updates: HashMap<Vec<bool>, Arrays> = HashMap::new();
        let mut fields = Fields::default();
        for Folded { text, key, document } in changes {
            let is_there = there.contains(&text);
            let Some(document) = document else {
                if is_there {
                    deleted.push(text);
                }
                continue;
            };
            let row = match self.row(view, text, &key, &document, before, &mut fields)? {
                Ok(row) => row,
                Err(refusal) => {
                    refusals.push(refusal);
                    continue;
                }
            };
            self.absent.not(&row.text);
            if is_there {
                let kept: Vec<bool> = row.cells.iter().map(|cell| matches!(cell, Cell::Kept)).collect();
                updates.entry(kept).or_default().push(&row);
            } else {
                inserted.push(row);
            }
        }
        self.changed = true;
        self.rows = (self.rows + inserted.len() as u64).saturating_sub(deleted.len() as u64);
        let mut statements = Vec::new();
        if !deleted.is_empty() {
            let sql = format!("DELETE FROM {} WHERE {KEY} = ANY($1::text[])", self.sql);
            statements
                .push(Statement { sql, params: vec![Some(Array::of(deleted.iter().map(String::as_str)))] });
        }
        for (kept, rows) in updates {
            statements.push(self.update(view, &kept, rows));
        }
        if !inserted.is_empty() {
            let mut rows = Arrays::default();
            inserted.iter().for_each(|row| rows.push(row));
            statements.push(self.insert(view, rows));
        }
        Ok(statements)
    }

    /// Writes many new rows.
    async fn copy(
        &mut self,
        connection: &mut Connection,
        view: &View,
        new: Vec<Folded>,
        refusals: &mut Vec<Refusal>,
    ) -> Result<()> {
        let sql = format!("COPY {} ({}) FROM STDIN", self.sql, self.columns(view).join(", "));
        connection.begin_copy(&sql).await?;
        let (mut lines, mut fields) = (Lines::default(), Fields::default());
        for Folded { text, key, document } in new {
            let Some(document) = document else { continue };
            match self.row(view, text, &key, &document, &HashMap::new(), &mut fields)? {
                Ok(row) => {
                    self.absent.not(&row.text);
                    self.rows += 1;
                    line(&row, &mut lines);
                }
                Err(refusal) => refusals.push(refusal),
            }
            if lines.bytes.len() >= COPY_PIECE_BYTES {
                connection.copy(&lines.bytes).await?;
                lines.bytes.clear();
            }
        }
        connection.copy(&lines.bytes).await?;
        connection.end_copy().await?;
        self.changed = true;
        Ok(())
    }

    /// Adds a column for each field that has a value for the first time.
    async fn grow(&mut self, connection: &mut Connection, changes: &[Folded]) -> Result<()> {
        if self.shape.layout == Layout::Json {
            return Ok(());
        }
        let mut added = Vec::new();
        for document in changes.iter().filter_map(|change| change.document.as_ref()) {
            for (name, value) in document.fields() {
                let Some(kind) = Kind::of(value) else { continue };
                if !self.shape.has(name) && takes(&self.shape, name) {
                    added.push(format!("ADD COLUMN {} {}", identifier(name), kind.word()));
                    self.shape.fields.push((name.into(), kind));
                }
            }
        }
        if !added.is_empty() {
            let sql = format!("ALTER TABLE {} {}", self.sql, added.join(", "));
            connection.query(&sql).await.map_err(|e| self.failed("add columns to", e))?;
        }
        Ok(())
    }

    fn row(
        &self,
        view: &View,
        text: String,
        key: &Key,
        document: &Record,
        before: &HashMap<String, Before>,
        fields: &mut Fields,
    ) -> Result<std::result::Result<Written, Refusal>> {
        let before = before.get(&text);
        let places = row::places(view, key, document, before)?;
        let places = places.into_iter().map(|place| place.map(|place| bytea(&place))).collect();
        let (own, cells) = match self.shape.layout {
            Layout::Json => (Some(row::json(document, before)?), Vec::new()),
            Layout::Hash => row::cells(&self.shape, document, before, fields)?,
        };
        let bytes = own.as_ref().map_or(0, String::len) + cells.iter().map(length).sum::<usize>();
        if bytes > DOCUMENT_BYTES_MAX {
            let reason = format!("the document has {bytes} bytes, the store takes {DOCUMENT_BYTES_MAX}");
            return Ok(Err(self.refusal(text, reason)));
        }
        if self.shape.layout == Layout::Json && !own.as_deref().is_some_and(is_json) {
            return Ok(Err(self.refusal(text, "the document is no JSON that the store takes".into())));
        }
        Ok(Ok(Written { text, rest: own, places, cells }))
    }

    /// The columns of a whole row, in the order of [`line`].
    fn columns(&self, view: &View) -> Vec<String> {
        let mut columns = vec![KEY.to_owned(), own_column(self.shape.layout).to_owned()];
        columns.extend((0..view.indexes.len()).map(place_column));
        columns.extend(self.shape.fields.iter().map(|(name, _)| identifier(name)));
        columns
    }

    /// The types of these columns.
    fn types(&self, view: &View) -> impl Iterator<Item = &'static str> {
        (["text", "json"].into_iter())
            .chain(std::iter::repeat_n("bytea", view.indexes.len()))
            .chain(self.shape.fields.iter().map(|(_, kind)| kind.word()))
    }

    /// One statement for rows that keep the same columns.
    fn update(&self, view: &View, kept: &[bool], rows: Arrays) -> Statement {
        let is_kept = |place: usize| {
            place.checked_sub(2 + view.indexes.len()).is_some_and(|field| kept.get(field) == Some(&true))
        };
        let (mut set, mut arrays, mut names, mut params) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let columns = self.columns(view).into_iter().zip(self.types(view)).zip(rows.0);
        for (place, ((column, kind), array)) in columns.enumerate().filter(|(place, _)| !is_kept(*place)) {
            params.push(Some(array.text()));
            arrays.push(format!("${}::{kind}[]", params.len()));
            names.push(format!("c{place}"));
            if place > 0 {
                set.push(format!("{column} = v.c{place}"));
            }
        }
        let sql = format!(
            "UPDATE {} t SET {} FROM unnest({}) AS v({}) WHERE t.{KEY} = v.c0",
            self.sql,
            set.join(", "),
            arrays.join(", "),
            names.join(", ")
        );
        Statement { sql, params }
    }

    fn insert(&self, view: &View, rows: Arrays) -> Statement {
        let arrays: Vec<String> =
            self.types(view).enumerate().map(|(place, kind)| format!("${}::{kind}[]", place + 1)).collect();
        let sql = format!(
            "INSERT INTO {} ({}) SELECT * FROM unnest({})",
            self.sql,
            self.columns(view).join(", "),
            arrays.join(", ")
        );
        Statement { sql, params: rows.0.into_iter().map(|array| Some(array.text())).collect() }
    }

    fn refusal(&self, key: String, reason: String) -> Refusal {
        let view = self.view.as_ref().map(|view| view.name.clone()).unwrap_or_default();
        Refusal { view, key, reason }
    }

    fn failed(&self, doing: &str, error: Error) -> Error {
        error.while_doing(format!("{doing} {}", self.sql))
    }
}

fn length(cell: &Cell<String>) -> usize {
    match cell {
        Cell::Set(Some(text)) => text.len(),
        Cell::Set(None) | Cell::Kept => 0,
    }
}

/// Rows of one statement, an array per column.
#[derive(Default)]
struct Arrays(Vec<Array>);

impl Arrays {
    fn push(&mut self, row: &Written) {
        let mut place = 0;
        each_cell(row, |text| {
            if self.0.len() == place {
                self.0.push(Array::default());
            }
            self.0[place].push(text);
            place += 1;
        });
    }
}

/// A whole row, in the order of [`Table::columns`].
fn line(row: &Written, lines: &mut Lines) {
    each_cell(row, |text| lines.cell(text));
    lines.end();
}

/// What a partial document leaves as it is comes as NULL: that is what it is where there was no row, and nobody looks at it where
/// there is one.
fn each_cell(row: &Written, mut give: impl FnMut(Option<&str>)) {
    give(Some(&row.text));
    give(row.rest.as_deref());
    for place in &row.places {
        give(place.as_deref());
    }
    for cell in &row.cells {
        match cell {
            Cell::Set(text) => give(text.as_deref()),
            Cell::Kept => give(None),
        }
    }
}

/// Writes what was folded in these tables.
async fn flush(
    tables: impl IntoIterator<Item = &mut Table>,
    connection: &mut Connection,
    refusals: &mut Vec<Refusal>,
) -> Result<()> {
    let mut works = Vec::new();
    let mut asked = Vec::new();
    for table in tables {
        if table.fold.is_empty() {
            continue;
        }
        let Some(view) = table.view.clone() else { return Err(Error::bug("changes without a view")) };
        let changes = table.fold.take();
        let asks = table.asks(&view, &changes);
        works.push((table, view, changes, asks.len()));
        asked.extend(asks);
    }
    let mut answers = run(connection, &asked).await?.into_iter();
    let (mut statements, mut copies) = (Vec::new(), Vec::new());
    for (table, view, changes, asks) in works {
        let mut answer = |ask: usize| if asks > ask { answers.next() } else { None };
        let there: HashSet<String> =
            (answer(0).unwrap_or_default().into_iter()).filter_map(|mut row| row.pop().flatten()).collect();
        let before = befores(answer(1).unwrap_or_default())?;
        table.grow(connection, &changes).await?;
        let is_new = |change: &Folded| change.document.is_some() && !there.contains(&change.text);
        let (mut new, mut rest): (Vec<Folded>, Vec<Folded>) = changes.into_iter().partition(is_new);
        if new.len() < COPIED_ROWS {
            rest.append(&mut new);
        }
        statements.extend(table.writes(&view, rest, &there, &before, refusals)?);
        copies.extend((!new.is_empty()).then_some((table, view, new)));
    }
    run(connection, &statements).await?;
    for (table, view, new) in copies {
        let copied = table.copy(connection, &view, new, refusals).await;
        copied.map_err(|error| error.while_doing("write to the store"))?;
    }
    Ok(())
}

/// Sends statements at once, and returns the rows of each.
async fn run(connection: &mut Connection, statements: &[Statement]) -> Result<Vec<Vec<Row>>> {
    if statements.is_empty() {
        return Ok(Vec::new());
    }
    let bound: Vec<Bound<'_>> =
        statements.iter().map(|statement| Bound { sql: &statement.sql, params: &statement.params }).collect();
    let results = connection.run_bound(&bound, ROWS_BYTES_MAX).await;
    results.map_err(|error| error.while_doing("write to the store"))
}

/// What rows hold, by key.
fn befores(rows: Vec<Row>) -> Result<HashMap<String, Before>> {
    let mut before = HashMap::with_capacity(rows.len());
    for row in rows {
        let mut cells = row.into_iter();
        let Some(key) = cells.next().flatten() else { continue };
        let text = cells.next().flatten();
        let places = cells.map(|cell| cell.map(|hex| unhex(&hex)).transpose()).collect::<Result<_>>()?;
        before.insert(key, Before { text, places });
    }
    Ok(before)
}

/// Reads `bytea` as the server prints it.
pub(super) fn unhex(text: &str) -> Result<Vec<u8>> {
    match Decode::Bytes.value(text.as_bytes()) {
        Some(Value::Bytes(bytes)) => Ok(bytes.into_vec()),
        _ => Err(Error::corrupt("a place in an index cannot be read")),
    }
}
