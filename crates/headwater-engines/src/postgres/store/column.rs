//! The types of a read model's columns: which values each holds exactly, and how they go in and come out.
//!
//! Owns the choice of a type for a field, from the first value it has. Does not own what becomes of a value that its
//! column does not hold: that is `rest`.
//!
//! Invariant: a cell that goes in comes out as the same text ([`Value::to_text`]), digit by digit.

use headwater_model::Value;
use serde::de::IgnoredAny;

use crate::postgres::codec::Decode;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
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
}

const KINDS: [Kind; 11] = [
    Kind::Bool,
    Kind::Int,
    Kind::Float,
    Kind::Decimal,
    Kind::Text,
    Kind::Bytes,
    Kind::Date,
    Kind::Time,
    Kind::Timestamp,
    Kind::TimestampTz,
    Kind::Json,
];

/// 4714-11-24 BC, where the server's calendar begins.
const FIRST_DAY: i32 = -2_440_588;
/// 5874897-12-31, where it ends.
const LAST_DAY: i32 = 2_145_031_948;
const FIRST_MICROS: i64 = FIRST_DAY as i64 * 86_400_000_000;

/// Digits of a `numeric` that are sure to fit, before and behind the point together.
const DIGITS_MAX: usize = 10_000;

impl Kind {
    /// For a field whose first value is this; `None` for one that says nothing of the type.
    pub fn of(value: &Value) -> Option<Kind> {
        Some(match value {
            Value::Null | Value::Unchanged => return None,
            Value::Bool(_) => Kind::Bool,
            Value::Int(_) => Kind::Int,
            Value::Float(_) => Kind::Float,
            Value::Decimal(_) => Kind::Decimal,
            Value::Text(_) => Kind::Text,
            Value::Bytes(_) => Kind::Bytes,
            Value::Date(_) => Kind::Date,
            Value::Time(_) => Kind::Time,
            Value::Timestamp(_) => Kind::Timestamp,
            Value::TimestampTz(_) => Kind::TimestampTz,
            // As printed: `jsonb` would lose the order of keys, and with it the bytes that verify compares.
            Value::Json(_) | Value::List(_) | Value::Record(_) => Kind::Json,
        })
    }

    /// The SQL name of the type.
    pub fn sql(self) -> &'static str {
        match self {
            Kind::Bool => "boolean",
            Kind::Int => "bigint",
            Kind::Float => "double precision",
            Kind::Decimal => "numeric",
            Kind::Text => "text",
            Kind::Bytes => "bytea",
            Kind::Date => "date",
            Kind::Time => "time",
            Kind::Timestamp => "timestamp",
            Kind::TimestampTz => "timestamptz",
            Kind::Json => "json",
        }
    }

    pub fn named(sql: &str) -> Option<Kind> {
        KINDS.into_iter().find(|kind| kind.sql() == sql)
    }

    /// The text that the type reads; `None` if it would not hold the value exactly. Not for NULL.
    pub fn cell(self, value: &Value) -> Option<String> {
        let holds = match (self, value) {
            (Kind::Bool, Value::Bool(_))
            | (Kind::Int, Value::Int(_))
            | (Kind::Decimal, Value::Int(_))
            | (Kind::Float, Value::Float(_))
            | (Kind::Bytes, Value::Bytes(_))
            | (Kind::Time, Value::Time(_)) => true,
            // As far as a float prints whole numbers without an exponent.
            (Kind::Float, Value::Int(n)) => n.unsigned_abs() < 1_000_000_000_000_000,
            (Kind::Int, Value::Decimal(digits)) => is_canonical(digits) && digits.parse::<i64>().is_ok(),
            (Kind::Decimal, Value::Decimal(digits)) => {
                is_canonical(digits) || matches!(&**digits, "NaN" | "Infinity" | "-Infinity")
            }
            (Kind::Text, Value::Text(text)) => !text.contains('\0'),
            (Kind::Date, Value::Date(days)) => {
                matches!(*days, i32::MIN | i32::MAX) || (FIRST_DAY..=LAST_DAY).contains(days)
            }
            (Kind::Timestamp, Value::Timestamp(micros)) | (Kind::TimestampTz, Value::TimestampTz(micros)) => {
                *micros == i64::MIN || *micros >= FIRST_MICROS
            }
            (Kind::Json, Value::Json(_) | Value::List(_) | Value::Record(_)) => {
                let text = value.to_text();
                return is_json(&text).then_some(text);
            }
            _ => false,
        };
        holds.then(|| value.to_text())
    }

    /// What [`Value::to_text`] gives for the value whose text the server printed; `None` if this is not of the type.
    pub fn text(self, printed: String) -> Option<String> {
        let decode = match self {
            // These print as they are.
            Kind::Int | Kind::Decimal | Kind::Text | Kind::Bytes | Kind::Date | Kind::Time | Kind::Json => {
                return Some(printed);
            }
            Kind::Bool => Decode::Bool,
            Kind::Float => Decode::Float,
            Kind::Timestamp => Decode::Timestamp,
            Kind::TimestampTz => Decode::TimestampTz,
        };
        Some(decode.value(printed.as_bytes())?.to_text())
    }
}

/// Whether the server reads this as JSON.
pub(super) fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Whether `numeric` prints a decimal as it is written here.
fn is_canonical(text: &str) -> bool {
    let (digits, negative) = text.strip_prefix('-').map_or((text, false), |rest| (rest, true));
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(w, f)| (w, Some(f)));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    all_digits(whole)
        && fraction.is_none_or(all_digits)
        && (whole.len() == 1 || !whole.starts_with('0'))
        && digits.len() <= DIGITS_MAX
        // The server has no negative zero.
        && !(negative && digits.bytes().all(|b| matches!(b, b'0' | b'.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_takes_what_it_gives_back_and_nothing_else() {
        let decimal = |text: &str| Kind::Decimal.cell(&Value::Decimal(text.into()));
        for fine in ["0", "-1", "1.50", "0.00", "123456789012345678901234567890.1", "NaN", "-Infinity"] {
            assert_eq!(decimal(fine).as_deref(), Some(fine));
        }
        for other in ["-0.00", "007", "1.", ".5", "1e5", "", "-", "nan"] {
            assert_eq!(decimal(other), None, "{other}");
        }
        assert_eq!(Kind::Text.cell(&Value::text("a\0b")), None);
        assert_eq!(Kind::Int.cell(&Value::text("1")), None);
        assert_eq!(Kind::Int.cell(&Value::Decimal("5".into())).as_deref(), Some("5"));
        assert_eq!(Kind::Int.cell(&Value::Decimal("5.0".into())), None);
        assert_eq!(Kind::Float.cell(&Value::Int(1_000_000_000_000_000)), None);
        assert_eq!(Kind::Date.cell(&Value::Date(FIRST_DAY - 1)), None);
        assert_eq!(Kind::Json.cell(&Value::Json("{\"a\":".into())), None);
        for kind in KINDS {
            assert_eq!(Kind::named(kind.sql()), Some(kind));
        }
    }
}
