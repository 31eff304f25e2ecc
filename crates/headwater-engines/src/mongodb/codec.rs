//! Documents as BSON, and back.
//!
//! | value | BSON |
//! |---|---|
//! | NULL | null; in the hash layout no field |
//! | boolean | bool |
//! | integer | long |
//! | floating point | double |
//! | decimal | decimal, if it has up to 34 digits; else its text |
//! | bytes | binary |
//! | text, date, time | string |
//! | JSON, list, embedded rows | document, array; of a number in JSON what holds it: long, double, decimal |
//!
//! BSON does not tell how all of these were written (`1E+2` or `100`, the spaces in a JSON text), and readers get what the
//! source wrote. Where what BSON gives back is not that, [`Body::exact`] has it, by the field's name:
//!
//! - `true`: as BSON gives it back, with a space behind each comma and colon, as PostgreSQL and MySQL write JSON;
//! - `false`: the field is a string that has the value as it is written, for BSON cannot have it as it is (a name with a dot
//!   or a dollar in it, a hundred levels);
//! - a string: this.
//!
//! Columns that are called `_id`, or begin with `_hw`, are stored with `_hw` in front; a name that MongoDB does not take,
//! percent-encoded behind `_hw~`.

use headwater_model::{Layout, Record, StoredBody, Value};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, Decimal128, Document};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::item::{ID, OURS};

/// Bytes of a document, less what is ours in it.
pub(super) const DOCUMENT_BYTES_MAX: usize = (16 << 20) - (64 << 10);

/// MongoDB takes a hundred, ours included.
const LEVELS_MAX: usize = 90;

const ENCODED: &str = "_hw~";
const ODD: &AsciiSet = &CONTROLS.add(b'.').add(b'$').add(b'%');

/// A document as it lies in the store.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Body {
    pub(super) fields: Document,
    /// How fields are written whose BSON does not tell.
    pub(super) exact: Document,
}

/// The BSON of a document; fields that are unchanged are taken from `base`.
pub(super) fn encode(layout: Layout, record: &Record, base: Option<&Body>) -> Body {
    let mut body = Body::default();
    for (column, value) in record.fields() {
        let name = name_of(column);
        let (field, exact) = if value.is_unchanged() {
            let Some(kept) = base.and_then(|base| base.fields.get(&name)) else { continue };
            (kept.clone(), base.and_then(|base| base.exact.get(&name)).cloned())
        } else if layout == Layout::Hash && value.is_null() {
            continue;
        } else {
            field(layout, value)
        };
        if let Some(exact) = exact {
            body.exact.insert(&*name, exact);
        }
        body.fields.insert(name, field);
    }
    body
}

/// A document from its BSON.
pub(super) fn decode(layout: Layout, body: &Body) -> StoredBody {
    let fields = body.fields.iter().map(|(name, field)| (column_of(name), field, body.exact.get(name)));
    if layout == Layout::Hash {
        let mut texts: Vec<(String, Vec<u8>)> =
            fields.map(|(column, field, exact)| (column, written(layout, field, exact))).collect();
        texts.sort();
        return StoredBody::Fields(texts);
    }
    let mut json = vec![b'{'];
    for (at, (column, field, exact)) in fields.enumerate() {
        if at > 0 {
            json.push(b',');
        }
        Value::text(column).write_json(&mut json);
        json.push(b':');
        json.extend(written(layout, field, exact));
    }
    json.push(b'}');
    // `written` gives UTF-8.
    StoredBody::Json(String::from_utf8_lossy(&json).into())
}

/// Bytes that these fields take as BSON: <https://bsonspec.org/spec.html>.
pub(super) fn size(body: &Body) -> usize {
    size_of_document(&body.fields) + size_of_document(&body.exact)
}

fn size_of_document(document: &Document) -> usize {
    5 + document.iter().map(|(name, value)| 2 + name.len() + size_of_value(value)).sum::<usize>()
}

fn size_of_value(value: &Bson) -> usize {
    match value {
        Bson::Null => 0,
        Bson::Boolean(_) => 1,
        Bson::String(text) => 5 + text.len(),
        Bson::Binary(binary) => 5 + binary.bytes.len(),
        Bson::Document(document) => size_of_document(document),
        // Names are numbers of up to seven digits: there is no room for more elements.
        Bson::Array(items) => 5 + items.iter().map(|item| 9 + size_of_value(item)).sum::<usize>(),
        _ => 16,
    }
}

fn name_of(column: &str) -> String {
    if column == ID || column.starts_with(OURS) {
        return format!("{OURS}{column}");
    }
    match can_be_named(column) {
        true => column.to_owned(),
        false => format!("{ENCODED}{}", utf8_percent_encode(column, ODD)),
    }
}

fn column_of(name: &str) -> String {
    match (name.strip_prefix(ENCODED), name.strip_prefix(OURS)) {
        (Some(encoded), _) => percent_decode_str(encoded).decode_utf8_lossy().into_owned(),
        (None, Some(escaped)) => escaped.to_owned(),
        (None, None) => name.to_owned(),
    }
}

/// Whether every MongoDB takes it as a field's name.
fn can_be_named(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('$') && !name.contains(['.', '\0'])
}

/// A value as BSON, and how it is written if that does not tell.
fn field(layout: Layout, value: &Value) -> (Bson, Option<Bson>) {
    let text = match layout {
        Layout::Hash => value.to_text().into_bytes(),
        Layout::Json => {
            let mut json = Vec::new();
            value.write_json(&mut json);
            json
        }
    };
    // Both are UTF-8.
    let as_text = |text: &[u8]| Bson::String(String::from_utf8_lossy(text).into_owned());
    let Some(native) = native(value, LEVELS_MAX) else {
        return (as_text(&text), Some(Bson::Boolean(false)));
    };
    if written(layout, &native, None) == text {
        return (native, None);
    }
    let spaced = Bson::Boolean(true);
    match written(layout, &native, Some(&spaced)) == text {
        true => (native, Some(spaced)),
        false => (native, Some(as_text(&text))),
    }
}

/// `None` if BSON cannot have it, or not so deep.
fn native(value: &Value, levels: usize) -> Option<Bson> {
    let below = levels.checked_sub(1);
    Some(match value {
        Value::Null | Value::Unchanged => Bson::Null,
        Value::Bool(flag) => Bson::Boolean(*flag),
        Value::Int(n) => Bson::Int64(*n),
        Value::Float(f) => Bson::Double(*f),
        Value::Decimal(text) => match text.parse::<Decimal128>() {
            Ok(decimal) => Bson::Decimal128(decimal),
            Err(_) => Bson::String(text.to_string()),
        },
        Value::Bytes(bytes) => {
            Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() })
        }
        Value::Json(json) => of_json(&serde_json::from_str(json).ok()?, levels)?,
        Value::List(items) => {
            Bson::Array(items.iter().map(|item| native(item, below?)).collect::<Option<_>>()?)
        }
        Value::Record(record) => {
            let fields = record.fields().filter(|(_, value)| !value.is_unchanged());
            document(fields.map(|(name, value)| Some((name, native(value, below?)?))))?
        }
        Value::Text(_) | Value::Date(_) | Value::Time(_) | Value::Timestamp(_) | Value::TimestampTz(_) => {
            Bson::String(value.to_text())
        }
    })
}

fn of_json(json: &serde_json::Value, levels: usize) -> Option<Bson> {
    use serde_json::Value as Json;
    let below = levels.checked_sub(1);
    Some(match json {
        Json::Null => Bson::Null,
        Json::Bool(flag) => Bson::Boolean(*flag),
        Json::Number(number) => of_number(&number.to_string())?,
        Json::String(text) => Bson::String(text.clone()),
        Json::Array(items) => {
            Bson::Array(items.iter().map(|item| of_json(item, below?)).collect::<Option<_>>()?)
        }
        Json::Object(fields) => {
            document(fields.iter().map(|(name, value)| Some((&**name, of_json(value, below?)?))))?
        }
    })
}

/// What holds it exactly and is most at hand.
fn of_number(text: &str) -> Option<Bson> {
    if let Ok(n) = text.parse::<i64>() {
        return Some(Bson::Int64(n));
    }
    match text.parse::<f64>() {
        Ok(f) if Value::Float(f).to_text() == text => Some(Bson::Double(f)),
        _ => text.parse().ok().map(Bson::Decimal128),
    }
}

fn document<'a>(mut fields: impl Iterator<Item = Option<(&'a str, Bson)>>) -> Option<Bson> {
    let mut document = Document::new();
    fields.try_for_each(|field| {
        let (name, value) = field?;
        let is_new = can_be_named(name) && document.insert(name, value).is_none();
        is_new.then_some(())
    })?;
    Some(Bson::Document(document))
}

/// What a field was written as.
fn written(layout: Layout, field: &Bson, exact: Option<&Bson>) -> Vec<u8> {
    let is_spaced = match exact {
        Some(Bson::String(text)) => return text.clone().into_bytes(),
        Some(Bson::Boolean(false)) => {
            return field.as_str().map_or_else(Vec::new, |text| text.as_bytes().to_vec());
        }
        exact => exact.is_some(),
    };
    let mut out = Vec::new();
    match (layout, scalar(field)) {
        (Layout::Hash, Some(value)) => out.extend(value.to_text().into_bytes()),
        _ => write_json(field, is_spaced, &mut out),
    }
    out
}

fn scalar(field: &Bson) -> Option<Value> {
    Some(match field {
        Bson::Null => Value::Null,
        Bson::Boolean(flag) => Value::Bool(*flag),
        Bson::Int32(n) => Value::Int(i64::from(*n)),
        Bson::Int64(n) => Value::Int(*n),
        Bson::Double(f) => Value::Float(*f),
        Bson::Decimal128(decimal) => Value::Decimal(decimal.to_string().into()),
        Bson::Binary(binary) => Value::Bytes(binary.bytes.as_slice().into()),
        Bson::String(text) => Value::text(text.as_str()),
        Bson::Array(_) | Bson::Document(_) => return None,
        // Never written by us.
        other => Value::text(other.to_string()),
    })
}

fn write_json(field: &Bson, is_spaced: bool, out: &mut Vec<u8>) {
    let comma = |at: usize, out: &mut Vec<u8>| match (at, is_spaced) {
        (0, _) => {}
        (_, false) => out.push(b','),
        (_, true) => out.extend_from_slice(b", "),
    };
    match field {
        Bson::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                comma(at, out);
                write_json(item, is_spaced, out);
            }
            out.push(b']');
        }
        Bson::Document(fields) => {
            out.push(b'{');
            for (at, (name, value)) in fields.iter().enumerate() {
                comma(at, out);
                Value::text(name.as_str()).write_json(out);
                out.extend_from_slice(if is_spaced { b": " } else { b":" });
                write_json(value, is_spaced, out);
            }
            out.push(b'}');
        }
        other => {
            if let Some(value) = scalar(other) {
                value.write_json(out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(fields: &[(&str, Value)]) -> Record {
        Record {
            names: fields.iter().map(|(name, _)| Box::from(*name)).collect(),
            values: fields.iter().map(|(_, value)| value.clone()).collect(),
        }
    }

    fn json(text: &str) -> Value {
        Value::Json(text.into())
    }

    fn many() -> Record {
        let deep = format!("{}1{}", "[".repeat(99), "]".repeat(99));
        record(&[
            ("_id", Value::Int(i64::MIN)),
            ("_hw", Value::text("")),
            ("_hw~a.b", Value::Bool(true)),
            ("a.b", Value::Float(-0.0)),
            ("$a%", Value::Float(f64::NAN)),
            ("", Value::Float(1e300)),
            ("é", Value::Null),
            ("plain", Value::Decimal("1.50".into())),
            ("large", Value::Decimal("100000000000000000000000000000000000000000".into())),
            ("long", Value::Decimal("0.1000000000000000000000000000000000000001".into())),
            ("nan", Value::Decimal("NaN".into())),
            ("bytes", Value::Bytes([0, 255].into())),
            ("empty", Value::Bytes([].into())),
            ("day", Value::Date(1)),
            ("at", Value::TimestampTz(1)),
            ("nul", Value::text("a\0b\u{1}\"\\/")),
            ("spaced", json(r#"{"a": [1, {"b": null}], "c": "é"}"#)),
            ("compact", json(r#"{"a":[1,2.5,9007199254740993.5,{}],"b":[]}"#)),
            ("mixed", json(r#"{ "a":1}"#)),
            ("twice", json(r#"{"a":1,"a":2}"#)),
            ("dotted", json(r#"{"a.b":{"$c":1}}"#)),
            ("exact", json("[9007199254740993.00000000000000000001, 1e2, 1e400, 12345678901234567890]")),
            ("deep", json(&deep)),
            (
                "rows",
                Value::List(vec![Value::Record(record(&[("n", Value::Int(1)), ("j", json("[1, 2]"))]))]),
            ),
        ])
    }

    #[test]
    fn documents_come_back_as_they_were_written() {
        let record = many();
        assert_eq!(
            decode(Layout::Json, &encode(Layout::Json, &record, None)),
            StoredBody::Json(record.to_json().into())
        );
        let mut fields: Vec<(String, Vec<u8>)> = (record.fields())
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.to_owned(), value.to_text().into_bytes()))
            .collect();
        fields.sort();
        assert_eq!(decode(Layout::Hash, &encode(Layout::Hash, &record, None)), StoredBody::Fields(fields));
    }

    #[test]
    fn what_people_query_has_its_own_type() {
        let body = encode(Layout::Json, &many(), None);
        for (name, exact) in [("plain", false), ("spaced", true), ("compact", false), ("bytes", false)] {
            assert!(!matches!(body.fields.get(name), None | Some(Bson::String(_))), "{name}");
            assert_eq!(body.exact.contains_key(name), exact, "{name}");
        }
        assert_eq!(body.exact.get("spaced"), Some(&Bson::Boolean(true)), "no second copy of it");
    }

    #[test]
    fn unchanged_fields_are_taken_from_what_is_there() {
        for layout in [Layout::Hash, Layout::Json] {
            let whole = many();
            let base = encode(layout, &whole, None);
            let mut partial = whole.clone();
            partial.values.iter_mut().skip(1).for_each(|value| *value = Value::Unchanged);
            // NaN is not itself.
            let (again, base) = (encode(layout, &partial, Some(&base)), base);
            assert_eq!(format!("{again:?}"), format!("{base:?}"));
            assert_eq!(encode(layout, &partial, None).fields.len(), 1, "what nothing has is left out");
        }
    }

    #[test]
    fn a_size_is_never_less_than_the_bytes() {
        let body = encode(Layout::Json, &many(), None);
        let bytes =
            |document: &Document| mongodb::bson::serialize_to_vec(document).map_or(0, |bytes| bytes.len());
        assert!(size(&body) >= bytes(&body.fields) + bytes(&body.exact));
    }
}
