//! What one examination after the other found: what is new, since when the rest is there, and what is gone.
//!
//! Invariant: a finding is gone only if its check was made again and did not report it: an engine that could not be asked,
//! or a check that was skipped, says nothing about what it found before.

use headwater_model::exam::Urgency;
use serde::{Deserialize, Serialize};

use super::{Examined, Found, Report};

/// Findings that are gone are kept for so many.
const GONE_MAX: usize = 100;

/// Findings that are told at most: a bound on what somebody's thousand tables may cost.
const STANDING_MAX: usize = 2_000;

/// What is known of the findings of a running instance. Times are microseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// When the engines were last looked at.
    #[serde(default)]
    pub at_micros: Option<i64>,
    /// Engines that could not be looked at then, and why.
    #[serde(default)]
    pub failed: Vec<(String, String)>,
    /// Those that are there, the most urgent first.
    #[serde(default)]
    pub standing: Vec<Standing>,
    /// Those that are gone, the newest first.
    #[serde(default)]
    pub gone: Vec<Standing>,
}

/// One finding, from one examination to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub engine: String,
    pub check: String,
    pub title: String,
    pub subject: String,
    #[serde(rename = "severity")]
    pub urgency: Urgency,
    pub what: String,
    pub remedy: Vec<String>,
    /// Why somebody has decided to live with it, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<String>,
    pub first_seen_micros: i64,
    pub last_seen_micros: i64,
}

/// What an examination changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Noticed {
    /// Not accepted by anybody.
    pub new: Vec<Standing>,
    pub gone: Vec<Standing>,
}

impl Ledger {
    /// Takes in what was found at `now_micros`.
    pub fn take(&mut self, report: &Report, now_micros: i64) -> Noticed {
        let mut noticed = Noticed::default();
        let mut standing = Vec::new();
        for examined in &report.engines {
            for found in examined.found.iter().chain(&examined.accepted) {
                let mut seen = Standing::of(examined, found, now_micros);
                match self.standing.iter().find(|known| known.is(&seen)) {
                    Some(known) => seen.first_seen_micros = known.first_seen_micros,
                    None if seen.accepted.is_none() => noticed.new.push(seen.clone()),
                    None => {}
                }
                standing.push(seen);
            }
        }
        for known in std::mem::take(&mut self.standing) {
            if standing.iter().any(|seen| seen.is(&known)) {
                continue;
            }
            if is_unknown(report, &known) {
                standing.push(known);
            } else {
                noticed.gone.push(known.clone());
                self.gone.insert(0, known);
            }
        }
        // Stable: what an engine thinks worst of one kind stays first.
        standing.sort_by_key(|standing| std::cmp::Reverse(standing.urgency));
        standing.truncate(STANDING_MAX);
        self.gone.truncate(GONE_MAX);
        self.standing = standing;
        self.at_micros = Some(now_micros);
        let failed =
            |examined: &Examined| Some((examined.engine.clone(), examined.failed.as_ref()?.why.clone()));
        self.failed = report.engines.iter().filter_map(failed).collect();
        noticed
    }

    /// Those that nobody has accepted.
    pub fn open(&self) -> impl Iterator<Item = &Standing> {
        self.standing.iter().filter(|standing| standing.accepted.is_none())
    }

    /// Since when a finding is there.
    pub fn first_seen(&self, engine: &str, found: &Found) -> Option<i64> {
        let diagnosis = &found.diagnosis;
        let is = |known: &&Standing| {
            known.engine == engine && known.check == diagnosis.check && known.subject == diagnosis.subject
        };
        self.standing.iter().find(is).map(|known| known.first_seen_micros)
    }
}

impl Standing {
    fn of(examined: &Examined, found: &Found, now_micros: i64) -> Standing {
        let diagnosis = &found.diagnosis;
        Standing {
            engine: examined.engine.clone(),
            check: diagnosis.check.to_owned(),
            title: diagnosis.title.to_owned(),
            subject: diagnosis.subject.clone(),
            urgency: diagnosis.urgency,
            what: diagnosis.what.clone(),
            remedy: diagnosis.remedy.clone(),
            accepted: found.reason.clone(),
            first_seen_micros: now_micros,
            last_seen_micros: now_micros,
        }
    }

    fn is(&self, other: &Standing) -> bool {
        self.engine == other.engine && self.check == other.check && self.subject == other.subject
    }
}

/// Whether nothing can be said about a finding of before: its engine was not reached, or its check not made. Engines that the
/// file has no more are gone, and what was found in them.
fn is_unknown(report: &Report, known: &Standing) -> bool {
    let engine = report.engines.iter().find(|examined| examined.engine == known.engine);
    engine.is_some_and(|examined| {
        examined.failed.is_some() || examined.skipped.iter().any(|skipped| skipped.check == known.check)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use headwater_model::Error;
    use headwater_model::exam::{Diagnosis, Examination, Skipped};

    use super::*;

    fn diagnosis(check: &'static str, subject: &str, urgency: Urgency) -> Diagnosis {
        Diagnosis {
            check,
            title: "A title",
            subject: subject.to_owned(),
            urgency,
            what: "is wrong".to_owned(),
            table: None,
            asked: String::new(),
            answered: BTreeMap::new(),
            remedy: Vec::new(),
            undo: Vec::new(),
        }
    }

    fn report(outcome: Result<Examination, Error>) -> Report {
        let mut report = Report::default();
        report.add(None, "source".to_owned(), outcome);
        report
    }

    fn found(found: Vec<Diagnosis>) -> Report {
        report(Ok(Examination { found, made: 2, ..Examination::default() }))
    }

    fn subjects(of: &[Standing]) -> Vec<&str> {
        of.iter().map(|standing| &*standing.subject).collect()
    }

    #[test]
    fn a_finding_is_new_once_stays_and_goes() {
        let mut ledger = Ledger::default();
        let (low, high) = (diagnosis("HW1", "a", Urgency::Low), diagnosis("HW2", "b", Urgency::High));
        assert_eq!(subjects(&ledger.take(&found(vec![low.clone()]), 10).new), ["a"]);
        let noticed = ledger.take(&found(vec![low, high.clone()]), 20);
        assert_eq!((subjects(&noticed.new), noticed.gone.len()), (vec!["b"], 0));
        let times = |standing: &Standing| (standing.first_seen_micros, standing.last_seen_micros);
        assert_eq!(ledger.standing.iter().map(times).collect::<Vec<_>>(), [(20, 20), (10, 20)]);
        let noticed = ledger.take(&found(vec![high]), 30);
        assert_eq!((noticed.new.len(), subjects(&noticed.gone)), (0, vec!["a"]));
        assert_eq!((subjects(&ledger.standing), subjects(&ledger.gone)), (vec!["b"], vec!["a"]));
    }

    #[test]
    fn what_could_not_be_looked_at_is_not_gone() {
        let mut ledger = Ledger::default();
        ledger.take(&found(vec![diagnosis("HW1", "a", Urgency::Low)]), 10);
        let noticed = ledger.take(&report(Err(Error::transient("no answer"))), 20);
        assert_eq!(noticed, Noticed::default());
        assert_eq!(ledger.failed, [("source".to_owned(), "no answer".to_owned())]);
        let skipped = Skipped { check: "HW1", title: "A title", why: "denied".to_owned(), remedy: None };
        ledger.take(&report(Ok(Examination { skipped: vec![skipped], ..Examination::default() })), 30);
        assert_eq!(ledger.standing[0].last_seen_micros, 10);
        assert_eq!(subjects(&ledger.take(&found(vec![]), 40).gone), ["a"]);
    }
}
