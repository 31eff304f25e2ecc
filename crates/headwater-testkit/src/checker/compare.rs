//! Expected against found, key by key and field by field.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value as Json};

use super::{Body, Document, Expected, Found, number};

/// What differs. Keys are `view/key text`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Documents that are on both sides.
    pub compared: usize,
    pub missing: Vec<String>,
    pub extra: Vec<String>,
    /// With each difference as `field: expected …, found …`.
    pub different: Vec<(String, Vec<String>)>,
}

impl Report {
    pub fn is_equal(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty() && self.different.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 10;
        write!(
            f,
            "{} compared, {} missing, {} extra, {} different",
            self.compared,
            self.missing.len(),
            self.extra.len(),
            self.different.len()
        )?;
        for key in self.missing.iter().take(SHOWN) {
            write!(f, "\n  missing {key}")?;
        }
        for key in self.extra.iter().take(SHOWN) {
            write!(f, "\n  extra {key}")?;
        }
        for (key, differences) in self.different.iter().take(SHOWN) {
            write!(f, "\n  different {key}: {}", differences.join("; "))?;
        }
        Ok(())
    }
}

pub fn compare(expected: &Expected, found: &Found) -> Report {
    let mut report = Report::default();
    let none = BTreeMap::new();
    for (view, documents) in expected {
        let bodies = found.get(view).unwrap_or(&none);
        for (key, document) in documents {
            let name = format!("{view}/{key}");
            let Some(body) = bodies.get(key) else {
                report.missing.push(name);
                continue;
            };
            report.compared += 1;
            let mut differences = Vec::new();
            match body {
                Body::Json(text) => json_document(document, text, &mut differences),
                Body::Fields(fields) => hash(document, fields, &mut differences),
            }
            if !differences.is_empty() {
                report.different.push((name, differences));
            }
        }
        report.extra.extend(
            bodies.keys().filter(|key| !documents.contains_key(*key)).map(|key| format!("{view}/{key}")),
        );
    }
    report
}

/// What differs between two JSON values; numbers are compared by value, exactly.
pub(super) fn differences(expected: &Json, found: &Json) -> Vec<String> {
    let mut differences = Vec::new();
    value("", expected, found, &mut differences);
    differences
}

fn json_document(document: &Document, text: &[u8], differences: &mut Vec<String>) {
    match serde_json::from_slice::<Json>(text) {
        Ok(Json::Object(found)) => object("", &document.fields, &found, differences),
        _ => differences.push(format!("expected a JSON object, found {}", String::from_utf8_lossy(text))),
    }
}

/// A hash has a field per column: its text, absent if it is NULL.
fn hash(document: &Document, found: &BTreeMap<String, Vec<u8>>, differences: &mut Vec<String>) {
    for (field, expected) in &document.fields {
        let bytes = found.get(field);
        let text = bytes.map(|bytes| String::from_utf8_lossy(bytes));
        let is_json = document.json.contains(field) || expected.is_object() || expected.is_array();
        let equal = match (expected, &text) {
            (Json::Null, None) => !document.json_nulls.contains(field),
            (Json::Null, Some(text)) => document.json_nulls.contains(field) && text == "null",
            (_, None) => false,
            (expected, Some(text)) if is_json => serde_json::from_str::<Json>(text).is_ok_and(|found| {
                let mut inner = Vec::new();
                value(field, expected, &found, &mut inner);
                inner.is_empty()
            }),
            (Json::String(expected), Some(text)) => {
                expected.as_bytes() == bytes.map_or(&b""[..], |b| b) && expected == text
            }
            (Json::Number(expected), Some(text)) => same_number(&expected.to_string(), text),
            (expected, Some(text)) => expected.to_string() == *text,
        };
        if !equal {
            let found = text.map_or("nothing".into(), |text| format!("{text:?}"));
            differences.push(format!("{field}: expected {expected}, found {found}"));
        }
    }
    for field in found.keys().filter(|field| !document.fields.contains_key(*field)) {
        differences.push(format!("{field}: expected nothing, found a field"));
    }
}

fn object(
    path: &str,
    expected: &Map<String, Json>,
    found: &Map<String, Json>,
    differences: &mut Vec<String>,
) {
    let inside = |field: &str| if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") };
    for (field, json) in expected {
        match found.get(field) {
            Some(other) => value(&inside(field), json, other, differences),
            None => differences.push(format!("{}: expected {json}, found nothing", inside(field))),
        }
    }
    for (field, json) in found.iter().filter(|(field, _)| !expected.contains_key(*field)) {
        differences.push(format!("{}: expected nothing, found {json}", inside(field)));
    }
}

fn value(path: &str, expected: &Json, found: &Json, differences: &mut Vec<String>) {
    match (expected, found) {
        (Json::Object(a), Json::Object(b)) => object(path, a, b, differences),
        (Json::Array(a), Json::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                value(&format!("{path}[{i}]"), a, b, differences);
            }
        }
        (Json::Number(a), Json::Number(b)) if same_number(&a.to_string(), &b.to_string()) => {}
        (a, b) if !a.is_number() && a == b => {}
        (a, b) => differences.push(format!("{path}: expected {a}, found {b}")),
    }
}

fn same_number(a: &str, b: &str) -> bool {
    number::canonical(a).is_some_and(|a| number::canonical(b) == Some(a))
}
