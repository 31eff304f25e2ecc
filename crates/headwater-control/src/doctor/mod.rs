//! What examinations of the engines found, as one report: the worst first, with whom it concerns in this file and what somebody
//! has accepted. Engines look and say what to do (`headwater_model::exam`); nothing here asks one.

mod ledger;

use headwater_model::exam::{Check, Diagnosis, Examination, Skipped, Urgency};
use headwater_model::file::File;
use headwater_model::{Embed, Error, TableName, View, nearest};
use serde::Serialize;

use crate::Finding;
pub use ledger::{Ledger, Noticed, Standing};

/// Everything that was looked at.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub engines: Vec<Examined>,
}

/// What came of the examination of one engine.
#[derive(Debug, Serialize)]
pub struct Examined {
    /// `source`, or `store near`.
    pub engine: String,
    pub server: String,
    /// How many checks were made.
    pub made: usize,
    pub found: Vec<Found>,
    /// What somebody has decided to live with.
    pub accepted: Vec<Found>,
    pub skipped: Vec<Skipped>,
    /// Why nothing could be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failed>,
}

#[derive(Debug, Serialize)]
pub struct Failed {
    pub why: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// A finding, and what it means to this file.
#[derive(Debug, Serialize)]
pub struct Found {
    #[serde(flatten)]
    pub diagnosis: Diagnosis,
    /// Whom it concerns: views and access patterns that come from the table it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concerns: Option<String>,
    /// Why it is accepted, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Report {
    /// `file` says whom findings concern and which are accepted; without one nobody and none.
    pub fn add(&mut self, file: Option<&File>, engine: String, outcome: Result<Examination, Error>) {
        let mut examined = Examined {
            engine,
            server: String::new(),
            made: 0,
            found: Vec::new(),
            accepted: Vec::new(),
            skipped: Vec::new(),
            failed: None,
        };
        match outcome {
            Ok(examination) => {
                examined.server = examination.server;
                examined.made = examination.made;
                examined.skipped = examination.skipped;
                for diagnosis in examination.found {
                    let found = Found {
                        concerns: file.and_then(|file| concerns(file, diagnosis.table.as_ref()?)),
                        reason: file.and_then(|file| accepted(file, diagnosis.check, &diagnosis.subject)),
                        diagnosis,
                    };
                    if found.reason.is_some() { &mut examined.accepted } else { &mut examined.found }
                        .push(found);
                }
                // Stable: what an engine thinks worst of one kind stays first.
                examined.found.sort_by_key(|found| std::cmp::Reverse(found.diagnosis.urgency));
            }
            Err(error) => {
                examined.failed =
                    Some(Failed { why: error.to_string(), remedy: error.remedy().map(str::to_owned) });
            }
        }
        self.engines.push(examined);
    }

    /// Findings that are not accepted, of every engine.
    pub fn found(&self) -> impl Iterator<Item = &Found> {
        self.engines.iter().flat_map(|examined| &examined.found)
    }

    pub fn worst(&self) -> Option<Urgency> {
        self.found().map(|found| found.diagnosis.urgency).max()
    }

    pub fn is_complete(&self) -> bool {
        self.engines.iter().all(|examined| examined.failed.is_none())
    }

    /// The remedies as one script for the source, the most urgent first. Nothing in it is inside a transaction: some of the
    /// statements may not be. What ends somebody's work or removes something is commented out, for a person to decide.
    pub fn script(&self) -> String {
        let mut out = format!(
            "{SCRIPT_MARK}. Read before you run it: `headwater doctor --explain ID` says what each costs and risks.\n\
             -- Statements that end sessions, drop or rewrite something are commented out.\n"
        );
        for found in self.found() {
            let diagnosis = &found.diagnosis;
            out.push_str(&format!(
                "\n-- {} {} {}: {}\n",
                diagnosis.urgency.name(),
                diagnosis.check,
                diagnosis.subject,
                diagnosis.what
            ));
            for statement in &diagnosis.remedy {
                let careful = DECIDE.iter().any(|word| statement.to_ascii_lowercase().contains(word))
                    || !statement.contains(';');
                out.push_str(if careful { "-- " } else { "" });
                out.push_str(statement);
                out.push('\n');
            }
            for statement in &diagnosis.undo {
                out.push_str(&format!("-- undo: {statement}\n"));
            }
        }
        out
    }
}

/// How every [`Report::script`] begins.
pub const SCRIPT_MARK: &str = "-- Remedies found by headwater doctor";

/// Words of statements that a person decides about.
const DECIDE: &[&str] = &[
    "drop ",
    "terminate",
    "cancel_backend",
    "rollback prepared",
    "vacuum (full",
    "type bigint",
    "promote",
    "takes a restart",
    "pg_stat_reset",
    "<",
    "...",
];

/// Entries of `[doctor]` that name a check or a limit that is not there.
pub fn unknown(file: &File, checks: &[&Check]) -> Vec<Finding> {
    let ids = || checks.iter().map(|check| check.id);
    let limits: Vec<String> = checks
        .iter()
        .flat_map(|check| check.limits.iter().map(move |limit| format!("{}.{}", check.id, limit.name)))
        .collect();
    let mut wrong = Vec::new();
    for name in file.doctor.limits.keys().filter(|name| !limits.contains(name)) {
        let remedy = match nearest(name, limits.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => "`headwater doctor --explain ID` tells a check's limits".to_owned(),
        };
        wrong.push(Finding::at(
            file,
            &format!("doctor.limits.{name}"),
            format!("no check has a limit \"{name}\""),
            remedy,
        ));
    }
    for name in file.doctor.accepted.keys() {
        let id = name.split(' ').next().unwrap_or_default();
        if !ids().any(|known| known == id) {
            let remedy = match nearest(id, ids()) {
                Some(meant) => format!("did you mean {meant}?"),
                None => "`headwater doctor --list` tells all checks".to_owned(),
            };
            wrong.push(Finding::at(
                file,
                &format!("doctor.accepted.{name}"),
                format!("there is no check {id}"),
                remedy,
            ));
        }
    }
    wrong
}

/// Why a finding is accepted, if the file says so of it or of its check.
pub fn accepted(file: &File, check: &str, subject: &str) -> Option<String> {
    let accepted = &file.doctor.accepted;
    accepted.get(&format!("{check} {subject}")).or_else(|| accepted.get(check)).cloned()
}

/// Which views come from a table, and what is asked of them.
fn concerns(file: &File, table: &TableName) -> Option<String> {
    let views: Vec<&View> = file.views.iter().filter(|view| comes_from(view, table)).collect();
    let names: Vec<&str> = views.iter().map(|view| &*view.name).collect();
    if names.is_empty() {
        return None;
    }
    let patterns: Vec<String> = file
        .access
        .iter()
        .filter(|access| !access.pattern.reads(views.iter().copied()).is_empty())
        .map(|access| match access.rate_per_second {
            Some(rate) => format!("{} ({rate}/s)", access.name),
            None => access.name.to_string(),
        })
        .collect();
    let mut text =
        format!("{} {} from it", names.join(", "), if names.len() == 1 { "comes" } else { "come" });
    if !patterns.is_empty() {
        text.push_str(&format!("; read as {}", patterns.join(", ")));
    }
    Some(text)
}

fn comes_from(view: &View, table: &TableName) -> bool {
    is(&view.from, table) || embeds(&view.embeds, table)
}

fn embeds(all: &[Embed], table: &TableName) -> bool {
    all.iter().any(|embed| is(&embed.from, table) || embeds(&embed.embeds, table))
}

/// A name without a schema in the file is of the usual one.
fn is(named: &TableName, table: &TableName) -> bool {
    named.name == table.name
        && (named.schema == table.schema
            || named.schema.is_none() && table.schema.as_deref().is_none_or(|schema| schema == "public"))
}
