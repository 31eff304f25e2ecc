//! The text of a document's key in a store, written from the promise and not from the code that keeps it: parts joined by
//! `:`; in text `%`, `:` and control bytes as `%XX`; the empty text as `%E`, NULL as `%N`.

use serde_json::Value as Json;

/// `parts` is a JSON array, one element per key column.
pub fn text(parts: &str) -> String {
    self::parts(parts).iter().map(part).collect::<Vec<_>>().join(":")
}

pub fn parts(parts: &str) -> Vec<Json> {
    serde_json::from_str(parts).expect("key columns as a JSON array")
}

fn part(value: &Json) -> String {
    match value {
        Json::Null => "%N".into(),
        Json::String(text) if text.is_empty() => "%E".into(),
        Json::String(text) => {
            let escaped = |c: char| match c {
                '%' | ':' | '\0'..'\x20' | '\x7f' => format!("%{:02X}", c as u32),
                c => c.to_string(),
            };
            text.chars().map(escaped).collect()
        }
        Json::Number(number) => {
            let text = number.to_string();
            text.strip_suffix(".0").unwrap_or(&text).to_owned()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn key_texts_are_as_promised() {
        assert_eq!(text(r#"[7]"#), "7");
        assert_eq!(text(r#"["a:b", "50%", "", null, "x\ny é"]"#), "a%3Ab:50%25:%E:%N:x%0Ay é");
        assert_eq!(text(r#"[9007199254740993, true]"#), "9007199254740993:true");
    }
}
