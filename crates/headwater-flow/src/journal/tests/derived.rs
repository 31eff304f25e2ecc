//! The derived journal: offsets from elsewhere, cut back at start; and a journal that begins in the middle.

use super::*;
use headwater_model::{ErrorKind, Names, Record, View, ViewChange};

fn view() -> Arc<View> {
    Arc::new(View {
        name: "book".into(),
        from: TableName::new(None, "books"),
        columns: None,
        filter: None,
        embeds: vec![],
        stores: vec!["near".into()],
        parts: Vec::new(),
        layout: None,
        kind: headwater_model::ViewKind::Document,
        indexes: Vec::new(),
    })
}

fn view_changes(id: i64) -> Vec<ViewChange> {
    let names: Names = Arc::from(["id".into(), "author".into()]);
    let author = Record { names: Arc::from(["name".into()]), values: vec![Value::text("Ursula")] };
    let key = Key(vec![Value::Int(id)]);
    let document = Record { names, values: vec![Value::Int(id), Value::Record(author)] };
    vec![
        ViewChange::Clear { view: view() },
        ViewChange::Put { view: view(), key: key.clone(), moved_from: None, document: document.clone() },
        ViewChange::Put {
            view: view(),
            key: key.clone(),
            moved_from: Some(Key(vec![Value::Null])),
            document,
        },
        ViewChange::Delete { view: view(), key },
    ]
}

fn append_at(writer: &mut Writer<ViewChange>, offset: u64) -> Entry<ViewChange> {
    let kind = EntryKind::Transaction { xid: Some(offset) };
    writer.begin_at(Offset(offset), kind).unwrap();
    let changes = view_changes(offset as i64);
    for change in &changes {
        writer.change(change).unwrap();
    }
    writer.commit(position(offset), 1).unwrap();
    Entry { offset: Offset(offset), kind, changes, position: position(offset), committed_at: 1 }
}

#[test]
fn offsets_may_have_gaps_and_only_grow() {
    let dir = quick_dir();
    let (journal, mut writer) = Journal::<ViewChange>::open(options(dir.path())).unwrap();
    let written: Vec<_> = (1..=100).map(|n| append_at(&mut writer, n * 3)).collect();
    writer.settle().unwrap();
    assert!(journal.shared.state().segments.len() > 2);
    assert_eq!(read_all(&mut journal.read(Offset::ZERO).unwrap()).unwrap(), written);
    assert_eq!(read_all(&mut journal.read(Offset(100)).unwrap()).unwrap(), written[33..]);
    let mut passing = journal.read(Offset::ZERO).unwrap();
    for (after, first) in [(2, 0), (100, 33), (101, 33), (102, 34), (300, 100)] {
        passing.pass(Offset(after)).unwrap();
        assert_eq!(read_all(&mut passing.fork().unwrap()).unwrap(), written[first..], "behind {after}");
    }
    let again = writer.begin_at(Offset(300), EntryKind::Transaction { xid: None });
    assert_eq!(again.err().unwrap().kind(), ErrorKind::Bug);
    assert_eq!(writer.begin(EntryKind::Transaction { xid: None }).unwrap(), Offset(301));
}

#[test]
fn cutting_back_leaves_exactly_what_came_before_at_any_offset() {
    for cut in (0..=305).step_by(5) {
        let dir = quick_dir();
        let mut written: Vec<_> = {
            let (_, mut writer) = Journal::<ViewChange>::open(options(dir.path())).unwrap();
            (1..=100).map(|n| append_at(&mut writer, n * 3)).collect()
        };
        let (journal, mut writer) = Journal::<ViewChange>::open(options(dir.path())).unwrap();
        writer.truncate_after(Offset(cut)).unwrap();
        written.retain(|entry| entry.offset.0 <= cut);
        let last = written.last().map_or(Offset::ZERO, |entry| entry.offset);
        assert_eq!((writer.last(), journal.durable()), (last, last));
        assert_eq!(journal.last_position(), written.last().map(|entry| entry.position.clone()));
        let mut reader = journal.read(Offset::ZERO).unwrap();
        assert_eq!(read_all(&mut reader).unwrap(), written);
        for offset in [400, 401, 500] {
            written.push(append_at(&mut writer, offset));
        }
        writer.settle().unwrap();
        assert_eq!(read_all(&mut reader).unwrap().len(), 3);
        drop((journal, writer));
        let (journal, _writer) = Journal::<ViewChange>::open(options(dir.path())).unwrap();
        assert_eq!(read_all(&mut journal.read(Offset::ZERO).unwrap()).unwrap(), written);
    }
}

#[test]
fn cutting_back_behind_what_was_truncated_is_refused() {
    let dir = quick_dir();
    let (journal, mut writer) = Journal::<ViewChange>::open(options(dir.path())).unwrap();
    for n in 1..=100 {
        append_at(&mut writer, n);
    }
    writer.settle().unwrap();
    journal.truncate(Offset(50)).unwrap();
    assert!(journal.first() > Offset(10));
    assert_eq!(writer.truncate_after(Offset(5)).err().unwrap().kind(), ErrorKind::OutOfStep);
    assert_eq!(writer.last(), Offset(100));
}

#[test]
fn an_empty_folder_starts_where_it_is_told() {
    let dir = quick_dir();
    let at = |after| Options { after: Offset(after), ..options(dir.path()) };
    let (journal, mut writer) = Journal::open(at(1000)).unwrap();
    assert_eq!((journal.first(), journal.durable()), (Offset(1001), Offset(1000)));
    assert_eq!(journal.read(Offset(999)).err().unwrap().kind(), ErrorKind::OutOfStep);
    let mut reader = journal.read(Offset(1000)).unwrap();
    let written = append(&mut writer, &transaction(1, vec![])).unwrap();
    assert_eq!(written.offset, Offset(1001));
    writer.settle().unwrap();
    assert_eq!(read_all(&mut reader).unwrap(), [written]);
    drop((journal, writer));
    // A folder that is not empty knows better.
    let (journal, _writer) = Journal::<Change>::open(at(5)).unwrap();
    assert_eq!((journal.first(), journal.durable()), (Offset(1001), Offset(1001)));
}

#[test]
fn a_skip_is_durable_and_readers_behind_it_are_told() {
    let dir = quick_dir();
    let (journal, mut writer) = open(dir.path()).unwrap();
    for xid in 1..=200 {
        append(&mut writer, &transaction(xid, vec![insert(&table(1, 2), 1, "row")])).unwrap();
    }
    writer.settle().unwrap();
    let mut reader = journal.read(Offset::ZERO).unwrap();
    reader.try_next(1).unwrap();
    writer.skip_to(Offset(900)).unwrap();
    assert_eq!((journal.first(), journal.durable()), (Offset(901), Offset(900)));
    assert_eq!(journal.highest_truncated_xid(), Some(200));
    assert_eq!(journal.last_position(), Some(position(2000)));
    let error = loop {
        if let Err(error) = reader.try_next(1 << 20) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::OutOfStep);
    assert!(reader.offset() < Offset(200));
    assert_eq!(append(&mut writer, &transaction(201, vec![])).unwrap().offset, Offset(901));
    drop((journal, writer));
    let (journal, writer) = open(dir.path()).unwrap();
    assert_eq!((journal.first(), writer.last()), (Offset(901), Offset(901)));
    assert_eq!(read_all(&mut journal.read(Offset(900)).unwrap()).unwrap().len(), 1);
}

#[test]
fn a_skip_that_a_crash_interrupted_is_finished_at_open() {
    let (dir, crashed) = (quick_dir(), quick_dir());
    let (_journal, mut writer) = open(dir.path()).unwrap();
    append(&mut writer, &transaction(1, vec![])).unwrap();
    writer.settle().unwrap();
    copy_dir(dir.path(), crashed.path());
    writer.skip_to(Offset(50)).unwrap();
    drop(writer);
    // Old and new segments side by side, in both orders of the mark.
    let new = crate::journal::file::segment_path(dir.path(), Offset(50));
    std::fs::copy(&new, crashed.path().join(new.file_name().unwrap())).unwrap();
    let (journal, writer) = open(crashed.path()).unwrap();
    assert_eq!((journal.first(), writer.last()), (Offset(51), Offset(50)));
}
