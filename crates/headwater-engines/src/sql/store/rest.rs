//! What no column of a document's row holds: one JSON object beside the columns, NULL for nearly every document.
//!
//! It holds fields that cannot be columns (a name that no column can have, a field too many for a row), and values that
//! are not of their column's type. Each is `"name": ["kind", value]`; the kind tells how the value reads as text.

use headwater_model::json;
use headwater_model::{Error, Result, Value};

use super::kind::{Kind, is_json};

/// A value that is no JSON, such as a text in a JSON column of a source that does not look: as the text of a string.
const RAW: &str = "raw";

/// Appends one field to an object that is open.
pub(crate) fn write(name: &str, value: &Value, out: &mut Vec<u8>) {
    out.push(if out.is_empty() { b'{' } else { b',' });
    Value::text(name).write_json(out);
    out.extend_from_slice(b":[\"");
    let text = value.to_text();
    match value {
        Value::Json(_) | Value::List(_) | Value::Record(_) if !is_json(&text) => {
            out.extend_from_slice(RAW.as_bytes());
            out.extend_from_slice(b"\",");
            Value::Text(text.into()).write_json(out);
        }
        value => {
            out.extend_from_slice(Kind::of(value).map_or("null", Kind::word).as_bytes());
            out.extend_from_slice(b"\",");
            value.write_json(out);
        }
    }
    out.push(b']');
}

/// Appends a field of another rest as it is.
pub(crate) fn keep(field: &json::Field<'_>, out: &mut Vec<u8>) {
    out.push(if out.is_empty() { b'{' } else { b',' });
    out.extend_from_slice(field.quoted_name());
    out.push(b':');
    out.extend_from_slice(field.written_value());
}

/// Closes the object; nothing if it has no field.
pub(crate) fn close(mut out: Vec<u8>) -> Option<String> {
    if out.is_empty() {
        return None;
    }
    out.push(b'}');
    Some(String::from_utf8_lossy(&out).into_owned())
}

/// The fields, each with its value as [`Value::to_text`] gives it.
pub(crate) fn read(rest: &str, found: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    for field in json::fields(rest.as_bytes()) {
        let (name, _, text) = aside(&field.map_err(|_| broken())?)?;
        found.push((name, text));
    }
    Ok(())
}

/// The name of a field, the word of its value's kind, and the value as text.
pub(crate) fn aside(field: &json::Field<'_>) -> Result<(String, String, Vec<u8>)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| broken());
    let name = text(&field.name())?;
    let pair = field.value().trim_ascii();
    let pair = pair.strip_prefix(b"[\"").and_then(|pair| pair.strip_suffix(b"]")).ok_or_else(broken)?;
    let quote = pair.iter().position(|byte| *byte == b'"').ok_or_else(broken)?;
    let (kind, value) = pair.split_at(quote);
    let value = value.strip_prefix(b"\",").ok_or_else(broken)?;
    let value = match value {
        [b'"', text @ .., b'"'] if kind != Kind::Json.word().as_bytes() => json::unescape(text).into_owned(),
        other => other.to_vec(),
    };
    Ok((name, text(kind)?, value))
}

fn broken() -> Error {
    Error::corrupt("what lies in headwater_rest is not what Headwater writes there")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_put_aside_reads_as_its_text() {
        let values = [
            ("a\0b", Value::text("x\0\"y\\")),
            ("d", Value::Decimal("-0.00".into())),
            ("j", Value::Json("\"quoted\"".into())),
            ("o", Value::Json("{\"a\": [1]}".into())),
            ("r", Value::Json("{no".into())),
            ("l", Value::List(vec![Value::Int(1), Value::text("]\",")])),
            ("n", Value::Float(f64::NAN)),
            ("b", Value::Bool(true)),
            ("e", Value::text("")),
        ];
        let mut out = Vec::new();
        for (name, value) in &values {
            write(name, value, &mut out);
        }
        let rest = close(out).unwrap();
        assert!(is_json(&rest), "{rest}");
        let mut found = Vec::new();
        read(&rest, &mut found).unwrap();
        let expected: Vec<(String, Vec<u8>)> =
            values.iter().map(|(name, value)| ((*name).to_owned(), value.to_text().into_bytes())).collect();
        assert_eq!(found, expected);
        assert_eq!(close(Vec::new()), None);
        let mut kept = Vec::new();
        for field in json::fields(rest.as_bytes()) {
            keep(&field.unwrap(), &mut kept);
        }
        assert_eq!(close(kept).unwrap(), rest);
        assert!(read("{\"a\":1}", &mut Vec::new()).is_err());
    }
}
