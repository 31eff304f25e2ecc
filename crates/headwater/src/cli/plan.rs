//! `headwater plan`: which engines the file's access patterns need, what they cost, and why.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use headwater_control::catalog::Catalog;
use headwater_control::plan::choice::Limits;
use headwater_control::plan::{self, Plan, Workload};
use headwater_engines::registry;
use headwater_model::file::File;
use headwater_model::{Error, SourceFacts};

use super::check::within;
use super::failure::Failure;
use super::{emit, file, show};

#[derive(clap::Args)]
pub struct Args {
    /// One JSON document, which `--diff` reads.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Markdown, for a design document.
    #[arg(long)]
    markdown: bool,
    /// Do not ask the source how large its tables are: take what the file declares.
    #[arg(long)]
    offline: bool,
    /// Suppose that the file said otherwise, and show what becomes of the plan: access.book_page.rate=10x,
    /// tables.books.rows=5000000, rto=30s, p99 and stale of a pattern, budget=none. May be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    what_if: Vec<String>,
    /// Write one page with charts: cost by access pattern, over 24 months of growth, and which engines are the cheapest at
    /// other rates and sizes. Takes some seconds: every point is chosen for anew.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "markdown", "diff", "emit"])]
    html: Option<PathBuf>,
    /// Write what builds the chosen engines into a folder: terraform or cloudformation, one decision record per engine,
    /// and [stores] for the file. Replaces what it wrote before, and nothing else.
    #[arg(long, num_args = 2, value_names = ["FORMAT", "DIR"], conflicts_with_all = ["json", "markdown", "diff"])]
    emit: Option<Vec<String>>,
    /// Show what is different from a plan that was kept with --json.
    #[arg(long, value_name = "FILE")]
    diff: Option<PathBuf>,
}

pub async fn run(args: Args, path: &Path) -> Result<ExitCode, Failure> {
    // Before the folder changes.
    let old = args.diff.as_deref().map(kept).transpose()?;
    let emit = args.emit.as_deref().map(emit::Order::read).transpose()?;
    let page = args.html.as_deref().map(std::path::absolute).transpose().context("--html")?;
    let mut file = file::load(path)?;
    let facts = if args.offline { None } else { facts(&file).await };
    let catalog = Catalog::built_in().context("the catalogue of this build does not read")?;
    let before = planned(&file, facts.as_ref(), &catalog, path)?;
    let before = match before {
        Ok(plan) => Some(plan),
        // With another file there may be a plan.
        Err(failure) if args.what_if.is_empty() => return Err(failure),
        Err(_) => None,
    };
    let mut plan = before.clone();
    if !args.what_if.is_empty() {
        for change in &args.what_if {
            let now = workload(&file, facts.as_ref(), path)?;
            plan::suppose(&mut file, &now, change).map_err(|what| anyhow!("--what-if {change}: {what}"))?;
        }
        plan = Some(match planned(&file, facts.as_ref(), &catalog, path)? {
            Ok(plan) => plan,
            Err(conflict) => {
                // What it comes to is worth more than that the budget does not allow it.
                let Some(whole) = file.plan.as_mut() else { return Err(conflict) };
                let Some(budget) = whole.budget_usd.take() else { return Err(conflict) };
                let Ok(over) = planned(&file, facts.as_ref(), &catalog, path)? else { return Err(conflict) };
                eprintln!(
                    "note: this needs {:.0} USD per month, and the budget is {budget} USD: without it, it becomes",
                    over.monthly
                );
                over
            }
        });
    }
    let Some(plan) = plan else { return Ok(ExitCode::FAILURE) };
    if let Some(order) = emit {
        let source = file.source.url.reveal();
        let files = plan::emit(&plan, source, order.format).map_err(|what| anyhow!("--emit: {what}"))?;
        show::print(&emit::write(&order.folder, &files)?);
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(page) = page {
        let workload = workload(&file, facts.as_ref(), path)?;
        let charts = plan::charts(&workload, &catalog, Limits::default())
            .context("the catalogue of this build lacks a figure")?;
        std::fs::write(&page, plan::html(&plan, &charts))
            .with_context(|| format!("cannot write {}", page.display()))?;
        show::print(&format!("wrote    {}\n", page.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let compared = old.as_ref().or(before.as_ref().filter(|_| !args.what_if.is_empty()));
    let out = match (compared, args.json, args.markdown) {
        (Some(old), true, _) => format!(
            "{:#}\n",
            serde_json::json!({ "before": old.monthly, "after": plan.monthly, "changes": plan::differences(old, &plan) })
        ),
        (Some(old), false, _) => plan::differences_text(old, &plan),
        (None, true, _) => {
            format!("{}\n", serde_json::to_string_pretty(&plan).context("cannot write the plan as JSON")?)
        }
        (None, _, true) => plan::markdown(&plan),
        (None, ..) => plan::text(&plan),
    };
    show::print(&out);
    Ok(ExitCode::SUCCESS)
}

/// A plan, or what is wrong with the file or its wishes.
fn planned(
    file: &File,
    facts: Option<&SourceFacts>,
    catalog: &Catalog,
    path: &Path,
) -> Result<Result<Plan, Failure>, Failure> {
    let wrong = |findings| Failure::Findings { path: path.to_owned(), text: file.text.clone(), findings };
    let findings = plan::check(file, catalog);
    if !findings.is_empty() {
        return Err(wrong(findings));
    }
    let workload = workload(file, facts, path)?;
    let schemes = registry::store_schemes();
    let found = plan::plan(&workload, catalog, &schemes, Limits::default())
        .context("the catalogue of this build lacks a figure")?;
    Ok(found.map_err(|conflict| wrong(plan::conflicting(file, &conflict))))
}

fn workload(file: &File, facts: Option<&SourceFacts>, path: &Path) -> Result<Workload, Failure> {
    Workload::read(file, facts).map_err(|findings| Failure::Findings {
        path: path.to_owned(),
        text: file.text.clone(),
        findings,
    })
}

/// What the source says of its tables; nothing, and a word on standard error, if it cannot be asked.
async fn facts(file: &File) -> Option<SourceFacts> {
    match within(async { headwater_engines::source(&file.source)?.inspect().await }).await {
        Ok(facts) => Some(facts),
        Err(error) => {
            eprintln!(
                "note: the source cannot be asked ({error}): rows and sizes are those that the file declares"
            );
            None
        }
    }
}

fn kept(path: &Path) -> Result<Plan, Failure> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| {
        Error::misconfigured(format!("{} is no plan: {error}", path.display()))
            .with_remedy("keep one with `headwater plan --json > plan.json`")
            .into()
    })
}
