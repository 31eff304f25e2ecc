//! Putting names and values into SQL text. COPY and replication commands take no parameters, so everything that
//! comes from outside passes through here.

use headwater_model::{TableName, Value};

/// A double-quoted identifier.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string literal, safe whatever `standard_conforming_strings` says.
pub(super) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// The schema of a table; the file may leave it out.
pub(super) fn schema(table: &TableName) -> &str {
    table.schema.as_deref().unwrap_or("public")
}

/// `"schema"."table"`
pub(super) fn table(name: &TableName) -> String {
    format!("{}.{}", identifier(schema(name)), identifier(&name.name))
}

/// A value as a literal of the type that `type_name` (from `format_type`) names.
pub(super) fn value(value: &Value, type_name: &str) -> String {
    match value {
        Value::Null | Value::Unchanged => format!("NULL::{type_name}"),
        Value::List(items) if matches!(type_name, "int2vector" | "oidvector") => {
            let items: Vec<String> = items.iter().map(Value::to_text).collect();
            format!("{}::{type_name}", literal(&items.join(" ")))
        }
        other => format!("{}::{type_name}", literal(&text(other))),
    }
}

/// A value as the text that the server's own types read.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::List(items) => {
            let mut text = String::new();
            array_text(items, &mut text);
            text
        }
        other => other.to_text(),
    }
}

/// PostgreSQL's text form of an array; every element is quoted, so no element can be mistaken for syntax.
fn array_text(items: &[Value], out: &mut String) {
    out.push('{');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        match item {
            Value::Null | Value::Unchanged => out.push_str("NULL"),
            Value::List(items) => array_text(items, out),
            other => {
                out.push('"');
                for c in other.to_text().chars() {
                    if matches!(c, '"' | '\\') {
                        out.push('\\');
                    }
                    out.push(c);
                }
                out.push('"');
            }
        }
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_literals_cannot_break_out() {
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("\\'; DROP TABLE x; --"), "E'\\\\''; DROP TABLE x; --'");
        assert_eq!(value(&Value::Int(-5), "bigint"), "'-5'::bigint");
        assert_eq!(
            value(&Value::List(vec![Value::text("a\"b"), Value::Null]), "text[]"),
            "E'{\"a\\\\\"b\",NULL}'::text[]"
        );
    }
}
