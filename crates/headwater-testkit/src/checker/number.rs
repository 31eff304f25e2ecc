//! Numbers compared by value, from their text, without a float in between.

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

#[cfg(test)]
mod tests {
    use super::canonical;

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
