//! One step inside its SQL transaction: how changes become rows.
//!
//! A batch of changes is folded per view to one change per key. Which keys are there already is asked of all views in one go;
//! then deletes, updates and new rows go to the server, many to a statement and many statements to a packet. Nobody else writes
//! to these tables, so what was asked stays true until the step ends.
//!
//! Invariant: `rows` of a view in memory is what its table has inside the open transaction; it is written with the
//! position.

use std::collections::{HashMap, HashSet};
use std::mem::take;
use std::sync::Arc;

use headwater_model::{
    Epoch, Error, Held, Key, Layout, Offset, Record, Refusal, Result, View, ViewChange, ViewId,
};

use super::column::{Column, Shape, takes};
use super::grow::{self, Added};
use super::load::{self, Load};
use super::place::{START_BYTES, columns_sql, rest_column, whole};
use super::schema::{self, ROWS_BYTES_MAX, Schema, held_of};
use super::sql::{Datum, packets, statements, text_of};
use super::written::Written;
use crate::mysql::connection::{Cells, Connection, Pool, text as text_at};
use crate::sql::quoted;
use crate::sql::store::absent::{Absent, Memory};
use crate::sql::store::fold::{Fold, Folded};
use crate::sql::store::kind::is_json;
use crate::sql::store::row::{self, Before, Cell, Fields};
use crate::sql::store::shape::{KEY, own_column, place_column};

/// What a primary key takes with pages of 16 KiB.
pub(super) const KEY_BYTES_MAX: usize = 3072;

/// What is added to a row where it becomes a statement: names, above all.
const STATEMENT_BYTES: usize = 128 << 10;
/// The smallest `max_allowed_packet` that rows fit into.
pub(super) const PACKET_BYTES_MIN: usize = 512 << 10;
/// The server works on a packet as a whole: larger ones are no faster.
const PACKET_BYTES: usize = 1 << 20;

/// Changes that become rows while those before them are written.
const PART_CHANGES: usize = 2000;
/// Changes after which the connection has its turn.
const TURN_CHANGES: usize = 100;

/// Keys that one statement looks up: for more, servers may read the whole table instead.
const KEYS_MAX: usize = 500;

/// The largest row, as it is written in SQL.
pub(super) fn row_bytes_max(packet_max: usize) -> usize {
    packet_max.saturating_sub(STATEMENT_BYTES)
}

/// The views of the open step.
pub(super) struct Step {
    schema: Arc<Schema>,
    memory: Arc<Memory>,
    epoch: Epoch,
    takes: Takes,
    views: HashMap<ViewId, Table>,
}

/// What the server takes.
#[derive(Clone, Copy)]
struct Takes {
    /// Bytes of a packet.
    packet_max: usize,
    /// Whether rows may come by LOAD DATA LOCAL.
    load: bool,
}

impl Takes {
    /// Bytes of statements that go together.
    fn bytes_max(self) -> usize {
        self.packet_max.min(PACKET_BYTES)
    }
}

struct Table {
    view: Option<Arc<View>>,
    name: ViewId,
    sql: String,
    shape: Shape,
    rows: u64,
    absent: Absent,
    /// Fields that came for the first time after the step had touched the table.
    late: Added,
    touched: bool,
    changed: bool,
    fold: Fold,
}

/// What is asked of a table before changes of it are written.
enum Ask {
    /// Which keys have a row.
    There,
    /// What rows hold that partial documents are laid over.
    Before,
}

/// What writes changes: statements, then new rows that are too many for them.
#[derive(Default)]
struct Writes {
    statements: Vec<Vec<u8>>,
    load: Option<Load>,
}

impl Writes {
    /// Whether it is enough to be sent while more is made.
    fn is_much(&self, bytes_max: usize) -> bool {
        self.load.is_some() || self.statements.iter().map(Vec::len).sum::<usize>() >= bytes_max
    }

    async fn send(self, connection: &mut Connection, bytes_max: usize) -> Result<()> {
        run(connection, self.statements, bytes_max).await?;
        match self.load {
            Some(load) => {
                load.run(connection, bytes_max).await.map_err(|e| e.while_doing("write to the store"))
            }
            None => Ok(()),
        }
    }
}

impl Step {
    /// Opens the transaction and locks what the store holds. Fields that came late in the step before get their columns.
    pub async fn open(
        connection: &mut Connection,
        side: &Pool,
        schema: Arc<Schema>,
        memory: Arc<Memory>,
        epoch: Epoch,
        after: Offset,
    ) -> Result<Step> {
        let out_of_step = |what: String| Err(Error::out_of_step(format!("the store {what}")));
        let sql = format!(
            "SELECT GET_LOCK({}, 0), @@max_allowed_packet, @@local_infile; START TRANSACTION; {} FOR UPDATE; {}; {}",
            schema.lock,
            schema.held_sql(),
            schema.gone_sql(),
            schema.views_sql()
        );
        let results = match connection.results(sql, ROWS_BYTES_MAX).await {
            Ok(results) => results,
            Err(error) if schema::is_missing(&error) => return out_of_step("is empty".to_owned()),
            Err(error) => return Err(error.while_doing("begin to write to the store")),
        };
        let [server, _, held, gone, views] = &results[..] else { return Err(schema::left_out()) };
        match held_of(held)? {
            None => return out_of_step("is empty".to_owned()),
            Some(_) if !gone.is_empty() => return out_of_step("is empty: a view's table is gone".to_owned()),
            Some(held) => held.admit(epoch, after)?,
        }
        let takes = Takes {
            packet_max: server
                .first()
                .and_then(|row| text_at(row, 1).parse().ok())
                .unwrap_or(PACKET_BYTES_MIN),
            load: server.first().is_some_and(|row| text_at(row, 2) == "1"),
        };
        let mut absent = memory.take(epoch, after);
        let views = views.iter().map(|row| table(&schema, row, &mut absent)).collect::<Result<_>>()?;
        let mut step = Step { schema, memory, epoch, takes, views };
        for table in step.views.values_mut().filter(|table| !table.late.is_empty()) {
            table.settle(connection, side, takes.bytes_max()).await?;
        }
        Ok(step)
    }

    pub async fn write(
        &mut self,
        connection: &mut Connection,
        side: &Pool,
        changes: Vec<ViewChange>,
    ) -> Result<Vec<Refusal>> {
        let mut refusals = Vec::new();
        let takes = self.takes;
        for change in changes {
            let view = change.view().clone();
            let table = self.views.get_mut(&view.name).ok_or_else(|| {
                Error::out_of_step(format!(
                    "the store has no table for the view \"{}\": it was never prepared",
                    view.name
                ))
            })?;
            if table.view.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &view) && **known != *view) {
                flush([&mut *table], connection, side, takes, &mut refusals).await?;
                table.view = Some(view);
            }
            match change {
                ViewChange::Put { key, moved_from, document, .. } => {
                    let text = key.to_text();
                    if text.len() > KEY_BYTES_MAX {
                        let reason =
                            format!("the key has {} bytes, the store takes {KEY_BYTES_MAX}", text.len());
                        refusals.push(table.refusal(text, reason));
                        continue;
                    }
                    let old = moved_from.map(|old| (old.to_text(), old)).filter(|(old, _)| *old != text);
                    match old {
                        Some((old, _)) if document.is_partial() => {
                            flush([&mut *table], connection, side, takes, &mut refusals).await?;
                            table.rename(connection, &old, &text).await?;
                        }
                        Some((old, key)) => table.fold.delete(old, key),
                        None => {}
                    }
                    table.fold.put(text, key, document);
                }
                ViewChange::Delete { key, .. } => table.fold.delete(key.to_text(), key),
                ViewChange::Clear { .. } => table.clear(connection).await?,
            }
        }
        flush(self.views.values_mut(), connection, side, takes, &mut refusals).await?;
        Ok(refusals)
    }

    /// Writes row counts and position, and ends the transaction. Returns whether fields wait for their columns.
    pub async fn commit(mut self, connection: &mut Connection, held: &Held) -> Result<bool> {
        if held.epoch != self.epoch {
            return Err(Error::bug(format!("a step of epoch {} ends as epoch {}", self.epoch, held.epoch)));
        }
        let mut all: Vec<Vec<u8>> = (self.views.iter())
            .filter(|(_, table)| table.changed)
            .map(|(name, table)| {
                let late = Shape { layout: table.shape.layout, fields: table.late.clone() }.fields_text();
                self.schema.set_view_sql(name, table.rows, &table.shape.fields_text(), &late).into_bytes()
            })
            .collect();
        all.push(self.schema.set_held_sql(held).into_bytes());
        all.push(b"COMMIT".into());
        all.push(format!("DO RELEASE_LOCK({})", self.schema.lock).into_bytes());
        run(connection, all, self.takes.packet_max)
            .await
            .map_err(|e| e.while_doing("commit to the store"))?;
        self.memory.keep(held, self.views.iter_mut().map(|(view, table)| (view, take(&mut table.absent))));
        Ok(self.views.values().any(|table| !table.late.is_empty()))
    }
}

/// Reads a row of [`Schema::views_sql`].
fn table(
    schema: &Schema,
    row: &Cells,
    absent: &mut impl FnMut(&ViewId) -> Absent,
) -> Result<(ViewId, Table)> {
    let (layout, name) = (text_at(row, 0), text_at(row, 3));
    let view = ViewId::from(name.as_str());
    let table = Table {
        view: None,
        name: view.clone(),
        sql: schema.table(&name),
        shape: Shape::read(&layout, &text_at(row, 1))?,
        rows: text_at(row, 2).parse().unwrap_or(0),
        absent: absent(&view),
        late: Shape::read(&layout, &text_at(row, 4))?.fields,
        touched: false,
        changed: false,
        fold: Fold::default(),
    };
    Ok((view, table))
}

impl Table {
    async fn settle(&mut self, connection: &mut Connection, side: &Pool, packet_max: usize) -> Result<()> {
        let late = std::mem::take(&mut self.late);
        (self.touched, self.changed) = (true, true);
        grow::settle(connection, side, &self.sql, &self.name, &mut self.shape, late, packet_max)
            .await
            .map_err(|error| self.failed("add late columns to", error))
    }

    /// Gives a row another key, so that what a partial document leaves stays.
    async fn rename(&mut self, connection: &mut Connection, old: &str, new: &str) -> Result<()> {
        self.absent.not(new);
        let (old, new) = (text_of(old), text_of(new));
        let sql = format!(
            "DELETE FROM {table} WHERE {KEY} = {new}; SELECT ROW_COUNT(); \
             UPDATE {table} SET {KEY} = {new} WHERE {KEY} = {old}",
            table = self.sql
        );
        let results = connection.results(sql, ROWS_BYTES_MAX).await.map_err(|e| self.failed("move", e))?;
        let deleted = results.get(1).and_then(|rows| text_at(rows.first()?, 0).parse().ok()).unwrap_or(0);
        self.rows = self.rows.saturating_sub(deleted);
        (self.touched, self.changed) = (true, true);
        Ok(())
    }

    async fn clear(&mut self, connection: &mut Connection) -> Result<()> {
        self.fold.clear();
        schema::clear(connection, &self.sql).await.map_err(|e| self.failed("clear", e))?;
        (self.touched, self.changed, self.rows) = (true, true, 0);
        self.absent.all();
        Ok(())
    }

    /// Adds a column for each field that has a value for the first time, or notes that it came too late.
    async fn grow(&mut self, side: &Pool, view: &View, changes: &[Folded]) -> Result<()> {
        if self.shape.layout == Layout::Json {
            return Ok(());
        }
        let mut added: Added = Vec::new();
        for document in changes.iter().filter_map(|change| change.document.as_ref()) {
            for (name, value) in document.fields() {
                if self.shape.has(name) {
                    continue;
                }
                let Some(column) = Column::of(value) else { continue };
                // The usual scale of decimals is that of the longest of the first ones.
                match added.iter_mut().find(|(known, _)| **known == *name) {
                    Some((_, known)) => *known = known.widened(column),
                    None => added.push((name.into(), column)),
                }
            }
        }
        let mut shape = self.shape.clone();
        shape.fields.extend(self.late.iter().cloned());
        added.retain(|(name, column)| {
            let takes = takes(&shape, view.indexes.len(), name, *column);
            shape.fields.extend(takes.then(|| (name.clone(), *column)));
            takes
        });
        if added.is_empty() {
            return Ok(());
        }
        if self.touched {
            self.late.extend(added);
            return Ok(());
        }
        grow::add(side, &self.sql, &self.name, &added).await?;
        self.shape.fields.extend(added);
        Ok(())
    }

    /// What is asked before these changes are written.
    fn asks(&self, view: &View, changes: &[Folded], packet_max: usize) -> Vec<(Ask, Vec<u8>)> {
        let is_unsure = |change: &&Folded| !self.absent.has(change, self.rows);
        let literals = |keys: &mut dyn Iterator<Item = &Folded>| -> Vec<Vec<u8>> {
            keys.map(|change| text_of(&change.text).into_bytes()).collect()
        };
        let of = |columns: &str, keys: Vec<Vec<u8>>| {
            let head =
                format!("SELECT {columns} FROM {} v FORCE INDEX (PRIMARY) WHERE v.{KEY} IN (", self.sql);
            statements(&head, &keys, ")", packet_max, KEYS_MAX)
        };
        let there = of(&format!("v.{KEY}"), literals(&mut changes.iter().filter(is_unsure)));
        let is_partial = |change: &&Folded| change.document.as_ref().is_some_and(Record::is_partial);
        let places: String = (0..view.indexes.len()).map(|n| format!(", {}", columns_sql(n))).collect();
        let columns = format!("v.{KEY}, v.{}{places}", own_column(self.shape.layout));
        let before = of(&columns, literals(&mut changes.iter().filter(is_unsure).filter(is_partial)));
        there
            .into_iter()
            .map(|sql| (Ask::There, sql))
            .chain(before.into_iter().map(|sql| (Ask::Before, sql)))
            .collect()
    }

    /// Makes rows of changes.
    async fn writes(
        &mut self,
        view: &View,
        changes: Vec<Folded>,
        there: &HashSet<String>,
        before: &HashMap<String, Before>,
        takes: Takes,
        refusals: &mut Vec<Refusal>,
    ) -> Result<Writes> {
        let (mut deleted, mut inserted) = (Vec::new(), Vec::new());
        let mut updated: HashMap<Vec<bool>, Vec<Vec<u8>>> = HashMap::new();
        let mut fields = Fields::default();
        for (n, Folded { text, key, document }) in changes.into_iter().enumerate() {
            if n % TURN_CHANGES == TURN_CHANGES - 1 {
                tokio::task::yield_now().await;
            }
            let is_there = there.contains(&text);
            let Some(document) = document else {
                if is_there {
                    deleted.push(text_of(&text).into_bytes());
                }
                continue;
            };
            let row = match self.row(view, &text, &key, &document, before, takes.packet_max, &mut fields)? {
                Ok(row) => row,
                Err(refusal) => {
                    refusals.push(refusal);
                    continue;
                }
            };
            self.absent.not(&text);
            if is_there {
                let kept = row.kept();
                let values = row.values(&kept);
                updated.entry(kept).or_default().push(values);
            } else {
                inserted.push(row);
            }
        }
        self.changed = true;
        self.rows = (self.rows + inserted.len() as u64).saturating_sub(deleted.len() as u64);
        let bytes_max = takes.bytes_max();
        let head = format!("DELETE FROM {} WHERE {KEY} IN (", self.sql);
        let mut out = statements(&head, &deleted, ")", bytes_max, KEYS_MAX);
        for (kept, lines) in updated {
            let columns = self.columns(view, &kept);
            let set: Vec<String> =
                columns[1..].iter().map(|column| format!("{column} = VALUES({column})")).collect();
            let head = format!("INSERT INTO {} ({}) VALUES ", self.sql, columns.join(", "));
            let tail = format!(" ON DUPLICATE KEY UPDATE {}", set.join(", "));
            out.extend(statements(&head, &lines, &tail, bytes_max, usize::MAX));
        }
        let (table, columns) = (self.sql.clone(), self.columns(view, &[]).join(", "));
        let new = Load { table, columns, rows: inserted };
        if takes.load && new.rows.len() >= load::ROWS_MIN {
            return Ok(Writes { statements: out, load: Some(new) });
        }
        out.extend(new.inserts(bytes_max));
        Ok(Writes { statements: out, load: None })
    }

    #[allow(clippy::too_many_arguments)]
    fn row(
        &self,
        view: &View,
        text: &str,
        key: &Key,
        document: &Record,
        before: &HashMap<String, Before>,
        packet_max: usize,
        fields: &mut Fields,
    ) -> Result<std::result::Result<Written, Refusal>> {
        let before = before.get(text);
        let mut columns = vec![Cell::Set(Some(Datum::Text(text.to_owned())))];
        let (own, cells) = match self.shape.layout {
            Layout::Json => (Some(row::json(document, before)?), Vec::new()),
            Layout::Hash => row::cells(&self.shape, document, before, fields)?,
        };
        if self.shape.layout == Layout::Json && !own.as_deref().is_some_and(is_json) {
            return Ok(Err(
                self.refusal(text.to_owned(), "the document is no JSON that the store takes".into())
            ));
        }
        columns.push(Cell::Set(own.map(Datum::Text)));
        for place in row::places(view, key, document, before)? {
            let (start, rest) = match &place {
                Some(place) => place.split_at(place.len().min(START_BYTES)),
                None => (&[][..], &[][..]),
            };
            columns.push(Cell::Set(place.is_some().then(|| Datum::Bytes(start.to_vec()))));
            columns.push(Cell::Set((!rest.is_empty()).then(|| Datum::Bytes(rest.to_vec()))));
        }
        columns.extend(cells);
        let written = Written(columns);
        let (bytes, bytes_max) = (written.len(), row_bytes_max(packet_max));
        if bytes > bytes_max {
            let reason = format!(
                "the document has {bytes} bytes as it is written in SQL, the store's server takes {bytes_max} (max_allowed_packet)"
            );
            return Ok(Err(self.refusal(text.to_owned(), reason)));
        }
        Ok(Ok(written))
    }

    /// The columns of a whole row without those that are kept, in the order of [`Written`].
    fn columns(&self, view: &View, kept: &[bool]) -> Vec<String> {
        let mut columns = vec![KEY.to_owned(), own_column(self.shape.layout).to_owned()];
        columns.extend((0..view.indexes.len()).flat_map(|n| [place_column(n), rest_column(n)]));
        columns.extend(self.shape.fields.iter().map(|(name, _)| quoted(name)));
        let mut is_kept = kept.iter();
        columns.retain(|_| is_kept.next() != Some(&true));
        columns
    }

    fn refusal(&self, key: String, reason: String) -> Refusal {
        Refusal { view: self.name.clone(), key, reason }
    }

    fn failed(&self, doing: &str, error: Error) -> Error {
        error.while_doing(format!("{doing} {}", self.sql))
    }
}

/// Writes what was folded in these tables.
async fn flush(
    tables: impl IntoIterator<Item = &mut Table>,
    connection: &mut Connection,
    side: &Pool,
    takes: Takes,
    refusals: &mut Vec<Refusal>,
) -> Result<()> {
    let bytes_max = takes.bytes_max();
    let mut works = Vec::new();
    let mut asked = Vec::new();
    for table in tables {
        if table.fold.is_empty() {
            continue;
        }
        let Some(view) = table.view.clone() else { return Err(Error::bug("changes without a view")) };
        let changes = table.fold.take();
        // First: what is asked of a table keeps it from being altered.
        table.grow(side, &view, &changes).await?;
        table.touched = true;
        let (asks, sql): (Vec<Ask>, Vec<Vec<u8>>) =
            table.asks(&view, &changes, bytes_max).into_iter().unzip();
        asked.extend(sql);
        works.push((table, view, changes, asks));
    }
    let mut answers = run(connection, asked, bytes_max).await?.into_iter();
    let mut ready = Writes::default();
    for (table, view, mut changes, asks) in works {
        let (mut there, mut before) = (HashSet::new(), HashMap::new());
        for ask in asks {
            let rows = answers.next().ok_or_else(schema::left_out)?;
            match ask {
                Ask::There => there.extend(rows.iter().map(|row| text_at(row, 0))),
                Ask::Before => before.extend(rows.into_iter().map(before_of)),
            }
        }
        while !changes.is_empty() {
            let rest = changes.split_off(changes.len().min(PART_CHANGES));
            let part = std::mem::replace(&mut changes, rest);
            let making = table.writes(&view, part, &there, &before, takes, refusals);
            let made = match ready.is_much(bytes_max) {
                true => {
                    let (sent, made) = futures::join!(take(&mut ready).send(connection, bytes_max), making);
                    sent.and(made)
                }
                false => making.await,
            }?;
            ready.statements.extend(made.statements);
            ready.load = made.load;
        }
    }
    ready.send(connection, bytes_max).await
}

/// Sends statements, and returns the rows of each that has some.
async fn run(
    connection: &mut Connection,
    statements: Vec<Vec<u8>>,
    bytes_max: usize,
) -> Result<Vec<Vec<Cells>>> {
    let mut all = Vec::new();
    for packet in packets(statements, bytes_max) {
        let results = connection.results(packet, ROWS_BYTES_MAX).await;
        all.extend(results.map_err(|error| error.while_doing("write to the store"))?);
    }
    Ok(all)
}

/// What a row holds, by its key.
fn before_of(row: Cells) -> (String, Before) {
    let text = |cell: Vec<u8>| String::from_utf8_lossy(&cell).into_owned();
    let mut cells = row.into_iter();
    let key = cells.next().flatten().map(text).unwrap_or_default();
    let own = cells.next().flatten().map(text);
    let mut places = Vec::new();
    while let Some(start) = cells.next() {
        places.push(whole(start, cells.next().flatten()));
    }
    (key, Before { text: own, places })
}
