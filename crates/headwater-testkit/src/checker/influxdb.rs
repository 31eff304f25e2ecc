//! What lies in a database of InfluxDB, asked for in plain InfluxQL: the directory of each view, and of a series its points, one
//! for each document that the directory gives a place.

use std::collections::BTreeMap;

use headwater_model::{View, ViewKind};
use serde_json::Value as Json;

use super::found::empty;
use super::{Body, Found};
use crate::engines::influxdb::InfluxDb;

/// Documents by key. One whose point is missing, or is another one, is not found under its key; a point of nobody is one too many.
pub fn found(port: u16, database: &str, views: &[View]) -> Found {
    let mut found = empty(views);
    for view in views {
        let mut points: BTreeMap<String, usize> = BTreeMap::new();
        if matches!(view.kind, ViewKind::Series(_)) {
            for text in column(port, database, &format!("SELECT \"hw\" FROM \"{}\"", view.name)) {
                *points.entry(text).or_default() += 1;
            }
        }
        let documents = found.entry(view.name.to_string()).or_default();
        for text in column(port, database, &format!("SELECT \"d\" FROM \"hw:key:{}\"", view.name)) {
            let (head, document) = text.split_once('\n').expect("a head and a document");
            let head: Json = serde_json::from_str(head).expect("a head of JSON");
            if head["gone"] == Json::Bool(true) {
                continue;
            }
            let mut key = head["k"].as_str().expect("a key").to_owned();
            if !head["t"].is_null() && points.remove(&text) != Some(1) {
                key.push_str(" without a point, or with several");
            }
            documents.insert(key, Body::Json(document.as_bytes().to_vec()));
        }
        for text in points.into_keys() {
            documents.insert(format!("a point of nobody: {text}"), Body::Json(Vec::new()));
        }
    }
    found
}

/// The second column of an answer's rows, after the time. A database that is not there has none.
fn column(port: u16, database: &str, statement: &str) -> Vec<String> {
    let mut answer = InfluxDb::query(port, &format!("db={database}"), statement);
    let result = answer["results"][0].take();
    if let Some(error) = result["error"].as_str() {
        assert!(error.starts_with("database not found"), "{statement}: {error}");
        return Vec::new();
    }
    let Some(rows) = result["series"][0]["values"].as_array() else { return Vec::new() };
    rows.iter().map(|row| row[1].as_str().expect("a text").to_owned()).collect()
}
