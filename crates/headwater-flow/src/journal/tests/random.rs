//! Random histories against a model: a list of the entries that were committed.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Change>),
    /// An entry of some hundred kilobytes.
    Large(u16),
    Abort(Vec<Change>),
    Flush,
    Settle,
    /// A clean end and a new start.
    Reopen,
    /// The folder as a kill at this moment would leave it, optionally with unsynced bytes torn off.
    Crash {
        tear: u16,
    },
    /// Per mille of what was read may go.
    Truncate(u16),
    Skip(u8),
    Read(u16),
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        Just(Value::Unchanged),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (-1e300f64..1e300).prop_map(Value::Float),
        "[0-9]{1,30}".prop_map(|digits| Value::Decimal(digits.into())),
        ".{0,20}".prop_map(Value::text),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| Value::Bytes(bytes.into())),
        any::<i32>().prop_map(Value::Date),
        any::<i64>().prop_map(Value::TimestampTz),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| proptest::collection::vec(inner, 0..4).prop_map(Value::List))
}

fn change() -> impl Strategy<Value = Change> {
    let table = (0u32..4).prop_map(|id| table(id, 1 + id as usize));
    let values = proptest::collection::vec(value(), 4);
    (table, values, any::<i64>(), 0..6).prop_map(|(table, mut values, id, which)| {
        values.truncate(table.columns.len());
        let (row, key) = (Row(values), Key(vec![Value::Int(id)]));
        match which {
            0 => Change::Insert { table, row },
            1 => Change::Update { table, old_key: None, row },
            2 => Change::Update { table, old_key: Some(key), row },
            3 => Change::Delete { table, key },
            4 => Change::Truncate { tables: vec![table.clone(), table] },
            _ => Change::Snapshot { table, row },
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let changes = || proptest::collection::vec(change(), 0..12);
    prop_oneof![
        20 => changes().prop_map(Step::Append),
        1 => (100u16..3000).prop_map(Step::Large),
        2 => changes().prop_map(Step::Abort),
        4 => Just(Step::Flush),
        2 => Just(Step::Settle),
        2 => Just(Step::Reopen),
        2 => any::<u16>().prop_map(|tear| Step::Crash { tear }),
        2 => (0u16..=1000).prop_map(Step::Truncate),
        1 => any::<u8>().prop_map(Step::Skip),
        6 => (1u16..8000).prop_map(Step::Read),
    ]
}

/// The journal under test, the model beside it, and a reader that has come some way.
struct World {
    dir: tempfile::TempDir,
    journal: Journal,
    writer: Writer,
    reader: Reader,
    gather: Gather,
    committed: Vec<Entry>,
    xid: u64,
}

impl World {
    fn new() -> World {
        let dir = quick_dir();
        let (journal, writer) = open(dir.path()).unwrap();
        let reader = journal.read(Offset::ZERO).unwrap();
        World { dir, journal, writer, reader, gather: Gather::default(), committed: Vec::new(), xid: 0 }
    }

    fn append(&mut self, changes: Vec<Change>) {
        self.xid += 1;
        let entry = transaction(self.xid, changes);
        self.committed.push(append(&mut self.writer, &entry).unwrap());
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Append(changes) => self.append(changes),
            Step::Large(rows) => {
                let t = table(9, 2);
                self.append((0..rows).map(|id| insert(&t, i64::from(id), &"large ".repeat(40))).collect());
            }
            Step::Abort(changes) => {
                self.writer.begin(EntryKind::Chunk { chunk: 5 }).unwrap();
                changes.iter().for_each(|change| self.writer.change(change).unwrap());
                self.writer.abort();
            }
            Step::Flush => self.writer.flush().unwrap(),
            Step::Settle => {
                self.writer.settle().unwrap();
                assert_eq!(self.journal.durable(), self.writer.last());
            }
            Step::Reopen => {
                let dir = std::mem::replace(&mut self.dir, quick_dir());
                let (journal, writer) = open(self.dir.path()).unwrap();
                self.journal = journal;
                // Dropped here: the old writer lets the lock of the old folder go.
                self.writer = writer;
                self.restart(dir, self.committed.len());
            }
            Step::Crash { tear } => {
                let crashed = quick_dir();
                let durable = self.journal.durable();
                copy_dir(self.dir.path(), crashed.path());
                let kept = self.committed.iter().filter(|entry| entry.offset <= durable).count();
                tear_off(crashed.path(), tear);
                self.restart(crashed, kept);
            }
            Step::Truncate(part) => {
                let upto = Offset(self.reader.offset().0 * u64::from(part) / 1000);
                let first = self.journal.first();
                self.journal.truncate(upto).unwrap();
                assert!(self.journal.first() <= first.max(upto.next()));
            }
            Step::Skip(by) => {
                self.read(u16::MAX as usize, true);
                let to = Offset(self.writer.last().0 + u64::from(by));
                self.writer.skip_to(to).unwrap();
                if by > 0 {
                    // The reader has read everything and still lacks what was skipped.
                    assert_eq!(self.journal.first(), to.next());
                    self.reader = self.journal.read(to).unwrap();
                }
            }
            Step::Read(bytes_max) => self.read(usize::from(bytes_max), false),
        }
    }

    fn read(&mut self, bytes_max: usize, to_the_end: bool) {
        if to_the_end {
            self.writer.settle().unwrap();
        }
        loop {
            let items = self.reader.try_next(bytes_max).unwrap();
            let done = items.is_empty();
            self.gather.add(items);
            if done || !to_the_end {
                break;
            }
        }
        let read = &self.gather.entries;
        assert_eq!(*read, self.committed[..read.len()]);
    }

    /// Goes on in `dir`, where at least the first `kept` entries must have survived, and nothing else.
    fn restart(&mut self, dir: tempfile::TempDir, kept: usize) {
        let (journal, writer) = open(dir.path()).unwrap();
        let survived = self.committed.iter().filter(|entry| entry.offset <= writer.last()).count();
        assert!(survived >= kept, "{survived} of {kept} entries survived");
        self.committed.truncate(survived);
        let stamp = self.committed.last().map(|entry| entry.position.clone());
        assert_eq!(journal.last_position(), stamp);
        let first = journal.first();
        let dropped =
            self.committed.iter().filter(|entry| entry.offset < first).map(|entry| match entry.kind {
                EntryKind::Transaction { xid } => xid,
                EntryKind::Chunk { .. } => None,
            });
        assert_eq!(journal.highest_truncated_xid(), dropped.max().flatten());
        // The reader had nothing that was not durable, so what it has is there.
        self.reader = journal.read(self.reader.offset()).unwrap();
        self.gather.open = None;
        (self.dir, self.journal, self.writer) = (dir, journal, writer);
    }
}

/// Cuts the last segment somewhere after what the mark attests.
fn tear_off(dir: &Path, tear: u16) {
    let mark = crate::journal::file::SyncedMark::open(dir).unwrap().read();
    let last = *crate::journal::file::segments(dir).unwrap().last().unwrap();
    let path = crate::journal::file::segment_path(dir, last);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let len = file.metadata().unwrap().len();
    let Some((marked, from)) = mark else { return };
    if marked == last && from < len {
        file.set_len(from + (len - from) * u64::from(tear) / u64::from(u16::MAX)).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_is_read_back_as_it_was_committed(steps in proptest::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in steps {
            world.apply(step);
        }
        world.read(1 << 20, true);
        prop_assert_eq!(world.gather.entries.len(), world.committed.len());
    }
}
