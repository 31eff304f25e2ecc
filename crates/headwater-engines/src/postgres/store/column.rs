//! The types of a read model's columns: which values each holds exactly, and how they go in and come out.
//!
//! Does not own what becomes of a value that its column does not hold: that is `rest`.
//!
//! Invariant: a cell that goes in comes out as the same text ([`Value::to_text`]), digit by digit.

use headwater_model::Value;

use crate::postgres::codec::Decode;
use crate::sql::store::kind::{Kind, digits, is_json};
use crate::sql::store::shape::ColumnKind;

/// 4714-11-24 BC, where the server's calendar begins.
const FIRST_DAY: i32 = -2_440_588;
/// 5874897-12-31, where it ends.
const LAST_DAY: i32 = 2_145_031_948;
const FIRST_MICROS: i64 = FIRST_DAY as i64 * 86_400_000_000;

/// Digits of a `numeric` that are sure to fit, before and behind the point together.
const DIGITS_MAX: usize = 10_000;

impl ColumnKind for Kind {
    type Cell = String;

    fn written(&self) -> String {
        self.word().into()
    }

    fn read(written: &str) -> Option<Kind> {
        Kind::named(written)
    }

    fn cell(&self, value: &Value) -> (Option<String>, bool) {
        let cell = cell(*self, value);
        let exact = cell.is_some();
        (cell, exact)
    }

    /// What [`Value::to_text`] gives for the value whose text the server printed.
    fn text(&self, printed: Vec<u8>) -> Option<Vec<u8>> {
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
        Some(decode.value(&printed)?.to_text().into_bytes())
    }
}

/// The text that the type reads; `None` if it would not hold the value exactly. Not for NULL.
fn cell(kind: Kind, value: &Value) -> Option<String> {
    let holds = match (kind, value) {
        (Kind::Bool, Value::Bool(_))
        | (Kind::Int, Value::Int(_))
        | (Kind::Decimal, Value::Int(_))
        | (Kind::Float, Value::Float(_))
        | (Kind::Bytes, Value::Bytes(_))
        | (Kind::Time, Value::Time(_)) => true,
        // As far as a float prints whole numbers without an exponent.
        (Kind::Float, Value::Int(n)) => n.unsigned_abs() < 1_000_000_000_000_000,
        (Kind::Int, Value::Decimal(text)) => digits(text).is_some() && text.parse::<i64>().is_ok(),
        (Kind::Decimal, Value::Decimal(text)) => {
            digits(text).is_some_and(|(whole, fraction)| whole.len() + fraction.len() <= DIGITS_MAX)
                || matches!(&**text, "NaN" | "Infinity" | "-Infinity")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_takes_what_it_gives_back_and_nothing_else() {
        let decimal = |text: &str| cell(Kind::Decimal, &Value::Decimal(text.into()));
        for fine in ["0", "-1", "1.50", "0.00", "123456789012345678901234567890.1", "NaN", "-Infinity"] {
            assert_eq!(decimal(fine).as_deref(), Some(fine));
        }
        for other in ["-0.00", "007", "1.", ".5", "1e5", "", "-", "nan"] {
            assert_eq!(decimal(other), None, "{other}");
        }
        assert_eq!(cell(Kind::Text, &Value::text("a\0b")), None);
        assert_eq!(cell(Kind::Int, &Value::text("1")), None);
        assert_eq!(cell(Kind::Int, &Value::Decimal("5".into())).as_deref(), Some("5"));
        assert_eq!(cell(Kind::Int, &Value::Decimal("5.0".into())), None);
        assert_eq!(cell(Kind::Float, &Value::Int(1_000_000_000_000_000)), None);
        assert_eq!(cell(Kind::Date, &Value::Date(FIRST_DAY - 1)), None);
        assert_eq!(cell(Kind::Json, &Value::Json("{\"a\":".into())), None);
    }
}
