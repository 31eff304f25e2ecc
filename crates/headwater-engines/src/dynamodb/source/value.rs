//! Attributes of items as values of declared columns.
//!
//! | declared | attribute | value |
//! |---|---|---|
//! | `text` | S | text |
//! | `number` | N | exact decimal: plain digits, no zeros at the end |
//! | `integer` | N without a fraction, within 64 bits | integer |
//! | `boolean` | BOOL | boolean |
//! | `bytes` | B | bytes |
//! | `json` | any | JSON; numbers as they are, bytes as `"\\x…"`, sets as arrays in the order of their values |
//!
//! An attribute that is not there, or NULL, is NULL. Of another type than declared it is none of the column's values: then the
//! item is left out and said, never converted.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodbstreams::types::AttributeValue as Streamed;
use headwater_model::{ColumnType, Value};

pub(super) type Item = HashMap<String, AttributeValue>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Integer,
    Boolean,
    Bytes,
    Json,
}

impl Kind {
    pub(super) const ALL: [Kind; 6] =
        [Kind::Text, Kind::Number, Kind::Integer, Kind::Boolean, Kind::Bytes, Kind::Json];

    pub(super) fn word(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Number => "number",
            Kind::Integer => "integer",
            Kind::Boolean => "boolean",
            Kind::Bytes => "bytes",
            Kind::Json => "json",
        }
    }

    pub(super) fn of_word(word: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.word() == word)
    }

    pub(super) fn column(self) -> ColumnType {
        match self {
            Kind::Text => ColumnType::Text,
            Kind::Number => ColumnType::Decimal,
            Kind::Integer => ColumnType::Int,
            Kind::Boolean => ColumnType::Bool,
            Kind::Bytes => ColumnType::Bytes,
            Kind::Json => ColumnType::Json,
        }
    }

    /// Whether a key's attribute of DynamoDB's type `S`, `N` or `B` can be declared so.
    pub(super) fn fits_key(self, scalar: &str) -> bool {
        matches!((self, scalar), (Kind::Text, "S") | (Kind::Number | Kind::Integer, "N") | (Kind::Bytes, "B"))
    }

    /// What an attribute seems to be meant as; `None` if it does not say.
    pub(super) fn guess(value: &AttributeValue) -> Option<Kind> {
        Some(match value {
            AttributeValue::S(_) => Kind::Text,
            AttributeValue::N(_) => Kind::Number,
            AttributeValue::Bool(_) => Kind::Boolean,
            AttributeValue::B(_) => Kind::Bytes,
            AttributeValue::Null(_) => return None,
            _ => Kind::Json,
        })
    }
}

/// The value of a column; the attribute's type if it is none of the column's.
pub(super) fn value(kind: Kind, attribute: Option<&AttributeValue>) -> Result<Value, &'static str> {
    let Some(attribute) = attribute else { return Ok(Value::Null) };
    Ok(match (kind, attribute) {
        (_, AttributeValue::Null(_)) => Value::Null,
        (Kind::Text, AttributeValue::S(text)) => Value::text(&**text),
        (Kind::Number, AttributeValue::N(digits)) => {
            Value::Decimal(plain(digits).ok_or("a number that cannot be read")?.into())
        }
        (Kind::Integer, AttributeValue::N(digits)) => {
            let whole = plain(digits).and_then(|digits| digits.parse().ok());
            Value::Int(whole.ok_or("a number that is not whole, or beyond 64 bits")?)
        }
        (Kind::Boolean, AttributeValue::Bool(flag)) => Value::Bool(*flag),
        (Kind::Bytes, AttributeValue::B(bytes)) => Value::Bytes(bytes.as_ref().into()),
        (Kind::Json, attribute) => {
            let mut out = Vec::new();
            write_json(attribute, &mut out)?;
            // Written from texts.
            Value::Json(String::from_utf8(out).map_err(|_| "a text that is not UTF-8")?.into())
        }
        (_, other) => return Err(type_of(other)),
    })
}

/// A part of a key as an attribute; `None` for what no item has as its key.
pub(super) fn key_attribute(value: &Value) -> Option<AttributeValue> {
    Some(match value {
        Value::Text(text) if !text.is_empty() => AttributeValue::S(text.to_string()),
        Value::Bytes(bytes) if !bytes.is_empty() => AttributeValue::B(Blob::new(bytes.to_vec())),
        Value::Int(n) => AttributeValue::N(n.to_string()),
        Value::Decimal(digits) if plain(digits).as_deref() == Some(&**digits) => {
            AttributeValue::N(digits.to_string())
        }
        _ => return None,
    })
}

fn type_of(attribute: &AttributeValue) -> &'static str {
    match attribute {
        AttributeValue::S(_) => "S",
        AttributeValue::N(_) => "N",
        AttributeValue::B(_) => "B",
        AttributeValue::Bool(_) => "BOOL",
        AttributeValue::Null(_) => "NULL",
        AttributeValue::L(_) => "L",
        AttributeValue::M(_) => "M",
        AttributeValue::Ss(_) => "SS",
        AttributeValue::Ns(_) => "NS",
        AttributeValue::Bs(_) => "BS",
        _ => "of a type that is not known",
    }
}

fn write_json(attribute: &AttributeValue, out: &mut Vec<u8>) -> Result<(), &'static str> {
    match attribute {
        AttributeValue::S(text) => Value::text(&**text).write_json(out),
        AttributeValue::N(digits) => decimal(digits)?.write_json(out),
        AttributeValue::B(bytes) => Value::Bytes(bytes.as_ref().into()).write_json(out),
        AttributeValue::Bool(flag) => Value::Bool(*flag).write_json(out),
        AttributeValue::Null(_) => out.extend_from_slice(b"null"),
        AttributeValue::L(items) => list(items, out, write_json)?,
        AttributeValue::M(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort_unstable();
            out.push(b'{');
            for (place, name) in names.into_iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                Value::text(&**name).write_json(out);
                out.push(b':');
                write_json(&fields[name], out)?;
            }
            out.push(b'}');
        }
        AttributeValue::Ss(texts) => set(texts.iter().map(|text| Ok(Value::text(&**text))), out)?,
        AttributeValue::Ns(numbers) => set(numbers.iter().map(|digits| decimal(digits)), out)?,
        AttributeValue::Bs(all) => set(all.iter().map(|bytes| Ok(Value::Bytes(bytes.as_ref().into()))), out)?,
        other => return Err(type_of(other)),
    }
    Ok(())
}

fn decimal(digits: &str) -> Result<Value, &'static str> {
    plain(digits).map(|digits| Value::Decimal(digits.into())).ok_or("a number that cannot be read")
}

/// DynamoDB gives the elements of a set in any order: two readings of one set must be equal.
fn set(
    values: impl Iterator<Item = Result<Value, &'static str>>,
    out: &mut Vec<u8>,
) -> Result<(), &'static str> {
    let mut values = values.collect::<Result<Vec<_>, _>>()?;
    values.sort_by(Value::compare);
    list(&values, out, |value, out| {
        value.write_json(out);
        Ok(())
    })
}

fn list<T>(
    items: &[T],
    out: &mut Vec<u8>,
    write: impl Fn(&T, &mut Vec<u8>) -> Result<(), &'static str>,
) -> Result<(), &'static str> {
    out.push(b'[');
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write(item, out)?;
    }
    out.push(b']');
    Ok(())
}

/// Zeros that an exponent may write out: DynamoDB's own range is less.
const EXPONENT_MAX: i32 = 200;

/// A number's one text: no exponent, no zeros at either end, no `-0`. Stream and table may print one number in two ways.
fn plain(text: &str) -> Option<String> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if exponent.abs() > EXPONENT_MAX || whole.len() + fraction.len() == 0 {
        return None;
    }
    let mut digits = [whole, fraction].concat();
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut point = i32::try_from(whole.len()).ok()? + exponent;
    while point > i32::try_from(digits.len()).ok()? {
        digits.push('0');
    }
    while point < 1 {
        digits.insert(0, '0');
        point += 1;
    }
    let (whole, fraction) = digits.split_at(usize::try_from(point).ok()?);
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    let fraction = fraction.trim_end_matches('0');
    let sign = if negative && (whole != "0" || !fraction.is_empty()) { "-" } else { "" };
    let dot = if fraction.is_empty() { "" } else { "." };
    Some(format!("{sign}{whole}{dot}{fraction}"))
}

/// The stream's own type of the same attributes; `None` if one is of a type that is not known.
pub(super) fn streamed(item: HashMap<String, Streamed>) -> Option<Item> {
    item.into_iter().map(|(name, value)| Some((name, attribute(value)?))).collect()
}

fn attribute(value: Streamed) -> Option<AttributeValue> {
    let blob = |bytes: aws_sdk_dynamodbstreams::primitives::Blob| Blob::new(bytes.into_inner());
    Some(match value {
        Streamed::S(text) => AttributeValue::S(text),
        Streamed::N(digits) => AttributeValue::N(digits),
        Streamed::B(bytes) => AttributeValue::B(blob(bytes)),
        Streamed::Bool(flag) => AttributeValue::Bool(flag),
        Streamed::Null(flag) => AttributeValue::Null(flag),
        Streamed::L(items) => AttributeValue::L(items.into_iter().map(attribute).collect::<Option<_>>()?),
        Streamed::M(fields) => AttributeValue::M(streamed(fields)?),
        Streamed::Ss(texts) => AttributeValue::Ss(texts),
        Streamed::Ns(numbers) => AttributeValue::Ns(numbers),
        Streamed::Bs(all) => AttributeValue::Bs(all.into_iter().map(blob).collect()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_number_has_one_text() {
        for (given, expected) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.00", "0"),
            ("007", "7"),
            ("1.50", "1.5"),
            ("-1.50", "-1.5"),
            ("1E2", "100"),
            ("1.25e1", "12.5"),
            ("-5E-3", "-0.005"),
            ("99999999999999999999999999999999999999", "99999999999999999999999999999999999999"),
            (".5", "0.5"),
        ] {
            assert_eq!(plain(given).as_deref(), Some(expected), "{given}");
        }
        assert_eq!(plain("1e125").unwrap().len(), 126);
        assert_eq!(plain("1e-130").unwrap().len(), 132);
        for wrong in ["", "-", ".", "x", "1e", "1e999", "NaN", "1 2"] {
            assert_eq!(plain(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_set_reads_the_same_in_any_order() {
        let numbers = |all: &[&str]| AttributeValue::Ns(all.iter().map(|n| (*n).to_owned()).collect());
        let json = |attribute: &AttributeValue| value(Kind::Json, Some(attribute)).unwrap().to_text();
        assert_eq!(json(&numbers(&["10", "9", "-1.50"])), "[-1.5,9,10]");
        assert_eq!(json(&numbers(&["9", "-1.5", "1E1"])), "[-1.5,9,10]");
        let deep = AttributeValue::M(HashMap::from([
            ("b".to_owned(), AttributeValue::L(vec![AttributeValue::Null(true), AttributeValue::Bool(true)])),
            ("a\"".to_owned(), AttributeValue::B(Blob::new(vec![0, 255]))),
        ]));
        assert_eq!(json(&deep), r#"{"a\"":"\\x00ff","b":[null,true]}"#);
    }

    #[test]
    fn another_type_than_declared_is_no_value() {
        let text = AttributeValue::S("7".into());
        assert_eq!(value(Kind::Number, Some(&text)), Err("S"));
        assert_eq!(value(Kind::Json, Some(&text)).unwrap(), Value::Json("\"7\"".into()));
        let half = AttributeValue::N("0.5".into());
        assert!(value(Kind::Integer, Some(&half)).is_err());
        assert!(value(Kind::Integer, Some(&AttributeValue::N("9223372036854775808".into()))).is_err());
        assert_eq!(value(Kind::Integer, Some(&AttributeValue::N("-7.0".into()))).unwrap(), Value::Int(-7));
        for kind in Kind::ALL {
            assert_eq!(value(kind, None).unwrap(), Value::Null);
            assert_eq!(value(kind, Some(&AttributeValue::Null(true))).unwrap(), Value::Null);
            assert_eq!(Kind::of_word(kind.word()), Some(kind));
        }
    }
}
