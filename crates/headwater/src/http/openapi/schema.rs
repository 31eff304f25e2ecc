//! Columns, fields and parameters as JSON Schema.

use headwater_flow::serve::BATCH_KEYS_MAX;
use headwater_model::{ColumnType, Field, FieldShape, Param, ParamRole};
use serde_json::{Map, Value as Json, json};

/// Digits of a decimal, without an exponent.
const DECIMAL: &str = "^-?[0-9]{1,30}(\\.[0-9]{1,30})?$";
const TIME: &str = "^([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?$";
const TIMESTAMP: &str = "^[0-9]{4}-(0[1-9]|1[0-2])-([01][1-9]|2[0-8])[T ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?$";
const BYTES: &str = "^\\\\x([0-9a-f]{2})*$";

/// A page, or another answer with many items.
pub fn list(item: &Json) -> Json {
    json!({
        "type": "object",
        "required": ["items", "next"],
        "properties": {
            "items": { "type": "array", "items": item },
            "next": { "type": ["string", "null"], "description": "The `cursor` of the next page; null at the end." },
        },
    })
}

/// Documents of a batch, each or null.
pub fn batch(document: &Json) -> Json {
    let item = json!({ "anyOf": [document, { "type": "null" }] });
    let mut list = list(&item);
    list["properties"]["next"] = json!({ "type": "null" });
    list
}

/// A parameter that is given once for each key of a batch.
pub fn per_key(parameter: &mut Json) {
    let one = parameter["schema"].take();
    parameter["schema"] = json!({ "type": "array", "items": one, "minItems": 1, "maxItems": BATCH_KEYS_MAX });
    parameter["style"] = json!("form");
    parameter["explode"] = json!(true);
}

pub fn object(fields: &[Field]) -> Json {
    let names: Vec<&str> = fields.iter().map(|field| &*field.name).collect();
    let properties: Map<String, Json> =
        fields.iter().map(|field| (field.name.to_string(), self::field(field))).collect();
    json!({ "type": "object", "required": names, "properties": properties })
}

fn field(field: &Field) -> Json {
    match &field.shape {
        FieldShape::Value { kind, type_name } => value(kind, type_name, field.nullable),
        FieldShape::One(fields) if field.nullable => {
            json!({ "anyOf": [object(fields), { "type": "null" }] })
        }
        FieldShape::One(fields) => object(fields),
        FieldShape::Many(fields) => json!({ "type": "array", "items": object(fields) }),
    }
}

/// What a column's value is in an answer.
fn value(kind: &ColumnType, type_name: &str, nullable: bool) -> Json {
    let (types, note): (&[&str], &str) = match kind {
        ColumnType::Bool => (&["boolean"], ""),
        ColumnType::Int => (&["integer"], "exact: may need 64 bits"),
        ColumnType::Float => (&["number", "string"], "NaN and the infinities are strings"),
        ColumnType::Decimal => {
            (&["number", "string"], "exact: keep the digits; NaN and the infinities are strings")
        }
        ColumnType::Bytes => (&["string"], "hexadecimal, after \\x"),
        ColumnType::Text
        | ColumnType::Date
        | ColumnType::Time
        | ColumnType::Timestamp
        | ColumnType::TimestampTz => (&["string"], ""),
        ColumnType::List(_) => (&["array"], ""),
        ColumnType::Dynamic => (&["number", "string", "boolean"], "each value has a type of its own"),
        // Any JSON, null included.
        ColumnType::Json => return json!({ "description": type_name }),
    };
    let mut types: Vec<&str> = types.to_vec();
    if nullable {
        types.push("null");
    }
    let description = if note.is_empty() { type_name.to_owned() } else { format!("{type_name}; {note}") };
    let types = if types.len() == 1 { json!(types[0]) } else { json!(types) };
    json!({ "type": types, "description": description })
}

/// A parameter of a column, in the query.
pub fn parameter(param: &Param) -> Json {
    let description = match param.role {
        ParamRole::Key | ParamRole::By => String::new(),
        ParamRole::From => "From here on, inclusive. ".to_owned(),
        ParamRole::To => "Up to here, exclusive. ".to_owned(),
        ParamRole::Start => "Where to start. ".to_owned(),
    };
    json!({
        "name": &*param.name,
        "in": "query",
        "required": param.required,
        "description": format!("{description}`{}` at the source: {}.", param.type_name, param.expected()),
        "schema": text(&param.kind, &param.type_name),
    })
}

/// What a column's value is as a text.
fn text(kind: &ColumnType, type_name: &str) -> Json {
    match kind {
        ColumnType::Bool => json!({ "type": "boolean" }),
        ColumnType::Int => integer(type_name),
        ColumnType::Float => json!({ "type": "number" }),
        ColumnType::Decimal => json!({ "type": "string", "pattern": DECIMAL }),
        ColumnType::Bytes => json!({ "type": "string", "pattern": BYTES }),
        ColumnType::Date => json!({ "type": "string", "format": "date" }),
        ColumnType::Time => json!({ "type": "string", "pattern": TIME }),
        ColumnType::Timestamp => json!({ "type": "string", "pattern": TIMESTAMP }),
        ColumnType::TimestampTz => json!({ "type": "string", "format": "date-time" }),
        ColumnType::Text if type_name == "uuid" => json!({ "type": "string", "format": "uuid" }),
        ColumnType::Text | ColumnType::Json | ColumnType::List(_) | ColumnType::Dynamic => {
            json!({ "type": "string" })
        }
    }
}

fn integer(type_name: &str) -> Json {
    let (format, least, most) = match type_name {
        "smallint" | "int2" => ("int32", i64::from(i16::MIN), i64::from(i16::MAX)),
        "integer" | "int" | "int4" => ("int32", i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => ("int64", i64::MIN, i64::MAX),
    };
    json!({ "type": "integer", "format": format, "minimum": least, "maximum": most })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, nullable: bool, shape: FieldShape) -> Field {
        Field { name: name.into(), nullable, shape }
    }

    fn column(kind: ColumnType, type_name: &str) -> FieldShape {
        FieldShape::Value { kind, type_name: type_name.into() }
    }

    #[test]
    fn embedded_rows_are_nested_and_null_is_said() {
        let author = named("name", false, column(ColumnType::Text, "text"));
        let review = named("stars", true, column(ColumnType::Int, "smallint"));
        let found = object(&[
            named("price", true, column(ColumnType::Decimal, "numeric(10,2)")),
            named("author", true, FieldShape::One(vec![author])),
            named("reviews", false, FieldShape::Many(vec![review])),
        ]);
        assert_eq!(found["required"], json!(["price", "author", "reviews"]));
        let properties = &found["properties"];
        assert_eq!(properties["price"]["type"], json!(["number", "string", "null"]));
        assert_eq!(properties["author"]["anyOf"][0]["properties"]["name"]["type"], json!("string"));
        assert_eq!(properties["author"]["anyOf"][1]["type"], json!("null"));
        let stars = &properties["reviews"]["items"]["properties"]["stars"];
        assert_eq!(stars["type"], json!(["integer", "null"]));
    }

    #[test]
    fn integers_have_the_bounds_of_their_type() {
        assert_eq!(integer("smallint")["maximum"], json!(32767));
        assert_eq!(integer("bigint")["minimum"], json!(i64::MIN));
    }
}
