//! What was measured, beside what the plan counts with.

use std::fmt::Write as _;

use super::words::{figure, money, per_second, percent, size};
use crate::plan::observed::{Beside, Figure, Unit};

/// What each row says: what, planned, observed, what that alone costs.
fn rows(beside: &Beside) -> Vec<[String; 4]> {
    let mut rows: Vec<[String; 4]> = beside
        .figures
        .iter()
        .map(|this| {
            let planned = this.planned.map_or("not said".to_owned(), |planned| amount(this.unit, planned));
            [this.what.clone(), planned, amount(this.unit, this.observed), costs(this)]
        })
        .collect();
    for latency in &beside.latencies {
        let asked = latency.p99_ms_asked.map_or("not said".to_owned(), |ms| format!("{ms} ms"));
        let verdict = match latency.p99_ms_asked {
            Some(asked) if latency.p99_ms > asked => "slower than asked",
            Some(_) => "as asked",
            None => "",
        };
        let what = format!("access.{}.p99", latency.pattern);
        rows.push([what, asked, format!("{} ms", figure(latency.p99_ms)), verdict.to_owned()]);
    }
    rows
}

fn amount(unit: Unit, amount: f64) -> String {
    match unit {
        Unit::PerSecond if amount <= 0.0 => "0/s".to_owned(),
        Unit::PerSecond => per_second(amount),
        Unit::Count => figure(amount),
        Unit::Bytes => size(amount),
        Unit::Share => percent(amount),
    }
}

fn costs(this: &Figure) -> String {
    match this.difference {
        _ if this.planned.is_none() => "counted on both sides".to_owned(),
        _ if !this.is_another() => "as planned".to_owned(),
        Some(usd) if usd.abs() < 0.005 => "costs the same".to_owned(),
        Some(usd) if usd < 0.0 => format!("{} less", money(-usd)),
        Some(usd) => format!("{} more", money(usd)),
        None => "nothing carries it".to_owned(),
    }
}

fn watched(beside: &Beside) -> String {
    let time = match beside.hours {
        hours if hours < 2.0 => format!("{} min", figure((hours * 60.0).max(0.1))),
        hours => format!("{} h", figure(hours)),
    };
    format!(
        "{time} between {} and {} UTC; rates are those of the busiest hour, of reads through this instance",
        beside.from, beside.to
    )
}

const SHORT_HOURS: f64 = 24.0;

/// What to bear in mind.
fn notes(beside: &Beside) -> Vec<String> {
    let mut notes = Vec::new();
    if !beside.unseen.is_empty() {
        notes.push(format!("nobody asked for {} here: as declared", beside.unseen.join(", ")));
    }
    if beside.hours < SHORT_HOURS {
        notes.push("less than a day was watched: the busiest hour may be another".to_owned());
    }
    notes
}

pub fn beside_text(beside: &Beside) -> String {
    let mut out = format!("OBSERVED: {}\n", watched(beside));
    let rows = rows(beside);
    let wide = rows.iter().map(|row| row[0].chars().count()).max().unwrap_or(0).max(12);
    let _ = writeln!(out, "  {:<wide$} {:>14} {:>14}  that alone, per month", "", "planned", "observed");
    for [what, planned, observed, costs] in rows {
        let _ =
            writeln!(out, "  {}", format!("{what:<wide$} {planned:>14} {observed:>14}  {costs}").trim_end());
    }
    for note in notes(beside) {
        let _ = writeln!(out, "  {note}");
    }
    out
}

pub fn beside_markdown(beside: &Beside) -> String {
    let mut out = format!("# Observed\n\n{}.\n\n", watched(beside));
    out.push_str("| | planned | observed | that alone, per month |\n|---|---:|---:|---|\n");
    for [what, planned, observed, costs] in rows(beside) {
        let _ = writeln!(out, "| `{what}` | {planned} | {observed} | {costs} |");
    }
    for note in notes(beside) {
        let _ = write!(out, "\n- {note}");
    }
    out.push('\n');
    out
}
