//! Documents as stored JSON text, for the stores that hold them so. Owns one thing: putting a partial document over
//! the stored one without reading any value, so that no number passes through a float.
//!
//! Invariant: a document put in parts has the same bytes as the same document put whole, because the fields stand in
//! the record's order and their values are copied as they were written.

use headwater_model::json::{self, Field};
use headwater_model::{Error, Record, Result, Value};

/// Appends `document` as JSON; fields that are `Unchanged` are taken from `stored`, and left out where it has none.
pub(crate) fn write_merged(document: &Record, stored: Option<&[u8]>, out: &mut Vec<u8>) -> Result<()> {
    let Some(stored) = stored else {
        document.write_json(out);
        return Ok(());
    };
    let fields = fields_of(stored)?;
    let mut name_json = Vec::with_capacity(32);
    out.push(b'{');
    let mut first = true;
    for (at, (name, value)) in document.fields().enumerate() {
        name_json.clear();
        Value::text(name).write_json(&mut name_json);
        let kept = if value.is_unchanged() {
            // Stored documents have the same field order, so the field is nearly always at its own place.
            let same = |field: &&Field| field.quoted_name() == name_json;
            match fields.get(at).filter(same).or_else(|| fields.iter().find(same)) {
                Some(kept) => Some(kept.written_value()),
                None => continue,
            }
        } else {
            None
        };
        if !first {
            out.push(b',');
        }
        first = false;
        out.extend_from_slice(&name_json);
        out.push(b':');
        match kept {
            Some(kept) => out.extend_from_slice(kept),
            None => value.write_json(out),
        }
    }
    out.push(b'}');
    Ok(())
}

fn fields_of(stored: &[u8]) -> Result<Vec<Field<'_>>> {
    let corrupt = |_| Error::corrupt("a stored document is not a JSON object");
    json::fields(stored).collect::<std::result::Result<_, _>>().map_err(corrupt)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn record(fields: &[(&str, Value)]) -> Record {
        Record {
            names: fields.iter().map(|(name, _)| Box::from(*name)).collect(),
            values: fields.iter().map(|(_, value)| value.clone()).collect(),
        }
    }

    fn merged(document: &Record, stored: Option<&str>) -> String {
        let mut out = Vec::new();
        write_merged(document, stored.map(str::as_bytes), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn unchanged_fields_keep_their_exact_bytes() {
        let stored = r#"{"id":1,"n":9007199254740993.00000000000000000001,"t":"a\"},{é\\","l":[1,{"x":"]"}],"z":null}"#;
        let partial = record(&[
            ("id", Value::Int(2)),
            ("n", Value::Unchanged),
            ("t", Value::Unchanged),
            ("l", Value::Unchanged),
            ("z", Value::Unchanged),
        ]);
        assert_eq!(merged(&partial, Some(stored)), stored.replacen("1", "2", 1));
    }

    #[test]
    fn a_field_that_nothing_holds_is_left_out() {
        let partial = record(&[("a", Value::Unchanged), ("b", Value::Int(1))]);
        assert_eq!(merged(&partial, None), r#"{"b":1}"#);
        assert_eq!(merged(&partial, Some("{}")), r#"{"b":1}"#);
        assert_eq!(merged(&partial, Some(r#"{"x":1,"a": [ 2 ] }"#)), r#"{"a": [ 2 ] ,"b":1}"#);
    }

    #[test]
    fn what_is_not_a_document_is_corrupt() {
        for broken in ["", "[]", "{\"a\":1"] {
            assert!(fields_of(broken.as_bytes()).is_err(), "{broken}");
        }
    }
}
