//! What `[plan]` names against what the catalogue has.

use headwater_model::file::File;
use headwater_model::nearest;

use super::conflict::Conflict;
use super::services::SERVICES;
use crate::Finding;
use crate::catalog::Catalog;

/// Regions and services that the catalogue does not know.
pub fn check(file: &File, catalog: &Catalog) -> Vec<Finding> {
    let Some(plan) = &file.plan else { return Vec::new() };
    let mut findings = Vec::new();
    let regions = catalog.regions();
    if !regions.contains(&&*plan.region) {
        let remedy = match nearest(&plan.region, regions.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`? Prices are known for {}", regions.join(", ")),
            None => format!("prices are known for {}", regions.join(", ")),
        };
        let what = format!("no price of any service is known in region `{}`", plan.region);
        findings.push(Finding::at(file, "plan.region", what, remedy));
    }
    for name in &plan.without {
        if !SERVICES.iter().any(|service| service.starts_with(&**name)) {
            let remedy = match nearest(name, SERVICES.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("the services are {}", SERVICES.join(", ")),
            };
            findings.push(Finding::at(file, "plan.without", format!("there is no service `{name}`"), remedy));
        }
    }
    findings
}

/// A conflict as findings: each wish of it where it stands.
pub fn conflicting(file: &File, conflict: &Conflict) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for what in &conflict.whatever {
        findings.push(Finding::at(file, "plan", what.clone(), ""));
    }
    let all: Vec<&str> = conflict.wishes.iter().map(|unmet| unmet.wish.as_str()).collect();
    for unmet in &conflict.wishes {
        let others: Vec<&str> = all.iter().copied().filter(|wish| *wish != unmet.wish).collect();
        let together = match others[..] {
            [] => "cannot be had".to_owned(),
            _ => format!("cannot be had together with {}", super::workload::listed(&others)),
        };
        let remedy = match unmet.monthly_without {
            Some(monthly) => format!("without it: {} per month", super::report::money(monthly)),
            None => "without it something else is in the way as well".to_owned(),
        };
        findings.push(Finding::at(file, &unmet.path, format!("{} {together}", unmet.wish), remedy));
    }
    findings
}
