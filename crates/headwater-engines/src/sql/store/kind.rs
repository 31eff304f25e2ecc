//! Kinds of columns: chosen for a field by the first value that it has.

use headwater_model::Value;
use serde::de::IgnoredAny;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
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

impl Kind {
    #[cfg(test)]
    pub const ALL: [Kind; 11] = KINDS;

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
            // As printed: a server's own form of JSON would lose the order of keys, and with it the bytes that verify compares.
            Value::Json(_) | Value::List(_) | Value::Record(_) => Kind::Json,
        })
    }

    /// What the store's own tables call it, in every engine: the name of PostgreSQL's type.
    pub fn word(self) -> &'static str {
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

    pub fn named(word: &str) -> Option<Kind> {
        KINDS.into_iter().find(|kind| kind.word() == word)
    }
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

/// Whether this is JSON to any reader.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// The digits of a decimal before and behind its point, if a server of SQL prints it as it is written here.
pub(crate) fn digits(text: &str) -> Option<(&str, &str)> {
    let (digits, negative) = text.strip_prefix('-').map_or((text, false), |rest| (rest, true));
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(w, f)| (w, Some(f)));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let canonical = all_digits(whole)
        && fraction.is_none_or(all_digits)
        && (whole.len() == 1 || !whole.starts_with('0'))
        // No server has a negative zero.
        && !(negative && digits.bytes().all(|b| matches!(b, b'0' | b'.')));
    canonical.then_some((whole, fraction.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_words_and_decimals_have_digits() {
        for kind in Kind::ALL {
            assert_eq!(Kind::named(kind.word()), Some(kind));
        }
        assert_eq!(digits("-12.50"), Some(("12", "50")));
        assert_eq!(digits("7"), Some(("7", "")));
        for other in ["-0.00", "007", "1.", ".5", "1e5", "", "-", "nan"] {
            assert_eq!(digits(other), None, "{other}");
        }
    }
}
