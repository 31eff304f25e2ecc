//! What went through our hands of one table, minute by minute for a day. Time is what the caller says it is: milliseconds that hardly ever
//! go back.
//!
//! Bounded: the keys of one minute ([`Heavy`]), and of each hour its busiest minute. Counting allocates nothing once the first minute is over.

use std::collections::VecDeque;

use headwater_model::{HotKey, Throttled, Traffic};

use super::heavy::Heavy;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

#[derive(Default)]
pub(super) struct Gauge {
    /// `None`: nothing was counted yet.
    since_ms: Option<u64>,
    minute: Minute,
    /// Of the last day, the oldest first.
    hours: VecDeque<Hour>,
}

/// The one that goes on.
#[derive(Default)]
struct Minute {
    began_ms: u64,
    reads: f64,
    writes: f64,
    keys: Heavy,
}

/// Units are those of its busiest minute.
#[derive(Clone, Default)]
struct Hour {
    began_ms: u64,
    reads: f64,
    writes: f64,
    /// And of its key, with what was written beside it.
    hottest: Vec<u8>,
    hottest_units: f64,
    hottest_of: f64,
    throttled: u64,
    throttled_key: Vec<u8>,
}

impl Gauge {
    pub(super) fn read(&mut self, units: f64, now_ms: u64) {
        self.roll(now_ms);
        self.minute.reads += units;
    }

    /// `key`: of the partition, where one was written to.
    pub(super) fn write(&mut self, key: Option<&[u8]>, units: f64, now_ms: u64) {
        self.roll(now_ms);
        self.minute.writes += units;
        if let Some(key) = key {
            self.minute.keys.add(key, units);
        }
    }

    pub(super) fn throttled(&mut self, key: &[u8], now_ms: u64) {
        self.roll(now_ms);
        let hour = hour(&mut self.hours, self.minute.began_ms);
        hour.throttled += 1;
        hour.throttled_key.clear();
        hour.throttled_key.extend_from_slice(key);
    }

    /// Ends the minute if it is over.
    fn roll(&mut self, now_ms: u64) {
        self.since_ms.get_or_insert_with(|| {
            self.minute.began_ms = now_ms;
            now_ms
        });
        if now_ms < self.minute.began_ms + MINUTE_MS {
            return;
        }
        self.minute.end(hour(&mut self.hours, self.minute.began_ms));
        self.minute.began_ms = now_ms;
        self.minute.reads = 0.0;
        self.minute.writes = 0.0;
        self.minute.keys.clear();
        while self.hours.front().is_some_and(|hour| hour.began_ms + DAY_MS <= now_ms) {
            self.hours.pop_front();
        }
    }

    /// `None` if nothing was counted yet. Minutes that are not over count as if nothing more came in them.
    pub(super) fn told(
        &mut self,
        table: String,
        name: impl Fn(&[u8]) -> String,
        now_ms: u64,
    ) -> Option<Traffic> {
        let since_ms = self.since_ms?;
        self.roll(now_ms);
        let mut hours = self.hours.clone();
        self.minute.end(hour(&mut hours, self.minute.began_ms));
        let busiest = |units: fn(&Hour) -> f64| hours.iter().map(units).fold(0.0, f64::max) / 60.0;
        let recent = || hours.iter().filter(|hour| hour.began_ms + 2 * HOUR_MS > now_ms);
        let hot = recent().filter(|hour| hour.hottest_units > 0.0);
        let hottest = hot.max_by(|a, b| a.hottest_units.total_cmp(&b.hottest_units)).map(|hour| HotKey {
            key: name(&hour.hottest),
            write_units_per_second: hour.hottest_units / 60.0,
            share: hour.hottest_units / hour.hottest_of.max(f64::MIN_POSITIVE),
        });
        let times = recent().map(|hour| hour.throttled).sum();
        let last = recent().rfind(|hour| hour.throttled > 0);
        Some(Traffic {
            table,
            watched_seconds: now_ms.saturating_sub(since_ms).min(DAY_MS) / 1000,
            read_units_per_second: busiest(|hour| hour.reads),
            write_units_per_second: busiest(|hour| hour.writes),
            hottest,
            throttled: last.map(|hour| Throttled { times, key: name(&hour.throttled_key) }),
        })
    }
}

/// The hour that a minute belongs to: the newest, or one more.
fn hour(hours: &mut VecDeque<Hour>, minute_ms: u64) -> &mut Hour {
    let began_ms = minute_ms - minute_ms % HOUR_MS;
    if hours.back().is_none_or(|hour| hour.began_ms < began_ms) {
        hours.push_back(Hour { began_ms, ..Hour::default() });
    }
    let newest = hours.len() - 1;
    &mut hours[newest]
}

impl Minute {
    fn end(&self, hour: &mut Hour) {
        hour.reads = hour.reads.max(self.reads);
        hour.writes = hour.writes.max(self.writes);
        if let Some(top) = self.keys.top()
            && top.units > hour.hottest_units
        {
            hour.hottest.clear();
            hour.hottest.extend_from_slice(top.key);
            (hour.hottest_units, hour.hottest_of) = (top.units, top.all);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const BEGAN: u64 = 1_800_000_000_000;

    fn told(gauge: &mut Gauge, now_ms: u64) -> Traffic {
        gauge.told("t".into(), |key| String::from_utf8_lossy(key).into_owned(), now_ms).unwrap()
    }

    #[test]
    fn the_busiest_minute_of_a_day_is_told_and_then_forgotten() {
        let mut gauge = Gauge::default();
        assert!(gauge.told("t".into(), |_| String::new(), BEGAN).is_none());
        for second in 0..60 {
            gauge.write(None, 10.0, BEGAN + second * 1000);
            gauge.read(2.0, BEGAN + second * 1000);
        }
        for minute in 1..30 {
            gauge.write(None, 60.0, BEGAN + minute * MINUTE_MS);
        }
        let now = told(&mut gauge, BEGAN + 30 * MINUTE_MS);
        assert_eq!((now.read_units_per_second, now.write_units_per_second), (2.0, 10.0));
        assert_eq!((now.watched_seconds, now.hottest), (1800, None));
        gauge.write(None, 30.0, BEGAN + 26 * HOUR_MS);
        let later = told(&mut gauge, BEGAN + 26 * HOUR_MS);
        assert_eq!((later.watched_seconds, later.write_units_per_second), (86_400, 0.5));
    }

    #[test]
    fn the_hottest_key_is_that_of_its_busiest_minute_for_an_hour_or_two() {
        let mut gauge = Gauge::default();
        for n in 0..600u64 {
            let key = if n % 2 == 0 { "hot".to_owned() } else { format!("{n}") };
            gauge.write(Some(key.as_bytes()), 4.0, BEGAN + n * 100);
        }
        gauge.write(Some(b"cold"), 1.0, BEGAN + 5 * MINUTE_MS);
        let hot = HotKey { key: "hot".into(), write_units_per_second: 20.0, share: 0.5 };
        assert_eq!(told(&mut gauge, BEGAN + 6 * MINUTE_MS).hottest, Some(hot));
        gauge.write(Some(b"cold"), 1.0, BEGAN + 3 * HOUR_MS);
        let cold = told(&mut gauge, BEGAN + 3 * HOUR_MS).hottest.unwrap();
        assert_eq!((&*cold.key, cold.share), ("cold", 1.0));
    }

    #[test]
    fn what_was_throttled_is_told_with_the_last_key() {
        let mut gauge = Gauge::default();
        gauge.throttled(b"a", BEGAN);
        gauge.throttled(b"b", BEGAN + MINUTE_MS);
        assert_eq!(told(&mut gauge, BEGAN).throttled, Some(Throttled { times: 2, key: "b".into() }));
        assert_eq!(told(&mut gauge, BEGAN + 3 * HOUR_MS).throttled, None);
    }
}
