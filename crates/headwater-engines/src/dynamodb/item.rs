//! What an item has beside the document's own attributes. Columns whose names begin with `hw_` are stored with another
//! `hw_` in front, so that no column is mistaken for one of these.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use headwater_model::{Error, Offset, Result};

use crate::entries::{self, Entry};
use crate::versioned::{self, Stamp};

pub(super) type Item = HashMap<String, AttributeValue>;
pub(super) type Stored = versioned::Stored<Item>;

/// The text of the document's key.
pub(super) const KEY: &str = "hw_key";
/// Who wrote the item: [`Stamp`].
pub(super) const WRITE: &str = "hw_write";
/// The offset that it shows at least.
pub(super) const AT: &str = "hw_at";
/// Of a deleted document: when the service may remove what is left, in seconds since 1970.
pub(super) const EXPIRES: &str = "hw_expires";
/// Where the document stands in the view's indexes.
pub(super) const PLACES: &str = "hw_places";
/// Where it stood before its last write, and perhaps still has items.
pub(super) const STALE: &str = "hw_stale";
/// In the table of places: which index and which part of it.
pub(super) const PART: &str = "hw_part";
/// In the table of places: what documents are sorted by.
pub(super) const SORT: &str = "hw_sort";
/// In the table of the store's own state.
pub(super) const STATE_KEY: &str = "hw_item";

/// What is known of a stored item, from its attributes.
pub(super) fn read(mut item: Item) -> Result<Stored> {
    let seen = item.remove(WRITE).and_then(|value| value.as_s().ok().cloned());
    let write = seen.as_deref().and_then(Stamp::read);
    let at = item.remove(AT).and_then(|value| value.as_n().ok()?.parse().ok()).unwrap_or_default();
    let places = packed(item.remove(PLACES))?;
    let stale = packed(item.remove(STALE))?;
    let is_gone = item.remove(EXPIRES).is_some();
    item.remove(KEY);
    Ok(Stored { seen, write, at: Offset(at), is_gone, places, stale, body: item })
}

fn packed(value: Option<AttributeValue>) -> Result<Vec<Entry>> {
    match value {
        None => Ok(Vec::new()),
        Some(AttributeValue::B(bytes)) => entries::unpack(bytes.as_ref()),
        Some(_) => Err(Error::corrupt("the places that a document remembers are no bytes")),
    }
}

pub(super) fn binary(bytes: impl Into<Vec<u8>>) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes.into()))
}

pub(super) fn number(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// The partition of an entry in the table of places: the number of the index, and the part.
pub(super) fn part_of(index: u16, part: &[u8]) -> Vec<u8> {
    [&index.to_be_bytes()[..], part].concat()
}

/// The key of an entry in the table of places, as bytes.
pub(super) fn place_key(entry: &Entry) -> (Vec<u8>, Vec<u8>) {
    (part_of(entry.index, entry.part()), entry.sort().to_vec())
}

/// Bytes of an item as the service counts them, never fewer.
pub(super) fn size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + size_of_value(value)).sum()
}

fn size_of_value(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len().min(20) + 1,
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::L(items) => 3 + items.iter().map(|item| 1 + size_of_value(item)).sum::<usize>(),
        AttributeValue::M(fields) => {
            3 + fields.iter().map(|(name, value)| 1 + name.len() + size_of_value(value)).sum::<usize>()
        }
        _ => 1,
    }
}
