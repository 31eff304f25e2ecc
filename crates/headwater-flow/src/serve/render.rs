//! Answers as JSON, with numbers as exact as the source has them.

use std::sync::Arc;

use headwater_model::json::is_number;
use headwater_model::{
    AccessPlan, Affinity, ColumnType, Field, FieldShape, Found, PlannedRead, Reached, Read, Stored,
    StoredBody, Value,
};

use super::request::Asked;
use super::{Content, Refused, cursor, window};

/// What was found, as the pattern's readers get it.
pub(super) fn content(plan: &AccessPlan, asked: &Asked, found: Found) -> Result<Content, Refused> {
    Ok(match found {
        Found::Documents(documents) if asked.batch => Content::Documents(
            documents.into_iter().map(|body| body.map(|body| json(&plan.fields, body))).collect(),
        ),
        Found::Documents(documents) => {
            let document = documents.into_iter().next().flatten();
            Content::Document(document.map(|body| json(&plan.fields, body)))
        }
        Found::Page { documents, next } => {
            if let (PlannedRead::Window { buckets: Some(buckets), figures, view, .. }, Read::Range(range)) =
                (&plan.read, &asked.read)
            {
                let points = documents.into_iter().map(|stored| json(&plan.fields, stored.body));
                let bounds = [&range.from, &range.to].map(Option::as_ref);
                let items = window::figures(view, buckets, figures, bounds, points, next.is_some())?;
                return Ok(Content::List { items, next: None });
            }
            Content::List {
                items: documents.into_iter().map(|Stored { body, .. }| json(&plan.fields, body)).collect(),
                next: next.map(|place| cursor::write(&asked.pages, &place)),
            }
        }
        Found::Reached(reached) => {
            debug_assert!(matches!(asked.read, Read::Walk(_)));
            Content::List { items: reached.iter().map(vertex).collect(), next: None }
        }
    })
}

fn vertex(reached: &Reached) -> Arc<str> {
    let mut out = b"{\"vertex\":".to_vec();
    reached.vertex.write_json(&mut out);
    out.extend_from_slice(b",\"ways\":");
    out.extend_from_slice(reached.ways.to_string().as_bytes());
    out.push(b'}');
    text(out)
}

/// A stored document as JSON. One that lies field by field is put together by what the fields are in the source.
pub fn json(fields: &[Field], body: StoredBody) -> Arc<str> {
    match body {
        StoredBody::Json(json) => json,
        StoredBody::Fields(stored) => text(from_fields(fields, &stored)),
    }
}

fn from_fields(fields: &[Field], stored: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(stored.iter().map(|(name, value)| name.len() + value.len() + 6).sum());
    out.push(b'{');
    for (i, field) in fields.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        Value::text(&*field.name).write_json(&mut out);
        out.push(b':');
        match stored.iter().find(|(name, _)| **name == *field.name) {
            Some((_, value)) => write_field(&field.shape, value, &mut out),
            // A field that is NULL is not stored.
            None => out.extend_from_slice(b"null"),
        }
    }
    out.push(b'}');
    out
}

fn write_field(shape: &FieldShape, stored: &[u8], out: &mut Vec<u8>) {
    let FieldShape::Value { kind, type_name } = shape else {
        // Embedded rows lie as JSON.
        return out.extend_from_slice(stored);
    };
    let reads_as_number = || std::str::from_utf8(stored).is_ok_and(is_number);
    let plain = match kind {
        ColumnType::Bool | ColumnType::Json | ColumnType::List(_) => true,
        // NaN and the infinities are texts.
        ColumnType::Int | ColumnType::Float | ColumnType::Decimal => reads_as_number(),
        // SQLite keeps no text that looks like a number in a column that prefers numbers, and no number in one that
        // prefers text.
        ColumnType::Dynamic => prefers_numbers(type_name) && reads_as_number(),
        ColumnType::Text
        | ColumnType::Bytes
        | ColumnType::Date
        | ColumnType::Time
        | ColumnType::Timestamp
        | ColumnType::TimestampTz => false,
    };
    if plain {
        out.extend_from_slice(stored);
    } else {
        Value::text(String::from_utf8_lossy(stored)).write_json(out);
    }
}

pub(crate) fn prefers_numbers(declared: &str) -> bool {
    matches!(Affinity::of(declared), Affinity::Integer | Affinity::Real | Affinity::Numeric)
}

fn text(bytes: Vec<u8>) -> Arc<str> {
    String::from_utf8_lossy(&bytes).into()
}
