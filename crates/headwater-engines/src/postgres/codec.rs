//! PostgreSQL's text form of values to [`Value`], so that `Value`'s JSON form is what `to_jsonb` gives.
//!
//! Owns how each type is read. A type that `to_jsonb` writes as a string (everything that is no number, boolean, time,
//! JSON or array) stays the text that the server printed.

use headwater_model::{ColumnType, Value};

use super::time::{self, Stamp};

/// How to read a column's text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decode {
    Bool,
    Int,
    Float,
    Decimal,
    Text,
    Bytes,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Json,
    /// An array; the delimiter is the element type's.
    List {
        element: Box<Decode>,
        delimiter: u8,
    },
    /// `int2vector` and `oidvector`: elements between spaces.
    Vector(Box<Decode>),
}

/// Arrays nest at most six deep in PostgreSQL; more is not its output.
const ARRAY_DEPTH_MAX: usize = 6;

impl Decode {
    /// The built-in types that have a form of their own, by oid; all other scalar types are `Text`.
    pub fn of_builtin(oid: u32) -> Option<Decode> {
        Some(match oid {
            16 => Decode::Bool,
            20 | 21 | 23 => Decode::Int,
            700 | 701 => Decode::Float,
            1700 => Decode::Decimal,
            17 => Decode::Bytes,
            1082 => Decode::Date,
            1083 => Decode::Time,
            1114 => Decode::Timestamp,
            1184 => Decode::TimestampTz,
            114 | 3802 => Decode::Json,
            // text, varchar, bpchar, name, "char", uuid
            25 | 1043 | 1042 | 19 | 18 | 2950 => Decode::Text,
            22 => Decode::Vector(Box::new(Decode::Int)),
            30 => Decode::Vector(Box::new(Decode::Text)),
            _ => return None,
        })
    }

    pub fn kind(&self) -> ColumnType {
        match self {
            Decode::Bool => ColumnType::Bool,
            Decode::Int => ColumnType::Int,
            Decode::Float => ColumnType::Float,
            Decode::Decimal => ColumnType::Decimal,
            Decode::Text => ColumnType::Text,
            Decode::Bytes => ColumnType::Bytes,
            Decode::Date => ColumnType::Date,
            Decode::Time => ColumnType::Time,
            Decode::Timestamp => ColumnType::Timestamp,
            Decode::TimestampTz => ColumnType::TimestampTz,
            Decode::Json => ColumnType::Json,
            Decode::List { element, .. } | Decode::Vector(element) => {
                ColumnType::List(Box::new(element.kind()))
            }
        }
    }

    /// What the server printed, whatever it is: a text that cannot be read as the column's type stays a text, and one that is
    /// not even UTF-8 (a database whose encoding is `SQL_ASCII` takes anything) its bytes.
    pub fn value_or_text(&self, text: &[u8]) -> Value {
        self.value(text).unwrap_or_else(|| match str::from_utf8(text) {
            Ok(text) => Value::Text(text.into()),
            Err(_) => Value::Bytes(text.into()),
        })
    }

    /// Whether a value can be part of a key: bytes in a column of another type look like texts that mean them.
    pub fn identifies(&self, part: &Value) -> bool {
        *self == Decode::Bytes || !matches!(part, Value::Bytes(_))
    }

    /// `None` when the text is not of this type.
    pub fn value(&self, text: &[u8]) -> Option<Value> {
        Some(match self {
            Decode::Bool => Value::Bool(match text {
                b"t" => true,
                b"f" => false,
                _ => return None,
            }),
            Decode::Int => Value::Int(int(text)?),
            Decode::Float => Value::Float(str::from_utf8(text).ok()?.parse().ok()?),
            Decode::Decimal => Value::Decimal(str::from_utf8(text).ok()?.into()),
            Decode::Text => Value::Text(str::from_utf8(text).ok()?.into()),
            Decode::Json => Value::Json(str::from_utf8(text).ok()?.into()),
            Decode::Bytes => Value::Bytes(hex(text.strip_prefix(b"\\x")?)?),
            Decode::Date => Value::Date(time::date(text)?),
            Decode::Time => Value::Time(time::time(text)?),
            Decode::Timestamp => match time::timestamp(text)? {
                Stamp::Micros(micros) => Value::Timestamp(micros),
                Stamp::TooLate => Value::Text(iso(text, "")?),
            },
            Decode::TimestampTz => match time::timestamp(text)? {
                Stamp::Micros(micros) => Value::TimestampTz(micros),
                Stamp::TooLate => Value::Text(iso(text, ":00")?),
            },
            Decode::List { element, delimiter } => array(text, element, *delimiter)?,
            Decode::Vector(element) => {
                let items = text.split(|b| *b == b' ').filter(|item| !item.is_empty());
                Value::List(items.map(|item| element.value(item)).collect::<Option<_>>()?)
            }
        })
    }
}

fn int(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.split_first()? {
        (b'-', digits) => (true, digits),
        _ => (false, text),
    };
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    // Counted downwards, since the smallest integer has no positive twin.
    let mut n = 0i64;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        n = n.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if negative { Some(n) } else { n.checked_neg() }
}

fn hex(digits: &[u8]) -> Option<Box<[u8]>> {
    fn nibble(digit: u8) -> Option<u8> {
        match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            b'A'..=b'F' => Some(digit - b'A' + 10),
            _ => None,
        }
    }
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.chunks_exact(2).map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect()
}

/// The JSON form of a timestamp that is too late to be counted: `T` for the blank, and a zone of hours and minutes.
fn iso(text: &[u8], minutes: &str) -> Option<Box<str>> {
    let text = str::from_utf8(text).ok()?;
    Some(format!("{}{minutes}", text.replacen(' ', "T", 1)).into())
}

/// `{1,NULL,"a \"b\""}`, nested, with or without explicit bounds (`[2:3]={…}`), which JSON does not show.
fn array(text: &[u8], element: &Decode, delimiter: u8) -> Option<Value> {
    let text = match text.first()? {
        b'[' => &text[text.iter().position(|b| *b == b'=')? + 1..],
        _ => text,
    };
    let mut parser = ArrayParser { rest: text, element, delimiter, item: Vec::new() };
    let list = parser.list(0)?;
    parser.rest.is_empty().then_some(list)
}

struct ArrayParser<'a> {
    rest: &'a [u8],
    element: &'a Decode,
    delimiter: u8,
    /// The element being read, unescaped.
    item: Vec<u8>,
}

impl ArrayParser<'_> {
    fn list(&mut self, depth: usize) -> Option<Value> {
        self.rest = self.rest.strip_prefix(b"{")?;
        let mut items = Vec::new();
        if let Some(rest) = self.rest.strip_prefix(b"}") {
            self.rest = rest;
            return Some(Value::List(items));
        }
        loop {
            items.push(match self.rest.first()? {
                b'{' if depth + 1 < ARRAY_DEPTH_MAX => self.list(depth + 1)?,
                b'"' => self.quoted()?,
                _ => self.plain()?,
            });
            let (&next, rest) = self.rest.split_first()?;
            self.rest = rest;
            match next {
                b'}' => return Some(Value::List(items)),
                next if next == self.delimiter => {}
                _ => return None,
            }
        }
    }

    fn quoted(&mut self) -> Option<Value> {
        self.item.clear();
        let mut rest = self.rest.strip_prefix(b"\"")?;
        loop {
            let stop = rest.iter().position(|b| matches!(b, b'"' | b'\\'))?;
            self.item.extend_from_slice(&rest[..stop]);
            if rest[stop] == b'"' {
                self.rest = &rest[stop + 1..];
                return self.element.value(&self.item);
            }
            self.item.push(*rest.get(stop + 1)?);
            rest = &rest[stop + 2..];
        }
    }

    fn plain(&mut self) -> Option<Value> {
        let delimiter = self.delimiter;
        let end = self.rest.iter().position(|b| *b == delimiter || *b == b'}')?;
        let (item, rest) = self.rest.split_at(end);
        self.rest = rest;
        match item {
            // Unquoted only when it is the null: the text "NULL" is printed in quotes.
            b"NULL" => Some(Value::Null),
            b"" => None,
            item => self.element.value(item),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn list_of(element: Decode) -> Decode {
        Decode::List { element: Box::new(element), delimiter: b',' }
    }

    #[test]
    fn integers_are_exact_to_the_last() {
        for n in [0, -1, i64::MAX, i64::MIN, 9_007_199_254_740_993] {
            assert_eq!(Decode::Int.value(n.to_string().as_bytes()), Some(Value::Int(n)));
        }
        for text in ["", "-", "1x", "9223372036854775808", "-9223372036854775809", " 1"] {
            assert_eq!(Decode::Int.value(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn floats_keep_their_specials() {
        assert_eq!(Decode::Float.value(b"1e+20"), Some(Value::Float(1e20)));
        assert_eq!(Decode::Float.value(b"-Infinity"), Some(Value::Float(f64::NEG_INFINITY)));
        assert!(matches!(Decode::Float.value(b"NaN"), Some(Value::Float(f)) if f.is_nan()));
    }

    #[test]
    fn bytes_are_hex() {
        assert_eq!(Decode::Bytes.value(b"\\x00fF"), Some(Value::Bytes([0, 255].into())));
        assert_eq!(Decode::Bytes.value(b"\\x"), Some(Value::Bytes([].into())));
        assert_eq!(Decode::Bytes.value(b"\\x0"), None);
        assert_eq!(Decode::Bytes.value(b"abc"), None);
    }

    #[test]
    fn arrays_keep_nulls_quotes_and_dimensions() {
        let json = |decode: Decode, text: &str| {
            let mut out = Vec::new();
            decode.value(text.as_bytes()).map(|value| {
                value.write_json(&mut out);
                String::from_utf8(out).unwrap()
            })
        };
        assert_eq!(json(list_of(Decode::Int), "{}").unwrap(), "[]");
        assert_eq!(json(list_of(Decode::Int), "{1,NULL,-3}").unwrap(), "[1,null,-3]");
        assert_eq!(json(list_of(Decode::Int), "[2:3]={1,2}").unwrap(), "[1,2]");
        assert_eq!(json(list_of(Decode::Int), "[0:1][1:2]={{1,2},{3,4}}").unwrap(), "[[1,2],[3,4]]");
        assert_eq!(
            json(list_of(Decode::Text), r#"{"NULL",NULL,null,"","a,b","a\"\\b",x}"#).unwrap(),
            r#"["NULL",null,"null","","a,b","a\"\\b","x"]"#
        );
        let boxes = Decode::List { element: Box::new(Decode::Text), delimiter: b';' };
        assert_eq!(json(boxes, "{(1,1),(0,0);(2,2),(0,0)}").unwrap(), r#"["(1,1),(0,0)","(2,2),(0,0)"]"#);
        for torn in ["", "{", "{1", "{1,", "{1,}", "{1}x", "{\"", "{\"a", "{\"a\\", "[", "{{1}"] {
            assert_eq!(json(list_of(Decode::Text), torn), None, "{torn}");
        }
    }

    #[test]
    fn late_timestamps_stay_exact_as_text() {
        assert_eq!(
            Decode::TimestampTz.value(b"294276-12-31 23:59:59.999999+00"),
            Some(Value::text("294276-12-31T23:59:59.999999+00:00"))
        );
    }

    proptest! {
        #[test]
        fn any_text_survives_an_array(items in prop::collection::vec(prop::option::of(any::<String>()), 0..8)) {
            let values: Vec<Value> =
                items.iter().map(|item| item.as_deref().map_or(Value::Null, Value::text)).collect();
            let mut text = String::from("{");
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                match item {
                    Some(item) => {
                        text.push('"');
                        text.push_str(&item.replace('\\', "\\\\").replace('"', "\\\""));
                        text.push('"');
                    }
                    None => text.push_str("NULL"),
                }
            }
            text.push('}');
            prop_assert_eq!(list_of(Decode::Text).value(text.as_bytes()), Some(Value::List(values)));
        }

        #[test]
        fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            for decode in [
                Decode::Bool, Decode::Int, Decode::Float, Decode::Decimal, Decode::Text, Decode::Bytes, Decode::Date,
                Decode::Time, Decode::Timestamp, Decode::TimestampTz, Decode::Json, list_of(Decode::Int),
                Decode::Vector(Box::new(Decode::Int)),
            ] {
                let _ = decode.value(&bytes);
            }
        }
    }
}
