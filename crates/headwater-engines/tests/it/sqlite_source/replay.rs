//! Events replayed into maps, to be compared with what the database says itself.

use std::collections::BTreeMap;

use headwater_model::{Change, ChunkId, Event, Key, Position, Row, Table, Value};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

type Rows = BTreeMap<String, Row>;

/// Tables by name, as the committed events make them.
#[derive(Default)]
pub struct Replica {
    pub tables: BTreeMap<String, Rows>,
    pub position: Option<Position>,
    pub marks: Vec<(ChunkId, Position)>,
    pub transactions: usize,
    pub changes: usize,
    pub columns: BTreeMap<String, Vec<String>>,
    /// How many rows are left out, by table and key.
    pub refused: BTreeMap<(String, String), u64>,
    open: Option<Vec<Event>>,
}

impl Replica {
    pub fn take(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Begin { xid } => {
                    assert_eq!(xid, None);
                    assert!(self.open.replace(Vec::new()).is_none(), "transactions do not nest");
                }
                event @ (Event::Change(_) | Event::Refused(_)) => {
                    self.open.as_mut().expect("a change is in a transaction").push(event)
                }
                Event::Commit { position, committed_at } => {
                    assert!(committed_at > 1_700_000_000_000_000, "{committed_at}");
                    let changes = self.open.take().expect("a commit ends a transaction");
                    assert!(!changes.is_empty());
                    self.changes += changes.len();
                    changes.into_iter().for_each(|event| match event {
                        Event::Change(change) => self.apply(change),
                        Event::Refused(refused) => {
                            let at = (refused.table.name.to_string(), format!("{:?}", refused.key.0));
                            match refused.rows {
                                0 => self.refused.remove(&at),
                                rows => self.refused.insert(at, rows),
                            };
                        }
                        other => panic!("{other:?} inside a transaction"),
                    });
                    self.transactions += 1;
                    self.go_to(position);
                }
                Event::Mark { chunk, position } => {
                    assert!(self.open.is_none(), "a mark is outside of transactions");
                    self.marks.push((chunk, position.clone()));
                    self.go_to(position);
                }
                Event::Idle { position } => {
                    assert!(self.open.is_none());
                    self.go_to(position);
                }
            }
        }
    }

    /// What was read but not committed is forgotten, as a crash does.
    pub fn crash(&mut self) {
        self.open = None;
    }

    fn go_to(&mut self, position: Position) {
        assert!(self.position.as_ref().is_none_or(|before| *before < position), "positions grow");
        self.position = Some(position);
    }

    fn rows(&mut self, table: &Table) -> &mut Rows {
        let names = table.columns.iter().map(|c| c.name.to_string()).collect();
        self.columns.insert(table.name.name.to_string(), names);
        self.tables.entry(table.name.name.to_string()).or_default()
    }

    fn apply(&mut self, change: Change) {
        let text = |key: &Key| key.to_text();
        match change {
            Change::Insert { table, row } | Change::Snapshot { table, row } => {
                assert_eq!(row.0.len(), table.columns.len());
                let key = text(&row.key(&table));
                self.rows(&table).insert(key, row);
            }
            Change::Update { table, old_key, row } => {
                assert_eq!(row.0.len(), table.columns.len());
                let key = text(&row.key(&table));
                let rows = self.rows(&table);
                if let Some(old) = old_key {
                    rows.remove(&text(&old));
                }
                rows.insert(key, row);
            }
            Change::Delete { table, key } => {
                self.rows(&table).remove(&text(&key));
            }
            Change::Truncate { tables } => tables.iter().for_each(|table| self.rows(table).clear()),
        }
    }

    /// Compares a table with a plain SELECT, by storage class and value.
    pub fn assert_equals(&self, connection: &Connection, table: &str, key: &[&str]) {
        let mut statement = connection.prepare(&format!("SELECT * FROM \"{table}\"")).unwrap();
        let places: Vec<usize> = key.iter().map(|name| statement.column_index(name).unwrap()).collect();
        let columns = statement.column_count();
        let mut expected = Rows::new();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values: Vec<Value> = (0..columns).map(|i| plain(row.get_ref(i).unwrap())).collect();
            let key = Key(places.iter().map(|place| values[*place].clone()).collect());
            assert!(expected.insert(key.to_text(), Row(values)).is_none(), "keys are unique");
        }
        let empty = Rows::new();
        let found = self.tables.get(table).unwrap_or(&empty);
        let extra: Vec<_> = found.keys().filter(|key| !expected.contains_key(*key)).take(5).collect();
        let missing: Vec<_> = expected.keys().filter(|key| !found.contains_key(*key)).take(5).collect();
        assert!(extra.is_empty() && missing.is_empty(), "{table}: extra {extra:?}, missing {missing:?}");
        for (key, row) in &expected {
            assert_eq!(&found[key], row, "{table} {key}");
        }
    }
}

/// Our own reading of a value: the tests share no code with the codec.
fn plain(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(n) => Value::Int(n),
        ValueRef::Real(f) => Value::Float(f),
        ValueRef::Text(text) => Value::text(std::str::from_utf8(text).unwrap()),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.into()),
    }
}
