//! How a window cuts time into buckets of one length: from 1970-01-01T00:00:00Z on, or by the clocks of a place.
//!
//! By the clocks of a place, a day is from midnight to midnight there, however long it takes. Shorter buckets are counted from
//! midnight by what the clock shows; an hour that the clock shows twice is two buckets, and one that it leaves out is none.

use std::time::Duration;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

const DAY: Duration = Duration::from_secs(86_400);

/// Clocks differ by quarters of an hour, so a bucket that a change of clocks cuts short is not shorter than that, unless all are.
const QUARTER_MICROS: i64 = 900_000_000;

const EPOCH: Date = Date::constant(1970, 1, 1);

#[derive(Clone, Debug, PartialEq)]
pub struct Buckets {
    /// More than nothing. With a zone, a whole number of days or an even part of one.
    pub every: Duration,
    /// Of the place whose clocks count; `None`: UTC, without a calendar.
    pub zone: Option<TimeZone>,
    pub gaps: Gaps,
}

/// What is said of buckets that have no points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gaps {
    /// Nothing.
    #[default]
    Skip,
    /// That they have none: counts are 0, other figures NULL.
    Null,
    /// As [`Gaps::Null`], but the other figures are those of the bucket before.
    Previous,
}

impl Gaps {
    pub const ALL: [Gaps; 3] = [Gaps::Skip, Gaps::Null, Gaps::Previous];

    /// The word of the file.
    pub fn name(self) -> &'static str {
        match self {
            Gaps::Skip => "skip",
            Gaps::Null => "null",
            Gaps::Previous => "previous",
        }
    }
}

impl Buckets {
    /// Of one length, and nothing of those without points.
    pub fn of(every: Duration) -> Buckets {
        Buckets { every, zone: None, gaps: Gaps::Skip }
    }

    /// Whether days in a zone can be cut like this.
    pub fn divides_days(every: Duration) -> bool {
        let (every, day) = (every.as_nanos(), DAY.as_nanos());
        every > 0 && (every % day == 0 || day % every == 0)
    }

    /// When the bucket of a moment begins; both in microseconds since 1970-01-01T00:00:00Z.
    pub fn start(&self, micros: i64) -> i64 {
        let by_the_clock = self.zone.as_ref().and_then(|zone| self.local_start(zone, micros));
        by_the_clock.unwrap_or_else(|| micros.saturating_sub(micros.rem_euclid(self.micros())))
    }

    /// When the next bucket begins, where one begins at `start`.
    pub fn next(&self, start: i64) -> i64 {
        if self.zone.is_none() {
            return start.saturating_add(self.micros());
        }
        let day = DAY.as_micros() as i64;
        let mut moment = start.saturating_add((self.micros() - day).max(0));
        loop {
            moment = moment.saturating_add(self.micros().min(QUARTER_MICROS));
            match self.start(moment) {
                next if next > start || moment == i64::MAX => return next,
                _ => {}
            }
        }
    }

    fn micros(&self) -> i64 {
        i64::try_from(self.every.as_micros()).unwrap_or(i64::MAX).max(1)
    }

    /// `None` outside of the years that have a calendar.
    fn local_start(&self, zone: &TimeZone, micros: i64) -> Option<i64> {
        let at = Timestamp::from_microsecond(micros).ok()?;
        let offset = zone.to_offset(at);
        let shown = offset.to_datetime(at);
        let day = DAY.as_micros() as i64;
        if self.micros() % day == 0 {
            let days = i64::from(EPOCH.until(shown.date()).ok()?.get_days());
            let first =
                EPOCH.checked_add(days.saturating_sub(days.rem_euclid(self.micros() / day)).days()).ok()?;
            let midnight = zone.to_ambiguous_timestamp(first.to_datetime(Time::midnight()));
            return Some(midnight.compatible().ok()?.as_microsecond());
        }
        let since_midnight = shown.time().duration_since(Time::midnight()).as_micros() as i64;
        let behind = SignedDuration::from_micros(since_midnight % self.micros());
        let first = shown.checked_sub(behind).ok()?;
        // The same clock as at the moment, unless it was changed in between.
        let same = offset.to_timestamp(first).ok()?;
        if zone.to_offset(same) == offset {
            return Some(same.as_microsecond());
        }
        Some(zone.to_ambiguous_timestamp(first).compatible().ok()?.as_microsecond())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const QUARTER: u64 = 900;
    const HOUR: u64 = 3_600;
    const DAY: u64 = 86_400;

    fn buckets(seconds: u64, zone: &str) -> Buckets {
        let every = Duration::from_secs(seconds);
        assert!(Buckets::divides_days(every));
        Buckets { zone: Some(TimeZone::get(zone).unwrap()), ..Buckets::of(every) }
    }

    fn micros(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_microsecond()
    }

    /// The beginnings of all buckets from that of one moment to that of another.
    fn between(buckets: &Buckets, from: &str, to: &str) -> Vec<String> {
        let (mut starts, mut start, last) =
            (Vec::new(), buckets.start(micros(from)), buckets.start(micros(to)));
        while start <= last {
            starts.push(Timestamp::from_microsecond(start).unwrap().to_string());
            start = buckets.next(start);
        }
        starts
    }

    #[test]
    fn days_are_from_midnight_to_midnight_there() {
        // Clocks go forward on the 31st of March: that day has 23 hours.
        let days = between(&buckets(DAY, "Europe/Vienna"), "2024-03-30T12:00:00Z", "2024-04-01T12:00:00Z");
        assert_eq!(days, ["2024-03-29T23:00:00Z", "2024-03-30T23:00:00Z", "2024-03-31T22:00:00Z"]);
        let days = between(&buckets(DAY, "Asia/Kathmandu"), "2024-01-01T18:14:59Z", "2024-01-01T18:15:00Z");
        assert_eq!(days, ["2023-12-31T18:15:00Z", "2024-01-01T18:15:00Z"]);
        // Samoa left out the 30th of December 2011, and counts its weeks on.
        let days = between(&buckets(DAY, "Pacific/Apia"), "2011-12-30T09:00:00Z", "2011-12-31T11:00:00Z");
        assert_eq!(days, ["2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"]);
    }

    #[test]
    fn hours_are_those_of_the_clock_there() {
        // Two o'clock is there twice on the 27th of October, and never on the 31st of March.
        let hours = between(&buckets(HOUR, "Europe/Vienna"), "2024-10-26T23:30:00Z", "2024-10-27T02:30:00Z");
        assert_eq!(
            hours,
            ["2024-10-26T23:00:00Z", "2024-10-27T00:00:00Z", "2024-10-27T01:00:00Z", "2024-10-27T02:00:00Z"]
        );
        let hours =
            between(&buckets(2 * HOUR, "Europe/Vienna"), "2024-03-30T23:30:00Z", "2024-03-31T02:30:00Z");
        assert_eq!(hours, ["2024-03-30T23:00:00Z", "2024-03-31T01:00:00Z", "2024-03-31T02:00:00Z"]);
        let quarters =
            between(&buckets(6 * HOUR, "Europe/Vienna"), "2024-10-26T22:00:00Z", "2024-10-27T05:30:00Z");
        assert_eq!(quarters, ["2024-10-26T22:00:00Z", "2024-10-27T05:00:00Z"]);
        // Half an hour is there twice.
        let hours =
            between(&buckets(HOUR, "Australia/Lord_Howe"), "2024-04-06T13:30:00Z", "2024-04-06T16:00:00Z");
        assert_eq!(hours, ["2024-04-06T13:00:00Z", "2024-04-06T14:00:00Z", "2024-04-06T15:30:00Z"]);
    }

    proptest! {
        #[test]
        fn every_moment_is_in_one_bucket(
            micros in -4_000_000_000_000_000_i64..7_000_000_000_000_000,
            zone in prop::sample::select(vec![
                "Europe/Vienna", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Havana",
                "America/Sao_Paulo", "Pacific/Apia", "Africa/Casablanca", "America/St_Johns", "UTC",
            ]),
            every in prop::sample::select(vec![
                60, QUARTER, 2 * QUARTER, HOUR, 2 * HOUR, 4 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 30 * DAY,
            ]),
        ) {
            let buckets = buckets(every, zone);
            let start = buckets.start(micros);
            let next = buckets.next(start);
            prop_assert!(start <= micros && micros < next, "{start} <= {micros} < {next}");
            prop_assert_eq!(buckets.start(start), start);
            prop_assert_eq!(buckets.start(next), next);
            prop_assert_eq!(buckets.start(next - 1), start);
        }
    }
}
