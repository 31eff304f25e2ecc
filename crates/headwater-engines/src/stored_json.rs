//! Documents as stored JSON text, for the stores that hold them so. Owns one thing: putting a partial document over
//! the stored one without reading any value, so that no number passes through a float.
//!
//! Invariant: a document put in parts has the same bytes as the same document put whole, because the fields stand in
//! the record's order and their values are copied as they were written.

use std::ops::Range;

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
            let same = |(n, _): &&(Range<usize>, Range<usize>)| stored[n.clone()] == *name_json;
            match fields.get(at).filter(same).or_else(|| fields.iter().find(same)) {
                Some((_, kept)) => Some(kept.clone()),
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
            Some(kept) => out.extend_from_slice(&stored[kept]),
            None => value.write_json(out),
        }
    }
    out.push(b'}');
    Ok(())
}

/// Where names and values of the outermost object lie.
fn fields_of(json: &[u8]) -> Result<Vec<(Range<usize>, Range<usize>)>> {
    let corrupt = || Error::corrupt("a stored document is not a JSON object");
    let mut fields = Vec::new();
    let mut at = skip_space(json, 0);
    if json.get(at) != Some(&b'{') {
        return Err(corrupt());
    }
    at = skip_space(json, at + 1);
    if json.get(at) == Some(&b'}') {
        return Ok(fields);
    }
    loop {
        let name_end = string_end(json, at).ok_or_else(corrupt)?;
        let name = at..name_end;
        at = skip_space(json, name_end);
        if json.get(at) != Some(&b':') {
            return Err(corrupt());
        }
        let value_from = skip_space(json, at + 1);
        let value_end = value_end(json, value_from).ok_or_else(corrupt)?;
        fields.push((name, value_from..value_end));
        at = skip_space(json, value_end);
        match json.get(at) {
            Some(b',') => at = skip_space(json, at + 1),
            Some(b'}') => return Ok(fields),
            _ => return Err(corrupt()),
        }
    }
}

fn skip_space(json: &[u8], mut at: usize) -> usize {
    while matches!(json.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

/// The end of the string that starts at `at`.
fn string_end(json: &[u8], at: usize) -> Option<usize> {
    if json.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at + 1;
    loop {
        match json.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The end of the value that starts at `at`: at the first `,` or closing bracket outside of strings and nesting.
fn value_end(json: &[u8], mut at: usize) -> Option<usize> {
    let from = at;
    let mut depth = 0usize;
    loop {
        match json.get(at)? {
            b'"' => {
                at = string_end(json, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth > 0 => depth -= 1,
            b',' | b'}' | b']' if depth == 0 => break,
            _ => {}
        }
        at += 1;
    }
    while at > from && json[at - 1].is_ascii_whitespace() {
        at -= 1;
    }
    (at > from).then_some(at)
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
        assert_eq!(merged(&partial, Some(r#"{ "x" : 1 , "a" : [ 2 ] }"#)), r#"{"a":[ 2 ],"b":1}"#);
    }

    #[test]
    fn what_is_not_a_document_is_corrupt() {
        for broken in ["", "[]", "{\"a\"}", "{\"a\":}", "{\"a\":1", "{\"a\":\"x}", "{a:1}"] {
            assert!(fields_of(broken.as_bytes()).is_err(), "{broken}");
        }
    }
}
