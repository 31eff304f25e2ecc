//! Everything that `doctor` looks at: the engines of the file, and the instance itself.
//!
//! - [`own`]: what is looked for in Headwater itself
//! - [`watch`]: the timer inside `run`, and what it found so far
//!
//! What is looked for in an engine is the engine's (`headwater_engines`); how findings are sorted and told is the control
//! plane's (`headwater_control::doctor`).

pub mod own;
pub mod watch;

use headwater_control::doctor;
use headwater_engines::registry;
use headwater_model::exam::{Check, ExamBudget, Examination, Examine};
use headwater_model::file::File;
use headwater_model::{Error, nearest};

/// What the source and the instance are called in reports, with the source's name behind it where sources have names; `store NAME`
/// the stores.
pub const SOURCE: &str = "source";
pub const OWN: &str = "headwater";
const STORE: &str = "store ";

/// Of the source that this is about: `file` is as that sees it.
pub fn called(what: &str, file: &File) -> String {
    match &file.source().name {
        Some(name) => format!("{what} {name}"),
        None => what.to_owned(),
    }
}

/// What is to be examined, as the report calls it.
pub type Engine = (String, Box<dyn Examine>);

/// Everything that is looked for anywhere, in the order of the ids.
pub fn checks() -> Vec<&'static Check> {
    let mut checks = registry::checks();
    checks.extend(own::checks());
    checks.sort_by_key(|check| check.id);
    checks
}

/// Entries of `[doctor]` that name nothing that is there.
pub fn unknown(file: &File) -> Vec<headwater_control::Finding> {
    doctor::unknown(file, &checks())
}

/// The engines of the file that there is something to look for in, or the one that was asked for.
pub fn engines(file: &File, only: Option<&str>) -> Result<Vec<Engine>, Error> {
    let mut engines: Vec<Engine> = Vec::new();
    let wanted = |name: &str| only.is_none_or(|only| only == name);
    if wanted(SOURCE)
        && let Some(examiner) = registry::source_examiner(file.source())?
    {
        engines.push((called(SOURCE, file), examiner));
    }
    for section in file.stores.iter().filter(|section| wanted(&section.name)) {
        if let Some(examiner) = registry::store_examiner(section)? {
            engines.push((format!("{STORE}{}", section.name), examiner));
        }
    }
    let known = || file.stores.iter().map(|section| &*section.name).chain([SOURCE, OWN]);
    match only {
        Some(only) if !known().any(|name| name == only) => {
            let remedy = match nearest(only, known()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("the file has {}", known().collect::<Vec<_>>().join(", ")),
            };
            Err(Error::misconfigured(format!("the file has no store `{only}`")).with_remedy(remedy))
        }
        Some(only) if engines.is_empty() && only != OWN => Err(nothing_to_examine()),
        _ => Ok(engines),
    }
}

pub fn nothing_to_examine() -> Error {
    Error::unsupported("there is nothing to examine in this kind of engine")
        .with_remedy("name a database or a store: headwater doctor postgres://user@host/database")
}

/// What an examination of the engines of a file may cost.
pub fn budget(only: Vec<String>, file: Option<&File>) -> ExamBudget {
    let mut budget = ExamBudget { only, ..ExamBudget::default() };
    if let Some(file) = file {
        budget.each = file.doctor.check_within;
        budget.limits = file.doctor.limits.clone();
    }
    budget
}

/// The same, with what the running instance counted of this engine.
pub fn knowing(budget: &ExamBudget, engine: &str, seen: &own::Seen) -> ExamBudget {
    let traffic = seen.status.as_ref().map(|status| match engine.strip_prefix(STORE) {
        Some(name) => {
            let stores = status.stores.iter().filter(|store| store.name == name);
            stores.flat_map(|store| &store.views).flat_map(|view| view.traffic.iter().cloned()).collect()
        }
        None => status.source.traffic.clone(),
    });
    ExamBudget { traffic, ..budget.clone() }
}

/// Everything of the file, one after the other: no two engines are asked at the same time.
pub async fn everything(file: &File, engines: &[Engine], seen: &own::Seen) -> doctor::Report {
    let budget = budget(Vec::new(), Some(file));
    let mut report = doctor::Report::default();
    for (name, examiner) in engines {
        report.add(Some(file), name.clone(), examiner.examine(&knowing(&budget, name, seen)).await);
    }
    report.add(Some(file), called(OWN, file), Ok(own(file, seen, &budget)));
    report
}

/// What is found in the instance itself.
pub fn own(file: &File, seen: &own::Seen, budget: &ExamBudget) -> Examination {
    own::examine(file, seen, budget)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Each check has a page with what a person needs to decide, and the pages are those of checks.
    #[test]
    fn every_check_has_its_page() {
        let overview = include_str!("../../../../docs/doctor.md");
        let mut ids = BTreeSet::new();
        for check in checks() {
            assert!(ids.insert(check.id), "{} twice", check.id);
            let row = format!("| [{0}](findings/{0}.md) | {1} |", check.id, check.title());
            assert!(overview.contains(&row), "docs/doctor.md lacks {row}");
            for section in ["Why it matters", "When it is reported", "What to do", "Cost", "Risk"] {
                assert!(
                    check.section(section).is_some_and(|text| !text.is_empty()),
                    "{} lacks {section}",
                    check.id
                );
            }
            for limit in check.limits {
                assert!(
                    check.page.contains(&format!("`{}`", limit.name)),
                    "{}: {} is not explained",
                    check.id,
                    limit.name
                );
            }
        }
    }
}
