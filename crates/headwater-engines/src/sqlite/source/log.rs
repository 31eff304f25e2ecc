//! The change table as a stream of events.
//!
//! SQLite keeps no trace of where one transaction ended and the next began, so all that is visible at one read is
//! handed on as one transaction: whole transactions of the source, merged. Its rows are read in the read transaction
//! that says how far the change table goes, so they are exactly as of its position.
//!
//! A backlog larger than a window is read in several short read transactions, so that no old snapshot holds back the
//! application's checkpoints. Rows of the first windows are then newer than their place in the change table, which
//! would be wrong at any point before the last window; there it is right: a row that was changed after it was read has
//! a later change id, is met again in a later window, and so the last state handed on for every key is that of the
//! last window's snapshot. Hence the merged transaction commits there and nowhere before.
//!
//! Invariant: everything with a change id up to `upto` is handed on, or waits in `reread`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use headwater_model::{Change, ChunkId, Error, Event, Key, Position, Refused, Result, Row, Value};
use rusqlite::Connection;

use super::capture::kind;
use super::registry::{self, Captured, ROW_IDS_SHOWN, Registry};
use crate::sqlite::codec::{self, parameters};
use crate::sqlite::connection::{failed, is_missing_table};

/// Rows of the change table, or of a table that is read again, per call.
const WINDOW_ROWS: usize = 8192;
const WINDOW_BYTES: usize = 8 << 20;

/// A merged transaction of more windows than this is ended within one snapshot, so that it does end even while the
/// application writes faster than it is read.
pub(super) const FLOATING_WINDOWS_MAX: u32 = 256;

pub(super) struct Log {
    upto: i64,
    /// Between `Begin` and `Commit`.
    open: bool,
    windows: u32,
    committed_at: i64,
    marks: Vec<ChunkId>,
    reread: Option<Reread>,
}

struct Reread {
    table: u32,
    id: i64,
    started: bool,
    after: Option<Key>,
}

impl Log {
    pub(super) fn after(upto: i64) -> Log {
        Log { upto, open: false, windows: 0, committed_at: 0, marks: Vec::new(), reread: None }
    }

    /// Whether a merged transaction is under way: the next window is wanted at once.
    pub(super) fn is_open(&self) -> bool {
        self.open || self.reread.is_some()
    }

    /// Everything up to here is handed on, unless a merged transaction is under way.
    pub(super) fn position(&self, registry: &Registry) -> Position {
        position(&registry.system, self.upto)
    }

    pub(super) fn wants_one_snapshot(&self) -> bool {
        self.windows >= FLOATING_WINDOWS_MAX
    }

    /// The next window, read within the caller's read transaction; empty if there is nothing new.
    pub(super) fn window(&mut self, connection: &Connection, registry: &Registry) -> Result<Vec<Event>> {
        let newest = newest(connection)?;
        if newest < self.upto {
            return Err(Error::out_of_step(format!(
                "the change table ends at {newest}, before change {}: the database was restored from an older copy, or \
                 its change table was emptied",
                self.upto
            )));
        }
        let before = self.upto;
        let mut changes = Vec::new();
        if self.reread.is_none() {
            self.read_keys(connection, registry, newest, &mut changes)?;
        }
        if self.reread.is_some() {
            self.read_again(connection, registry, &mut changes)?;
        }
        let complete = self.upto == newest && self.reread.is_none();
        let position = || position(&registry.system, newest);

        let mut events = Vec::with_capacity(changes.len() + 2);
        if !changes.is_empty() && !self.open {
            self.open = true;
            events.push(Event::Begin { xid: None });
        }
        events.append(&mut changes);
        self.windows += 1;
        if !complete {
            return Ok(events);
        }
        self.windows = 0;
        let committed = std::mem::take(&mut self.open);
        if committed {
            events.push(Event::Commit { position: position(), committed_at: self.committed_at });
        }
        // A mark stands for "everything visible before is in": later than its place in the table is as good. Before the
        // transaction it must not be: that one shows what came after the mark, too.
        for (chunk, place) in self.marks.drain(..).zip(1..) {
            let position = Position::new(registry.system.clone(), sequence(newest) + place);
            events.push(Event::Mark { chunk, position });
        }
        if events.is_empty() && newest > before {
            events.push(Event::Idle { position: position() });
        }
        Ok(events)
    }

    /// Reads the change table on, and the row of every key that it names.
    fn read_keys(
        &mut self,
        connection: &Connection,
        registry: &Registry,
        newest: i64,
        changes: &mut Vec<Event>,
    ) -> Result<()> {
        if self.upto == newest {
            return Ok(());
        }
        let reading = |e| failed(e, "read the change table");
        let places: String = (1..=registry.key_width).map(|n| format!(", k{n}")).collect();
        let sql = format!(
            "SELECT id, table_id, kind, at{places} FROM headwater_change WHERE id > ?1 ORDER BY id LIMIT ?2"
        );
        let mut statement = connection.prepare_cached(&sql).map_err(reading)?;
        let mut rows = statement.query((self.upto, WINDOW_ROWS as i64)).map_err(reading)?;
        let mut seen: HashMap<(u32, Vec<u8>), ()> = HashMap::new();
        let mut bytes = 0;
        let mut at = None;
        while let Some(row) = rows.next().map_err(reading)? {
            let read = || Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
            let (id, table, kind, julian_day): (i64, u32, i64, f64) = read().map_err(reading)?;
            if id != self.upto + 1 {
                return Err(gap(self.upto, id));
            }
            self.upto = id;
            at = Some(julian_day);
            match kind {
                kind::START => {}
                kind::MARK => self.marks.push(row.get::<_, i64>(4).map_err(reading)? as ChunkId),
                kind::REREAD => {
                    if registry.tables.get(&table).is_some_and(|captured| captured.reread_id == id) {
                        self.reread = Some(Reread { table, id, started: false, after: None });
                        break;
                    }
                }
                _ => {
                    // A table that is no longer captured, or one that is read as a whole after this place.
                    let captured = registry.tables.get(&table).filter(|t| t.present && t.reread_id < id);
                    let Some(captured) = captured else { continue };
                    let mut key = Key(Vec::with_capacity(captured.shape.key.len()));
                    for part in 0..captured.shape.key.len() {
                        key.0.push(codec::value(row.get_ref(4 + part).map_err(reading)?));
                    }
                    if let Entry::Vacant(unseen) = seen.entry((table, key.to_bytes())) {
                        unseen.insert(());
                        bytes += look_up(connection, captured, key, kind == kind::INSERT, changes)?;
                    }
                }
            }
            if bytes > WINDOW_BYTES {
                break;
            }
        }
        match at {
            Some(at) => self.committed_at = micros(at),
            None => return Err(gap(self.upto, newest)),
        }
        Ok(())
    }

    /// Reads a page of a table that is read again as a whole.
    fn read_again(
        &mut self,
        connection: &Connection,
        registry: &Registry,
        changes: &mut Vec<Event>,
    ) -> Result<()> {
        let Some(reread) = &mut self.reread else { return Ok(()) };
        let captured = registry.tables.get(&reread.table).filter(|captured| captured.reread_id == reread.id);
        // No longer captured, or to be read again once more later: then that will do.
        let Some(captured) = captured else {
            self.reread = None;
            return Ok(());
        };
        if !reread.started {
            reread.started = true;
            changes.push(Event::Change(Change::Truncate { tables: vec![captured.shape.clone()] }));
        }
        if !captured.present {
            self.reread = None;
            return Ok(());
        }
        let page = page(connection, captured, reread.after.as_ref(), WINDOW_ROWS, WINDOW_BYTES)?;
        let table = &captured.shape;
        let insert = |row| Event::Change(Change::Insert { table: table.clone(), row });
        changes.extend(page.rows.into_iter().map(insert));
        changes.extend(page.refused.into_iter().map(Event::Refused));
        reread.after = page.upto;
        if page.last {
            self.reread = None;
        }
        Ok(())
    }
}

/// The greatest change id.
pub(super) fn newest(connection: &Connection) -> Result<i64> {
    end(connection, "SELECT max(id) FROM headwater_change")
}

/// The least change id that is left.
pub(super) fn oldest(connection: &Connection) -> Result<i64> {
    end(connection, "SELECT min(id) FROM headwater_change")
}

fn end(connection: &Connection, sql: &str) -> Result<i64> {
    let read = || connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, Option<i64>>(0));
    read().map(|id| id.unwrap_or(0)).map_err(|error| match is_missing_table(&error) {
        true => registry::not_prepared(),
        false => failed(error, "read how far the change table goes"),
    })
}

pub(super) fn gap(upto: i64, next: i64) -> Error {
    Error::out_of_step(format!(
        "the change table goes on at {next} after change {upto}: the changes between were cut off at the bound of \
         retained log, or deleted by someone else"
    ))
}

/// Hands on the row of a key as it is now. Returns about how many bytes that is.
fn look_up(
    connection: &Connection,
    captured: &Captured,
    key: Key,
    inserted: bool,
    changes: &mut Vec<Event>,
) -> Result<usize> {
    let table = &captured.shape;
    let reading = |e| failed(e, format!("read a row of table {}", table.name));
    if !captured.names_a_row(&key) {
        let (rows, row_ids): (i64, Option<String>) = connection
            .prepare_cached(&captured.select.exact)
            .and_then(|mut exact| {
                exact.query_row(rusqlite::params_from_iter(parameters(&key)), |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
            })
            .map_err(reading)?;
        let row_ids = shown(rows.unsigned_abs(), row_ids.unwrap_or_default());
        changes.push(Event::Refused(captured.refused(key, rows.unsigned_abs(), &row_ids)));
        return Ok(256);
    }
    let mut statement = connection.prepare_cached(&captured.select.row).map_err(reading)?;
    let mut rows = statement.query(rusqlite::params_from_iter(parameters(&key))).map_err(reading)?;
    let Some(found) = rows.next().map_err(reading)? else {
        changes.push(Event::Change(Change::Delete { table: table.clone(), key }));
        return Ok(64);
    };
    let (row, bytes) = row_of(found, table.columns.len()).map_err(reading)?;
    let found_key = row.key(table);
    let table = table.clone();
    if found_key != key {
        // The same key to SQLite (another case, 1 and 1.0), another one to a store.
        changes.push(Event::Change(Change::Delete { table: table.clone(), key }));
        changes.push(Event::Change(Change::Insert { table, row }));
    } else if inserted {
        changes.push(Event::Change(Change::Insert { table, row }));
    } else {
        changes.push(Event::Change(Change::Update { table, old_key: None, row }));
    }
    Ok(bytes)
}

/// The row ids that were found, and that there are more.
fn shown(rows: u64, row_ids: String) -> String {
    match rows.checked_sub(ROW_IDS_SHOWN as u64) {
        Some(more) if more > 0 && !row_ids.is_empty() => format!("{row_ids} and {more} more"),
        _ => row_ids,
    }
}

/// Rows in key order.
pub(super) struct Page {
    pub(super) rows: Vec<Row>,
    pub(super) refused: Vec<Refused>,
    /// The key that the next page begins behind.
    pub(super) upto: Option<Key>,
    /// Whether no row of the table lies beyond.
    pub(super) last: bool,
}

/// Up to `limit` rows after a key; fewer if `bytes_max` is passed before.
///
/// Rows that cannot be handed on are met in the key's order too: those with NULL in part lie before all others that agree
/// with them so far, so a page that ends with a row that has a key has met every one before it.
pub(super) fn page(
    connection: &Connection,
    captured: &Captured,
    after: Option<&Key>,
    limit: usize,
    bytes_max: usize,
) -> Result<Page> {
    let table = &captured.shape;
    let reading = |e| failed(e, format!("read rows of table {}", table.name));
    let sql = if after.is_some() { &captured.select.next } else { &captured.select.first };
    let mut statement = connection.prepare_cached(sql).map_err(reading)?;
    let mut found = statement
        .query(rusqlite::params_from_iter(after.into_iter().flat_map(parameters)))
        .map_err(reading)?;
    let mut refused = Nameless::default();
    let mut page = Page { rows: Vec::new(), refused: Vec::new(), upto: None, last: true };
    let mut total = 0;
    while let Some(row) = found.next().map_err(reading)? {
        let row_id: Option<i64> = row.get(table.columns.len()).map_err(reading)?;
        let (row, bytes) = row_of(row, table.columns.len()).map_err(reading)?;
        let key = row.key(table);
        if !captured.names_a_row(&key) {
            refused.add(key, row_id);
            continue;
        }
        page.rows.push(row);
        total += bytes;
        if page.rows.len() >= limit || total > bytes_max {
            page.upto = Some(key);
            page.last = false;
            break;
        }
    }
    if page.last {
        page.upto = page.rows.last().map(|row| row.key(table));
    }
    page.refused = refused.into_refused(captured);
    Ok(page)
}

/// Rows without a name, by what stands in place of their key.
#[derive(Default)]
struct Nameless(HashMap<Vec<u8>, (Key, u64, Vec<i64>)>);

/// Kept of one page. Whoever has more has another trouble.
const NAMELESS_MAX: usize = 10_001;

impl Nameless {
    fn add(&mut self, key: Key, row_id: Option<i64>) {
        let (known, bytes) = (self.0.len(), key.to_bytes());
        let entry = match self.0.entry(bytes) {
            Entry::Vacant(_) if known >= NAMELESS_MAX => return,
            entry => entry.or_insert((key, 0, Vec::new())),
        };
        entry.1 += 1;
        if entry.2.len() < ROW_IDS_SHOWN {
            entry.2.extend(row_id);
        }
    }

    fn into_refused(self, captured: &Captured) -> Vec<Refused> {
        let refused = |(key, rows, row_ids): (Key, u64, Vec<i64>)| {
            let row_ids: Vec<String> = row_ids.iter().map(i64::to_string).collect();
            captured.refused(key, rows, &shown(rows, row_ids.join(", ")))
        };
        self.0.into_values().map(refused).collect()
    }
}

/// The row of a key, if there is one and its key is exactly this.
pub(super) fn row(connection: &Connection, captured: &Captured, key: &Key) -> Result<Option<Row>> {
    let mut changes = Vec::new();
    look_up(connection, captured, key.clone(), false, &mut changes)?;
    Ok(match changes.pop() {
        Some(Event::Change(Change::Update { row, .. })) => Some(row),
        _ => None,
    })
}

fn row_of(row: &rusqlite::Row<'_>, columns: usize) -> rusqlite::Result<(Row, usize)> {
    let (mut values, mut bytes) = (Vec::with_capacity(columns), 0);
    for column in 0..columns {
        let value = codec::value(row.get_ref(column)?);
        bytes += 16
            + match &value {
                Value::Text(text) => text.len(),
                Value::Bytes(bytes) => bytes.len(),
                _ => 0,
            };
        values.push(value);
    }
    Ok((Row(values), bytes))
}

/// A julian day as microseconds since 1970. SQLite's clock has milliseconds.
fn micros(julian_day: f64) -> i64 {
    ((julian_day - 2_440_587.5) * 86_400_000.0).round() as i64 * 1000
}

/// How many places there are between one change id and the next, for the marks that stand behind a transaction:
/// positions of the stream grow strictly. Far more than chunks can be under way at once.
const PLACES: u64 = 1 << 16;

/// The position after a change id.
pub(super) fn position(system: &Arc<str>, change: i64) -> Position {
    Position::new(system.clone(), sequence(change))
}

/// The sequence of the position after a change id.
pub(super) fn sequence(change: i64) -> u64 {
    change.max(0).unsigned_abs().saturating_mul(PLACES)
}

/// The change id that a position stands at or behind.
pub(super) fn change_of(position: &Position) -> i64 {
    (position.sequence / PLACES) as i64
}
