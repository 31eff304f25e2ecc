//! How values are read: the kinds of columns, and values from the server's text, which chunks and answers come as.
//!
//! Text is UTF-8 and moments are UTC, because connections ask for that. `FLOAT` is the number that it prints at full
//! precision as a float of four bytes. `TIME` is a text: it is a span and may be negative, or longer than a day.

use headwater_model::{ColumnType, Value};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of any width and sign, `BIT` and `YEAR` too. Numbers beyond 63 bits are decimals.
    Int,
    Float,
    Double,
    Decimal,
    /// Character types, `ENUM`, `SET` and `TIME`.
    Text,
    /// Binary types, and geometry and vectors as the server stores them.
    Bytes,
    Date,
    DateTime,
    Timestamp,
    Json,
}

impl Kind {
    pub fn column_type(self) -> ColumnType {
        match self {
            Kind::Int => ColumnType::Int,
            Kind::Float | Kind::Double => ColumnType::Float,
            Kind::Decimal => ColumnType::Decimal,
            Kind::Text => ColumnType::Text,
            Kind::Bytes => ColumnType::Bytes,
            Kind::Date => ColumnType::Date,
            Kind::DateTime => ColumnType::Timestamp,
            Kind::Timestamp => ColumnType::TimestampTz,
            Kind::Json => ColumnType::Json,
        }
    }

    /// By the catalog's `DATA_TYPE`; `None` for types that cannot be followed.
    pub fn of(data_type: &str) -> Option<Kind> {
        Some(match data_type {
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "bit" | "year" => Kind::Int,
            "float" => Kind::Float,
            "double" => Kind::Double,
            "decimal" => Kind::Decimal,
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" | "set"
            | "time" => Kind::Text,
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "geometry"
            | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon"
            | "geometrycollection" | "geomcollection" | "vector" => Kind::Bytes,
            "date" => Kind::Date,
            "datetime" => Kind::DateTime,
            "timestamp" => Kind::Timestamp,
            "json" => Kind::Json,
            _ => return None,
        })
    }

    /// Whether a value may be a date that is none.
    pub fn is_moment(self) -> bool {
        matches!(self, Kind::Date | Kind::DateTime | Kind::Timestamp)
    }

    /// Reads the server's text. A date that is none is text; `None` is no value of the kind.
    pub fn value(self, text: &[u8]) -> Option<Value> {
        if self == Kind::Bytes {
            return Some(Value::Bytes(text.into()));
        }
        let Ok(text) = std::str::from_utf8(text) else {
            return Some(Value::Bytes(text.into()));
        };
        Some(match self {
            Kind::Int => int(text)?,
            Kind::Float => float(text.parse::<f64>().ok()? as f32),
            Kind::Double => Value::Float(text.parse().ok()?),
            Kind::Decimal => Value::Decimal(text.into()),
            Kind::Text | Kind::Bytes => Value::text(text),
            Kind::Json => json(text),
            Kind::Date => match days(text) {
                Some(days) => Value::Date(days),
                None => Value::text(text),
            },
            Kind::DateTime => match micros(text) {
                Some(micros) => Value::Timestamp(micros),
                None => Value::text(text),
            },
            Kind::Timestamp => match micros(text) {
                Some(micros) => Value::TimestampTz(micros),
                None => Value::text(text),
            },
        })
    }
}

fn int(text: &str) -> Option<Value> {
    match text.parse() {
        Ok(n) => Some(Value::Int(n)),
        // BIGINT UNSIGNED and BIT(64) go further.
        Err(_) => text.parse::<u64>().ok().map(|n| Value::Decimal(n.to_string().into())),
    }
}

pub(super) fn unsigned(n: u64) -> Value {
    i64::try_from(n).map_or_else(|_| Value::Decimal(n.to_string().into()), Value::Int)
}

/// The number that a float of four bytes prints as, not what it becomes with eight.
pub(super) fn float(f: f32) -> Value {
    Value::Float(f.to_string().parse().unwrap_or(f64::from(f)))
}

/// MariaDB's JSON is text with a constraint, which a session may switch off.
pub(super) fn json(text: &str) -> Value {
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(_) => Value::Json(text.into()),
        Err(_) => Value::text(text),
    }
}

/// `2024-02-29`, if it is a day.
fn days(text: &str) -> Option<i32> {
    let mut parts = text.splitn(3, '-');
    let year: i64 = parts.next()?.parse().ok()?;
    let month: i64 = parts.next()?.parse().ok()?;
    let day: i64 = parts.next()?.parse().ok()?;
    days_of(year, month, day)
}

/// Days since 1970-01-01, by Howard Hinnant's `days_from_civil`
/// (<https://howardhinnant.github.io/date_algorithms.html>). Year 0 is one, as it is to the server.
pub(super) fn days_of(year: i64, month: i64, day: i64) -> Option<i32> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    i32::try_from(era * 146_097 + day_of_era - 719_468).ok()
}

/// `2024-02-29 12:00:00.5`, if its date is a day.
fn micros(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(' ')?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut parts = clock.splitn(3, ':');
    let mut part = || parts.next()?.parse::<i64>().ok();
    let seconds = part()? * 3600 + part()? * 60 + part()?;
    let fraction = format!("{fraction:0<6}");
    let fraction: i64 = fraction.get(..6)?.parse().ok()?;
    Some((i64::from(days(date)?) * 86_400 + seconds) * 1_000_000 + fraction)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn texts_of_the_server_read() {
        let read = |kind: Kind, text: &str| kind.value(text.as_bytes()).unwrap();
        assert_eq!(read(Kind::Int, "-7"), Value::Int(-7));
        assert_eq!(read(Kind::Int, "18446744073709551615"), Value::Decimal("18446744073709551615".into()));
        assert_eq!(read(Kind::Float, "0.10000000149011612"), Value::Float(0.1));
        assert_eq!(read(Kind::Date, "1970-03-01"), Value::Date(59));
        assert_eq!(read(Kind::Date, "2024-02-29"), Value::Date(19_782));
        assert_eq!(read(Kind::DateTime, "1970-01-02 00:00:01.25"), Value::Timestamp(86_401_250_000));
        assert_eq!(read(Kind::Timestamp, "1969-12-31 23:59:59.999999"), Value::TimestampTz(-1));
        for none in ["0000-00-00", "2024-00-10", "2023-02-29", "2024-10-00"] {
            assert_eq!(read(Kind::Date, none), Value::text(none));
            let moment = format!("{none} 00:00:00");
            assert_eq!(read(Kind::DateTime, &moment), Value::text(&*moment));
        }
        assert_eq!(read(Kind::Json, "{\"a\": 1}"), Value::Json("{\"a\": 1}".into()));
        assert_eq!(read(Kind::Json, "{"), Value::text("{"));
        assert!(Kind::Int.value(b"x").is_none());
    }
}
