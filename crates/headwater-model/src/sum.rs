//! Exact sums that values can be taken out of again.
//!
//! A float would drift with each row that leaves; a decimal of fixed width would overflow where SQL does not. So the sum is
//! of integers of any size, one per scale: the digits after the point of a `numeric` sum are as many as its longest term has, and
//! when that term leaves, they become fewer, as SQL on the remaining rows would print.

use num_bigint::BigInt;

use crate::wire::{Reader, write_bytes, write_varint};
use crate::{Error, Result, Value};

/// The sum of some values, as SQL's `sum` over them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    nans: u64,
    infinities: u64,
    negative_infinities: u64,
    /// By scale, ascending.
    parts: Vec<Part>,
}

/// The terms with `scale` digits after the point, summed as integers of that unit.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    scale: u32,
    terms: u64,
    total: BigInt,
}

/// A value as something to be summed.
enum Term {
    NaN,
    Infinity,
    NegativeInfinity,
    Number { scale: u32, units: BigInt },
}

impl Sum {
    /// `Corrupt` if the value is the text of no number.
    pub fn add(&mut self, value: &Value) -> Result<()> {
        match Term::of(value)? {
            Term::NaN => self.nans += 1,
            Term::Infinity => self.infinities += 1,
            Term::NegativeInfinity => self.negative_infinities += 1,
            Term::Number { scale, units } => match self.parts.binary_search_by_key(&scale, |p| p.scale) {
                Ok(place) => {
                    self.parts[place].terms += 1;
                    self.parts[place].total += units;
                }
                Err(place) => self.parts.insert(place, Part { scale, terms: 1, total: units }),
            },
        }
        Ok(())
    }

    /// Takes a value out that was added before. `Corrupt` if there is none of its kind.
    pub fn take(&mut self, value: &Value) -> Result<()> {
        let one_less = |count: &mut u64| {
            *count = count.checked_sub(1).ok_or_else(never_added)?;
            Ok(())
        };
        match Term::of(value)? {
            Term::NaN => one_less(&mut self.nans),
            Term::Infinity => one_less(&mut self.infinities),
            Term::NegativeInfinity => one_less(&mut self.negative_infinities),
            Term::Number { scale, units } => {
                let place =
                    self.parts.binary_search_by_key(&scale, |part| part.scale).map_err(|_| never_added())?;
                let part = &mut self.parts[place];
                part.terms -= 1;
                part.total -= units;
                if part.terms == 0 {
                    self.parts.remove(place);
                }
                Ok(())
            }
        }
    }

    /// NULL without any term; an integer where it is one of 64 bits without digits after the point, else a decimal.
    pub fn value(&self) -> Value {
        if self.nans > 0 || (self.infinities > 0 && self.negative_infinities > 0) {
            return Value::Decimal("NaN".into());
        }
        if self.infinities > 0 {
            return Value::Decimal("Infinity".into());
        }
        if self.negative_infinities > 0 {
            return Value::Decimal("-Infinity".into());
        }
        let Some(scale) = self.parts.last().map(|part| part.scale) else { return Value::Null };
        let units = |part: &Part| &part.total * BigInt::from(10).pow(scale - part.scale);
        let total: BigInt = self.parts.iter().map(units).sum();
        match i64::try_from(&total) {
            Ok(n) if scale == 0 => Value::Int(n),
            _ => Value::Decimal(decimal_text(&total, scale).into()),
        }
    }

    /// The sum divided by the number of terms, rounded half away from zero to `digits` more digits after the point than the
    /// sum has; NULL without any term.
    pub fn average(&self, digits: u32) -> Value {
        let terms: u64 = self.parts.iter().map(|part| part.terms).sum();
        let (units, scale) = match Term::of(&self.value()) {
            Ok(Term::Number { scale, units }) if terms > 0 => (units, scale),
            _ => return self.value(),
        };
        let doubled = units * BigInt::from(10).pow(digits) * 2;
        let terms = BigInt::from(terms);
        let half = if doubled < BigInt::ZERO { -terms.clone() } else { terms.clone() };
        Value::Decimal(decimal_text(&((doubled + half) / (terms * 2)), scale + digits).into())
    }

    /// Appends bytes that [`Sum::read`] reads.
    pub fn write(&self, out: &mut Vec<u8>) {
        for count in [self.nans, self.infinities, self.negative_infinities, self.parts.len() as u64] {
            write_varint(count, out);
        }
        for part in &self.parts {
            write_varint(u64::from(part.scale), out);
            write_varint(part.terms, out);
            write_bytes(&part.total.to_signed_bytes_le(), out);
        }
    }

    /// Reads what [`Sum::write`] wrote; `Corrupt` if it is something else.
    pub fn read(reader: &mut Reader<'_>) -> Result<Sum> {
        let (nans, infinities, negative_infinities) = (reader.varint()?, reader.varint()?, reader.varint()?);
        let mut parts = Vec::new();
        for _ in 0..reader.varint()? {
            let scale =
                u32::try_from(reader.varint()?).map_err(|_| Error::corrupt("a scale is out of range"))?;
            let terms = reader.varint()?;
            parts.push(Part { scale, terms, total: BigInt::from_signed_bytes_le(reader.bytes()?) });
        }
        Ok(Sum { nans, infinities, negative_infinities, parts })
    }
}

impl Term {
    /// As SQL's `sum` takes it: a number by its value; of SQLite's texts and blobs the number that they begin with, else
    /// zero, and so for kinds that are no numbers at all, which `check` refuses.
    fn of(value: &Value) -> Result<Term> {
        match value {
            Value::Int(n) => Ok(Term::Number { scale: 0, units: BigInt::from(*n) }),
            Value::Decimal(text) => Term::parse(text),
            // As the decimal that it prints as.
            Value::Float(_) => Term::parse(&value.to_text()),
            Value::Text(text) => Term::of(&leading_number(text)),
            Value::Bytes(bytes) => Term::of(&leading_number(&String::from_utf8_lossy(bytes))),
            _ => Ok(Term::Number { scale: 0, units: BigInt::ZERO }),
        }
    }

    fn parse(text: &str) -> Result<Term> {
        match text {
            "NaN" => return Ok(Term::NaN),
            "Infinity" => return Ok(Term::Infinity),
            "-Infinity" => return Ok(Term::NegativeInfinity),
            _ => {}
        }
        let broken = || Error::corrupt(format!("a number of the source cannot be summed: {text}"));
        // Only texts of floats have an exponent, so it is small.
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let exponent: i32 = exponent.parse().map_err(|_| broken())?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let units: BigInt = format!("{whole}{fraction}").parse().map_err(|_| broken())?;
        let scale = i64::try_from(fraction.len()).unwrap_or(i64::MAX).saturating_sub(i64::from(exponent));
        let small = |n: i64| u32::try_from(n).ok().filter(|n| *n <= SCALE_MAX).ok_or_else(broken);
        Ok(match scale {
            ..0 => Term::Number { scale: 0, units: units * BigInt::from(10).pow(small(-scale)?) },
            scale => Term::Number { scale: small(scale)?, units },
        })
    }
}

/// More digits than any source has on either side of the point (PostgreSQL: 131,072 before, 16,383 after it).
const SCALE_MAX: u32 = 200_000;

/// What SQLite makes of a text where it wants a number: the longest number at its beginning, else zero.
fn leading_number(text: &str) -> Value {
    let text = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let digits = |from: usize| text.bytes().skip(from).take_while(u8::is_ascii_digit).count();
    let sign = usize::from(text.starts_with(['-', '+']));
    let whole = digits(sign);
    let mut end = sign + whole;
    let mut fraction = 0;
    if text[end..].starts_with('.') {
        fraction = digits(end + 1);
        end += 1 + fraction;
    }
    if whole + fraction == 0 {
        return Value::Int(0);
    }
    if text[end..].starts_with(['e', 'E']) {
        let sign = usize::from(text[end + 1..].starts_with(['-', '+']));
        let exponent = digits(end + 1 + sign);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    let number = &text[..end];
    match number.parse() {
        Ok(n) => Value::Int(n),
        // Through a float, as SQLite does: so an exponent of any size is harmless.
        Err(_) => Value::Float(number.parse().unwrap_or(0.0)),
    }
}

fn decimal_text(units: &BigInt, scale: u32) -> String {
    let text = units.to_string();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.as_str()),
    };
    if scale == 0 {
        return text;
    }
    let scale = scale as usize;
    let digits = format!("{}{digits}", "0".repeat((scale + 1).saturating_sub(digits.len())));
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

fn never_added() -> Error {
    Error::corrupt("a value is taken out of a sum that it was never added to")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(values: &[Value]) -> Value {
        let mut sum = Sum::default();
        values.iter().for_each(|value| sum.add(value).expect("a number"));
        sum.value()
    }

    fn decimal(text: &str) -> Value {
        Value::Decimal(text.into())
    }

    #[test]
    fn sums_print_as_sql_prints_them() {
        assert_eq!(sum(&[]), Value::Null);
        assert_eq!(sum(&[Value::Int(i64::MAX), Value::Int(-1)]), Value::Int(i64::MAX - 1));
        assert_eq!(sum(&[Value::Int(i64::MAX), Value::Int(1)]), decimal("9223372036854775808"));
        assert_eq!(sum(&[Value::Int(i64::MIN), Value::Int(-1)]), decimal("-9223372036854775809"));
        assert_eq!(sum(&[decimal("0.10"), decimal("0.2")]), decimal("0.30"));
        assert_eq!(sum(&[decimal("-0.005"), decimal("0.001")]), decimal("-0.004"));
        assert_eq!(sum(&[decimal("1.5"), decimal("-1.50")]), decimal("0.00"));
        assert_eq!(sum(&[decimal("7")]), Value::Int(7));
        assert_eq!(sum(&[decimal("1"), decimal("Infinity")]), decimal("Infinity"));
        assert_eq!(sum(&[decimal("-Infinity"), decimal("1")]), decimal("-Infinity"));
        assert_eq!(sum(&[decimal("-Infinity"), decimal("Infinity")]), decimal("NaN"));
        assert_eq!(sum(&[decimal("NaN"), decimal("Infinity")]), decimal("NaN"));
    }

    #[test]
    fn what_sqlite_calls_a_number_counts() {
        assert_eq!(sum(&[Value::Float(0.1), Value::Float(0.2)]), decimal("0.3"));
        assert_eq!(sum(&[Value::Float(1e20), Value::Int(1)]), decimal("100000000000000000001"));
        assert_eq!(sum(&[Value::Float(-2.5e-7)]), decimal("-0.00000025"));
        assert_eq!(sum(&[Value::Float(f64::INFINITY)]), decimal("Infinity"));
        assert_eq!(sum(&[Value::text(" 12abc"), Value::text("abc"), Value::text("")]), Value::Int(12));
        assert_eq!(sum(&[Value::text("-.5e1x"), Value::text("1e"), Value::text("+3.")]), Value::Int(-1));
        assert_eq!(
            sum(&[Value::text("é1"), Value::text("7é"), Value::text("-"), Value::text(".")]),
            Value::Int(7)
        );
        assert_eq!(sum(&[Value::text("1e999999999999")]), decimal("Infinity"));
        assert_eq!(sum(&[Value::Bytes(b"4x\xff".as_slice().into())]), Value::Int(4));
        assert_eq!(sum(&[Value::Bool(true)]), Value::Int(0));
    }

    /// A decimal by hand: an integer of units and how many of its digits stand after the point.
    fn term() -> impl Strategy<Value = (i128, u32)> {
        (-1_000_000_000_000_000_000_000i128..1_000_000_000_000_000_000_000, 0u32..6)
    }

    fn text((units, scale): (i128, u32)) -> String {
        let (sign, digits) = (if units < 0 { "-" } else { "" }, units.unsigned_abs().to_string());
        let digits = format!("{digits:0>width$}", width = scale as usize + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
        if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_left_after_any_removals_is_the_sum_of_the_rest(
            terms in prop::collection::vec((term(), any::<bool>()), 0..12),
        ) {
            let mut sum = Sum::default();
            for (term, _) in &terms {
                sum.add(&decimal(&text(*term))).expect("a number");
            }
            for (term, _) in terms.iter().filter(|(_, goes)| *goes) {
                sum.take(&decimal(&text(*term))).expect("it was added");
            }
            let mut bytes = Vec::new();
            sum.write(&mut bytes);
            prop_assert_eq!(&Sum::read(&mut Reader::new(&bytes)).expect("it was written"), &sum);
            let left: Vec<(i128, u32)> = terms.iter().filter(|(_, goes)| !goes).map(|(term, _)| *term).collect();
            let Some(scale) = left.iter().map(|(_, scale)| *scale).max() else {
                prop_assert_eq!(sum.value(), Value::Null);
                return Ok(());
            };
            let total: i128 = left.iter().map(|(units, own)| units * 10i128.pow(scale - own)).sum();
            prop_assert_eq!(sum.value().to_text(), text((total, scale)));
        }
    }

    #[test]
    fn a_value_that_was_never_added_is_not_taken() {
        let mut sum = Sum::default();
        assert!(sum.take(&decimal("1.0")).is_err());
        assert!(sum.take(&decimal("NaN")).is_err());
        assert!(sum.add(&decimal("x")).is_err());
    }
}
