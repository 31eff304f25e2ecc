//! One value as a source holds it, without loss.
//!
//! The JSON form is the contract with readers: it is what PostgreSQL's own `to_jsonb` gives for the same value
//! in the time zone UTC, so the source's SQL can serve as the oracle. Integers and decimals stay exact JSON
//! numbers; what JSON has no number for (NaN, infinities) becomes a string.

use std::cmp::Ordering;
use std::fmt::Write as _;

use crate::Record;
use crate::json::is_number;

/// A value of a source column, or of a document field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    /// The source did not send this column because the change left it as it was (PostgreSQL: unchanged TOAST).
    /// Never written to a store: the stored value stays.
    Unchanged,
    Bool(bool),
    Int(i64),
    /// Never `-0.0` confusion with text: rendered by the shortest text that reads back as the same float.
    Float(f64),
    /// Exact decimal text as the source prints it, including `NaN`, `Infinity` and `-Infinity`.
    Decimal(Box<str>),
    Text(Box<str>),
    Bytes(Box<[u8]>),
    /// Days since 1970-01-01; `i32::MIN` and `i32::MAX` are `-infinity` and `infinity`.
    Date(i32),
    /// Microseconds since midnight, 0 to 86,400,000,000 (24:00:00 is a valid SQL time).
    Time(i64),
    /// Microseconds since 1970-01-01T00:00:00 without a time zone; `i64::MIN` and `i64::MAX` are the infinities.
    Timestamp(i64),
    /// Microseconds since 1970-01-01T00:00:00Z; `i64::MIN` and `i64::MAX` are the infinities.
    TimestampTz(i64),
    /// JSON text, as the source printed it.
    Json(Box<str>),
    List(Vec<Value>),
    Record(Record),
}

impl Value {
    pub fn text(text: impl Into<Box<str>>) -> Value {
        Value::Text(text.into())
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    pub fn is_unchanged(&self) -> bool {
        matches!(self, Value::Unchanged)
    }

    /// Appends the JSON form. `Unchanged` has none and is written as `null`; callers leave such fields out.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Value::Null | Value::Unchanged => out.extend_from_slice(b"null"),
            Value::Bool(true) => out.extend_from_slice(b"true"),
            Value::Bool(false) => out.extend_from_slice(b"false"),
            Value::Int(i) => out.extend_from_slice(itoa::Buffer::new().format(*i).as_bytes()),
            Value::Float(f) if f.is_finite() => out.extend_from_slice(float_text(*f).as_bytes()),
            Value::Decimal(d) if is_number(d) => out.extend_from_slice(d.as_bytes()),
            Value::Json(json) => out.extend_from_slice(json.as_bytes()),
            Value::List(items) => {
                out.push(b'[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    item.write_json(out);
                }
                out.push(b']');
            }
            Value::Record(record) => record.write_json(out),
            Value::Text(text) => write_json_string(text, out),
            other => write_json_string(&other.to_text(), out),
        }
    }

    /// The value as plain text: what a Redis hash field or a CSV cell would hold. Strings are not quoted, lists
    /// and records are JSON, `Null` and `Unchanged` are empty (callers tell them apart before).
    pub fn to_text(&self) -> String {
        match self {
            Value::Null | Value::Unchanged => String::new(),
            Value::Bool(b) => b.to_string(),
            Value::Int(i) => i.to_string(),
            Value::Float(f) => float_text(*f),
            Value::Decimal(text) | Value::Text(text) | Value::Json(text) => text.to_string(),
            Value::Bytes(bytes) => {
                let mut text = String::with_capacity(2 + bytes.len() * 2);
                text.push_str("\\x");
                for byte in bytes.iter() {
                    let _ = write!(text, "{byte:02x}");
                }
                text
            }
            Value::Date(days) => match *days {
                i32::MAX => "infinity".into(),
                i32::MIN => "-infinity".into(),
                days => civil(i64::from(days)).to_string(),
            },
            Value::Time(micros) => clock(*micros),
            Value::Timestamp(micros) => stamp(*micros, ""),
            Value::TimestampTz(micros) => stamp(*micros, "+00:00"),
            Value::List(_) | Value::Record(_) => {
                let mut out = Vec::new();
                self.write_json(&mut out);
                // write_json only copies `str`s and ASCII.
                String::from_utf8_lossy(&out).into_owned()
            }
        }
    }

    /// A total order: numbers by value across `Int`, `Float` and `Decimal` (NaN greatest, as in PostgreSQL),
    /// text by bytes, times by instant, `Null` after everything else (`NULLS LAST`, PostgreSQL's ascending default).
    /// Values of different kinds order by kind.
    pub fn compare(&self, other: &Value) -> Ordering {
        use Value::*;
        match (self, other) {
            (Int(a), Int(b)) => a.cmp(b),
            (Float(a), Float(b)) => compare_floats(*a, *b),
            (Int(_) | Float(_) | Decimal(_), Int(_) | Float(_) | Decimal(_)) => {
                compare_decimals(&self.to_text(), &other.to_text())
            }
            (Bool(a), Bool(b)) => a.cmp(b),
            (Text(a), Text(b)) | (Json(a), Json(b)) => a.cmp(b),
            (Bytes(a), Bytes(b)) => a.cmp(b),
            (Date(a), Date(b)) => a.cmp(b),
            (Time(a), Time(b)) | (Timestamp(a), Timestamp(b)) | (TimestampTz(a), TimestampTz(b)) => a.cmp(b),
            (List(a), List(b)) => {
                for (x, y) in a.iter().zip(b) {
                    match x.compare(y) {
                        Ordering::Equal => {}
                        unequal => return unequal,
                    }
                }
                a.len().cmp(&b.len())
            }
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }

    /// SQL's `=` between two values that are not null.
    pub fn same(&self, other: &Value) -> bool {
        self.compare(other) == Ordering::Equal
    }

    fn rank(&self) -> u8 {
        match self {
            Value::Bool(_) => 0,
            Value::Int(_) | Value::Float(_) | Value::Decimal(_) => 1,
            Value::Date(_) => 2,
            Value::Time(_) => 3,
            Value::Timestamp(_) => 4,
            Value::TimestampTz(_) => 5,
            Value::Text(_) => 6,
            Value::Bytes(_) => 7,
            Value::Json(_) => 8,
            Value::List(_) => 9,
            Value::Record(_) => 10,
            Value::Unchanged => 11,
            Value::Null => 12,
        }
    }
}

/// Appends `text` as a JSON string.
pub(crate) fn write_json_string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut plain_from = 0;
    for (i, &byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0x00..=0x1f => b"",
            _ => continue,
        };
        out.extend_from_slice(&bytes[plain_from..i]);
        if escape.is_empty() {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        } else {
            out.extend_from_slice(escape);
        }
        plain_from = i + 1;
    }
    out.extend_from_slice(&bytes[plain_from..]);
    out.push(b'"');
}

fn float_text(f: f64) -> String {
    if f.is_nan() {
        return "NaN".into();
    }
    if f.is_infinite() {
        return if f > 0.0 { "Infinity".into() } else { "-Infinity".into() };
    }
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(f);
    text.strip_suffix(".0").unwrap_or(text).to_owned()
}

fn compare_floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// Compares two decimal texts exactly, without a float in between. Accepts an exponent (`1e20`), which only the
/// texts of floats have.
fn compare_decimals(a: &str, b: &str) -> Ordering {
    fn class(text: &str) -> i8 {
        match text {
            "-Infinity" => -1,
            "Infinity" => 1,
            "NaN" => 2,
            _ => 0,
        }
    }
    /// Sign, decimal exponent of the first significant digit, significant digits without zeros at either end.
    fn parts(text: &str) -> (i8, i64, Vec<u8>) {
        let (sign, text) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text),
        };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let exponent: i64 = exponent.parse().unwrap_or(0);
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let Some(first) = digits.iter().position(|d| *d != b'0') else { return (0, 0, Vec::new()) };
        let last = digits.iter().rposition(|d| *d != b'0').unwrap_or(first);
        (sign, whole.len() as i64 - first as i64 + exponent, digits[first..=last].to_vec())
    }
    match (class(a), class(b)) {
        (0, 0) => {
            let (a, b) = (parts(a), parts(b));
            if a.0 != b.0 {
                return a.0.cmp(&b.0);
            }
            let magnitude = a.1.cmp(&b.1).then_with(|| a.2.cmp(&b.2));
            if a.0 < 0 { magnitude.reverse() } else { magnitude }
        }
        (a, b) => a.cmp(&b),
    }
}

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// A date of the proleptic Gregorian calendar; year 0 is 1 BC.
struct Civil {
    year: i64,
    month: u8,
    day: u8,
}

/// Days since 1970-01-01 to a calendar date, by Howard Hinnant's `civil_from_days`
/// (<https://howardhinnant.github.io/date_algorithms.html>).
fn civil(days: i64) -> Civil {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u8;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 } as u8;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Civil { year, month, day }
}

impl std::fmt::Display for Civil {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (year, era) = if self.year > 0 { (self.year, "") } else { (1 - self.year, " BC") };
        write!(f, "{year:04}-{:02}-{:02}{era}", self.month, self.day)
    }
}

fn clock(micros: i64) -> String {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction != 0 {
        let _ = write!(text, ".{fraction:06}");
        text.truncate(text.trim_end_matches('0').len());
    }
    text
}

fn stamp(micros: i64, zone: &str) -> String {
    match micros {
        i64::MAX => "infinity".into(),
        i64::MIN => "-infinity".into(),
        _ => {
            let date = civil(micros.div_euclid(MICROS_PER_DAY)).to_string();
            let time = clock(micros.rem_euclid(MICROS_PER_DAY));
            match date.strip_suffix(" BC") {
                Some(date) => format!("{date}T{time}{zone} BC"),
                None => format!("{date}T{time}{zone}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(value: Value) -> String {
        let mut out = Vec::new();
        value.write_json(&mut out);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn json_numbers_stay_exact() {
        assert_eq!(json(Value::Int(9_007_199_254_740_993)), "9007199254740993");
        assert_eq!(json(Value::Decimal("0.10000000000000000000001".into())), "0.10000000000000000000001");
        assert_eq!(json(Value::Decimal("NaN".into())), "\"NaN\"");
        assert_eq!(json(Value::Float(f64::NEG_INFINITY)), "\"-Infinity\"");
        assert_eq!(json(Value::Float(0.1)), "0.1");
        assert_eq!(json(Value::Float(3.0)), "3");
    }

    #[test]
    fn json_strings_are_escaped() {
        assert_eq!(json(Value::text("a\"b\\c\n\u{1}é")), "\"a\\\"b\\\\c\\n\\u0001é\"");
        assert_eq!(json(Value::Bytes(vec![0, 255].into())), "\"\\\\x00ff\"");
    }

    #[test]
    fn times_print_as_the_source_does() {
        assert_eq!(Value::Date(0).to_text(), "1970-01-01");
        assert_eq!(Value::Date(-719_529).to_text(), "0002-12-31 BC");
        assert_eq!(Value::Date(-719_162).to_text(), "0001-01-01");
        assert_eq!(Value::TimestampTz(1_500_000).to_text(), "1970-01-01T00:00:01.5+00:00");
        assert_eq!(Value::Timestamp(-1).to_text(), "1969-12-31T23:59:59.999999");
        assert_eq!(Value::Timestamp(i64::MAX).to_text(), "infinity");
        assert_eq!(Value::Time(86_400_000_000).to_text(), "24:00:00");
    }

    #[test]
    fn numbers_compare_by_value_across_kinds() {
        use Ordering::*;
        let decimal = |text: &str| Value::Decimal(text.into());
        assert_eq!(decimal("1.50").compare(&decimal("1.5")), Equal);
        assert_eq!(decimal("-2").compare(&decimal("-10")), Greater);
        assert_eq!(Value::Int(i64::MAX).compare(&decimal("9223372036854775807.1")), Less);
        assert_eq!(Value::Float(1e20).compare(&decimal("100000000000000000000")), Equal);
        assert_eq!(decimal("NaN").compare(&decimal("Infinity")), Greater);
        assert_eq!(Value::Int(0).compare(&decimal("0.000")), Equal);
        assert_eq!(Value::Int(1).compare(&Value::Null), Less);
    }
}
