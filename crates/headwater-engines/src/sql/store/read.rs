//! What is made of rows that were read: where a walk leads, and which documents stand where they should not.

use std::collections::{HashMap, HashSet};

use headwater_model::{Astray, IndexEntry, Reached, Result, Standing, View, ViewId, WalkRead};

use crate::entries::{self, Entry};
use crate::walk::walk;

/// Which part of which view's index.
pub(crate) type PartOf = (ViewId, usize, Vec<u8>);

/// The edges of parts, each as the bytes it is sorted by.
pub(crate) type Parts = HashMap<PartOf, Vec<Vec<u8>>>;

/// Where the walk leads, if the edges of all parts on its way are known; otherwise those that are missing.
pub(crate) fn walked(
    read: &WalkRead,
    parts: &Parts,
) -> Result<std::result::Result<Vec<Reached>, HashSet<PartOf>>> {
    let mut missing = HashSet::new();
    let reached = walk(read, |view, index, part, edges| {
        let part = (view.name.clone(), index, part.to_vec());
        match parts.get(&part) {
            Some(sorts) => sorts.iter().try_for_each(|sort| edges.take(sort)),
            None => {
                missing.insert(part);
                Ok(())
            }
        }
    })?;
    Ok(if missing.is_empty() { Ok(reached) } else { Err(missing) })
}

/// What is not as it should, of documents whose rows have these places, one per index.
pub(crate) fn astray(
    view: &View,
    asked: &[Standing],
    rows: impl IntoIterator<Item = (String, Vec<Option<Vec<u8>>>)>,
) -> Vec<Astray> {
    let mut stored: HashMap<String, Vec<Entry>> = HashMap::new();
    for (key, places) in rows {
        let entry = |(index, place): (u16, Option<Vec<u8>>)| {
            let place = entries::cut(view, index, &place?);
            Some(Entry::from(&IndexEntry { index, place, key: key.as_str().into() }))
        };
        let entries = (0..).zip(places).filter_map(entry).collect();
        stored.insert(key, entries);
    }
    let told = asked.iter().map(|standing| {
        let stored = stored.get(&*standing.key).map_or(&[][..], Vec::as_slice);
        entries::astray(standing, stored, |entry| stored.contains(&Entry::from(entry)))
    });
    told.collect()
}
