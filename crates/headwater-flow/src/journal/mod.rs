//! The journal: the durable, ordered list of transactions between a source and its stores.
//!
//! Owns a folder of segment files, the order and durability of what is in them, and the recovery after a crash.
//! Does not know what a change means, who reads, or when the source may forget its log: capture and apply decide
//! that by [`Journal::durable`] and [`Journal::truncate`].
//!
//! # Invariants
//!
//! 1. A reader is only given whole, synced, checksummed entries, each once, in offset order. It never sees a byte
//!    past [`Journal::durable`], so a store never holds what a power cut could take from the journal.
//! 2. Offsets grow strictly. They may have gaps (the derived journal uses the source journal's offsets).
//! 3. Damage to bytes that were synced is [`Corrupt`](headwater_model::ErrorKind::Corrupt), named by file and byte,
//!    and never skipped. Only what was not yet synced is cut off at open, at the end of the last whole entry.
//! 4. Each segment can be read on its own: it defines every table shape before it uses it.
//!
//! # Files
//!
//! ```text
//! 00000000000000000000.segment   entries with offsets greater than the number in the name
//! 00000000000000052133.segment   …
//! synced                         how much of the last segment is known to be on disk
//! lock                           held while a Writer lives: one writer per folder
//! ```
//!
//! A segment is the 8 bytes `HWSEGM01`, then frames. Integers in frames are varints and values are as in
//! [`headwater_model::wire`], unless a width is given.
//!
//! ```text
//! frame    := length: u32 LE of the body | crc32c: u32 LE | kind: u8 | body
//!             The checksum covers: the segment's number (u64 LE), the frame's byte position in the file (u64 LE), length,
//!             kind and body. Bytes that look like a frame but lie elsewhere (inside a value, in a stale
//!             block, in a file with a wrong name) therefore do not pass for one.
//! segment  := Header ( Shape* entry )*
//! entry    := Begin ( Shape* Changes )* Commit
//!
//! Header  1: payload kind u8 | after | 0 or 1, previous segment's after, previous segment's length
//!            | 0 or 1, position system, position sequence, committed_at (of the last entry before this segment)
//!            | 0 or 1, highest xid before this segment
//! Shape   2: number | 0 table, 1 view, 2 field names | JSON. Numbers count up from 0 in each segment.
//! Begin   3: offset | 0 transaction without xid, 1 transaction, xid, 2 chunk, id | bytes of this segment that were synced
//! Changes 4: count u32 LE | that many payloads (module `payload`), each of which names shapes by number
//! Commit  5: offset | position system, position sequence | committed_at | number of changes in the entry
//! ```
//!
//! An entry never spans segments: a segment ends at the first entry boundary past `Options::segment_bytes`. One
//! transaction of 10 GB is one file of 10 GB; neither writer nor reader holds more than a few frames of it.
//!
//! # Torn or corrupt
//!
//! After a crash the last segment may end in bytes that never reached the disk whole, in any order of pages. What had been
//! synced is attested in two places: the file `synced` (written after each sync; up to date after a killed
//! process) and each `Begin` frame (for when the machine itself stopped and `synced` is old). At open, unreadable bytes
//! after everything attested are a torn tail and are cut; unreadable or missing bytes before it are corruption.
//! A new segment is created only when the one before is synced, and its header attests that one's length.
//!
//! After a sync that failed, the kernel may hold the bytes for written and lose them. So the writer tells of it once,
//! reads back what is unsure, and writes it again; open does the same with what no sync attests.

mod entry;
mod file;
mod frame;
mod header;
mod open;
mod payload;
mod reader;
mod scan;
mod shapes;
mod sync;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use headwater_model::{Change, ChunkId, Error, Offset, Position, Result};

pub use payload::Payload;
pub use reader::Reader;
pub use writer::Writer;

use crate::machine::Disk;
use crate::watch;
use entry::Stamp;
use file::SyncedMark;

#[derive(Clone, Debug)]
pub struct Options {
    /// The journal's own folder; created if it is not there.
    pub dir: PathBuf,
    /// A segment ends at the first entry boundary past this. Space is freed a segment at a time.
    pub segment_bytes: u64,
    /// Past this, [`Journal::over_bound`] is true. The journal itself only reports.
    pub bytes_max: u64,
    /// An empty folder's first entry comes after this offset, so that offsets never go back when a folder was lost.
    pub after: Offset,
    /// As [`crate::machine::Machine::disk`].
    pub disk: Option<Arc<dyn Disk>>,
}

impl Options {
    pub fn new(dir: impl Into<PathBuf>) -> Options {
        Options {
            dir: dir.into(),
            segment_bytes: 64 << 20,
            bytes_max: 16 << 30,
            after: Offset::ZERO,
            disk: None,
        }
    }

    /// May so many bytes be written?
    fn may_write(&self, path: &Path, bytes: u64) -> std::io::Result<()> {
        self.disk.as_ref().map_or(Ok(()), |disk| disk.write(path, bytes))
    }

    /// A file has been synced at once, up to `len`.
    fn synced(&self, path: &Path, len: u64) -> std::io::Result<()> {
        self.disk.as_ref().map_or(Ok(()), |disk| disk.sync(path, len))
    }
}

/// What an entry came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    Transaction { xid: Option<u64> },
    Chunk { chunk: ChunkId },
}

/// A piece of the journal as a reader gets it: `Begin`, any number of `Changes`, `Commit`, and so on.
#[derive(Clone, Debug, PartialEq)]
pub enum Item<T = Change> {
    Begin { offset: Offset, kind: EntryKind },
    Changes(Vec<T>),
    Commit { offset: Offset, position: Position, committed_at: i64 },
}

/// The last synced entry of a journal; its position and time also when it has been truncated since.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    pub offset: Offset,
    /// `None` before the first entry.
    pub position: Option<Position>,
    /// Microseconds since 1970, by the source's clock.
    pub committed_at: Option<i64>,
}

/// A handle on an open journal: cheap to clone, usable while the [`Writer`] works.
pub struct Journal<T = Change> {
    shared: Arc<Shared>,
    payload: PhantomData<fn() -> T>,
}

impl<T> Clone for Journal<T> {
    fn clone(&self) -> Self {
        Journal { shared: self.shared.clone(), payload: PhantomData }
    }
}

impl<T: Payload> Journal<T> {
    /// Opens or creates the journal in `options.dir`. Blocks while it reads the last segment. `Transient` while
    /// another process has it open; `Corrupt` when synced bytes are damaged or missing.
    pub fn open(options: Options) -> Result<(Journal<T>, Writer<T>)> {
        let writer = open::open(options)?;
        Ok((Journal { shared: writer.shared().clone(), payload: PhantomData }, writer))
    }

    /// Everything after `after`. `OutOfStep` if some of that has been truncated, or if the journal ends before `after`.
    pub fn read(&self, after: Offset) -> Result<Reader<T>> {
        Reader::new(self.shared.clone(), after)
    }
}

impl<T> Journal<T> {
    /// Where the retained part starts: every entry from this offset on is here.
    pub fn first(&self) -> Offset {
        self.shared.state().retained_after().next()
    }

    /// The last synced entry.
    pub fn durable(&self) -> Offset {
        self.shared.state().durable.offset
    }

    /// The last synced entry, all that is known of it as of one moment.
    pub fn end(&self) -> End {
        let state = self.shared.state();
        let stamp = state.durable.stamp.as_ref();
        End {
            offset: state.durable.offset,
            position: stamp.map(|stamp| stamp.position.clone()),
            committed_at: stamp.map(|stamp| stamp.committed_at),
        }
    }

    /// Told whenever [`Journal::durable`] moves.
    pub fn durable_changed(&self) -> watch::Receiver<Offset> {
        self.shared.durable.subscribe()
    }

    /// Position of the last synced entry, also when that entry has been truncated since.
    pub fn last_position(&self) -> Option<Position> {
        self.shared.state().durable.stamp.as_ref().map(|stamp| stamp.position.clone())
    }

    /// Commit time of the last synced entry, by the source's clock.
    pub fn last_committed_at(&self) -> Option<i64> {
        self.shared.state().durable.stamp.as_ref().map(|stamp| stamp.committed_at)
    }

    /// The greatest xid of the entries that have been truncated: a transaction with a greater one is still here, if it
    /// ever was.
    pub fn highest_truncated_xid(&self) -> Option<u64> {
        self.shared.state().segments.front().and_then(|segment| segment.highest_xid)
    }

    /// Gives up entries up to and including `upto`: whole segments only, and never the last one. A reader inside a
    /// dropped segment reads it to its end.
    pub fn truncate(&self, upto: Offset) -> Result<()> {
        self.shared.truncate(upto)
    }

    /// Size on disk.
    pub fn bytes(&self) -> u64 {
        self.shared.state().segments.iter().map(|segment| segment.len).sum()
    }

    /// About how many bytes lie after `offset`: exact by segment, in proportion within one.
    pub fn bytes_after(&self, offset: Offset) -> u64 {
        self.shared.state().segments.iter().map(|segment| segment.bytes_after(offset)).sum()
    }

    /// The bound it was opened with.
    pub fn bytes_max(&self) -> u64 {
        self.shared.options.bytes_max
    }

    /// Whether the journal is larger than `Options::bytes_max`.
    pub fn over_bound(&self) -> bool {
        self.bytes() > self.shared.options.bytes_max
    }

    /// How often the journal has been synced since it was opened: one sync covers all that was written before it began.
    pub fn syncs(&self) -> u64 {
        self.shared.syncs.load(Ordering::Relaxed)
    }
}

/// What writer, sync thread and readers share.
struct Shared {
    options: Options,
    state: Mutex<State>,
    durable: watch::Sender<Offset>,
    syncs: AtomicU64,
    mark: SyncedMark,
    /// How many of the next syncs are to fail.
    #[cfg(test)]
    failing_syncs: AtomicU64,
    /// Held while files are removed, so that they go strictly from the oldest on.
    truncating: Mutex<()>,
}

/// Segments from the oldest to the active one (never none), and how far the active one is synced.
struct State {
    segments: VecDeque<Segment>,
    durable: Durable,
}

/// The end of the last synced entry. It lies in the last segment of [`State::segments`].
#[derive(Clone, Debug)]
struct Durable {
    len: u64,
    offset: Offset,
    stamp: Option<Stamp>,
}

/// A segment file. `after` names it: it holds the entries after that offset.
#[derive(Clone, Debug)]
struct Segment {
    after: Offset,
    /// `after` of the segment before, unless offsets between were left out on purpose ([`Writer::skip_to`]).
    previous: Option<Offset>,
    /// The greatest xid before this segment.
    highest_xid: Option<u64>,
    /// Bytes and last offset as written; of the active segment more than what is synced.
    len: u64,
    last: Offset,
}

impl Segment {
    fn bytes_after(&self, offset: Offset) -> u64 {
        if offset >= self.last {
            return 0;
        }
        if offset <= self.after {
            return self.len;
        }
        let part = (self.last.0 - offset.0) as f64 / (self.last.0 - self.after.0) as f64;
        (self.len as f64 * part) as u64
    }
}

impl State {
    fn retained_after(&self) -> Offset {
        self.segments.front().map_or(self.durable.offset, |segment| segment.after)
    }
}

impl Shared {
    /// The state is plain numbers, whole after every statement: a panic elsewhere does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `durable` known to readers.
    fn publish(&self, durable: Durable) {
        let offset = durable.offset;
        self.state().durable = durable;
        self.durable.send_if_modified(|known| std::mem::replace(known, offset) != offset);
    }

    fn truncate(&self, upto: Offset) -> Result<()> {
        let _one_at_a_time = self.truncating.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let oldest = {
                let state = self.state();
                match (state.segments.front(), state.segments.get(1)) {
                    (Some(oldest), Some(next)) if next.after <= upto => oldest.after,
                    _ => return Ok(()),
                }
            };
            // The file goes first and each removal is synced before the next: whatever a crash leaves is a suffix.
            file::remove_segment(&self.options.dir, oldest)?;
            self.state().segments.pop_front();
        }
    }

    #[cfg(test)]
    fn pretend(&self) -> std::io::Result<()> {
        let left =
            self.failing_syncs.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() { Err(std::io::Error::other("the disk is said to fail")) } else { Ok(()) }
    }

    fn missing(&self, after: Offset) -> Error {
        let first = self.state().retained_after().next();
        Error::out_of_step(format!(
            "the journal in {} no longer has the entries after {after}: it starts at {first}",
            self.options.dir.display()
        ))
    }
}
