//! `Begin` and `Commit` frames, and the order that frames must come in.

use std::sync::Arc;

use headwater_model::wire::{self, write_bytes, write_signed, write_varint};
use headwater_model::{Error, Offset, Position, Result};

use super::EntryKind;
use super::frame::Kind;

/// Where and when an entry was committed at the source.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stamp {
    pub position: Position,
    pub committed_at: i64,
}

impl Stamp {
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_bytes(self.position.system.as_bytes(), out);
        write_varint(self.position.sequence, out);
        write_signed(self.committed_at, out);
    }

    /// `recent` lends its system name when it is the same, as it nearly always is.
    pub fn decode(reader: &mut wire::Reader<'_>, recent: Option<&Stamp>) -> Result<Stamp> {
        let system = reader.str()?;
        let system: Arc<str> = match recent {
            Some(recent) if *recent.position.system == *system => recent.position.system.clone(),
            _ => system.into(),
        };
        let position = Position { system, sequence: reader.varint()? };
        Ok(Stamp { position, committed_at: reader.signed()? })
    }
}

/// A `Begin` frame is never longer than this (three varints and a tag).
pub(super) const BEGIN_BODY_MAX: usize = 31;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Begin {
    pub offset: Offset,
    pub kind: EntryKind,
    /// Bytes of this segment that were on disk when this was written.
    pub synced: u64,
}

impl Begin {
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_varint(self.offset.0, out);
        match self.kind {
            EntryKind::Transaction { xid: None } => out.push(0),
            EntryKind::Transaction { xid: Some(xid) } => {
                out.push(1);
                write_varint(xid, out);
            }
            EntryKind::Chunk { chunk } => {
                out.push(2);
                write_varint(chunk, out);
            }
        }
        write_varint(self.synced, out);
    }

    pub fn decode(body: &[u8]) -> Result<Begin> {
        let mut reader = wire::Reader::new(body);
        let offset = Offset(reader.varint()?);
        let kind = match reader.byte()? {
            0 => EntryKind::Transaction { xid: None },
            1 => EntryKind::Transaction { xid: Some(reader.varint()?) },
            2 => EntryKind::Chunk { chunk: reader.varint()? },
            tag => return Err(Error::corrupt(format!("no entry has kind {tag}"))),
        };
        Ok(Begin { offset, kind, synced: reader.varint()? })
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Commit {
    pub offset: Offset,
    pub stamp: Stamp,
    pub changes: u64,
}

impl Commit {
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_varint(self.offset.0, out);
        self.stamp.encode(out);
        write_varint(self.changes, out);
    }

    pub fn decode(body: &[u8], recent: Option<&Stamp>) -> Result<Commit> {
        let mut reader = wire::Reader::new(body);
        let offset = Offset(reader.varint()?);
        let stamp = Stamp::decode(&mut reader, recent)?;
        Ok(Commit { offset, stamp, changes: reader.varint()? })
    }
}

/// How many payloads a `Changes` body holds, and the payloads.
pub(super) fn changes(body: &[u8]) -> Result<(u32, &[u8])> {
    let (count, payloads) =
        body.split_first_chunk::<4>().ok_or_else(|| Error::corrupt("a changes frame has no count"))?;
    let count = u32::from_le_bytes(*count);
    // Every payload takes a byte at least: a count beyond that must not make anyone allocate.
    if count as usize > payloads.len() {
        return Err(Error::corrupt("a changes frame counts more changes than it has bytes"));
    }
    Ok((count, payloads))
}

/// What a frame means at its place.
#[derive(Debug)]
pub(super) enum Mark {
    Shape,
    Begin(Begin),
    Changes,
    Commit(Commit),
}

/// Checks that frames come in the order of the grammar and offsets grow.
#[derive(Clone, Debug)]
pub(super) struct Sequence {
    /// The last whole entry.
    pub last: Offset,
    pub stamp: Option<Stamp>,
    /// The entry that has begun, and how many changes of it have come.
    open: Option<(Begin, u64)>,
}

impl Sequence {
    pub fn new(after: Offset, stamp: Option<Stamp>) -> Sequence {
        Sequence { last: after, stamp, open: None }
    }

    /// The entry that has begun and not ended.
    pub fn open(&self) -> Option<&Begin> {
        self.open.as_ref().map(|(begin, _)| begin)
    }

    pub fn next(&mut self, kind: Kind, body: &[u8]) -> Result<Mark> {
        match (kind, &mut self.open) {
            (Kind::Shape, _) => Ok(Mark::Shape),
            (Kind::Begin, None) => {
                let begin = Begin::decode(body)?;
                if begin.offset <= self.last {
                    return Err(Error::corrupt(format!(
                        "entry {} comes after entry {}",
                        begin.offset, self.last
                    )));
                }
                self.open = Some((begin, 0));
                Ok(Mark::Begin(begin))
            }
            (Kind::Changes, Some((_, count))) => {
                *count += u64::from(changes(body)?.0);
                Ok(Mark::Changes)
            }
            (Kind::Commit, Some((begin, count))) => {
                let commit = Commit::decode(body, self.stamp.as_ref())?;
                if commit.offset != begin.offset || commit.changes != *count {
                    return Err(Error::corrupt(format!(
                        "entry {} with {count} changes ends as entry {} with {}",
                        begin.offset, commit.offset, commit.changes
                    )));
                }
                self.last = commit.offset;
                self.stamp = Some(commit.stamp.clone());
                self.open = None;
                Ok(Mark::Commit(commit))
            }
            (kind, _) => Err(Error::corrupt(format!("a {kind:?} frame is out of place"))),
        }
    }
}
