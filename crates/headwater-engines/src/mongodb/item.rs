//! What a document has beside its own fields, under `_hw`.
//!
//! | field | content |
//! |---|---|
//! | `k` | the text of the key, if that is not the `_id`: [`id`] |
//! | `w` | who wrote it: [`Stamp`] |
//! | `at` | the offset that it shows at least |
//! | `gone` | of a deleted document: since when; nothing else is left of it |
//! | `pN`, `lN` | where it stands in the view's index N: part and sort, and how much of it is the part |
//! | `as` | how fields are written whose BSON does not tell: [`super::codec`] |
//!
//! MongoDB compares bytes by their length first, and texts byte by byte. So a place is a text in which each byte is the
//! character of that number (ISO 8859-1): as UTF-8 such texts sort as their bytes do.

use headwater_model::{Error, Offset, Result};
use mongodb::bson::{Bson, DateTime, Document};
use sha2::{Digest as _, Sha256};

use super::codec::Body;
use crate::entries::Entry;
use crate::versioned::{self, Stamp};

pub(super) type Stored = versioned::Stored<Body>;

pub(super) const ID: &str = "_id";
pub(super) const OURS: &str = "_hw";
pub(super) const WRITE: &str = "_hw.w";
pub(super) const AT: &str = "_hw.at";
pub(super) const GONE: &str = "_hw.gone";
pub(super) const LONG_KEY: &str = "_hw.k";

const EXACT: &str = "as";

/// MongoDB before 4.2 takes 1,024 bytes for an entry of an index, all told; Amazon DocumentDB 2,048.
const ID_BYTES_MAX: usize = 1_000;

/// The field that a view's index is over.
pub(super) fn place_field(index: usize) -> String {
    format!("{OURS}.p{index}")
}

/// Which of the view's indexes a field under `_hw` is a place in.
pub(super) fn index_of(field: &str) -> Option<usize> {
    field.strip_prefix('p')?.parse().ok()
}

/// What a key is called as `_id`: its text; of a long one, which not every server can index, the beginning and a checksum. So
/// many bytes no text has that is short enough to be itself.
pub(super) fn id(key: &str) -> String {
    if key.len() <= ID_BYTES_MAX {
        return key.to_owned();
    }
    let checksum: String = Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect();
    let room = ID_BYTES_MAX + 1 - checksum.len();
    let cut = (0..=room).rev().find(|at| key.is_char_boundary(*at)).unwrap_or_default();
    format!("{}{}{checksum}", &key[..cut], ".".repeat(room - cut))
}

/// The whole document of a row; `None`: what is left of one that was deleted.
pub(super) fn write(key: &str, stamp: Stamp, at: Offset, row: Option<(Body, &[Entry])>) -> Document {
    let mut ours = Document::new();
    let id = id(key);
    if id != key {
        ours.insert("k", key);
    }
    ours.insert("w", stamp.to_text());
    ours.insert("at", number(at));
    let Some((body, places)) = row else {
        ours.insert("gone", DateTime::now());
        return Document::from_iter([(ID.to_owned(), id.into()), (OURS.to_owned(), ours.into())]);
    };
    for entry in places {
        ours.insert(format!("p{}", entry.index), text(&entry.bytes));
        ours.insert(format!("l{}", entry.index), i64::try_from(entry.part().len()).unwrap_or(i64::MAX));
    }
    if !body.exact.is_empty() {
        ours.insert(EXACT, body.exact);
    }
    let mut document = Document::new();
    document.insert(ID, id);
    document.extend(body.fields);
    document.insert(OURS, ours);
    document
}

/// The text of a row's key, and what is known of the row.
pub(super) fn read(mut document: Document) -> Result<(String, Stored)> {
    let Some(Bson::String(id)) = document.remove(ID) else {
        return Err(Error::corrupt("a document's _id is no text"));
    };
    let mut ours = match document.remove(OURS) {
        Some(Bson::Document(ours)) => ours,
        _ => Document::new(),
    };
    let seen = ours.get_str("w").ok().map(str::to_owned);
    let write = seen.as_deref().and_then(Stamp::read);
    let at = ours.get_i64("at").ok().and_then(|at| u64::try_from(at).ok()).unwrap_or_default();
    let is_gone = ours.contains_key("gone");
    let places = places(&ours)?;
    let exact = match ours.remove(EXACT) {
        Some(Bson::Document(exact)) => exact,
        _ => Document::new(),
    };
    let body = Body { fields: document, exact };
    let key = ours.get_str("k").map_or(id, str::to_owned);
    Ok((key, Stored { seen, write, at: Offset(at), is_gone, places, stale: Vec::new(), body }))
}

fn places(ours: &Document) -> Result<Vec<Entry>> {
    let broken = || Error::corrupt("the places that a document remembers cannot be read");
    let mut places = Vec::new();
    for (name, place) in ours {
        let Some(index) = name.strip_prefix('p') else { continue };
        let index: u16 = index.parse().map_err(|_| broken())?;
        let bytes = place.as_str().and_then(bytes).ok_or_else(broken)?;
        let part = ours.get_i64(format!("l{index}")).ok().and_then(|part| usize::try_from(part).ok());
        let (part, sort) = part.and_then(|part| bytes.split_at_checked(part)).ok_or_else(broken)?;
        places.push(Entry::new(index, part, sort));
    }
    places.sort_by_key(|entry| entry.index);
    Ok(places)
}

/// Offsets are far from where they would not fit.
pub(super) fn number(offset: Offset) -> i64 {
    i64::try_from(offset.0).unwrap_or(i64::MAX)
}

/// Bytes as a text that sorts as they do.
pub(super) fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Bytes of [`text`].
fn bytes(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(c).ok()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn places_sort_as_their_bytes_and_come_back() {
        let all: Vec<Vec<u8>> =
            (0..=255).flat_map(|byte| [vec![byte], vec![byte, 0], vec![byte, 255, 1]]).collect();
        for pair in all.windows(2) {
            assert_eq!(text(&pair[0]).cmp(&text(&pair[1])), pair[0].cmp(&pair[1]));
            assert_eq!(bytes(&text(&pair[0])), Some(pair[0].clone()));
        }
        assert_eq!(bytes("€"), None);
    }

    #[test]
    fn long_keys_have_ids_that_fit_and_are_no_other_keys() {
        for key in ["k".repeat(ID_BYTES_MAX), "é".repeat(500), String::new()] {
            assert_eq!(id(&key), key);
        }
        let long = ["k".repeat(5_000), "k".repeat(1_001), "é".repeat(501), "€".repeat(400), "𝄞".repeat(300)];
        let ids: std::collections::BTreeSet<String> = long.iter().map(|key| id(key)).collect();
        assert_eq!(ids.len(), long.len());
        for (id, key) in long.iter().map(|key| (id(key), key)) {
            assert_eq!(id.len(), ID_BYTES_MAX + 1, "{key}");
            let row = write(key, Stamp { epoch: 1, session: 1, write: 1 }, Offset(1), None);
            assert_eq!(read(row).unwrap().0, **key);
        }
    }

    #[test]
    fn a_row_comes_back() {
        let places = [Entry::new(0, b"part", b"\0\xffsort"), Entry::new(3, b"", b"")];
        let stamp = Stamp { epoch: 1, session: 2, write: 3 };
        let body = Body { fields: Document::from_iter([("n".to_owned(), 1_i64.into())]), ..Body::default() };
        let row = write("[1]", stamp, Offset(9), Some((body.clone(), &places)));
        let (key, stored) = read(row).unwrap();
        assert_eq!((&*key, stored.write, stored.at, stored.is_gone), ("[1]", Some(stamp), Offset(9), false));
        assert_eq!((stored.places, stored.body), (places.to_vec(), body));
        let (_, gone) = read(write("[1]", stamp, Offset(9), None)).unwrap();
        assert!(gone.is_gone && gone.places.is_empty() && gone.body == Body::default());
    }
}
