//! A document as one store gave it, as a record that another store writes: with the same bytes as if the store had been given
//! the document that was made from the source.
//!
//! Values are not read, but taken over as they were written. Where what lies there does not say which value it is (a hash has no
//! types, JSON has one `null`), there is no record, and the document is not held in part.

use headwater_model::json::{self, is_number};
use headwater_model::{Affinity, ColumnType, Field, FieldShape, Layout, Record, StoredBody, Value, View};

use crate::serve::prefers_numbers;

/// `fields` are those of the view's documents, in order.
pub(super) fn record(view: &View, fields: &[Field], body: &StoredBody) -> Option<Record> {
    let pairs = match body {
        StoredBody::Json(json) => of_json(json, fields, view.layout())?,
        StoredBody::Fields(stored) => of_fields(stored, fields)?,
    };
    let (names, values): (Vec<Box<str>>, Vec<Value>) = pairs.into_iter().unzip();
    Some(Record { names: names.into(), values })
}

type Pairs = Vec<(Box<str>, Value)>;

fn of_json(json: &str, fields: &[Field], layout: Layout) -> Option<Pairs> {
    let mut pairs = Pairs::with_capacity(fields.len());
    for written in json::fields(json.as_bytes()) {
        let written = written.ok()?;
        let text = std::str::from_utf8(written.written_value()).ok()?;
        let field = fields.iter().find(|field| written.is_named(field.name.as_bytes()))?;
        let is_json = matches!(&field.shape, FieldShape::Value { kind: ColumnType::Json, .. });
        let value = match text.as_bytes().first()? {
            // A hash tells a JSON null from one of SQL.
            _ if is_json && text.trim() == "null" => {
                if layout == Layout::Hash {
                    return None;
                }
                Value::Null
            }
            _ if is_json => Value::Json(text.into()),
            b'n' => Value::Null,
            b'"' => Value::text(serde_json::from_str::<String>(text).ok()?),
            _ => Value::Json(text.into()),
        };
        pairs.push((field.name.clone(), value));
    }
    Some(pairs)
}

fn of_fields(stored: &[(String, Vec<u8>)], fields: &[Field]) -> Option<Pairs> {
    if stored.iter().any(|(name, _)| !fields.iter().any(|field| *field.name == **name)) {
        return None;
    }
    let mut pairs = Pairs::with_capacity(fields.len());
    for field in fields {
        let value = match stored.iter().find(|(name, _)| **name == *field.name) {
            None => Value::Null,
            Some((_, bytes)) => of_text(&field.shape, std::str::from_utf8(bytes).ok()?)?,
        };
        pairs.push((field.name.clone(), value));
    }
    Some(pairs)
}

fn of_text(shape: &FieldShape, text: &str) -> Option<Value> {
    let FieldShape::Value { kind, type_name } = shape else {
        return Some(Value::Json(text.into()));
    };
    let as_written = match kind {
        ColumnType::Bool | ColumnType::Json | ColumnType::List(_) => true,
        ColumnType::Int | ColumnType::Float | ColumnType::Decimal => is_number(text),
        ColumnType::Dynamic if is_number(text) => match Affinity::of(type_name) {
            Affinity::Blob | Affinity::None => return None,
            _ => prefers_numbers(type_name),
        },
        _ => false,
    };
    Some(if as_written { Value::Json(text.into()) } else { Value::text(text) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use headwater_model::{TableName, ViewKind};

    use super::*;

    fn view(layout: Layout) -> View {
        View {
            name: "v".into(),
            from: TableName::new(None, "t"),
            kind: ViewKind::Document,
            columns: None,
            filter: None,
            embeds: Vec::new(),
            stores: Vec::new(),
            parts: Vec::new(),
            layout: Some(layout),
            indexes: Vec::new(),
        }
    }

    fn field(name: &str, kind: ColumnType, type_name: &str) -> Field {
        let shape = FieldShape::Value { kind, type_name: type_name.into() };
        Field { name: name.into(), nullable: true, shape }
    }

    /// Every kind of value, as a source gives it.
    fn everything() -> Vec<(Field, Value)> {
        let json = |text: &str| Value::Json(text.into());
        let list = Value::List(vec![Value::text("a\"b"), Value::Null, Value::Int(1)]);
        let inner = Record { names: vec!["x".into()].into(), values: vec![Value::text("}],\"")] };
        let one = Field { name: "one".into(), nullable: true, shape: FieldShape::One(Vec::new()) };
        let many = Field { name: "many".into(), nullable: false, shape: FieldShape::Many(Vec::new()) };
        let none = Field { name: "none".into(), ..one.clone() };
        let mut all: Vec<(Field, Value)> = vec![
            (one, Value::Record(inner.clone())),
            (none, Value::Null),
            (many, Value::List(vec![Value::Record(inner.clone()), Value::Record(inner)])),
        ];
        let mut add = |name: &str, kind: ColumnType, type_name: &str, value: Value| {
            all.push((field(name, kind, type_name), value));
        };
        add("id", ColumnType::Int, "bigint", Value::Int(i64::MIN));
        add(
            "price",
            ColumnType::Decimal,
            "numeric",
            Value::Decimal("9007199254740993.00000000000000000001".into()),
        );
        add("odd", ColumnType::Decimal, "numeric", Value::Decimal("-Infinity".into()));
        add("float", ColumnType::Float, "double precision", Value::Float(1.5e300));
        add("nan", ColumnType::Float, "double precision", Value::Float(f64::NAN));
        add("name \"é\\\n", ColumnType::Text, "text", Value::text("a\"\\\n\u{1}\u{7f}é😀/"));
        add("digits", ColumnType::Text, "text", Value::text("007"));
        add("empty", ColumnType::Text, "text", Value::text(""));
        add("null text", ColumnType::Text, "text", Value::text("null"));
        add("gone", ColumnType::Text, "text", Value::Null);
        add("no", ColumnType::Bool, "boolean", Value::Bool(false));
        add("bytes", ColumnType::Bytes, "bytea", Value::Bytes(vec![0, 255].into()));
        add("day", ColumnType::Date, "date", Value::Date(i32::MAX));
        add("at", ColumnType::TimestampTz, "timestamptz", Value::TimestampTz(1));
        add("doc", ColumnType::Json, "json", json(" {\"a\" : [1, \"]}\"]} "));
        add("word", ColumnType::Json, "jsonb", json("\"quoted \\u00e9\""));
        add("list", ColumnType::List(Box::new(ColumnType::Text)), "text[]", list);
        add("loose", ColumnType::Dynamic, "INTEGER", Value::Int(5));
        add("real", ColumnType::Dynamic, "REAL", Value::Float(5.0));
        add("words", ColumnType::Dynamic, "TEXT", Value::text("5"));
        all
    }

    fn as_record(all: &[(Field, Value)]) -> (Vec<Field>, Record) {
        let fields: Vec<Field> = all.iter().map(|(field, _)| field.clone()).collect();
        let names: Vec<Box<str>> = fields.iter().map(|field| field.name.clone()).collect();
        (fields, Record { names: names.into(), values: all.iter().map(|(_, value)| value.clone()).collect() })
    }

    /// As a store lays it out field by field.
    fn hash(record: &Record) -> Vec<(String, Vec<u8>)> {
        let held = record.fields().filter(|(_, value)| !value.is_null());
        let mut fields: Vec<_> =
            held.map(|(name, value)| (name.to_owned(), value.to_text().into_bytes())).collect();
        fields.sort();
        fields
    }

    #[test]
    fn both_layouts_of_both_origins_have_the_bytes_of_the_document_itself() {
        let (fields, whole) = as_record(&everything());
        let from_json =
            record(&view(Layout::Hash), &fields, &StoredBody::Json(whole.to_json().into())).unwrap();
        let from_fields = record(&view(Layout::Hash), &fields, &StoredBody::Fields(hash(&whole))).unwrap();
        for made in [from_json, from_fields] {
            assert_eq!(made.to_json(), whole.to_json());
            assert_eq!(hash(&made), hash(&whole));
        }
    }

    #[test]
    fn what_does_not_say_which_value_it_is_is_not_held() {
        let null = [(field("doc", ColumnType::Json, "jsonb"), Value::Json("null".into()))];
        let (fields, whole) = as_record(&null);
        let body = StoredBody::Json(whole.to_json().into());
        assert_eq!(record(&view(Layout::Hash), &fields, &body), None);
        assert_eq!(record(&view(Layout::Json), &fields, &body).unwrap().to_json(), whole.to_json());
        let free = [(field("free", ColumnType::Dynamic, ""), Value::Int(5))];
        let (fields, whole) = as_record(&free);
        assert_eq!(record(&view(Layout::Hash), &fields, &StoredBody::Fields(hash(&whole))), None);
        // Fields that this version does not know, and what is no document at all.
        assert_eq!(record(&view(Layout::Json), &[], &StoredBody::Json("{\"a\":1}".into())), None);
        for broken in ["", "[]", "{\"a\":1"] {
            assert_eq!(record(&view(Layout::Json), &[], &StoredBody::Json(broken.into())), None, "{broken}");
        }
    }
}
