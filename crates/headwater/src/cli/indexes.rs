//! `headwater doctor indexes`: which indexes the workload asks for, under a budget, and on a copy with `--verify`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use headwater_control::doctor;
use headwater_control::indexes::{self, Advice, Advised, Budget};
use headwater_engines::registry;
use headwater_model::advice::{AdviseIndexes, Asking, RestoredCopy, Weighed};
use headwater_model::file::{File, SourceSection, parse_size};
use headwater_model::{Error, Secret};

use super::doctor::{is_ours_to_write, write_script};
use super::failure::Failure;
use super::which::Which;
use super::{file, show};
use crate::examine::own::advised;
use crate::figures;

#[derive(clap::Args)]
pub struct Args {
    /// The database, without a file: postgres://user:password@host/database, or mysql://… Default: the file's source.
    url: Option<String>,

    /// The workload as SQL: statements that end with `;`, each after a comment `-- calls: 1200` (and `-- name: order page`).
    /// Default: what the server counted (pg_stat_statements, performance_schema).
    #[arg(long, value_name = "FILE")]
    queries: Option<PathBuf>,

    /// Room for new indexes together, such as 500MiB. Default: as much as pays.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    budget: Option<u64>,

    /// How much dearer the writes of any one table may become, such as 20%. Default: as much as reads save.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    write_budget: Option<f64>,

    /// How much dearer a query may become where an index is dropped.
    #[arg(long, value_name = "PERCENT", default_value = "0%", value_parser = percent)]
    regression: f64,

    /// Build the candidates on a copy and select by measured time: the URL of a database restored for this (indexes are built and
    /// removed there), or a dump (of pg_dump, mariadb-dump, mysqldump) to restore into a server of its own.
    #[arg(long, value_name = "URL|DUMP")]
    verify: Option<String>,

    /// Ask the planner of the database itself, in a session that only reads, and not that of a copy without rows. The database has to
    /// have the extension hypopg. PostgreSQL only.
    #[arg(long)]
    in_place: bool,

    /// How often that planner is asked at most.
    #[arg(long, value_name = "NUMBER", default_value_t = 3000, requires = "in_place")]
    planner_calls: usize,

    /// The advice as JSON on standard output.
    #[arg(long)]
    json: bool,

    /// Write the statements into a script, to be read and then run with the database's own client.
    #[arg(long, value_name = "FILE")]
    fix_script: Option<PathBuf>,

    #[command(flatten)]
    which: Which,
}

fn size(text: &str) -> Result<u64, String> {
    parse_size(text).ok_or_else(|| "write a whole number and a unit, as in 500MiB or 2GB".to_owned())
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>();
    match number {
        Ok(number) if (0.0..=10_000.0).contains(&number) => Ok(number / 100.0),
        _ => Err("write a percentage, as in 20%".to_owned()),
    }
}

pub async fn run(args: Args, path: &Path) -> Result<ExitCode, Failure> {
    if let Some(script) = &args.fix_script {
        is_ours_to_write(script)?;
    }
    let flow = match &args.url {
        Some(_) => None,
        None => Some(args.which.one(&file::load(path)?)?),
    };
    let advisor = match (&args.url, &flow) {
        (None, Some(flow)) => registry::index_advisor(flow.source())?,
        (url, _) => registry::index_advisor(&SourceSection::of_url(url.as_deref().unwrap_or_default()))?,
    };
    tokio::select! {
        biased;
        outcome = advised(&args, &*advisor) => {
            // Exit code 1 is for what was found.
            let outcome = outcome.map_err(|failure| match failure {
                Failure::Refused(error) => Failure::Unasked(error),
                other => other,
            });
            let Some(mut advice) = outcome? else { return Ok(ExitCode::FAILURE) };
            if let Some(flow) = &flow {
                remember(flow, &args, &mut advice)?;
            }
            said(&args, &advice)
        }
        _ = tokio::signal::ctrl_c() => Err(Failure::Unasked(Error::transient("stopped before it was done"))),
    }
}

/// As findings of the file's source, until it is asked again: which of them somebody has accepted stands in the file.
fn remember(flow: &File, args: &Args, advice: &mut Advice) -> Result<(), Failure> {
    for advised in &mut advice.indexes {
        advised.accepted = doctor::accepted(flow, ADVISED, &advised.subject());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let restored = args.verify.as_ref().is_some_and(|copy| !copy.contains("://"));
    Ok(advised::keep(&flow.data, advice, now, restored)?)
}

/// The check that an advice becomes a finding of.
const ADVISED: &str = "HW3012";

/// `None` if mistakes in the file of queries have been told.
async fn advised(args: &Args, advisor: &dyn AdviseIndexes) -> Result<Option<Advice>, Failure> {
    let (workload, text) = match &args.queries {
        Some(queries) => {
            let text = std::fs::read_to_string(queries)
                .with_context(|| format!("cannot read {}", queries.display()))?;
            match indexes::queries(&text) {
                Ok(workload) => (workload, Some((queries, text))),
                Err(wrong) => {
                    show::findings(queries, &text, &wrong);
                    return Ok(None);
                }
            }
        }
        None => (advisor.workload().await?, None),
    };
    let copy = args.verify.as_deref().map(|copy| match copy.contains("://") {
        true => RestoredCopy::Server(Secret::new(copy)),
        false => RestoredCopy::Dump(copy.into()),
    });
    if let Some(copy) = &copy {
        advisor.may_build_on(copy).await?;
    }
    let asking = match args.in_place {
        true => Asking::InPlace { calls_max: args.planner_calls },
        false => Asking::Copy,
    };
    let weighed = advisor.weigh(&workload, asking).await?;
    if let Some((queries, text)) = &text
        && !weighed.refused.is_empty()
    {
        show::findings(queries, text, &indexes::refused(text, &weighed.refused));
        return Ok(None);
    }
    if weighed.problem.queries.is_empty() && weighed.problem.left_out.is_empty() && text.is_none() {
        let error = Error::misconfigured("the server has counted no statement of this database yet");
        return Err(error
            .with_remedy("let the application run for a while, or name a file: --queries FILE")
            .into());
    }
    let budget = Budget {
        bytes: args.budget.map(|bytes| bytes as f64),
        writes: args.write_budget,
        regression: args.regression,
        ..Budget::default()
    };
    let mut advice = match &copy {
        None => {
            let chosen = indexes::choose(&weighed.problem, &budget);
            indexes::advise(&weighed.problem, &chosen, &budget, false)
        }
        Some(copy) => verified(advisor, &weighed, copy, &budget).await?,
    };
    advice.notes.extend(weighed.notes);
    advice.asked_ms = weighed.asked_ms;
    Ok(Some(advice))
}

async fn verified(
    advisor: &dyn AdviseIndexes,
    weighed: &Weighed,
    copy: &RestoredCopy,
    budget: &Budget,
) -> Result<Advice, Failure> {
    let pool = indexes::pool(&weighed.problem, budget);
    let mut trial = advisor.trial(&weighed.problem, &pool, copy).await?;
    let outcome = indexes::measured(&mut *trial, budget).await;
    let ended = trial.end().await;
    let advice = outcome?;
    ended?;
    Ok(advice)
}

fn said(args: &Args, advice: &Advice) -> Result<ExitCode, Failure> {
    if args.json {
        let text = serde_json::to_string_pretty(advice).context("cannot write the advice as JSON")?;
        show::print(&format!("{text}\n"));
    } else {
        show::print(&told(advice));
    }
    if let Some(script) = &args.fix_script {
        write_script(script, &indexes::script(advice))?;
    }
    let nothing_to_do = advice.indexes.iter().all(|advised| advised.accepted.is_some());
    Ok(if nothing_to_do { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn told(advice: &Advice) -> String {
    let mut out = format!(
        "{}, {}\n\n",
        advice.server,
        match advice.queries.len() {
            1 => "1 query".to_owned(),
            queries => format!("{queries} queries"),
        }
    );
    let to_do = advice.indexes.iter().filter(|advised| advised.accepted.is_none());
    for (place, advised) in to_do.enumerate() {
        let _ = writeln!(out, "{}", index(place + 1, advised, advice));
    }
    if advice.indexes.is_empty() {
        out.push_str("No index would pay: nothing to build, nothing to drop.\n");
    } else {
        let share = 100.0 * (1.0 - advice.after / advice.before.max(1e-9));
        let how = if advice.verified { "measured on the copy" } else { "as the planner estimates it" };
        let _ = writeln!(
            out,
            "All together: {share:.0} % less for the whole workload, {how}; {} of storage.",
            figures::bytes(advice.bytes as u64)
        );
        if advice.gap > GAP_TOLD {
            let _ = writeln!(
                out,
                "Another choice could save {:.1} % more at most: the search was stopped before it could rule that out.",
                100.0 * advice.gap
            );
        }
        for dearer in &advice.writes {
            let (word, share) = match dearer.share > 0.0 {
                true => ("more", dearer.share),
                false => ("less", -dearer.share),
            };
            let _ = writeln!(out, "Writes to {} cost {:.0} % {word}.", dearer.table, 100.0 * share);
        }
        if !advice.verified {
            out.push_str("Estimated cost is not time: measure it on a restored copy with --verify.\n");
        }
    }
    for advised in &advice.indexes {
        if let Some(reason) = &advised.accepted {
            let _ = writeln!(out, "accepted  {ADVISED} {}: {reason}", advised.subject());
        }
    }
    // The same reason is said once.
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for left_out in &advice.left_out {
        reasons.entry(&left_out.why).or_default().push(&left_out.name);
    }
    for (why, names) in reasons {
        let _ = writeln!(out, "left out  {}: {why}", names.join(", "));
    }
    for note in &advice.notes {
        let _ = writeln!(out, "note      {note}");
    }
    out
}

/// A gap above this share is told.
const GAP_TOLD: f64 = 0.005;

fn index(number: usize, advised: &Advised, advice: &Advice) -> String {
    let mut out = String::new();
    for (n, line) in advised.index.statement.lines().enumerate() {
        let _ = match n {
            0 => writeln!(out, "{number:>3}  {line}"),
            _ => writeln!(out, "     {line}"),
        };
    }
    if advised.index.exists {
        let _ = writeln!(
            out,
            "     no query of the workload needs it; frees {}\n     undo:   {}",
            figures::bytes(advised.index.bytes as u64),
            advised.index.undo
        );
        return out;
    }
    let _ = write!(
        out,
        "     saves {:.1} % of the workload; takes {}",
        100.0 * advised.worth,
        figures::bytes(advised.index.bytes as u64)
    );
    if let Some(ms) = advised.index.build_ms {
        let _ = write!(out, ", built in {}", figures::duration_ms(ms as u64));
    }
    let _ = match advised.writes_dearer {
        share if share < 0.0005 => writeln!(out, "; costs writes nothing"),
        share => writeln!(out, "; writes to {} cost {:.0} % more", advised.index.table, 100.0 * share),
    };
    if advised.ends_updates_in_place {
        out.push_str("     updates that now stay in their page (HOT) will write every index of the table\n");
    }
    const HELPED_MAX: usize = 6;
    for helped in advised.helps.iter().take(HELPED_MAX) {
        let _ = writeln!(
            out,
            "     for {}: {} → {}{}",
            helped.query,
            cost(helped.before, advice),
            cost(helped.after, advice),
            match helped.calls {
                calls if calls > 1.0 => format!(", {} calls", figures::count(calls as u64)),
                _ => String::new(),
            }
        );
    }
    if advised.helps.len() > HELPED_MAX {
        let _ = writeln!(out, "     and {} more", advised.helps.len() - HELPED_MAX);
    }
    out
}

fn cost(cost: f64, advice: &Advice) -> String {
    match advice.verified {
        true if cost < 10.0 => format!("{cost:.2} ms"),
        true => figures::duration_ms(cost as u64),
        false => format!("cost {}", figures::rate(cost)),
    }
}
