//! Opening a journal: finding its segments, checking that none is missing, cutting a torn tail.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use headwater_model::{Error, Offset, Result};

use super::file::{self, SyncedMark, io_error, segment_path};
use super::header::Header;
use super::scan::{Frames, attested_after, scan};
use super::sync::Syncer;
use super::writer::{Found, Writer};
use super::{Durable, Options, Payload, Segment, Shared, State};
use crate::watch;

/// Segments are at least this large, whatever the options say: each costs a file and two syncs.
const SEGMENT_BYTES_MIN: u64 = 1 << 10;

pub(super) fn open<T: Payload>(mut options: Options) -> Result<Writer<T>> {
    let dir = options.dir.clone();
    // Space is freed by the segment: a bound is only kept by segments that are small against it.
    options.segment_bytes = options.segment_bytes.min(options.bytes_max / 8).max(SEGMENT_BYTES_MIN);
    fs::create_dir_all(&dir).map_err(|error| io_error("create journal folder", &dir, error))?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        file::sync_dir(parent).map_err(|error| io_error("sync folder", parent, error))?;
    }
    let lock = file::lock(&dir)?;
    let mark = SyncedMark::open(&dir)?;
    let (segments, found) = match chain(&options, T::KIND)? {
        Some((mut segments, header)) => {
            let found = recover(&options, &mark, header)?;
            if let Some(active) = segments.back_mut() {
                (active.len, active.last) = (found.end, found.last);
            }
            (segments, found)
        }
        None => {
            if mark.read().is_some() {
                return Err(Error::corrupt(format!(
                    "the journal in {} has lost its segments",
                    dir.display()
                ))
                .with_remedy("Remove the folder: the stores are rebuilt from the source."));
            }
            let after = options.after;
            let header = Header { payload: T::KIND, after, previous: None, stamp: None, highest_xid: None };
            let (file, len) = file::create_segment(&options, &header)?;
            let active = Segment { after, previous: None, highest_xid: None, len, last: after };
            let found = Found {
                file,
                header,
                content: len,
                end: len,
                last: after,
                stamp: None,
                highest_xid: None,
                shapes: 0,
            };
            (VecDeque::from([active]), found)
        }
    };
    mark.write(found.header.after, found.end)
        .map_err(|error| io_error("write", &dir.join("synced"), error))?;
    let durable = Durable { len: found.end, offset: found.last, stamp: found.stamp.clone() };
    let shared = Arc::new(Shared {
        options,
        durable: watch::Sender::new(durable.offset),
        state: Mutex::new(State { segments, durable }),
        syncs: AtomicU64::new(0),
        mark,
        #[cfg(test)]
        failing_syncs: AtomicU64::new(0),
        truncating: Mutex::new(()),
    });
    let syncer = Syncer::start(shared.clone())?;
    Ok(Writer::new(shared, syncer, lock, found))
}

/// The segments, checked to follow one another, and the header of the last; `None` in an empty folder.
fn chain(options: &Options, payload: u8) -> Result<Option<(VecDeque<Segment>, Header)>> {
    let dir = &options.dir;
    let mut segments: VecDeque<Segment> = VecDeque::new();
    let mut newest = None;
    for after in file::segments(dir)? {
        let (frames, header) = Frames::open(dir, after)?;
        if header.payload != payload {
            return Err(Error::misconfigured(format!(
                "the journal in {} holds changes of another kind ({}, expected {payload})",
                dir.display(),
                header.payload
            )));
        }
        match (header.previous, segments.back_mut()) {
            // A skip that a crash interrupted before it had removed what it skips.
            (None, _) => {
                for skipped in segments.drain(..) {
                    file::remove_segment(dir, skipped.after)?;
                }
            }
            // What came before has been truncated.
            (Some(_), None) => {}
            (Some((previous, len)), Some(before)) => {
                if previous != before.after {
                    return Err(Error::corrupt(format!(
                        "journal segment {} is missing",
                        segment_path(dir, previous).display()
                    ))
                    .with_remedy("Remove the journal's folder: the stores are rebuilt from the source."));
                }
                if len != before.len {
                    let path = segment_path(dir, previous);
                    let what = format!("it had {len} bytes when it was complete");
                    return Err(file::corrupt_at(&path, len.min(before.len), &what));
                }
                before.last = after;
            }
        }
        segments.push_back(Segment {
            after,
            previous: header.previous.map(|(previous, _)| previous),
            highest_xid: header.highest_xid,
            len: frames.file_len()?,
            last: after,
        });
        newest = Some(header);
    }
    Ok(newest.map(|header| (segments, header)))
}

/// Finds the end of the last whole entry in the last segment, and cuts what comes after if it was never synced.
fn recover(options: &Options, mark: &SyncedMark, header: Header) -> Result<Found> {
    let dir = &options.dir;
    let segment = header.after;
    let (mut frames, _) = Frames::open(dir, segment)?;
    let content = frames.position();
    let scan = scan(&mut frames, &header, Offset(u64::MAX))?;
    let marked = match mark.read() {
        Some((marked, len)) if marked == segment => len,
        Some((marked, _)) if marked > segment => {
            return Err(Error::corrupt(format!(
                "journal segment {} is missing",
                segment_path(dir, marked).display()
            ))
            .with_remedy("Remove the journal's folder: the stores are rebuilt from the source."));
        }
        _ => content,
    };
    let attested = match scan.bad {
        Some(bad) => marked.max(attested_after(&frames, bad)?),
        None => marked,
    };
    let len = frames.file_len()?;
    if scan.end < attested {
        let bad = scan.bad.unwrap_or(len);
        return Err(frames.corrupt(bad, &format!("the first {attested} bytes were synced")));
    }
    let file = file::open_segment(dir, segment)?;
    let failed = |error| io_error("recover journal segment", &frames.path, error);
    if len > scan.end {
        file.set_len(scan.end).map_err(failed)?;
    }
    // These bytes may be in memory only, and a failed sync in a former life may have left the kernel thinking otherwise.
    rewrite(&file, marked.max(content).min(scan.end), scan.end).map_err(failed)?;
    file.sync_all().and_then(|()| options.synced(&frames.path, scan.end)).map_err(failed)?;
    Ok(Found {
        file,
        header,
        content,
        end: scan.end,
        last: scan.last,
        stamp: scan.stamp,
        highest_xid: scan.highest_xid,
        shapes: scan.shapes,
    })
}

/// Writes a range once more as it is.
pub(super) fn rewrite(file: &File, from: u64, to: u64) -> std::io::Result<()> {
    let mut buffer = vec![0; (1 << 20).min((to - from) as usize)];
    let mut at = from;
    while at < to {
        let count = buffer.len().min((to - at) as usize);
        file.read_exact_at(&mut buffer[..count], at)?;
        file.write_all_at(&buffer[..count], at)?;
        at += count as u64;
    }
    Ok(())
}
