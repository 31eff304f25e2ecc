//! What an examination of a running engine finds: the words of `headwater doctor`.
//!
//! An engine's folder owns what to look for and how to ask; the control plane sorts what was found, says whom it concerns
//! and shows it. Examining reads only, within [`ExamBudget`].

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{Result, TableName, Traffic};

/// How soon something should be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Urgency {
    /// When you are there anyway.
    Low,
    /// This month: it costs, and grows.
    Medium,
    /// This week: it will hurt.
    High,
    /// Now: data or availability are at stake.
    Critical,
}

impl Urgency {
    pub const ALL: [Urgency; 4] = [Urgency::Low, Urgency::Medium, Urgency::High, Urgency::Critical];

    pub fn name(self) -> &'static str {
        match self {
            Urgency::Low => "low",
            Urgency::Medium => "medium",
            Urgency::High => "high",
            Urgency::Critical => "critical",
        }
    }

    pub fn named(name: &str) -> Option<Urgency> {
        Urgency::ALL.into_iter().find(|urgency| urgency.name() == name)
    }
}

/// One thing to look for. What it means, what the remedy costs and risks, and where the thresholds come from is on its page,
/// `docs/findings/ID.md`.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// `HW1001`. Never given to another check.
    pub id: &'static str,
    /// The page, in Markdown: a title, then sections.
    pub page: &'static str,
    /// What is asked of the engine, in its own language. `{name}` stands for a limit.
    pub asks: &'static str,
    pub limits: &'static [Limit],
}

/// A threshold of a check that the file may set otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// With its unit last: `idle_seconds`.
    pub name: &'static str,
    pub usual: f64,
}

impl Check {
    /// The page's title without the check's id.
    pub fn title(&self) -> &'static str {
        let line = self.page.lines().next().unwrap_or_default().trim_start_matches("# ");
        line.strip_prefix(self.id).map_or(line, |rest| rest.trim_start_matches([':', ' ']))
    }

    /// The text of the page's section with this heading, if it has one.
    pub fn section(&self, heading: &str) -> Option<&'static str> {
        let mut rest = self.page;
        while let Some(at) = rest.find("\n## ") {
            rest = &rest[at + 4..];
            let (title, body) = rest.split_once('\n')?;
            if title.trim() == heading {
                return Some(body.split("\n## ").next().unwrap_or(body).trim());
            }
        }
        None
    }

    /// What is in force for a limit: that of `set`, by `ID.name`, before the usual one.
    pub fn limit(&self, limit: &Limit, set: &BTreeMap<String, f64>) -> f64 {
        set.get(&format!("{}.{}", self.id, limit.name)).copied().unwrap_or(limit.usual)
    }

    /// [`Check::asks`] with what is in force for its limits filled in.
    pub fn asks_within(&self, set: &BTreeMap<String, f64>) -> String {
        self.limits.iter().fold(self.asks.to_owned(), |asks, limit| {
            let value = self.limit(limit, set);
            // With a point: a whole number would be as wide as the engine likes.
            asks.replace(&format!("{{{}}}", limit.name), &format!("{value:?}"))
        })
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// [`Check::id`].
    pub check: &'static str,
    pub title: &'static str,
    /// The very object: `public.orders (customer_id)`. With the check it names the finding from one examination to the next.
    pub subject: String,
    #[serde(rename = "severity")]
    pub urgency: Urgency,
    /// What is wrong with it, with the figures: lowercase, without a full stop.
    pub what: String,
    /// The table it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<TableName>,
    /// What was asked.
    pub asked: String,
    /// And what came back about this subject: names and values, sorted by name.
    pub answered: BTreeMap<String, String>,
    /// What to do, in the engine's language, in order: statements that can be pasted.
    pub remedy: Vec<String>,
    /// What brings back the state before, where something does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub undo: Vec<String>,
}

/// A check that could not be made, and what would let it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    pub check: &'static str,
    pub title: &'static str,
    pub why: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// One look at one engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Examination {
    /// Product and version, for people: `PostgreSQL 15.18`.
    pub server: String,
    /// How many checks were made.
    pub made: usize,
    pub found: Vec<Diagnosis>,
    pub skipped: Vec<Skipped>,
}

/// What an examination may cost the engine, and where it looks.
#[derive(Clone, Debug)]
pub struct ExamBudget {
    /// How long the engine may work on one check.
    pub each: Duration,
    /// How long it may wait for a lock that an application holds.
    pub lock: Duration,
    /// How many findings of one check are told one by one.
    pub findings_max: usize,
    /// Only these checks, by id; all if empty.
    pub only: Vec<String>,
    /// Limits that are set otherwise, by `ID.name`.
    pub limits: BTreeMap<String, f64>,
    /// What went through a running instance's hands of this engine's tables; `None` if none runs.
    pub traffic: Option<Vec<Traffic>>,
}

impl Default for ExamBudget {
    fn default() -> Self {
        ExamBudget {
            each: Duration::from_secs(3),
            lock: Duration::from_millis(100),
            findings_max: 50,
            only: Vec::new(),
            limits: BTreeMap::new(),
            traffic: None,
        }
    }
}

impl ExamBudget {
    pub fn wants(&self, check: &Check) -> bool {
        self.only.is_empty() || self.only.iter().any(|id| id == check.id)
    }
}

/// An engine that can be examined.
#[async_trait]
pub trait Examine: Send + Sync {
    /// Makes the checks that `budget` wants. Reads only. A check that the engine refuses is [`Skipped`]; an error means that
    /// the engine could not be asked at all.
    async fn examine(&self, budget: &ExamBudget) -> Result<Examination>;
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECK: Check = Check {
        id: "HW0001",
        page: "# HW0001: A title\n\n## Why it matters\n\nBecause.\nSo.\n\n## Cost\n\nNone.\n",
        asks: "SELECT 1 WHERE {a_seconds} < {b_bytes}",
        limits: &[Limit { name: "a_seconds", usual: 300.0 }, Limit { name: "b_bytes", usual: 0.5 }],
    };

    #[test]
    fn a_page_gives_its_title_and_sections() {
        assert_eq!(CHECK.title(), "A title");
        assert_eq!(CHECK.section("Why it matters"), Some("Because.\nSo."));
        assert_eq!(CHECK.section("Cost"), Some("None."));
        assert_eq!(CHECK.section("Risk"), None);
    }

    #[test]
    fn a_limit_of_the_file_comes_before_the_usual_one() {
        let set = BTreeMap::from([("HW0001.b_bytes".to_owned(), 7.0), ("HW0002.a_seconds".to_owned(), 1.0)]);
        assert_eq!(CHECK.asks_within(&set), "SELECT 1 WHERE 300.0 < 7.0");
    }
}
