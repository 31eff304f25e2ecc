//! A document as the properties of a node or an edge.
//!
//! Beside the document's text, which is exact, its fields are properties of the types that openCypher has, for those who
//! query the graph themselves: integers and floats as such, decimals and everything else as the text of the source.

use std::sync::Arc;

use headwater_model::sort::Number;
use headwater_model::{Error, Key, Record, Result, Value, View, ViewKind};

use super::cypher::{Param, can_quote};
use crate::stored_json::write_merged;

/// What our own properties begin with. Fields of this name are in the document only.
pub(super) const OWN: &str = "headwater_";
pub(super) const KEY: &str = "headwater_key";
pub(super) const DOCUMENT: &str = "headwater_document";
pub(super) const HASH: &str = "headwater_hash";
/// Of edges: several views may have one label.
pub(super) const VIEW: &str = "headwater_view";
/// Of vertices: the bytes of their value.
pub(super) const VERTEX: &str = "headwater_vertex";
/// Of vertices whose last edge may have gone.
pub(super) const LOOSE: &str = "headwater_loose";

/// And the parts of an index's places.
pub(super) const PART: &str = "headwater_part_";

/// Labels of our own.
pub(super) const HELD_LABEL: &str = "Headwater";
pub(super) const VERTEX_LABEL: &str = "Vertex";

/// The node that says how far the store is. Its name, the parameter, is [`headwater_model::file::StoreSection::of_source`] of
/// [`HELD_NAME`]: several sources may have their views in one graph.
pub(super) const HELD: &str = "(m:Headwater {name: $me})";
pub(super) const HELD_NAME: &str = "held";

/// Indexes of texts do not find one of 4096 bytes.
const INDEXED_BYTES_MAX: usize = 4000;
pub(super) const KEY_BYTES_MAX: usize = 2048;

/// Hashes of keys lie below this: a float holds each of them.
pub(super) const HASHES: i64 = 1 << 52;

/// A document, ready to be written.
#[derive(Clone, Debug)]
pub(super) struct Element {
    pub(super) properties: Param,
    /// Of an edge.
    pub(super) ends: Option<[End; 2]>,
    /// About how much it adds to a statement.
    pub(super) bytes: usize,
    /// What a later change of the same step finds.
    pub(super) stored: Stored,
}

#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) vertex: String,
    pub(super) value: Param,
}

/// The property that holds the part, or the place in it, of an index.
pub(super) fn part_property(index: usize) -> String {
    format!("{PART}{index}")
}

pub(super) fn sort_property(index: usize) -> String {
    format!("headwater_sort_{index}")
}

/// What is stored of a document that is put over in part.
#[derive(Clone, Debug, Default)]
pub(super) struct Stored {
    pub(super) document: String,
    /// By index: part and place, as bytes.
    pub(super) places: Vec<Option<(Vec<u8>, Vec<u8>)>>,
}

/// `Err` inside: why the store does not take it. Fields that are `Unchanged` are taken from `stored`.
pub(super) fn element(
    view: &View,
    key: &Key,
    document: &Record,
    stored: Option<&Stored>,
    bytes_max: usize,
) -> Result<Result<Element, String>> {
    let text = key.to_text();
    let mut json = Vec::new();
    write_merged(document, stored.map(|stored| stored.document.as_bytes()), &mut json)?;
    let json =
        String::from_utf8(json).map_err(|e| Error::corrupt("a stored document is not text").with_cause(e))?;
    let mut places = Vec::with_capacity(view.indexes.len());
    for (number, index) in view.indexes.iter().enumerate() {
        let old = stored.and_then(|stored| stored.places.get(number)?.as_ref());
        places.push(index.place_over(key, document, old.map(|(part, sort)| (&**part, &**sort)))?);
    }
    let part_max = places.iter().flatten().map(|place| place.part.len()).max().unwrap_or(0);
    if let Some(reason) = too_large(&text, &json, part_max, bytes_max) {
        return Ok(Err(reason));
    }
    let mut bytes = text.len() + 2 * json.len() + 200;
    let mut properties = Vec::with_capacity(4 + 2 * places.len() + document.values.len());
    let mut add = |name: &str, value: Param| properties.push((Arc::from(name), value));
    add(HASH, Param::Int(hash(&text)));
    add(KEY, Param::Text(found_by(&text)));
    for (number, place) in places.iter().enumerate() {
        let Some(place) = place else { continue };
        bytes += 2 * (place.part.len() + place.sort.len()) + 48;
        add(&part_property(number), Param::Text(part(&place.part)));
        add(&sort_property(number), Param::Text(hex(&place.sort)));
    }
    let kept = if document.is_partial() { fields_of(&json)? } else { Default::default() };
    for (name, value) in document.fields() {
        if name.starts_with(OWN) || !can_quote(name) {
            continue;
        }
        bytes += name.len() + 8;
        let value = match value {
            Value::Unchanged => kept.get(name).map_or(Param::Null, kept_native),
            value => native(value),
        };
        match value {
            Param::Null => {}
            value => add(name, value),
        }
    }
    let ends = match &view.kind {
        ViewKind::Edge(edge) => {
            add(VIEW, Param::text(&*view.name));
            Some([&edge.source, &edge.target].map(|column| end(document.get(column).unwrap_or(&Value::Null))))
        }
        _ => None,
    };
    let stored = Stored {
        document: json.clone(),
        places: places.into_iter().map(|place| place.map(|place| (place.part, place.sort))).collect(),
    };
    add(DOCUMENT, Param::Text(json));
    Ok(Ok(Element { properties: Param::Map(properties), ends, bytes, stored }))
}

fn fields_of(json: &str) -> Result<serde_json::Map<String, serde_json::Value>> {
    serde_json::from_str(json)
        .map_err(|e| Error::corrupt("a stored document is not a JSON object").with_cause(e))
}

/// A field that stays as it is, by its JSON. What a source leaves out of its log are texts, bytes, JSON and decimals: a
/// number is one with digits to keep.
fn kept_native(json: &serde_json::Value) -> Param {
    match json {
        serde_json::Value::Null => Param::Null,
        serde_json::Value::Bool(b) => Param::Bool(*b),
        serde_json::Value::String(text) if text.contains('\0') => Param::Null,
        serde_json::Value::String(text) => Param::text(&**text),
        other => Param::Text(other.to_string()),
    }
}

fn end(value: &Value) -> End {
    let whole = match value {
        Value::Decimal(digits) => Number::parse(digits).whole().map(Param::Int),
        _ => None,
    };
    End { vertex: vertex(value), value: whole.unwrap_or_else(|| native(value)) }
}

/// A part of an index, as an index of the server finds it: it does not see the empty text.
pub(super) fn part(bytes: &[u8]) -> String {
    format!("-{}", hex(bytes))
}

/// What names the vertex of a value: equal values and only equal values have the same.
pub(super) fn vertex(value: &Value) -> String {
    let mut bytes = Vec::with_capacity(16);
    headwater_model::sort::write_sort(value, false, &mut bytes);
    hex(&bytes)
}

fn too_large(key: &str, json: &str, part: usize, bytes_max: usize) -> Option<String> {
    if key.len() > KEY_BYTES_MAX || found_by(key).len() > INDEXED_BYTES_MAX {
        Some(format!("the key has {} bytes, the store takes {KEY_BYTES_MAX}, and fewer of spaces", key.len()))
    } else if json.len() > bytes_max {
        Some(format!("the document has {} bytes, the store takes {bytes_max}", json.len()))
    } else if 2 * part > INDEXED_BYTES_MAX {
        let most = INDEXED_BYTES_MAX / 2;
        Some(format!("what it is found by has {part} bytes, an index of the store takes {most}"))
    } else {
        None
    }
}

/// A key as an index finds it: indexes of texts do not see spaces at either end. No key's text has `%20`.
pub(super) fn found_by(key: &str) -> String {
    key.replace(' ', "%20")
}

/// The text of a key from what [`found_by`] made of it.
pub(super) fn key_text(found_by: &str) -> String {
    found_by.replace("%20", " ")
}

/// A field as a property. A text that a statement cannot hold is in the document only.
fn native(value: &Value) -> Param {
    match value {
        Value::Null | Value::Unchanged => Param::Null,
        Value::Bool(b) => Param::Bool(*b),
        Value::Int(n) => Param::Int(*n),
        Value::Float(f) if f.is_finite() => Param::Float(*f),
        other => match other.to_text() {
            text if text.contains('\0') => Param::Null,
            text => Param::Text(text),
        },
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

pub(super) fn unhex(text: &str) -> Result<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pair = |pair: &[u8]| Some((digit(pair[0])? << 4 | digit(*pair.get(1)?)?) as u8);
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
    bytes.ok_or_else(|| Error::corrupt("a place in the graph cannot be read"))
}

/// The same in every version of Headwater, because it lies in the store (FNV-1a).
pub(super) fn hash(key: &str) -> i64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    // The low bits of the product are those that every byte has gone through.
    ((hash ^ (hash >> 32)) & (HASHES as u64 - 1)) as i64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn equal_numbers_are_one_vertex_and_texts_another() {
        let decimal = |text: &str| Value::Decimal(text.into());
        assert_eq!(vertex(&Value::Int(3)), vertex(&decimal("3.00")));
        assert_ne!(vertex(&Value::Int(3)), vertex(&Value::text("3")));
        assert_eq!(end(&decimal("3.00")).value, Param::Int(3));
        assert_eq!(end(&decimal("3.10")).value, Param::text("3.10"));
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(unhex(&hex(&bytes)).unwrap(), bytes);
        assert!(unhex("abc").is_err() && unhex("zz").is_err());
    }

    #[test]
    fn hashes_of_keys_that_look_alike_lie_apart() {
        let mut hashes: Vec<i64> = (0..10_000).map(|n| hash(&n.to_string())).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 10_000);
        let low = hashes.iter().filter(|hash| **hash < HASHES / 2).count();
        assert!(
            (4_000..6_000).contains(&low) && hashes.iter().all(|hash| (0..HASHES).contains(hash)),
            "{low}"
        );
    }
}
