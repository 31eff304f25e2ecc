//! Engines that could not be looked at, and what those that could say about themselves.

use headwater_model::file::{File, StoreSection};
use headwater_model::{Error, ErrorKind, StoreFacts, View};

use crate::Finding;

/// The source refused, or did not answer.
pub fn source_refused(file: &File, error: &Error) -> Finding {
    let source = file.source();
    let who = source.name.as_ref().map_or("the source".to_owned(), |name| format!("source `{name}`"));
    refused(file, &source.path(), &who, error)
}

/// A store refused, or did not answer.
pub fn store_refused(file: &File, store: &StoreSection, error: &Error) -> Finding {
    refused(file, &format!("stores.{}", store.name), &format!("store `{}`", store.name), error)
}

/// What a store says about itself.
pub fn store(file: &File, store: &StoreSection, facts: &StoreFacts) -> Vec<Finding> {
    let path = format!("stores.{}.url", store.name);
    facts.risks.iter().map(|risk| Finding::risk(file, &path, risk)).collect()
}

/// A view that one of its stores cannot hold.
pub fn view_refused(file: &File, view: &View, error: &Error) -> Finding {
    let remedy = error.remedy().unwrap_or("put the view into another store");
    Finding::at(file, &format!("views.{}.store", view.name), error.to_string().replace('"', "`"), remedy)
}

fn refused(file: &File, section: &str, who: &str, error: &Error) -> Finding {
    let mut finding = Finding::refused(file, section, error);
    if matches!(error.kind(), ErrorKind::Transient | ErrorKind::Throttled) {
        // Engines that name themselves need no second name.
        let message = finding.message.replace('"', "`");
        let message = message.strip_prefix(who).map_or(&*message, |rest| rest.trim_start_matches([':', ' ']));
        finding.message = format!("{who} cannot be reached: {message}");
        finding.remedy.get_or_insert_with(|| {
            "see that it runs and that this machine may reach it, then check again".to_owned()
        });
    }
    finding
}
