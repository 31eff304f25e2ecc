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
pub(super) fn parse_share(text: &str) -> Option<u32> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let percent = text.trim().strip_suffix('%')?.trim_end();
    let (whole, fraction) = percent.split_once('.').unwrap_or((percent, "0"));
    if !digits(whole) || !digits(fraction) || fraction.len() > 4 || whole.len() > 3 {
        return None;
    }
    let millionths: u32 = format!("{whole}{fraction:0<4}").parse().ok()?;
    (1..=1_000_000).contains(&millionths).then_some(millionths)
}

pub(super) fn show_share(millionths: u32) -> String {
    let fraction = format!("{:04}", millionths % 10_000);
    match fraction.trim_end_matches('0') {
        "" => format!("{}%", millionths / 10_000),
        fraction => format!("{}.{fraction}%", millionths / 10_000),
    }
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
