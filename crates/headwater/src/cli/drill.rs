//! `headwater drill`: break something on purpose, in a sandbox or, where that is safe, in the system that runs, and measure how
//! well it is survived.

use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use headwater_control::catalog::Catalog;
use headwater_control::drill::{DRILLS, Drill, Needs, Report, Verdict, calibration_text, find, markdown};
use headwater_engines::registry;
use headwater_model::Error;
use headwater_model::file::{File, ObjectivesSection};

use super::failure::Failure;
use super::file;
use super::show::print;
use super::which::Which;
use crate::drill::{Engines, calibrate, history, in_sandbox, live};

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub struct Args {
    /// Measure on servers of a sandbox how fast a database replays its log and reads itself warm and a store is filled, beside
    /// what `plan` counts with. Kept in the file's data folder for `plan --calibrated`, if there is a file.
    #[arg(long)]
    calibrate: bool,
    /// What was measured as one JSON document.
    #[arg(long, requires = "calibrate")]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Say what each drill does, what it needs, what it risks, and how it went last time.
    List {
        /// One JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Run one. Exit code 0 if it met the file's objectives, 1 if not.
    Run {
        name: String,
        /// In a sandbox of engines started for it, apart from everything of yours. The file is read for its objectives only.
        #[arg(long)]
        sandbox: bool,
        #[command(flatten)]
        engines: Engines,
        /// Which store, for a drill on the live system that is about one; without it, the first.
        #[arg(long, conflicts_with = "sandbox")]
        store: Option<String>,
        /// Do not ask before something of the live system is disturbed.
        #[arg(short, long)]
        yes: bool,
        /// The report as JSON instead of Markdown.
        #[arg(long)]
        json: bool,
        /// Also write the report, as Markdown, to this file.
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
        #[command(flatten)]
        which: Which,
    },
}

pub async fn run(args: Args, path: &Path) -> Result<ExitCode, Failure> {
    let Some(command) = args.command else { return calibrated(path, args.json).await };
    match command {
        Command::List { json } => list(path, json),
        Command::Run { name, sandbox, engines, store, yes, json, report, which } => {
            let drill = find(&name).ok_or_else(|| unknown(&name))?;
            // A sandbox needs nothing of a file, but takes its objectives, and its folder for the history.
            let file = match sandbox && !path.exists() {
                true => None,
                false => Some(file::load(path)?),
            };
            // What runs is one source's; a sandbox is nobody's.
            let file = match file {
                Some(file) if !sandbox => Some(which.one(&file)?),
                file => file,
            };
            let objectives = file.as_ref().map_or(ObjectivesSection::default(), |file| file.objectives);
            let verdict = Verdict {
                rto_ms_max: u64::try_from(objectives.rto.as_millis()).unwrap_or(u64::MAX),
                rpo_transactions_max: objectives.rpo_transactions,
            };
            let told = match &file {
                Some(file) if !sandbox => on_live(drill, file, store, yes, verdict).await?,
                _ => boxed(drill, engines, verdict).await?,
            };
            tell(&told, file.as_ref(), json, report.as_deref())
        }
    }
}

fn unknown(name: &str) -> Error {
    let remedy = match headwater_model::nearest(name, DRILLS.iter().map(|drill| drill.name)) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "`headwater drill list` names them all".to_owned(),
    };
    Error::misconfigured(format!("there is no drill `{name}`")).with_remedy(remedy)
}

async fn boxed(drill: &'static Drill, engines: Engines, verdict: Verdict) -> Result<Report, Failure> {
    in_a_box(move |runtime, say| in_sandbox(drill, &engines, verdict, runtime, say)).await
}

async fn calibrated(path: &Path, json: bool) -> Result<ExitCode, Failure> {
    let file = if path.exists() { Some(file::load(path)?) } else { None };
    let measured = in_a_box(|runtime, say| calibrate(&runtime, say)).await?;
    let catalog = Catalog::built_in().context("the catalogue of this build does not read")?;
    match json {
        true => print(&format!("{}\n", serde_json::to_string(&measured).context("cannot write JSON")?)),
        false => print(&calibration_text(&measured, &catalog)),
    }
    if let Some(file) = file {
        let kept = history::keep_calibration(&file.data, &measured)?;
        eprintln!("kept in {}", kept.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Does something with a sandbox, which goes also if that is interrupted.
async fn in_a_box<T: Send + 'static>(
    work: impl FnOnce(tokio::runtime::Handle, fn(&str)) -> anyhow::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Handle::current();
    let say: fn(&str) = |text| eprintln!("{text}");
    let running = tokio::task::spawn_blocking(move || work(runtime, say));
    let interrupted = async {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).ok();
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            () = async {
                match &mut terminate {
                    Some(terminate) => drop(terminate.recv().await),
                    None => std::future::pending().await,
                }
            } => {}
        }
    };
    tokio::select! {
        report = running => report.context("the drill panicked")?.map_err(|error| match error.downcast() {
            Ok(refused) => Failure::Refused(refused),
            Err(other) => Failure::Other(other),
        }),
        () = interrupted => {
            eprintln!("interrupted: the sandbox is taken down");
            // Its watchdog ends what was started, and removes the folder.
            std::process::exit(130);
        }
    }
}

async fn on_live(
    drill: &'static Drill,
    file: &File,
    store: Option<String>,
    yes: bool,
    verdict: Verdict,
) -> Result<Report, Failure> {
    let Some(risk) = drill.live_risk else {
        let error = Error::misconfigured(format!("`{}` would harm the live system", drill.name));
        return Err(error.with_remedy(format!("headwater drill run {} --sandbox", drill.name)).into());
    };
    if !yes {
        if !std::io::stdin().is_terminal() {
            return Err(Error::misconfigured("nobody can be asked whether this may disturb the live system")
                .with_remedy("add --yes if it may, or --sandbox")
                .into());
        }
        eprint!(
            "{}: {}.\nRisk: {risk}.\nGo on with the live system? Type the drill's name: ",
            drill.name, drill.what
        );
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).context("cannot read an answer")?;
        if line.trim() != drill.name {
            return Err(Error::misconfigured("nothing was done").into());
        }
    }
    Ok(live::run(drill, file, store, verdict).await?)
}

fn tell(report: &Report, file: Option<&File>, json: bool, to: Option<&Path>) -> Result<ExitCode, Failure> {
    let text = markdown(report);
    if let Some(to) = to {
        std::fs::write(to, &text).with_context(|| format!("cannot write {}", to.display()))?;
    }
    if json {
        print(&format!("{}\n", serde_json::to_string(report).context("cannot write the report as JSON")?));
    } else {
        print(&text);
    }
    if let Some(file) = file {
        let kept = history::keep(&file.data, report)?;
        eprintln!("kept in {}", kept.display());
    }
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn list(path: &Path, json: bool) -> Result<ExitCode, Failure> {
    let history = match path.exists() {
        true => {
            let file = file::load(path)?;
            let mut folders: Vec<_> = file.flows().into_iter().map(|flow| flow.data).collect();
            folders.push(file.data);
            folders.dedup();
            let mut all: Vec<_> = folders.iter().flat_map(|data| history::newest(data, usize::MAX)).collect();
            all.sort_by(|a, b| b.at.cmp(&a.at));
            all
        }
        false => Vec::new(),
    };
    let (source, store) = registry::sandbox_servers();
    let installed = |needs| match needs {
        Needs::Nothing => true,
        Needs::StoreServer => store,
        Needs::SourceServer => source,
    };
    if json {
        let drills = DRILLS.iter().map(|drill| {
            serde_json::json!({
                "name": drill.name, "what": drill.what, "needs": drill.needs.what(),
                "runs_here": installed(drill.needs), "live_risk": drill.live_risk,
                "last": history.iter().find(|report| report.drill == drill.name),
            })
        });
        print(&format!("{}\n", serde_json::Value::from_iter(drills)));
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = String::new();
    for drill in &DRILLS {
        let _ = writeln!(out, "{}\n    {}", drill.name, drill.what);
        let missing = if installed(drill.needs) { "" } else { " (not installed here)" };
        let _ = writeln!(out, "    needs for a sandbox: {}{missing}", drill.needs.what());
        let _ = match drill.live_risk {
            Some(risk) => writeln!(out, "    also on the live system; risk: {risk}"),
            None => writeln!(out, "    in a sandbox only: nothing of yours is touched"),
        };
        if let Some(last) = history.iter().find(|report| report.drill == drill.name) {
            let verdict = if last.passed { "passed" } else { "FAILED" };
            let rto = last.measured.rto_ms.map_or("never".to_owned(), |ms| format!("{ms} ms"));
            let _ = writeln!(out, "    last: {} UTC, {verdict}, whole again after {rto}", last.at);
        }
    }
    print(&out);
    Ok(ExitCode::SUCCESS)
}
