//! The fields of a document, as a Redis hash would hold them: found in its JSON text without reading it as a whole.
//!
//! Texts are without quotes, numbers and booleans as they are written, embedded rows JSON; NULL is a field that is not
//! there. A field of a JSON type keeps its JSON, quotes included.

use std::borrow::Cow;

use headwater_model::json::{self, Field, unescape};

/// The fields that are not NULL, in the document's order. None behind the place where the text is no object.
pub fn fields(json: &[u8]) -> impl Iterator<Item = Field<'_>> {
    json::fields(json).map_while(Result::ok).filter(|field| field.value() != b"null")
}

/// `json_fields`: names of the fields whose values are JSON in the source.
pub fn value<'a>(field: &Field<'a>, json_fields: &[Box<str>]) -> Cow<'a, [u8]> {
    match field.value() {
        [b'"', text @ .., b'"'] if !json_fields.iter().any(|name| field.is_named(name.as_bytes())) => {
            unescape(text)
        }
        other => Cow::Borrowed(other),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(json: &str, json_fields: &[&str]) -> Vec<(String, String)> {
        let json_fields: Vec<Box<str>> = json_fields.iter().map(|name| Box::from(*name)).collect();
        let text = |bytes: Cow<'_, [u8]>| String::from_utf8(bytes.into_owned()).expect("UTF-8");
        fields(json.as_bytes()).map(|field| (text(field.name()), text(value(&field, &json_fields)))).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn fields_are_as_a_redis_hash_has_them() {
        let json = r#"{"id":1,"n":9007199254740993.10,"t":"a\"},{é\\\n😀","l":[1,{"x":"]"}],"o":{},"z":null,"b":true,"j":"x","e\"":""}"#;
        assert_eq!(
            read(json, &["j"]),
            pairs(&[
                ("id", "1"),
                ("n", "9007199254740993.10"),
                ("t", "a\"},{é\\\n😀"),
                ("l", r#"[1,{"x":"]"}]"#),
                ("o", "{}"),
                ("b", "true"),
                ("j", r#""x""#),
                ("e\"", ""),
            ])
        );
    }

    #[test]
    fn what_is_no_object_has_no_fields() {
        assert_eq!(read("{\"a\":[1", &[]), Vec::new());
    }

    proptest! {
        #[test]
        fn any_texts_come_back(names in proptest::collection::vec(any::<String>(), 1..5), value in any::<String>()) {
            let mut object = serde_json::Map::new();
            for name in &names {
                object.insert(name.clone(), value.clone().into());
            }
            let expected: Vec<(String, String)> = object.keys().map(|k| (k.clone(), value.clone())).collect();
            prop_assert_eq!(read(&serde_json::Value::Object(object).to_string(), &[]), expected);
        }
    }
}
