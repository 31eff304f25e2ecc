//! The file compared with what the source and the stores say about themselves. Pure: whoever calls has looked.
//!
//! Owns: do the tables and columns that views name exist, can they be followed, do embedded rows join by something
//! unique and of one kind. Not: what the file says by itself (`model::file`), engine settings (the engines).

mod embeds;
mod stores;
mod tables;
mod views;

use headwater_model::file::File;
use headwater_model::{Severity, SourceFacts, View};

use crate::Finding;

pub use stores::{source_refused, store, store_refused};

/// Everything that is wrong or risky, in the order of the file.
pub fn run(file: &File, facts: &SourceFacts) -> Vec<Finding> {
    let (_, mut findings) = look(file, facts);
    findings.extend(facts.risks.iter().map(|risk| Finding::risk(file, "source.url", risk)));
    if file.views.is_empty() {
        let finding = Finding::at(
            file,
            "views",
            "the file has no views: there is nothing to keep in step",
            "add one: [views.NAME] with from = \"table\"",
        );
        findings.push(finding.with(Severity::Warning));
    }
    for store in &file.stores {
        if !file.views.is_empty() && !file.views.iter().any(|view| view.stores.contains(&store.name)) {
            let finding = Finding::at(
                file,
                &format!("stores.{}", store.name),
                format!("store `{}` holds no view", store.name),
                "name it in the `store` of a view, or remove it",
            );
            findings.push(finding.with(Severity::Warning));
        }
    }
    findings.sort_by_key(|finding| finding.span.start);
    findings
}

/// The views with the schema of every table filled in, as the flow needs them; everything that stands in the way
/// otherwise.
pub fn resolve(file: &File, facts: &SourceFacts) -> Result<Vec<View>, Vec<Finding>> {
    let (views, mut findings) = look(file, facts);
    findings.retain(|finding| finding.severity == Severity::Error);
    if findings.is_empty() { Ok(views) } else { Err(findings) }
}

fn look(file: &File, facts: &SourceFacts) -> (Vec<View>, Vec<Finding>) {
    let mut look = Look { file, facts, findings: Vec::new() };
    let views = file.views.iter().map(|view| look.view(view)).collect();
    (views, look.findings)
}

/// One look at a file.
struct Look<'a> {
    file: &'a File,
    facts: &'a SourceFacts,
    findings: Vec<Finding>,
}

impl Look<'_> {
    fn wrong(&mut self, path: &str, message: impl Into<String>, remedy: impl Into<String>) {
        self.findings.push(Finding::at(self.file, path, message, remedy));
    }

    fn warn(&mut self, path: &str, severity: Severity, message: String, remedy: &str) {
        self.findings.push(Finding::at(self.file, path, message, remedy).with(severity));
    }
}
