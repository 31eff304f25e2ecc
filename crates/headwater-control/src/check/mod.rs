//! The file compared with what the source and the stores say about themselves. Pure: whoever calls has looked.
//!
//! Owns: do the tables and columns that views name exist, can they be followed, do embedded rows join by something
//! unique and of one kind, do access patterns read what is there, and can the source find it. Not: what the file says by itself (`model::file`), engine settings (the engines).

mod access;
mod embeds;
mod fields;
mod indexes;
mod kinds;
mod stores;
mod tables;
mod views;

use std::sync::Arc;

use headwater_model::file::File;
use headwater_model::{AccessPlan, Severity, SourceFacts, View};

use crate::Finding;

pub(crate) use access::OWN_PARAMS;
pub use stores::{source_refused, store, store_refused, view_refused};

/// Everything that is wrong or risky, in the order of the file, of one whose source has no name.
pub fn run(file: &File, facts: &SourceFacts) -> Vec<Finding> {
    let mut findings = of_source(file, facts);
    findings.extend(whole(file));
    findings.sort_by_key(|finding| finding.span.start);
    findings
}

/// What of it is about a source, and the file as it sees it ([`File::flows`]).
pub fn of_source(file: &File, facts: &SourceFacts) -> Vec<Finding> {
    let (_, mut findings) = look(file, facts);
    let url = format!("{}.url", file.source().path());
    findings.extend(facts.risks.iter().map(|risk| Finding::risk(file, &url, risk)));
    findings
}

/// What the file says of no source in particular: views, stores and listeners.
pub fn whole(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
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
        if !file.views.is_empty() && !file.views.iter().any(|view| view.is_in(&store.name)) {
            let finding = Finding::at(
                file,
                &format!("stores.{}", store.name),
                format!("store `{}` holds no view", store.name),
                "name it in the `store` of a view, or remove it",
            );
            findings.push(finding.with(Severity::Warning));
        }
    }
    for source in file.sources.iter().filter(|_| !file.views.is_empty()) {
        if source.name.as_deref().is_some_and(|name| !file.owners.values().any(|owner| **owner == *name)) {
            let (path, name) = (source.path(), source.name.as_deref().unwrap_or_default());
            let finding = Finding::at(
                file,
                &path,
                format!("source `{name}` has no view"),
                format!("add source = \"{name}\" to a view, or remove it"),
            );
            findings.push(finding.with(Severity::Warning));
        }
    }
    findings.extend(in_the_clear(file));
    findings
}

/// What other machines read without TLS.
fn in_the_clear(file: &File) -> Vec<Finding> {
    let listeners = [("listen", file.serve.listen), ("resp", file.serve.resp)];
    let open = listeners.into_iter().filter(|(_, address)| address.is_some_and(|a| !a.ip().is_loopback()));
    open.filter(|_| file.serve.tls.is_none())
        .map(|(name, _)| {
            Finding::at(
                file,
                &format!("serve.{name}"),
                format!("tokens and rows cross the network in the clear: `{name}` is open to other machines without TLS"),
                "add tls_cert and tls_key to [serve], or put it behind something that ends TLS",
            )
            .with(Severity::Warning)
        })
        .collect()
}

/// The file's views and access patterns, compared with the live source.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// With the schema of every table filled in, and the orders that access patterns read in.
    pub views: Vec<Arc<View>>,
    /// One per access pattern of the file, in its order; their views are those above.
    pub access: Vec<AccessPlan>,
    /// For readers that name views rather than access patterns: a `get` of each view whose key can be asked for, and a `top`
    /// of each ranking, with every store and then the source, however old.
    pub by_view: Vec<AccessPlan>,
}

/// Views and access patterns as the flow needs them; everything that stands in the way otherwise.
pub fn resolve(file: &File, facts: &SourceFacts) -> Result<Resolved, Vec<Finding>> {
    let (resolved, mut findings) = look(file, facts);
    findings.retain(|finding| finding.severity == Severity::Error);
    if findings.is_empty() { Ok(resolved) } else { Err(findings) }
}

fn look(file: &File, facts: &SourceFacts) -> (Resolved, Vec<Finding>) {
    let mut look = Look { file, facts, findings: Vec::new() };
    let mut views: Vec<View> = file.views.iter().map(|view| look.view(view)).collect();
    let indexes: Vec<Option<usize>> =
        file.access.iter().map(|access| look.index(access, &mut views)).collect();
    let views: Vec<Arc<View>> = views.into_iter().map(Arc::new).collect();
    let access: Vec<AccessPlan> = file
        .access
        .iter()
        .zip(indexes)
        .filter_map(|(access, index)| look.plan(access, index, &views))
        .collect();
    look.source_indexes(&access);
    let by_view = look.by_view(&views);
    (Resolved { views, access, by_view }, look.findings)
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
