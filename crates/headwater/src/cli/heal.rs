//! `headwater heal`: what would be mended and who has to agree; approve it, pause it, go on.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use headwater_flow::heal::table::{TABLE, is_fixed};
use headwater_flow::heal::{ALL, Heal, HealStatus};
use headwater_flow::parts_of;
use headwater_flow::status::Status;
use headwater_model::file::File;
use headwater_model::heal::{Action, Level};

use super::failure::Failure;
use super::file;
use super::show::print;
use super::which::{Which, heading};
use crate::by_source::BySource;
use crate::control_socket::{self, Done, Request};
use crate::figures::utc;

/// How long an instance may take from taking the data folder to answering.
const STARTING_WITHIN: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Say what is held, what is paused, and what would be done at which event, by whom approved. Does nothing.
    #[command(visible_alias = "dry-run")]
    Plan {
        /// One JSON document.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        which: Which,
    },
    /// Agree to something that is held.
    Approve {
        /// Its number, as `headwater heal plan` and the incidents say it.
        id: u64,
        #[command(flatten)]
        name: Name,
    },
    /// Leave a part alone: it is neither cleared nor filled again nor repaired. Bounds of source and disk are kept.
    Pause {
        /// `source`, `store:NAME`, `mirror` or `all`.
        part: String,
        /// For so long, such as 1h; without it, until `headwater heal resume`.
        #[arg(long = "for", value_name = "DURATION", value_parser = super::duration)]
        within: Option<Duration>,
        #[command(flatten)]
        name: Name,
    },
    /// End a pause.
    Resume {
        /// `source`, `store:NAME`, `mirror` or `all`.
        part: String,
        #[command(flatten)]
        name: Name,
    },
}

#[derive(clap::Args)]
struct Name {
    #[command(flatten)]
    which: Which,
    /// Who you are, for the incident log.
    #[arg(long = "as", value_name = "NAME", env = "USER")]
    name: String,
}

pub async fn run(args: Args, path: &Path) -> Result<ExitCode, Failure> {
    let file = file::load(path)?;
    let part = |part: String| part.replacen(':', " ", 1);
    let (request, which) = match args.command {
        Command::Plan { json, which } => return plan(&which.flows(&file)?, json).await,
        Command::Approve { id, name } => (Request::Approve { id, name: name.name }, name.which),
        Command::Pause { part: of, within, name } => {
            let within_ms = within.map(|within| u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
            (Request::Pause { part: part(of), within_ms, name: name.name }, name.which)
        }
        Command::Resume { part: of, name } => {
            (Request::Resume { part: part(of), name: name.name }, name.which)
        }
    };
    let flows = match &request {
        Request::Pause { part, .. } | Request::Resume { part, .. } if part == ALL => which.flows(&file)?,
        _ => vec![which.one(&file)?],
    };
    for flow in &flows {
        let of = flow.source().name.as_ref().map_or(String::new(), |name| format!("{name}: "));
        print(&format!("{of}{}\n", changed(flow, &request).await?));
    }
    Ok(ExitCode::SUCCESS)
}

/// By the instance that runs, or in its data folder if none does. One that is starting has the folder before it answers.
async fn changed(file: &File, request: &Request) -> Result<String, Failure> {
    let until = Instant::now() + STARTING_WITHIN;
    loop {
        let asked = control_socket::ask_for::<Done>(&file.data, request);
        if let Some(done) = asked.await.context("cannot ask the running instance")? {
            return Ok(done.into_result()?);
        }
        match offline(file, |heal| control_socket::heal_as_asked(heal, request)) {
            Ok(said) => return Ok(format!("{said} (no instance runs: it counts from the next start on)")),
            Err(Failure::Refused(error)) if error.is_retryable() && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(failure) => return Err(failure),
        }
    }
}

fn offline<T>(file: &File, act: impl FnOnce(&Heal) -> headwater_model::Result<T>) -> Result<T, Failure> {
    std::fs::create_dir_all(&file.data)
        .with_context(|| format!("cannot create the data folder {}", file.data.display()))?;
    let parts = parts_of(file.stores.iter().map(|store| &*store.name));
    Ok(Heal::offline(&file.data, file.heal, parts, act)?)
}

async fn plan(flows: &[File], json: bool) -> Result<ExitCode, Failure> {
    let mut all = BySource::default();
    for flow in flows {
        let status = control_socket::ask(&flow.data).await.context("cannot ask the running instance")?;
        let heal = match &status {
            Some(status) => status.heal.clone(),
            None => Heal::peek(&flow.data, &flow.heal)?,
        };
        if !json {
            print(&format!("{}{}", heading(flow), text(&heal, status.as_ref())));
        }
        all.add(flow.source().name.as_deref(), heal);
    }
    if json {
        let text = serde_json::to_string(&all).context("cannot write the plan as JSON")?;
        print(&format!("{text}\n"));
    }
    Ok(ExitCode::SUCCESS)
}

fn text(heal: &HealStatus, status: Option<&Status>) -> String {
    let mut out = String::new();
    match status {
        Some(status) => {
            let _ = writeln!(out, "source is {}", status.source.state.as_str());
            for store in &status.stores {
                let _ = writeln!(out, "store {} is {}", store.name, store.state.as_str());
            }
        }
        None => out.push_str("no instance runs here\n"),
    }
    out.push_str(if heal.safe {
        "safe mode: nothing is cleared, filled again or repaired without approval\n"
    } else {
        ""
    });
    for pause in &heal.pauses {
        let until = pause
            .until_micros
            .map_or("until somebody resumes it".to_owned(), |until| format!("until {}", utc(until)));
        let _ = writeln!(
            out,
            "{} is paused {until}, by {} at {}",
            if pause.part == ALL { "everything" } else { &pause.part },
            pause.by,
            utc(pause.at_micros)
        );
    }
    out.push('\n');
    if heal.held.is_empty() {
        out.push_str("nothing is held: whatever had to be done is done\n");
    }
    for held in &heal.held {
        let _ =
            writeln!(out, "{:>3}  {}: {} ({})", held.id, held.part, held.action.what(), held.action.name());
        let _ = writeln!(out, "     because it {}, at {}", held.cause, utc(held.at_micros));
        if let Some(evidence) = &held.evidence {
            let _ = writeln!(out, "     seen: {evidence}");
        }
        for approval in &held.approvals {
            let _ = writeln!(out, "     approved by {} at {}", approval.name, utc(approval.at_micros));
        }
        let _ = match held.missing() {
            0 => writeln!(out, "     it is done as soon as nothing is paused"),
            _ => writeln!(out, "     to do it: headwater heal approve {} --as NAME", held.id),
        };
    }
    out.push_str("\nwhat is done when:\n");
    for row in &TABLE {
        let Some(action) = row.action else { continue };
        let _ = writeln!(
            out,
            "  {:<28} {}: {}",
            who(heal, action),
            row.part.name(),
            format_args!("if it {}, {}", row.event.what(), action.what())
        );
    }
    out
}

/// As the instance that runs has it, which may be in safe mode although the file is not.
fn who(heal: &HealStatus, action: Action) -> &'static str {
    match heal.levels.iter().find(|(of, _)| *of == action).map(|(_, level)| *level) {
        Some(Level::Alone) if is_fixed(action) => "alone, always",
        Some(Level::Alone) => "alone",
        Some(Level::One) => "once one person agrees",
        Some(Level::Two) => "once two people agree",
        None => "not said",
    }
}
