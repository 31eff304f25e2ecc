//! Transactions of the application: random ones, which take their locks, stay open, and then abort, or commit. A commit is in
//! the log at once; it may take long until anyone sees it.

use std::sync::Arc;

use headwater_model::{Change, Key, Row, Value};

use super::database::{Database, Inner, Rows, State, Version, What};

/// Keys of both tables: few, so that transactions meet.
const KEYS: u64 = 9;

/// Open, and holding locks.
pub struct Transaction {
    database: Database,
    xid: u64,
    changes: Vec<Change>,
    /// What it makes of the tables.
    after: Vec<(usize, Undo)>,
}

enum Undo {
    Made(i64),
    Ended(i64),
}

impl Database {
    /// `None` if everything it wanted was locked.
    pub fn begin(&self) -> Option<Transaction> {
        let mut inner = self.lock();
        let xid = inner.next_xid;
        let mut transaction =
            Transaction { database: self.clone(), xid, changes: Vec::new(), after: Vec::new() };
        let most = if self.world.one_in(30) { 120 } else { 5 };
        for _ in 0..1 + self.world.below(most) {
            transaction.change(&mut inner);
        }
        if transaction.changes.is_empty() {
            return None;
        }
        inner.next_xid += 1;
        inner.running.insert(xid);
        Some(transaction)
    }

    /// Transactions that are open now, also those that only wait to be seen.
    pub fn open(&self) -> usize {
        self.lock().running.len()
    }
}

impl Transaction {
    fn change(&mut self, inner: &mut Inner) {
        let world = self.database.world.clone();
        let table = world.below(2) as usize;
        let (key, other) = (1 + world.below(KEYS) as i64, 1 + world.below(KEYS) as i64);
        let mine = |inner: &Inner, key: i64| {
            let at = &inner.tables[table];
            at.locked_whole.is_none_or(|xid| xid == self.xid)
                && at.locked.get(&key).is_none_or(|xid| *xid == self.xid)
        };
        if !mine(inner, key) {
            return;
        }
        let shape = Arc::clone(&inner.tables[table].shape);
        let here = live(inner, table, key);
        let v = inner.next_version;
        match world.below(20) {
            0 if world.one_in(3) => {
                let at = &mut inner.tables[table];
                let others = at.locked.values().chain(&at.locked_whole).any(|xid| *xid != self.xid);
                if others {
                    return;
                }
                at.locked_whole = Some(self.xid);
                let keys: Vec<i64> =
                    at.versions.iter().filter(|row| row.upto.is_none()).map(|row| row.key).collect();
                keys.into_iter().for_each(|key| self.end(inner, table, key));
                self.changes.push(Change::Truncate { tables: vec![shape] });
            }
            0..4 => {
                if here.is_some() {
                    self.end(inner, table, key);
                    self.changes.push(Change::Delete { table: shape, key: Key(vec![Value::Int(key)]) });
                }
            }
            4..7 if here.is_some() && key != other && mine(inner, other) => {
                if live(inner, table, other).is_some() {
                    return;
                }
                let (row, told) =
                    rewritten(&self.database, table, here.as_ref(), other, v, shape.columns.len());
                self.end(inner, table, key);
                self.make(inner, table, other, row);
                let old_key = Some(Key(vec![Value::Int(key)]));
                self.changes.push(Change::Update { table: shape, old_key, row: told });
            }
            _ => {
                let (row, told) =
                    rewritten(&self.database, table, here.as_ref(), key, v, shape.columns.len());
                if here.is_some() {
                    self.end(inner, table, key);
                    self.changes.push(Change::Update { table: shape, old_key: None, row: told });
                } else {
                    self.changes.push(Change::Insert { table: shape, row: told });
                }
                self.make(inner, table, key, row);
            }
        }
        inner.next_version += 1;
    }

    fn make(&mut self, inner: &mut Inner, table: usize, key: i64, row: Row) {
        let at = &mut inner.tables[table];
        at.locked.insert(key, self.xid);
        at.versions.push(Version { key, row, from: self.xid, upto: None });
        self.after.push((table, Undo::Made(key)));
    }

    fn end(&mut self, inner: &mut Inner, table: usize, key: i64) {
        let at = &mut inner.tables[table];
        at.locked.insert(key, self.xid);
        if let Some(version) = at.versions.iter_mut().find(|row| row.key == key && row.upto.is_none()) {
            version.upto = Some(self.xid);
        }
        self.after.push((table, Undo::Ended(key)));
    }

    pub fn abort(self) {
        let mut inner = self.database.lock();
        for (table, undo) in self.after.iter().rev() {
            let versions = &mut inner.tables[*table].versions;
            match undo {
                Undo::Made(key) => {
                    let made = versions
                        .iter()
                        .rposition(|row| row.key == *key && row.from == self.xid && row.upto.is_none());
                    made.map(|place| versions.remove(place));
                }
                Undo::Ended(key) => {
                    let ended =
                        versions.iter_mut().rfind(|row| row.key == *key && row.upto == Some(self.xid));
                    if let Some(version) = ended {
                        version.upto = None;
                    }
                }
            }
        }
        self.unlock(&mut inner);
        drop(inner);
        self.database.tell();
    }

    /// Into the log. Nobody sees it before [`Hanging::seen`].
    pub fn commit(self) -> Hanging {
        let world = self.database.world.clone();
        let mut inner = self.database.lock();
        let state = self.state(&inner);
        let published = |name: &_| inner.published.contains(name);
        let logged: Vec<Change> = self
            .changes
            .iter()
            .filter_map(|change| match change {
                Change::Truncate { tables } => published(&tables[0].name).then(|| change.clone()),
                Change::Insert { table, .. }
                | Change::Update { table, .. }
                | Change::Delete { table, .. } => published(&table.name).then(|| change.clone()),
                Change::Snapshot { .. } => None,
            })
            .collect();
        let by = world.below(9);
        let position = match logged.is_empty() {
            true => inner.end,
            false => inner.append(by, What::Transaction { xid: self.xid, changes: logged.into() }),
        };
        inner.history.push((position, state));
        world.note("commit", self.xid);
        world.tell(|| format!("  at {position}: {}", told(&self.changes)));
        drop(inner);
        self.database.tell();
        Hanging(self)
    }

    /// The log's state with this transaction's rows in place.
    fn state(&self, inner: &Inner) -> State {
        let mut state = inner.state().clone();
        for (number, table) in inner.tables.iter().enumerate() {
            let mut rows = Rows::clone(&state[table.name]);
            for (at, undo) in self.after.iter().filter(|(at, _)| *at == number) {
                let (Undo::Made(key) | Undo::Ended(key)) = undo;
                match live(inner, *at, *key) {
                    Some(row) => rows.insert(*key, row),
                    None => rows.remove(key),
                };
            }
            state.insert(table.name, Arc::new(rows));
        }
        state
    }

    fn unlock(&self, inner: &mut Inner) {
        for table in &mut inner.tables {
            table.locked.retain(|_, xid| *xid != self.xid);
            if table.locked_whole == Some(self.xid) {
                table.locked_whole = None;
            }
        }
        inner.ended(self.xid);
    }
}

/// Committed and in the log, but not seen yet: it waits for a standby.
pub struct Hanging(Transaction);

impl Hanging {
    /// Everyone sees it from now on.
    pub fn seen(self) {
        let transaction = self.0;
        let mut inner = transaction.database.lock();
        // TRUNCATE is not versioned: older snapshots see an empty table.
        for change in &transaction.changes {
            if let Change::Truncate { tables } = change
                && let Some(table) = inner.tables.iter_mut().find(|table| table.shape.id == tables[0].id)
            {
                table.versions.retain(|row| row.upto.is_none());
                table.storage += 1;
            }
        }
        transaction.database.world.note("seen", transaction.xid);
        transaction.unlock(&mut inner);
        drop(inner);
        transaction.database.tell();
    }
}

fn live(inner: &Inner, table: usize, key: i64) -> Option<Row> {
    let row = inner.tables[table].versions.iter().rfind(|row| row.key == key && row.upto.is_none());
    row.map(|version| version.row.clone())
}

/// A row as it is written, and as the log tells of it.
fn rewritten(
    database: &Database,
    table: usize,
    before: Option<&Row>,
    key: i64,
    v: i64,
    columns: usize,
) -> (Row, Row) {
    let world = &database.world;
    let mut cells = vec![Value::Int(key), Value::Int(v)];
    let mut unchanged = false;
    if table == 0 {
        cells.push(if world.one_in(6) { Value::Null } else { Value::Int(world.below(6) as i64) });
        let old = before.map(|row| row.0[3].clone());
        cells.push(match old {
            Some(old) if !world.one_in(3) => {
                // Only what is long lies outside the row.
                unchanged = matches!(&old, Value::Text(text) if text.starts_with("long"));
                old
            }
            _ if world.one_in(8) => Value::Null,
            _ if world.one_in(2) => Value::text(format!("long {v}")),
            _ => Value::text(format!("short {v}")),
        });
    } else {
        cells.push(Value::Int(1 + world.below(KEYS) as i64));
        cells.push(Value::Int(world.below(9) as i64));
    }
    while cells.len() < columns {
        cells.push(Value::Int(world.below(3) as i64));
    }
    let mut told = cells.clone();
    if unchanged {
        told[3] = Value::Unchanged;
    }
    (Row(cells), Row(told))
}

fn told(changes: &[Change]) -> String {
    let each = changes.iter().map(|change| match change {
        Change::Insert { table, row } => format!("{}+{:?}", table.name.name, row.0),
        Change::Update { table, old_key, row } => format!("{}={:?}{:?}", table.name.name, old_key, row.0),
        Change::Delete { table, key } => format!("{}-{key}", table.name.name),
        Change::Truncate { tables } => format!("{} truncated", tables[0].name.name),
        Change::Snapshot { .. } => String::new(),
    });
    each.collect::<Vec<_>>().join(" ")
}
