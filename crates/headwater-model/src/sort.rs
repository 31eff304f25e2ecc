//! Bytes that sort as values do: for indexes of stores whose keys are plain bytes, and of the local mirror.
//!
//! The form is fixed by its order: numbers of every kind by value, text by bytes, NULL last. It reads back as the same
//! value up to equality: a number returns as the decimal with its digits.

use crate::{Error, Result, Value};

/// Appends bytes that compare as [`Value::compare`] orders, reversed if `descending`; no value's bytes are a prefix of
/// another's, so columns can follow each other.
pub fn write_sort(value: &Value, descending: bool, out: &mut Vec<u8>) {
    let start = out.len();
    write_ascending(value, out);
    if descending {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

fn write_ascending(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Bool(b) => out.extend_from_slice(&[0, u8::from(*b)]),
        Value::Int(n) => write_number(itoa::Buffer::new().format(*n), out),
        Value::Float(_) | Value::Decimal(_) => write_number(&value.to_text(), out),
        Value::Date(days) => write_integer(2, i64::from(*days), out),
        Value::Time(micros) => write_integer(3, *micros, out),
        Value::Timestamp(micros) => write_integer(4, *micros, out),
        Value::TimestampTz(micros) => write_integer(5, *micros, out),
        Value::Text(text) => write_escaped(6, text.as_bytes(), out),
        Value::Bytes(bytes) => write_escaped(7, bytes, out),
        Value::Json(text) => write_escaped(8, text.as_bytes(), out),
        Value::List(items) => {
            out.push(9);
            for item in items {
                out.push(1);
                write_ascending(item, out);
            }
            out.push(0);
        }
        Value::Record(_) => out.push(10),
        Value::Unchanged => out.push(11),
        Value::Null => out.push(12),
    }
}

fn write_integer(rank: u8, n: i64, out: &mut Vec<u8>) {
    out.push(rank);
    out.extend_from_slice(&((n as u64) ^ (1 << 63)).to_be_bytes());
}

fn write_escaped(rank: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(rank);
    for &byte in bytes {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

fn write_number(text: &str, out: &mut Vec<u8>) {
    out.push(1);
    Number::parse(text).write(out);
}

/// A number by its significant digits, without zeros at either end: one form for each value.
pub struct Number {
    class: Class,
    /// The power of ten of the first digit, plus one.
    exponent: i32,
    digits: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    NegativeInfinity,
    Negative,
    Zero,
    Positive,
    Infinity,
    NaN,
}

impl Number {
    /// Of the digits of a decimal, or `NaN`, `Infinity`, `-Infinity`.
    pub fn parse(text: &str) -> Number {
        let special = |class| Number { class, exponent: 0, digits: Vec::new() };
        match text {
            "-Infinity" => return special(Class::NegativeInfinity),
            "Infinity" => return special(Class::Infinity),
            "NaN" => return special(Class::NaN),
            _ => {}
        }
        let (class, text) = match text.strip_prefix('-') {
            Some(rest) => (Class::Negative, rest),
            None => (Class::Positive, text),
        };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = || whole.bytes().chain(fraction.bytes());
        let Some(first) = digits().position(|d| d != b'0') else { return special(Class::Zero) };
        let mut digits: Vec<u8> = digits().skip(first).collect();
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        let exponent = (whole.len() as i32).wrapping_sub(first as i32).saturating_add(exponent);
        Number { class, exponent, digits }
    }

    /// The number as an integer of 64 bits, if it is one.
    pub fn whole(&self) -> Option<i64> {
        match self.class {
            Class::Zero => return Some(0),
            Class::Negative | Class::Positive => {}
            _ => return None,
        }
        let length = usize::try_from(self.exponent).ok().filter(|n| *n <= 19 && *n >= self.digits.len())?;
        let mut n: i64 = 0;
        for place in 0..length {
            let digit = self.digits.get(place).map_or(0, |d| i64::from(d - b'0'));
            // Downwards, because the smallest integer has no positive counterpart.
            n = n.checked_mul(10)?.checked_sub(digit)?;
        }
        if self.class == Class::Negative { Some(n) } else { n.checked_neg() }
    }

    /// Appends bytes that compare as numbers do.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(0x40 + self.class as u8);
        if !matches!(self.class, Class::Negative | Class::Positive) {
            return;
        }
        let start = out.len();
        out.extend_from_slice(&((self.exponent as u32) ^ (1 << 31)).to_be_bytes());
        out.extend_from_slice(&self.digits);
        out.push(0);
        if self.class == Class::Negative {
            out[start..].iter_mut().for_each(|byte| *byte = !*byte);
        }
    }
}

/// Reads the value at the start of `bytes`, and what follows it. `Corrupt` if these are not bytes of [`write_sort`].
pub fn read_sort(bytes: &[u8], descending: bool) -> Result<(Value, &[u8])> {
    let mut reader = Reader { bytes, flip: if descending { 0xff } else { 0 } };
    let value = reader.value()?;
    Ok((value, reader.bytes))
}

/// The bytes of the value at the start of `bytes`, and what follows them. `Corrupt` as [`read_sort`].
pub fn cut_sort(bytes: &[u8], descending: bool) -> Result<(&[u8], &[u8])> {
    let mut reader = Reader { bytes, flip: if descending { 0xff } else { 0 } };
    reader.skip()?;
    Ok(bytes.split_at(bytes.len() - reader.bytes.len()))
}

struct Reader<'a> {
    bytes: &'a [u8],
    /// What each byte is xored with.
    flip: u8,
}

impl<'a> Reader<'a> {
    fn value(&mut self) -> Result<Value> {
        Ok(match self.byte()? {
            0 => Value::Bool(self.byte()? != 0),
            1 => self.number()?,
            2 => Value::Date(i32::try_from(self.integer()?).map_err(|_| broken())?),
            3 => Value::Time(self.integer()?),
            4 => Value::Timestamp(self.integer()?),
            5 => Value::TimestampTz(self.integer()?),
            6 => Value::Text(self.text()?),
            7 => Value::Bytes(self.escaped()?.into()),
            8 => Value::Json(self.text()?),
            9 => {
                let mut items = Vec::new();
                while self.byte()? == 1 {
                    items.push(self.value()?);
                }
                Value::List(items)
            }
            12 => Value::Null,
            _ => return Err(broken()),
        })
    }

    /// Passes over a value without making it.
    fn skip(&mut self) -> Result<()> {
        match self.byte()? {
            0 => self.skip_bytes(1),
            1 => match self.byte()?.wrapping_sub(0x40) {
                class if class == Class::Negative as u8 || class == Class::Positive as u8 => {
                    let end = if class == Class::Negative as u8 { 0xff } else { 0 };
                    self.skip_bytes(4)?;
                    while self.byte()? != end {}
                    Ok(())
                }
                class if class <= Class::NaN as u8 => Ok(()),
                _ => Err(broken()),
            },
            2..=5 => self.skip_bytes(8),
            6..=8 => loop {
                if self.byte()? == 0 && self.byte()? == 0 {
                    return Ok(());
                }
            },
            9 => {
                while self.byte()? == 1 {
                    self.skip()?;
                }
                Ok(())
            }
            12 => Ok(()),
            _ => Err(broken()),
        }
    }

    fn skip_bytes(&mut self, count: usize) -> Result<()> {
        self.bytes = self.bytes.get(count..).ok_or_else(broken)?;
        Ok(())
    }

    fn byte(&mut self) -> Result<u8> {
        let (first, rest) = self.bytes.split_first().ok_or_else(broken)?;
        self.bytes = rest;
        Ok(first ^ self.flip)
    }

    fn integer(&mut self) -> Result<i64> {
        let mut bytes = [0; 8];
        for byte in &mut bytes {
            *byte = self.byte()?;
        }
        Ok((u64::from_be_bytes(bytes) ^ (1 << 63)) as i64)
    }

    fn escaped(&mut self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        loop {
            match self.byte()? {
                0 if self.byte()? == 0 => return Ok(out),
                byte => out.push(byte),
            }
        }
    }

    fn text(&mut self) -> Result<Box<str>> {
        String::from_utf8(self.escaped()?).map(Into::into).map_err(|_| broken())
    }

    fn number(&mut self) -> Result<Value> {
        let class = self.byte()?.wrapping_sub(0x40);
        let sign = match class {
            c if c == Class::NegativeInfinity as u8 => return Ok(Value::Decimal("-Infinity".into())),
            c if c == Class::Infinity as u8 => return Ok(Value::Decimal("Infinity".into())),
            c if c == Class::NaN as u8 => return Ok(Value::Decimal("NaN".into())),
            c if c == Class::Zero as u8 => return Ok(Value::Int(0)),
            c if c == Class::Negative as u8 => "-",
            c if c == Class::Positive as u8 => "",
            _ => return Err(broken()),
        };
        let outer = self.flip;
        if !sign.is_empty() {
            self.flip ^= 0xff;
        }
        let mut exponent = [0; 4];
        for byte in &mut exponent {
            *byte = self.byte()?;
        }
        let exponent = (u32::from_be_bytes(exponent) ^ (1 << 31)) as i32;
        let mut digits = String::new();
        loop {
            match self.byte()? {
                0 => break,
                digit if digit.is_ascii_digit() => digits.push(char::from(digit)),
                _ => return Err(broken()),
            }
        }
        self.flip = outer;
        Ok(plain_number(sign, &digits, exponent))
    }
}

/// `0.DIGITS × 10^exponent` as a value: an integer where it is one of 64 bits.
fn plain_number(sign: &str, digits: &str, exponent: i32) -> Value {
    let length = digits.len() as i32;
    let text = if !(-400..=400).contains(&exponent) {
        format!("{sign}{digits}e{}", exponent.saturating_sub(length))
    } else if exponent >= length {
        format!("{sign}{digits}{}", "0".repeat((exponent - length) as usize))
    } else if exponent > 0 {
        let (whole, fraction) = digits.split_at(exponent as usize);
        format!("{sign}{whole}.{fraction}")
    } else {
        format!("{sign}0.{}{digits}", "0".repeat(exponent.unsigned_abs() as usize))
    };
    match text.parse() {
        Ok(n) => Value::Int(n),
        Err(_) => Value::Decimal(text.into()),
    }
}

fn broken() -> Error {
    Error::corrupt("bytes of a sort order cannot be read")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sort(value: &Value, descending: bool) -> Vec<u8> {
        let mut out = Vec::new();
        write_sort(value, descending, &mut out);
        out
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            (-20i64..20).prop_map(Value::Int),
            any::<f64>().prop_map(Value::Float),
            (-20i32..20).prop_map(|n| Value::Float(f64::from(n) / 4.0)),
            "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?".prop_map(|s| Value::Decimal(s.into())),
            Just(Value::Decimal("NaN".into())),
            Just(Value::Decimal("-Infinity".into())),
            "[a\\x00\u{1}é]{0,4}".prop_map(|s| Value::Text(s.into())),
            prop::collection::vec(0u8..3, 0..4).prop_map(|b| Value::Bytes(b.into())),
            any::<i32>().prop_map(Value::Date),
            any::<i64>().prop_map(Value::TimestampTz),
        ];
        prop_oneof![4 => leaf.clone(), 1 => prop::collection::vec(leaf, 0..3).prop_map(Value::List)]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn sort_bytes_order_as_values_do(a in value(), b in value()) {
            prop_assert_eq!(sort(&a, false).cmp(&sort(&b, false)), a.compare(&b));
            prop_assert_eq!(sort(&a, true).cmp(&sort(&b, true)), b.compare(&a));
        }

        #[test]
        fn sort_bytes_read_back_as_an_equal_value(a in value(), descending: bool) {
            let mut bytes = sort(&a, descending);
            bytes.extend_from_slice(b"tail");
            let (read, rest) = read_sort(&bytes, descending).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(rest, b"tail");
            prop_assert!(read.same(&a), "{:?} came back as {:?}", a, read);
            let cut = cut_sort(&bytes, descending).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(cut, bytes.split_at(bytes.len() - 4));
            for end in 0..bytes.len() - 4 {
                // A cut form is refused, never read beyond its end.
                prop_assert!(read_sort(&bytes[..end], descending).is_err());
                prop_assert!(cut_sort(&bytes[..end], descending).is_err());
            }
        }
    }
}
