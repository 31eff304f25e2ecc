//! The key of a row or a document: one or more values, in the table's key order.

use std::borrow::Cow;

use crate::{Value, wire};

/// A primary key. Two keys are the same iff every part is the same value of the same kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Key(pub Vec<Value>);

impl Key {
    /// Injective bytes: equal keys and only equal keys give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16);
        for part in &self.0 {
            wire::write_value(part, &mut out);
        }
        out
    }

    /// Appends the key as readable text for stores whose keys are strings: parts joined by `:`. In text parts `%`,
    /// `:` and control bytes are written `%XX`, the empty text is `%E` and NULL is `%N`, so no two
    /// different keys of one table give the same text.
    pub fn write_text(&self, out: &mut Vec<u8>) {
        for (i, part) in self.0.iter().enumerate() {
            if i > 0 {
                out.push(b':');
            }
            match part {
                Value::Int(n) => out.extend_from_slice(itoa::Buffer::new().format(*n).as_bytes()),
                Value::Null | Value::Unchanged => out.extend_from_slice(b"%N"),
                Value::Text(text) => escape(text, out),
                other => escape(&other.to_text(), out),
            }
        }
    }

    pub fn to_text(&self) -> String {
        let mut out = Vec::new();
        self.write_text(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }
}

/// The text of one part as it was before it was escaped; `None` for NULL, and for what is no escaped text.
pub(crate) fn unescape(part: &str) -> Option<Cow<'_, str>> {
    match part {
        "%E" => return Some(Cow::Borrowed("")),
        "%N" => return None,
        _ if !part.contains('%') => return Some(Cow::Borrowed(part)),
        _ => {}
    }
    let mut plain = Vec::with_capacity(part.len());
    let mut bytes = part.as_bytes();
    while let Some((&byte, rest)) = bytes.split_first() {
        bytes = rest;
        if byte == b'%' {
            let (digits, rest) = rest.split_at_checked(2)?;
            let digit = |byte: u8| char::from(byte).to_digit(16);
            plain.push(u8::try_from(digit(digits[0])? << 4 | digit(digits[1])?).ok()?);
            bytes = rest;
        } else {
            plain.push(byte);
        }
    }
    String::from_utf8(plain).ok().map(Cow::Owned)
}

impl Key {
    /// A key of texts that is written so, whatever the view's keys are: for what lies in a store under a text that no row has.
    /// `None` if no key is written so.
    pub fn of_texts(text: &str) -> Option<Key> {
        let part = |part: &str| match part {
            "%N" => Some(Value::Null),
            part => unescape(part).map(|text| Value::text(&*text)),
        };
        let key = Key(text.split(':').map(part).collect::<Option<_>>()?);
        (key.to_text() == text).then_some(key)
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_text())
    }
}

fn escape(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    if text.is_empty() {
        out.extend_from_slice(b"%E");
    }
    for &byte in text.as_bytes() {
        if byte == b'%' || byte == b':' || byte < 0x20 || byte == 0x7f {
            out.push(b'%');
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        } else {
            out.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_keys_never_collide() {
        let keys = [
            Key(vec![Value::text("a:b"), Value::text("c")]),
            Key(vec![Value::text("a"), Value::text("b:c")]),
            Key(vec![Value::text("a%3Ab"), Value::text("c")]),
            Key(vec![Value::text(""), Value::text("c")]),
            Key(vec![Value::Null, Value::text("c")]),
            Key(vec![Value::text("%N"), Value::text("c")]),
            Key(vec![Value::text("%E"), Value::text("c")]),
        ];
        for (i, a) in keys.iter().enumerate() {
            for b in &keys[i + 1..] {
                assert_ne!(a.to_text(), b.to_text());
                assert_ne!(a.to_bytes(), b.to_bytes());
            }
        }
        assert_eq!(Key(vec![Value::Int(-7), Value::text("é x")]).to_text(), "-7:é x");
        for key in keys {
            assert_eq!(Key::of_texts(&key.to_text()), Some(key));
        }
        for none in ["a%", "%z1", "%3a", "a\n", ""] {
            assert_eq!(Key::of_texts(none), None, "{none:?}");
        }
    }
}
