//! The types of a read model's columns: which values each holds exactly, and how they go in and come out.
//!
//! Texts and JSON are `LONGTEXT` with a binary collation: the server's own JSON type would lose the order of keys and the digits
//! of numbers in MySQL. A decimal has the scale that its field had first; a number with another scale that the column has room
//! for is there as a number, and to the letter in the rest.

use headwater_model::Value;

use crate::mysql::codec;
use crate::sql::store::kind::{Kind, digits, is_json};
use crate::sql::store::shape::{self, ColumnKind, OWN};

use super::sql::Datum;

pub(super) type Shape = shape::Shape<Column>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Column {
    kind: Kind,
    /// Of decimals: digits behind the point.
    scale: usize,
}

/// Digits of the server's decimals, and how many of them may stand behind the point.
const DIGITS_MAX: usize = 65;
const SCALE_MAX: usize = 30;

/// 0001-01-01 and the day after 9999-12-31: the server's years have four digits, and a year 0 is no date to many clients.
const FIRST_DAY: i64 = -719_162;
const END_DAY: i64 = 2_932_897;
const DAY_MICROS: i64 = 86_400_000_000;

/// Characters of a name.
pub(super) const NAME_CHARS_MAX: usize = 64;

/// What the columns of fields may take in a page of 16 KiB, where a row may have 8126 bytes: beside the key, and places.
const ROW_BYTES_MAX: usize = 4500;
const PLACE_BYTES: usize = 90;

/// Columns that every table of the server's engine has already.
const SYSTEM_COLUMNS: &[&str] =
    &["db_row_id", "db_trx_id", "db_roll_ptr", "fts_doc_id", "row_start", "row_end"];

impl Column {
    /// For a field with this value; `None` for one that says nothing of the type.
    pub fn of(value: &Value) -> Option<Column> {
        let kind = Kind::of(value)?;
        let scale = match value {
            Value::Decimal(text) => digits(text).map_or(0, |(_, fraction)| fraction.len().min(SCALE_MAX)),
            _ => 0,
        };
        Some(Column { kind, scale })
    }

    /// Room for the numbers of both.
    pub fn widened(self, other: Column) -> Column {
        if self.kind == other.kind { Column { scale: self.scale.max(other.scale), ..self } } else { self }
    }

    pub fn sql(self) -> String {
        match self.kind {
            Kind::Bool => "BOOLEAN".into(),
            Kind::Int => "BIGINT".into(),
            Kind::Float => "DOUBLE".into(),
            Kind::Decimal => format!("DECIMAL({DIGITS_MAX},{})", self.scale),
            Kind::Text | Kind::Json => LONG_TEXT.into(),
            Kind::Bytes => "LONGBLOB".into(),
            Kind::Date => "DATE".into(),
            Kind::Time => "TIME(6)".into(),
            Kind::Timestamp | Kind::TimestampTz => "DATETIME(6)".into(),
        }
    }

    /// What it takes of a row's page at most: long values lie elsewhere.
    fn bytes(self) -> usize {
        match self.kind {
            Kind::Bool => 1,
            Kind::Date => 3,
            Kind::Int | Kind::Float | Kind::Time | Kind::Timestamp | Kind::TimestampTz => 8,
            Kind::Decimal => 32,
            Kind::Text | Kind::Json | Kind::Bytes => 42,
        }
    }
}

/// Any text, compared by bytes.
pub(super) const LONG_TEXT: &str = "LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

impl ColumnKind for Column {
    type Cell = Datum;

    fn written(&self) -> String {
        match self.kind {
            Kind::Decimal => format!("{}({})", self.kind.word(), self.scale),
            kind => kind.word().into(),
        }
    }

    fn read(written: &str) -> Option<Column> {
        let (word, scale) = match written.strip_suffix(')').and_then(|text| text.split_once('(')) {
            Some((word, scale)) => (word, scale.parse().ok()?),
            None => (written, 0),
        };
        Some(Column { kind: Kind::named(word)?, scale })
    }

    fn cell(&self, value: &Value) -> (Option<Datum>, bool) {
        match (self.kind, value) {
            (Kind::Decimal, Value::Int(_) | Value::Decimal(_)) => {
                let (cell, exact) = self.decimal(&value.to_text());
                (cell.map(Datum::Number), exact)
            }
            // The server's zeros have no sign.
            (Kind::Float, Value::Float(f)) if *f == 0.0 => {
                (Some(Datum::Number("0e0".into())), f.is_sign_positive())
            }
            (kind, value) => {
                let cell = datum(kind, value);
                let exact = cell.is_some();
                (cell, exact)
            }
        }
    }

    fn text(&self, printed: Vec<u8>) -> Option<Vec<u8>> {
        let value = match self.kind {
            // These print as they are.
            Kind::Int | Kind::Decimal | Kind::Text | Kind::Json => return Some(printed),
            Kind::Bool => Value::Bool(printed != b"0"),
            Kind::Bytes => Value::Bytes(printed.into()),
            Kind::Float => codec::Kind::Double.value(&printed)?,
            Kind::Date => codec::Kind::Date.value(&printed)?,
            Kind::Timestamp => codec::Kind::DateTime.value(&printed)?,
            Kind::TimestampTz => codec::Kind::Timestamp.value(&printed)?,
            Kind::Time => Value::Time(micros(std::str::from_utf8(&printed).ok()?)?),
        };
        Some(value.to_text().into_bytes())
    }
}

impl Column {
    /// As the column's decimals are written, and whether that is how this one was.
    fn decimal(&self, text: &str) -> (Option<String>, bool) {
        let Some((whole, fraction)) = digits(text) else { return (None, false) };
        let (kept, cut) = fraction.split_at(fraction.len().min(self.scale));
        if whole.len() > DIGITS_MAX - self.scale || cut.bytes().any(|digit| digit != b'0') {
            return (None, false);
        }
        let sign = if text.starts_with('-') { "-" } else { "" };
        let point = if kept.is_empty() { "" } else { "." };
        (Some(format!("{sign}{whole}{point}{kept}")), fraction.len() == self.scale)
    }
}

/// The value as the column's type reads it; `None` if it would not hold it exactly. Not for NULL, nor for decimals.
fn datum(kind: Kind, value: &Value) -> Option<Datum> {
    let day = |days: i64| (FIRST_DAY..END_DAY).contains(&days);
    Some(match (kind, value) {
        (Kind::Bool, Value::Bool(true)) => Datum::Number("1".into()),
        (Kind::Bool, Value::Bool(false)) => Datum::Number("0".into()),
        (Kind::Int, Value::Int(n)) => Datum::Number(n.to_string()),
        (Kind::Int, Value::Decimal(text)) if digits(text).is_some() => {
            Datum::Number(text.parse::<i64>().ok()?.to_string())
        }
        // With an exponent: without, it would be read as a decimal of few digits.
        (Kind::Float, Value::Float(f)) if f.is_finite() => Datum::Number(format!("{f:e}")),
        // As far as a float prints whole numbers without an exponent.
        (Kind::Float, Value::Int(n)) if n.unsigned_abs() < 1_000_000_000_000_000 => {
            Datum::Number(format!("{n}e0"))
        }
        (Kind::Text, Value::Text(text)) => Datum::Text(text.to_string()),
        (Kind::Bytes, Value::Bytes(bytes)) => Datum::Bytes(bytes.to_vec()),
        (Kind::Date, Value::Date(days)) if day(i64::from(*days)) => Datum::Text(value.to_text()),
        (Kind::Time, Value::Time(_)) => Datum::Text(value.to_text()),
        (Kind::Timestamp, Value::Timestamp(micros)) | (Kind::TimestampTz, Value::TimestampTz(micros))
            if day(micros.div_euclid(DAY_MICROS)) =>
        {
            Datum::Text(value.to_text().trim_end_matches("+00:00").to_owned())
        }
        (Kind::Json, Value::Json(_) | Value::List(_) | Value::Record(_)) => {
            let text = value.to_text();
            is_json(&text).then_some(Datum::Text(text))?
        }
        _ => return None,
    })
}

/// `24:00:00.000000`
fn micros(printed: &str) -> Option<i64> {
    let (clock, fraction) = printed.split_once('.')?;
    let mut parts = clock.splitn(3, ':').map(str::parse::<i64>);
    let mut part = || parts.next()?.ok();
    let seconds = part()? * 3600 + part()? * 60 + part()?;
    Some(seconds * 1_000_000 + fraction.parse::<i64>().ok()?)
}

/// The value that lies in the rest, by the word of its kind and its text; `None` for one that no column would hold.
pub(super) fn aside(word: &str, text: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(text).ok()?;
    Some(match Kind::named(word)? {
        // The server's years have no era.
        Kind::Date | Kind::Timestamp | Kind::TimestampTz if text.ends_with(" BC") => return None,
        Kind::Bool => Value::Bool(text == "true"),
        Kind::Int => Value::Int(text.parse().ok()?),
        Kind::Float => Value::Float(text.parse().ok()?),
        Kind::Decimal => Value::Decimal(text.into()),
        Kind::Text => Value::text(text),
        Kind::Json => Value::Json(text.into()),
        Kind::Bytes => {
            let hex = text.strip_prefix("\\x")?.as_bytes().chunks(2);
            let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            Value::Bytes(hex.map(byte).collect::<Option<_>>()?)
        }
        Kind::Date => codec::Kind::Date.value(text.as_bytes())?,
        Kind::Time => Value::Time(micros(&if text.contains('.') {
            let (clock, fraction) = text.split_once('.')?;
            format!("{clock}.{fraction:0<6}")
        } else {
            format!("{text}.0")
        })?),
        Kind::Timestamp => codec::Kind::DateTime.value(text.replacen('T', " ", 1).as_bytes())?,
        Kind::TimestampTz => {
            let text = text.trim_end_matches("+00:00").replacen('T', " ", 1);
            codec::Kind::Timestamp.value(text.as_bytes())?
        }
    })
}

/// Whether a field that is not there yet can be a column. Names of columns have no case.
pub(super) fn takes(shape: &Shape, indexes: usize, name: &str, column: Column) -> bool {
    let lower = name.to_lowercase();
    let used: usize = shape.fields.iter().map(|(_, column)| column.bytes()).sum();
    used + column.bytes() + indexes * PLACE_BYTES <= ROW_BYTES_MAX
        && is_name(name)
        && !lower.starts_with(OWN)
        && !SYSTEM_COLUMNS.contains(&&*lower)
        && !shape.fields.iter().any(|(field, _)| field.to_lowercase() == lower)
}

/// Whether the server takes it for a name, which may end in no kind of space; one with control characters is nobody's intent.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.chars().count() <= NAME_CHARS_MAX
        && !name.ends_with(char::is_whitespace)
        && name.chars().all(|c| !c.is_control() && c <= '\u{ffff}')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn column(written: &str) -> Column {
        Column::read(written).unwrap()
    }

    #[test]
    fn a_decimal_is_a_number_in_its_column_and_exact_there_or_beside_it() {
        let price = Column::of(&Value::Decimal("12.50".into())).unwrap();
        assert_eq!((price.sql().as_str(), price.written().as_str()), ("DECIMAL(65,2)", "numeric(2)"));
        assert_eq!(column(&price.written()), price);
        let cell = |value: Value| {
            let (cell, exact) = price.cell(&value);
            (cell.map(|cell| cell.literal()), exact)
        };
        let decimal = |text: &str| cell(Value::Decimal(text.into()));
        let number = |text: &str| Some(text.to_owned());
        assert_eq!(decimal("-0.10"), (number("-0.10"), true));
        assert_eq!(decimal("3.5"), (number("3.5"), false));
        assert_eq!(decimal("3.500"), (number("3.50"), false));
        assert_eq!(cell(Value::Int(7)), (number("7"), false));
        for beside in ["3.501", "NaN", "-0.00", &"9".repeat(64)] {
            assert_eq!(decimal(beside), (None, false), "{beside}");
        }
        let long = "9".repeat(63) + ".00";
        assert_eq!(decimal(&long), (number(&long), true));
    }

    #[test]
    fn what_lies_beside_a_column_is_read_as_it_was() {
        let values = [
            Value::Bool(true),
            Value::Int(-7),
            Value::Float(1e300),
            Value::Decimal("1.50".into()),
            Value::text("a'\0"),
            Value::Bytes(vec![0, 255].into()),
            Value::Date(19_000),
            Value::Time(86_400_000_000),
            Value::Time(1_500_000),
            Value::Timestamp(1_700_000_000_120_000),
            Value::TimestampTz(-1),
            Value::Json("{\"a\": 1}".into()),
        ];
        for value in values {
            let word = Kind::of(&value).unwrap().word();
            assert_eq!(aside(word, value.to_text().as_bytes()), Some(value));
        }
        let before_christ = i64::MIN / 100;
        for value in
            [Value::Timestamp(before_christ), Value::TimestampTz(before_christ), Value::Date(-800_000)]
        {
            let (word, text) = (Kind::of(&value).unwrap().word(), value.to_text());
            assert!(text.ends_with(" BC") && aside(word, text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn names_and_pages_have_bounds() {
        let mut shape = Shape { layout: headwater_model::Layout::Hash, fields: Vec::new() };
        let text = column("text");
        assert!(takes(&shape, 0, "größe", text));
        shape.fields.push(("Größe".into(), text));
        for name in [
            "größe",
            "",
            "a ",
            "a\t",
            "a\r\n",
            "a\u{3000}",
            "a\0",
            "🦀",
            "Headwater_x",
            "DB_ROW_ID",
            &"x".repeat(65),
        ] {
            assert!(!takes(&shape, 0, name, text), "{name:?}");
        }
        let fitting = (0..).take_while(|n| {
            let name = format!("f{n}");
            let takes = takes(&shape, 2, &name, text);
            shape.fields.push((name.into(), text));
            takes
        });
        assert_eq!(fitting.count(), 101);
    }
}
