//! The text that Prometheus reads (format 0.0.4).
//!
//! Written here rather than by a library: every sample is computed when it is asked for, and the libraries either keep
//! values of their own between two looks or write OpenMetrics only, which `promtool check metrics` does not read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use headwater_flow::serve::stats::{BUCKETS_MICROS, HistogramSample};

use super::names::{ALL, Name, Type};

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Labels of one sample.
pub type Labels<'a> = &'a [(&'static str, &'a str)];

/// Samples, gathered by metric: the format wants those of one metric together.
#[derive(Default)]
pub struct Text {
    samples: BTreeMap<&'static str, String>,
    source: Option<String>,
}

impl Text {
    /// The samples that follow are of this source, which is their first label.
    pub fn of_source(&mut self, source: Option<&str>) {
        self.source = source.map(str::to_owned);
    }

    pub fn set(&mut self, name: Name, labels: Labels<'_>, value: f64) {
        debug_assert_ne!(name.kind, Type::Histogram, "{}", name.name);
        let out = self.samples.entry(name.name).or_default();
        let labels = with_source(&self.source, labels);
        sample(out, name.name, "", &labels, None, value);
    }

    pub fn histogram(&mut self, name: Name, labels: Labels<'_>, histogram: &HistogramSample) {
        debug_assert_eq!(name.kind, Type::Histogram, "{}", name.name);
        let out = self.samples.entry(name.name).or_default();
        let labels = &with_source(&self.source, labels)[..];
        let mut upto = 0;
        for (bucket, count) in histogram.counts.iter().enumerate() {
            upto += count;
            let bound = BUCKETS_MICROS
                .get(bucket)
                .map_or_else(|| "+Inf".to_owned(), |micros| seconds(*micros).to_string());
            sample(out, name.name, "_bucket", labels, Some(&bound), upto as f64);
        }
        sample(out, name.name, "_sum", labels, None, seconds(histogram.sum_micros));
        sample(out, name.name, "_count", labels, None, upto as f64);
    }

    /// Everything, each metric behind its HELP and TYPE. A metric without a sample is left out.
    pub fn finish(mut self) -> String {
        let mut out = String::new();
        for metric in ALL {
            let Some(samples) = self.samples.remove(metric.name) else { continue };
            let kind = match metric.kind {
                Type::Counter => "counter",
                Type::Gauge => "gauge",
                Type::Histogram => "histogram",
            };
            let _ = writeln!(out, "# HELP {} {}\n# TYPE {} {kind}", metric.name, metric.help, metric.name);
            out.push_str(&samples);
        }
        out
    }
}

fn with_source<'a>(source: &'a Option<String>, labels: Labels<'a>) -> Vec<(&'static str, &'a str)> {
    source.iter().map(|source| ("source", &**source)).chain(labels.iter().copied()).collect()
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn sample(out: &mut String, name: &str, suffix: &str, labels: Labels<'_>, le: Option<&str>, value: f64) {
    let _ = write!(out, "{name}{suffix}");
    let all = labels.iter().copied().chain(le.map(|bound| ("le", bound)));
    let mut open = '{';
    for (label, value) in all {
        let _ = write!(out, "{open}{label}=\"");
        value.chars().for_each(|c| match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        });
        out.push('"');
        open = ',';
    }
    if open == ',' {
        out.push('}');
    }
    let _ = writeln!(out, " {value}");
}

#[cfg(test)]
mod tests {
    use super::super::names::{READ_SECONDS, STORE_CHANGES, UPTIME_SECONDS};
    use super::*;

    #[test]
    fn samples_of_one_metric_stand_together_and_buckets_add_up() {
        let mut text = Text::default();
        text.set(STORE_CHANGES, &[("store", "ne\"ar\\\n")], 3.0);
        text.set(UPTIME_SECONDS, &[], 1.5);
        text.of_source(Some("shop"));
        text.set(STORE_CHANGES, &[("store", "far")], 4e15);
        text.of_source(None);
        let mut histogram = HistogramSample { sum_micros: 1_500_025, ..HistogramSample::default() };
        (histogram.counts[0], histogram.counts[17], histogram.counts[19]) = (1, 2, 3);
        text.histogram(READ_SECONDS, &[("pattern", "p")], &histogram);
        let text = text.finish();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("# HELP")).collect();
        assert_eq!(
            lines[..5],
            [
                "# TYPE headwater_uptime_seconds gauge",
                "headwater_uptime_seconds 1.5",
                "# TYPE headwater_store_changes_total counter",
                "headwater_store_changes_total{store=\"ne\\\"ar\\\\\\n\"} 3",
                "headwater_store_changes_total{source=\"shop\",store=\"far\"} 4000000000000000",
            ]
        );
        let of = |part: &str| lines.iter().filter(|line| line.contains(part)).copied().collect::<Vec<_>>();
        let buckets = of("_bucket");
        assert_eq!(buckets.len(), BUCKETS_MICROS.len() + 1);
        assert_eq!(buckets[0], "headwater_read_duration_seconds_bucket{pattern=\"p\",le=\"0.000025\"} 1");
        assert_eq!(buckets[17], "headwater_read_duration_seconds_bucket{pattern=\"p\",le=\"5\"} 3");
        assert_eq!(buckets[19], "headwater_read_duration_seconds_bucket{pattern=\"p\",le=\"+Inf\"} 6");
        assert_eq!(of("_sum"), ["headwater_read_duration_seconds_sum{pattern=\"p\"} 1.500025"]);
        assert_eq!(of("_count"), ["headwater_read_duration_seconds_count{pattern=\"p\"} 6"]);
    }
}
