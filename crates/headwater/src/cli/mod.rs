//! The command line: one file per command.
//!
//! Exit codes, for every command: 0 fine, 1 something is wrong and has been said, 2 could not even look (wrong usage,
//! unreadable file).

mod check;
mod config;
mod demo;
mod doctor;
mod drill;
mod emit;
mod engines;
mod failure;
mod file;
mod heal;
mod import;
mod incidents;
mod indexes;
mod init;
mod lives;
mod picture;
mod plan;
mod readers;
mod run;
mod show;
mod status;
mod verify;
mod whereabouts;
mod which;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

/// Keeps the shapes your application reads in the stores it reads them from, exactly in step with its database.
#[derive(Parser)]
#[command(name = "headwater", version, arg_required_else_help = true)]
struct Args {
    /// The file that says what to follow and where to keep it.
    #[arg(short, long, global = true, default_value = "headwater.toml", env = "HEADWATER_FILE")]
    file: PathBuf,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Look at a database and write a commented file for it.
    Init(init::Args),
    /// Look at a database and at how it is used, and write a first file with access patterns, rates and sizes for `plan`.
    Import(import::Args),
    /// Compare the file with the live source and stores; every mistake in one run.
    Check(check::Args),
    /// Print the effective file: defaults filled in, secrets hidden.
    Config,
    /// List the engines: what each may be used for, and what it promises.
    Engines(engines::Args),
    /// Choose engines for the file's access patterns: what they cost per month, how they fail over, and why these.
    Plan(plan::Args),
    /// Find what erodes the running engines, with the exact remedy: indexes, vacuum, locks, slots, settings, rights.
    Doctor(doctor::Args),
    /// Follow the source and keep every store in step, until told to stop.
    Run(run::Args),
    /// Show what each store holds and how far behind it is.
    Status(status::Args),
    /// Compare every store with the source, while both move, and name what differs.
    Verify(verify::Args),
    /// Trace one row: what the source has of it, and what became of it in every store and view that shows it.
    Where(whereabouts::Args),
    /// Show what happened to each part and what was done about it.
    Incidents(incidents::Args),
    /// Show what waits for somebody's approval, and approve, pause and resume healing.
    Heal(heal::Args),
    /// Break something on purpose, and measure how well it is survived.
    Drill(drill::Args),
    /// Try it on a small bookshop: SQLite on both ends, live traffic, nothing to install.
    Demo(demo::Args),
}

pub fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::from(2);
        }
    };
    let outcome = runtime.block_on(run(args));
    // Whatever still runs in the background must not keep the command from ending.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|failure| failure.report())
}

async fn run(args: Args) -> Result<ExitCode, Failure> {
    match args.command {
        Command::Init(init) => init::run(init, &args.file).await,
        Command::Import(import) => import::run(import, &args.file).await,
        Command::Check(check) => check::run(check, &args.file).await,
        Command::Config => config::run(&args.file),
        Command::Engines(list) => engines::run(&list),
        Command::Plan(plan) => plan::run(plan, &args.file).await,
        Command::Doctor(doctor) => doctor::run(doctor, &args.file).await,
        Command::Run(run) => run::run(run, &args.file).await,
        Command::Status(status) => status::run(status, &args.file).await,
        Command::Verify(verify) => verify::run(verify, &args.file).await,
        Command::Where(row) => whereabouts::run(row, &args.file).await,
        Command::Incidents(incidents) => incidents::run(incidents, &args.file).await,
        Command::Heal(heal) => heal::run(heal, &args.file).await,
        Command::Drill(drill) => drill::run(drill, &args.file).await,
        Command::Demo(demo) => demo::run(demo).await,
    }
}

/// A duration on the command line.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    headwater_model::file::parse_duration(text)
        .ok_or_else(|| "write a number and a unit, such as 20s or 5m".to_owned())
}
