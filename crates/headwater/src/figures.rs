//! Figures and names as people read them, in the terminal and on the page.

use headwater_flow::status::ConsumedStatus;

/// `1,234,567`
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `no rows`, `1 row`, `1,234 rows`
pub fn counted(n: usize, one: &str) -> String {
    counted_64(u64::try_from(n).unwrap_or(u64::MAX), one)
}

pub fn counted_64(n: u64, one: &str) -> String {
    match n {
        0 => format!("no {one}s"),
        1 => format!("1 {one}"),
        n => format!("{} {one}s", count(n)),
    }
}

/// `0.5`, `1,234`: per second.
pub fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 10.0 {
        format!("{per_second:.1}")
    } else {
        count(per_second.round() as u64)
    }
}

/// `1.5 MiB`
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = n as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 || size >= 100.0 {
        format!("{size:.0} {}", UNITS[unit])
    } else {
        format!("{size:.1} {}", UNITS[unit])
    }
}

/// Capacity that was used, in the engine's own units.
pub fn units(consumed: &ConsumedStatus) -> String {
    let whole = |units: f64| count(units.ceil() as u64);
    format!("{} read and {} write units", whole(consumed.read_units), whole(consumed.write_units))
}

/// `250 ms`, `1.5 s`, `1 min 1 s`
pub fn duration_ms(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1000.0),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms / 1000 % 60),
        _ => format!("{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
    }
}

/// `94.6 %`; nothing of nothing is no share.
pub fn share(part: u64, of: u64) -> Option<String> {
    (of > 0).then(|| format!("{:.1} %", part as f64 / of as f64 * 100.0))
}

/// At most `max` characters, with what was cut marked.
pub fn cut(text: &str, max: usize) -> String {
    match text.chars().count() > max {
        true => text.chars().take(max.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

/// A time of day and date in UTC, `2026-11-22 17:05:09`, from microseconds since 1970.
pub fn utc(micros: i64) -> String {
    let seconds = micros.div_euclid(1_000_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days to a civil date, by the usual shift of the year's start to March.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// How long something took, in microseconds; what a clock that was set back makes of it is nothing.
pub fn took(micros: i64) -> String {
    duration_ms(u64::try_from(micros / 1000).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(count(0), "0");
        assert_eq!([0, 1, 1234].map(|n| counted(n, "row")), ["no rows", "1 row", "1,234 rows"]);
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(10 << 30), "10.0 GiB");
        assert_eq!(rate(0.25), "0.2");
        assert_eq!(duration_ms(61_000), "1 min 1 s");
        assert_eq!(cut("ünïcode", 4), "ünï…");
        assert_eq!((share(1, 3).as_deref(), share(0, 0)), (Some("33.3 %"), None));
        assert_eq!(took(-5), "0 ms");
    }

    #[test]
    fn times_read_well() {
        assert_eq!(utc(0), "1970-01-01 00:00:00");
        assert_eq!(utc(951_782_400_000_000), "2000-02-29 00:00:00");
        assert_eq!(utc(1_795_367_109_999_999), "2026-11-22 17:05:09");
    }
}
