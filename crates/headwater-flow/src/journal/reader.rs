//! Reading entries in order, no further than they are durable.

use std::marker::PhantomData;
use std::sync::Arc;

use headwater_model::{Change, Error, ErrorKind, Offset, Result, wire};

use super::entry::{self, Begin, Mark, Sequence};
use super::frame::{HEAD, Kind};
use super::scan::{Frames, Step};
use super::shapes::Shapes;
use super::{Item, Payload, Shared};
use crate::watch;

/// A reader that starts in the middle of a segment lets others run each time it has passed this many bytes.
const SKIPPED_BYTES_MAX: u64 = 8 << 20;

/// A place in the journal that moves forward. Has its own file handle: a segment that is truncated while it is being
/// read is read to its end.
pub struct Reader<T = Change> {
    shared: Arc<Shared>,
    durable: watch::Receiver<Offset>,
    frames: Frames,
    segment: Offset,
    /// Final length of `segment`, once it is not the active one any more.
    sealed: Option<u64>,
    sequence: Sequence,
    shapes: Shapes,
    /// Entries up to here are not delivered; after the first delivery: the last entry delivered whole.
    after: Offset,
    /// What went wrong after items that were still handed out.
    failed: Option<Error>,
    payload: PhantomData<fn() -> T>,
}

impl<T: Payload> Reader<T> {
    pub(super) fn new(shared: Arc<Shared>, after: Offset) -> Result<Reader<T>> {
        let segment = {
            let state = shared.state();
            let end = state.durable.offset;
            if after > end {
                return Err(Error::out_of_step(format!(
                    "the journal in {} ends at entry {end}: nothing is known of the entries up to {after}",
                    shared.options.dir.display()
                )));
            }
            let segment = state.segments.iter().rev().find(|segment| segment.after <= after);
            segment.map(|segment| segment.after)
        };
        let segment = segment.ok_or_else(|| shared.missing(after))?;
        let (frames, sequence) = open(&shared, segment, after)?;
        Ok(Reader {
            durable: shared.durable.subscribe(),
            shared,
            frames,
            segment,
            sealed: None,
            sequence,
            shapes: Shapes::default(),
            after,
            failed: None,
            payload: PhantomData,
        })
    }

    /// Passes over the entries up to `offset`, so that a [`Reader::fork`] begins behind it.
    pub fn pass(&mut self, offset: Offset) -> Result<()> {
        self.after = self.after.max(offset);
        let (mut limit, mut sealed) = self.limit()?;
        while self.sequence.last < offset {
            let at = self.frames.position();
            match self.frames.next(limit)? {
                Step::End if sealed => {
                    if !self.next_segment()? {
                        return Ok(());
                    }
                    (limit, sealed) = self.limit()?;
                }
                Step::End => return Ok(()),
                Step::Bad => {
                    return Err(self.frames.corrupt(at, "synced bytes there fail their checksum"));
                }
                Step::Frame(kind, body) => {
                    if kind == Kind::Begin && Begin::decode(body)?.offset > offset {
                        self.frames.seek(at);
                        return Ok(());
                    }
                    take::<T>(&mut self.sequence, &mut self.shapes, self.after, kind, body, &mut Vec::new())?;
                }
            }
        }
        Ok(())
    }

    /// Another reader at the same place.
    pub fn fork(&self) -> Result<Reader<T>> {
        Ok(Reader {
            shared: Arc::clone(&self.shared),
            durable: self.durable.clone(),
            frames: self.frames.fork()?,
            segment: self.segment,
            sealed: self.sealed,
            sequence: self.sequence.clone(),
            shapes: self.shapes.clone(),
            after: self.after,
            failed: None,
            payload: PhantomData,
        })
    }

    /// The last entry that was delivered whole.
    pub fn offset(&self) -> Offset {
        self.after
    }

    /// The next durable items: at least one, and about `bytes_max` bytes of the file at most. An entry larger than
    /// that comes in pieces. Waits while there is nothing. Cancel safe: what is not returned is not taken.
    ///
    /// Reads from the page cache on the calling thread, 256 KiB at a time.
    pub async fn next(&mut self, bytes_max: usize) -> Result<Vec<Item<T>>> {
        loop {
            self.durable.borrow_and_update();
            let (items, more) = self.some(bytes_max)?;
            if !items.is_empty() {
                return Ok(items);
            }
            if more {
                tokio::task::yield_now().await;
                continue;
            }
            // The sender lives in `shared`, so this only ends by a change.
            self.durable.changed().await.map_err(|error| Error::bug("wait for entries").with_cause(error))?;
        }
    }

    /// As [`Reader::next`], but gives nothing when there is nothing.
    pub fn try_next(&mut self, bytes_max: usize) -> Result<Vec<Item<T>>> {
        loop {
            let (items, more) = self.some(bytes_max)?;
            if !items.is_empty() || !more {
                return Ok(items);
            }
        }
    }

    /// Some items, and whether there is more to look at now.
    fn some(&mut self, bytes_max: usize) -> Result<(Vec<Item<T>>, bool)> {
        if let Some(error) = self.failed.take() {
            self.failed = Some(Error::new(error.kind(), "this reader has failed before"));
            return Err(error);
        }
        let mut items = Vec::new();
        match self.fill(bytes_max.max(1) as u64, &mut items) {
            Ok(more) => Ok((items, more)),
            // A frame that was not read is read again by the next call, unless it can never be read.
            Err(error) if error.is_retryable() => {
                if items.is_empty() {
                    Err(error)
                } else {
                    Ok((items, true))
                }
            }
            Err(error) if items.is_empty() => {
                self.failed = Some(Error::new(error.kind(), "this reader has failed before"));
                Err(error)
            }
            Err(error) => {
                self.failed = Some(error);
                Ok((items, true))
            }
        }
    }

    fn fill(&mut self, bytes_max: u64, items: &mut Vec<Item<T>>) -> Result<bool> {
        let (mut limit, mut sealed) = self.limit()?;
        let (mut bytes, mut skipped) = (0, 0);
        while bytes < bytes_max && skipped < SKIPPED_BYTES_MAX {
            let at = self.frames.position();
            match self.frames.next(limit)? {
                Step::End if sealed => {
                    if !self.next_segment()? {
                        return Ok(false);
                    }
                    (limit, sealed) = self.limit()?;
                }
                Step::End => return Ok(false),
                Step::Bad => {
                    return Err(self.frames.corrupt(at, "synced bytes there fail their checksum"));
                }
                Step::Frame(kind, body) => {
                    let took = take(&mut self.sequence, &mut self.shapes, self.after, kind, body, items);
                    let size = (body.len() + HEAD) as u64;
                    match took {
                        Ok(taken) => {
                            *if taken { &mut bytes } else { &mut skipped } += size;
                            if let Some(Item::Commit { offset, .. }) = items.last() {
                                self.after = *offset;
                            }
                        }
                        Err(error) if error.kind() == ErrorKind::Corrupt => {
                            return Err(self.frames.corrupt(at, &error.to_string()));
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(true)
    }

    /// How far the current segment may be read, and whether it ends there.
    fn limit(&mut self) -> Result<(u64, bool)> {
        if let Some(len) = self.sealed {
            return Ok((len, true));
        }
        let state = self.shared.state();
        let len = match state.segments.binary_search_by_key(&self.segment, |segment| segment.after) {
            Ok(place) if place + 1 == state.segments.len() => return Ok((state.durable.len, false)),
            Ok(place) => state.segments[place].len,
            // Truncated, so it was whole.
            Err(_) => self.frames.file_len()?,
        };
        self.sealed = Some(len);
        Ok((len, true))
    }

    /// Goes on to the segment after this one.
    fn next_segment(&mut self) -> Result<bool> {
        let next = {
            let state = self.shared.state();
            state.segments.iter().find(|segment| segment.after > self.segment).cloned()
        };
        let Some(next) = next else { return Ok(false) };
        if next.previous != Some(self.segment) {
            return Err(self.shared.missing(self.sequence.last));
        }
        let (frames, sequence) = open(&self.shared, next.after, self.sequence.last)?;
        self.frames = frames;
        self.sequence = sequence;
        self.segment = next.after;
        self.sealed = None;
        self.shapes.next_segment();
        Ok(true)
    }
}

/// A segment that was there a moment ago may have been truncated since.
fn open(shared: &Shared, segment: Offset, after: Offset) -> Result<(Frames, Sequence)> {
    match Frames::open(&shared.options.dir, segment) {
        Ok((frames, header)) => Ok((frames, Sequence::new(segment, header.stamp))),
        Err(_) if shared.state().segments.iter().all(|known| known.after != segment) => {
            Err(shared.missing(after))
        }
        Err(error) => Err(error),
    }
}

/// Turns a frame into items, unless it belongs to an entry up to `after`. Says whether it did.
fn take<T: Payload>(
    sequence: &mut Sequence,
    shapes: &mut Shapes,
    after: Offset,
    kind: super::frame::Kind,
    body: &[u8],
    items: &mut Vec<Item<T>>,
) -> Result<bool> {
    let wanted = |offset: Offset| offset > after;
    match sequence.next(kind, body)? {
        Mark::Shape => {
            shapes.define(body)?;
            return Ok(false);
        }
        Mark::Begin(begin) => {
            if !wanted(begin.offset) {
                return Ok(false);
            }
            items.push(Item::Begin { offset: begin.offset, kind: begin.kind });
        }
        Mark::Changes => {
            if !sequence.open().is_some_and(|begin| wanted(begin.offset)) {
                return Ok(false);
            }
            let (count, payloads) = entry::changes(body)?;
            let mut reader = wire::Reader::new(payloads);
            let mut changes = Vec::with_capacity(count as usize);
            for _ in 0..count {
                changes.push(T::decode(&mut reader, shapes)?);
            }
            if !reader.is_empty() {
                return Err(Error::corrupt("a changes frame has more bytes than changes"));
            }
            match items.last_mut() {
                Some(Item::Changes(before)) => before.append(&mut changes),
                _ => items.push(Item::Changes(changes)),
            }
        }
        Mark::Commit(commit) => {
            if !wanted(commit.offset) {
                return Ok(false);
            }
            items.push(Item::Commit {
                offset: commit.offset,
                position: commit.stamp.position,
                committed_at: commit.stamp.committed_at,
            });
        }
    }
    Ok(true)
}
