//! What lies in the indexes, for whoever compares it with what should.

use std::ops::Bound;
use std::sync::Arc;

use headwater_model::{AnswerMoment, Astray, Error, IndexEntry, Listed, Result, Standing, View};

use super::answer::empty;
use super::state::{Documents, State};
use crate::entries::{self, Entry};

/// A page in the order of indexes and places. The cursor is the place it ended at.
pub(super) fn entries(
    state: &State,
    view: &View,
    cursor: Option<&str>,
    limit: usize,
) -> Result<(Vec<Listed>, Option<String>)> {
    let Some(documents) = state.views.get(&view.name) else { return Ok((Vec::new(), None)) };
    let (first, mut behind) = match cursor {
        None => (0, None),
        Some(text) => {
            let (number, bytes) = entries::read_cursor(text)?;
            (usize::from(number), Some(bytes))
        }
    };
    let mut listed = Vec::new();
    for (number, index) in documents.indexes.iter().enumerate().skip(first) {
        let number = u16::try_from(number).map_err(|_| Error::bug("a view has too many indexes"))?;
        let from = behind.take().map_or(Bound::Unbounded, Bound::Excluded);
        let range = (from.as_ref().map(|bytes: &Vec<u8>| &bytes[..]), Bound::Unbounded);
        for (bytes, key) in index.range::<[u8], _>(range) {
            let place = entries::cut(view, number, bytes);
            listed.push(Listed::Entry(IndexEntry { index: number, place, key: key.as_str().into() }));
            if listed.len() == limit {
                return Ok((listed, Some(entries::cursor(number, bytes))));
            }
        }
    }
    Ok((listed, None))
}

pub(super) fn astray(state: &State, view: &View, asked: &[Standing]) -> Result<(AnswerMoment, Vec<Astray>)> {
    let held = state.held.clone().ok_or_else(empty)?;
    let nothing = Documents::default();
    let documents = state.views.get(&view.name).unwrap_or(&nothing);
    let has = |entry: &IndexEntry| {
        let bytes: Arc<[u8]> = Entry::from(entry).bytes;
        let index = documents.indexes.get(usize::from(entry.index));
        index.and_then(|index| index.get(&bytes)).is_some_and(|key| **key == *entry.key)
    };
    let look = |standing: &Standing| {
        let stored = documents.by_key.get(&*standing.key).map_or(&[][..], |document| &document.entries);
        entries::astray(standing, stored, has)
    };
    Ok((AnswerMoment::Applied(held), asked.iter().map(look).collect()))
}
