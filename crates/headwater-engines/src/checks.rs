//! What the definitions of checks share, whatever the engine.

use std::collections::BTreeMap;

use headwater_model::exam::{Check, Diagnosis, ExamBudget, Examination, Limit, Skipped, Urgency};
use headwater_model::{Error, ErrorKind, Result, TableName};

pub(crate) const fn limit(name: &'static str, usual: f64) -> Limit {
    Limit { name, usual }
}

/// The page of a check.
macro_rules! page {
    ($id:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/findings/", $id, ".md"))
    };
}
pub(crate) use page;

/// The limits that are in force for a check.
pub(crate) struct Limits<'a> {
    pub(crate) check: &'a Check,
    pub(crate) set: &'a BTreeMap<String, f64>,
}

impl Limits<'_> {
    pub(crate) fn of(&self, name: &str) -> f64 {
        let limit = self.check.limits.iter().find(|limit| limit.name == name);
        limit.map_or(0.0, |limit| self.check.limit(limit, self.set))
    }
}

/// A finding without what the check itself knows.
pub(crate) struct Symptom {
    pub(crate) subject: String,
    pub(crate) urgency: Urgency,
    pub(crate) what: String,
    pub(crate) remedy: Vec<String>,
    pub(crate) undo: Vec<String>,
}

impl Symptom {
    pub(crate) fn new(
        subject: impl Into<String>,
        urgency: Urgency,
        what: impl Into<String>,
        remedy: &[&str],
    ) -> Symptom {
        Symptom {
            subject: subject.into(),
            urgency,
            what: what.into(),
            remedy: remedy.iter().map(|line| (*line).to_owned()).collect(),
            undo: Vec::new(),
        }
    }

    pub(crate) fn undo(mut self, line: String) -> Symptom {
        self.undo.push(line);
        self
    }

    /// Of the check whose question was `asked`; `answered` is the evidence.
    pub(crate) fn diagnosis(
        self,
        check: &Check,
        asked: &str,
        answered: BTreeMap<String, String>,
    ) -> Diagnosis {
        Diagnosis {
            check: check.id,
            title: check.title(),
            subject: self.subject,
            urgency: self.urgency,
            what: self.what,
            table: None,
            asked: asked.to_owned(),
            answered,
            remedy: self.remedy,
            undo: self.undo,
        }
    }
}

/// Names and values, as evidence.
pub(crate) fn evidence(of: &[(&str, impl ToString)]) -> BTreeMap<String, String> {
    of.iter().map(|(name, value)| ((*name).to_owned(), value.to_string())).collect()
}

/// What a check found: each with its evidence, names and values.
pub(crate) type Found = Vec<(Symptom, BTreeMap<String, String>)>;

/// Takes what a check has found into the examination. What the engine refused or does not know, errors of the kinds `refused`, and
/// what took too long is skipped there; `remedy` is what would let it.
pub(crate) fn record(
    examination: &mut Examination,
    check: &'static Check,
    budget: &ExamBudget,
    looked: std::result::Result<Result<Found>, tokio::time::error::Elapsed>,
    (refused, remedy): (&[ErrorKind], String),
) -> Result<()> {
    let (why, remedy) = match looked {
        Ok(Ok(found)) => {
            examination.made += 1;
            let asked = check.asks_within(&budget.limits);
            let found = found.into_iter().take(budget.findings_max);
            let found = found.map(|(symptom, answered)| symptom.diagnosis(check, &asked, answered));
            examination.found.extend(found);
            return Ok(());
        }
        Ok(Err(error)) if refused.contains(&error.kind()) => (error.to_string(), remedy),
        Ok(Err(error)) => return Err(error),
        Err(_) => (
            format!("it took longer than {} s", budget.each.as_secs()),
            "raise check_within under [doctor]".to_owned(),
        ),
    };
    let title = check.title();
    examination.skipped.push(Skipped { check: check.id, title, why, remedy: Some(remedy) });
    Ok(())
}

/// The finding that a row of a check's query is: cells by the names of their columns, without those that are NULL. Columns with a
/// meaning of their own are `subject`, `severity`, `what`, `remedy` and `undo` (statements, one per line), `table_schema` and
/// `table_name`; every other one is evidence.
pub(crate) fn diagnosis(
    check: &Check,
    asked: &str,
    mut answered: BTreeMap<String, String>,
) -> Result<Diagnosis> {
    let lacks = |what: &str| Error::bug(format!("check {}: a row without {what}", check.id));
    let mut lines = |name: &str| -> Vec<String> {
        let text = answered.remove(name).unwrap_or_default();
        text.lines().map(str::to_owned).filter(|line| !line.is_empty()).collect()
    };
    let (remedy, undo) = (lines("remedy"), lines("undo"));
    let table = answered
        .remove("table_name")
        .map(|name| TableName::new(answered.remove("table_schema").as_deref(), &name));
    Ok(Diagnosis {
        check: check.id,
        title: check.title(),
        subject: answered.remove("subject").ok_or_else(|| lacks("a subject"))?,
        urgency: answered
            .remove("severity")
            .and_then(|name| Urgency::named(&name))
            .ok_or_else(|| lacks("a severity"))?,
        what: answered.remove("what").ok_or_else(|| lacks("words"))?,
        table,
        asked: asked.to_owned(),
        answered,
        remedy,
        undo,
    })
}
