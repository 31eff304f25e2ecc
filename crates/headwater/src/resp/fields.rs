//! The fields of a document, as a Redis hash would hold them: found in its JSON text without reading it as a whole.
//!
//! Texts are without quotes, numbers and booleans as they are written, embedded rows JSON; NULL is a field that is not
//! there. A field of a JSON type keeps its JSON, quotes included.

use std::borrow::Cow;

/// A field's name and value, as JSON writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Without its quotes; still escaped.
    name: &'a [u8],
    value: &'a [u8],
}

impl<'a> Field<'a> {
    pub fn name(&self) -> Cow<'a, [u8]> {
        unescape(self.name)
    }

    pub fn is(&self, name: &[u8]) -> bool {
        // Only names with escapes need to be turned into text first.
        self.name == name || (self.name.contains(&b'\\') && *self.name() == *name)
    }

    pub fn is_null(&self) -> bool {
        self.value == b"null"
    }

    /// `json_fields`: names of the fields whose values are JSON in the source.
    pub fn value(&self, json_fields: &[Box<str>]) -> Cow<'a, [u8]> {
        match self.value {
            [b'"', text @ .., b'"'] if !json_fields.iter().any(|name| self.is(name.as_bytes())) => {
                unescape(text)
            }
            other => Cow::Borrowed(other),
        }
    }
}

/// The fields of the outermost object, in its order. Ends where the text is no object.
pub fn fields(json: &[u8]) -> Fields<'_> {
    let start = space(json, 0);
    let at = if json.get(start) == Some(&b'{') { start + 1 } else { json.len() };
    Fields { json, at }
}

pub struct Fields<'a> {
    json: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let json = self.json;
        let mut at = space(json, self.at);
        if json.get(at) == Some(&b',') {
            at = space(json, at + 1);
        }
        let name_from = at + 1;
        let name_end = string_end(json, at)?;
        at = space(json, name_end);
        if json.get(at) != Some(&b':') {
            return None;
        }
        let value_from = space(json, at + 1);
        let value_end = value_end(json, value_from)?;
        self.at = value_end;
        Some(Field { name: &json[name_from..name_end - 1], value: &json[value_from..value_end] })
    }
}

fn space(json: &[u8], mut at: usize) -> usize {
    while matches!(json.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

/// Behind the string that starts at `at`.
fn string_end(json: &[u8], at: usize) -> Option<usize> {
    if json.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', json.get(at..)?)?;
        match json[at] {
            b'"' => return Some(at + 1),
            _ => at += 2,
        }
    }
}

/// Behind the value that starts at `at`.
fn value_end(json: &[u8], at: usize) -> Option<usize> {
    match json.get(at)? {
        b'"' => string_end(json, at),
        b'{' | b'[' => nested_end(json, at),
        _ => {
            let length =
                json[at..].iter().position(|b| matches!(b, b',' | b'}' | b' ' | b'\n' | b'\r' | b'\t'))?;
            (length > 0).then_some(at + length)
        }
    }
}

fn nested_end(json: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0usize;
    loop {
        match json.get(at)? {
            b'"' => {
                at = string_end(json, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// What stands between the quotes of a JSON string, as text.
fn unescape(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr::memchr(b'\\', text) else { return Cow::Borrowed(text) };
    let mut out = Vec::with_capacity(text.len());
    out.extend_from_slice(&text[..first]);
    let mut rest = &text[first..];
    while let Some((byte, after)) = rest.split_first() {
        if *byte != b'\\' {
            out.push(*byte);
            rest = after;
            continue;
        }
        let Some((escape, after)) = after.split_first() else { break };
        rest = after;
        match escape {
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'u' => rest = code_point(rest, &mut out),
            other => out.push(*other),
        }
    }
    Cow::Owned(out)
}

/// Appends the character whose `\u` was read, and returns what follows; two escapes may make one character.
fn code_point<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let unit = |digits: &[u8]| -> Option<u32> {
        let digits = std::str::from_utf8(digits.get(..4)?).ok()?;
        u32::from_str_radix(digits, 16).ok()
    };
    let Some(high) = unit(rest) else { return rest };
    let mut after = &rest[4..];
    let mut code = high;
    if (0xd800..0xdc00).contains(&high)
        && let Some(tail) = after.strip_prefix(b"\\u")
        && let Some(low) = unit(tail).filter(|low| (0xdc00..0xe000).contains(low))
    {
        code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        after = &tail[4..];
    }
    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    after
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(json: &str, json_fields: &[&str]) -> Vec<(String, String)> {
        let json_fields: Vec<Box<str>> = json_fields.iter().map(|name| Box::from(*name)).collect();
        let text = |bytes: Cow<'_, [u8]>| String::from_utf8(bytes.into_owned()).expect("UTF-8");
        fields(json.as_bytes())
            .filter(|field| !field.is_null())
            .map(|field| (text(field.name()), text(field.value(&json_fields))))
            .collect()
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
        assert_eq!(read(r#"{"u":"\u0001\ud83d\ude00\ud83d"}"#, &[]), pairs(&[("u", "\u{1}😀\u{fffd}")]));
    }

    #[test]
    fn what_is_no_object_has_no_fields() {
        for text in ["", "[]", "null", "{}", "{\"a\"}", "{\"a\":", "{\"a\":\"x", "{a:1}", "{\"a\":[1"] {
            assert_eq!(read(text, &[]), Vec::new(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in "[{}\\[\\]\",:a1\\\\u ]{0,40}") {
            fields(text.as_bytes()).for_each(|field| {
                field.name();
                field.value(&[]);
            });
        }

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
