//! `headwater plan`: which engines the file's access patterns need, what they cost, and why.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use headwater_control::Finding;
use headwater_control::catalog::Catalog;
use headwater_control::plan::choice::Limits;
use headwater_control::plan::{self, Beside, Compared, Plan, Workload};
use headwater_engines::registry;
use headwater_flow::status::{PartState, StoreStatus};
use headwater_model::file::File;
use headwater_model::{Error, SourceFacts};

use super::check::within;
use super::failure::Failure;
use super::which::Which;
use super::{emit, file, show};
use crate::drill::history;
use crate::{control_socket, observed};

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
    /// Plan for the rates and sizes that `run` has measured, beside the declared ones, with what each difference costs: of the
    /// last five weeks, whether an instance runs now or not.
    #[arg(long, conflicts_with_all = ["what_if", "diff"])]
    observed: bool,
    /// Count with what `headwater drill --calibrate` measured on this machine, instead of the planner's model.
    #[arg(long)]
    calibrated: bool,
    /// Show what is different from a plan that was kept with --json.
    #[arg(long, value_name = "FILE")]
    diff: Option<PathBuf>,
    #[command(flatten)]
    which: Which,
}

pub async fn run(args: Args, path: &Path) -> Result<ExitCode, Failure> {
    // Before the folder changes.
    let old = args.diff.as_deref().map(kept).transpose()?;
    let emit = args.emit.as_deref().map(emit::Order::read).transpose()?;
    let page = args.html.as_deref().map(std::path::absolute).transpose().context("--html")?;
    let whole = file::load(path)?;
    let file = args.which.one(&whole)?;
    let facts = if args.offline { None } else { facts(&file).await };
    let catalog = catalog(&whole, args.calibrated)?;
    let question = Question { file, facts, catalog, path };
    let found = match (args.observed, args.what_if.is_empty()) {
        (true, _) => observed(&question).await?,
        (false, false) => supposed(question.clone(), &args.what_if)?,
        (false, true) => {
            let workload = question.workload()?;
            Outcome { plan: question.plan_of(&workload)??, workload, before: None, beside: None }
        }
    };
    let plan = &found.plan;
    if let Some(order) = emit {
        let source = question.file.source().url.reveal();
        let files = plan::emit(plan, source, order.format).map_err(|what| anyhow!("--emit: {what}"))?;
        show::print(&emit::write(&order.folder, &files)?);
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(page) = page {
        let charts = plan::charts(&found.workload, &question.catalog, Limits::default())
            .context("the catalogue of this build lacks a figure")?;
        std::fs::write(&page, plan::html(plan, &charts))
            .with_context(|| format!("cannot write {}", page.display()))?;
        show::print(&format!("wrote    {}\n", page.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let compared = old.as_ref().or(found.before.as_ref());
    let out = match (compared, args.json, args.markdown) {
        _ if found.beside.is_some() => told_beside(&found, args.json, args.markdown)?,
        (Some(old), true, _) => format!(
            "{:#}\n",
            serde_json::json!({ "before": old.monthly, "after": plan.monthly, "changes": plan::differences(old, plan) })
        ),
        (Some(old), false, _) => plan::differences_text(old, plan),
        (None, true, _) => {
            format!("{}\n", serde_json::to_string_pretty(plan).context("cannot write the plan as JSON")?)
        }
        (None, _, true) => plan::markdown(plan),
        (None, ..) => plan::text(plan),
    };
    match args.json || args.markdown {
        true => show::print(&out),
        false => show::print_wrapped(&out),
    }
    Ok(ExitCode::SUCCESS)
}

/// What is counted with.
fn catalog(file: &File, calibrated: bool) -> Result<Catalog, Failure> {
    let catalog = Catalog::built_in().context("the catalogue of this build does not read")?;
    if !calibrated {
        return Ok(catalog);
    }
    match history::calibration(&file.data)? {
        Some(measured) => Ok(measured.applied(&catalog)),
        None => Err(Error::misconfigured("nothing was measured on this machine yet")
            .with_remedy("headwater drill --calibrate")
            .into()),
    }
}

/// What is asked of the planner.
#[derive(Clone)]
struct Question<'a> {
    file: File,
    facts: Option<SourceFacts>,
    catalog: Catalog,
    path: &'a Path,
}

/// A plan, and what it is compared with.
struct Outcome {
    plan: Plan,
    workload: Workload,
    before: Option<Plan>,
    beside: Option<Beside>,
}

impl Question<'_> {
    fn wrong(&self, findings: Vec<Finding>) -> Failure {
        Failure::Findings { path: self.path.to_owned(), text: self.file.text.clone(), findings }
    }

    fn workload(&self) -> Result<Workload, Failure> {
        let findings = plan::check(&self.file, &self.catalog);
        if !findings.is_empty() {
            return Err(self.wrong(findings));
        }
        self.counted()
    }

    /// The same of a file that may name what there is not.
    fn counted(&self) -> Result<Workload, Failure> {
        Workload::read(&self.file, self.facts.as_ref()).map_err(|findings| self.wrong(findings))
    }

    /// A plan, or which wishes stand in its way.
    fn plan_of(&self, workload: &Workload) -> Result<Result<Plan, Failure>, Failure> {
        let schemes = registry::store_schemes();
        let found = plan::plan(workload, &self.catalog, &schemes, Limits::default())
            .context("the catalogue of this build lacks a figure")?;
        Ok(found.map_err(|conflict| self.wrong(plan::conflicting(&self.file, &conflict))))
    }

    /// The same, without the budget if that is what stands in the way: what it comes to is worth more than that it is not allowed.
    fn plan_over(&self, workload: &mut Workload) -> Result<Plan, Failure> {
        let conflict = match self.plan_of(workload)? {
            Ok(plan) => return Ok(plan),
            Err(conflict) => conflict,
        };
        let Some(budget) = workload.budget.take() else { return Err(conflict) };
        let Ok(over) = self.plan_of(workload)? else { return Err(conflict) };
        eprintln!(
            "note: this needs {:.0} USD per month, and the budget is {budget} USD: without it, it becomes",
            over.monthly
        );
        Ok(over)
    }
}

/// As if the file said otherwise.
fn supposed(mut question: Question<'_>, changes: &[String]) -> Result<Outcome, Failure> {
    // With another file there may be a plan where there is none.
    let before = question.plan_of(&question.workload()?)?.ok();
    let wrong = |change: &str, finding: Finding| Failure::Findings {
        path: "--what-if".into(),
        text: change.into(),
        findings: vec![finding],
    };
    for change in changes {
        let now = question.counted()?;
        plan::suppose(&mut question.file, &now, change).map_err(|finding| wrong(change, finding))?;
    }
    if let Some((at, finding)) = plan::supposed_wrong(&question.file, &question.catalog, changes) {
        return Err(wrong(&changes[at], finding));
    }
    let mut workload = question.workload()?;
    let plan = question.plan_over(&mut workload)?;
    Ok(Outcome { plan, workload, before, beside: None })
}

/// For what `run` has measured.
async fn observed(question: &Question<'_>) -> Result<Outcome, Failure> {
    let data = &question.file.data;
    let Some(mut seen) = observed::summed(&observed::read(data)?) else {
        return Err(Error::misconfigured(format!("nothing was observed yet in {}", data.display()))
            .with_remedy("`headwater run` measures while it runs: ask again once it has for a while")
            .into());
    };
    // How many documents there are only a running instance can say.
    match control_socket::ask(data).await {
        Ok(status) => seen.documents = documents(status.iter().flat_map(|status| &status.stores)),
        Err(error) => eprintln!("note: the running instance cannot be asked ({error})"),
    }
    let findings = plan::check(&question.file, &question.catalog);
    if !findings.is_empty() {
        return Err(question.wrong(findings));
    }
    let Compared { declared, mut measured, beside } =
        plan::observe(&question.file, question.facts.as_ref(), &seen, &question.catalog, Limits::default())
            .context("the catalogue of this build lacks a figure")?
            .map_err(|findings| question.wrong(findings))?;
    let before = question.plan_of(&declared)?.ok();
    let plan = question.plan_over(&mut measured)?;
    Ok(Outcome { plan, workload: measured, before, beside: Some(beside) })
}

/// How many documents each view has, by the stores that hold all of it.
fn documents<'s>(stores: impl Iterator<Item = &'s StoreStatus>) -> BTreeMap<String, f64> {
    let whole = stores
        .flat_map(|store| &store.views)
        .filter(|view| view.part.is_none() && matches!(view.state, PartState::Healthy | PartState::Lagging));
    whole.filter_map(|view| Some((view.name.clone(), view.rows? as f64))).collect()
}

fn told_beside(found: &Outcome, json: bool, markdown: bool) -> anyhow::Result<String> {
    let (plan, before) = (&found.plan, found.before.as_ref());
    let Some(beside) = &found.beside else { return Ok(String::new()) };
    if json {
        let changes = before.map(|before| plan::differences(before, plan));
        let before = before.map(|before| before.monthly);
        return Ok(format!(
            "{:#}\n",
            serde_json::json!({
                "observed": beside, "before": before, "after": plan.monthly, "changes": changes, "plan": plan,
            })
        ));
    }
    let mut out = if markdown { plan::beside_markdown(beside) } else { plan::beside_text(beside) };
    let differences = before.map(|before| plan::differences_text(before, plan));
    match (differences, markdown) {
        (Some(text), true) => out += &format!("\n```\n{text}```\n\n{}", plan::markdown(plan)),
        (Some(text), false) => out += &format!("\n{text}\n{}", plan::text(plan)),
        (None, true) => out += &format!("\nNothing carries what is declared.\n\n{}", plan::markdown(plan)),
        (None, false) => out += &format!("\nnothing carries what is declared\n\n{}", plan::text(plan)),
    }
    Ok(out)
}

/// What the source says of its tables; nothing, and a word on standard error, if it cannot be asked.
async fn facts(file: &File) -> Option<SourceFacts> {
    match within(async { headwater_engines::source(file.source())?.inspect().await }).await {
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
