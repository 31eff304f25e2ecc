//! The indexes of views, kept by the one step that is open.
//!
//! Each part of an index is a sorted set whose members all have the score 0, so that they are in the order of their
//! bytes: those the document is sorted by, then its key. What a document has there stands in a hash of the view, key to
//! packed entries. Before a step changes documents it reads what these remember, on another connection: nobody else
//! writes, and if somebody does, EXEC fails.
//!
//! Commands are queued once per write, for what changed in sum: an update that leaves the indexed fields alone costs the
//! question and nothing more. A step remembers the keys it has changed, because the server shows it nothing of them.

use std::collections::{BTreeMap, HashMap};

use headwater_model::sort::read_sort;
use headwater_model::{Error, Index, Key, Result, Value, View, ViewChange, ViewId};

use super::connection::Connection;
use super::resp::{self, Reply};
use super::{failure, keys};
use crate::entries::{self, Entry};

/// Members, keys or fields in one command.
const ARGS_MAX: usize = 512;

/// What the open step knows of entries.
#[derive(Default)]
pub(super) struct Places {
    views: HashMap<ViewId, Known>,
    /// A step before this one took effect in part: documents may remember members that their sets lack, so all members
    /// are put there again.
    pub(super) wary: bool,
}

/// Of one view.
#[derive(Default)]
struct Known {
    /// The step has cleared the view: what is not known is not there.
    cleared: bool,
    documents: HashMap<Vec<u8>, Document>,
    /// Keys whose entries changed since the last commands.
    changed: Vec<Vec<u8>>,
}

/// What a document has: on the server once the queued commands take effect, and what it should have if that differs.
#[derive(Default)]
struct Document {
    queued: Vec<Entry>,
    wanted: Option<Vec<Entry>>,
}

impl Document {
    fn entries(&self) -> &[Entry] {
        self.wanted.as_deref().unwrap_or(&self.queued)
    }
}

fn text(key: &Key) -> Vec<u8> {
    let mut text = Vec::with_capacity(16);
    key.write_text(&mut text);
    text
}

impl Places {
    /// Asks for the entries of documents that these changes are about and that are not known yet. Gives the questions by
    /// view, to be answered with [`Places::learn`].
    pub(super) fn unknown(&self, changes: &[ViewChange]) -> Vec<(ViewId, Vec<Vec<u8>>)> {
        let mut unknown: BTreeMap<&ViewId, Vec<Vec<u8>>> = BTreeMap::new();
        for change in changes {
            let (view, key, moved_from) = match change {
                ViewChange::Put { view, key, moved_from, .. } => (view, key, moved_from.as_ref()),
                ViewChange::Delete { view, key } => (view, key, None),
                ViewChange::Clear { .. } => continue,
            };
            let known = self.views.get(&view.name);
            if view.indexes.is_empty() || known.is_some_and(|known| known.cleared) {
                continue;
            }
            for key in std::iter::once(key).chain(moved_from) {
                let key = text(key);
                if known.is_none_or(|known| !known.documents.contains_key(&key)) {
                    unknown.entry(&view.name).or_default().push(key);
                }
            }
        }
        unknown.into_iter().map(|(view, keys)| (view.clone(), keys)).collect()
    }

    /// Reads what the server remembers of these keys.
    pub(super) async fn learn(
        &mut self,
        reader: &mut Connection,
        prefix: &str,
        unknown: Vec<(ViewId, Vec<Vec<u8>>)>,
    ) -> Result<()> {
        for (view, asked) in &unknown {
            let hash = keys::places(prefix, view);
            for asked in asked.chunks(ARGS_MAX) {
                resp::command(2 + asked.len(), &mut reader.out);
                [&b"HMGET"[..], &hash].into_iter().for_each(|arg| resp::arg(arg, &mut reader.out));
                asked.iter().for_each(|key| resp::arg(key, &mut reader.out));
            }
        }
        for (view, asked) in unknown {
            let known = self.views.entry(view.clone()).or_default();
            let mut asked = asked.into_iter().peekable();
            while asked.peek().is_some() {
                let packed = match reader.reply().await? {
                    Reply::Array(packed) => packed,
                    Reply::Error(error) if error.starts_with("WRONGTYPE") => {
                        return Err(foreign(&keys::places(prefix, &view)));
                    }
                    Reply::Error(error) => return Err(failure::from_reply(&error)),
                    _ => return Err(failure::unexpected("HMGET")),
                };
                for (packed, key) in packed.into_iter().zip(asked.by_ref()) {
                    let queued = match packed {
                        Reply::Text(packed) => entries::unpack(&packed)?,
                        _ => Vec::new(),
                    };
                    known.documents.insert(key, Document { queued, wanted: None });
                }
            }
        }
        Ok(())
    }

    /// The entries that a change leads to; `None` if its view has no indexes.
    pub(super) fn entries(&self, change: &ViewChange) -> Result<Option<Vec<Entry>>> {
        if change.view().indexes.is_empty() {
            return Ok(None);
        }
        let ViewChange::Put { view, key, moved_from, document } = change else { return Ok(Some(Vec::new())) };
        let known = self.views.get(&view.name);
        let base = known.and_then(|known| known.documents.get(&text(moved_from.as_ref().unwrap_or(key))));
        let stored = base.map_or(&[][..], Document::entries);
        entries::of(view, key, document, stored).map(Some)
    }

    /// A document now has these entries, and the one it was moved from has none.
    pub(super) fn note(&mut self, view: &View, key: &Key, moved_from: Option<&Key>, entries: Vec<Entry>) {
        if !self.views.contains_key(&view.name) {
            self.views.insert(view.name.clone(), Known::default());
        }
        let Some(known) = self.views.get_mut(&view.name) else { return };
        if let Some(old) = moved_from {
            known.want(text(old), Vec::new(), self.wary);
        }
        // Last, for a document that was moved to where it is.
        known.want(text(key), entries, self.wary);
    }

    /// The view is empty. Gives the keys of the sets that this step has queued members for.
    pub(super) fn clear(&mut self, prefix: &str, view: &View) -> Vec<Vec<u8>> {
        let known = self.views.entry(view.name.clone()).or_default();
        let documents = std::mem::take(known).documents;
        known.cleared = true;
        let entries = documents.values().flat_map(|document| &document.queued);
        let mut sets: Vec<_> = entries.map(|entry| set_of(prefix, &view.name, entry)).collect();
        sets.sort_unstable();
        sets.dedup();
        sets
    }

    /// What must be done to the server for all that changed, one set of commands per view.
    pub(super) fn take_changed(&mut self, prefix: &str) -> Vec<Changed> {
        let mut all = Vec::new();
        for (view, known) in &mut self.views {
            if known.changed.is_empty() {
                continue;
            }
            let mut changed = Changed { places: keys::places(prefix, view), ..Changed::default() };
            for key in std::mem::take(&mut known.changed) {
                let Some(document) = known.documents.get_mut(&key) else { continue };
                let Some(wanted) = document.wanted.take() else { continue };
                let queued = std::mem::replace(&mut document.queued, wanted);
                changed.add(prefix, view, &key, &queued, &document.queued, self.wary);
            }
            all.push(changed);
        }
        all
    }
}

impl Known {
    fn want(&mut self, key: Vec<u8>, entries: Vec<Entry>, wary: bool) {
        let document = self.documents.entry(key.clone()).or_default();
        if wary || document.entries() != entries {
            document.wanted = Some(entries);
            self.changed.push(key);
        }
    }
}

/// Changes of one view's sets and of what its documents remember.
#[derive(Default)]
pub(super) struct Changed {
    places: Vec<u8>,
    /// By key of the set: members that go, members that come.
    sets: BTreeMap<Vec<u8>, [Vec<Vec<u8>>; 2]>,
    forgotten: Vec<Vec<u8>>,
    /// Key and packed entries, in turn.
    remembered: Vec<Vec<u8>>,
}

impl Changed {
    fn add(&mut self, prefix: &str, view: &str, key: &[u8], old: &[Entry], new: &[Entry], again: bool) {
        for entry in entries::without(old, new) {
            self.sets.entry(set_of(prefix, view, entry)).or_default()[0].push(member(entry, key));
        }
        for entry in entries::without(new, if again { &[] } else { old }) {
            self.sets.entry(set_of(prefix, view, entry)).or_default()[1].push(member(entry, key));
        }
        if new.is_empty() {
            if !old.is_empty() {
                self.forgotten.push(key.to_vec());
            }
        } else if old != new {
            self.remembered.extend([key.to_vec(), entries::pack(new)]);
        }
    }

    /// Members of sets, to be taken out.
    pub(super) fn gone(
        prefix: &str,
        view: &str,
        members: impl Iterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Changed {
        let mut changed = Changed { places: keys::places(prefix, view), ..Changed::default() };
        members.for_each(|(set, member)| changed.sets.entry(set).or_default()[0].push(member));
        changed
    }

    pub(super) fn set_keys(&self) -> Vec<Vec<u8>> {
        self.sets.keys().cloned().collect()
    }

    /// Appends the commands; gives how many.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> usize {
        let mut commands = 0;
        for (set, [gone, come]) in &self.sets {
            commands += many(b"ZREM", set, gone.iter().map(|member| [&member[..]]), out);
            commands += many(b"ZADD", set, come.iter().map(|member| [&b"0"[..], &member[..]]), out);
        }
        commands += many(b"HDEL", &self.places, self.forgotten.iter().map(|key| [&key[..]]), out);
        let remembered = self.remembered.chunks_exact(2).map(|pair| [&pair[0][..], &pair[1][..]]);
        commands + many(b"HSET", &self.places, remembered, out)
    }
}

/// Appends `name key items…`, as often as there are too many items for one command; gives how often.
fn many<'a, const N: usize>(
    name: &[u8],
    key: &[u8],
    items: impl ExactSizeIterator<Item = [&'a [u8]; N]>,
    out: &mut Vec<u8>,
) -> usize {
    let (mut left, mut room, mut commands) = (items.len(), 0, 0);
    for item in items {
        if room == 0 {
            room = left.min(ARGS_MAX);
            commands += 1;
            resp::command(2 + room * N, out);
            resp::arg(name, out);
            resp::arg(key, out);
        }
        item.iter().for_each(|arg| resp::arg(arg, out));
        (left, room) = (left - 1, room - 1);
    }
    commands
}

/// What the server remembers of one document.
pub(super) async fn of_document(
    reader: &mut Connection,
    prefix: &str,
    view: &str,
    key: &Key,
) -> Result<Vec<Entry>> {
    let places = keys::places(prefix, view);
    match reader.call(&[b"HMGET", &places, &text(key)]).await? {
        Reply::Array(found) => match found.first() {
            Some(Reply::Text(packed)) => entries::unpack(packed),
            _ => Ok(Vec::new()),
        },
        _ => Err(failure::unexpected("HMGET")),
    }
}

/// Whether the value of a field decides where a document is in an index.
pub(super) fn is_about(view: &View, field: &str) -> bool {
    let about = |index: &Index| {
        index.by.iter().chain(index.order.iter().map(|order| &order.column)).any(|name| **name == *field)
    };
    view.indexes.iter().any(about)
}

/// The value of a field that an entry of an index is about.
pub(super) fn value_of(view: &View, entries: &[Entry], field: &str) -> Result<Option<Value>> {
    for entry in entries {
        let Some(index) = view.indexes.get(usize::from(entry.index)) else { continue };
        let mut rest = entry.part();
        for name in &index.by {
            let (value, behind) = read_sort(rest, false)?;
            if **name == *field {
                return Ok(Some(value));
            }
            rest = behind;
        }
        rest = entry.sort();
        for order in &index.order {
            let (value, behind) = read_sort(rest, order.descending)?;
            if *order.column == *field {
                return Ok(Some(value));
            }
            rest = behind;
        }
    }
    Ok(None)
}

/// The sets that packed entries of a view's documents are in.
pub(super) fn sets_of(prefix: &str, view: &str, packed: &[u8]) -> Result<Vec<Vec<u8>>> {
    Ok(entries::unpack(packed)?.iter().map(|entry| set_of(prefix, view, entry)).collect())
}

pub(super) fn set_of(prefix: &str, view: &str, entry: &Entry) -> Vec<u8> {
    keys::index(prefix, view, usize::from(entry.index), entry.part())
}

/// What a document is sorted by, then its key, then the key's length, so that the two come apart again.
pub(super) fn member(entry: &Entry, key: &[u8]) -> Vec<u8> {
    [entry.sort(), key, &(key.len() as u32).to_be_bytes()].concat()
}

/// What a document is sorted by, and its key.
pub(super) fn parts_of(member: &[u8]) -> Result<(&[u8], &[u8])> {
    let cut = || {
        let (front, length) = member.split_last_chunk()?;
        front.split_at_checked(front.len().checked_sub(u32::from_be_bytes(*length) as usize)?)
    };
    cut().ok_or_else(|| Error::corrupt("a member of an index cannot be read"))
}

/// Somebody else's value lies where a part of an index, or what documents remember, belongs.
pub(super) fn foreign(key: &[u8]) -> Error {
    Error::misconfigured(format!(
        "a foreign value lies under {:?}, where Headwater keeps an index",
        String::from_utf8_lossy(key)
    ))
    .with_remedy(
        "find who else writes under the prefix, remove the key, and give the view another name, so that it is filled anew",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn members_come_apart_again() {
        let member = [&b"\x01sort"[..], b"7:x", &3u32.to_be_bytes()].concat();
        assert_eq!(parts_of(&member).unwrap(), (&b"\x01sort"[..], &b"7:x"[..]));
        assert!(parts_of(b"abc").is_err());
        assert!(parts_of(&[0, 0, 0, 9]).is_err());
    }

    #[test]
    fn many_items_are_cut_into_commands() {
        let items: Vec<Vec<u8>> = (0..=ARGS_MAX).map(|n| n.to_string().into_bytes()).collect();
        let mut out = Vec::new();
        assert_eq!(many(b"ZREM", b"k", items.iter().map(|item| [&item[..]]), &mut out), 2);
        assert!(out.starts_with(format!("*{}\r\n", ARGS_MAX + 2).as_bytes()));
        assert!(out.ends_with(b"*3\r\n$4\r\nZREM\r\n$1\r\nk\r\n$3\r\n512\r\n"));
        assert_eq!(many(b"ZREM", b"k", std::iter::empty::<[&[u8]; 1]>(), &mut out), 0);
    }
}
