//! What lies in a database of MongoDB, by its own export.

use std::collections::BTreeMap;

use headwater_model::{Layout, View};
use serde_json::Value as Json;

use super::found::empty;
use super::{Body, Found};
use crate::engines::mongodb::exported;

/// A collection per view, named by prefix and view. What is left of a deleted document is none.
pub fn found(port: u16, database: &str, prefix: &str, views: &[View]) -> Found {
    let mut found = empty(views);
    for view in views {
        let documents = found.entry(view.name.to_string()).or_default();
        for document in exported(port, database, &format!("{prefix}{}", view.name)) {
            let ours = &document["_hw"];
            if ours["gone"].is_null() {
                let key = document["_id"].as_str().expect("a key's text").to_owned();
                documents.insert(key, body(view.layout(), &document, &ours["as"]));
            }
        }
    }
    found
}

fn body(layout: Layout, document: &Json, exact: &Json) -> Body {
    let document = document.as_object().expect("a document");
    let fields = document.iter().filter(|(name, _)| *name != "_id" && *name != "_hw").map(|(name, value)| {
        assert!(!name.starts_with("_hw"), "a column whose name is one of a field as it is");
        (name, value, &exact[name])
    });
    match layout {
        Layout::Hash => Body::Fields(
            fields.map(|(name, value, exact)| (name.clone(), text(value, exact))).collect::<BTreeMap<_, _>>(),
        ),
        Layout::Json => {
            let fields = fields.map(|(name, value, exact)| {
                let value = match exact {
                    Json::String(text) => text.clone(),
                    Json::Bool(false) => value.as_str().expect("the value's text").to_owned(),
                    _ => json(value).to_string(),
                };
                format!("{}:{value}", Json::String(name.clone()))
            });
            Body::Json(format!("{{{}}}", fields.collect::<Vec<_>>().join(",")).into_bytes())
        }
    }
}

fn text(value: &Json, exact: &Json) -> Vec<u8> {
    let text = match (exact, json(value)) {
        (Json::String(text), _) => text.clone(),
        (_, Json::String(text)) => text,
        (Json::Bool(true), value) => spaced(&value),
        (_, value) => value.to_string(),
    };
    text.into_bytes()
}

/// JSON of an exported value.
fn json(value: &Json) -> Json {
    let number =
        |text: &Json| serde_json::from_str(text.as_str().expect("digits")).unwrap_or_else(|_| text.clone());
    match value {
        Json::Array(items) => Json::Array(items.iter().map(json).collect()),
        Json::Object(fields) => {
            if let Some(digits) = fields.get("$numberLong").or_else(|| fields.get("$numberDecimal")) {
                return number(&lowercase_exponent(digits));
            }
            if let Some(name) = fields.get("$numberDouble") {
                return name.clone();
            }
            if let Some(Json::String(base64)) = fields.get("$binary") {
                return Json::String(super::dynamodb::bytes(base64));
            }
            Json::Object(fields.iter().map(|(name, value)| (name.clone(), json(value))).collect())
        }
        other => other.clone(),
    }
}

fn lowercase_exponent(digits: &Json) -> Json {
    digits.as_str().map_or(Json::Null, |digits| match digits {
        "NaN" | "Infinity" | "-Infinity" => digits.into(),
        digits => digits.to_lowercase().into(),
    })
}

/// A space behind each comma and colon that is no part of a text.
fn spaced(value: &Json) -> String {
    match value {
        Json::Array(items) => format!("[{}]", items.iter().map(spaced).collect::<Vec<_>>().join(", ")),
        Json::Object(fields) => {
            let fields =
                fields.iter().map(|(name, value)| format!("{}: {}", Json::from(&**name), spaced(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}
