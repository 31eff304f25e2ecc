//! What a store remembers of a document beside its text: where it stands in the indexes of its view.
//!
//! Invariant: an index holds exactly the entries that its view's documents remember. So an old entry is always found
//! from the document, whatever the view's indexes were when it was written.

use std::sync::Arc;

use headwater_model::{Astray, Error, IndexEntry, IndexPlace, Key, Record, Result, Standing, View};

/// A document's place in one index: the bytes of its part, then the bytes it is sorted by there. No part's bytes are the
/// beginning of another's, so the two together sort by part first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Which of the view's indexes.
    pub(crate) index: u16,
    part_len: u32,
    pub(crate) bytes: Arc<[u8]>,
}

impl Entry {
    pub(crate) fn new(index: u16, part: &[u8], sort: &[u8]) -> Entry {
        let part_len = u32::try_from(part.len()).unwrap_or(u32::MAX);
        Entry { index, part_len, bytes: [part, sort].concat().into() }
    }

    pub(crate) fn part(&self) -> &[u8] {
        &self.bytes[..self.part_len as usize]
    }

    pub(crate) fn sort(&self) -> &[u8] {
        &self.bytes[self.part_len as usize..]
    }
}

impl From<&IndexEntry> for Entry {
    fn from(entry: &IndexEntry) -> Entry {
        let place = &entry.place;
        let part_len = u32::try_from(place.part.len()).unwrap_or(u32::MAX);
        Entry { index: entry.index, part_len, bytes: [&place.part[..], &place.sort].concat().into() }
    }
}

/// What is not as it should, of a document that remembers these entries; `has` says whether an entry is in its index.
pub(crate) fn astray(
    standing: &Standing,
    remembered: &[Entry],
    mut has: impl FnMut(&IndexEntry) -> bool,
) -> Astray {
    let should: Vec<Entry> = standing.should.iter().map(Entry::from).collect();
    let mut of = |entries: &[IndexEntry], wanted: bool| {
        let all = entries.iter().enumerate();
        all.filter(|(_, entry)| has(entry) == wanted).map(|(number, _)| number).collect()
    };
    Astray {
        lacks: of(&standing.should, false),
        strays: of(&standing.should_not, true),
        misremembers: without(&should, remembered).next().is_some()
            || without(remembered, &should).next().is_some(),
    }
}

/// The place that these bytes of an entry are.
pub(crate) fn cut(view: &View, index: u16, bytes: &[u8]) -> IndexPlace {
    match view.indexes.get(usize::from(index)) {
        Some(index) => index.cut(bytes),
        None => IndexPlace { part: Vec::new(), sort: bytes.to_vec() },
    }
}

/// Where a page of entries ended, as text.
pub(crate) fn cursor(index: u16, bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{index} {hex}")
}

pub(crate) fn read_cursor(text: &str) -> Result<(u16, Vec<u8>)> {
    let read = || {
        let (index, hex) = text.split_once(' ')?;
        Some((index.parse().ok()?, read_hex(hex)?))
    };
    read().ok_or_else(|| Error::bug("the cursor of a list of entries is not one of ours"))
}

/// Bytes that were written as two digits each.
pub(crate) fn read_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

/// The entries of a document that is put over one with the entries `stored`.
pub(crate) fn of(view: &View, key: &Key, document: &Record, stored: &[Entry]) -> Result<Vec<Entry>> {
    let mut entries = Vec::with_capacity(view.indexes.len());
    for (number, index) in view.indexes.iter().enumerate() {
        let number = u16::try_from(number).map_err(|_| Error::unsupported("a view has too many indexes"))?;
        let old = stored.iter().find(|entry| entry.index == number);
        let place = index.place_over(key, document, old.map(|old| (old.part(), old.sort())))?;
        if let Some(place) = place {
            let part_len = u32::try_from(place.part.len())
                .map_err(|_| Error::unsupported("the part of an index is named by more than 4 GiB"))?;
            let bytes = [place.part, place.sort].concat().into();
            entries.push(Entry { index: number, part_len, bytes });
        }
    }
    Ok(entries)
}

/// Those of `these` that are not among `others`.
pub(crate) fn without<'a>(these: &'a [Entry], others: &'a [Entry]) -> impl Iterator<Item = &'a Entry> {
    these.iter().filter(|entry| !others.contains(entry))
}

/// Entries as bytes, for stores that remember them so. Read back by [`unpack`].
pub(crate) fn pack(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.iter().map(|entry| HEAD + entry.bytes.len()).sum());
    for entry in entries {
        out.extend_from_slice(&entry.index.to_be_bytes());
        out.extend_from_slice(&entry.part_len.to_be_bytes());
        out.extend_from_slice(&(entry.bytes.len() as u32).to_be_bytes());
        out.extend_from_slice(&entry.bytes);
    }
    out
}

/// The number of the index, the length of the part, the length of all bytes.
const HEAD: usize = 2 + 4 + 4;

/// `Corrupt` if these are not bytes of [`pack`].
pub(crate) fn unpack(mut packed: &[u8]) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    while !packed.is_empty() {
        let (entry, rest) = unpack_one(packed)
            .ok_or_else(|| Error::corrupt("the places that a document remembers cannot be read"))?;
        entries.push(entry);
        packed = rest;
    }
    Ok(entries)
}

fn unpack_one(packed: &[u8]) -> Option<(Entry, &[u8])> {
    let (index, rest) = packed.split_first_chunk()?;
    let (part_len, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (part_len, length) = (u32::from_be_bytes(*part_len), u32::from_be_bytes(*length));
    let (bytes, rest) = rest.split_at_checked(length as usize)?;
    let entry = Entry { index: u16::from_be_bytes(*index), part_len, bytes: bytes.into() };
    (part_len <= length).then_some((entry, rest))
}

#[cfg(all(test, any(feature = "dynamodb", feature = "redis", feature = "sqlite")))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn packed_entries_come_back_and_cut_ones_are_corrupt() {
        let entry = |index, part: &[u8], sort: &[u8]| Entry {
            index,
            part_len: part.len() as u32,
            bytes: [part, sort].concat().into(),
        };
        let entries = [entry(0, b"", b""), entry(700, b"part", b"\0sort"), entry(2, b"p", b"")];
        let packed = pack(&entries);
        assert_eq!(unpack(&packed).unwrap(), entries);
        assert_eq!((entries[1].part(), entries[1].sort()), (&b"part"[..], &b"\0sort"[..]));
        let whole = [0, HEAD, HEAD + HEAD + 9, packed.len()];
        for end in 0..packed.len() {
            assert_eq!(unpack(&packed[..end]).is_ok(), whole.contains(&end), "cut at {end}");
        }
        let mut broken = packed;
        broken[5] = 1;
        assert!(unpack(&broken).is_err(), "a part longer than all");
    }
}
