//! The binary log as events: transactions put together, rows decoded, statements that act on whole tables.
//!
//! No I/O: shapes that are not known yet are asked for with [`Wants`], and the event comes again with them.
//!
//! Invariant: a position is said only behind the last event of its transaction, and positions only grow.

use std::collections::HashMap;
use std::sync::Arc;

use headwater_model::{Change, ChunkId, Error, Event, Position, Result, Row, TableName, Value};

use super::catalog::{MARKS, Shape};
use super::cell::{Bytes, Cell, torn};
use super::config::ZeroDates;
use super::ddl::{self, Effect, Named};
use super::event::{self, RowsKind, Start, TableMap};
use super::zero;

/// Tables that are remembered between transactions.
const MAPS_MAX: usize = 4096;

/// How rows of a table lie in the log.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub shape: Shape,
    pub cells: Arc<[Cell]>,
}

enum Mapped {
    /// Nobody follows it.
    Other,
    Marks,
    Followed(Layout),
}

/// What the decoder has to be told before it can go on.
#[derive(Debug)]
pub(super) struct Wants {
    pub map: TableMap,
    raw: Vec<u8>,
}

pub(super) struct Decoder {
    system: Arc<str>,
    database: String,
    /// Whose transactions are followed.
    whose: Whose,
    zero_dates: ZeroDates,
    /// The tables that are followed; all, if it is not said.
    wanted: Option<Arc<Vec<TableName>>>,
    /// Those whose shapes are known, for statements that act on whole tables.
    layouts: HashMap<TableName, Layout>,
    maps: HashMap<u64, (Vec<u8>, Mapped)>,
    open: Option<Open>,
    /// Of the last transaction that was read to its end.
    sequence: u64,
}

/// Whose transactions the positions count.
pub(super) enum Whose {
    Domain(u32),
    /// Each from its number on: behind the number of the last transaction before.
    Servers(Vec<(u64, String)>),
}

/// A transaction that has begun in the log.
struct Open {
    sequence: u64,
    /// Of another domain: nothing of it may concern us.
    foreign: bool,
    standalone: bool,
    /// Whether it said BEGIN: then it has an end, too.
    begun: bool,
    /// Whether a consumer knows of it.
    told: bool,
    marks: Vec<ChunkId>,
}

impl Decoder {
    pub fn new(
        start: Position,
        database: String,
        whose: Whose,
        zero_dates: ZeroDates,
        wanted: Option<Arc<Vec<TableName>>>,
    ) -> Decoder {
        Decoder {
            system: start.system,
            sequence: start.sequence,
            database,
            whose,
            zero_dates,
            wanted,
            layouts: HashMap::new(),
            maps: HashMap::new(),
            open: None,
        }
    }

    /// Knows a table before the log names it.
    pub fn knows(&mut self, layout: Layout) {
        self.layouts.insert(layout.shape.table.name.clone(), layout);
    }

    /// Where the log has been read to, outside of a transaction.
    pub fn position(&self) -> Option<Position> {
        self.open.is_none().then(|| Position::new(self.system.clone(), self.sequence))
    }

    /// Takes one event. Comes back with what it wants if a table's shape is not known; then [`Decoder::define`] it and go on
    /// with the next.
    pub fn event(&mut self, kind: u8, data: &[u8], at: u32, out: &mut Vec<Event>) -> Result<Option<Wants>> {
        match kind {
            event::MARIADB_GTID => self.begin(event::mariadb_gtid(data)?)?,
            event::GTID => self.begin(event::mysql_gtid(data)?)?,
            event::XID => self.commit(at, out)?,
            event::TABLE_MAP => return self.table_map(data),
            kind if event::is_query(kind) => {
                let query = event::query(kind, data)?;
                self.query(&query, at, out)?;
            }
            event::ANONYMOUS_GTID => {
                return Err(Error::misconfigured("the log has transactions without a global id")
                    .with_remedy("SET PERSIST gtid_mode = ON, in the steps that MySQL's manual has for it"));
            }
            event::GTID_TAGGED => {
                return Err(Error::unsupported("the log has transactions whose global ids have tags"));
            }
            event::XA_PREPARE => return Err(prepared()),
            event::PARTIAL_UPDATE => {
                return Err(Error::misconfigured("the log has parts of JSON values instead of whole ones")
                    .with_remedy("SET GLOBAL binlog_row_value_options = ''"));
            }
            event::INCIDENT => {
                return Err(Error::out_of_step("the server says that its binary log lacks something"));
            }
            kind => {
                if let Some((rows, extra, packed)) = event::rows_kind(kind) {
                    self.rows(rows, extra, packed, data, out)?;
                }
            }
        }
        Ok(None)
    }

    fn begin(&mut self, start: Start) -> Result<()> {
        if self.open.is_some() {
            return Err(Error::corrupt("a transaction of the binary log has no end"));
        }
        let (sequence, foreign, standalone) = match (&self.whose, start) {
            (_, Start::MariaDb { prepared_xa: true, .. }) => return Err(prepared()),
            (Whose::Domain(ours), Start::MariaDb { domain, sequence, standalone, .. }) => {
                (sequence, domain != *ours, standalone)
            }
            (Whose::Servers(writers), Start::MySql { server, .. }) => {
                let sequence = self.sequence + 1;
                let writer = writers.iter().rev().find(|(began, _)| *began < sequence);
                let ours = writer.map(|(_, ours)| ours.as_str()).unwrap_or_default();
                if server != ours {
                    return Err(Error::unsupported(format!(
                        "the log has a transaction of server {server}, and {ours} is followed: someone writes to a replica, or \
                         this is one"
                    ))
                    .with_remedy("follow the primary, and find out what the other transactions are"));
                }
                (sequence, false, false)
            }
            _ => return Err(Error::bug("the log is of another product than the server")),
        };
        if !foreign && sequence <= self.sequence {
            return Err(Error::out_of_step(format!(
                "transaction {sequence} comes behind {} in the log: the server does not keep its order",
                self.sequence
            ))
            .with_remedy("SET GLOBAL gtid_strict_mode = ON"));
        }
        self.open =
            Some(Open { sequence, foreign, standalone, begun: false, told: false, marks: Vec::new() });
        Ok(())
    }

    fn commit(&mut self, at: u32, out: &mut Vec<Event>) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        if self.maps.len() > MAPS_MAX {
            self.maps.clear();
        }
        if open.foreign {
            return Ok(());
        }
        self.sequence = open.sequence;
        let position = Position::new(self.system.clone(), self.sequence);
        if open.told {
            let committed_at = i64::from(at) * 1_000_000;
            out.push(Event::Commit { position: position.clone(), committed_at });
        }
        out.extend(open.marks.into_iter().map(|chunk| Event::Mark { chunk, position: position.clone() }));
        Ok(())
    }

    /// The transaction that is open, told of to the consumer.
    fn tell(&mut self, out: &mut Vec<Event>) -> Result<()> {
        let open =
            self.open.as_mut().ok_or_else(|| Error::corrupt("rows of the log are in no transaction"))?;
        if open.foreign {
            return Err(Error::unsupported(
                "a table that is followed is changed in another GTID domain than the server's own: there is no one order of \
                 changes",
            )
            .with_remedy("write with one gtid_domain_id"));
        }
        if !open.told {
            open.told = true;
            out.push(Event::Begin { xid: None });
        }
        Ok(())
    }

    fn query(&mut self, query: &event::Query, at: u32, out: &mut Vec<Event>) -> Result<()> {
        let sql = query.sql.trim();
        let first = sql.split_ascii_whitespace().next().unwrap_or_default();
        if first.eq_ignore_ascii_case("BEGIN") {
            self.open.iter_mut().for_each(|open| open.begun = true);
            return Ok(());
        }
        if first.eq_ignore_ascii_case("COMMIT") {
            return self.commit(at, out);
        }
        if first.eq_ignore_ascii_case("XA") {
            return Err(prepared());
        }
        if first.eq_ignore_ascii_case("ROLLBACK") {
            // What was said of it cannot be taken back.
            return Err(Error::out_of_step(
                "the log has changes that were rolled back: a transaction that also changed a table without transactions",
            )
            .with_remedy("ALTER TABLE … ENGINE = InnoDB, for tables that are changed in one transaction with others"));
        }
        if first.eq_ignore_ascii_case("SAVEPOINT") {
            return Ok(());
        }
        if ["INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD"]
            .iter()
            .any(|word| first.eq_ignore_ascii_case(word))
        {
            return Err(Error::misconfigured("the log has a statement in place of the rows that it changed")
                .with_remedy("SET GLOBAL binlog_format = ROW; sessions that are open keep theirs"));
        }
        self.statement(query, out)?;
        // Statements that end a transaction by themselves have no end of their own in the log.
        let mysql = matches!(self.whose, Whose::Servers(_));
        let alone = self.open.as_ref().is_some_and(|open| open.standalone || mysql && !open.begun);
        if alone { self.commit(at, out) } else { Ok(()) }
    }

    fn statement(&mut self, query: &event::Query, out: &mut Vec<Event>) -> Result<()> {
        let concerned = |names: Vec<Named>| -> Vec<TableName> {
            let here = |named: &Named| named.database.as_ref().unwrap_or(&query.database) == &self.database;
            let known = self.layouts.keys().filter(|table| self.is_wanted(table));
            let names: Vec<Named> = names.into_iter().filter(here).collect();
            let is = |table: &TableName| names.iter().any(|n| n.table == "*" || *n.table == *table.name);
            known.filter(|table| is(table)).cloned().collect()
        };
        match ddl::effect(&query.sql) {
            Effect::Nothing => {}
            Effect::Emptied(names) => {
                let tables: Vec<_> =
                    concerned(names).iter().map(|name| self.layouts[name].shape.table.clone()).collect();
                if !tables.is_empty() {
                    self.tell(out)?;
                    out.push(Event::Change(Change::Truncate { tables }));
                }
            }
            Effect::Replaced(names) => {
                if let Some(table) = concerned(names).first() {
                    return Err(Error::out_of_step(format!(
                        "a statement gave table {table} other rows, and the log does not say which: {}",
                        query.sql.chars().take(120).collect::<String>()
                    )));
                }
            }
        }
        Ok(())
    }

    fn is_wanted(&self, table: &TableName) -> bool {
        self.wanted.as_ref().is_none_or(|wanted| wanted.contains(table))
    }

    fn table_map(&mut self, data: &[u8]) -> Result<Option<Wants>> {
        let id = event::table_id(data)?;
        if self.maps.get(&id).is_some_and(|(raw, _)| raw == data) {
            return Ok(None);
        }
        let (database, name) = event::table_name(data)?;
        if database == self.database && name == MARKS {
            self.maps.insert(id, (data.to_vec(), Mapped::Marks));
            return Ok(None);
        }
        if database != self.database || !self.is_wanted(&TableName::new(None, &name)) {
            self.maps.insert(id, (data.to_vec(), Mapped::Other));
            return Ok(None);
        }
        let map = event::table_map(data)?.ok_or_else(|| {
            Error::misconfigured("the log does not name the columns of its rows")
                .with_remedy("SET GLOBAL binlog_row_metadata = FULL")
        })?;
        Ok(Some(Wants { map, raw: data.to_vec() }))
    }

    pub fn define(&mut self, wants: Wants, layout: Layout) {
        self.layouts.insert(layout.shape.table.name.clone(), layout.clone());
        self.maps.insert(wants.map.id, (wants.raw, Mapped::Followed(layout)));
    }

    fn rows(
        &mut self,
        kind: RowsKind,
        extra: bool,
        packed: bool,
        data: &[u8],
        out: &mut Vec<Event>,
    ) -> Result<()> {
        let id = event::table_id(data)?;
        let layout = match self.maps.get(&id) {
            Some((_, Mapped::Other)) => return Ok(()),
            Some((_, Mapped::Marks)) => return self.mark(kind, extra, packed, data),
            Some((_, Mapped::Followed(layout))) => layout.clone(),
            // The end of a statement has an event for no table.
            None if id == 0xff_ffff => return Ok(()),
            None => return Err(Error::corrupt("rows of the log are of a table that was not described")),
        };
        self.tell(out)?;
        let unpacked;
        let mut rows = event::rows(data, kind, extra)?;
        if packed {
            unpacked = event::unpacked(rows.rows)?;
            rows.rows = &unpacked;
        }
        let table = &layout.shape.table;
        if rows.columns != layout.cells.len() {
            return Err(Error::corrupt(format!("rows of table {} do not fit its description", table.name)));
        }
        let all = |present: &[u8]| (0..rows.columns).all(|i| present[i / 8] >> (i % 8) & 1 == 1);
        if !all(&rows.present) || !all(&rows.present_after) {
            return Err(Error::misconfigured(format!(
                "the log has only parts of the rows of table {}",
                table.name
            ))
            .with_remedy("SET GLOBAL binlog_row_image = FULL; sessions that are open keep theirs"));
        }
        let mut bytes = Bytes(rows.rows);
        while !bytes.0.is_empty() {
            let first = row(&mut bytes, &layout.cells)?;
            let (before, after) = match kind {
                RowsKind::Write => (None, Some(first)),
                RowsKind::Delete => (Some(first), None),
                RowsKind::Update => (Some(first), Some(row(&mut bytes, &layout.cells)?)),
            };
            self.change(&layout.shape, before, after, out);
        }
        Ok(())
    }

    /// A row that is not handed on is, to those who get the others, not there.
    fn change(&self, shape: &Shape, before: Option<Row>, after: Option<Row>, out: &mut Vec<Event>) {
        let table = &shape.table;
        let mut admitted = |row: Option<Row>, rows: u64| {
            let mut row = row?;
            if self.zero_dates.admit(shape, &mut row) {
                return Some(row);
            }
            out.push(Event::Refused(zero::refused(shape, row.key(table), rows)));
            None
        };
        let before = admitted(before, 0);
        let after = admitted(after, 1);
        let table = table.clone();
        let change = match (before, after) {
            (None, None) => return,
            (None, Some(row)) => Change::Insert { table, row },
            (Some(row), None) => Change::Delete { key: row.key(&table), table },
            (Some(before), Some(row)) => {
                let old_key = before.key(&table);
                let old_key = (old_key != row.key(&table)).then_some(old_key);
                Change::Update { table, old_key, row }
            }
        };
        out.push(Event::Change(change));
    }

    /// The mark is the second column of what was written, as it is after.
    fn mark(&mut self, kind: RowsKind, extra: bool, packed: bool, data: &[u8]) -> Result<()> {
        let Some(open) = self.open.as_mut() else { return Ok(()) };
        let unpacked;
        let mut rows = event::rows(data, kind, extra)?;
        if packed {
            unpacked = event::unpacked(rows.rows)?;
            rows.rows = &unpacked;
        }
        let cell = |bytes, unsigned| Cell::Int { bytes, unsigned };
        let cells = [cell(4, false), cell(8, true), cell(8, true)];
        if kind == RowsKind::Delete || rows.columns != cells.len() {
            return Ok(());
        }
        let mut bytes = Bytes(rows.rows);
        while !bytes.0.is_empty() {
            let mut last = row(&mut bytes, &cells)?;
            if kind == RowsKind::Update {
                last = row(&mut bytes, &cells)?;
            }
            let chunk = match &last.0[1] {
                Value::Int(chunk) => u64::try_from(*chunk).ok(),
                Value::Decimal(text) => text.parse().ok(),
                _ => None,
            };
            open.marks.push(chunk.ok_or_else(torn)?);
        }
        Ok(())
    }
}

fn prepared() -> Error {
    Error::unsupported("the log has an XA transaction, whose changes come before it is decided")
        .with_remedy("write to tables that are followed without XA")
}

/// One row image: a bit per column that is NULL, then the others.
fn row(bytes: &mut Bytes<'_>, cells: &[Cell]) -> Result<Row> {
    let nulls = bytes.take(cells.len().div_ceil(8))?;
    let mut values = Vec::with_capacity(cells.len());
    for (place, cell) in cells.iter().enumerate() {
        values.push(match nulls[place / 8] >> (place % 8) & 1 {
            1 => Value::Null,
            _ => cell.read(bytes)?,
        });
    }
    Ok(Row(values))
}
