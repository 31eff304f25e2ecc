//! Documents as attributes, and back.
//!
//! | value | attribute |
//! |---|---|
//! | NULL | none |
//! | the empty text | NULL, as AWS's own SDKs convert it: not every DynamoDB takes it as it is |
//! | boolean | BOOL |
//! | number | N, if DynamoDB holds it exactly: up to 38 digits, 1E-120 to 1E+120; else S, its digits |
//! | bytes | B |
//! | text, date, time, JSON, list | S |
//!
//! A number whose text is not the one that DynamoDB gives back (`1.50`) has that text beside it, under `hw_as_` and its
//! name. A document in the JSON layout is one text under `document`.

use aws_sdk_dynamodb::types::AttributeValue;
use headwater_model::{Error, Layout, Record, Result, StoredBody, Value};

use super::item::{Item, binary, part_of};
use crate::entries::Entry;

const DOCUMENT: &str = "document";
const EXACT: &str = "hw_as_";
const OURS: &str = "hw_";
const ESCAPED: &str = "hw_hw_";

/// Digits of a number that DynamoDB keeps.
const DIGITS_MAX: usize = 38;

/// The attributes of a document; fields that are unchanged are taken from `base`.
pub(super) fn encode(layout: Layout, record: &Record, base: Option<&Item>) -> Item {
    let mut item = Item::with_capacity(record.values.len() + 6);
    if layout == Layout::Json {
        item.insert(DOCUMENT.to_owned(), AttributeValue::S(record.to_json()));
        return item;
    }
    for (column, value) in record.fields() {
        let (name, exact) = (name_of(column), format!("{EXACT}{column}"));
        if value.is_unchanged() {
            for name in [name, exact] {
                if let Some(kept) = base.and_then(|base| base.get(&name)) {
                    item.insert(name, kept.clone());
                }
            }
            continue;
        }
        let Some(native) = native(value) else { continue };
        match &native {
            AttributeValue::N(text) if !is_canonical(text) => {
                item.insert(exact, AttributeValue::S(text.clone()));
            }
            AttributeValue::Null(_) if matches!(value, Value::Bytes(_)) => {
                item.insert(exact, AttributeValue::S(value.to_text()));
            }
            _ => {}
        }
        item.insert(name, native);
    }
    item
}

fn name_of(column: &str) -> String {
    if column.starts_with(OURS) { format!("{OURS}{column}") } else { column.to_owned() }
}

fn native(value: &Value) -> Option<AttributeValue> {
    Some(match value {
        Value::Null | Value::Unchanged => return None,
        Value::Bool(flag) => AttributeValue::Bool(*flag),
        Value::Int(n) => AttributeValue::N(n.to_string()),
        Value::Float(_) | Value::Decimal(_) => {
            let text = value.to_text();
            if fits(&text) { AttributeValue::N(text) } else { AttributeValue::S(text) }
        }
        Value::Bytes(bytes) if bytes.is_empty() => AttributeValue::Null(true),
        Value::Bytes(bytes) => binary(&bytes[..]),
        other => match other.to_text() {
            text if text.is_empty() => AttributeValue::Null(true),
            text => AttributeValue::S(text),
        },
    })
}

/// Whether DynamoDB holds a number exactly.
fn fits(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (Ok(exponent), true) = (exponent.parse::<i64>(), is_number(whole) && is_number(fraction)) else {
        return false;
    };
    let digits = [whole, fraction].concat();
    let Some(first) = digits.bytes().position(|digit| digit != b'0') else { return true };
    let significant = digits.trim_matches('0').len();
    let leading = exponent + whole.len() as i64 - first as i64;
    significant <= DIGITS_MAX && (-120..=120).contains(&leading)
}

/// Whether DynamoDB gives the same text back.
fn is_canonical(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = match digits.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (digits, None),
    };
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain(whole)
        && fraction.is_none_or(|fraction| plain(fraction) && !fraction.ends_with('0'))
        && whole.len() + fraction.map_or(0, str::len) <= DIGITS_MAX
        && (whole == "0" || !whole.starts_with('0'))
        && text != "-0"
}

/// A document from its attributes, without those that are ours.
pub(super) fn decode(layout: Layout, attributes: &Item) -> Result<StoredBody> {
    if layout == Layout::Json {
        return match attributes.get(DOCUMENT) {
            Some(AttributeValue::S(json)) => Ok(StoredBody::Json(json.as_str().into())),
            // Somebody else's item under our key: whoever compares must see that it is not the document.
            _ => Ok(StoredBody::Json("null".into())),
        };
    }
    let mut fields = Vec::with_capacity(attributes.len());
    for (name, value) in attributes {
        if name.starts_with(EXACT) {
            continue;
        }
        let column = match name.strip_prefix(OURS) {
            Some(column) if name.starts_with(ESCAPED) => column,
            Some(_) => continue,
            None => name,
        };
        let exact = attributes.get(&format!("{EXACT}{column}"));
        let text = match (exact, value) {
            (Some(AttributeValue::S(exact)), AttributeValue::N(_) | AttributeValue::Null(_)) => exact.clone(),
            (_, value) => text_of(value),
        };
        fields.push((column.to_owned(), text.into_bytes()));
    }
    fields.sort();
    Ok(StoredBody::Fields(fields))
}

fn text_of(value: &AttributeValue) -> String {
    match value {
        AttributeValue::S(text) | AttributeValue::N(text) => text.clone(),
        AttributeValue::Bool(flag) => flag.to_string(),
        AttributeValue::Null(_) => String::new(),
        AttributeValue::B(bytes) => Value::Bytes(bytes.as_ref().into()).to_text(),
        // Never written by us.
        other => format!("{other:?}"),
    }
}

/// What a row is refused for, if it is. `key` is as in the store.
pub(super) fn refuse(key: &str, bytes: usize) -> Option<String> {
    if key.is_empty() {
        return Some("DynamoDB takes no empty key".to_owned());
    }
    if key.len() > KEY_BYTES_MAX {
        return Some(format!("the key has {} bytes, DynamoDB takes {KEY_BYTES_MAX}", key.len()));
    }
    (bytes > ITEM_BYTES_MAX).then(|| {
        format!("the document has {bytes} bytes as an item, DynamoDB takes {ITEM_BYTES_MAX} (400 KB)")
    })
}

/// Of a table's partition key.
pub(super) const KEY_BYTES_MAX: usize = 2048;
/// Of a table's sort key.
pub(super) const SORT_BYTES_MAX: usize = 1024;
/// Names and values of all attributes.
pub(super) const ITEM_BYTES_MAX: usize = 400 * 1024;

/// What a row is refused for because of where it would stand, if it is.
pub(super) fn refuse_places(places: &[Entry]) -> Option<String> {
    places.iter().find_map(|entry| {
        let (part, sort) = (part_of(entry.index, entry.part()).len(), entry.sort().len());
        (part > KEY_BYTES_MAX || sort > SORT_BYTES_MAX).then(|| {
            format!(
                "its place in index {} of the view takes {part} and {sort} bytes; DynamoDB takes {KEY_BYTES_MAX} for what the \
                 index is apart by and {SORT_BYTES_MAX} for what it sorts by, the key included",
                entry.index
            )
        })
    })
}

pub(super) fn broken(what: &str) -> Error {
    Error::corrupt(format!("an item has no {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_exact_or_text() {
        for (text, fit, canonical) in [
            ("0", true, true),
            ("-1.5", true, true),
            ("1.50", true, false),
            ("-0", true, false),
            ("-0.00", true, false),
            ("1e20", true, false),
            ("1e300", false, false),
            ("5e-324", false, false),
            ("NaN", false, false),
            ("Infinity", false, false),
            ("99999999999999999999999999999999999999", true, true),
            ("99999999999999999999999999999999999999.0", true, false),
            ("100000000000000000000000000000000000000000", true, false),
            ("999999999999999999999999999999999999999", false, false),
            ("0.1000000000000000000000000000000000000001", false, false),
        ] {
            assert_eq!((fits(text), fits(text) && is_canonical(text)), (fit, canonical), "{text}");
        }
    }
}
