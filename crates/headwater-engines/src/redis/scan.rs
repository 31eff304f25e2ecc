//! Walking a view's keys with SCAN, which never blocks the server, however large the key space is.
//!
//! While nobody writes, SCAN gives each key once, with one exception: when the server shrinks its hash table during the
//! walk (after a mass deletion), keys may come again. Within one page they are taken once; across pages that would need
//! memory for every key, so a reader that sums up pages must be able to see a key twice in that case.

use std::collections::HashSet;

use headwater_model::{Error, Layout, Result, Stored, View};

use super::connection::Connection;
use super::resp::Reply;
use super::{codec, failure, keys};

/// Buckets per SCAN: about a quarter of a millisecond of the server's time.
const BUCKETS: usize = 1000;

/// All keys of a view, a batch at a time.
pub(super) struct Walk {
    pattern: Vec<u8>,
    cursor: Option<Vec<u8>>,
}

impl Walk {
    pub(super) fn new(prefix: &str, view: &str) -> Walk {
        Walk { pattern: keys::pattern(&keys::of_view(prefix, view)), cursor: Some(b"0".to_vec()) }
    }

    /// The next keys, possibly none of this view; `None` at the end.
    pub(super) async fn next(&mut self, connection: &mut Connection) -> Result<Option<Vec<Vec<u8>>>> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let (next, keys) = scan(connection, cursor, &self.pattern, BUCKETS).await?;
        self.cursor = (next != b"0").then_some(next);
        Ok(Some(keys))
    }
}

async fn scan(
    connection: &mut Connection,
    cursor: &[u8],
    pattern: &[u8],
    buckets: usize,
) -> Result<(Vec<u8>, Vec<Vec<u8>>)> {
    let count = buckets.to_string();
    let reply = connection.call(&[b"SCAN", cursor, b"MATCH", pattern, b"COUNT", count.as_bytes()]).await?;
    let Reply::Array(items) = reply else { return Err(failure::unexpected("SCAN")) };
    let mut items = items.into_iter();
    let (Some(Reply::Text(next)), Some(Reply::Array(found))) = (items.next(), items.next()) else {
        return Err(failure::unexpected("SCAN"));
    };
    let found = found.into_iter().filter_map(|key| match key {
        Reply::Text(key) => Some(key),
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
        let hex = parts.next()?.as_bytes();
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let pairs = hex.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?));
        let behind = pairs.collect::<Option<Vec<u8>>>()?;
        Some(Place { cursor, buckets: own.parse().ok()?, behind: Some(behind) })
    }
}

/// A page of a view's documents.
pub(super) async fn page(
    connection: &mut Connection,
    prefix: &str,
    view: &View,
    cursor: Option<&str>,
    limit: usize,
) -> Result<(Vec<Stored>, Option<String>)> {
    let (keys, next) = page_of_keys(connection, prefix, view, cursor, limit).await?;
    let mut documents = Vec::with_capacity(keys.len());
    fetch(connection, view.layout(), keys::of_view(prefix, &view.name).len(), keys, &mut documents).await?;
    Ok((documents, next))
}

/// A page of the texts of a view's keys.
pub(super) async fn texts(
    connection: &mut Connection,
    prefix: &str,
    view: &View,
    cursor: Option<&str>,
    limit: usize,
) -> Result<(Vec<String>, Option<String>)> {
    let (keys, next) = page_of_keys(connection, prefix, view, cursor, limit).await?;
    let start = keys::of_view(prefix, &view.name).len();
    Ok((keys.iter().map(|key| String::from_utf8_lossy(&key[start..]).into_owned()).collect(), next))
}

async fn page_of_keys(
    connection: &mut Connection,
    prefix: &str,
    view: &View,
    cursor: Option<&str>,
    limit: usize,
) -> Result<(Vec<Vec<u8>>, Option<String>)> {
    let buckets = limit.clamp(16, BUCKETS);
    let mut place =
        Place::read(cursor, buckets).ok_or_else(|| Error::bug("a scan's cursor is not one of ours"))?;
    let pattern = keys::pattern(&keys::of_view(prefix, &view.name));
    let (mut seen, mut keys) = (HashSet::new(), Vec::new());
    loop {
        let (next, mut found) = scan(connection, &place.cursor, &pattern, place.buckets).await?;
        // The same SCAN again gives the same keys, in sorted order too.
        found.sort_unstable();
        found.dedup();
        if let Some(behind) = &place.behind {
            found.retain(|key| key > behind);
        }
        let room = limit.max(1) - keys.len();
        let rest = found.len() > room;
        found.truncate(room);
        place = match found.last() {
            Some(last) if rest => Place { behind: Some(last.clone()), ..place },
            _ => Place { cursor: next, buckets, behind: None },
        };
        found.retain(|key| seen.insert(key.clone()));
        keys.append(&mut found);
        if !rest && place.cursor == b"0" {
            return Ok((keys, None));
        }
        if keys.len() >= limit.max(1) {
            return Ok((keys, Some(place.to_text())));
        }
    }
}

async fn fetch(
    connection: &mut Connection,
    layout: Layout,
    key_from: usize,
    keys: Vec<Vec<u8>>,
    documents: &mut Vec<Stored>,
) -> Result<()> {
    keys.iter().for_each(|key| codec::ask(layout, key, &mut connection.out));
    for key in keys {
        // A key that went between SCAN and now is no longer a document.
        if let Some(body) = codec::read(layout, connection.reply().await?)? {
            documents.push(Stored { key: String::from_utf8_lossy(&key[key_from..]).into_owned(), body });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
