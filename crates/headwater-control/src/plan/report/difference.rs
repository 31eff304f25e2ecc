//! Two plans beside each other: what is another, and what that costs.

use std::fmt::Write as _;

use serde::Serialize;

use super::Plan;
use super::words::money;

/// One thing that is not the same.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// `plan`, an engine or an access pattern.
    pub what: String,
    pub before: String,
    pub after: String,
    /// US dollars per month.
    pub difference: f64,
}

/// From one plan to another; nothing if they come to the same.
pub fn differences(before: &Plan, after: &Plan) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut change = |what: &str, before: String, after: String, difference: f64| {
        if before != after || difference.abs() >= 0.005 {
            changes.push(Change { what: what.to_owned(), before, after, difference });
        }
    };
    change("region", before.region.clone(), after.region.clone(), 0.0);
    let engine = |plan: &Plan, name: &str| {
        let found = plan.engines.iter().find(|engine| engine.name == name);
        found.map_or(("not there".to_owned(), 0.0), |engine| (engine.setup.clone(), engine.monthly))
    };
    let mut engines: Vec<(&str, &str)> =
        before.engines.iter().chain(&after.engines).map(|e| (&*e.name, &*e.title)).collect();
    engines.sort_unstable();
    engines.dedup();
    for (name, title) in engines {
        let (was, is) = (engine(before, name), engine(after, name));
        change(title, was.0, is.0, is.1 - was.1);
    }
    let pattern = |plan: &Plan, name: &str| {
        let found = plan.patterns.iter().find(|pattern| pattern.name == name);
        found.map_or(("not there".to_owned(), 0.0), |pattern| (pattern.engine.clone(), pattern.monthly))
    };
    let mut patterns: Vec<&str> = Vec::new();
    for found in before.patterns.iter().chain(&after.patterns) {
        if !patterns.contains(&&*found.name) {
            patterns.push(&found.name);
        }
    }
    for name in patterns {
        let (was, is) = (pattern(before, name), pattern(after, name));
        change(name, was.0, is.0, is.1 - was.1);
    }
    let own = |plan: &Plan| plan.in_step.iter().map(|line| line.monthly).sum::<f64>();
    let there = |plan: &Plan| if plan.in_step.is_empty() { "not needed" } else { "there" }.to_owned();
    change("keeping stores in step", there(before), there(after), own(after) - own(before));
    changes
}

pub fn differences_text(before: &Plan, after: &Plan) -> String {
    let mut out = String::new();
    let difference = after.monthly - before.monthly;
    let _ = writeln!(
        out,
        "{} per month becomes {}: {}",
        money(before.monthly),
        money(after.monthly),
        signed(difference)
    );
    let changes = differences(before, after);
    if changes.is_empty() {
        out.push_str("  nothing else is different\n");
    }
    for Change { what, before, after, difference } in changes {
        let how = if before == after { before } else { format!("{before} becomes {after}") };
        let _ = writeln!(out, "  {what:<24} {:>12}  {how}", signed(difference));
    }
    out
}

fn signed(usd: f64) -> String {
    match usd {
        usd if usd.abs() < 0.005 => "the same".to_owned(),
        usd if usd < 0.0 => format!("-{}", money(-usd)),
        usd => format!("+{}", money(usd)),
    }
}
