//! The last minute of the counters, a sample per second: counters only grow, and people want to know what goes on now.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use headwater_flow::serve::Serving;
use headwater_flow::serve::stats::{HistogramSample, PatternSample};

/// Between two samples.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// Samples kept: what the small curves show.
const SAMPLES_MAX: usize = 61;

/// Rates and quantiles are of about this long.
pub const WINDOW: Duration = Duration::from_secs(10);

#[derive(Default)]
pub struct History {
    moments: Mutex<VecDeque<Moment>>,
}

struct Moment {
    at: Instant,
    /// In the order of the patterns' names.
    patterns: Vec<PatternSample>,
}

/// What a pattern did lately.
#[derive(Clone, Debug, Default)]
pub struct Lately {
    pub reads_per_second: f64,
    pub latency: HistogramSample,
    pub age: HistogramSample,
    /// Reads per second by who answered: the pattern's stores in order, then the source (`None`).
    pub by: Vec<(Option<String>, f64)>,
    /// Refusals by reason, those that there were.
    pub refused: Vec<(&'static str, u64)>,
    /// Reads per second, oldest first.
    pub trend: Vec<f64>,
}

impl History {
    /// Takes a sample of every pattern.
    pub fn sample(&self, serving: &Serving) {
        let patterns = serving.patterns().map(|pattern| pattern.stats.sample()).collect();
        self.add(Moment { at: Instant::now(), patterns });
    }

    fn add(&self, moment: Moment) {
        let mut moments = self.moments.lock().unwrap_or_else(PoisonError::into_inner);
        if moments.len() == SAMPLES_MAX {
            moments.pop_front();
        }
        moments.push_back(moment);
    }

    /// What each pattern did within [`WINDOW`], in the order of their names; nothing before two samples were taken.
    pub fn lately(&self) -> Vec<Lately> {
        let moments = self.moments.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(now) = moments.back() else { return Vec::new() };
        let from =
            moments.iter().rev().take_while(|moment| now.at - moment.at <= WINDOW).last().unwrap_or(now);
        let seconds = (now.at - from.at).as_secs_f64();
        let trend = |place: usize| {
            let reads =
                |moment: &Moment| moment.patterns.get(place).map_or(0, |sample| sample.latency.count());
            let pairs = moments.iter().zip(moments.iter().skip(1));
            pairs
                .map(|(a, b)| per_second(reads(b) - reads(a).min(reads(b)), (b.at - a.at).as_secs_f64()))
                .collect()
        };
        let of = |(place, (now, from)): (usize, (&PatternSample, &PatternSample))| {
            lately(now, from, seconds, trend(place))
        };
        now.patterns.iter().zip(&from.patterns).enumerate().map(of).collect()
    }
}

fn lately(now: &PatternSample, from: &PatternSample, seconds: f64, trend: Vec<f64>) -> Lately {
    let latency = now.latency.since(&from.latency);
    let rate = |now: u64, from: u64| per_second(now.saturating_sub(from), seconds);
    let stores = now.by_store.iter().zip(&from.by_store);
    let mut by: Vec<_> =
        stores.map(|((name, now), (_, from))| (Some(name.to_string()), rate(*now, *from))).collect();
    by.push((None, rate(now.by_source, from.by_source)));
    let refused = [
        ("bad request", now.bad_requests - from.bad_requests),
        ("behind", now.behind - from.behind),
        ("overloaded", now.overloaded - from.overloaded),
        ("unavailable", now.unavailable - from.unavailable),
    ];
    Lately {
        reads_per_second: per_second(latency.count(), seconds),
        latency,
        age: now.age.since(&from.age),
        by,
        refused: refused.into_iter().filter(|(_, n)| *n > 0).collect(),
        trend,
    }
}

fn per_second(n: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { n as f64 / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_window_counts_and_only_a_minute_is_kept() {
        let history = History::default();
        assert!(history.lately().is_empty());
        let began = Instant::now();
        let sample = |second: u64| {
            let mut sample =
                PatternSample { by_store: vec![("near".into(), 7 * second)], ..PatternSample::default() };
            sample.latency.counts[3] = 10 * second;
            sample.by_source = 3 * second;
            // Long ago.
            sample.behind = 5;
            sample
        };
        for second in 0..200 {
            let at = began + Duration::from_secs(second);
            history.add(Moment { at, patterns: vec![sample(second)] });
        }
        let lately = history.lately().remove(0);
        assert_eq!(lately.reads_per_second, 10.0);
        assert_eq!(lately.latency.count(), 100);
        assert_eq!(lately.by, [(Some("near".to_owned()), 7.0), (None, 3.0)]);
        assert!(lately.refused.is_empty());
        assert_eq!(lately.trend, vec![10.0; SAMPLES_MAX - 1]);
    }
}
