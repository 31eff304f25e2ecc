//! JSON text taken apart without being read: a document's fields, each exactly as it was written, so that no number passes
//! through a float and no text changes its escapes.
//!
//! Owns: where the outermost object's names and values lie, and a string's text. Does not own: writing ([`crate::Value`]).
//! What lies deeper is passed over by its brackets and not judged.

use std::borrow::Cow;

/// A field of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    name: &'a [u8],
    written: &'a [u8],
}

impl<'a> Field<'a> {
    /// The name as it is written, in its quotes.
    pub fn quoted_name(&self) -> &'a [u8] {
        self.name
    }

    pub fn name(&self) -> Cow<'a, [u8]> {
        unescape(self.inside())
    }

    pub fn is_named(&self, name: &[u8]) -> bool {
        // Only names with escapes need to be turned into text first.
        if self.inside().contains(&b'\\') { *self.name() == *name } else { self.inside() == name }
    }

    pub fn value(&self) -> &'a [u8] {
        self.written.trim_ascii()
    }

    /// The value with the space around it. Documents are laid down without any, so it belongs to the value: one of a JSON type,
    /// as its source printed it.
    pub fn written_value(&self) -> &'a [u8] {
        self.written
    }

    fn inside(&self) -> &'a [u8] {
        &self.name[1..self.name.len() - 1]
    }
}

/// The text is no object; no field behind this place can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnObject;

/// The fields of the outermost object, in its order.
pub fn fields(json: &[u8]) -> Fields<'_> {
    Fields { json, at: 0, next: Next::Object }
}

pub struct Fields<'a> {
    json: &'a [u8],
    at: usize,
    next: Next,
}

enum Next {
    Object,
    Field,
    End,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, NotAnObject>;

    fn next(&mut self) -> Option<Result<Field<'a>, NotAnObject>> {
        let next = self.step();
        if next.is_none() {
            self.next = Next::End;
        }
        next.unwrap_or(Some(Err(NotAnObject)))
    }
}

impl<'a> Fields<'a> {
    /// `None` where the text is no object.
    fn step(&mut self) -> Option<Option<Result<Field<'a>, NotAnObject>>> {
        let json = self.json;
        match self.next {
            Next::End => return Some(None),
            Next::Field => {}
            Next::Object => {
                let open = space(json, 0);
                if json.get(open) != Some(&b'{') {
                    return None;
                }
                self.at = open + 1;
                self.next = Next::Field;
                let inside = space(json, self.at);
                if json.get(inside) == Some(&b'}') {
                    self.close(inside)?;
                    return Some(None);
                }
            }
        }
        let from = space(json, self.at);
        let name_end = string_end(json, from)?;
        let colon = space(json, name_end);
        if json.get(colon) != Some(&b':') {
            return None;
        }
        let end = space(json, value_end(json, space(json, colon + 1))?);
        match json.get(end)? {
            b',' => self.at = end + 1,
            b'}' => self.close(end)?,
            _ => return None,
        }
        Some(Some(Ok(Field { name: &json[from..name_end], written: &json[colon + 1..end] })))
    }

    /// Nothing may follow the object's end at `at`.
    fn close(&mut self, at: usize) -> Option<()> {
        self.next = Next::End;
        (space(self.json, at + 1) == self.json.len()).then_some(())
    }
}

/// Whether `text` is a number in JSON's grammar, so that it may stand unquoted.
pub fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    digits(whole) && (whole == "0" || !whole.starts_with('0')) && digits(fraction) && digits(exponent)
}

/// What stands between the quotes of a JSON string, as text.
pub fn unescape(text: &[u8]) -> Cow<'_, [u8]> {
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
            let is_part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
            let length = json[at..].iter().position(|b| !is_part(b))?;
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(json: &str) -> Result<Vec<Field<'_>>, NotAnObject> {
        fields(json.as_bytes()).collect()
    }

    #[test]
    fn fields_are_as_they_are_read() {
        let json = r#" { "a":9007199254740993.10 ,"b\"" : [1,{"x":"]}"}] , "c":"}\\","d":null} "#;
        let found = read(json).expect("an object");
        let values: Vec<&[u8]> = found.iter().map(Field::value).collect();
        assert_eq!(values, [&b"9007199254740993.10"[..], br#"[1,{"x":"]}"}]"#, br#""}\\""#, b"null"]);
        assert_eq!(found[0].written_value(), b"9007199254740993.10 ");
        assert_eq!(found[1].written_value(), br#" [1,{"x":"]}"}] "#);
        assert_eq!(found[1].quoted_name(), br#""b\"""#);
        assert!(found[1].is_named(b"b\"") && !found[1].is_named(b"b\\\""));
        assert_eq!(read("{}"), Ok(Vec::new()));
        assert_eq!(read(" { } "), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_object_says_so() {
        for broken in [
            "",
            "[]",
            "null",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":\"x}",
            "{a:1}",
            "{\"a\":1}}",
            "{\"a\":1},",
            "{\"a\":1]}",
            "{\"a\":\"}",
            "{\"a\":[1",
            "{\"a\":1,}",
            "{,}",
            "{} x",
        ] {
            assert_eq!(read(broken), Err(NotAnObject), "{broken}");
        }
    }

    #[test]
    fn escapes_become_text() {
        let text = |escaped: &str| String::from_utf8(unescape(escaped.as_bytes()).into_owned());
        assert_eq!(text(r#"\u0001\ud83d\ude00\ud83d"#).as_deref(), Ok("\u{1}😀\u{fffd}"));
        assert_eq!(text(r#"a\"\\\/\n"#).as_deref(), Ok("a\"\\/\n"));
    }

    #[test]
    fn numbers_are_those_of_json() {
        for number in ["0", "-0", "10.50", "1e5", "1.5E-3", "-12e+7"] {
            assert!(is_number(number), "{number}");
        }
        for other in ["", "-", "01", "1.", ".5", "NaN", "Infinity", "1e", "0x1", "+1", "1 "] {
            assert!(!is_number(other), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken_apart_without_harm(text in "[{}\\[\\]\",:a1\\\\u ]{0,40}") {
            fields(text.as_bytes()).filter_map(Result::ok).for_each(|field| {
                field.name();
                field.value();
            });
        }
    }
}
