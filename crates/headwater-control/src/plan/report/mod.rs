//! A plan as data, and how it is read: as text, as Markdown, beside another one.

mod beside;
mod difference;
mod drawing;
mod html;
mod markdown;
mod text;
mod words;

use serde::{Deserialize, Serialize};

use super::services::{Line, Recovery, Shape};
pub use beside::{beside_markdown, beside_text};
pub use difference::{Change, differences, differences_text};
pub use html::html;
pub use markdown::markdown;
pub use text::text;
pub(super) use text::{next, promises, rejected, role, standing};
pub(super) use words::{figure, money, per_second, percent, price, seconds, size};

/// US dollars are per month. Everything that `--json` shows; reads back what it writes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub region: String,
    /// Others that have a copy of everything.
    #[serde(default)]
    pub copies: Vec<String>,
    /// What the provider bills.
    pub monthly: f64,
    /// What running the engines beside the source costs besides.
    pub upkeep: f64,
    /// How much less another choice could cost at most, as a share.
    pub gap: f64,
    pub budget: Option<f64>,
    pub engines: Vec<EnginePlan>,
    pub patterns: Vec<PatternPlan>,
    /// Headwater's own machines.
    pub in_step: Vec<Line>,
    /// What the database alone would cost, or why it is not enough.
    pub alone: String,
    pub alone_monthly: Option<f64>,
    pub grown: Vec<Grown>,
    /// Other schemas, and what they would cost.
    #[serde(default)]
    pub alternatives: Vec<Alternative>,
    /// What becomes of each engine's data if its region is lost.
    #[serde(default)]
    pub regions: Vec<String>,
    pub warnings: Vec<String>,
    pub assumptions: Vec<String>,
    pub gaps: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnginePlan {
    /// As `without` in `[plan]` names it.
    pub name: String,
    pub title: String,
    pub setup: String,
    #[serde(default)]
    pub shape: Shape,
    /// Where tables are what is paid.
    #[serde(default)]
    pub tables: Vec<TablePlan>,
    pub is_source: bool,
    pub scheme: String,
    /// With what the answers of its patterns cost.
    pub monthly: f64,
    pub lines: Vec<Line>,
    pub views: Vec<String>,
    /// Of what is there for reads.
    pub processors_used: Option<f64>,
    pub memory_used: Option<f64>,
    pub sla: f64,
    /// Of a month, by contract; and expected by how often things fail.
    pub minutes_allowed: f64,
    pub minutes_expected: f64,
    pub rto_s: f64,
    pub recovery: Recovery,
    pub rpo_s: f64,
    pub zones: usize,
    /// What would be there without it.
    pub instead: String,
}

/// A table that an engine keeps for a view. Units are per second, and nothing where requests are paid.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TablePlan {
    pub view: String,
    /// The places of the view's documents in the orders that it is read in, rather than the documents.
    pub is_index: bool,
    pub read_units: f64,
    pub write_units: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PatternPlan {
    pub name: String,
    pub kind: String,
    /// In the busiest hour.
    pub rate: f64,
    pub bytes: f64,
    pub engine: String,
    pub setup: String,
    /// Its own answers, and its share of the engine.
    pub monthly: f64,
    pub driver: String,
    pub lines: Vec<Line>,
    pub p99_ms: f64,
    pub p99_ms_asked: Option<f64>,
    pub age_s: f64,
    pub age_s_asked: Option<f64>,
    pub sla: f64,
    pub minutes_expected: f64,
    pub rto_s: f64,
    pub rpo_s: f64,
    pub because: String,
    pub runner_up: Option<RunnerUp>,
    pub rejected: Vec<Rejected>,
    pub flips: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunnerUp {
    pub engine: String,
    /// On the bill of the whole.
    pub extra: f64,
    pub extra_with_upkeep: f64,
    /// On the bill: it costs so much more at least, where what was found is not proven to be the cheapest.
    #[serde(default)]
    pub at_least: Option<f64>,
    pub loses: Vec<String>,
    pub gains: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rejected {
    pub options: usize,
    pub reason: String,
}

/// Another schema for what a view or an access pattern needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    pub of: String,
    pub now: String,
    pub instead: String,
    /// On the bill of the whole; `None`: nothing carries it then.
    pub difference: Option<f64>,
    /// Beside what the bill of so many months from now will be, rather than today's.
    #[serde(default)]
    pub months: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grown {
    pub months: u32,
    /// `None`: nothing carries it then.
    pub monthly: Option<f64>,
    pub engines: Vec<String>,
}

impl Plan {
    /// Every line of the bill.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        let engines = self.engines.iter().flat_map(|engine| &engine.lines);
        let patterns = self.patterns.iter().flat_map(|pattern| &pattern.lines);
        engines.chain(patterns).chain(&self.in_step)
    }

    /// Where prices come from: date, confidence, source and how much of the bill rests on it, the most first.
    pub(super) fn origins(&self) -> Vec<(f64, &str, &str, &str)> {
        let mut origins: Vec<(f64, &str, &str, &str)> = Vec::new();
        for line in self.lines().filter(|line| line.monthly > 0.0) {
            let same = |o: &&mut (f64, &str, &str, &str)| {
                (o.1, o.2, o.3) == (&*line.date, &*line.confidence, &*line.source)
            };
            match origins.iter_mut().find(same) {
                Some(origin) => origin.0 += line.monthly,
                None => origins.push((line.monthly, &line.date, &line.confidence, &line.source)),
            }
        }
        origins.sort_by(|a, b| b.0.total_cmp(&a.0));
        origins
    }

    /// `2022-07 to 2026-10`.
    pub(super) fn dates(&self) -> String {
        let month = |date: &str| date.get(..7).unwrap_or(date).to_owned();
        let mut months: Vec<String> = self
            .lines()
            .filter(|line| line.monthly > 0.0)
            .map(|line| month(line.date.rsplit("..").next().unwrap_or(&line.date)))
            .collect();
        months.sort_unstable();
        months.dedup();
        match &months[..] {
            [] => String::new(),
            [one] => one.clone(),
            [first, .., last] => format!("{first} to {last}"),
        }
    }
}
