//! pgoutput messages to events. No I/O: what a message says and nothing more.
//!
//! Owns the state that the protocol keeps between messages: table shapes and the open transaction. The hot path
//! allocates only a row's own values.

use std::collections::HashMap;
use std::sync::Arc;

use headwater_model::{Change, Error, Event, Key, Position, Refused, Result, Row, TableName, Value};

use super::catalog::{Described, Shape};
use super::codec::Decode;
use super::time::EPOCH_MICROS;

/// The prefix of our logical messages. Their content is `slot/chunk id`.
pub(super) const MARK_PREFIX: &str = "headwater";

pub(super) struct Decoder {
    system: Arc<str>,
    slot: String,
    /// `None`: a table that is published but not followed.
    relations: HashMap<u32, Option<Relation>>,
    transaction: Option<Transaction>,
    /// The newest transaction number known, in 64 bits: the log has only the lower 32.
    xid: u64,
    /// Everything up to here has been handed out.
    position: u64,
}

struct Transaction {
    xid: u64,
    /// `Begin` goes out with the first change, so that a mark's own transaction leaves no trace.
    begun: bool,
    marks: Vec<u64>,
}

struct Relation {
    shape: Shape,
    /// The message that described it, to tell whether a repeated one says anything new.
    message: RelationMessage,
    /// Per column: its place in the key.
    key_place: Vec<Option<usize>>,
    /// [`may_be_refused`]
    may_be_refused: bool,
}

/// A Relation message. The key's order, and the key itself under REPLICA IDENTITY FULL, are not in it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RelationMessage {
    pub id: u32,
    pub name: TableName,
    pub identity: u8,
    /// Name, type oid, and whether the log identifies rows by it.
    pub columns: Vec<(Box<str>, u32, bool)>,
}

impl RelationMessage {
    /// The flagged columns, in column order.
    pub fn flagged(&self) -> Vec<usize> {
        (0..self.columns.len()).filter(|i| self.columns[*i].2).collect()
    }

    /// The key if the message alone tells it.
    pub fn own_key(&self) -> Option<Vec<usize>> {
        let flagged = self.flagged();
        (self.identity != b'f' && flagged.len() == 1).then_some(flagged)
    }

    pub fn described(&self, key: Vec<usize>) -> Described {
        let columns = self.columns.iter().map(|(name, oid, _)| (name.clone(), *oid)).collect();
        Described { id: self.id, name: self.name.clone(), columns, key }
    }
}

impl Decoder {
    pub fn new(system: Arc<str>, slot: &str, xid: u64, position: u64) -> Decoder {
        Decoder { system, slot: slot.to_owned(), relations: HashMap::new(), transaction: None, xid, position }
    }

    /// Decodes one message. A relation that is new or changed comes back, and must be given to
    /// [`Decoder::define`] or [`Decoder::ignore`] before the next message.
    pub fn message(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<Option<RelationMessage>> {
        let mut m = Reader(bytes);
        match m.u8()? {
            b'B' => self.begin(&mut m)?,
            b'I' => {
                let Some(relation) = relation(&self.relations, m.u32()?)? else { return Ok(None) };
                m.tag(b'N')?;
                let row = relation.row(&mut m, None)?;
                let change = Change::Insert { table: relation.shape.table.clone(), row };
                relation.hand_on(change, &mut self.transaction, events)?;
            }
            b'U' => {
                let Some(relation) = relation(&self.relations, m.u32()?)? else { return Ok(None) };
                let change = relation.update(&mut m)?;
                relation.hand_on(change, &mut self.transaction, events)?;
            }
            b'D' => {
                let Some(relation) = relation(&self.relations, m.u32()?)? else { return Ok(None) };
                match m.u8()? {
                    b'K' | b'O' => {}
                    _ => return Err(torn()),
                }
                let change =
                    Change::Delete { table: relation.shape.table.clone(), key: relation.key(&mut m)? };
                relation.hand_on(change, &mut self.transaction, events)?;
            }
            b'C' => self.commit(&mut m, events)?,
            b'T' => {
                let count = m.u32()?;
                m.u8()?;
                let mut tables = Vec::new();
                for _ in 0..count {
                    if let Some(relation) = relation(&self.relations, m.u32()?)? {
                        tables.push(relation.shape.table.clone());
                    }
                }
                if !tables.is_empty() {
                    hand_on(Event::Change(Change::Truncate { tables }), &mut self.transaction, events)?;
                }
            }
            b'R' => {
                let message = relation_message(&mut m)?;
                // A key that only the catalog knows may have changed without a trace in the message.
                let known = self.relations.get(&message.id).and_then(Option::as_ref);
                let known = known.is_some_and(|known| known.message == message);
                if !(known && message.own_key().is_some()) {
                    return Ok(Some(message));
                }
            }
            b'M' => self.logical_message(&mut m, events)?,
            // Origin and Type: names of things that we do not use.
            b'O' | b'Y' => {}
            other => {
                return Err(Error::unsupported(format!(
                    "the log holds a message of type {:?}, which is not known",
                    char::from(other)
                )));
            }
        }
        Ok(None)
    }

    pub fn define(&mut self, message: RelationMessage, shape: Shape) {
        let mut key_place = vec![None; shape.table.columns.len()];
        for (place, column) in shape.table.key.iter().enumerate() {
            key_place[*column] = Some(place);
        }
        let may_be_refused = may_be_refused(&shape);
        let relation = Relation { shape, message, key_place, may_be_refused };
        self.relations.insert(relation.message.id, Some(relation));
    }

    /// Changes of this table are passed over.
    pub fn ignore(&mut self, message: &RelationMessage) {
        self.relations.insert(message.id, None);
    }

    /// The server has sent everything up to `lsn`. Worth an event also where nothing moved: it is still so.
    pub fn caught_up(&mut self, lsn: u64, events: &mut Vec<Event>) {
        if self.transaction.is_some() || lsn < self.position {
            return;
        }
        self.position = lsn;
        let position = self.at(lsn);
        match events.last_mut() {
            // Only the newest of several in a row says anything.
            Some(Event::Idle { position: last }) => *last = position,
            _ => events.push(Event::Idle { position }),
        }
    }

    /// Everything up to here has been handed out.
    pub fn position(&self) -> u64 {
        self.position
    }

    fn at(&self, lsn: u64) -> Position {
        Position { system: self.system.clone(), sequence: lsn }
    }

    fn begin(&mut self, m: &mut Reader) -> Result<()> {
        m.u64()?;
        m.u64()?;
        let xid = widen(m.u32()?, self.xid);
        self.xid = self.xid.max(xid);
        self.transaction = Some(Transaction { xid, begun: false, marks: Vec::new() });
        Ok(())
    }

    fn commit(&mut self, m: &mut Reader, events: &mut Vec<Event>) -> Result<()> {
        m.u8()?;
        m.u64()?;
        let end = m.u64()?;
        let committed_at = (m.u64()? as i64).saturating_add(EPOCH_MICROS);
        let Some(transaction) = self.transaction.take() else {
            return Err(Error::bug("the log holds a commit without a beginning"));
        };
        self.position = end;
        let position = self.at(end);
        if transaction.begun {
            events.push(Event::Commit { position: position.clone(), committed_at });
        } else if transaction.marks.is_empty() {
            events.push(Event::Idle { position: position.clone() });
        }
        for chunk in transaction.marks {
            events.push(Event::Mark { chunk, position: position.clone() });
        }
        Ok(())
    }

    fn logical_message(&mut self, m: &mut Reader, events: &mut Vec<Event>) -> Result<()> {
        let transactional = m.u8()? & 1 == 1;
        let lsn = m.u64()?;
        if m.cstr()? != MARK_PREFIX.as_bytes() {
            return Ok(());
        }
        let length = m.u32()? as usize;
        // Another instance on the same database marks for its own slot.
        let Some(chunk) = mark_of(m.take(length)?, &self.slot) else { return Ok(()) };
        match &mut self.transaction {
            Some(transaction) if transactional => transaction.marks.push(chunk),
            _ => events.push(Event::Mark { chunk, position: self.at(lsn) }),
        }
        Ok(())
    }
}

/// The content of a mark's message.
pub(super) fn mark_text(slot: &str, chunk: u64) -> String {
    format!("{slot}/{chunk}")
}

fn mark_of(content: &[u8], slot: &str) -> Option<u64> {
    let (owner, chunk) = str::from_utf8(content).ok()?.rsplit_once('/')?;
    if owner != slot {
        return None;
    }
    chunk.parse().ok()
}

/// The 64-bit transaction number with these lower bits that lies nearest to `near`.
fn widen(low: u32, near: u64) -> u64 {
    let distance = low.wrapping_sub(near as u32) as i32;
    near.checked_add_signed(i64::from(distance)).unwrap_or(u64::from(low))
}

fn relation(relations: &HashMap<u32, Option<Relation>>, id: u32) -> Result<Option<&Relation>> {
    relations
        .get(&id)
        .map(Option::as_ref)
        .ok_or_else(|| Error::bug(format!("the log never described the table with oid {id}")))
}

/// Opens the transaction with its first event.
fn hand_on(event: Event, transaction: &mut Option<Transaction>, events: &mut Vec<Event>) -> Result<()> {
    let Some(transaction) = transaction else {
        return Err(Error::bug("the log holds a change outside of a transaction"));
    };
    if !transaction.begun {
        transaction.begun = true;
        events.push(Event::Begin { xid: Some(transaction.xid) });
    }
    events.push(event);
    Ok(())
}

impl Relation {
    /// Hands on a change, or says what is left out if the row has no key that a store could keep it under.
    fn hand_on(
        &self,
        change: Change,
        transaction: &mut Option<Transaction>,
        events: &mut Vec<Event>,
    ) -> Result<()> {
        if !self.may_be_refused {
            return hand_on(Event::Change(change), transaction, events);
        }
        let (row, old_key) = match &change {
            Change::Insert { table, row } => (Some(row.key(table)), None),
            Change::Update { table, old_key, row } => (Some(row.key(table)), old_key.clone()),
            Change::Delete { key, .. } => (None, Some(key.clone())),
            Change::Truncate { .. } | Change::Snapshot { .. } => (None, None),
        };
        let names_a_row = |key: &Option<Key>| key.as_ref().is_none_or(|key| names_a_row(&self.shape, key));
        if names_a_row(&row) && names_a_row(&old_key) {
            return hand_on(Event::Change(change), transaction, events);
        }
        let mut say = |event| hand_on(event, transaction, events);
        let table = &self.shape.table;
        match old_key {
            Some(key) if names_a_row(&Some(key.clone())) => {
                say(Event::Change(Change::Delete { table: table.clone(), key }))?;
            }
            Some(key) => say(Event::Refused(refused(&self.shape, key, 0)))?,
            None => {}
        }
        match (row, change) {
            (Some(key), _) if !names_a_row(&Some(key.clone())) => {
                say(Event::Refused(refused(&self.shape, key, 1)))
            }
            // Stores have nothing of the row.
            (Some(_), Change::Update { table, row, .. }) => {
                say(Event::Change(Change::Update { table, old_key: None, row }))
            }
            _ => Ok(()),
        }
    }

    fn row(&self, m: &mut Reader, old: Option<&mut [Value]>) -> Result<Row> {
        let count = self.columns(m)?;
        let mut values = Vec::with_capacity(count);
        let mut old = old;
        for i in 0..count {
            values.push(match m.u8()? {
                b't' => self.value(i, m)?,
                b'n' => Value::Null,
                b'u' => match old.as_deref_mut().and_then(|old| old.get_mut(i)) {
                    Some(value) => std::mem::replace(value, Value::Null),
                    None => Value::Unchanged,
                },
                _ => return Err(torn()),
            });
        }
        Ok(Row(values))
    }

    fn update(&self, m: &mut Reader) -> Result<Change> {
        let table = self.shape.table.clone();
        match m.u8()? {
            b'N' => Ok(Change::Update { table, old_key: None, row: self.row(m, None)? }),
            // REPLICA IDENTITY FULL: the whole old row, which also has the values that the new one leaves out.
            b'O' => {
                let mut old = self.row(m, None)?;
                let old_key = old.key(&table);
                m.tag(b'N')?;
                let row = self.row(m, Some(&mut old.0))?;
                Ok(Change::Update { old_key: changed(old_key, &row, &table), table, row })
            }
            b'K' => {
                let old_key = self.key(m)?;
                m.tag(b'N')?;
                let mut row = self.row(m, None)?;
                for (place, column) in table.key.iter().enumerate() {
                    if row.0[*column].is_unchanged() {
                        row.0[*column] = old_key.0[place].clone();
                    }
                }
                Ok(Change::Update { old_key: changed(old_key, &row, &table), table, row })
            }
            _ => Err(torn()),
        }
    }

    /// The key of an old tuple; its other columns are passed over.
    fn key(&self, m: &mut Reader) -> Result<Key> {
        let count = self.columns(m)?;
        let mut key = vec![Value::Null; self.shape.table.key.len()];
        for i in 0..count {
            match (m.u8()?, self.key_place[i]) {
                (b't', Some(place)) => key[place] = self.value(i, m)?,
                (b't', None) => {
                    let length = m.u32()? as usize;
                    m.take(length)?;
                }
                (b'n' | b'u', _) => {}
                _ => return Err(torn()),
            }
        }
        Ok(Key(key))
    }

    fn columns(&self, m: &mut Reader) -> Result<usize> {
        let count = usize::from(m.u16()?);
        if count != self.shape.decode.len() {
            return Err(Error::bug(format!(
                "a row of table {} does not fit its shape",
                self.shape.table.name
            )));
        }
        Ok(count)
    }

    fn value(&self, column: usize, m: &mut Reader) -> Result<Value> {
        let length = m.u32()? as usize;
        let text = m.take(length)?;
        Ok(self.shape.decode[column].value_or_text(text))
    }
}

/// The rows of a key, one or none, that cannot be told from another by what stores keep.
pub(super) fn refused(shape: &Shape, key: Key, rows: u64) -> Refused {
    let table = &shape.table;
    let wrong = table.key.iter().zip(&key.0).find(|(column, part)| !shape.decode[**column].identifies(part));
    let column = wrong.map_or("", |(column, _)| &*table.columns[*column].name);
    let reason = format!(
        "column \"{column}\" of the key is not UTF-8, so it may look like another row's: UPDATE or DELETE the row, or give \
         the database an encoding"
    );
    Refused { table: table.clone(), key, rows, place: "".into(), reason: reason.into() }
}

/// Whether the key has a column whose text may be anything.
pub(super) fn may_be_refused(shape: &Shape) -> bool {
    let free =
        |column: &usize| matches!(shape.decode[*column], Decode::Text | Decode::Json | Decode::List { .. });
    shape.table.key.iter().any(free)
}

/// Whether the key can be told from every other by what stores keep.
pub(super) fn names_a_row(shape: &Shape, key: &Key) -> bool {
    shape.table.key.iter().zip(&key.0).all(|(column, part)| shape.decode[*column].identifies(part))
}

/// The old key if it is not the new row's key. Under FULL, and for keys stored out of line, it is always sent.
fn changed(old_key: Key, row: &Row, table: &headwater_model::Table) -> Option<Key> {
    let same = table.key.iter().zip(&old_key.0).all(|(column, old)| row.0[*column] == *old);
    (!same).then_some(old_key)
}

fn relation_message(m: &mut Reader) -> Result<RelationMessage> {
    let id = m.u32()?;
    let schema = text(m.cstr()?)?;
    // The log leaves out the name of the system's own schema.
    let schema = if schema.is_empty() { "pg_catalog" } else { schema };
    let name = TableName::new(Some(schema), text(m.cstr()?)?);
    let identity = m.u8()?;
    let count = m.u16()?;
    let mut columns = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let flags = m.u8()?;
        let column = text(m.cstr()?)?.into();
        let oid = m.u32()?;
        m.u32()?;
        columns.push((column, oid, flags & 1 == 1));
    }
    Ok(RelationMessage { id, name, identity, columns })
}

fn text(bytes: &[u8]) -> Result<&str> {
    str::from_utf8(bytes).map_err(|e| Error::unsupported("a name in the log is not UTF-8").with_cause(e))
}

fn torn() -> Error {
    Error::bug("the log holds a message that ends or continues unexpectedly")
}

/// Reads big-endian fields; every method fails on a message that is too short.
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or_else(torn)?;
        self.0 = tail;
        Ok(*head)
    }

    pub fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn tag(&mut self, expected: u8) -> Result<()> {
        if self.u8()? == expected { Ok(()) } else { Err(torn()) }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count).ok_or_else(torn)?;
        self.0 = tail;
        Ok(head)
    }

    fn cstr(&mut self) -> Result<&'a [u8]> {
        let end = self.0.iter().position(|b| *b == 0).ok_or_else(torn)?;
        let head = self.take(end)?;
        self.u8()?;
        Ok(head)
    }
}

#[cfg(test)]
mod tests;
