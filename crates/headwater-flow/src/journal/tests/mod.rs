//! What the journal promises, each as a test. Everything runs on real files in a temporary folder.

#![allow(clippy::unwrap_used)]

mod basics;
mod concurrent;
mod damage;
mod derived;
mod full;
mod killed;
mod random;

use std::path::Path;
use std::sync::Arc;

use headwater_model::{
    Change, Column, ColumnType, Key, Offset, Position, Result, Row, Table, TableName, Value,
};

use super::{EntryKind, Item, Journal, Options, Reader, Writer};

const SYSTEM: &str = "7412345678901234567/1";

fn table(id: u32, columns: usize) -> Arc<Table> {
    let column = |i| Column { name: format!("c{i}").into(), kind: ColumnType::Dynamic };
    Arc::new(Table {
        id,
        version: 1,
        name: TableName::new(Some("public"), &format!("t{id}")),
        columns: (0..columns).map(column).collect(),
        key: vec![0],
    })
}

fn options(dir: &Path) -> Options {
    Options { segment_bytes: 3 << 10, ..Options::new(dir) }
}

fn open(dir: &Path) -> Result<(Journal, Writer)> {
    Journal::open(options(dir))
}

fn insert(table: &Arc<Table>, id: i64, text: &str) -> Change {
    let mut values = vec![Value::Int(id), Value::text(text)];
    values.resize(table.columns.len(), Value::Null);
    Change::Insert { table: table.clone(), row: Row(values) }
}

fn delete(table: &Arc<Table>, id: i64) -> Change {
    Change::Delete { table: table.clone(), key: Key(vec![Value::Int(id)]) }
}

fn position(sequence: u64) -> Position {
    Position::new(SYSTEM, sequence)
}

/// An entry as a whole, as tests compare it.
#[derive(Clone, Debug, PartialEq)]
struct Entry<T = Change> {
    offset: Offset,
    kind: EntryKind,
    changes: Vec<T>,
    position: Position,
    committed_at: i64,
}

fn transaction(xid: u64, changes: Vec<Change>) -> Entry {
    Entry {
        offset: Offset::ZERO,
        kind: EntryKind::Transaction { xid: Some(xid) },
        changes,
        position: position(xid * 10),
        committed_at: xid as i64 * 1_000,
    }
}

/// Appends an entry and returns it with the offset it got.
fn append<T: super::Payload + Clone>(writer: &mut Writer<T>, entry: &Entry<T>) -> Result<Entry<T>> {
    let offset = writer.begin(entry.kind)?;
    for change in &entry.changes {
        writer.change(change)?;
    }
    assert_eq!(writer.commit(entry.position.clone(), entry.committed_at)?, offset);
    Ok(Entry { offset, ..entry.clone() })
}

/// Puts pieces together to whole entries.
struct Gather<T = Change> {
    open: Option<Entry<T>>,
    entries: Vec<Entry<T>>,
}

impl<T> Default for Gather<T> {
    fn default() -> Self {
        Gather { open: None, entries: Vec::new() }
    }
}

impl<T> Gather<T> {
    fn add(&mut self, items: Vec<Item<T>>) {
        for item in items {
            match item {
                Item::Begin { offset, kind } => {
                    assert!(self.open.is_none(), "entry {offset} begins inside another");
                    let (position, committed_at) = (position(0), 0);
                    self.open = Some(Entry { offset, kind, changes: Vec::new(), position, committed_at });
                }
                Item::Changes(changes) => {
                    self.open.as_mut().expect("changes are inside an entry").changes.extend(changes)
                }
                Item::Commit { offset, position, committed_at } => {
                    let open = self.open.take().expect("a commit ends an entry");
                    assert_eq!(open.offset, offset);
                    self.entries.push(Entry { position, committed_at, ..open });
                }
            }
        }
    }
}

/// Everything that can be read now, in small and in large pieces.
fn read_all<T: super::Payload>(reader: &mut Reader<T>) -> Result<Vec<Entry<T>>> {
    let mut gather = Gather::default();
    for bytes_max in [1, 100, 1 << 20].iter().cycle() {
        let items = reader.try_next(*bytes_max)?;
        if items.is_empty() {
            break;
        }
        gather.add(items);
    }
    assert!(gather.open.is_none(), "an entry was delivered in part and never ended");
    Ok(gather.entries)
}

/// A folder in memory where there is one: for tests that open journals by the thousand.
fn quick_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// The folder as a killed process would leave it. The mark goes first: it is never ahead of what it is about.
fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    std::fs::copy(from.join("synced"), to.join("synced")).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        if file.file_name().to_str().is_some_and(|name| name.ends_with(".segment")) {
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
}

/// Opens, reads everything, and says what is there; the error if either refuses, with what came before it.
fn recover(dir: &Path) -> (Vec<Entry>, Option<headwater_model::Error>) {
    let (journal, _writer) = match open(dir) {
        Ok(opened) => opened,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut gather = Gather::default();
    let mut reader = match journal.read(Offset(journal.first().0 - 1)) {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Some(error)),
    };
    loop {
        match reader.try_next(4096) {
            Ok(items) if items.is_empty() => return (gather.entries, None),
            Ok(items) => gather.add(items),
            Err(error) => return (gather.entries, Some(error)),
        }
    }
}
