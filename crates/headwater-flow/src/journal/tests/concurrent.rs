//! Readers, the writer and truncation at the same time.

use super::*;
use headwater_model::ErrorKind;

#[test]
fn readers_see_everything_once_in_order_and_only_when_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut writer) =
        Journal::open(Options { segment_bytes: 64 << 10, ..Options::new(dir.path()) }).unwrap();
    const ENTRIES: u64 = 20_000;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let readers: Vec<_> = [1, 500, 1 << 20]
        .map(|bytes_max| {
            let journal = journal.clone();
            runtime.spawn(async move {
                let mut reader = journal.read(Offset::ZERO).unwrap();
                let mut gather = Gather::default();
                while gather.entries.len() < ENTRIES as usize {
                    // Cancelled now and then: nothing may be lost by it.
                    let pause = std::time::Duration::from_micros(50);
                    let Ok(items) = tokio::time::timeout(pause, reader.next(bytes_max)).await else {
                        continue;
                    };
                    gather.add(items.unwrap());
                    assert!(reader.offset() <= journal.durable());
                }
                gather.entries
            })
        })
        .into();
    let t = table(1, 2);
    let mut written = Vec::new();
    for xid in 1..=ENTRIES {
        let changes = (0..xid % 4).map(|id| insert(&t, id as i64, "a row")).collect();
        written.push(append(&mut writer, &transaction(xid, changes)).unwrap());
        if xid.is_multiple_of(50) {
            writer.flush().unwrap();
        }
    }
    writer.settle().unwrap();
    for reader in readers {
        assert_eq!(runtime.block_on(reader).unwrap(), written);
    }
    // 400 flushes and about as many rotations; they share syncs, and none is for nothing.
    let syncs = journal.syncs();
    assert!(syncs <= ENTRIES / 50 + journal.shared.state().segments.len() as u64 + 1, "{syncs} syncs");
}

#[test]
fn flushes_while_a_sync_runs_share_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut writer) = Journal::open(Options::new(dir.path())).unwrap();
    let t = table(1, 2);
    const FLUSHES: u64 = 5_000;
    for xid in 1..=FLUSHES {
        append(&mut writer, &transaction(xid, vec![insert(&t, 1, "row")])).unwrap();
        writer.flush().unwrap();
    }
    writer.settle().unwrap();
    assert_eq!(journal.durable(), Offset(FLUSHES));
    assert!(journal.syncs() < FLUSHES, "{} syncs for {FLUSHES} flushes", journal.syncs());
    // Nothing new, no sync.
    let before = journal.syncs();
    for _ in 0..10 {
        writer.flush().unwrap();
    }
    writer.settle().unwrap();
    assert_eq!(journal.syncs(), before);
}

#[test]
fn a_reader_in_a_truncated_segment_reads_it_to_its_end_and_goes_on_or_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut writer) = open(dir.path()).unwrap();
    let t = table(1, 2);
    let mut written = Vec::new();
    for xid in 1..=400 {
        written.push(append(&mut writer, &transaction(xid, vec![insert(&t, 1, "row")])).unwrap());
    }
    writer.settle().unwrap();
    let segments: Vec<Offset> = journal.shared.state().segments.iter().map(|s| s.after).collect();
    assert!(segments.len() >= 4);

    // Only the segment it is in goes: it notices nothing.
    let mut reader = journal.read(Offset::ZERO).unwrap();
    let mut gather = Gather::default();
    gather.add(reader.try_next(100).unwrap());
    let mut behind = journal.read(Offset::ZERO).unwrap();
    behind.try_next(1).unwrap();
    journal.truncate(segments[1]).unwrap();
    assert_eq!(journal.first(), segments[1].next());
    loop {
        let items = reader.try_next(1000).unwrap();
        if items.is_empty() {
            break;
        }
        gather.add(items);
    }
    assert_eq!(gather.entries, written);

    // The next one is gone too: it must be told, not skip.
    journal.truncate(segments[2]).unwrap();
    let mut last = Offset::ZERO;
    let error = loop {
        match behind.try_next(1000) {
            Ok(items) => {
                assert!(!items.is_empty());
                last = behind.offset();
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::OutOfStep);
    assert_eq!(last, segments[1]);
    assert_eq!(behind.try_next(1000).err().unwrap().kind(), ErrorKind::OutOfStep);
}

#[test]
fn a_huge_transaction_passes_in_small_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut writer) =
        Journal::open(Options { segment_bytes: 1 << 20, ..Options::new(dir.path()) }).unwrap();
    let t = table(1, 2);
    const ROWS: i64 = 250_000;
    let text = "x".repeat(200);
    append(&mut writer, &transaction(1, vec![])).unwrap();
    writer.begin(EntryKind::Transaction { xid: Some(2) }).unwrap();
    let mut buffered = 0;
    for id in 0..ROWS {
        writer.change(&insert(&t, id, &text)).unwrap();
        buffered = buffered.max(writer.buffered());
    }
    writer.commit(position(2), 2).unwrap();
    append(&mut writer, &transaction(3, vec![])).unwrap();
    writer.settle().unwrap();
    assert!(journal.bytes() > 50_000_000);
    assert!(buffered < 3 << 20, "the writer held {buffered} bytes");

    let mut reader = journal.read(Offset(1)).unwrap();
    let (mut id, mut whole, mut pieces) = (0, Vec::new(), 0);
    loop {
        let items = reader.try_next(256 << 10).unwrap();
        if items.is_empty() {
            break;
        }
        pieces += 1;
        let mut rows = 0;
        for item in items {
            match item {
                Item::Changes(changes) => {
                    for change in changes {
                        assert_eq!(change, insert(&t, id, &text));
                        id += 1;
                        rows += 1;
                    }
                }
                Item::Commit { offset, .. } => whole.push(offset),
                Item::Begin { .. } => {}
            }
        }
        assert!(rows * 200 < 400 << 10, "{rows} rows in one piece");
    }
    assert_eq!((id, whole), (ROWS, vec![Offset(2), Offset(3)]));
    assert!(pieces > 100);
}

#[test]
fn shapes_are_shared_between_rows_and_across_segments() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut writer) = open(dir.path()).unwrap();
    // A source that makes a new shape for each row, of the same content: written once per segment all the same.
    for xid in 1..=200 {
        append(&mut writer, &transaction(xid, vec![insert(&table(1, 2), 1, "row")])).unwrap();
    }
    writer.settle().unwrap();
    let entries = read_all(&mut journal.read(Offset::ZERO).unwrap()).unwrap();
    let shape = |entry: &Entry| match &entry.changes[0] {
        Change::Insert { table, .. } => table.clone(),
        _ => unreachable!(),
    };
    assert!(entries.iter().all(|entry| Arc::ptr_eq(&shape(entry), &shape(&entries[0]))));
    assert!(journal.bytes() < 200 * 100);
}

#[test]
fn two_shapes_of_one_table_are_told_apart_even_under_the_same_version() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut writer) = open(dir.path()).unwrap();
    let changes =
        vec![insert(&table(1, 2), 1, "row"), insert(&table(1, 3), 1, "row"), insert(&table(1, 2), 2, "")];
    let written = append(&mut writer, &transaction(1, changes)).unwrap();
    writer.settle().unwrap();
    assert_eq!(read_all(&mut journal.read(Offset::ZERO).unwrap()).unwrap(), [written]);
}
