//! What can be chosen: each service of the catalogue as an engine with its setups, what it costs to keep each view there and to
//! answer each pattern there, and what it cannot do.
//!
//! Owns: how each kind of service is sized and paid, one file per kind; services of providers are named here and in the
//! catalogue, and nowhere else. Not: which of them is chosen.
//!
//! Invariant: no price is guessed. A service whose prices are not in the catalogue is left out, and [`Offers::gaps`] says why.

mod cache;
mod documents;
mod figures;
mod graph;
mod key_value;
mod regions;
mod relational;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::choice::{LOAD_NONE, Load};
use super::workload::{PatternLoad, ViewLoad, Workload};
use crate::catalog::{Catalog, Malformed, Origin};
pub(super) use cache::document_bytes;
pub(super) use figures::Figures;
pub(super) use key_value::{PARTITION_READS, PARTITION_WRITES, units_read};
pub(super) use regions::{said as in_regions, unsupported};
pub(super) use relational::iops_included;

/// What a machine can run out of: places in a [`Load`].
pub(super) const CPU: usize = 0;
/// Processors of the one machine that has everything committed.
pub(super) const PRIMARY: usize = 1;
/// In GiB.
pub(super) const MEMORY: usize = 2;

pub(super) const HOURS: f64 = 730.0;
pub(super) const SECONDS: f64 = HOURS * 3600.0;
pub(super) const GIB: f64 = 1024.0 * 1024.0 * 1024.0;
pub(super) const GB: f64 = 1e9;

/// An amount of something that has a price.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub what: String,
    pub amount: f64,
    pub unit: String,
    /// US dollars for one.
    pub usd: f64,
    /// US dollars per month.
    pub monthly: f64,
    /// Where the price was read, when, and how far it is trusted.
    pub source: String,
    pub date: String,
    pub confidence: String,
}

impl Line {
    pub(super) fn new(what: impl Into<String>, amount: f64, unit: &str, usd: f64, origin: &Origin) -> Line {
        Line {
            what: what.into(),
            amount,
            unit: unit.to_owned(),
            usd,
            monthly: amount * usd,
            source: origin.text.to_string(),
            date: origin.date.to_string(),
            confidence: origin.confidence.to_string(),
        }
    }
}

pub(super) fn total(lines: &[Line]) -> f64 {
    lines.iter().map(|line| line.monthly).sum()
}

/// What it takes and costs that a service answers a pattern.
pub(super) type Answer = Arc<dyn Fn(&mut Market<'_>, &PatternLoad) -> Result<Answered, Unable> + Send + Sync>;

/// A service as it could be used.
#[derive(Clone)]
pub(super) struct Offer {
    /// The name of its file in the catalogue, perhaps with how it is paid.
    pub name: String,
    pub title: String,
    pub is_source: bool,
    /// The scheme of a store's URL there.
    pub scheme: &'static str,
    /// What it costs once it is used, whatever it carries.
    pub once: Vec<Line>,
    /// From the cheapest to the dearest.
    pub setups: Vec<Setup>,
    /// Per view.
    pub keeps: Vec<Result<Kept, Unable>>,
    /// Per pattern.
    pub answers: Vec<Result<Answered, Unable>>,
    /// The same for a pattern that is not in the workload.
    pub answer: Answer,
    /// Classes that cannot carry what the service has to carry in any case, and why.
    pub too_small: Vec<Unable>,
}

/// What is set up, for whoever builds it: the figures behind a [`Setup::label`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// The class of each machine; none where there are no machines.
    pub class: Option<String>,
    pub shards: usize,
    /// Beside the first machine (of each shard), and read from.
    pub replicas: usize,
    /// A machine that nobody reads, to take over.
    pub standby: bool,
    pub storage_gb: f64,
    /// Operations per second that are paid for, if more than are included.
    pub iops: Option<f64>,
    /// Storage of which requests are not paid.
    pub io_optimized: bool,
    /// Units of capacity of each machine, where there are no classes.
    pub units: Option<f64>,
}

/// One way to set a service up.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    /// `2 × db.r6g.large, Multi-AZ`.
    pub label: String,
    pub shape: Shape,
    pub lines: Vec<Line>,
    pub capacity: Load,
    /// Percent of a month, by contract.
    pub sla: f64,
    pub recovery: Recovery,
    /// What may be lost of what was committed, in seconds.
    pub rpo_s: f64,
    pub zones: usize,
}

/// From a fault to being answered again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// Noticing it, promoting, pointing clients at it: as published, at its worst.
    pub switch_s: f64,
    /// Bringing the data up to the last commit.
    pub replay_s: f64,
    /// Clients connecting again.
    pub reconnect_s: f64,
    /// At degraded latency after that.
    pub warm_s: f64,
    /// Where the first figure comes from.
    pub source: String,
}

impl Recovery {
    pub fn total_s(&self) -> f64 {
        self.switch_s + self.replay_s + self.reconnect_s
    }
}

#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub lines: Vec<Line>,
    pub load: Load,
    /// Units of writing per second, where they can be provisioned.
    pub units: f64,
}

#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub lines: Vec<Line>,
    pub load: Load,
    /// Units of reading per second, where they can be provisioned.
    pub units: f64,
    pub p99_ms: f64,
    /// How old an answer may be.
    pub age_s: f64,
    /// What the pattern needs beside its views: an order that is kept for it.
    pub extra: Option<Extra>,
}

/// Something that is kept for patterns, and paid once however many use it.
#[derive(Clone, Debug)]
pub(super) struct Extra {
    pub index: String,
    pub kept: Kept,
}

/// Why something cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Unable {
    /// The reason that options are counted by.
    pub kind: &'static str,
    pub why: String,
}

pub(super) fn unable(kind: &'static str, why: impl Into<String>) -> Unable {
    Unable { kind, why: why.into() }
}

/// Everything that is for sale in a region.
pub(super) struct Offers {
    pub all: Vec<Offer>,
    /// What is not, and why.
    pub gaps: Vec<String>,
    /// What keeping derived stores in step costs, however many there are.
    pub in_step: Vec<Line>,
}

/// What every kind of service needs to size and price itself.
pub(super) struct Market<'a> {
    pub catalog: &'a Catalog,
    pub workload: &'a Workload,
    pub figures: Figures,
    gaps: Vec<String>,
}

pub(super) fn offers(catalog: &Catalog, workload: &Workload) -> Result<Offers, Malformed> {
    let mut market = Market::of(catalog, workload)?;
    let mut all = Vec::new();
    relational::offer(&mut market, &mut all);
    cache::offer(&mut market, &mut all);
    key_value::offer(&mut market, &mut all);
    documents::offer(&mut market, &mut all);
    graph::offer(&mut market, &mut all);
    for service in ["memorydb", "timestream-influxdb"] {
        let Some(known) = catalog.service(service) else { continue };
        let why = known.gaps.first().map_or("no prices", |gap| gap);
        market.gaps.push(format!("{}: not priced, so not considered; missing: {why}", known.title));
    }
    let wanted = |offer: &Offer| !workload.without.iter().any(|name| offer.name.starts_with(&**name));
    all.retain(wanted);
    regions::copies(&mut market, &mut all);
    for offer in &mut all {
        offer.setups.sort_by(|a, b| total(&a.lines).total_cmp(&total(&b.lines)));
    }
    let in_step = in_step(&mut market);
    Ok(Offers { all, gaps: market.gaps, in_step })
}

/// US dollars per month of a pattern and its index in tables of items: as they are kept, and if the index had whole documents.
pub(super) fn with_whole_documents(
    catalog: &Catalog,
    workload: &Workload,
    pattern: &PatternLoad,
) -> Result<Option<(f64, f64)>, Malformed> {
    let mut market = Market::of(catalog, workload)?;
    Ok(key_value::with_whole_documents(&mut market, pattern))
}

/// Names that `without` may say.
pub(super) const SERVICES: [&str; 10] = [
    "rds-postgresql",
    "rds-mysql",
    "aurora-postgresql",
    "aurora-mysql",
    "elasticache-valkey",
    "elasticache-redis",
    "dynamodb",
    "documentdb",
    "neptune",
    "elasticache",
];

/// Of Headwater's own machines.
pub(super) const CLASS: &str = "m7g.large";

/// Headwater's own machines: one that works and one that takes over.
fn in_step(market: &mut Market<'_>) -> Vec<Line> {
    let region = &market.workload.region;
    let found = market.catalog.service("ec2").and_then(|service| {
        service
            .instances(region, crate::catalog::InstanceOffer::Standard)
            .find(|(class, _)| *class == CLASS)
            .map(|(_, usd)| usd.clone())
    });
    match found {
        Some(usd) => {
            let what = format!("Headwater itself: 2 × {CLASS}, one of them to take over");
            market.gaps.push("the disks of Headwater's own machines: not priced, and not $0".to_owned());
            vec![Line::new(what, 2.0 * HOURS, "hours", usd.value, &usd.origin)]
        }
        None => {
            market.gaps.push(format!("Headwater's own machines ({CLASS}): no price in {region}, and not $0"));
            Vec::new()
        }
    }
}

impl<'a> Market<'a> {
    pub(super) fn of(catalog: &'a Catalog, workload: &'a Workload) -> Result<Market<'a>, Malformed> {
        Ok(Market { catalog, workload, figures: Figures::of(catalog)?, gaps: Vec::new() })
    }
}

impl Market<'_> {
    /// A price, with its origin; a gap is noted if there is none.
    fn price(&mut self, service: &str, item: &str) -> Option<(f64, Arc<Origin>)> {
        let region = &self.workload.region;
        let found = self.catalog.service(service).and_then(|known| known.price(region, item));
        if found.is_none() {
            let title = self.catalog.service(service).map_or(service, |known| &known.title);
            let gap = format!("{title}: no price of `{item}` in {region}, so not considered");
            if !self.gaps.contains(&gap) {
                self.gaps.push(gap);
            }
        }
        found.map(|price| (price.usd.value, price.usd.origin.clone()))
    }

    /// A contract, in percent of a month.
    fn sla(&self, service: &str, fact: &str) -> f64 {
        self.catalog.service(service).and_then(|s| s.fact(fact)).and_then(|fact| fact.value).unwrap_or(0.0)
    }

    /// The worst of what is published of a failover.
    fn published(&self, service: &str, fact: &str) -> Option<(f64, String)> {
        let fact = self.catalog.service(service)?.fact(fact)?;
        let said = fact.text.as_deref().unwrap_or_default();
        Some((fact.high.or(fact.value)?, format!("published: {said} ({})", fact.origin.date)))
    }

    /// A service that keeps views beside the source. None if `keep` lacks a price, which has been noted.
    fn store(
        &mut self,
        (name, title, scheme): (&str, &str, &'static str),
        setups: Vec<Setup>,
        mut keep: impl FnMut(&mut Self, &ViewLoad) -> Option<Result<Kept, Unable>>,
        answer: impl Fn(&mut Market<'_>, &PatternLoad) -> Result<Answered, Unable> + Send + Sync + 'static,
    ) -> Option<Offer> {
        let workload = self.workload;
        let keeps = workload.views.iter().map(|view| keep(self, view)).collect::<Option<Vec<_>>>()?;
        let answers = workload.patterns.iter().map(|pattern| answer(self, pattern)).collect();
        Some(Offer {
            name: name.to_owned(),
            title: title.to_owned(),
            is_source: false,
            scheme,
            once: Vec::new(),
            setups,
            keeps,
            answers,
            answer: Arc::new(answer),
            too_small: Vec::new(),
        })
    }

    fn views(&self) -> &[ViewLoad] {
        &self.workload.views
    }

    fn patterns(&self) -> &[PatternLoad] {
        &self.workload.patterns
    }

    /// Answers that cross from one zone to another, in both directions of the bill.
    fn transfer(&mut self, pattern: &PatternLoad) -> Vec<Line> {
        let share = self.workload.cross_zone;
        if share <= 0.0 {
            return Vec::new();
        }
        let amount = pattern.rate * self.workload.average * SECONDS * pattern.bytes * share / GB;
        let Some((usd, origin)) = self.price("data-transfer", "intra-region-cross-az-per-direction") else {
            return Vec::new();
        };
        vec![Line::new("answers across zones, paid at both ends", amount, "GB", usd * 2.0, &origin)]
    }

    /// Changes on their way to a store in another zone.
    fn feed(&mut self, view: &ViewLoad) -> Vec<Line> {
        let share = self.workload.cross_zone;
        let amount = view.changes * self.workload.average * SECONDS * view.document_bytes * share / GB;
        let mut lines = Vec::new();
        if let Some((usd, origin)) = self.price("data-transfer", "intra-region-cross-az-per-direction")
            && amount > 0.0
        {
            lines.push(Line::new(
                "changes across zones, paid at both ends",
                amount,
                "GB",
                usd * 2.0,
                &origin,
            ));
        }
        lines.extend(self.sent_to_regions("changes", view.changes * view.document_bytes));
        lines
    }

    fn reconnect_s(&self) -> f64 {
        self.workload.connections.unwrap_or(0.0) / self.figures.reconnect_per_s
    }

    fn refill_s(&self) -> f64 {
        self.views().iter().map(|view| view.documents).sum::<f64>() / self.figures.refill_per_s
    }
}

fn load(kinds: &[(usize, f64)]) -> Load {
    let mut load = LOAD_NONE;
    for (kind, amount) in kinds {
        load[*kind] = *amount;
    }
    load
}

/// Burstable classes give so much of each processor for good; others give all of it.
fn baseline(figures: &Figures, class: &str) -> f64 {
    let mut parts = class.split('.').skip(1);
    let (family, size) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if !family.starts_with('t') {
        return 1.0;
    }
    figures.baselines.iter().find(|(name, _)| *name == size).map_or(0.1, |(_, share)| *share)
}

#[cfg(test)]
mod tests;
