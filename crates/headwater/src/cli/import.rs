//! `headwater import URL`: looks at a database and at how it is used, and writes a first file with the access patterns of its
//! statements, their rates, and the sizes and writes of its tables.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use headwater_control::init;
use headwater_engines::registry;
use headwater_model::file::SourceSection;
use headwater_model::{SourceFacts, SourceUsage};
use tokio::time::Instant;

use super::check::within;
use super::failure::Failure;
use super::init::{Target, after};
use super::{duration, show};
use crate::figures;

#[derive(clap::Args)]
pub struct Args {
    /// The database: postgres://user:password@host/database. A password does not reach the file. Of other kinds of databases only
    /// tables and their sizes are known.
    url: String,

    /// Count for this long, in the busiest hour at best, instead of taking means since counting began: 10m, 1h.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    watch: Option<Duration>,

    #[command(flatten)]
    target: Target,
}

pub async fn run(args: Args, file: &Path) -> Result<ExitCode, Failure> {
    let out: PathBuf = args.target.free(file)?;
    let section = SourceSection::of_url(&args.url);
    let mut usage = look(&section).await?;
    if let (Some(within), Some(before)) = (args.watch, &usage) {
        eprintln!("counting for {} s", within.as_secs());
        let began = Instant::now();
        tokio::time::sleep(within).await;
        usage = look(&section).await?.map(|now| now.since(before, began.elapsed().as_secs_f64()));
    }
    let facts = within(async { headwater_engines::source(&section)?.inspect().await }).await?;
    let reference = args.target.reference(&args.url, None, &out)?;
    let imported = init::import(&reference.url, &facts, usage.as_ref());
    if args.target.write(&out, &imported.text)? {
        show::print(&told(&out, &facts, usage.as_ref(), &imported));
        show::print(&after(&out, &[reference], "plan"));
    }
    for risk in usage.iter().flat_map(|usage| &usage.missing) {
        eprintln!("missing: {}\n         {}", risk.what, risk.remedy);
    }
    Ok(ExitCode::SUCCESS)
}

async fn look(section: &SourceSection) -> Result<Option<SourceUsage>, Failure> {
    Ok(within(registry::usage(section)).await?)
}

fn told(out: &Path, facts: &SourceFacts, usage: Option<&SourceUsage>, imported: &init::Imported) -> String {
    let tables = figures::counted(facts.tables.len(), "table");
    let statements = match usage.and_then(|usage| usage.statements.as_ref()) {
        Some(_) => format!(
            "{} with rates, {} left as comments",
            figures::counted(imported.patterns, "access pattern"),
            figures::counted(imported.left, "statement")
        ),
        None => "how applications read is not known: access patterns are guesses, without rates".to_owned(),
    };
    format!("Looked at {}: {tables}; {statements}. Wrote {}.\n", facts.server, out.display())
}
