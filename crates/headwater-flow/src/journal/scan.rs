//! Reading a segment file frame by frame, and finding where its last whole entry ends.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use headwater_model::{Offset, Result};

use super::entry::{BEGIN_BODY_MAX, Begin, Mark, Sequence};
use super::file::{corrupt_at, io_error, segment_path};
use super::frame::{self, HEAD, Kind};
use super::header::{Header, MAGIC};
use super::{EntryKind, entry::Stamp, file};

const READ_BYTES: usize = 256 << 10;

/// A segment file read front to back, with a buffer of its own.
pub(super) struct Frames {
    file: File,
    pub path: PathBuf,
    segment: u64,
    buffer: Vec<u8>,
    /// The part of `buffer` that is filled and not yet taken.
    start: usize,
    end: usize,
    /// Where in the file `buffer[start]` is.
    position: u64,
}

pub(super) enum Step<'a> {
    Frame(Kind, &'a [u8]),
    /// Exactly at the limit.
    End,
    /// Here is no whole frame of this place.
    Bad,
}

impl Frames {
    /// Opens a segment and reads its header.
    pub fn open(dir: &Path, after: Offset) -> Result<(Frames, Header)> {
        let path = segment_path(dir, after);
        let file = file::open_segment(dir, after)?;
        let len = file.metadata().map_err(|error| io_error("read", &path, error))?.len();
        let mut frames =
            Frames { file, path, segment: after.0, buffer: Vec::new(), start: 0, end: 0, position: 0 };
        let damaged = |frames: &Frames, what| corrupt_at(&frames.path, frames.position, what);
        if !frames.fill(MAGIC.len(), len)? || frames.buffer[..MAGIC.len()] != *MAGIC {
            return Err(damaged(&frames, "this is not the start of a segment"));
        }
        frames.advance(MAGIC.len());
        let header = match frames.next(len)? {
            Step::Frame(Kind::Header, body) => Header::decode(body).ok(),
            _ => None,
        };
        match header {
            Some(header) if header.after == after => Ok((frames, header)),
            _ => {
                frames.position = MAGIC.len() as u64;
                Err(damaged(&frames, "the segment's header cannot be read"))
            }
        }
    }

    /// The same segment at the same place, with a buffer of its own.
    pub fn fork(&self) -> Result<Frames> {
        let file = self.file.try_clone().map_err(|error| io_error("open", &self.path, error))?;
        let Frames { segment, position, .. } = *self;
        Ok(Frames { file, path: self.path.clone(), segment, buffer: Vec::new(), start: 0, end: 0, position })
    }

    pub fn position(&self) -> u64 {
        self.position
    }

    /// Goes on at byte `position`, where a frame begins.
    pub fn seek(&mut self, position: u64) {
        (self.start, self.end, self.position) = (0, 0, position);
    }

    pub fn file_len(&self) -> Result<u64> {
        let metadata = self.file.metadata();
        Ok(metadata.map_err(|error| io_error("read", &self.path, error))?.len())
    }

    #[cfg(test)]
    pub fn buffered(&self) -> usize {
        self.buffer.capacity()
    }

    pub fn corrupt(&self, position: u64, what: &str) -> headwater_model::Error {
        corrupt_at(&self.path, position, what)
    }

    /// The next frame that ends at or before byte `limit` of the file.
    pub fn next(&mut self, limit: u64) -> Result<Step<'_>> {
        if self.position == limit {
            return Ok(Step::End);
        }
        if !self.fill(HEAD, limit)? {
            return Ok(Step::Bad);
        }
        let Some(size) = frame::size(&self.buffer[self.start..self.end]) else { return Ok(Step::Bad) };
        // Nothing is allocated for a length that the file does not have.
        if size > limit.saturating_sub(self.position) || !self.fill(size as usize, limit)? {
            return Ok(Step::Bad);
        }
        let (start, position) = (self.start, self.position);
        let frame = start..start + size as usize;
        if frame::check(&self.buffer[frame.clone()], self.segment, position).is_none() {
            return Ok(Step::Bad);
        }
        self.advance(size as usize);
        let kind = Kind::from_byte(self.buffer[start + HEAD - 1]);
        Ok(kind.map_or(Step::Bad, |kind| Step::Frame(kind, &self.buffer[frame][HEAD..])))
    }

    fn advance(&mut self, count: usize) {
        self.start += count;
        self.position += count as u64;
    }

    /// Has `count` bytes from `position` on in the buffer; false if they would go past `limit`, or past the file's end.
    fn fill(&mut self, count: usize, limit: u64) -> Result<bool> {
        if self.end - self.start >= count {
            return Ok(self.position + count as u64 <= limit);
        }
        if self.position + count as u64 > limit {
            return Ok(false);
        }
        let want = count.max(READ_BYTES);
        if self.buffer.len() < want || self.buffer.len() > want.max(4 * READ_BYTES) {
            let mut larger = vec![0; want];
            larger[..self.end - self.start].copy_from_slice(&self.buffer[self.start..self.end]);
            self.buffer = larger;
        } else {
            self.buffer.copy_within(self.start..self.end, 0);
        }
        self.end -= self.start;
        self.start = 0;
        while self.end < count {
            let at = self.position + self.end as u64;
            let room = self.buffer.len().min(self.end + (limit - at) as usize);
            match self.file.read_at(&mut self.buffer[self.end..room], at) {
                Ok(0) => return Ok(false),
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io_error("read journal segment", &self.path, error)),
            }
        }
        Ok(true)
    }
}

/// What a segment holds, up to the end of its last whole entry.
pub(super) struct Scan {
    pub end: u64,
    pub last: Offset,
    pub stamp: Option<Stamp>,
    pub highest_xid: Option<u64>,
    /// Shapes defined before `end`.
    pub shapes: u32,
    /// Where the bytes stopped making sense, if they did.
    pub bad: Option<u64>,
}

/// Reads a segment to the end of its last whole entry at or before `upto`.
pub(super) fn scan(frames: &mut Frames, header: &Header, upto: Offset) -> Result<Scan> {
    let len = frames.file_len()?;
    let mut sequence = Sequence::new(header.after, header.stamp.clone());
    let mut found = Scan {
        end: frames.position(),
        last: header.after,
        stamp: header.stamp.clone(),
        highest_xid: header.highest_xid,
        shapes: 0,
        bad: None,
    };
    let mut shapes = 0;
    let mut xid = None;
    loop {
        let at = frames.position();
        let mark = match frames.next(len)? {
            Step::End => return Ok(found),
            Step::Bad => None,
            Step::Frame(kind, body) => sequence.next(kind, body).ok(),
        };
        match mark {
            None => {
                found.bad = Some(at);
                return Ok(found);
            }
            Some(Mark::Begin(begin)) if begin.offset > upto => return Ok(found),
            Some(Mark::Begin(begin)) => {
                xid = match begin.kind {
                    EntryKind::Transaction { xid } => xid,
                    EntryKind::Chunk { .. } => None,
                }
            }
            Some(Mark::Shape) => shapes += 1,
            Some(Mark::Changes) => {}
            Some(Mark::Commit(commit)) => {
                found.end = frames.position();
                found.last = commit.offset;
                found.stamp = Some(commit.stamp);
                found.highest_xid = found.highest_xid.max(xid);
                found.shapes = shapes;
            }
        }
    }
}

/// The most bytes that a `Begin` frame after byte `from` says were synced when it was written; 0 if there is none.
pub(super) fn attested_after(frames: &Frames, from: u64) -> Result<u64> {
    const OVERLAP: usize = HEAD + BEGIN_BODY_MAX;
    let len = frames.file_len()?;
    let (mut attested, mut position, mut buffer) = (0, from, vec![0; 1 << 20]);
    while position < len {
        let want = buffer.len().min((len - position) as usize);
        let window = &mut buffer[..want];
        frames
            .file
            .read_exact_at(window, position)
            .map_err(|error| io_error("read journal segment", &frames.path, error))?;
        for at in 0..want.saturating_sub(HEAD) {
            let rest = &window[at..];
            if rest[HEAD - 1] != Kind::Begin as u8 {
                continue;
            }
            let Some(size) = frame::size(rest).filter(|size| *size <= OVERLAP as u64) else { continue };
            let Some(bytes) = rest.get(..size as usize) else { continue };
            let here = position + at as u64;
            if let Some((_, body)) = frame::check(bytes, frames.segment, here)
                && let Ok(begin) = Begin::decode(body)
                && begin.synced <= here
            {
                attested = attested.max(begin.synced);
            }
        }
        if position + want as u64 == len {
            break;
        }
        position += (want - OVERLAP) as u64;
    }
    Ok(attested)
}
