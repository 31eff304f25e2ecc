//! Amounts with units, as the file writes them: `5s`, `64MiB`, `4000/s`. Each reads back what it prints.

use std::time::Duration;

const DURATIONS: [(&str, u64); 6] = [
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
];

const SIZES: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
];

pub(super) const DURATION_REMEDY: &str = "write a whole number and one of us, ms, s, m, h, d, as in \"10s\"";
pub(super) const SIZE_REMEDY: &str =
    "write a whole number and one of B, kB, KiB, MB, MiB, GB, GiB, TB, TiB, as in \"64MiB\"";
pub(super) const RATE_REMEDY: &str = "write rows per second, as in \"4000/s\"";
pub(super) const READS_REMEDY: &str = "write reads per second, as in \"4000/s\"";

/// `500us`, `250ms`, `5s`, `2m`, `1h`, `1d`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    scaled(text, &DURATIONS).map(Duration::from_micros)
}

/// `512B`, `1kB` (1000 bytes), `64MiB` (64 × 1024 × 1024 bytes), `10GiB`.
pub fn parse_size(text: &str) -> Option<u64> {
    scaled(text, &SIZES)
}

/// `4000/s`.
pub fn parse_rate(text: &str) -> Option<u64> {
    whole(text.strip_suffix("/s")?.trim_end())
}

pub fn show_duration(duration: Duration) -> String {
    show(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX), "0s", &DURATIONS)
}

/// In the largest unit that is exact; binary units where they are.
pub fn show_size(bytes: u64) -> String {
    show(bytes, "0B", &SIZES)
}

pub fn show_rate(per_second: u64) -> String {
    format!("{per_second}/s")
}

/// `10%`, `0.5%`, in millionths: more than none, at most all.
pub fn parse_share(text: &str) -> Option<u32> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let percent = text.trim().strip_suffix('%')?.trim_end();
    let (whole, fraction) = percent.split_once('.').unwrap_or((percent, "0"));
    if !digits(whole) || !digits(fraction) || fraction.len() > 4 || whole.len() > 3 {
        return None;
    }
    let millionths: u32 = format!("{whole}{fraction:0<4}").parse().ok()?;
    (1..=1_000_000).contains(&millionths).then_some(millionths)
}

pub fn show_share(millionths: u32) -> String {
    let fraction = format!("{:04}", millionths % 10_000);
    match fraction.trim_end_matches('0') {
        "" => format!("{}%", millionths / 10_000),
        fraction => format!("{}.{fraction}%", millionths / 10_000),
    }
}

const FREQUENCIES: [(&str, f64); 4] = [("/s", 1.0), ("/min", 60.0), ("/h", 3_600.0), ("/day", 86_400.0)];

/// `200/s`, `30/min`, `2000/day`, `0.5/s`: so many per second.
pub fn parse_frequency(text: &str) -> Option<f64> {
    let (unit, seconds) = FREQUENCIES.iter().find(|(unit, _)| text.ends_with(unit))?;
    decimal(text.strip_suffix(unit)?.trim()).map(|amount| amount / seconds)
}

/// In the largest unit in which it is a whole number, else per second.
pub fn show_frequency(per_second: f64) -> String {
    for (unit, seconds) in FREQUENCIES {
        let amount = per_second * seconds;
        if (amount - amount.round()).abs() < 1e-6 {
            return format!("{}{unit}", amount.round());
        }
    }
    format!("{per_second}/s")
}

/// `2500 USD`, also `2500 USD/month`.
pub fn parse_money(text: &str) -> Option<u64> {
    let text = text.trim();
    whole(text.strip_suffix("/month").unwrap_or(text).trim_end().strip_suffix("USD")?.trim_end())
}

/// `40%/year`, as 0.4.
pub fn parse_growth(text: &str) -> Option<f64> {
    let percent = text.trim().strip_suffix("/year")?.trim_end().strip_suffix('%')?.trim_end();
    decimal(percent).filter(|percent| *percent <= 1_000.0).map(|percent| percent / 100.0)
}

/// What was written instead of an amount that cannot be read, for messages.
pub(super) fn mistaken(text: &str) -> Option<String> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix('-') {
        let is_amount = rest.trim_start().starts_with(|c: char| c.is_ascii_digit());
        return is_amount.then(|| "is negative".to_owned());
    }
    let known = [
        (parse_duration(text).is_some(), "is a time"),
        (parse_size(text).is_some(), "is a size"),
        (parse_money(text).is_some(), "is money"),
        (parse_growth(text).is_some(), "is growth"),
        (parse_share(text).is_some(), "is a share"),
    ];
    if let Some((_, what)) = known.into_iter().find(|(is_it, _)| *is_it) {
        return Some(what.to_owned());
    }
    if let Some((amount, time)) = text.rsplit_once('/') {
        let time = time.trim();
        if parse_size(amount.trim()).is_some() {
            return Some(format!("is a size per `{time}`"));
        }
        if decimal(amount.trim()).is_some() {
            return Some(match time {
                "s" => "is not a whole number".to_owned(),
                _ => format!("is per `{time}`"),
            });
        }
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_' && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..end], text[end..].trim());
    match decimal(number) {
        Some(percent) if unit == "%" && percent > 100.0 => Some("is more than all of it".to_owned()),
        Some(_) if whole(number).is_none() && !unit.is_empty() => Some("is not a whole number".to_owned()),
        Some(_) if !unit.is_empty() => Some(format!("has the unit `{unit}`, which is none here")),
        _ => None,
    }
}

/// Digits, perhaps a point and more digits; no sign, no exponent.
fn decimal(text: &str) -> Option<f64> {
    let (before, after) = text.split_once('.').unwrap_or((text, "0"));
    if after.is_empty() || !after.bytes().all(|b| b.is_ascii_digit()) || after.len() > 9 {
        return None;
    }
    let number = whole(before)?;
    format!("{number}.{after}").parse().ok()
}

fn show(amount: u64, zero: &str, units: &[(&str, u64)]) -> String {
    if amount == 0 {
        return zero.to_owned();
    }
    for (unit, scale) in units.iter().rev() {
        if amount.is_multiple_of(*scale) {
            return format!("{}{unit}", amount / scale);
        }
    }
    unreachable!("the smallest unit is 1")
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (number, unit) = (whole(&text[..digits])?, text[digits..].trim_start());
    let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*scale)
}

/// Digits, with `_` between them for the eye.
fn whole(text: &str) -> Option<u64> {
    if text.starts_with('_') || text.ends_with('_') || text.starts_with('+') {
        return None;
    }
    text.replace('_', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_with_their_unit() {
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("1 h"), Some(Duration::from_secs(3600)));
        assert_eq!(parse_size("1kB"), Some(1000));
        assert_eq!(parse_size("10_000MiB"), Some(10_000 << 20));
        assert_eq!(parse_rate("4000/s"), Some(4000));
        for bad in ["", "5", "s", "5 sec", "-5s", "5.5s", "_5s", "5_s", "99999999999999999999s", "5S", "5é"]
        {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
        for bad in ["", "10", "10KB", "10gib", "18446744073709551615TiB"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
        for bad in ["", "/s", "4000", "4000/m", "+4/s", "-4/s"] {
            assert_eq!(parse_rate(bad), None, "{bad}");
        }
    }

    #[test]
    fn amounts_of_a_plan_read_with_their_unit() {
        assert_eq!(parse_frequency("200/s"), Some(200.0));
        assert_eq!(parse_frequency("30/min"), Some(0.5));
        assert_eq!(parse_frequency("0.5/s"), Some(0.5));
        assert_eq!(parse_money("2_500 USD"), Some(2500));
        assert_eq!(parse_money("2500 USD/month"), Some(2500));
        assert_eq!(parse_growth("40%/year"), Some(0.4));
        assert_eq!(parse_growth("0%/year"), Some(0.0));
        for bad in ["-1/s", "1e3/s", "./s", "5", "5/w", "1./s"] {
            assert_eq!(parse_frequency(bad), None, "{bad}");
        }
        for bad in ["2500", "$2500", "-5 USD", "5 EUR", "5.5 USD"] {
            assert_eq!(parse_money(bad), None, "{bad}");
        }
        for bad in ["40%", "-5%/year", "40/year", "5000%/year"] {
            assert_eq!(parse_growth(bad), None, "{bad}");
        }
        for text in ["200/s", "30/min", "5/day"] {
            assert_eq!(parse_frequency(text).map(show_frequency).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_was_written_instead_is_known() {
        for (text, what) in [
            ("-100/s", "is negative"),
            ("-5 USD", "is negative"),
            ("10 MB/s", "is a size per `s`"),
            ("20ms", "is a time"),
            ("5GiB", "is a size"),
            ("100/min", "is per `min`"),
            ("4000/m", "is per `m`"),
            ("0.5/s", "is not a whole number"),
            ("1.5s", "is not a whole number"),
            ("40%", "is a share"),
            ("40%/year", "is growth"),
            ("2500 USD", "is money"),
            ("100.5%", "is more than all of it"),
            ("1KB", "has the unit `KB`, which is none here"),
            ("10 rps", "has the unit `rps`, which is none here"),
        ] {
            assert_eq!(mistaken(text).as_deref(), Some(what), "{text}");
        }
        for text in ["", "fast", "/s", "%", "-", "--5s", "5", "é5s"] {
            assert_eq!(mistaken(text), None, "{text}");
        }
    }

    #[test]
    fn amounts_print_as_they_read() {
        for text in ["500us", "250ms", "1500ms", "10s", "90m", "2h", "3d"] {
            assert_eq!(parse_duration(text).map(show_duration).as_deref(), Some(text));
        }
        for text in ["1B", "1kB", "64MiB", "10GiB", "3TB"] {
            assert_eq!(parse_size(text).map(show_size).as_deref(), Some(text));
        }
        assert_eq!(show_duration(Duration::ZERO), "0s");
    }
}
