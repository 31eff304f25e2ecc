//! What a bench says: a table for people, then one line of JSON.

use std::time::Duration;

use serde_json::{Map, Value, json};

pub struct Report {
    bench: &'static str,
    lines: Vec<[String; 3]>,
    ratios: Map<String, Value>,
    figures: Map<String, Value>,
}

impl Report {
    pub fn new(bench: &'static str) -> Report {
        Report { bench, lines: Vec::new(), ratios: Map::new(), figures: Map::new() }
    }

    /// Time for `count` things: kept in seconds.
    pub fn time(&mut self, name: &str, took: Duration, count: u64, unit: &str) {
        let seconds = took.as_secs_f64();
        let rate = count as f64 / seconds;
        self.line(name, format!("{seconds:.2} s"), format!("{rate:.0} {unit}/s"));
        self.figure(&format!("{name} seconds"), round(seconds));
        self.figure(&format!("{name} per second"), rate.round());
    }

    pub fn micros(&mut self, name: &str, took: Duration) {
        let micros = took.as_secs_f64() * 1e6;
        self.line(name, format!("{micros:.2} µs"), String::new());
        self.figure(&format!("{name} us"), round(micros));
    }

    pub fn millis(&mut self, name: &str, millis: f64) {
        self.line(name, format!("{millis:.2} ms"), String::new());
        self.figure(&format!("{name} ms"), round(millis));
    }

    pub fn memory(&mut self, name: &str, bytes: u64) {
        let mib = bytes as f64 / (1 << 20) as f64;
        self.line(name, format!("{mib:.0} MiB"), String::new());
        self.figure(&format!("{name} MiB"), mib.round());
    }

    pub fn seconds(&mut self, name: &str, seconds: f64) {
        self.line(name, format!("{seconds:.2} s"), String::new());
        self.figure(&format!("{name} seconds"), round(seconds));
    }

    pub fn count(&mut self, name: &str, count: u64) {
        self.line(name, count.to_string(), String::new());
        self.figure(name, count as f64);
    }

    pub fn rate(&mut self, name: &str, per_second: f64) {
        self.line(name, format!("{per_second:.0} /s"), String::new());
        self.figure(&format!("{name} per second"), per_second.round());
    }

    /// 1 is as good as the limit.
    pub fn ratio(&mut self, name: &str, ratio: f64, meaning: &str) {
        self.line(name, format!("{ratio:.2}"), meaning.into());
        self.ratios.insert(key(name), json!(round(ratio)));
    }

    fn line(&mut self, name: &str, value: String, note: String) {
        self.lines.push([name.into(), value, note]);
    }

    fn figure(&mut self, name: &str, value: f64) {
        self.figures.insert(key(name), json!(value));
    }

    pub fn print(self) {
        println!("\n{}", self.bench);
        for [name, value, note] in &self.lines {
            println!("  {name:<44} {value:>12}   {note}");
        }
        println!("{}", json!({ "bench": self.bench, "ratios": self.ratios, "figures": self.figures }));
    }
}

fn key(name: &str) -> String {
    let spaced: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { ' ' }).collect();
    spaced.split_ascii_whitespace().collect::<Vec<_>>().join("_")
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The middle one, and the lower of the two middle ones if their number is even.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get((times.len().max(1) - 1) / 2).copied().unwrap_or_default()
}
