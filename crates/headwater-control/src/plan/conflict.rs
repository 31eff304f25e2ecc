//! Why nothing carries a workload: a smallest set of wishes that cannot all be met.

use serde::Serialize;

use super::choice::Limits;
use super::decide::best;
use super::services::Offers;
use super::workload::Workload;

/// What may be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wish {
    Budget,
    Availability,
    Rto,
    Rpo,
    /// Of a pattern: its `p99`.
    Latency(usize),
    /// Of a pattern: `stale`, or strong consistency.
    Freshness(usize),
}

/// A set of wishes of which any one has to go.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Conflict {
    pub wishes: Vec<Unmet>,
    /// Why the workload cannot be carried whatever is given up, if so.
    pub whatever: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Unmet {
    /// Where in the file: `plan.rto`.
    pub path: String,
    pub wish: String,
    /// US dollars per month without this wish, if that is enough.
    pub monthly_without: Option<f64>,
}

impl Wish {
    /// All that a workload has.
    pub(super) fn all(workload: &Workload) -> Vec<Wish> {
        let general = [
            (Wish::Budget, workload.budget.is_some()),
            (Wish::Availability, workload.availability.is_some()),
            (Wish::Rto, workload.rto_s.is_some()),
            (Wish::Rpo, workload.rpo_s.is_some()),
        ];
        let mut all: Vec<Wish> =
            general.into_iter().filter(|(_, there)| *there).map(|(wish, _)| wish).collect();
        for (place, pattern) in workload.patterns.iter().enumerate() {
            all.extend(pattern.p99_ms.map(|_| Wish::Latency(place)));
            all.extend((pattern.strong || pattern.stale_s.is_some()).then_some(Wish::Freshness(place)));
        }
        all
    }

    pub(super) fn path(self, workload: &Workload) -> String {
        match self {
            Wish::Budget => "plan.budget".to_owned(),
            Wish::Availability => "plan.availability".to_owned(),
            Wish::Rto => "plan.rto".to_owned(),
            Wish::Rpo => "plan.rpo".to_owned(),
            Wish::Latency(place) => format!("access.{}.p99", workload.patterns[place].name),
            Wish::Freshness(place) if workload.patterns[place].strong => {
                format!("plan.access.{}.consistency", workload.patterns[place].name)
            }
            Wish::Freshness(place) => format!("access.{}.stale", workload.patterns[place].name),
        }
    }

    pub(super) fn said(self, workload: &Workload) -> String {
        let seconds = |s: Option<f64>| s.map_or(String::new(), |s| format!("{s} s"));
        match self {
            Wish::Budget => format!("at most {:.0} USD per month", workload.budget.unwrap_or_default()),
            Wish::Availability => {
                format!("{}% availability by contract", workload.availability.unwrap_or_default())
            }
            Wish::Rto => format!("recovery within {}", seconds(workload.rto_s)),
            Wish::Rpo => format!("at most {} of commits lost", seconds(workload.rpo_s)),
            Wish::Latency(place) => {
                let pattern = &workload.patterns[place];
                format!("{} within {} ms", pattern.name, pattern.p99_ms.unwrap_or_default())
            }
            Wish::Freshness(place) if workload.patterns[place].strong => {
                format!("{} shows every commit", workload.patterns[place].name)
            }
            Wish::Freshness(place) => {
                let pattern = &workload.patterns[place];
                format!("{} at most {} old", pattern.name, seconds(pattern.stale_s))
            }
        }
    }
}

/// Leaves out one wish after the other for as long as what is left cannot be met: what stays is needed, each one of it.
pub(super) fn conflict(workload: &Workload, offers: &Offers, limits: Limits) -> Conflict {
    let all = Wish::all(workload);
    if best(workload, offers, &all, limits).is_none() {
        return Conflict { wishes: Vec::new(), whatever: why(offers, workload) };
    }
    let mut dropped: Vec<Wish> = Vec::new();
    for wish in &all {
        dropped.push(*wish);
        if best(workload, offers, &dropped, limits).is_some() {
            dropped.pop();
        }
    }
    let wishes = all.iter().filter(|wish| !dropped.contains(wish));
    let unmet = wishes.map(|wish| Unmet {
        path: wish.path(workload),
        wish: wish.said(workload),
        monthly_without: best(workload, offers, &[*wish], limits).map(|chosen| chosen.choice.monthly),
    });
    Conflict { wishes: unmet.collect(), whatever: Vec::new() }
}

/// What no setup of any engine can do.
fn why(offers: &Offers, workload: &Workload) -> Vec<String> {
    let mut why = Vec::new();
    if !offers.all.iter().any(|offer| offer.is_source) {
        why.push("no transactional database has prices in this region, or all are excluded".to_owned());
    } else if offers.all.iter().filter(|offer| offer.is_source).all(|offer| offer.setups.is_empty()) {
        let largest = offers.all.iter().filter(|o| o.is_source).filter_map(|offer| offer.too_small.last());
        why.extend(
            largest
                .map(|unable| format!("the writes and data are too large for every class: {}", unable.why)),
        );
    }
    for (place, pattern) in workload.patterns.iter().enumerate() {
        if offers.all.iter().all(|offer| offer.answers[place].is_err()) {
            why.push(format!("no engine can answer {}", pattern.name));
        }
    }
    if why.is_empty() {
        why.push("no engine has a setup large enough for the rates of the access patterns".to_owned());
    }
    why.extend(offers.gaps.iter().cloned());
    why
}
