//! `headwater doctor`: what erodes the running engines, with the exact remedy.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use headwater_control::doctor::{self, Examined, Found, Ledger, Report};
use headwater_engines::registry;
use headwater_model::exam::{Check, ExamBudget, Examination, Examine, Urgency};
use headwater_model::file::{File, SourceSection, StoreSection};
use headwater_model::{Error, Secret, nearest};

use super::failure::Failure;
use super::which::Which;
use super::{file, indexes, show};
use crate::examine::own::Seen;
use crate::examine::{self, Engine, watch};
use crate::{control_socket, figures};

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    advise: Option<Advise>,

    /// A database or store to look at without a file: postgres://user:password@host/database or redis://host. Default: the
    /// file's source and stores.
    url: Option<String>,

    /// Only this store of the file; `source` for the source alone, `headwater` for what the instance knows of itself.
    #[arg(long, value_name = "NAME", conflicts_with = "url")]
    store: Option<String>,

    /// Only these checks, such as HW1001.
    #[arg(long = "check", value_name = "ID")]
    checks: Vec<String>,

    /// The report as JSON on standard output, with everything that was asked and what came back.
    #[arg(long)]
    json: bool,

    /// Show what was asked of the engine for each finding, and all that came back.
    #[arg(long, conflicts_with = "json")]
    evidence: bool,

    /// Write the remedies into a script, to be read and then run with psql.
    #[arg(long, value_name = "FILE")]
    fix_script: Option<PathBuf>,

    /// From which severity on the exit code is 1: low, medium, high or critical.
    #[arg(long, value_name = "SEVERITY", default_value = "high", value_parser = urgency)]
    fail_on: Urgency,

    /// Explain a check: what it means, when it is reported, what to do, what that costs and risks. Asks no engine.
    #[arg(long, value_name = "ID", conflicts_with_all = ["json", "checks", "fix_script"])]
    explain: Option<String>,

    /// List everything that is looked for. Asks no engine.
    #[arg(long, conflicts_with_all = ["checks", "fix_script", "explain"])]
    list: bool,

    #[command(flatten)]
    which: Which,
}

#[derive(clap::Subcommand)]
enum Advise {
    /// Which indexes the workload asks for: asks the planner of a copy without rows, or the database's own, and chooses under a
    /// budget of room and writes.
    Indexes(Box<indexes::Args>),
}

fn urgency(text: &str) -> Result<Urgency, String> {
    Urgency::named(text).ok_or_else(|| "write low, medium, high or critical".to_owned())
}

pub async fn run(args: Args, path: &Path) -> Result<ExitCode, Failure> {
    if let Some(Advise::Indexes(args)) = args.advise {
        return indexes::run(*args, path).await;
    }
    if let Some(id) = &args.explain {
        return explain(find(id)?);
    }
    if args.list {
        return list(args.json);
    }
    let only = args
        .checks
        .iter()
        .map(|id| find(id).map(|check| check.id.to_owned()))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(script) = &args.fix_script {
        is_ours_to_write(script)?;
    }
    let (mut report, mut known) = (Report::default(), Ledger::default());
    match &args.url {
        Some(url) => {
            let (name, examiner) = named(url)?;
            report.add(None, name, look(&*examiner, &examine::budget(only, None)).await);
        }
        None => {
            let file = file::load(path)?;
            let wrong = examine::unknown(&file);
            if !wrong.is_empty() {
                return Err(Failure::Findings {
                    path: path.into(),
                    text: file.text.clone(),
                    findings: wrong,
                });
            }
            let flows = about(args.which.flows(&file)?, args.store.as_deref());
            if let [flow] = &flows[..] {
                known = watch::kept(&flow.data)?;
            }
            for flow in &flows {
                examine_flow(flow, args.store.as_deref(), only.clone(), &mut report).await?;
            }
        }
    }
    if args.json {
        let text = serde_json::to_string_pretty(&report).context("cannot write the report as JSON")?;
        show::print(&format!("{text}\n"));
    } else {
        show::print(&text(&report, &known, args.evidence));
    }
    if let Some(script) = &args.fix_script {
        write_script(script, &report.script())?;
    }
    Ok(if !report.is_complete() {
        ExitCode::from(2)
    } else if report.worst().is_some_and(|worst| worst >= args.fail_on) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Of several sources, those that have something of the store that was asked for; if none has, the first says so.
fn about(mut flows: Vec<File>, store: Option<&str>) -> Vec<File> {
    let Some(store) = store.filter(|store| ![examine::SOURCE, examine::OWN].contains(store)) else {
        return flows;
    };
    let has = |flow: &File| flow.stores.iter().any(|section| *section.name == *store);
    match flows.iter().any(has) {
        true => flows.retain(has),
        false => flows.truncate(1),
    }
    flows
}

/// Adds what is found in the engines of one source and in what the instance knows of it. A store that several share is looked at
/// once.
async fn examine_flow(
    flow: &File,
    store: Option<&str>,
    only: Vec<String>,
    report: &mut Report,
) -> Result<(), Failure> {
    let budget = examine::budget(only, Some(flow));
    let seen = seen(&flow.data).await;
    for (name, examiner) in examine::engines(flow, store)? {
        if !report.engines.iter().any(|engine| engine.engine == name) {
            let outcome = look(&*examiner, &examine::knowing(&budget, &name, &seen)).await;
            report.add(Some(flow), name, outcome);
        }
    }
    if store.is_none_or(|store| store == examine::OWN) {
        let found = examine::own(flow, &seen, &budget);
        report.add(Some(flow), examine::called(examine::OWN, flow), Ok(found));
    }
    Ok(())
}

/// The engine of a URL: a source if there is one of that kind, otherwise a store.
fn named(url: &str) -> Result<Engine, Failure> {
    let source = SourceSection::of_url(url);
    let store = StoreSection {
        name: "named".into(),
        url: Secret::new(url),
        settings: Default::default(),
        source: None,
    };
    if let Ok(Some(examiner)) = registry::source_examiner(&source) {
        return Ok((examine::SOURCE.into(), examiner));
    }
    match registry::store_examiner(&store)? {
        Some(examiner) => Ok(("store".into(), examiner)),
        None => Err(examine::nothing_to_examine().into()),
    }
}

/// What is known of the instance whose data folder this is, if it runs.
async fn seen(data: &Path) -> Seen {
    let status = match control_socket::ask(data).await {
        Ok(status) => status,
        Err(error) => {
            eprintln!("the running instance cannot be asked: {error}");
            None
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Seen::new(data, status, now.as_secs())
}

/// Ctrl-C ends it: what the engine works on then ends by its own timeout.
async fn look(examiner: &dyn Examine, budget: &ExamBudget) -> Result<Examination, Error> {
    tokio::select! {
        biased;
        outcome = examiner.examine(budget) => outcome,
        _ = tokio::signal::ctrl_c() => Err(Error::transient("stopped before it was done")),
    }
}

fn find(id: &str) -> Result<&'static Check, Failure> {
    let checks = examine::checks();
    checks.iter().copied().find(|check| check.id.eq_ignore_ascii_case(id)).ok_or_else(|| {
        let meant = nearest(id, checks.iter().map(|check| check.id));
        let remedy = match meant {
            Some(meant) => format!("did you mean {meant}? `headwater doctor --list` tells all"),
            None => "`headwater doctor --list` tells all".to_owned(),
        };
        Failure::Refused(Error::misconfigured(format!("there is no check {id}")).with_remedy(remedy))
    })
}

fn explain(check: &Check) -> Result<ExitCode, Failure> {
    let mut out = check.page.trim_end().to_owned();
    if !check.limits.is_empty() {
        out.push_str("\n\n## Limits\n\nSet otherwise in the file under [doctor.limits]:\n\n");
        for limit in check.limits {
            let _ = writeln!(out, "    \"{}.{}\" = {}", check.id, limit.name, limit.usual);
        }
    }
    let _ = write!(out, "\n\n## What is asked\n\n{}\n", check.asks);
    show::print(&out);
    Ok(ExitCode::SUCCESS)
}

fn list(json: bool) -> Result<ExitCode, Failure> {
    let checks = examine::checks();
    if json {
        let all: Vec<_> = checks
            .iter()
            .map(|check| serde_json::json!({ "check": check.id, "title": check.title() }))
            .collect();
        show::print(&format!("{:#}\n", serde_json::Value::from(all)));
    } else {
        show::print(
            &checks.iter().map(|check| format!("{}  {}\n", check.id, check.title())).collect::<String>(),
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn text(report: &Report, known: &Ledger, evidence: bool) -> String {
    let mut out = String::new();
    for examined in &report.engines {
        engine(examined, known, evidence, &mut out);
    }
    let counts: Vec<String> = Urgency::ALL
        .into_iter()
        .rev()
        .filter_map(|urgency| {
            let n = report.found().filter(|found| found.diagnosis.urgency == urgency).count();
            (n > 0).then(|| format!("{n} {}", urgency.name()))
        })
        .collect();
    let accepted: usize = report.engines.iter().map(|examined| examined.accepted.len()).sum();
    let skipped: usize = report.engines.iter().map(|examined| examined.skipped.len()).sum();
    let made: usize = report.engines.iter().map(|examined| examined.made).sum();
    let _ = write!(
        out,
        "{}: {}",
        figures::counted(made, "check"),
        if counts.is_empty() { "nothing found".to_owned() } else { counts.join(", ") }
    );
    for (n, what) in [(accepted, "accepted"), (skipped, "skipped")] {
        if n > 0 {
            let _ = write!(out, ", {n} {what}");
        }
    }
    out.push('\n');
    if !counts.is_empty() {
        out.push_str("More about one: headwater doctor --explain ID\n");
    }
    out
}

fn engine(examined: &Examined, known: &Ledger, evidence: bool, out: &mut String) {
    let server = if examined.server.is_empty() { String::new() } else { format!(": {}", examined.server) };
    let _ = writeln!(out, "{}{server}\n", examined.engine);
    if let Some(failed) = &examined.failed {
        let _ = writeln!(out, "could not look: {}", failed.why);
        if let Some(remedy) = &failed.remedy {
            let _ = writeln!(out, "  help: {remedy}");
        }
        out.push('\n');
    }
    for found in &examined.found {
        finding(found, known.first_seen(&examined.engine, found), evidence, out);
    }
    for found in &examined.accepted {
        let _ = writeln!(
            out,
            "accepted  {} {}: {}",
            found.diagnosis.check,
            found.diagnosis.subject,
            found.reason.as_deref().unwrap_or_default()
        );
    }
    // The same reason and remedy are said once.
    let mut said: Vec<(&str, Option<&str>, Vec<&str>)> = Vec::new();
    for skipped in &examined.skipped {
        let (why, remedy) = (&*skipped.why, skipped.remedy.as_deref());
        match said.iter_mut().find(|(w, r, _)| (*w, *r) == (why, remedy)) {
            Some((_, _, ids)) => ids.push(skipped.check),
            None => said.push((why, remedy, vec![skipped.check])),
        }
    }
    for (why, remedy, ids) in said {
        let _ = writeln!(out, "skipped  {}: {why}", ids.join(", "));
        for line in remedy.unwrap_or_default().lines() {
            let _ = writeln!(out, "         {line}");
        }
    }
    if !examined.accepted.is_empty() || !examined.skipped.is_empty() {
        out.push('\n');
    }
}

fn finding(found: &Found, since: Option<i64>, evidence: bool, out: &mut String) {
    let diagnosis = &found.diagnosis;
    let _ = writeln!(
        out,
        "{:<8}  {}  {}\n          {}: {}",
        diagnosis.urgency.name().to_uppercase(),
        diagnosis.check,
        diagnosis.title,
        diagnosis.subject,
        diagnosis.what
    );
    if let Some(since) = since {
        let _ = writeln!(out, "          since:    {} UTC", figures::utc(since));
    }
    if let Some(concerns) = &found.concerns {
        let _ = writeln!(out, "          concerns: {concerns}");
    }
    for (n, statement) in diagnosis.remedy.iter().enumerate() {
        let _ = writeln!(out, "          {} {statement}", if n == 0 { "do:      " } else { "         " });
    }
    for statement in &diagnosis.undo {
        let _ = writeln!(out, "          undo:     {statement}");
    }
    if evidence {
        for (name, value) in &diagnosis.answered {
            let _ = writeln!(out, "          {name} = {value}");
        }
        for line in diagnosis.asked.lines() {
            let _ = writeln!(out, "          | {line}");
        }
    }
    out.push('\n');
}

/// A script of ours is written again; anything else that is there is not.
pub(super) fn is_ours_to_write(script: &Path) -> Result<(), Failure> {
    match std::fs::read(script) {
        Ok(text) if !text.is_empty() && !text.starts_with(doctor::SCRIPT_MARK.as_bytes()) => Err(anyhow!(
            "{} is there already and is no script of doctor's: name another file with --fix-script",
            script.display()
        )
        .into()),
        _ => Ok(()),
    }
}

pub(super) fn write_script(script: &Path, text: &str) -> Result<(), Failure> {
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(script)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().with_context(|| format!("cannot write {}", script.display()))?;
    eprintln!("wrote {}: read it before you run it", script.display());
    Ok(())
}
