//! A full disk: told, nothing half-written stays, and it goes on when there is space again.

use super::*;
use std::fs::OpenOptions;

use headwater_model::ErrorKind;

/// Every write to this device says "no space left".
fn full() -> Arc<std::fs::File> {
    Arc::new(OpenOptions::new().read(true).write(true).open("/dev/full").unwrap())
}

#[test]
fn a_full_disk_cuts_the_entry_under_construction_and_keeps_what_was_committed() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut writer) = open(dir.path()).unwrap();
    let t = table(1, 2);
    let mut written = vec![append(&mut writer, &transaction(1, vec![insert(&t, 1, "before")])).unwrap()];
    writer.settle().unwrap();
    let space = writer.replace_file(full());

    // Committed into the buffer, which cannot be handed over.
    written.push(append(&mut writer, &transaction(2, vec![insert(&t, 2, "meanwhile")])).unwrap());
    for attempt in 0..3 {
        let error = writer.flush().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient);
        assert!(error.to_string().contains(dir.path().to_str().unwrap()), "{error}");
        assert!(attempt > 0 || error.remedy().is_some(), "{error}");
    }
    // A transaction that outgrows the buffer is cut off; the one before stays.
    writer.begin(EntryKind::Transaction { xid: Some(3) }).unwrap();
    let text = "y".repeat(1000);
    let error = (0..10_000).find_map(|id| writer.change(&insert(&t, id, &text)).err()).unwrap();
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert_eq!(writer.change(&insert(&t, 1, "")).unwrap_err().kind(), ErrorKind::Bug);
    assert_eq!(writer.last_position(), Some(&position(20)));
    assert_eq!(journal.durable(), Offset(1));

    writer.replace_file(space);
    written.push(append(&mut writer, &transaction(3, vec![insert(&t, 3, "after")])).unwrap());
    writer.settle().unwrap();
    assert_eq!(read_all(&mut journal.read(Offset::ZERO).unwrap()).unwrap(), written);
    drop((journal, writer));
    assert_eq!(recover(dir.path()).0, written);
}

#[test]
fn going_over_the_bound_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut writer) =
        Journal::open(Options { bytes_max: 40_000, ..Options::new(dir.path()) }).unwrap();
    let t = table(1, 2);
    let mut xid = 0;
    while !writer.over_bound() {
        xid += 1;
        append(&mut writer, &transaction(xid, vec![insert(&t, 1, "row")])).unwrap();
    }
    writer.settle().unwrap();
    assert!(journal.over_bound());
    let bytes = journal.bytes();
    assert!(bytes > 40_000 && bytes < 41_000, "{bytes}");
    assert_eq!(journal.bytes_after(Offset::ZERO), bytes);
    assert_eq!(journal.bytes_after(Offset(xid)), 0);
    let half = journal.bytes_after(Offset(xid / 2));
    assert!(half > bytes * 2 / 5 && half < bytes * 3 / 5, "{half} of {bytes}");
    journal.truncate(Offset(xid / 2)).unwrap();
    assert!(!journal.over_bound());
}

#[test]
fn a_failed_sync_is_told_once_and_what_it_left_unsure_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut writer) = open(dir.path()).unwrap();
    let t = table(1, 2);
    let mut written = vec![append(&mut writer, &transaction(1, vec![insert(&t, 1, "before")])).unwrap()];
    writer.settle().unwrap();
    journal.shared.failing_syncs.store(2, std::sync::atomic::Ordering::SeqCst);
    written.push(append(&mut writer, &transaction(2, vec![insert(&t, 2, "unsure")])).unwrap());
    let mut failures = 0;
    while let Err(error) = writer.settle() {
        assert_eq!(error.kind(), ErrorKind::Transient);
        assert_eq!(journal.durable(), Offset(1));
        failures += 1;
    }
    assert!((2..=4).contains(&failures), "{failures}");
    written.push(append(&mut writer, &transaction(3, vec![insert(&t, 3, "after")])).unwrap());
    writer.settle().unwrap();
    assert_eq!(read_all(&mut journal.read(Offset::ZERO).unwrap()).unwrap(), written);
    drop((journal, writer));
    assert_eq!(recover(dir.path()).0, written);
}

#[test]
fn bytes_that_a_failed_sync_lost_are_corrupt_and_never_called_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, mut writer) = open(dir.path()).unwrap();
    append(&mut writer, &transaction(1, vec![])).unwrap();
    writer.settle().unwrap();
    // Takes every byte, keeps none, and cannot be synced.
    let null = OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
    let kept = writer.replace_file(Arc::new(null));
    append(&mut writer, &transaction(2, vec![])).unwrap();
    let errors: Vec<_> = std::iter::from_fn(|| writer.settle().err()).take(4).map(|e| e.kind()).collect();
    assert_eq!(errors[0], ErrorKind::Transient);
    assert_eq!(errors[3], ErrorKind::Corrupt);
    assert_eq!(journal.durable(), Offset(1));
    writer.replace_file(kept);
}
