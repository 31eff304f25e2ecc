//! Words, symbols and figures that all of the page shares. A state is always said in words beside its colour and symbol.

use std::time::Duration;

use headwater_flow::status::{PartState, StoreStatus};
use maud::{Markup, html};

use crate::figures::{count, duration_ms};

/// A symbol that tells states apart without colour.
pub fn symbol(state: PartState) -> &'static str {
    match state {
        PartState::Healthy => "●",
        PartState::Lagging => "▲",
        PartState::Failed => "✕",
        PartState::Rebuilding => "◐",
        PartState::Paused => "■",
        PartState::Starting | PartState::Standby => "○",
    }
}

/// The class that colours a state.
pub fn class(state: PartState) -> &'static str {
    match state {
        PartState::Healthy => "good",
        PartState::Lagging | PartState::Rebuilding => "busy",
        PartState::Failed | PartState::Paused => "bad",
        PartState::Starting | PartState::Standby => "idle",
    }
}

pub fn state(state: PartState) -> Markup {
    html! { span.state.(class(state)) { span aria-hidden="true" { (symbol(state)) } " " (state.as_str()) } }
}

/// `25 µs`, `1.2 ms`, `3 s`
pub fn short(duration: Duration) -> String {
    let micros = duration.as_micros();
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..10_000 if !micros.is_multiple_of(1000) => format!("{:.1} ms", micros as f64 / 1e3),
        1_000..1_000_000 => format!("{} ms", micros / 1000),
        1_000_000..60_000_000 if !micros.is_multiple_of(1_000_000) => format!("{:.1} s", micros as f64 / 1e6),
        1_000_000..60_000_000 => format!("{} s", micros / 1_000_000),
        _ => format!("{} min", micros / 60_000_000),
    }
}

/// How far a store is behind: in time, or in transactions while it has not been connected and no time is known.
pub fn lag(store: &StoreStatus) -> String {
    match (store.lag_ms, store.lag_transactions) {
        (0, behind) if behind > 0 => format!("{} tx", count(behind)),
        (ms, _) => duration_ms(ms),
    }
}

/// `1 row`, `2 rows`
pub fn plural(n: usize, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations_read_well() {
        assert_eq!(utc(0), "1970-01-01 00:00:00");
        assert_eq!(utc(951_782_400_000_000), "2000-02-29 00:00:00");
        assert_eq!(utc(1_795_367_109_999_999), "2026-11-22 17:05:09");
        assert_eq!(short(Duration::from_micros(25)), "25 µs");
        assert_eq!(short(Duration::from_micros(1200)), "1.2 ms");
        assert_eq!(short(Duration::from_secs(3)), "3 s");
    }
}
