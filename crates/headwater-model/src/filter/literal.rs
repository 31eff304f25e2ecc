//! Texts read as the kind of a column: literals of filters, parameters of readers.

use crate::{ColumnType, Value};

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// A number literal beside a column of `kind`; `None` if such a column does not compare with numbers.
pub(super) fn number(text: &str, kind: Option<&ColumnType>) -> Option<Value> {
    match kind {
        None | Some(ColumnType::Int | ColumnType::Decimal) => {
            Some(text.parse().map_or_else(|_| Value::Decimal(text.into()), Value::Int))
        }
        Some(ColumnType::Float) => text.parse().ok().map(Value::Float),
        // SQLite reads a literal that is no 64-bit integer as a float.
        Some(ColumnType::Dynamic) => match text.parse() {
            Ok(n) => Some(Value::Int(n)),
            Err(_) => text.parse().ok().map(Value::Float),
        },
        _ => None,
    }
}

/// A text literal beside a column of `kind`; `None` if it is no such value.
pub(crate) fn text(text: &str, kind: Option<&ColumnType>) -> Option<Value> {
    let trimmed = text.trim();
    match kind {
        None | Some(ColumnType::Text | ColumnType::Dynamic) => Some(Value::Text(text.into())),
        Some(ColumnType::Bool) => match trimmed.to_ascii_lowercase().as_str() {
            "t" | "true" | "y" | "yes" | "on" | "1" => Some(Value::Bool(true)),
            "f" | "false" | "n" | "no" | "off" | "0" => Some(Value::Bool(false)),
            _ => None,
        },
        Some(ColumnType::Int) => trimmed.parse().ok().map(Value::Int),
        Some(ColumnType::Float) => match trimmed.to_ascii_lowercase().as_str() {
            "nan" => Some(Value::Float(f64::NAN)),
            "infinity" => Some(Value::Float(f64::INFINITY)),
            "-infinity" => Some(Value::Float(f64::NEG_INFINITY)),
            _ => is_number(trimmed).then(|| trimmed.parse().ok().map(Value::Float)).flatten(),
        },
        Some(ColumnType::Decimal) => match trimmed.to_ascii_lowercase().as_str() {
            "nan" => Some(Value::Decimal("NaN".into())),
            "infinity" => Some(Value::Decimal("Infinity".into())),
            "-infinity" => Some(Value::Decimal("-Infinity".into())),
            _ => is_number(trimmed).then(|| Value::Decimal(trimmed.into())),
        },
        Some(ColumnType::Date) => match trimmed {
            "infinity" => Some(Value::Date(i32::MAX)),
            "-infinity" => Some(Value::Date(i32::MIN)),
            _ => date(trimmed).and_then(|days| i32::try_from(days).ok()).map(Value::Date),
        },
        Some(ColumnType::Time) => time(trimmed).map(Value::Time),
        Some(ColumnType::Timestamp) => stamp(trimmed, false).map(Value::Timestamp),
        Some(ColumnType::TimestampTz) => stamp(trimmed, true).map(Value::TimestampTz),
        Some(ColumnType::Bytes | ColumnType::Json | ColumnType::List(_)) => None,
    }
}

/// Digits with an optional sign, fraction and exponent.
pub(crate) fn is_number(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.strip_prefix(['-', '+']).unwrap_or(exponent)),
        None => (text, "0"),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if exponent.is_empty() || (whole.is_empty() && fraction.is_empty()) {
        return false;
    }
    [whole, fraction, exponent].iter().all(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
}

fn field(text: &str, width: std::ops::RangeInclusive<usize>, max: i64) -> Option<i64> {
    let plain = width.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten().filter(|n| *n <= max)
}

/// Days since 1970-01-01 of `YYYY-MM-DD`, `BC` allowed at the end.
fn date(text: &str) -> Option<i64> {
    let (text, bc) = match text.strip_suffix(" BC") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let mut parts = text.splitn(3, '-');
    let year = field(parts.next()?, 4..=6, 294_276)?;
    let month = field(parts.next()?, 1..=2, 12)?;
    let day = field(parts.next()?, 1..=2, 31)?;
    if year == 0 || month == 0 || day == 0 {
        return None;
    }
    let year = if bc { 1 - year } else { year };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if day > longest {
        return None;
    }
    // Howard Hinnant's `days_from_civil`.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    Some(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468)
}

/// Microseconds of `HH:MM[:SS[.ffffff]]`.
fn time(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, ':');
    let hours = field(parts.next()?, 1..=2, 24)?;
    let minutes = field(parts.next()?, 2..=2, 59)?;
    let (seconds, fraction) = match parts.next() {
        Some(rest) => rest.split_once('.').unwrap_or((rest, "")),
        None => ("00", ""),
    };
    let seconds = field(seconds, 2..=2, 59)?;
    let micros = field(&format!("{fraction:0<6}"), 6..=6, 999_999)?;
    let total = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros;
    (total <= MICROS_PER_DAY).then_some(total)
}

/// Microseconds of a date, alone or with a time; with `zoned`, an offset from UTC may follow.
fn stamp(text: &str, zoned: bool) -> Option<i64> {
    match text {
        "infinity" => return Some(i64::MAX),
        "-infinity" => return Some(i64::MIN),
        _ => {}
    }
    let (text, bc) = match text.strip_suffix(" BC") {
        Some(text) => (text, " BC"),
        None => (text, ""),
    };
    let Some((day, clock)) = text.split_once(['T', ' ']) else {
        return date(&format!("{text}{bc}"))?.checked_mul(MICROS_PER_DAY);
    };
    let (clock, offset) = if zoned { split_zone(clock.trim())? } else { (clock, 0) };
    date(&format!("{day}{bc}"))?
        .checked_mul(MICROS_PER_DAY)?
        .checked_add(time(clock.trim_end())?)?
        .checked_sub(offset)
}

/// Splits `12:30+02` into the clock and the zone's microseconds east of UTC.
fn split_zone(text: &str) -> Option<(&str, i64)> {
    if let Some(clock) = text.strip_suffix(['Z', 'z']).or_else(|| text.strip_suffix("UTC")) {
        return Some((clock, 0));
    }
    let Some(at) = text.rfind(['+', '-']) else { return Some((text, 0)) };
    let (clock, zone) = text.split_at(at);
    let (hours, minutes) = match zone[1..].split_once(':') {
        Some(parts) => parts,
        None if zone.len() == 5 => zone[1..].split_at_checked(2)?,
        None => (&zone[1..], "00"),
    };
    let offset = (field(hours, 1..=2, 15)? * 60 + field(minutes, 2..=2, 59)?) * 60_000_000;
    Some((clock, if zone.starts_with('-') { -offset } else { offset }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_back_what_they_print() {
        for days in [-719_529, -719_162, -1, 0, 59, 11_016, 19_782, 20_000, 2_932_896] {
            let value = Value::Date(days);
            assert_eq!(text(&value.to_text(), Some(&ColumnType::Date)), Some(value));
        }
        for micros in [0, 1, -1, 1_500_000, -62_135_596_800_000_000, 1_700_000_000_123_456, i64::MAX] {
            let value = Value::Timestamp(micros);
            assert_eq!(text(&value.to_text(), Some(&ColumnType::Timestamp)), Some(value));
            let value = Value::TimestampTz(micros);
            assert_eq!(text(&value.to_text(), Some(&ColumnType::TimestampTz)), Some(value));
        }
        let zoned = |s: &str| text(s, Some(&ColumnType::TimestampTz));
        assert_eq!(zoned("1970-01-01 02:00:00+02"), Some(Value::TimestampTz(0)));
        assert_eq!(zoned("1969-12-31 19:30-04:30"), Some(Value::TimestampTz(0)));
        assert_eq!(zoned("1970-01-01T00:00:00Z"), Some(Value::TimestampTz(0)));
        for wrong in [
            "2023-02-29",
            "2023-13-01",
            "2023-1",
            "x",
            "2023-01-01 25:00",
            "2023-01-01 10:00+",
            "2023-01-01 10:00+aé1",
        ] {
            assert_eq!(zoned(wrong), None, "{wrong}");
        }
    }
}
