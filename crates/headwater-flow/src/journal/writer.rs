//! Appending entries. One owner; never waits for the disk, unless far too much is unsynced.

use std::fs::File;
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use headwater_model::{Change, Error, Offset, Position, Result};

use super::entry::{Begin, Commit, Stamp};
use super::file::{self, Lock, io_error, segment_path};
use super::frame::{self, HEAD, Kind};
use super::header::Header;
use super::open::rewrite;
use super::scan::{Frames, Step, scan};
use super::shapes::Numbers;
use super::sync::{Request, Syncer};
use super::{Durable, EntryKind, Payload, Segment, Shared};

/// A `Changes` frame is closed past this.
const FRAME_BYTES: usize = 32 << 10;
/// Bytes are handed to the operating system when this many have gathered.
const WRITE_BYTES: usize = 1 << 20;
/// Inside a large entry, a sync is asked for each time this many bytes are unsynced …
const SYNC_BYTES: u64 = 16 << 20;
/// … and past this the writer waits for it.
const UNSYNCED_BYTES_MAX: u64 = 64 << 20;

/// Appends to a journal.
///
/// An error from any method leaves no entry under construction: what was begun is cut off, what was committed stays and
/// is written by a later call. So after an error, go on after [`Writer::last_position`].
pub struct Writer<T = Change> {
    shared: Arc<Shared>,
    syncer: Syncer,
    file: Arc<File>,
    path: PathBuf,
    segment: Offset,
    /// Where the segment's first entry goes: right after its header.
    content: u64,
    numbers: Numbers,
    /// Bytes not yet handed over, and where in the file they go.
    buffer: Vec<u8>,
    base: u64,
    /// A failed or abandoned write left bytes at or past `base` in the file.
    dirty: bool,
    entry: Option<Entry>,
    /// End of the last committed entry, and of the one that a sync was last asked for.
    committed: u64,
    asked: u64,
    /// All bytes ever handed over, and how many of them when a sync was last asked for.
    written: u64,
    asked_written: u64,
    last: Offset,
    stamp: Option<Stamp>,
    highest_xid: Option<u64>,
    payload_kind: u8,
    /// Whether the caller knows of the sync that failed.
    told: bool,
    /// After `syncer`, so that it is released when everything is on disk.
    _lock: Lock,
    payload: PhantomData<fn(T)>,
}

/// The entry under construction.
struct Entry {
    offset: Offset,
    kind: EntryKind,
    /// Where it starts in the file, and how many shapes were defined there.
    start: u64,
    shapes: u32,
    changes: u64,
    /// The open `Changes` frame: its place in the buffer, and the changes in it.
    frame: Option<(usize, u32)>,
}

/// What [`super::open`] found.
pub(super) struct Found {
    pub file: File,
    pub header: Header,
    pub content: u64,
    pub end: u64,
    pub last: Offset,
    pub stamp: Option<Stamp>,
    pub highest_xid: Option<u64>,
    pub shapes: u32,
}

impl<T: Payload> Writer<T> {
    pub(super) fn new(shared: Arc<Shared>, syncer: Syncer, lock: Lock, found: Found) -> Writer<T> {
        Writer {
            path: segment_path(&shared.options.dir, found.header.after),
            shared,
            syncer,
            file: Arc::new(found.file),
            segment: found.header.after,
            content: found.content,
            numbers: Numbers::after(found.shapes),
            buffer: Vec::with_capacity(WRITE_BYTES + 4 * FRAME_BYTES),
            base: found.end,
            dirty: false,
            entry: None,
            committed: found.end,
            asked: found.end,
            written: 0,
            asked_written: 0,
            last: found.last,
            stamp: found.stamp,
            highest_xid: found.highest_xid,
            payload_kind: T::KIND,
            told: false,
            _lock: lock,
            payload: PhantomData,
        }
    }

    /// Adds a change to the entry under construction.
    pub fn change(&mut self, change: &T) -> Result<()> {
        self.try_change(change).inspect_err(|_| self.abort())
    }

    fn try_change(&mut self, change: &T) -> Result<()> {
        let entry = self.entry.as_mut().ok_or_else(|| Error::bug("add a change outside a journal entry"))?;
        let (mut frame, mut count) = match entry.frame {
            Some(frame) => frame,
            None => (open_changes(&mut self.buffer), 0),
        };
        let at = self.buffer.len();
        entry.frame = Some((frame, count));
        change.encode(&mut self.numbers, &mut self.buffer)?;
        if self.numbers.has_pending() {
            // Definitions go before the frame that uses them: put this change into a frame of its own after them.
            let encoded = self.buffer.split_off(at);
            if count == 0 {
                self.buffer.truncate(frame);
            } else {
                close_changes(&mut self.buffer, frame, count, self.segment, self.base)?;
            }
            self.numbers.write_pending(&mut self.buffer, self.segment.0, self.base)?;
            frame = open_changes(&mut self.buffer);
            count = 0;
            self.buffer.extend_from_slice(&encoded);
        }
        count += 1;
        entry.changes += 1;
        entry.frame = Some((frame, count));
        if self.buffer.len() - frame >= FRAME_BYTES {
            close_changes(&mut self.buffer, frame, count, self.segment, self.base)?;
            entry.frame = None;
            if self.buffer.len() >= WRITE_BYTES {
                self.write_out()?;
                self.restrain()?;
            }
        }
        Ok(())
    }
}

impl<T> Writer<T> {
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The last committed entry, synced or not.
    pub fn last(&self) -> Offset {
        self.last
    }

    /// Position of the last committed entry, synced or not: where to go on after an error.
    pub fn last_position(&self) -> Option<&Position> {
        self.stamp.as_ref().map(|stamp| &stamp.position)
    }

    /// Whether the journal is larger than `Options::bytes_max`.
    pub fn over_bound(&self) -> bool {
        let bytes: u64 = self.shared.state().segments.iter().map(|segment| segment.len).sum();
        bytes + self.buffer.len() as u64 > self.shared.options.bytes_max
    }

    /// Begins the next entry.
    pub fn begin(&mut self, kind: EntryKind) -> Result<Offset> {
        self.begin_at(self.last.next(), kind)
    }

    /// Begins an entry with an offset of the caller's, greater than all before.
    pub fn begin_at(&mut self, offset: Offset, kind: EntryKind) -> Result<Offset> {
        if self.entry.is_some() {
            self.abort();
            return Err(Error::bug("begin a journal entry inside another"));
        }
        self.heal()?;
        if offset <= self.last {
            return Err(Error::bug(format!("begin journal entry {offset} after entry {}", self.last)));
        }
        if self.committed >= self.shared.options.segment_bytes && self.committed > self.content {
            let previous = Some((self.segment, self.committed));
            self.settle()?;
            self.start_segment(self.last, previous)?;
        }
        let synced = self.shared.state().durable.len;
        let start = frame::open(Kind::Begin, &mut self.buffer);
        Begin { offset, kind, synced }.encode(&mut self.buffer);
        frame::close(&mut self.buffer, start, self.segment.0, self.base + start as u64)?;
        self.entry = Some(Entry {
            offset,
            kind,
            start: self.base + start as u64,
            shapes: self.numbers.defined(),
            changes: 0,
            frame: None,
        });
        Ok(offset)
    }

    /// Forgets the entry under construction, if there is one.
    pub fn abort(&mut self) {
        let Some(entry) = self.entry.take() else { return };
        self.numbers.forget_from(entry.shapes);
        if entry.start >= self.base {
            self.buffer.truncate((entry.start - self.base) as usize);
        } else {
            self.buffer.clear();
            self.base = entry.start;
            self.dirty = true;
        }
    }

    /// Ends the entry. It becomes durable by a [`Writer::flush`] after this.
    pub fn commit(&mut self, position: Position, committed_at: i64) -> Result<Offset> {
        self.try_commit(Stamp { position, committed_at }).inspect_err(|_| self.abort())
    }

    fn try_commit(&mut self, stamp: Stamp) -> Result<Offset> {
        self.close_frame()?;
        // First, while the entry can still be cut off: nothing below fails.
        if self.buffer.len() >= WRITE_BYTES {
            self.write_out()?;
            self.restrain()?;
        }
        let Some(entry) = &self.entry else { return Err(Error::bug("commit outside a journal entry")) };
        let start = frame::open(Kind::Commit, &mut self.buffer);
        let commit = Commit { offset: entry.offset, stamp, changes: entry.changes };
        commit.encode(&mut self.buffer);
        frame::close(&mut self.buffer, start, self.segment.0, self.base + start as u64)?;
        if let EntryKind::Transaction { xid } = entry.kind {
            self.highest_xid = self.highest_xid.max(xid);
        }
        self.last = entry.offset;
        self.stamp = Some(commit.stamp);
        self.entry = None;
        self.committed = self.base + self.buffer.len() as u64;
        Ok(self.last)
    }

    /// Hands everything to the operating system and asks for a sync of what is committed. Returns at once:
    /// [`super::Journal::durable`] moves when it is done.
    pub fn flush(&mut self) -> Result<()> {
        self.try_flush().inspect_err(|_| self.abort())
    }

    fn try_flush(&mut self) -> Result<()> {
        self.heal()?;
        if self.committed == self.asked {
            return Ok(());
        }
        self.close_frame()?;
        self.write_out()?;
        self.ask()
    }

    /// Flushes, and waits until everything committed is durable.
    pub fn settle(&mut self) -> Result<()> {
        self.flush()?;
        if self.dirty && self.entry.is_none() {
            let failed = |error| io_error("cut journal segment", &self.path, error);
            self.file.set_len(self.base).map_err(failed)?;
            self.dirty = false;
        }
        self.syncer.wait(self.asked_written)
    }

    /// After a failed sync: tells of it once, and then writes once more what it may have lost. What the kernel gives back
    /// must be what was written, or the journal is corrupt.
    fn heal(&mut self) -> Result<()> {
        let Some(failure) = self.syncer.failure() else { return Ok(()) };
        if !self.told {
            self.told = true;
            return Err(failure);
        }
        let from = self.shared.state().durable.len;
        let (mut frames, _) = Frames::open(&self.shared.options.dir, self.segment)?;
        frames.seek(from);
        loop {
            let at = frames.position();
            match frames.next(self.base)? {
                Step::Frame(..) => {}
                Step::End => break,
                Step::Bad => {
                    return Err(frames.corrupt(at, "it was written there, and a failed sync lost it"));
                }
            }
        }
        rewrite(&self.file, from, self.base)
            .map_err(|error| io_error("write journal segment", &self.path, error))?;
        self.syncer.forgive();
        self.told = false;
        self.asked = from;
        Ok(())
    }

    /// Drops every entry after `offset`, for good when this returns. No reader may be beyond it. After an error, open the
    /// journal anew.
    pub fn truncate_after(&mut self, offset: Offset) -> Result<()> {
        self.abort();
        if offset >= self.last {
            return Ok(());
        }
        self.settle()?;
        let (kept, dropped): (Vec<_>, Vec<_>) = {
            let state = self.shared.state();
            state.segments.iter().map(|segment| segment.after).partition(|after| *after <= offset)
        };
        let Some(segment) = kept.last().copied() else { return Err(self.shared.missing(offset)) };
        let dir = self.shared.options.dir.clone();
        let (mut frames, header) = Frames::open(&dir, segment)?;
        let content = frames.position();
        let found = scan(&mut frames, &header, offset)?;
        if let Some(bad) = found.bad {
            return Err(frames.corrupt(bad, "synced bytes there cannot be read"));
        }
        // Take back what was attested before anything goes, or a crash in between would look like damage.
        let mark = &self.shared.mark;
        mark.write(segment, found.end)
            .and_then(|()| mark.sync())
            .map_err(|error| io_error("write", &dir.join("synced"), error))?;
        for after in dropped.iter().rev() {
            file::remove_segment(&dir, *after)?;
        }
        let file = file::open_segment(&dir, segment)?;
        let path = segment_path(&dir, segment);
        file.set_len(found.end)
            .and_then(|()| file.sync_all())
            .and_then(|()| self.shared.options.synced(&path, found.end))
            .map_err(|error| io_error("cut journal segment", &path, error))?;
        {
            let mut state = self.shared.state();
            state.segments.truncate(kept.len());
            if let Some(active) = state.segments.back_mut() {
                (active.len, active.last) = (found.end, found.last);
            }
        }
        self.buffer.clear();
        self.dirty = false;
        self.numbers = Numbers::after(found.shapes);
        (self.file, self.path, self.segment, self.content) = (Arc::new(file), path, segment, content);
        (self.base, self.committed, self.asked) = (found.end, found.end, found.end);
        (self.last, self.stamp, self.highest_xid) = (found.last, found.stamp.clone(), found.highest_xid);
        self.shared.publish(Durable { len: found.end, offset: found.last, stamp: found.stamp });
        Ok(())
    }

    /// Goes on after `offset`, as if the entries up to it had been here and were truncated: readers that are behind get
    /// `OutOfStep`. Does nothing when the journal is there already.
    pub fn skip_to(&mut self, offset: Offset) -> Result<()> {
        self.abort();
        if offset <= self.last {
            return Ok(());
        }
        self.settle()?;
        self.start_segment(offset, None)?;
        self.last = offset;
        self.shared.truncate(offset)
    }

    /// Makes a new segment the active one. Everything before is settled.
    fn start_segment(&mut self, after: Offset, previous: Option<(Offset, u64)>) -> Result<()> {
        let (stamp, highest_xid) = (self.stamp.clone(), self.highest_xid);
        let header =
            Header { payload: self.payload_kind, after, previous, stamp: stamp.clone(), highest_xid };
        let (file, len) = file::create_segment(&self.shared.options, &header)?;
        {
            let mut state = self.shared.state();
            let previous = previous.map(|(previous, _)| previous);
            state.segments.push_back(Segment { after, previous, highest_xid, len, last: after });
            state.durable = Durable { len, offset: after, stamp: stamp.clone() };
        }
        // Only a skip moves the offset.
        self.shared.publish(Durable { len, offset: after, stamp });
        self.file = Arc::new(file);
        self.path = segment_path(&self.shared.options.dir, after);
        self.segment = after;
        self.content = len;
        self.numbers = Numbers::default();
        self.dirty = false;
        (self.base, self.committed, self.asked) = (len, len, len);
        Ok(())
    }

    fn close_frame(&mut self) -> Result<()> {
        let Some(entry) = &mut self.entry else { return Ok(()) };
        let Some((frame, count)) = entry.frame.take() else { return Ok(()) };
        close_changes(&mut self.buffer, frame, count, self.segment, self.base)
    }

    /// Hands the buffer to the operating system. No frame is open. After an error the buffer is as it was.
    fn write_out(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let failed = |error| io_error("write journal segment", &self.path, error);
        if self.dirty {
            self.file.set_len(self.base).map_err(failed)?;
        }
        // Until all of it is written, there may be some of it.
        self.dirty = true;
        let may = self.shared.options.may_write(&self.path, self.buffer.len() as u64);
        may.and_then(|()| self.file.write_all_at(&self.buffer, self.base)).map_err(failed)?;
        self.dirty = false;
        self.base += self.buffer.len() as u64;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        self.buffer.shrink_to(4 * WRITE_BYTES);
        if let Some(active) = self.shared.state().segments.back_mut() {
            (active.len, active.last) = (self.base, self.last);
        }
        Ok(())
    }

    fn ask(&mut self) -> Result<()> {
        let durable = Durable { len: self.committed, offset: self.last, stamp: self.stamp.clone() };
        let file = self.file.clone();
        self.syncer.ask(Request { file, segment: self.segment, durable, written: self.written })?;
        (self.asked, self.asked_written) = (self.committed, self.written);
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn buffered(&self) -> usize {
        self.buffer.capacity()
    }

    /// Lets a test put a full disk under the writer.
    #[cfg(test)]
    pub(super) fn replace_file(&mut self, file: Arc<File>) -> Arc<File> {
        std::mem::replace(&mut self.file, file)
    }

    /// Keeps what is unsynced within bounds, however large an entry is and however seldom someone flushes.
    fn restrain(&mut self) -> Result<()> {
        if self.written - self.asked_written >= SYNC_BYTES {
            self.ask()?;
        }
        if self.written - self.syncer.synced()? > UNSYNCED_BYTES_MAX {
            self.ask()?;
            self.syncer.wait(self.written - UNSYNCED_BYTES_MAX / 2)?;
        }
        Ok(())
    }
}

impl<T> Drop for Writer<T> {
    /// A clean end leaves everything committed on disk; what fails here is found out at the next open.
    fn drop(&mut self) {
        self.abort();
        let _ = self.settle();
    }
}

fn open_changes(buffer: &mut Vec<u8>) -> usize {
    let frame = frame::open(Kind::Changes, buffer);
    buffer.extend_from_slice(&[0; 4]);
    frame
}

fn close_changes(buffer: &mut [u8], frame: usize, count: u32, segment: Offset, base: u64) -> Result<()> {
    buffer[frame + HEAD..frame + HEAD + 4].copy_from_slice(&count.to_le_bytes());
    frame::close(buffer, frame, segment.0, base + frame as u64)
}
