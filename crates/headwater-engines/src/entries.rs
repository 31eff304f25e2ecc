//! What a store remembers of a document beside its text: where it stands in the indexes of its view.
//!
//! Invariant: an index holds exactly the entries that its view's documents remember. So an old entry is always found
//! from the document, whatever the view's indexes were when it was written.

use std::sync::Arc;

use headwater_model::{Error, Key, Record, Result, View};

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
    pub(crate) fn part(&self) -> &[u8] {
        &self.bytes[..self.part_len as usize]
    }

    pub(crate) fn sort(&self) -> &[u8] {
        &self.bytes[self.part_len as usize..]
    }
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
