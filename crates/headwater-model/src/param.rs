//! Parameters of access patterns read from text, as a URL or a command carries it.
//!
//! A text is read as the kind of its column, exactly as the source would store it, so that a key given by a reader is
//! the key of the document. What cannot be such a value is refused with what was expected.

use std::borrow::Cow;
use std::fmt;

use crate::filter::literal;
use crate::key::unescape;
use crate::{Affinity, ColumnType, Key, Param, Value};

/// An exponent larger than this writes more digits than a key has any use for.
const EXPONENT_MAX: i32 = 1_000;
/// How much of a refused text is shown.
const SHOWN_CHARS: usize = 40;

/// A text that is no value of a parameter's kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadParam {
    pub param: Box<str>,
    /// The text, cut to what can be shown.
    pub given: Box<str>,
    /// What was expected instead: `a whole number of 64 bits, as in 42`.
    pub expected: Cow<'static, str>,
}

impl fmt::Display for BadParam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is {:?}: expected {}", self.param, self.given, self.expected)
    }
}

impl std::error::Error for BadParam {}

/// The key that is written so ([`Key::to_text`]), of these columns. A text that reads as a key but is not what the key is written
/// as (`007`) names nothing.
pub fn read_key(params: &[Param], text: &str) -> Option<Key> {
    let mut values = Vec::with_capacity(params.len());
    let mut parts = text.split(':');
    for param in params {
        values.push(match parts.next()? {
            "%N" => Value::Null,
            part => param.parse(&unescape(part)?).ok()?,
        });
    }
    if parts.next().is_some() {
        return None;
    }
    let key = Key(values);
    let mut written = Vec::with_capacity(text.len());
    key.write_text(&mut written);
    (written == text.as_bytes()).then_some(key)
}

impl Param {
    /// The value that a text means. NULL has no text: no key holds it, and no part of an index has it.
    pub fn parse(&self, text: &str) -> Result<Value, BadParam> {
        let value = match &self.kind {
            ColumnType::Int => self.int(text),
            ColumnType::Decimal => decimal(text, &self.type_name),
            ColumnType::Float => float(text),
            ColumnType::Text => self.text(text),
            ColumnType::Bytes => bytes(text),
            ColumnType::Dynamic => Some(dynamic(text, Affinity::of(&self.type_name))),
            ColumnType::Json | ColumnType::List(_) => None,
            kind => literal::text(text, Some(kind)),
        };
        value.ok_or_else(|| BadParam {
            param: self.name.clone(),
            given: shown(text),
            expected: self.expected(),
        })
    }

    /// What [`Param::parse`] takes, for people: an end of the sentence "expected …".
    pub fn expected(&self) -> Cow<'static, str> {
        let fixed = match &self.kind {
            ColumnType::Bool => "true or false",
            ColumnType::Int => {
                return match self.whole_range() {
                    Some((min, max)) => format!("a whole number from {min} to {max}").into(),
                    None => "a whole number of 64 bits, as in 42".into(),
                };
            }
            ColumnType::Float => "a number, as in 1.5, NaN, Infinity or -Infinity",
            ColumnType::Decimal => "a number, as in 12.50, NaN, Infinity or -Infinity",
            ColumnType::Text if &*self.type_name == "uuid" => {
                "a UUID, as in 6f2d5a0e-93c1-4b7e-8a44-1f0c6d2b9e57"
            }
            ColumnType::Text => "a text",
            ColumnType::Bytes => "bytes in hexadecimal, as in \\x00ff",
            ColumnType::Date => "a date, as in 2026-01-31",
            ColumnType::Time => "a time of day, as in 12:30:00",
            ColumnType::Timestamp => "a timestamp without a zone, as in 2026-01-31T12:30:00",
            ColumnType::TimestampTz => {
                "a timestamp, as in 2026-01-31T12:30:00Z or with an offset such as +02:00; without one it is UTC"
            }
            ColumnType::Json | ColumnType::List(_) => "nothing: values of this kind cannot be asked for",
            ColumnType::Dynamic => "a number or a text",
        };
        fixed.into()
    }

    /// Whether a value's text tells which value it is. Where values have kinds of their own, `42` may be a number or a text.
    pub fn says_the_kind(&self) -> bool {
        match self.kind {
            ColumnType::Json | ColumnType::List(_) => false,
            ColumnType::Dynamic => !matches!(Affinity::of(&self.type_name), Affinity::None | Affinity::Blob),
            _ => true,
        }
    }

    fn int(&self, text: &str) -> Option<Value> {
        let n: i64 = text.trim().parse().ok()?;
        let fits = self.whole_range().is_none_or(|(min, max)| (min..=max).contains(&n));
        fits.then_some(Value::Int(n))
    }

    /// What the column can hold at all, where that is less than 64 bits: the source refuses to compare with more.
    fn whole_range(&self) -> Option<(i64, i64)> {
        match &*self.type_name {
            "smallint" => Some((i16::MIN.into(), i16::MAX.into())),
            "integer" => Some((i32::MIN.into(), i32::MAX.into())),
            _ => None,
        }
    }

    fn text(&self, text: &str) -> Option<Value> {
        if &*self.type_name == "uuid" {
            return uuid(text).map(Value::text);
        }
        // Values of fixed length are stored, and printed, with the spaces that fill them.
        let fixed = self.type_name.strip_prefix("character(").and_then(|rest| rest.strip_suffix(')'));
        let width = fixed.and_then(|width| width.parse::<usize>().ok());
        let missing = width.unwrap_or(0).saturating_sub(text.chars().count());
        Some(Value::text(format!("{text}{}", " ".repeat(missing))))
    }
}

/// Lower case, with hyphens; read with or without hyphens and braces.
fn uuid(text: &str) -> Option<String> {
    let text = text.trim();
    let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(text);
    let digits: String = inner.chars().filter(|c| *c != '-').map(|c| c.to_ascii_lowercase()).collect();
    if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let (a, b, c, d, e) = (&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]);
    Some(format!("{a}-{b}-{c}-{d}-{e}"))
}

/// `\x00ff`, as bytes print.
fn bytes(text: &str) -> Option<Value> {
    let hex = text.strip_prefix("\\x")?;
    if !hex.len().is_multiple_of(2) || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok());
    pairs.collect::<Option<Vec<u8>>>().map(|bytes| Value::Bytes(bytes.into()))
}

fn float(text: &str) -> Option<Value> {
    let value = literal::text(text, Some(&ColumnType::Float))?;
    // A number too large for a float is no infinity.
    let overflowed = matches!(value, Value::Float(f) if f.is_infinite()) && literal::is_number(text.trim());
    (!overflowed).then_some(value)
}

/// Digits as the source prints them: no sign or zeros that say nothing, no exponent, and as many digits behind the point
/// as a column of fixed scale has.
fn decimal(text: &str, type_name: &str) -> Option<Value> {
    let Value::Decimal(text) = literal::text(text, Some(&ColumnType::Decimal))? else { return None };
    if !literal::is_number(&text) {
        return Some(Value::Decimal(text));
    }
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(&text)),
    };
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().ok()?;
    if exponent.abs() > EXPONENT_MAX {
        return None;
    }
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let (mut whole, mut fraction) = (whole.to_owned(), fraction.to_owned());
    let shift = exponent.unsigned_abs() as usize;
    if exponent > 0 {
        fraction.extend(std::iter::repeat_n('0', shift.saturating_sub(fraction.len())));
        whole.extend(fraction.drain(..shift));
    } else {
        whole.insert_str(0, &"0".repeat(shift.saturating_sub(whole.len())));
        fraction.insert_str(0, &whole.split_off(whole.len() - shift));
    }
    if let Some(scale) = scale(type_name) {
        fraction.extend(std::iter::repeat_n('0', scale.saturating_sub(fraction.len())));
        while fraction.len() > scale && fraction.ends_with('0') {
            fraction.pop();
        }
    }
    let whole = whole.trim_start_matches('0');
    let zero = whole.is_empty() && fraction.bytes().all(|b| b == b'0');
    let sign = if negative && !zero { "-" } else { "" };
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if fraction.is_empty() { "" } else { "." };
    Some(Value::Decimal(format!("{sign}{whole}{point}{fraction}").into()))
}

/// The digits behind the point of every value of `numeric(10,2)`.
fn scale(type_name: &str) -> Option<usize> {
    let (_, scale) = type_name.strip_prefix("numeric(")?.strip_suffix(')')?.split_once(',')?;
    scale.trim().parse().ok()
}

/// As a column of that affinity would store the text; a column without one may hold numbers, and more often does.
fn dynamic(text: &str, affinity: Affinity) -> Value {
    let trimmed = text.trim();
    if affinity == Affinity::Blob
        && let Some(bytes) = bytes(text)
    {
        return bytes;
    }
    if affinity == Affinity::Text || !literal::is_number(trimmed) {
        return Value::text(text);
    }
    let Ok(real) = trimmed.parse::<f64>() else { return Value::text(text) };
    let real = if real == 0.0 { 0.0 } else { real };
    match (affinity, trimmed.parse::<i64>()) {
        (Affinity::Real, _) => Value::Float(real),
        (_, Ok(n)) => Value::Int(n),
        (Affinity::Integer | Affinity::Numeric, Err(_)) => match whole(real) {
            Some(n) => Value::Int(n),
            None => Value::Float(real),
        },
        (_, Err(_)) => Value::Float(real),
    }
}

/// The integer that a float is exactly, short of the ends of the range.
fn whole(real: f64) -> Option<i64> {
    let n = real as i64;
    (n as f64 == real && n > i64::MIN && n < i64::MAX).then_some(n)
}

fn shown(text: &str) -> Box<str> {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sort::write_sort;
    use crate::{Key, ParamRole};

    fn param(kind: ColumnType, type_name: &str) -> Param {
        Param { name: "x".into(), role: ParamRole::Key, kind, type_name: type_name.into(), required: true }
    }

    fn read(kind: ColumnType, type_name: &str, text: &str) -> Option<Value> {
        param(kind, type_name).parse(text).ok()
    }

    #[test]
    fn integers_fit_their_column_or_are_refused() {
        use ColumnType::Int;
        assert_eq!(read(Int, "bigint", "9223372036854775807"), Some(Value::Int(i64::MAX)));
        assert_eq!(read(Int, "bigint", "9223372036854775808"), None);
        assert_eq!(read(Int, "integer", "2147483648"), None);
        assert_eq!(read(Int, "smallint", "-32768"), Some(Value::Int(-32768)));
        for bad in ["", "1.0", "1e3", "one", "0x10", "1_000"] {
            assert_eq!(read(Int, "bigint", bad), None, "{bad}");
        }
        let bad = param(Int, "integer").parse(&"9".repeat(100)).expect_err("too large");
        assert_eq!(
            bad.to_string(),
            format!("`x` is \"{}…\": expected a whole number from -2147483648 to 2147483647", "9".repeat(40))
        );
    }

    #[test]
    fn decimals_are_written_as_the_source_prints_them() {
        let digits = |type_name: &str, text: &str| {
            read(ColumnType::Decimal, type_name, text).map(|value| value.to_text())
        };
        for (text, expected) in [
            ("7", "7"),
            ("+7.50", "7.50"),
            ("-.5", "-0.5"),
            ("007.", "7"),
            ("-0.00", "0.00"),
            ("1e3", "1000"),
            ("1.2345e2", "123.45"),
            ("12e-3", "0.012"),
            ("-1234e-2", "-12.34"),
            ("123456789012345678901234567890.1", "123456789012345678901234567890.1"),
            ("nan", "NaN"),
            ("-infinity", "-Infinity"),
        ] {
            assert_eq!(digits("numeric", text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(digits("numeric(10,2)", "7").as_deref(), Some("7.00"));
        assert_eq!(digits("numeric(10,2)", "7.5000").as_deref(), Some("7.50"));
        assert_eq!(digits("numeric(10,2)", "7.505").as_deref(), Some("7.505"), "equals no value there");
        assert_eq!(digits("numeric(10,0)", "7.0").as_deref(), Some("7"));
        for bad in ["", "1,5", "1e", "1e999999999", "1e99999999999", "--1", "٣"] {
            assert_eq!(digits("numeric", bad), None, "{bad}");
        }
    }

    #[test]
    fn uuids_and_texts_of_fixed_length_are_normal() {
        let uuid = Some(Value::text("6f2d5a0e-93c1-4b7e-8a44-1f0c6d2b9e57"));
        for text in [
            "6f2d5a0e-93c1-4b7e-8a44-1f0c6d2b9e57",
            "6F2D5A0E-93C1-4B7E-8A44-1F0C6D2B9E57",
            "{6f2d5a0e93c14b7e8a441f0c6d2b9e57}",
        ] {
            assert_eq!(read(ColumnType::Text, "uuid", text), uuid, "{text}");
        }
        assert_eq!(read(ColumnType::Text, "uuid", "6f2d5a0e"), None);
        assert_eq!(read(ColumnType::Text, "character(4)", "é"), Some(Value::text("é   ")));
        assert_eq!(read(ColumnType::Text, "text", ""), Some(Value::text("")));
    }

    #[test]
    fn times_bytes_and_floats_are_of_their_kind() {
        assert_eq!(read(ColumnType::Date, "date", "1970-01-02"), Some(Value::Date(1)));
        assert_eq!(read(ColumnType::Timestamp, "", "1970-01-01T00:00:01"), Some(Value::Timestamp(1_000_000)));
        assert_eq!(read(ColumnType::Timestamp, "", "1970-01-01T00:00:01Z"), None);
        assert_eq!(read(ColumnType::TimestampTz, "", "1970-01-01T01:00+01:00"), Some(Value::TimestampTz(0)));
        assert_eq!(read(ColumnType::Bool, "", "TRUE"), Some(Value::Bool(true)));
        assert_eq!(read(ColumnType::Bytes, "", "\\x00fF"), Some(Value::Bytes([0, 255].into())));
        assert_eq!(read(ColumnType::Bytes, "", "\\x0"), None);
        assert_eq!(read(ColumnType::Float, "", "1e2"), Some(Value::Float(100.0)));
        assert_eq!(read(ColumnType::Float, "", "1e400"), None);
        assert_eq!(read(ColumnType::Float, "", "Infinity"), Some(Value::Float(f64::INFINITY)));
        assert_eq!(read(ColumnType::Json, "", "{}"), None);
    }

    #[test]
    fn columns_without_a_kind_store_by_their_affinity() {
        let stored = |declared: &str, text: &str| dynamic(text, Affinity::of(declared));
        assert_eq!(stored("INTEGER", "7"), Value::Int(7));
        assert_eq!(stored("INTEGER", "7.0"), Value::Int(7));
        assert_eq!(stored("DECIMAL(10,2)", "7.5"), Value::Float(7.5));
        assert_eq!(stored("BIGINT", "9223372036854775808"), Value::Float(9_223_372_036_854_775_808.0));
        assert_eq!(stored("REAL", "7"), Value::Float(7.0));
        assert_eq!(stored("REAL", "-0.0").to_text(), "0");
        assert_eq!(stored("TEXT", "7"), Value::text("7"));
        assert_eq!(stored("DATETIME", "2026-01-31"), Value::text("2026-01-31"));
        assert_eq!(stored("", "7"), Value::Int(7));
        assert_eq!(stored("", "7.0"), Value::Float(7.0));
        assert_eq!(stored("", "0E0"), Value::Float(0.0));
        assert_eq!(stored("", "seven"), Value::text("seven"));
        assert_eq!(stored("BLOB", "\\xff"), Value::Bytes([255].into()));
        assert_eq!(stored("INTEGER", "inf"), Value::text("inf"));
    }

    fn place(value: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_sort(value, false, &mut bytes);
        bytes
    }

    #[test]
    fn what_has_no_kind_of_its_own_is_found_by_what_it_equals() {
        for declared in ["", "BLOB"] {
            let untyped = param(ColumnType::Dynamic, declared);
            assert!(!untyped.says_the_kind());
            for text in ["0E0", "7.0", "-3e2", "9007199254740993.0"] {
                let value = untyped.parse(text).expect("a number");
                let again = untyped.parse(&value.to_text()).expect("a number");
                assert_eq!(place(&again), place(&value), "{text}");
            }
        }
    }

    fn kinds() -> impl Strategy<Value = Param> {
        use ColumnType::*;
        let kinds = vec![
            (Bool, "boolean"),
            (Int, "bigint"),
            (Int, "smallint"),
            (Float, "double precision"),
            (Decimal, "numeric"),
            (Decimal, "numeric(10,2)"),
            (Decimal, "numeric(3,-2)"),
            (Text, "text"),
            (Text, "uuid"),
            (Text, "character(5)"),
            (Bytes, "bytea"),
            (Date, "date"),
            (Time, "time"),
            (Timestamp, "timestamp"),
            (TimestampTz, "timestamptz"),
            (Json, "jsonb"),
            (List(Box::new(Int)), "bigint[]"),
            (Dynamic, ""),
            (Dynamic, "INTEGER"),
            (Dynamic, "REAL"),
            (Dynamic, "TEXT"),
            (Dynamic, "BLOB"),
            (Dynamic, "DATE"),
        ];
        proptest::sample::select(kinds).prop_map(|(kind, type_name)| param(kind, type_name))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// And what it reads, printed, reads as the same key again. Where values have no kind of their own, which no key's column
        /// allows, it reads as what takes the same place in an index: `7.0` prints as 7.
        #[test]
        fn no_text_makes_it_panic(param in kinds(), text in prop_oneof![
            "\\PC{0,12}",
            "[-+0-9.eE:TZ xX\\\\a-f{}é ]{0,24}",
            "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\\.[0-9]{1,6})?)?[-+Zé0-9:a]{0,6}",
        ]) {
            match param.parse(&text) {
                Ok(value) => {
                    let again = param.parse(&value.to_text());
                    let bytes = |value: &Value| {
                        if param.says_the_kind() { Key(vec![value.clone()]).to_bytes() } else { place(value) }
                    };
                    prop_assert_eq!(again.as_ref().map(bytes), Ok(bytes(&value)), "{:?}", value);
                }
                Err(bad) => prop_assert!(!bad.to_string().is_empty() && bad.given.chars().count() <= 41),
            }
        }
    }
}
