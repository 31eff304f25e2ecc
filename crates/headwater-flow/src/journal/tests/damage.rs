//! Torn tails are cut; damage is named; nothing wrong is ever delivered.

use super::*;
use std::fs::{self, OpenOptions};

use headwater_model::ErrorKind;
use proptest::prelude::*;

use crate::journal::file::segment_path;

fn write_entries(dir: &Path, count: u64) -> Vec<Entry> {
    let (_journal, mut writer) = open(dir).unwrap();
    let (a, b) = (table(1, 2), table(2, 3));
    let mut written = Vec::new();
    for _ in 0..count {
        let xid = writer.last().0 + 1;
        let changes = vec![insert(&a, xid as i64, "some text"), delete(&b, -1), insert(&b, 5, "")];
        written.push(append(&mut writer, &transaction(xid, changes)).unwrap());
        // Grouped as in life: some entries are synced while later ones begin.
        if xid.is_multiple_of(7) {
            writer.settle().unwrap();
        }
    }
    written
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_at_the_last_whole_entry() {
    let dir = quick_dir();
    let mut written = write_entries(dir.path(), 3);
    let mark = fs::read(dir.path().join("synced")).unwrap();
    let path = segment_path(dir.path(), Offset::ZERO);
    let synced = fs::metadata(&path).unwrap().len() as usize;
    let mut ends = vec![synced];
    for _ in 0..4 {
        written.extend(write_entries(dir.path(), 1));
        ends.push(fs::metadata(&path).unwrap().len() as usize);
    }
    let whole = fs::read(&path).unwrap();
    for cut in synced..=whole.len() {
        for rest in [vec![], vec![0; 50], whole[synced..(synced + 40).min(whole.len())].to_vec()] {
            fs::write(dir.path().join("synced"), &mark).unwrap();
            fs::write(&path, [&whole[..cut], &rest[..]].concat()).unwrap();
            let kept = 2 + ends.iter().filter(|end| **end <= cut).count();
            let (entries, error) = recover(dir.path());
            assert!(error.is_none(), "cut at {cut}: {error:?}");
            assert_eq!(entries, written[..kept], "cut at {cut}");
            assert_eq!(fs::metadata(&path).unwrap().len() as usize, ends[kept - 3]);
            // And it goes on from there.
            write_entries(dir.path(), 1);
            assert_eq!(recover(dir.path()).0.len(), kept + 1);
        }
    }
}

#[test]
fn a_file_shorter_than_what_was_synced_is_corrupt_and_not_a_torn_tail() {
    let dir = quick_dir();
    write_entries(dir.path(), 3);
    let path = segment_path(dir.path(), Offset::ZERO);
    let whole = fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let error = open(dir.path()).err().unwrap_or_else(|| panic!("cut at {cut} was accepted"));
        assert_eq!(error.kind(), ErrorKind::Corrupt, "cut at {cut}: {error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}

/// Flips each byte of each file in turn and says how often recovery cut the tail, and how often it refused.
fn flip_every_byte(with_mark: bool) -> (usize, usize) {
    let dir = quick_dir();
    let written = write_entries(dir.path(), 112);
    let (mut cut, mut refused) = (0, 0);
    let segments: Vec<_> = crate::journal::file::segments(dir.path()).unwrap();
    assert!(segments.len() >= 3);
    let mut files: Vec<_> = segments.iter().map(|after| segment_path(dir.path(), *after)).collect();
    files.push(dir.path().join("synced"));
    let originals: Vec<_> = files.iter().map(|path| fs::read(path).unwrap()).collect();
    for (path, original) in files.iter().zip(&originals) {
        for at in 0..original.len() {
            // Recovery touches only the last segment and the mark.
            for i in [files.len() - 2, files.len() - 1] {
                fs::write(&files[i], &originals[i]).unwrap();
            }
            if !with_mark {
                fs::remove_file(dir.path().join("synced")).unwrap();
            }
            let mut flipped = original.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(path, &flipped).unwrap();
            let (entries, error) = recover(dir.path());
            assert_eq!(entries, written[..entries.len()], "{} byte {at}", path.display());
            match error {
                Some(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{} byte {at}: {error}", path.display());
                    refused += 1;
                }
                None if entries.len() < written.len() => cut += 1,
                None => {
                    let harmless = path.ends_with("synced");
                    assert!(harmless, "{} byte {at} was flipped and nobody noticed", path.display());
                }
            }
        }
        fs::write(path, original).unwrap();
    }
    (cut, refused)
}

#[test]
fn a_flipped_bit_in_synced_bytes_is_corrupt_wherever_it_is() {
    let (cut, refused) = flip_every_byte(true);
    assert_eq!(cut, 0);
    assert!(refused > 4000, "{refused}");
}

#[test]
fn without_the_mark_only_what_came_after_the_last_attested_sync_can_be_cut() {
    let (cut, refused) = flip_every_byte(false);
    // 112 entries in groups of 7: the last groups of the last segment are what nothing attests.
    assert!(cut > 0 && cut < 2000, "{cut}");
    assert!(refused > 3000, "{refused}");
}

#[test]
fn a_missing_segment_is_corrupt_and_named() {
    let dir = quick_dir();
    write_entries(dir.path(), 300);
    let segments = crate::journal::file::segments(dir.path()).unwrap();
    assert!(segments.len() >= 4);
    for missing in &segments[1..] {
        let copy = quick_dir();
        copy_dir(dir.path(), copy.path());
        let path = segment_path(copy.path(), *missing);
        fs::remove_file(&path).unwrap();
        let error = open(copy.path()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
    // All of them, with the mark left behind.
    for segment in &segments {
        fs::remove_file(segment_path(dir.path(), *segment)).unwrap();
    }
    assert_eq!(open(dir.path()).err().unwrap().kind(), ErrorKind::Corrupt);
}

#[test]
fn pages_written_out_of_order_before_a_power_cut_are_a_torn_tail() {
    let dir = quick_dir();
    let written = write_entries(dir.path(), 7);
    let mark = fs::read(dir.path().join("synced")).unwrap();
    let path = segment_path(dir.path(), Offset::ZERO);
    let synced = fs::metadata(&path).unwrap().len() as usize;
    // One group that was never synced: of its entries, later bytes made it to the disk and earlier ones did not.
    {
        let (_journal, mut writer) = open(dir.path()).unwrap();
        for xid in 8..14 {
            append(&mut writer, &transaction(xid, vec![insert(&table(1, 2), 1, "text")])).unwrap();
        }
    }
    let mut whole = fs::read(&path).unwrap();
    whole[synced + 20..synced + 60].fill(0);
    fs::write(&path, &whole).unwrap();
    fs::write(dir.path().join("synced"), &mark).unwrap();
    let (entries, error) = recover(dir.path());
    assert!(error.is_none(), "{error:?}");
    assert_eq!(entries, written);
}

#[test]
fn frames_that_lie_inside_a_value_are_not_mistaken_for_frames() {
    let dir = quick_dir();
    write_entries(dir.path(), 7);
    let path = segment_path(dir.path(), Offset::ZERO);
    let frames = fs::read(&path).unwrap();
    let mark = fs::read(dir.path().join("synced")).unwrap();
    let synced = frames.len();
    {
        let (_journal, mut writer) = open(dir.path()).unwrap();
        let t = table(1, 1);
        writer.begin(EntryKind::Chunk { chunk: 1 }).unwrap();
        let row = Row(vec![Value::Bytes(frames.into())]);
        writer.change(&Change::Snapshot { table: t, row }).unwrap();
        writer.commit(position(8), 8).unwrap();
    }
    let mut whole = fs::read(&path).unwrap();
    whole[synced] ^= 1;
    fs::write(&path, &whole).unwrap();
    fs::write(dir.path().join("synced"), &mark).unwrap();
    let (entries, error) = recover(dir.path());
    assert!(error.is_none(), "{error:?}");
    assert_eq!(entries.len(), 7);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Random bytes as a whole segment, and random bytes after a good beginning, with checksums that fit.
    #[test]
    fn arbitrary_bytes_never_panic(
        noise in proptest::collection::vec(any::<u8>(), 0..2000),
        frames in proptest::collection::vec((1u8..=5, proptest::collection::vec(any::<u8>(), 0..60)), 0..12),
        after_header in any::<bool>(),
    ) {
        let dir = quick_dir();
        let header = {
            drop(open(dir.path()).unwrap());
            fs::read(segment_path(dir.path(), Offset::ZERO)).unwrap()
        };
        let mut bytes = if after_header { header } else { Vec::new() };
        for (kind, body) in &frames {
            let start = bytes.len();
            bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, *kind]);
            bytes.extend_from_slice(body);
            crate::journal::frame::close(&mut bytes, start, 0, start as u64).unwrap();
        }
        bytes.extend_from_slice(&noise);
        fs::write(segment_path(dir.path(), Offset::ZERO), &bytes).unwrap();
        fs::remove_file(dir.path().join("synced")).unwrap();
        recover(dir.path());
    }

    /// Frames that pass their checksum and hold nonsense where changes should be: told, not panicked about.
    #[test]
    fn nonsense_inside_good_frames_is_corrupt(
        payloads in proptest::collection::vec(any::<u8>(), 1..200),
        count in 0u32..300,
    ) {
        let dir = quick_dir();
        {
            let (journal, mut writer) = open(dir.path()).unwrap();
            writer.begin(EntryKind::Transaction { xid: None }).unwrap();
            writer.commit(position(1), 1).unwrap();
            writer.settle().unwrap();
            drop((journal, writer));
        }
        let path = segment_path(dir.path(), Offset::ZERO);
        let mut bytes = fs::read(&path).unwrap();
        let (kind, offset) = (EntryKind::Transaction { xid: None }, Offset(2));
        let mut frame = |kind: crate::journal::frame::Kind, body: &[u8]| {
            let start = crate::journal::frame::open(kind, &mut bytes);
            bytes.extend_from_slice(body);
            crate::journal::frame::close(&mut bytes, start, 0, start as u64).unwrap();
        };
        let mut body = Vec::new();
        crate::journal::entry::Begin { offset, kind, synced: 0 }.encode(&mut body);
        frame(crate::journal::frame::Kind::Begin, &body);
        frame(crate::journal::frame::Kind::Changes, &[&count.to_le_bytes()[..], &payloads].concat());
        body.clear();
        let stamp = crate::journal::entry::Stamp { position: position(2), committed_at: 2 };
        crate::journal::entry::Commit { offset, stamp, changes: u64::from(count) }.encode(&mut body);
        frame(crate::journal::frame::Kind::Commit, &body);
        fs::write(&path, &bytes).unwrap();
        let (entries, error) = recover(dir.path());
        // Without a table shape no change can be told, so only an empty truncation (tag 4, none) would do.
        if let Some(error) = error {
            prop_assert_eq!(error.kind(), ErrorKind::Corrupt);
            prop_assert_eq!(entries.len(), 1);
        }
    }
}

#[test]
fn a_length_that_the_file_does_not_have_allocates_nothing() {
    let dir = quick_dir();
    write_entries(dir.path(), 1);
    let path = segment_path(dir.path(), Offset::ZERO);
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 4, 5, 6]);
    fs::write(&path, &bytes).unwrap();
    let (mut frames, header) = crate::journal::scan::Frames::open(dir.path(), Offset::ZERO).unwrap();
    let scan = crate::journal::scan::scan(&mut frames, &header, Offset(u64::MAX)).unwrap();
    assert_eq!((scan.last, scan.bad), (Offset(1), Some(scan.end)));
    assert!(frames.buffered() <= 256 << 10);
}

#[test]
fn a_journal_of_another_kind_is_refused() {
    let dir = quick_dir();
    write_entries(dir.path(), 1);
    let other = Journal::<headwater_model::ViewChange>::open(options(dir.path()));
    assert_eq!(other.err().unwrap().kind(), ErrorKind::Misconfigured);
}

#[test]
fn leftovers_of_an_interrupted_rotation_are_removed() {
    let dir = quick_dir();
    write_entries(dir.path(), 1);
    let leftover = dir.path().join("00000000000000000001.new");
    OpenOptions::new().create(true).write(true).truncate(true).open(&leftover).unwrap();
    assert!(recover(dir.path()).1.is_none());
    assert!(!leftover.exists());
}
