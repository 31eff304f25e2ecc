//! What `[plan]` names against what the catalogue has.

use headwater_model::file::{File, PlanSection};
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
    findings.extend(elsewhere(file, plan, catalog));
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

/// Other regions that are none, and whatever is kept where data may not be.
fn elsewhere(file: &File, plan: &PlanSection, catalog: &Catalog) -> Vec<Finding> {
    let mut findings = Vec::new();
    let known = catalog.service("regions").and_then(|service| service.fact("names"));
    let known: Vec<&str> =
        known.and_then(|names| names.text.as_deref()).unwrap_or_default().split(' ').collect();
    for region in &plan.regions {
        if !known.contains(&&**region) {
            let remedy = match nearest(region, known.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("the regions are {}", known.join(", ")),
            };
            let what = format!("there is no region `{region}`");
            findings.push(Finding::at(file, "plan.regions", what, remedy));
        } else if *region == plan.region {
            let what = format!("`{region}` is the region that everything is in");
            findings.push(Finding::at(file, "plan.regions", what, "`regions` are the others: leave it out"));
        }
    }
    for area in &plan.residency {
        if !known.iter().any(|region| is_within(region, area)) {
            let remedy =
                "name regions, or what their names begin with: [\"eu\"], [\"us-east-1\", \"us-west\"]";
            findings.push(Finding::at(file, "plan.residency", format!("no region is in `{area}`"), remedy));
        }
    }
    let allowed =
        |region: &str| plan.residency.is_empty() || plan.residency.iter().any(|area| is_within(region, area));
    let mut kept = vec![("plan.region".to_owned(), plan.region.to_string())];
    kept.extend(plan.regions.iter().map(|region| ("plan.regions".to_owned(), region.to_string())));
    kept.extend(in_url(file.source().url.reveal(), &known).map(|region| ("source.url".to_owned(), region)));
    for store in &file.stores {
        let region = in_url(store.url.reveal(), &known);
        kept.extend(region.map(|region| (format!("stores.{}", store.name), region)));
    }
    for (path, region) in kept.into_iter().filter(|(_, region)| !allowed(region)) {
        let what =
            format!("data may be kept in {} only, not in {region}", super::workload::listed(&plan.residency));
        let remedy = "choose a region that is allowed, or allow this one: `residency` in [plan]";
        findings.push(Finding::at(file, &path, what, remedy));
    }
    findings
}

/// `eu-west-1` is within `eu`, `eu-west` and `eu-west-1`.
fn is_within(region: &str, area: &str) -> bool {
    region.strip_prefix(area).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// The region that an address names.
fn in_url(url: &str, known: &[&str]) -> Option<String> {
    let mut words = url.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words.find(|word| known.contains(word)).map(str::to_owned)
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
