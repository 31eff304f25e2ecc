//! Walking a view's keys with SCAN, which never blocks the server, however large the key space is.
//!
//! While nobody writes, SCAN gives each key once, with one exception: when the server shrinks its hash table during the
//! walk (after a mass deletion), keys may come again. Within one page they are taken once; across pages that would need
//! memory for every key, so a reader that sums up pages must be able to see a key twice in that case.

use std::collections::HashMap;

use headwater_model::{Error, Layout, Result, Stored};

use super::connection::Connection;
use super::resp::Reply;
use super::{codec, failure, keys};
use crate::entries::read_hex;

/// Buckets per SCAN: about a quarter of a millisecond of the server's time.
const BUCKETS: usize = 1000;

/// Which keys are the documents of a view, or the parts of its indexes.
pub(super) struct Keys {
    pattern: Vec<u8>,
    /// What the keys start with, and which lane that is; where there are lanes, up to the tag and behind it.
    starts: HashMap<Vec<u8>, usize>,
    before_tag: usize,
    behind_tag: usize,
}

impl Keys {
    /// All of them lie together.
    pub(super) fn of(prefix: &str, view: &str) -> Keys {
        Keys::starting(keys::of_view(prefix, view))
    }

    /// The sets of its indexes.
    pub(super) fn of_indexes(prefix: &str, view: &str) -> Keys {
        Keys::starting(keys::of_indexes(prefix, view))
    }

    fn starting(start: Vec<u8>) -> Keys {
        let before_tag = start.len();
        Keys { pattern: keys::pattern(&start), starts: [(start, 0)].into(), before_tag, behind_tag: 0 }
    }

    /// Of lanes with these prefixes: each is `prefix`, a hash tag and a colon.
    pub(super) fn of_lanes<'a>(prefix: &str, lanes: impl Iterator<Item = &'a str>, view: &str) -> Keys {
        Keys::starting_in_lanes(prefix, lanes, |prefix| keys::of_view(prefix, view))
    }

    /// The sets of its indexes, as [`Keys::of_lanes`].
    pub(super) fn of_indexes_in_lanes<'a>(
        prefix: &str,
        lanes: impl Iterator<Item = &'a str>,
        view: &str,
    ) -> Keys {
        Keys::starting_in_lanes(prefix, lanes, |prefix| keys::of_indexes(prefix, view))
    }

    fn starting_in_lanes<'a>(
        prefix: &str,
        lanes: impl Iterator<Item = &'a str>,
        start: impl Fn(&str) -> Vec<u8>,
    ) -> Keys {
        let behind = start("}:");
        let pattern = [keys::pattern(format!("{prefix}{{").as_bytes()), keys::pattern(&behind)].concat();
        let starts = lanes.enumerate().map(|(lane, prefix)| (start(prefix), lane));
        Keys { pattern, starts: starts.collect(), before_tag: prefix.len() + 1, behind_tag: behind.len() }
    }

    /// The lane of a key that the pattern fits, and where the document's own key begins. `None` if it only looks like one.
    pub(super) fn place(&self, key: &[u8]) -> Option<(usize, usize)> {
        let tag = match self.behind_tag {
            0 => 0,
            _ => key.get(self.before_tag..)?.iter().position(|byte| *byte == b'}')?,
        };
        let start = self.before_tag + tag + self.behind_tag;
        Some((*self.starts.get(key.get(..start)?)?, start))
    }

    fn text(&self, key: &[u8]) -> String {
        let from = self.place(key).map_or(0, |(_, from)| from);
        String::from_utf8_lossy(&key[from..]).into_owned()
    }
}

/// All keys of a view on one node, a batch at a time.
pub(super) struct Walk {
    cursor: Option<Vec<u8>>,
}

impl Walk {
    pub(super) fn new() -> Walk {
        Walk { cursor: Some(b"0".to_vec()) }
    }

    /// The next keys, possibly none of this view; `None` at the end.
    pub(super) async fn next(
        &mut self,
        connection: &mut Connection,
        of: &Keys,
    ) -> Result<Option<Vec<Vec<u8>>>> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let (next, keys) = scan(connection, cursor, of, BUCKETS).await?;
        self.cursor = (next != b"0").then_some(next);
        Ok(Some(keys))
    }
}

async fn scan(
    connection: &mut Connection,
    cursor: &[u8],
    keys: &Keys,
    buckets: usize,
) -> Result<(Vec<u8>, Vec<Vec<u8>>)> {
    let count = buckets.to_string();
    let reply =
        connection.call(&[b"SCAN", cursor, b"MATCH", &keys.pattern, b"COUNT", count.as_bytes()]).await?;
    let Reply::Array(items) = reply else { return Err(failure::unexpected("SCAN")) };
    let mut items = items.into_iter();
    let (Some(Reply::Text(next)), Some(Reply::Array(found))) = (items.next(), items.next()) else {
        return Err(failure::unexpected("SCAN"));
    };
    let found = found.into_iter().filter_map(|key| match key {
        Reply::Text(key) => keys.place(&key).is_some().then_some(key),
        _ => None,
    });
    Ok((next, found.collect()))
}

/// A batch of a hash's values, and the cursor to go on with. What is no hash has none.
pub(super) async fn fields(
    connection: &mut Connection,
    hash: &[u8],
    cursor: &[u8],
) -> Result<(Option<Vec<u8>>, Vec<Vec<u8>>)> {
    let items = match connection.ask(&[b"HSCAN", hash, cursor, b"COUNT", b"1000"]).await? {
        Reply::Array(items) => items,
        Reply::Error(text) if text.starts_with("WRONGTYPE") => return Ok((None, Vec::new())),
        Reply::Error(text) => return Err(failure::from_reply(&text)),
        _ => return Err(failure::unexpected("HSCAN")),
    };
    let mut items = items.into_iter();
    let (Some(Reply::Text(next)), Some(Reply::Array(found))) = (items.next(), items.next()) else {
        return Err(failure::unexpected("HSCAN"));
    };
    let values = found.into_iter().skip(1).step_by(2).filter_map(|value| match value {
        Reply::Text(value) => Some(value),
        _ => None,
    });
    Ok(((next != b"0").then_some(next), values.collect()))
}

/// Where a page ended: at a SCAN cursor, or within the keys that it gives, sorted, behind one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    cursor: Vec<u8>,
    buckets: usize,
    behind: Option<Vec<u8>>,
}

impl Place {
    fn to_text(&self) -> String {
        let cursor = String::from_utf8_lossy(&self.cursor);
        match &self.behind {
            None => cursor.into_owned(),
            Some(key) => {
                let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{cursor} {} {hex}", self.buckets)
            }
        }
    }

    fn read(text: Option<&str>, buckets: usize) -> Option<Place> {
        let Some(text) = text else { return Some(Place { cursor: b"0".to_vec(), buckets, behind: None }) };
        let mut parts = text.split(' ');
        let cursor = parts.next().filter(|cursor| cursor.parse::<u64>().is_ok())?.as_bytes().to_vec();
        let Some(own) = parts.next() else { return Some(Place { cursor, buckets, behind: None }) };
        let behind = read_hex(parts.next()?)?;
        Some(Place { cursor, buckets: own.parse().ok()?, behind: Some(behind) })
    }
}

/// A page of a view's documents.
pub(super) async fn page(
    connection: &mut Connection,
    of: &Keys,
    layout: Layout,
    cursor: Option<&str>,
    limit: usize,
) -> Result<(Vec<Stored>, Option<String>)> {
    let (keys, next) = page_of_keys(connection, of, cursor, limit).await?;
    let mut documents = Vec::with_capacity(keys.len());
    fetch(connection, of, layout, keys, &mut documents).await?;
    Ok((documents, next))
}

/// A page of the texts of a view's keys.
pub(super) async fn texts(
    connection: &mut Connection,
    of: &Keys,
    cursor: Option<&str>,
    limit: usize,
) -> Result<(Vec<String>, Option<String>)> {
    let (keys, next) = page_of_keys(connection, of, cursor, limit).await?;
    Ok((keys.iter().map(|key| of.text(key)).collect(), next))
}

pub(super) async fn page_of_keys(
    connection: &mut Connection,
    of: &Keys,
    cursor: Option<&str>,
    limit: usize,
) -> Result<(Vec<Vec<u8>>, Option<String>)> {
    let limit = limit.max(1);
    // SCAN gives a few more keys than it was asked for. With room for them, none has to be asked for again.
    let buckets = (limit - limit / 8).clamp(16, BUCKETS);
    let mut place =
        Place::read(cursor, buckets).ok_or_else(|| Error::bug("a scan's cursor is not one of ours"))?;
    let mut keys = Vec::new();
    loop {
        let (next, mut found) = scan(connection, &place.cursor, of, place.buckets).await?;
        if let Some(behind) = &place.behind {
            found.retain(|key| key > behind);
        }
        let room = limit - keys.len();
        if found.len() > room {
            // The same SCAN again gives the same keys, in sorted order too.
            found.sort_unstable();
            found.dedup();
        }
        let rest = found.len() > room;
        found.truncate(room);
        place = match found.last() {
            Some(last) if rest => Place { behind: Some(last.clone()), ..place },
            _ => Place { cursor: next, buckets, behind: None },
        };
        keys.append(&mut found);
        let is_last = !rest && place.cursor == b"0";
        if is_last || (!keys.is_empty() && keys.len() + buckets > limit) {
            keys.sort_unstable();
            keys.dedup();
            return Ok((keys, (!is_last).then(|| place.to_text())));
        }
    }
}

async fn fetch(
    connection: &mut Connection,
    of: &Keys,
    layout: Layout,
    keys: Vec<Vec<u8>>,
    documents: &mut Vec<Stored>,
) -> Result<()> {
    keys.iter().for_each(|key| codec::ask(layout, key, &mut connection.out));
    for key in keys {
        // A key that went between SCAN and now is no longer a document.
        if let Some(body) = codec::read(layout, connection.reply().await?)? {
            documents.push(Stored { key: of.text(&key), body });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_of_the_view_are_its_keys_in_whichever_lane() {
        let keys = Keys::of_lanes("s*:", ["s*:{7}:", "s*:{12}:"].into_iter(), "book");
        assert_eq!(keys.pattern, b"s\\*:{*}:book:*");
        assert_eq!(keys.place(b"s*:{12}:book:1"), Some((1, 13)));
        assert_eq!(keys.text(b"s*:{7}:book:1:2"), "1:2");
        // Of another view, of another store, of no lane.
        for other in [&b"s*:{7}:a:{12}:book:1"[..], b"s*:{8}:book:1", b"s*:{7:book:1", b"s*:", b""] {
            assert_eq!(keys.place(other), None, "{:?}", String::from_utf8_lossy(other));
        }
        assert_eq!(Keys::of("p:", "book").place(b"p:book:1"), Some((0, 7)));
    }

    #[test]
    fn a_place_survives_being_a_text() {
        for behind in [None, Some(b"a\xff b".to_vec())] {
            let place = Place { cursor: b"1234".to_vec(), buckets: 16, behind };
            assert_eq!(Place::read(Some(&place.to_text()), 16), Some(place));
        }
        assert_eq!(Place::read(Some("x"), 16), None);
        assert_eq!(Place::read(Some("1 16 0"), 16), None);
    }
}
