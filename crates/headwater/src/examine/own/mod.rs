//! What is looked for in Headwater itself: what it keeps that nobody uses, what it promises that nobody tried, and what waits
//! for somebody. Asks no engine: all is known to the instance, or stands in the file.

pub mod advised;
mod judge;

use std::collections::BTreeMap;
use std::path::Path;

use headwater_flow::status::Status;
use headwater_model::exam::{Check, Diagnosis, ExamBudget, Examination, Limit, Skipped, Urgency};
use headwater_model::file::File;
use tracing::warn;

use crate::drill::history;
use crate::observed::{self, Hour};

/// What an instance knows of itself, at one moment, and what those before it in the same folder wrote down.
#[derive(Default)]
pub struct Seen {
    /// `None`: none runs in this data folder.
    pub status: Option<Status>,
    /// What readers got, hour by hour.
    pub hours: Vec<Hour>,
    /// When the newest drill ran, seconds since 1970.
    pub drilled_at_seconds: Option<u64>,
    /// What was last said about the source's indexes, if somebody asked.
    pub advised: Option<advised::Advised>,
    /// Seconds since 1970.
    pub now_seconds: u64,
}

impl Seen {
    /// Of an instance whose `status` is this, with what lies in its data folder.
    pub fn new(data: &Path, status: Option<Status>, now_seconds: u64) -> Seen {
        let drilled_at_seconds = history::newest(data, 1).first().map(|report| report.at_seconds);
        let hours = observed::read(data).unwrap_or_else(|error| {
            warn!("what readers got is not known: {error:#}");
            Vec::new()
        });
        let advised = advised::read(data).unwrap_or_else(|error| {
            warn!("what was advised about indexes is not known: {error:#}");
            None
        });
        Seen { status, hours, drilled_at_seconds, advised, now_seconds }
    }
}

/// What a check needs to be made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// The file alone.
    File,
    /// What readers got, whether an instance runs or not.
    Hours,
    /// An instance that runs.
    Status,
}

/// A check, and what makes findings of what was seen.
struct Look {
    check: Check,
    needs: Needs,
    judge: fn(&Scene<'_>) -> Vec<Symptom>,
}

/// What a check judges.
struct Scene<'a> {
    check: &'a Check,
    file: &'a File,
    seen: &'a Seen,
    /// Of the running instance; an empty one for checks of the file.
    status: &'a Status,
    set: &'a BTreeMap<String, f64>,
}

impl Scene<'_> {
    /// The limit of that name that is in force.
    fn limit(&self, name: &str) -> f64 {
        let limit = self.check.limits.iter().find(|limit| limit.name == name);
        limit.map_or(0.0, |limit| self.check.limit(limit, self.set))
    }

    fn now_micros(&self) -> i64 {
        i64::try_from(self.seen.now_seconds).unwrap_or(i64::MAX / 1_000_000).saturating_mul(1_000_000)
    }
}

/// A finding without what the check itself knows.
struct Symptom {
    subject: String,
    urgency: Urgency,
    what: String,
    remedy: Vec<String>,
    undo: Vec<String>,
    evidence: Vec<(&'static str, String)>,
}

macro_rules! look {
    ($id:literal, $needs:ident, $asks:literal, [$($limit:literal = $usual:literal),*], $judge:path) => {
        Look {
            check: Check {
                id: $id,
                page: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/findings/", $id, ".md")),
                asks: $asks,
                limits: &[$(Limit { name: $limit, usual: $usual }),*],
            },
            needs: Needs::$needs,
            judge: $judge,
        }
    };
}

#[rustfmt::skip]
const LOOKS: &[Look] = &[
    look!("HW3001", File, "the file: [views], [access], [serve] resp", [], judge::never_read),
    look!("HW3002", Hours, "the data folder: observed/", ["days" = 7.0], judge::never_called),
    look!("HW3003", Hours, "the data folder: observed/, and the file: [access] rate", ["times" = 3.0, "hours" = 24.0], judge::another_rate),
    look!("HW3004", Status, "the instance: headwater_view_verified_seconds", ["hours" = 24.0, "days" = 30.0], judge::never_verified),
    look!("HW3005", Status, "the data folder: drills/", ["days" = 90.0], judge::never_drilled),
    look!("HW3006", Status, "the instance: headwater_store_quarantined_rows, headwater_source_quarantined_rows", [], judge::quarantined),
    look!("HW3007", Status, "the instance: what waits for approval or is paused", ["hours" = 24.0], judge::waits_for_somebody),
    look!("HW3008", Status, "the instance: headwater_journal_bytes, headwater_source_retained_log_bytes", ["share" = 0.7], judge::nearly_full),
    look!("HW3009", Status, "the instance: headwater_part_hits_total, headwater_part_misses_total", ["reads" = 10000.0, "share" = 0.5], judge::seldom_hit),
    look!("HW3010", Hours, "the data folder: observed/, and the file: [access] p99", ["reads" = 1000.0], judge::slower_than_wanted),
    look!("HW3011", Status, "the instance: headwater_view_drifted_rows", [], judge::drifted),
    look!("HW3012", File, "the data folder: indexes.json, which `headwater doctor indexes` writes", [], judge::index_advised),
    look!("HW3013", Status, "the data folder: indexes.json, and how long the instance has run", ["days" = 90.0], judge::never_restored),
    look!("HW3020", File, "the file: pii, [stores]", [], judge::travels_in_the_clear),
    look!("HW3021", File, "the file: pii, ttl", [], judge::stays_for_ever),
    look!("HW3022", File, "the file: pii, [doctor] pii_regions, [stores]", [], judge::in_another_region),
];

/// Every check, in the order of their ids.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    LOOKS.iter().map(|look| &look.check)
}

/// Makes the checks that `budget` wants.
pub fn examine(file: &File, seen: &Seen, budget: &ExamBudget) -> Examination {
    let mut examination =
        Examination { server: format!("Headwater {}", env!("CARGO_PKG_VERSION")), ..Examination::default() };
    let none = Status::default();
    for look in LOOKS.iter().filter(|look| budget.wants(&look.check)) {
        if let Some((why, remedy)) = why_not(look.needs, seen) {
            let (check, title) = (look.check.id, look.check.title());
            let (why, remedy) = (why.to_owned(), Some(remedy.to_owned()));
            examination.skipped.push(Skipped { check, title, why, remedy });
            continue;
        }
        let status = seen.status.as_ref().unwrap_or(&none);
        let scene = Scene { check: &look.check, file, seen, status, set: &budget.limits };
        let symptoms = (look.judge)(&scene);
        examination.made += 1;
        examination.found.extend(symptoms.into_iter().take(budget.findings_max).map(|symptom| Diagnosis {
            check: look.check.id,
            title: look.check.title(),
            subject: symptom.subject,
            urgency: symptom.urgency,
            what: symptom.what,
            table: None,
            asked: look.check.asks.to_owned(),
            answered: symptom.evidence.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            remedy: symptom.remedy,
            undo: symptom.undo,
        }));
    }
    examination
}

/// Why a check cannot be made, and what would let it.
fn why_not(needs: Needs, seen: &Seen) -> Option<(&'static str, &'static str)> {
    let start = "start it: headwater run";
    match needs {
        Needs::Status if seen.status.is_none() => Some(("no instance runs in this data folder", start)),
        Needs::Hours if seen.hours.is_empty() => {
            Some(("no instance has counted anything in this data folder", start))
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
