//! What goes on, hour by hour, in the data folder: how often each access pattern is asked for and what its answers are made
//! of, how often the rows of each table change. `plan --observed` reads it, whether an instance runs or not.
//!
//! Owns: counting by the hour while an instance leads, the files, and what they come to. Not: what that means for a plan.
//! Bounded: five weeks of hours.

mod hours;
mod recorder;

use std::collections::BTreeMap;

use headwater_control::plan::{Observed, SeenReads};

pub use hours::{Hour, Reads, read};
pub use recorder::record;

use crate::figures::utc;

const HOUR_SECONDS: f64 = 3_600.0;

/// Of an hour that was watched for less than this, a rate says little: it counts only if there is no better one.
const WATCHED_MIN_SECONDS: f64 = 600.0;

/// With so many hours the mean of all says something of a month.
const HOURS_OF_A_DAY: usize = 24;

/// What the hours come to; nothing if nothing was counted yet.
pub fn summed(hours: &[Hour]) -> Option<Observed> {
    let watched: Vec<&Hour> = hours.iter().filter(|hour| hour.seconds >= WATCHED_MIN_SECONDS).collect();
    let hours: Vec<&Hour> = match watched.is_empty() {
        true => hours.iter().filter(|hour| hour.seconds >= 1.0).collect(),
        false => watched,
    };
    let (first, last) = (hours.first()?, hours.last()?);
    let seconds: f64 = hours.iter().map(|hour| hour.seconds).sum();
    let busiest = |count: &dyn Fn(&Hour) -> u64| {
        hours.iter().map(|hour| count(hour) as f64 / hour.seconds).fold(0.0, f64::max)
    };
    let mut reads: BTreeMap<&str, Reads> = BTreeMap::new();
    for (name, counted) in hours.iter().flat_map(|hour| &hour.patterns) {
        reads.entry(name).or_default().add(counted);
    }
    let patterns = reads.iter().map(|(name, all)| {
        let rate = busiest(&|hour| hour.patterns.get(*name).map_or(0, Reads::count));
        let each = |sum: u64, of: u64| (of > 0).then(|| sum as f64 / of as f64);
        let seen = SeenReads {
            rate,
            rows: each(all.documents, all.count()),
            document_bytes: each(all.bytes, all.documents).filter(|bytes| *bytes > 0.0),
            p99_ms: all.p99_ms(),
        };
        ((*name).to_owned(), seen)
    });
    let tables: std::collections::BTreeSet<&str> =
        hours.iter().flat_map(|hour| hour.tables.keys().map(String::as_str)).collect();
    let writes = tables
        .into_iter()
        .map(|table| (table.to_owned(), busiest(&|hour| hour.tables.get(table).copied().unwrap_or(0))));
    let all = |hour: &Hour| hour.patterns.values().map(Reads::count).sum::<u64>();
    let most = busiest(&all);
    let mean = hours.iter().map(|hour| all(hour)).sum::<u64>() as f64 / seconds;
    let at = |hour: f64| utc((hour * HOUR_SECONDS * 1e6) as i64);
    Some(Observed {
        hours: seconds / HOUR_SECONDS,
        from: at(first.hour as f64),
        to: at(last.hour as f64 + 1.0),
        patterns: patterns.collect(),
        writes: writes.collect(),
        documents: BTreeMap::new(),
        average: (hours.len() >= HOURS_OF_A_DAY && most > 0.0).then(|| mean / most),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn hour(hour: u64, seconds: f64, reads: u64, rows: u64) -> Hour {
        let mut counted = Hour { hour, seconds, ..Hour::default() };
        let mut latency = vec![0; 20];
        latency[6] = reads;
        counted.patterns.insert(
            "page".to_owned(),
            Reads { latency, documents: reads * 3, bytes: reads * 3 * 200, max_micros: 900 },
        );
        counted.tables.insert("public.books".to_owned(), rows);
        counted
    }

    #[test]
    fn the_busiest_hour_counts_and_a_short_one_only_for_want_of_better() {
        assert_eq!(summed(&[]), None);
        let short = hour(500_000, 60.0, 6_000, 600);
        let seen = summed(std::slice::from_ref(&short)).unwrap();
        assert_eq!((seen.patterns["page"].rate, seen.writes["public.books"]), (100.0, 10.0));
        let calm = hour(500_001, 3_600.0, 3_600, 0);
        let busy = hour(500_002, 3_600.0, 36_000, 3_600);
        let seen = summed(&[short, calm.clone(), busy]).unwrap();
        let page = &seen.patterns["page"];
        assert_eq!((page.rate, page.rows, page.document_bytes), (10.0, Some(3.0), Some(200.0)));
        assert_eq!((page.p99_ms, seen.hours, seen.writes["public.books"]), (Some(0.9), 2.0, 1.0));
        // Two hours say nothing of a month.
        assert_eq!(seen.average, None);
        let day: Vec<Hour> = (0..24).map(|at| hour(at, 3_600.0, if at < 12 { 0 } else { 100 }, 0)).collect();
        assert_eq!(summed(&day).unwrap().average, Some(0.5));
    }
}
