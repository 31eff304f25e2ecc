use super::*;
use headwater_model::ErrorKind;

#[test]
fn what_is_written_is_read_back_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut writer) = open(dir.path()).unwrap();
    let (a, b) = (table(1, 2), table(2, 5));
    let mut written = Vec::new();
    for xid in 1..=300 {
        let changes = vec![insert(&a, xid as i64, "one"), delete(&b, 7), insert(&b, xid as i64, "two")];
        written.push(append(&mut writer, &transaction(xid, changes)).unwrap());
    }
    let mut reader = journal.read(Offset::ZERO).unwrap();
    writer.settle().unwrap();
    assert!(journal.shared.state().segments.len() > 2, "the test covers several segments");
    assert_eq!(read_all(&mut reader).unwrap(), written);
    assert_eq!(reader.offset(), Offset(300));
    assert_eq!(journal.durable(), Offset(300));
    assert_eq!(journal.last_position(), Some(position(3000)));
    let mut passing = journal.read(Offset::ZERO).unwrap();
    for after in [0, 1, 57, 57, 299, 300] {
        let mut reader = journal.read(Offset(after)).unwrap();
        assert_eq!(read_all(&mut reader).unwrap(), written[after as usize..]);
        passing.pass(Offset(after)).unwrap();
        assert_eq!(read_all(&mut passing.fork().unwrap()).unwrap(), written[after as usize..]);
    }
    drop((journal, writer));

    let (journal, mut writer) = open(dir.path()).unwrap();
    written.push(append(&mut writer, &transaction(301, vec![insert(&a, 1, "after")])).unwrap());
    writer.settle().unwrap();
    assert_eq!(read_all(&mut journal.read(Offset::ZERO).unwrap()).unwrap(), written);
}

#[test]
fn nothing_is_seen_before_it_is_synced() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut writer) = open(dir.path()).unwrap();
    let mut reader = journal.read(Offset::ZERO).unwrap();
    append(&mut writer, &transaction(1, vec![])).unwrap();
    assert_eq!(reader.try_next(1 << 20).unwrap(), []);
    assert_eq!(journal.durable(), Offset::ZERO);
    writer.settle().unwrap();
    assert_eq!(read_all(&mut reader).unwrap().len(), 1);
}

#[test]
fn a_dropped_writer_leaves_everything_committed_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let t = table(1, 2);
    let (_, mut writer) = open(dir.path()).unwrap();
    append(&mut writer, &transaction(1, vec![insert(&t, 1, "kept")])).unwrap();
    writer.begin(EntryKind::Chunk { chunk: 9 }).unwrap();
    writer.change(&insert(&t, 2, "under construction")).unwrap();
    drop(writer);
    let (journal, writer) = open(dir.path()).unwrap();
    assert_eq!(journal.durable(), Offset(1));
    assert_eq!(writer.last_position(), Some(&position(10)));
    assert_eq!(read_all(&mut journal.read(Offset::ZERO).unwrap()).unwrap().len(), 1);
}

#[test]
fn an_aborted_entry_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut writer) = open(dir.path()).unwrap();
    let t = table(1, 2);
    let mut written = vec![append(&mut writer, &transaction(1, vec![])).unwrap()];
    // Once within the buffer, once after megabytes of it were written to the file.
    for rows in [3, 40_000] {
        writer.begin(EntryKind::Transaction { xid: Some(99) }).unwrap();
        for id in 0..rows {
            writer.change(&insert(&t, id, "this transaction was rolled back after all")).unwrap();
        }
        writer.abort();
        written.push(append(&mut writer, &transaction(2, vec![insert(&t, 1, "stays")])).unwrap());
        writer.settle().unwrap();
        assert_eq!(read_all(&mut journal.read(Offset::ZERO).unwrap()).unwrap(), written);
    }
    drop((journal, writer));
    let (journal, _writer) = open(dir.path()).unwrap();
    assert_eq!(read_all(&mut journal.read(Offset::ZERO).unwrap()).unwrap(), written);
}

#[test]
fn truncation_drops_whole_segments_and_keeps_what_must_outlive_them() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut writer) = open(dir.path()).unwrap();
    let t = table(1, 2);
    for xid in 1..=500 {
        append(&mut writer, &transaction(xid, vec![insert(&t, 1, "row")])).unwrap();
    }
    writer.settle().unwrap();
    assert_eq!(journal.highest_truncated_xid(), None);
    journal.truncate(Offset(250)).unwrap();
    let first = journal.first();
    assert!(first > Offset(100) && first <= Offset(251), "{first}");
    assert_eq!(journal.highest_truncated_xid(), Some(first.0 - 1));
    assert_eq!(journal.read(Offset(10)).err().unwrap().kind(), ErrorKind::OutOfStep);
    assert_eq!(journal.read(Offset(501)).err().unwrap().kind(), ErrorKind::OutOfStep);
    journal.truncate(Offset(u64::MAX)).unwrap();
    let first = journal.first();
    assert_eq!(journal.shared.state().segments.len(), 1);
    drop((journal, writer));

    let (journal, mut writer) = open(dir.path()).unwrap();
    assert_eq!(journal.first(), first);
    assert_eq!(journal.highest_truncated_xid(), Some(first.0 - 1));
    assert_eq!(journal.last_position(), Some(position(5000)));
    assert_eq!(writer.begin(EntryKind::Transaction { xid: None }).unwrap(), Offset(501));
}

#[test]
fn a_second_writer_is_refused_while_the_first_lives() {
    let dir = tempfile::tempdir().unwrap();
    let (_journal, writer) = open(dir.path()).unwrap();
    assert_eq!(open(dir.path()).err().unwrap().kind(), ErrorKind::Transient);
    drop(writer);
    open(dir.path()).unwrap();
}
