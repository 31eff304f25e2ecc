//! Dates and times from PostgreSQL's ISO output to the model's counts since 1970.

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// Microseconds between 1970-01-01 and 2000-01-01, PostgreSQL's own epoch.
pub(super) const EPOCH_MICROS: i64 = 946_684_800 * MICROS_PER_SECOND;

/// `2024-02-29`, `0044-03-15 BC`, `infinity`: days since 1970-01-01.
pub(super) fn date(text: &[u8]) -> Option<i32> {
    match text {
        b"infinity" => return Some(i32::MAX),
        b"-infinity" => return Some(i32::MIN),
        _ => {}
    }
    let (text, bc) = era(text);
    let mut cursor = Cursor(text);
    let days = cursor.date(bc)?;
    cursor.end()?;
    i32::try_from(days).ok()
}

/// `23:59:59.999999`, `24:00:00`: microseconds since midnight.
pub(super) fn time(text: &[u8]) -> Option<i64> {
    let mut cursor = Cursor(text);
    let micros = cursor.clock()?;
    cursor.end()?;
    Some(micros)
}

/// A timestamp, with or without zone.
#[derive(Debug, PartialEq)]
pub(super) enum Stamp {
    Micros(i64),
    /// A valid time after 294246 that microseconds since 1970 cannot count to (PostgreSQL counts from 2000).
    TooLate,
}

/// `2024-02-29 12:00:00.5`, with `+00` if it has a zone, `0044-03-15 12:00:00 BC`, `infinity`.
pub(super) fn timestamp(text: &[u8]) -> Option<Stamp> {
    match text {
        b"infinity" => return Some(Stamp::Micros(i64::MAX)),
        b"-infinity" => return Some(Stamp::Micros(i64::MIN)),
        _ => {}
    }
    let (text, bc) = era(text);
    let mut cursor = Cursor(text);
    let days = cursor.date(bc)?;
    cursor.expect(b' ')?;
    let clock = cursor.clock()?;
    let zone = if cursor.0.is_empty() { 0 } else { cursor.zone()? };
    cursor.end()?;
    let micros = days
        .checked_mul(MICROS_PER_DAY)
        .and_then(|micros| micros.checked_add(clock))
        .and_then(|micros| micros.checked_sub(zone))
        .filter(|micros| *micros != i64::MAX);
    Some(micros.map_or(Stamp::TooLate, Stamp::Micros))
}

fn era(text: &[u8]) -> (&[u8], bool) {
    match text.strip_suffix(b" BC") {
        Some(text) => (text, true),
        None => (text, false),
    }
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn expect(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    /// Digits, `least` or more of them.
    fn number(&mut self, least: usize) -> Option<i64> {
        let count = self.0.iter().take(9).take_while(|b| b.is_ascii_digit()).count();
        if count < least {
            return None;
        }
        let (digits, rest) = self.0.split_at(count);
        self.0 = rest;
        Some(digits.iter().fold(0, |n, digit| n * 10 + i64::from(digit - b'0')))
    }

    fn date(&mut self, bc: bool) -> Option<i64> {
        let year = self.number(4)?;
        self.expect(b'-')?;
        let month = self.number(2)?;
        self.expect(b'-')?;
        let day = self.number(2)?;
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        Some(days_from_civil(if bc { 1 - year } else { year }, month, day))
    }

    fn clock(&mut self) -> Option<i64> {
        let hours = self.number(2)?;
        self.expect(b':')?;
        let minutes = self.number(2)?;
        self.expect(b':')?;
        let seconds = self.number(2)?;
        let mut micros = ((hours * 60 + minutes) * 60 + seconds) * MICROS_PER_SECOND;
        if self.expect(b'.').is_some() {
            let digits = self.0.len();
            let fraction = self.number(1)?;
            let digits = digits - self.0.len();
            micros += fraction * 10i64.pow(6u32.checked_sub(digits as u32)?);
        }
        (micros <= MICROS_PER_DAY).then_some(micros)
    }

    /// `+00`, `-03:30`, `+01:02:03`: microseconds east of UTC.
    fn zone(&mut self) -> Option<i64> {
        let (&sign, rest) = self.0.split_first()?;
        self.0 = rest;
        let mut seconds = self.number(2)? * 3600;
        if self.expect(b':').is_some() {
            seconds += self.number(2)? * 60;
            if self.expect(b':').is_some() {
                seconds += self.number(2)?;
            }
        }
        match sign {
            b'+' => Some(seconds * MICROS_PER_SECOND),
            b'-' => Some(-seconds * MICROS_PER_SECOND),
            _ => None,
        }
    }
}

/// Howard Hinnant's `days_from_civil`; year 0 is 1 BC.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use headwater_model::Value;

    #[test]
    fn dates_read_as_they_print() {
        for text in
            ["1970-01-01", "2024-02-29", "0001-01-01", "0044-03-15 BC", "4713-01-01 BC", "5874897-12-31"]
        {
            let days = date(text.as_bytes());
            assert_eq!(days.map(|d| Value::Date(d).to_text()).as_deref(), Some(text));
        }
        assert_eq!(date(b"infinity"), Some(i32::MAX));
        assert_eq!(date(b"-infinity"), Some(i32::MIN));
        assert_eq!(date(b"2024-13-01"), None);
        assert_eq!(date(b"2024-01-01x"), None);
    }

    #[test]
    fn times_read_as_they_print() {
        for text in ["00:00:00", "24:00:00", "23:59:59.999999", "12:00:00.5"] {
            assert_eq!(time(text.as_bytes()).map(|t| Value::Time(t).to_text()).as_deref(), Some(text));
        }
        assert_eq!(time(b"12:00:00.1234567"), None);
        assert_eq!(time(b"99:00:00"), None);
    }

    #[test]
    fn timestamps_keep_microseconds_era_and_infinity() {
        assert_eq!(timestamp(b"1970-01-01 00:00:01.5+00"), Some(Stamp::Micros(1_500_000)));
        assert_eq!(timestamp(b"1970-01-01 01:00:00+01:30"), Some(Stamp::Micros(-1_800_000_000)));
        assert_eq!(timestamp(b"2000-01-01 00:00:00"), Some(Stamp::Micros(EPOCH_MICROS)));
        assert_eq!(timestamp(b"infinity"), Some(Stamp::Micros(i64::MAX)));
        assert_eq!(timestamp(b"-infinity"), Some(Stamp::Micros(i64::MIN)));
        assert_eq!(timestamp(b"294276-12-31 23:59:59.999999"), Some(Stamp::TooLate));
        let Some(Stamp::Micros(caesar)) = timestamp(b"0044-03-15 12:00:00 BC") else {
            panic!("a BC timestamp reads")
        };
        assert_eq!(Value::Timestamp(caesar).to_text(), "0044-03-15T12:00:00 BC");
        assert!(matches!(timestamp(b"4714-11-24 00:00:00+00 BC"), Some(Stamp::Micros(_))));
        assert_eq!(timestamp(b"1970-01-01"), None);
    }
}
