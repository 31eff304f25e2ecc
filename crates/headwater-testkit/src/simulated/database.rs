//! The simulated database: rows in versions, transactions that are decided in one order and seen in another, a log, a slot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use headwater_model::{
    Catalogued, Change, ChunkId, Column, ColumnRevision, ColumnType, Moment, Revision, Row, Table, TableName,
    Value,
};
use tokio::sync::Notify;

use super::{Mischief, World};

/// Rows by key.
pub type Rows = BTreeMap<i64, Row>;

/// The tables' rows at a place of the log.
pub type State = BTreeMap<&'static str, Arc<Rows>>;

/// Cheap to clone; clones are the same database.
#[derive(Clone)]
pub struct Database {
    pub(super) world: World,
    inner: Arc<Mutex<Inner>>,
    /// Told when the log grows, a lock goes, or a reader is thrown out.
    changed: Arc<Notify>,
}

pub(super) struct Inner {
    pub tables: Vec<TableState>,
    pub next_xid: u64,
    /// The greatest that has ended: a snapshot's `xmax` follows it.
    pub latest_ended: u64,
    /// Begun, and not ended for readers: some may be in the log already.
    pub running: BTreeSet<u64>,
    pub log: Vec<Logged>,
    pub end: u64,
    /// What each place of the log shows.
    pub history: Vec<(u64, State)>,
    pub slot: Option<Slot>,
    pub published: BTreeSet<TableName>,
    pub next_version: i64,
}

pub(super) struct TableState {
    pub name: &'static str,
    pub shape: Arc<Table>,
    /// Where its rows are stored.
    pub storage: u64,
    pub versions: Vec<Version>,
    pub locked: BTreeMap<i64, u64>,
    pub locked_whole: Option<u64>,
}

/// A row as transactions between `from` and `upto` see it.
pub(super) struct Version {
    pub key: i64,
    pub row: Row,
    pub from: u64,
    pub upto: Option<u64>,
}

pub(super) struct Logged {
    pub position: u64,
    pub what: What,
}

pub(super) enum What {
    Transaction { xid: u64, changes: Arc<[Change]> },
    Mark(ChunkId),
}

#[derive(Debug)]
pub(super) struct Slot {
    /// Everything up to here is forgotten.
    pub confirmed: u64,
    /// Who reads; a number that changes when it is thrown out.
    pub reader: Option<u64>,
    pub readers: u64,
}

pub(super) const SYSTEM: &str = "simulated/1";

impl Database {
    /// Two tables: `items (id, v, a, wide)`, and `parts (id, v, item, n)`. `v` grows with every write.
    pub fn new(world: &World) -> Database {
        let table = |id: u32, name: &'static str, columns: [(&str, ColumnType); 4]| TableState {
            name,
            shape: Arc::new(Table {
                id,
                version: 1,
                name: TableName::new(Some("public"), name),
                columns: columns.map(|(name, kind)| Column { name: name.into(), kind }).into(),
                key: vec![0],
            }),
            storage: 1,
            versions: Vec::new(),
            locked: BTreeMap::new(),
            locked_whole: None,
        };
        let int = || ColumnType::Int;
        let tables = vec![
            table(1, "items", [("id", int()), ("v", int()), ("a", int()), ("wide", ColumnType::Text)]),
            table(2, "parts", [("id", int()), ("v", int()), ("item", int()), ("n", int())]),
        ];
        let nothing: State = tables.iter().map(|table| (table.name, Arc::default())).collect();
        let inner = Inner {
            tables,
            next_xid: 100,
            latest_ended: 99,
            running: BTreeSet::new(),
            log: Vec::new(),
            end: 1000,
            history: vec![(0, nothing)],
            slot: None,
            published: BTreeSet::new(),
            next_version: 1,
        };
        Database { world: world.clone(), inner: Arc::new(Mutex::new(inner)), changed: Arc::default() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub(super) fn tell(&self) {
        self.changed.notify_waiters();
    }

    /// Waits until something may have become true.
    pub(super) async fn wait(&self, is: impl Fn(&Inner) -> bool) {
        loop {
            let mut told = std::pin::pin!(self.changed.notified());
            told.as_mut().enable();
            if is(&self.lock()) {
                return;
            }
            told.await;
        }
    }

    /// What the log shows up to `position`.
    pub fn at(&self, position: u64) -> State {
        let inner = self.lock();
        let past = inner.history.partition_point(|(at, _)| *at <= position);
        inner.history[past - 1].1.clone()
    }

    /// What everyone sees when no transaction is open.
    pub fn now(&self) -> State {
        self.lock().state().clone()
    }

    /// The marks in the log, oldest first.
    pub fn marks(&self) -> Vec<ChunkId> {
        let mark = |logged: &Logged| match logged.what {
            What::Mark(chunk) => Some(chunk),
            What::Transaction { .. } => None,
        };
        self.lock().log.iter().filter_map(mark).collect()
    }

    /// The reader of the log is thrown out.
    pub fn throw_out(&self) {
        if let Some(slot) = &mut self.lock().slot {
            slot.reader = None;
        }
        self.tell();
    }

    /// Someone drops the slot.
    pub fn drop_slot(&self) {
        self.lock().slot = None;
        self.tell();
    }

    /// A column comes, with the same value in every row. False if someone works on the table.
    pub fn add_column(&self, table: usize) -> bool {
        let mut inner = self.lock();
        let at = &mut inner.tables[table];
        if at.locked_whole.is_some() || !at.locked.is_empty() {
            return false;
        }
        let mut shape = Table::clone(&at.shape);
        shape.version += 1;
        shape.columns.push(Column { name: format!("c{}", shape.version).into(), kind: ColumnType::Int });
        at.shape = Arc::new(shape);
        for version in &mut at.versions {
            version.row.0.push(Value::Int(7));
        }
        let name = at.name;
        let mut state = inner.state().clone();
        let mut rows = Rows::clone(&state[name]);
        rows.values_mut().for_each(|row| row.0.push(Value::Int(7)));
        state.insert(name, Arc::new(rows));
        let end = inner.end;
        inner.history.push((end, state));
        true
    }
}

impl TableState {
    pub fn catalogued(&self) -> Catalogued {
        let column = |place: usize| ColumnRevision { id: place as u64 + 1, definition: 1 };
        let columns = (0..self.shape.columns.len()).map(column).collect();
        let revision = Some(Revision { storage: self.storage, columns });
        Catalogued { table: Arc::clone(&self.shape), revision }
    }
}

impl Inner {
    pub fn state(&self) -> &State {
        &self.history[self.history.len() - 1].1
    }

    pub fn is_read_by(&self, number: u64) -> bool {
        self.slot.as_ref().is_some_and(|slot| slot.reader == Some(number))
    }

    pub fn append(&mut self, by: u64, what: What) -> u64 {
        self.end += 1 + by;
        self.log.push(Logged { position: self.end, what });
        self.end
    }

    pub fn ended(&mut self, xid: u64) {
        self.running.remove(&xid);
        self.latest_ended = self.latest_ended.max(xid);
    }

    /// `pg_current_snapshot()`.
    pub fn snapshot(&self) -> Moment {
        let xmax = self.latest_ended + 1;
        Moment::Snapshot {
            xmin: self.running.first().copied().unwrap_or(xmax).min(xmax),
            xmax,
            in_progress: self.running.range(..xmax).copied().collect(),
        }
    }

    /// What a snapshot is said to be.
    pub fn as_told(&self, snapshot: Moment, world: &World) -> Moment {
        match world.is(Mischief::ChunkSeesAll) {
            true => Moment::Snapshot { xmin: self.next_xid, xmax: self.next_xid, in_progress: Vec::new() },
            false => snapshot,
        }
    }

    /// The rows of a table that a snapshot shows.
    pub fn visible(&self, table: usize, snapshot: &Moment) -> Rows {
        let Moment::Snapshot { xmin, xmax, in_progress } = snapshot else { return Rows::new() };
        let sees = |xid: u64| xid < *xmin || (xid < *xmax && !in_progress.contains(&xid));
        let versions = self.tables[table].versions.iter();
        let seen = versions.filter(|version| sees(version.from) && !version.upto.is_some_and(sees));
        seen.map(|version| (version.key, version.row.clone())).collect()
    }
}
