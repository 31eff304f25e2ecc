//! `headwater check`: the file against the live source and stores, every mistake in one run.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use headwater_control::{Finding, check};
use headwater_model::file::File;
use headwater_model::{Error, Result, Severity, SourceFacts, StoreFacts};
use serde_json::json;

use super::failure::Failure;
use super::{file, show};
use crate::by_source::BySource;
use crate::figures;

/// An engine that has not answered by then counts as unreachable.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(clap::Args)]
pub struct Args {
    /// Findings as JSON on standard output.
    #[arg(long)]
    json: bool,
}

pub async fn run(args: Args, path: &Path) -> Result<ExitCode, Failure> {
    let file = match file::load(path) {
        Ok(file) => file,
        Err(Failure::File { path, errors }) if args.json => {
            let findings: Vec<Finding> = errors.errors.into_iter().map(Finding::from).collect();
            print_json(&path, &findings, &BySource::default());
            return Ok(ExitCode::FAILURE);
        }
        Err(failure) => return Err(failure),
    };
    let (mut findings, mut servers) = (Vec::new(), BySource::default());
    for flow in file.flows() {
        let (found, facts) = look(&flow).await;
        // A store that several sources share says the same to each.
        findings.extend(found.into_iter().filter(|new| !findings.contains(new)).collect::<Vec<_>>());
        servers.add(flow.source().name.as_deref(), facts.map(|facts| facts.server));
    }
    if file.source().name.is_some() {
        findings.extend(check::whole(&file));
    }
    findings.sort_by_key(|finding| finding.span.start);
    if args.json {
        print_json(path, &findings, &servers);
    } else {
        show::findings(path, &file.text, &findings);
    }
    let wrong = findings.iter().any(|finding| finding.severity == Severity::Error);
    if !wrong && !args.json {
        show::print(&format!("{}\n", summary(&file, &servers)));
    }
    Ok(if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Asks the source and every store at once, and compares.
async fn look(file: &File) -> (Vec<Finding>, Option<SourceFacts>) {
    let stores: Vec<_> = file
        .stores
        .iter()
        .cloned()
        .map(|section| tokio::spawn(async move { within(inspect_store(&section)).await }))
        .collect();
    let facts = within(async { headwater_engines::source(file.source())?.inspect().await }).await;
    let mut findings = Vec::new();
    let facts = match facts {
        Ok(facts) => {
            findings.extend(match file.source().name {
                None => check::run(file, &facts),
                Some(_) => check::of_source(file, &facts),
            });
            Some(facts)
        }
        Err(error) => {
            findings.push(check::source_refused(file, &error));
            None
        }
    };
    for (section, facts) in file.stores.iter().zip(stores) {
        let facts = facts.await.unwrap_or_else(|panic| Err(Error::bug(panic.to_string())));
        match facts {
            Ok(facts) => findings.extend(check::store(file, section, &facts)),
            Err(error) => findings.push(check::store_refused(file, section, &error)),
        }
    }
    for view in &file.views {
        for section in file.stores.iter().filter(|section| view.is_in(&section.name)) {
            let refused = headwater_engines::fits(section, view).err();
            findings.extend(refused.map(|error| check::view_refused(file, view, &error)));
        }
    }
    findings.sort_by_key(|finding| finding.span.start);
    (findings, facts)
}

async fn inspect_store(section: &headwater_model::file::StoreSection) -> Result<StoreFacts> {
    headwater_engines::store(section)?.inspect().await
}

pub(super) async fn within<T>(look: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(PATIENCE, look)
        .await
        .unwrap_or_else(|_| Err(Error::transient(format!("no answer within {} seconds", PATIENCE.as_secs()))))
}

fn summary(file: &File, servers: &BySource<Option<String>>) -> String {
    let (views, fit) = match file.views.len() {
        1 => ("1 view".to_owned(), "fits"),
        n => (figures::counted(n, "view"), "fit"),
    };
    let named = |(source, server): (Option<&str>, &Option<String>)| {
        let server = server.as_deref().unwrap_or("the source");
        source.map_or(server.to_owned(), |source| format!("{source} ({server})"))
    };
    let servers: Vec<String> = servers.iter().map(named).collect();
    format!("{views} {fit} {}. Next: headwater run", servers.join(" and "))
}

fn print_json(path: &Path, findings: &[Finding], servers: &BySource<Option<String>>) {
    let (mut source, mut sources) = (None, serde_json::Map::new());
    for (name, server) in servers.iter() {
        match name {
            Some(name) => drop(sources.insert(name.to_owned(), json!(server))),
            None => source = server.as_ref(),
        }
    }
    let mut report = json!({ "file": path.display().to_string(), "source": source, "findings": findings });
    if !sources.is_empty() {
        report["source"] = json!(sources);
    }
    show::print(&format!("{report:#}\n"));
}
