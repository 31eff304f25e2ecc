//! `headwater verify`: compares every store with the source, asked of the running instance.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use headwater_flow::verify::Pace;
use headwater_flow::verify::report::{Comparison, DriftKind, GROUPS, Progress, Report, Request, Verdict};
use headwater_model::Error;
use headwater_model::file::File;

use super::failure::Failure;
use super::file;
use super::show::print;
use super::which::{Which, heading};
use crate::by_source::BySource;
use crate::control_socket::{Told, Verifying};
use crate::figures::{counted, counted_64};

/// Keys that are printed per view and store; JSON has more.
const KEYS_SHOWN: usize = 20;

#[derive(clap::Args)]
pub struct Args {
    /// Views to compare; without any, all of them.
    views: Vec<String>,
    /// Only this store.
    #[arg(long)]
    store: Option<String>,
    /// Only a share of the keys, chosen at random, such as 5%.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    sample: Option<f64>,
    /// Put right what drifted, as long as it is not more than --allow.
    #[arg(long)]
    repair: bool,
    /// How much of a view in a store may be put right; a hundred documents always may.
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "1%", requires = "repair")]
    allow: f64,
    /// How fast: `gentle` rests nine tenths of the time, so that those who write hardly notice; `full` is as fast as it can;
    /// 5000/s is so many rows of the source per second, at most.
    #[arg(long, value_parser = pace, default_value = "gentle")]
    rate: Pace,
    /// One JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

/// `5%` or `0.05`.
fn share(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (text, 1.0),
    };
    match number.trim().parse::<f64>().map(|number| number / unit) {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("a share is more than 0% and at most 100%, as in 5%".to_owned()),
    }
}

fn pace(text: &str) -> Result<Pace, String> {
    match text {
        "gentle" => return Ok(Pace::Gentle),
        "full" => return Ok(Pace::Full),
        _ => {}
    }
    let rate: Option<u64> = text.strip_suffix("/s").unwrap_or(text).trim().parse().ok();
    let rate = rate.filter(|rate| *rate > 0).map(Pace::Rate);
    rate.ok_or_else(|| "write rows per second, as in 5000/s, or `full` or `gentle`".to_owned())
}

/// Exit code 0 if everything that was asked for was compared and is equal, or was put right; 1 if something drifted; 2 if something
/// could not be compared.
pub async fn run(args: Args, path: &Path) -> Result<ExitCode, Failure> {
    let file = file::load(path)?;
    let flows = about(args.which.flows(&file)?, &args.views, args.store.as_deref());
    let (mut reports, mut worst) = (BySource::default(), 0);
    for flow in &flows {
        if !args.json && flows.len() > 1 {
            print(&heading(flow));
        }
        match compare(&args, flow).await? {
            Ok(report) => {
                worst = worst.max(exit_code(&report));
                if !args.json {
                    print(&text(&report));
                }
                reports.add(flow.source().name.as_deref(), report);
            }
            Err(error) => {
                refuse(&error);
                worst = 2;
            }
        }
    }
    if args.json && reports.iter().next().is_some() {
        let mut text = serde_json::to_string(&reports).context("cannot write the report as JSON")?;
        text.push('\n');
        print(&text);
    }
    Ok(ExitCode::from(worst))
}

/// Of several sources those that have what is asked for; if none has, the first says so.
fn about(mut flows: Vec<File>, views: &[String], store: Option<&str>) -> Vec<File> {
    let names = |flow: &File| {
        (views.is_empty() || views.iter().any(|view| flow.view(view).is_some()))
            && store.is_none_or(|store| flow.stores.iter().any(|section| *section.name == *store))
    };
    if flows.iter().any(names) {
        flows.retain(names);
    } else {
        flows.truncate(1);
    }
    flows
}

/// What comes of comparing the views of one source; the inner error: nothing was compared.
async fn compare(args: &Args, flow: &File) -> Result<Result<Report, Error>, Failure> {
    let mine = |view: &&String| flow.source().name.is_none() || flow.view(view).is_some();
    let mut views: Vec<String> = args.views.iter().filter(mine).cloned().collect();
    if views.is_empty() {
        views.clone_from(&args.views);
    }
    let request = Request {
        views,
        store: args.store.clone(),
        sample: args.sample,
        repair: args.repair.then_some(args.allow),
        pace: args.rate,
    };
    let asked = Verifying::begin(&flow.data, request).await.context("cannot ask the running instance")?;
    let Some(mut verifying) = asked else {
        let error = Error::misconfigured(format!(
            "no instance runs with the data folder {}, and only a running one can compare",
            flow.data.display()
        ));
        return Ok(Err(error.with_remedy("start `headwater run` with this file, then ask again")));
    };
    let line = Line::new();
    let report = loop {
        match verifying.next().await.context("the verification broke off")? {
            Told::Progress(progress) => line.show(&progress),
            Told::Report(report) => break Ok(report),
            Told::Refused(refused) => break Err(refused.into()),
        }
    };
    line.clear();
    Ok(report)
}

/// Nothing was compared.
fn refuse(error: &Error) {
    eprintln!("error: {error}");
    if let Some(remedy) = error.remedy() {
        eprintln!("  help: {remedy}");
    }
}

fn exit_code(report: &Report) -> u8 {
    let any = |verdict| report.comparisons().any(|comparison| comparison.verdict == verdict);
    if report.left() > 0 {
        return 1;
    }
    if any(Verdict::Failed) || any(Verdict::Skipped) || report.comparisons().any(|c| c.unsettled > 0) {
        return 2;
    }
    0
}

fn text(report: &Report) -> String {
    let mut out = String::new();
    for comparison in &report.mirror {
        let what = if comparison.store == GROUPS { GROUPS } else { "mirror" };
        out.push_str(&one(comparison, &format!("{what} of {}", comparison.name)));
    }
    for comparison in &report.views {
        out.push_str(&one(comparison, &format!("{} in {}", comparison.name, comparison.store)));
    }
    let drift = report.drift();
    let took = Duration::from_millis(report.took_ms);
    let incomplete =
        report.comparisons().filter(|c| matches!(c.verdict, Verdict::Failed | Verdict::Skipped)).count();
    let verdict = match (drift, incomplete) {
        (0, 0) => "every store equals the source, as far as it was compared".to_owned(),
        (0, _) => format!(
            "{} broke off or could not begin; the rest equals the source",
            counted(incomplete, "comparison")
        ),
        _ => match (report.left(), drift - report.left()) {
            (left, 0) => format!("{} drifted", counted_64(left, "key")),
            (0, _) => format!("{} drifted and put right", counted_64(drift, "key")),
            (left, right) => format!("{} drifted, {right} put right, {left} left", counted_64(drift, "key")),
        },
    };
    out.push_str(&format!("\n{verdict} ({:.1} s)\n", took.as_secs_f64()));
    out
}

fn one(comparison: &Comparison, title: &str) -> String {
    let (mark, word) = match comparison.verdict {
        Verdict::Equal => ("✓", "equal"),
        Verdict::Drifted => ("✗", "drifted"),
        Verdict::Skipped => ("–", "not compared"),
        Verdict::Failed => ("!", "broke off"),
    };
    let mut out = format!("{mark} {title}: {word}");
    if let Some(reason) = &comparison.reason {
        out.push_str(&format!(": {reason}"));
    }
    out.push('\n');
    if comparison.verdict == Verdict::Skipped {
        return out;
    }
    out.push_str(&format!("  {}", counted_64(comparison.rows, "row")));
    if comparison.covered < 1.0 && comparison.covered > 0.0 {
        out.push_str(&format!(" ({:.1} % of the keys)", comparison.covered * 100.0));
    }
    out.push_str(&format!(" compared at offsets {} to {}", comparison.from_offset, comparison.upto_offset));
    if let Some(position) = &comparison.position {
        out.push_str(&format!(", the log read up to {position}"));
    }
    out.push('\n');
    if comparison.unsettled > 0 {
        out.push_str(&format!(
            "  {} held by a transaction that does not end, or changed all the time: not compared\n",
            counted_64(comparison.unsettled, "key")
        ));
    }
    if comparison.extra_overlooked > 1e-4 {
        out.push_str(&format!(
            "  an extra document would have been overlooked with a chance of {:.2} %\n",
            comparison.extra_overlooked * 100.0
        ));
    }
    if comparison.drift() > 0 {
        out.push_str(&format!(
            "  missing {} · extra {} · different {}",
            comparison.missing, comparison.extra, comparison.different
        ));
        if comparison.misplaced > 0 {
            out.push_str(&format!(" · misplaced in indexes {}", comparison.misplaced));
        }
        if comparison.quarantined > 0 {
            out.push_str(&format!(", of them in quarantine {}", comparison.quarantined));
        }
        if comparison.repaired > 0 {
            out.push_str(&format!(" · put right {}", comparison.repaired));
        }
        out.push('\n');
        if comparison.repair_stopped {
            out.push_str(
                "  more drifted than is put right without asking: look why, then --repair --allow 100% or less\n",
            );
        }
    }
    if let Some(held) = &comparison.repair_held {
        out.push_str(&format!("  nothing was put right: {held}; then --repair once more\n"));
    }
    for drifted in comparison.drifted.iter().take(KEYS_SHOWN) {
        let kind = match drifted.kind {
            DriftKind::Missing => "missing",
            DriftKind::Extra => "extra",
            DriftKind::Different => "different",
            DriftKind::Misplaced => "misplaced",
        };
        let note = if drifted.quarantined { " (in quarantine)" } else { "" };
        out.push_str(&format!("    {kind:<9} {}{note}\n", drifted.key));
        for field in &drifted.fields {
            let shown =
                |value: &Option<String>| value.as_ref().map_or("nothing".to_owned(), |v| format!("{v:?}"));
            out.push_str(&format!(
                "              {}: should be {}, is {}\n",
                field.field,
                shown(&field.expected),
                shown(&field.found)
            ));
        }
    }
    let named = comparison.drifted.len().min(KEYS_SHOWN) as u64;
    if comparison.drift() > named {
        out.push_str(&format!("    and {} more\n", comparison.drift() - named));
    }
    out
}

/// The line that tells how far it is, on a terminal.
struct Line {
    on: bool,
    began: Instant,
}

impl Line {
    fn new() -> Line {
        Line { on: std::io::stderr().is_terminal(), began: Instant::now() }
    }

    fn show(&self, progress: &Progress) {
        if self.on && !progress.subject.is_empty() {
            let text = progress_text(progress, self.began.elapsed());
            let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
        }
    }

    fn clear(&self) {
        if self.on {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn progress_text(progress: &Progress, elapsed: Duration) -> String {
    let rate = progress.rows_total as f64 / elapsed.as_secs_f64().max(0.001);
    let mut text = format!("{}: {}, {} rows", progress.subject, progress.doing, progress.rows);
    text.push_str(&format!(" · {rate:.0} rows/s"));
    let left = progress.rows_total_estimate.saturating_sub(progress.rows_total);
    if rate >= 1.0 && left > 0 {
        text.push_str(&format!(" · about {:.0} s left", left as f64 / rate));
    }
    if progress.drifted > 0 {
        text.push_str(&format!(" · {} drifted", progress.drifted));
    }
    text
}

#[cfg(test)]
mod tests {
    use headwater_flow::verify::report::{Drifted, FieldDifference};

    use super::*;

    #[test]
    fn a_share_is_a_percentage_or_a_fraction() {
        assert_eq!(share("5%"), Ok(0.05));
        assert_eq!(share("0.5"), Ok(0.5));
        assert_eq!(share("100%"), Ok(1.0));
        for wrong in ["0", "0%", "101%", "2", "-1%", "x", "", "NaN"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_report_names_keys_and_fields() {
        let field = FieldDifference { field: "title".into(), expected: Some("Emma".into()), found: None };
        let drifted =
            Drifted { key: "7".into(), kind: DriftKind::Different, fields: vec![field], quarantined: false };
        let book = Comparison {
            name: "book".into(),
            store: "near".into(),
            verdict: Verdict::Drifted,
            rows: 10,
            covered: 1.0,
            from_offset: 5,
            upto_offset: 9,
            position: Some("0/16B3748".into()),
            different: 25,
            drifted: vec![drifted],
            ..Comparison::default()
        };
        let report = Report { took_ms: 1200, views: vec![book], ..Report::default() };
        assert_eq!(
            text(&report),
            "✗ book in near: drifted\n  10 rows compared at offsets 5 to 9, the log read up to 0/16B3748\n  \
             missing 0 · extra 0 · different 25\n    different 7\n              \
             title: should be \"Emma\", is nothing\n    and 24 more\n\n25 keys drifted (1.2 s)\n"
        );
    }
}
