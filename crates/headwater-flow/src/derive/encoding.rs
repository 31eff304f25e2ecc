//! Bytes that the mirror is keyed by: of primary keys, of join columns, and of sort orders.

use headwater_model::wire::{Reader, write_value};
use headwater_model::{Key, Result, Value};

/// Appends a primary key's bytes. They read back as the same key, except that a float without a fraction becomes an
/// integer: SQLite holds the two as one key, and they print alike.
pub(super) fn write_key<'a>(values: impl IntoIterator<Item = &'a Value>, out: &mut Vec<u8>) {
    for value in values {
        match whole_float(value) {
            Some(n) => write_value(&Value::Int(n), out),
            None => write_value(value, out),
        }
    }
}

pub(super) fn key_bytes<'a>(values: impl IntoIterator<Item = &'a Value>) -> Vec<u8> {
    let mut out = Vec::with_capacity(16);
    write_key(values, &mut out);
    out
}

pub(super) fn read_key(bytes: &[u8]) -> Result<Key> {
    let mut reader = Reader::new(bytes);
    let mut values = Vec::with_capacity(1);
    while !reader.is_empty() {
        values.push(reader.value()?);
    }
    Ok(Key(values))
}

/// Bytes that are equal iff SQL's `=` holds between the columns, `None` if some value is NULL and so never matches, or
/// not known yet. The same as [`key_bytes`] unless there are decimals, which are equal across their scales.
pub(super) fn join_bytes(cells: &[Value], columns: &[usize]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(16);
    for &column in columns {
        match &cells[column] {
            Value::Null | Value::Unchanged => return None,
            Value::Decimal(text) => {
                let decimal = Number::parse(text);
                match decimal.whole() {
                    Some(n) => write_value(&Value::Int(n), &mut out),
                    None => decimal.write(&mut out),
                }
            }
            value => write_key([value], &mut out),
        }
    }
    Some(out)
}

fn whole_float(value: &Value) -> Option<i64> {
    match value {
        // 2^53: below it each whole float is one integer and no other.
        Value::Float(f) if f.fract() == 0.0 && f.abs() <= 9_007_199_254_740_992.0 => Some(*f as i64),
        _ => None,
    }
}

/// Appends bytes that compare as [`Value::compare`] orders, reversed if `descending`; no value's bytes are a prefix of
/// another's, so columns can follow each other.
pub(super) fn write_sort(value: &Value, descending: bool, out: &mut Vec<u8>) {
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
struct Number {
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
    fn parse(text: &str) -> Number {
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
    fn whole(&self) -> Option<i64> {
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

    fn write(&self, out: &mut Vec<u8>) {
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
        fn join_bytes_are_equal_iff_values_are(a in "-?[0-9]{1,2}(\\.[0-9]{1,2})?", b in "-?[0-9]{1,2}(\\.[0-9]{1,2})?") {
            let (a, b) = (Value::Decimal(a.into()), Value::Decimal(b.into()));
            let joined = |v: &Value| join_bytes(std::slice::from_ref(v), &[0]);
            prop_assert_eq!(joined(&a) == joined(&b), a.same(&b));
        }
    }

    #[test]
    fn whole_numbers_join_whatever_their_kind() {
        let joined = |v: Value| join_bytes(&[v], &[0]);
        assert_eq!(joined(Value::Int(-50)), joined(Value::Decimal("-50.00".into())));
        assert_eq!(joined(Value::Int(3)), joined(Value::Float(3.0)));
        assert_eq!(joined(Value::Int(i64::MIN)), joined(Value::Decimal(i64::MIN.to_string().into())));
        assert_ne!(joined(Value::Int(5)), joined(Value::text("5")));
        assert_eq!(joined(Value::Null), None);
        assert_eq!(
            read_key(&key_bytes(&[Value::Int(7), Value::text("x")])).ok(),
            Some(Key(vec![Value::Int(7), Value::text("x")]))
        );
    }
}
