//! Values as rows of the binary log have them.

use std::sync::Arc;

use headwater_model::{Error, Result, Value};

use super::codec::{self, days_of};
use super::json;

/// How a column lies in a row of the log.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Int {
        bytes: usize,
        unsigned: bool,
    },
    Float,
    Double,
    Decimal {
        precision: usize,
        scale: usize,
    },
    Year,
    Date,
    Time {
        digits: usize,
    },
    DateTime {
        digits: usize,
    },
    Timestamp {
        digits: usize,
    },
    Bit {
        bits: usize,
    },
    Enum {
        bytes: usize,
        names: Arc<[Box<str>]>,
    },
    Set {
        bytes: usize,
        names: Arc<[Box<str>]>,
    },
    /// `length`: bytes of the length before it. `padded`: `BINARY(n)`, whose zeros at the end are not in the log.
    Bytes {
        length: usize,
        padded: Option<usize>,
    },
    Text {
        length: usize,
        charset: Charset,
    },
    /// MariaDB's JSON.
    JsonText {
        length: usize,
    },
    /// MySQL's JSON.
    Json {
        length: usize,
    },
}

/// How a text's bytes become UTF-8.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Charset {
    Utf8,
    /// The server's own table of the 256 characters.
    Single(Arc<[char]>),
    Utf16 {
        big_endian: bool,
    },
    Utf32,
}

impl Charset {
    pub fn text(&self, bytes: &[u8]) -> Value {
        let text = match self {
            Charset::Utf8 => std::str::from_utf8(bytes).ok().map(str::to_owned),
            Charset::Single(table) => {
                Some(bytes.iter().filter_map(|byte| table.get(usize::from(*byte))).collect())
            }
            Charset::Utf16 { big_endian } => {
                let unit = |pair: &[u8]| match (pair, big_endian) {
                    ([a, b], true) => u16::from_be_bytes([*a, *b]),
                    ([a, b], false) => u16::from_le_bytes([*a, *b]),
                    _ => 0xfffd,
                };
                String::from_utf16(&bytes.chunks(2).map(unit).collect::<Vec<_>>()).ok()
            }
            Charset::Utf32 => bytes
                .chunks(4)
                .map(|unit| char::from_u32(u32::from_be_bytes(unit.try_into().ok()?)))
                .collect(),
        };
        match text {
            Some(text) => Value::text(text),
            None => Value::Bytes(bytes.into()),
        }
    }
}

/// A part of the log that is read from its beginning.
pub(super) struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(torn)?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// Little endian, up to eight bytes.
    pub fn le(&mut self, length: usize) -> Result<u64> {
        Ok(self.take(length)?.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
    }

    /// Big endian, up to eight bytes.
    pub fn be(&mut self, length: usize) -> Result<u64> {
        Ok(self.take(length)?.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)))
    }

    /// The protocol's length-encoded integer.
    pub fn packed(&mut self) -> Result<usize> {
        let n = match self.u8()? {
            0xfc => self.le(2)?,
            0xfd => self.le(3)?,
            0xfe => self.le(8)?,
            n => u64::from(n),
        };
        usize::try_from(n).map_err(|_| torn())
    }
}

pub(super) fn torn() -> Error {
    Error::corrupt("an event of the binary log is shorter than it says")
}

impl Cell {
    pub fn read(&self, bytes: &mut Bytes<'_>) -> Result<Value> {
        Ok(match self {
            Cell::Int { bytes: length, unsigned } => {
                let n = bytes.le(*length)?;
                let unused = 64 - 8 * *length as u32;
                match unsigned {
                    true => codec::unsigned(n),
                    false => Value::Int((n << unused) as i64 >> unused),
                }
            }
            Cell::Float => codec::float(f32::from_bits(bytes.le(4)? as u32)),
            Cell::Double => Value::Float(f64::from_bits(bytes.le(8)?)),
            Cell::Decimal { precision, scale } => Value::Decimal(decimal(bytes, *precision, *scale)?.into()),
            Cell::Year => match bytes.u8()? {
                0 => Value::Int(0),
                year => Value::Int(1900 + i64::from(year)),
            },
            Cell::Date => {
                let n = bytes.le(3)? as i64;
                let (year, month, day) = (n >> 9, n >> 5 & 15, n & 31);
                match days_of(year, month, day) {
                    Some(days) => Value::Date(days),
                    None => Value::text(format!("{year:04}-{month:02}-{day:02}")),
                }
            }
            Cell::Time { digits } => Value::text(time(bytes, *digits)?),
            Cell::DateTime { digits } => datetime(bytes, *digits)?,
            Cell::Timestamp { digits } => {
                let seconds = bytes.be(4)? as i64;
                let micros = fraction(bytes, *digits)?;
                match seconds {
                    0 => Value::text(format!("0000-00-00 00:00:00{}", fraction_text(micros, *digits))),
                    seconds => Value::TimestampTz(seconds * 1_000_000 + micros),
                }
            }
            Cell::Bit { bits } => codec::unsigned(bytes.be(bits.div_ceil(8))?),
            Cell::Enum { bytes: length, names } => match bytes.le(*length)? as usize {
                // What an invalid value becomes where the server lets it pass.
                0 => Value::text(""),
                n => Value::Text(names.get(n - 1).ok_or_else(torn)?.clone()),
            },
            Cell::Set { bytes: length, names } => {
                let set = bytes.le(*length)?;
                let names =
                    names.iter().enumerate().filter(|(place, _)| *place < 64 && set >> place & 1 == 1);
                Value::text(names.map(|(_, name)| &**name).collect::<Vec<_>>().join(","))
            }
            Cell::Bytes { length, padded } => {
                let length = bytes.le(*length)? as usize;
                let mut taken = bytes.take(length)?.to_vec();
                if let Some(padded) = padded {
                    taken.resize(taken.len().max(*padded), 0);
                }
                Value::Bytes(taken.into())
            }
            Cell::Text { length, charset } => {
                let length = bytes.le(*length)? as usize;
                charset.text(bytes.take(length)?)
            }
            Cell::JsonText { length } => {
                let length = bytes.le(*length)? as usize;
                match Charset::Utf8.text(bytes.take(length)?) {
                    Value::Text(text) => codec::json(&text),
                    other => other,
                }
            }
            Cell::Json { length } => {
                let length = bytes.le(*length)? as usize;
                Value::Json(json::text(bytes.take(length)?)?.into())
            }
        })
    }
}

/// Nine decimal digits in four bytes, fewer in fewer; the sign turns the bits around.
pub(super) fn decimal(bytes: &mut Bytes<'_>, precision: usize, scale: usize) -> Result<String> {
    const LENGTHS: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];
    let whole = precision.checked_sub(scale).ok_or_else(torn)?;
    let size = whole / 9 * 4 + LENGTHS[whole % 9] + scale / 9 * 4 + LENGTHS[scale % 9];
    let mut buffer = bytes.take(size)?.to_vec();
    let negative = buffer.first().is_some_and(|first| first & 0x80 == 0);
    if let Some(first) = buffer.first_mut() {
        *first ^= 0x80;
    }
    if negative {
        buffer.iter_mut().for_each(|byte| *byte = !*byte);
    }
    let mut rest = Bytes(&buffer);
    let mut text = String::with_capacity(precision + 2);
    let mut digits = |count: usize| -> Result<()> {
        let n = rest.be(LENGTHS[count])?;
        text.push_str(&format!("{n:0count$}"));
        Ok(())
    };
    if !whole.is_multiple_of(9) {
        digits(whole % 9)?;
    }
    for _ in 0..whole / 9 {
        digits(9)?;
    }
    for _ in 0..scale / 9 {
        digits(9)?;
    }
    if !scale.is_multiple_of(9) {
        digits(scale % 9)?;
    }
    let (before, after) = text.split_at(whole);
    let before = match before.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    let sign = if negative { "-" } else { "" };
    Ok(if scale > 0 { format!("{sign}{before}.{after}") } else { format!("{sign}{before}") })
}

/// Microseconds of so many digits.
fn fraction(bytes: &mut Bytes<'_>, digits: usize) -> Result<i64> {
    let length = digits.div_ceil(2);
    let n = bytes.be(length)? as i64;
    Ok(n * [1_000_000, 10_000, 100, 1][length.min(3)])
}

fn fraction_text(micros: i64, digits: usize) -> String {
    match digits {
        0 => String::new(),
        digits => format!(".{}", &format!("{micros:06}")[..digits.min(6)]),
    }
}

fn time(bytes: &mut Bytes<'_>, digits: usize) -> Result<String> {
    let length = 3 + digits.div_ceil(2);
    let raw = bytes.be(length)? as i64;
    let zero = 1i64 << (8 * length - 1);
    let (negative, n) = (raw < zero, (raw - zero).abs());
    let below = 8 * (length - 3);
    let (clock, part) = (n >> below, n & ((1 << below) - 1));
    let micros = part * [1_000_000, 10_000, 100, 1][(length - 3).min(3)];
    let sign = if negative { "-" } else { "" };
    let (hours, minutes, seconds) = (clock >> 12 & 1023, clock >> 6 & 63, clock & 63);
    Ok(format!("{sign}{hours:02}:{minutes:02}:{seconds:02}{}", fraction_text(micros, digits)))
}

fn datetime(bytes: &mut Bytes<'_>, digits: usize) -> Result<Value> {
    let n = bytes.be(5)? as i64 - (1 << 39);
    let micros = fraction(bytes, digits)?;
    let (date, clock) = (n >> 17, n & 0x1_ffff);
    let (year, month, day) = ((date >> 5) / 13, (date >> 5) % 13, date & 31);
    let (hours, minutes, seconds) = (clock >> 12, clock >> 6 & 63, clock & 63);
    Ok(match days_of(year, month, day) {
        Some(days) => {
            let seconds = i64::from(days) * 86_400 + hours * 3600 + minutes * 60 + seconds;
            Value::Timestamp(seconds * 1_000_000 + micros)
        }
        None => Value::text(format!(
            "{year:04}-{month:02}-{day:02} {hours:02}:{minutes:02}:{seconds:02}{}",
            fraction_text(micros, digits)
        )),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(cell: &Cell, bytes: &[u8]) -> Value {
        let mut bytes = Bytes(bytes);
        let value = cell.read(&mut bytes).unwrap();
        assert!(bytes.0.is_empty());
        value
    }

    #[test]
    fn decimals_are_exact() {
        // The example of MySQL's documentation of its storage format: DECIMAL(14,4).
        let bytes = [0x81, 0x0d, 0xfb, 0x38, 0xd2, 0x04, 0xd2];
        let cell = Cell::Decimal { precision: 14, scale: 4 };
        assert_eq!(read(&cell, &bytes), Value::Decimal("1234567890.1234".into()));
        let negative: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
        assert_eq!(read(&cell, &negative), Value::Decimal("-1234567890.1234".into()));
    }

    #[test]
    fn integers_have_their_width_and_sign() {
        let int = |bytes, unsigned| Cell::Int { bytes, unsigned };
        assert_eq!(read(&int(3, false), &[0xff, 0xff, 0xff]), Value::Int(-1));
        assert_eq!(read(&int(3, true), &[0xff, 0xff, 0xff]), Value::Int(16_777_215));
        assert_eq!(read(&int(8, true), &[0xff; 8]), Value::Decimal(u64::MAX.to_string().into()));
        assert_eq!(read(&Cell::Bit { bits: 10 }, &[0x02, 0x01]), Value::Int(513));
    }

    #[test]
    fn moments_read_and_zero_ones_stay_what_they_are() {
        let zero = read(&Cell::DateTime { digits: 2 }, &[0x80, 0, 0, 0, 0, 0]);
        assert_eq!(zero, Value::text("0000-00-00 00:00:00.00"));
        assert_eq!(read(&Cell::Date, &[0, 0, 0]), Value::text("0000-00-00"));
        assert_eq!(read(&Cell::Timestamp { digits: 0 }, &[0, 0, 0, 1]), Value::TimestampTz(1_000_000));
        assert_eq!(read(&Cell::Time { digits: 0 }, &[0x80, 0x10, 0x83]), Value::text("01:02:03"));
        assert_eq!(read(&Cell::Time { digits: 0 }, &[0x7f, 0xef, 0x7d]), Value::text("-01:02:03"));
    }

    #[test]
    fn what_is_too_short_is_an_error() {
        for cell in [Cell::Double, Cell::Bytes { length: 1, padded: None }, Cell::DateTime { digits: 6 }] {
            assert!(cell.read(&mut Bytes(&[3, 1])).is_err(), "{cell:?}");
        }
    }
}
