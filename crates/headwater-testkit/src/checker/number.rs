//! Numbers compared by value, from their text, without a float in between.

use std::cmp::Ordering;

/// One text per number: `1.0`, `1` and `10e-1` give the same. `None` if `text` is not a number.
pub fn canonical(text: &str) -> Option<String> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match rest.find(['e', 'E']) {
        Some(at) => (&rest[..at], rest[at + 1..].parse::<i64>().ok()?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = format!("{whole}{fraction}");
    if whole.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut exponent = exponent - fraction.len() as i64;
    while digits.ends_with('0') {
        digits.pop();
        exponent += 1;
    }
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some("0".into());
    }
    Some(format!("{}{digits}e{exponent}", if negative { "-" } else { "" }))
}

/// Of two numbers, which is less.
pub fn compare(a: &str, b: &str) -> Ordering {
    /// 1, 0 or -1; the power of ten before the first digit; the digits.
    fn parts(text: &str) -> (i8, i64, String) {
        let text = canonical(text).unwrap_or_else(|| panic!("{text} is no number"));
        let Some((digits, exponent)) = text.split_once('e') else { return (0, 0, String::new()) };
        let exponent: i64 = exponent.parse().expect("an exponent");
        match digits.strip_prefix('-') {
            Some(digits) => (-1, exponent + digits.len() as i64, digits.to_owned()),
            None => (1, exponent + digits.len() as i64, digits.to_owned()),
        }
    }
    let ((sign, exponent, digits), (other_sign, other_exponent, other_digits)) = (parts(a), parts(b));
    sign.cmp(&other_sign).then_with(|| {
        let size = exponent.cmp(&other_exponent).then_with(|| digits.cmp(&other_digits));
        if sign < 0 { size.reverse() } else { size }
    })
}

const PLACES: usize = 12;

/// A plain decimal as a number of 10^-12. Panics if it has more places, or does not fit.
pub fn trillionths(text: &str) -> i128 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    assert!(fraction.len() <= PLACES, "{text} has too many places to be summed here");
    format!("{whole}{fraction:0<PLACES$}").parse().unwrap_or_else(|_| panic!("{text} cannot be summed here"))
}

pub fn from_trillionths(number: i128) -> String {
    let digits = format!("{:0>1$}", number.unsigned_abs().to_string(), PLACES + 1);
    let (whole, fraction) = digits.split_at(digits.len() - PLACES);
    format!("{}{whole}.{fraction}", if number < 0 { "-" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::{canonical, compare, from_trillionths, trillionths};

    #[test]
    fn numbers_are_ordered_by_value() {
        let ascending =
            ["-1e20", "-12", "-1.5", "-1.49", "-0.005", "0", "1e-7", "0.1", "1.5", "2", "12", "1e20"];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} and {b}");
            }
        }
        assert!(compare("1.50", "15e-1").is_eq());
    }

    #[test]
    fn decimals_are_summed_exactly() {
        assert_eq!(from_trillionths(trillionths("0.1") + trillionths("0.2")), "0.300000000000");
        assert_eq!(from_trillionths(trillionths("-0.005")), "-0.005000000000");
        let twice = 2 * trillionths("9223372036854775807");
        assert_eq!(from_trillionths(twice), "18446744073709551614.000000000000");
    }

    #[test]
    fn equal_numbers_and_only_they_have_the_same_text() {
        for same in
            [["1.0", "1"], ["1e20", "100000000000000000000"], ["-0.0", "0"], ["0.10", "1E-1"], ["0012", "12"]]
        {
            assert_eq!(canonical(same[0]), canonical(same[1]), "{same:?}");
        }
        assert_ne!(canonical("9007199254740993"), canonical("9007199254740992"));
        assert_ne!(canonical("-1"), canonical("1"));
        for text in ["", "-", "NaN", "1x", ".5", "1.2.3", "e5"] {
            assert_eq!(canonical(text), None, "{text}");
        }
    }
}
