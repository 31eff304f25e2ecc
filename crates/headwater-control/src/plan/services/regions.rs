//! Copies in other regions: what goes there, what that costs as far as it has a price, and what the providers publish of such
//! copies.
//!
//! Invariant: what has no price in a region is named as a gap, never counted as zero; where some classes of a service have one
//! there, only those are set up.

use super::{GB, HOURS, Line, Market, Offer, SECONDS, unable};
use crate::catalog::{Catalog, InstanceOffer};
use crate::plan::report::EnginePlan;
use crate::plan::workload::Workload;

/// Where the price of what is stored stands: the beginning of an offer's name, its service and item.
const STORED: [(&str, &str, &str); 6] = [
    ("rds-", "rds", "gp3-storage-single-az"),
    ("aurora-", "aurora", "storage-standard"),
    ("elasticache-valkey-serverless", "elasticache-valkey", "serverless-data-stored"),
    ("dynamodb-", "dynamodb", "table-index-storage-standard"),
    ("documentdb", "documentdb", "storage-standard"),
    ("neptune", "neptune", "storage-standard"),
];

impl Market<'_> {
    /// Changes on their way to each other region, by how many bytes there are in the busiest hour.
    pub(super) fn sent_to_regions(&mut self, what: &str, bytes_per_s: f64) -> Vec<Line> {
        let workload = self.workload;
        let amount = bytes_per_s * workload.average * SECONDS / GB;
        let mut lines = Vec::new();
        for region in workload.regions.iter().filter(|_| amount > 0.0) {
            let transfer = self.catalog.service("data-transfer");
            let price = |item: &str| transfer.and_then(|service| service.price(&workload.region, item));
            match price(&format!("to-{region}")).or_else(|| price("to-other-regions")) {
                Some(usd) => {
                    let usd = &usd.usd;
                    lines.push(Line::new(
                        format!("{what} to {region}"),
                        amount,
                        "GB",
                        usd.value,
                        &usd.origin,
                    ));
                }
                None => {
                    self.gap(format!("traffic from {} to {region}: no price, and not $0", workload.region))
                }
            }
        }
        lines
    }

    fn gap(&mut self, gap: String) {
        if !self.gaps.contains(&gap) {
            self.gaps.push(gap);
        }
    }
}

/// Machines and storage of one copy of each service in each other region.
pub(super) fn copies(market: &mut Market<'_>, all: &mut [Offer]) {
    if !market.workload.regions.is_empty() {
        all.iter_mut().filter(|offer| offer.name.starts_with("aurora-")).for_each(without_burstable);
    }
    for region in &market.workload.regions {
        let mut lacking: Vec<&str> = Vec::new();
        for offer in &mut *all {
            let is_priced = machines(market.catalog, region, offer) & storage(market.catalog, region, offer);
            if !is_priced {
                lacking.push(&offer.title);
            }
        }
        if !lacking.is_empty() {
            let lacking = lacking.join(", ");
            market.gap(format!("copies in {region}: machines or storage of {lacking} have no price there: not counted, and not $0"));
        }
    }
}

/// Clusters of burstable classes are in no global database.
fn without_burstable(offer: &mut Offer) {
    let is_burstable =
        |setup: &super::Setup| setup.shape.class.as_deref().is_some_and(|class| class.starts_with("db.t"));
    for setup in offer.setups.iter().filter(|setup| is_burstable(setup)) {
        let class = setup.shape.class.as_deref().unwrap_or_default();
        offer
            .too_small
            .push(unable("no copies in other regions", format!("{class}: burstable classes have none")));
    }
    offer.setups.retain(|setup| !is_burstable(setup));
}

/// Whether they have prices.
fn machines(catalog: &Catalog, region: &str, offer: &mut Offer) -> bool {
    if offer.setups.iter().all(|setup| setup.shape.class.is_none()) {
        // Neptune's units are the only ones by the hour.
        return offer.setups.iter().all(|setup| setup.shape.units.is_none());
    }
    let Some(service) = catalog.service(&offer.name) else { return false };
    let priced = |io_optimized: bool, class: &str| {
        let paid = if io_optimized { InstanceOffer::IoOptimized } else { InstanceOffer::Standard };
        service.instances(region, paid).find(|(name, _)| *name == class).map(|(_, usd)| usd.clone())
    };
    let price = |setup: &super::Setup| priced(setup.shape.io_optimized, setup.shape.class.as_deref()?);
    if offer.setups.iter().all(|setup| price(setup).is_none()) {
        return false;
    }
    let setups = std::mem::take(&mut offer.setups);
    for mut setup in setups {
        let class = setup.shape.class.clone().unwrap_or_default();
        match price(&setup) {
            Some(usd) => {
                let count = setup.shape.shards.max(1) as f64;
                let what = format!("a copy in {region}: {count} × {class}");
                setup.lines.push(Line::new(what, count * HOURS, "hours", usd.value, &usd.origin));
                offer.setups.push(setup);
            }
            None => offer
                .too_small
                .push(unable("no price for its copy", format!("{class}: no price in {region}"))),
        }
    }
    true
}

fn storage(catalog: &Catalog, region: &str, offer: &mut Offer) -> bool {
    let Some((_, service, item)) = STORED.iter().find(|(name, ..)| offer.name.starts_with(name)) else {
        // In memory: part of the machines.
        return true;
    };
    let Some(usd) = catalog.service(service).and_then(|service| service.price(region, item)) else {
        return false;
    };
    let usd = &usd.usd;
    let copy = |lines: &mut Vec<Line>| {
        let stored = lines.iter().find(|line| matches!(&*line.what, "storage" | "data stored"));
        let stored = stored.map(|line| (line.amount, line.unit.clone()));
        if let Some((amount, unit)) = stored {
            lines.push(Line::new(format!("storage in {region}"), amount, &unit, usd.value, &usd.origin));
        }
    };
    offer.setups.iter_mut().for_each(|setup| copy(&mut setup.lines));
    offer.keeps.iter_mut().flatten().for_each(|kept| copy(&mut kept.lines));
    true
}

/// What becomes of each engine's data if its region is lost, as published.
pub(in crate::plan) fn said(catalog: &Catalog, workload: &Workload, engines: &[EnginePlan]) -> Vec<String> {
    let fact = |service: &str, name: &str| {
        let fact = catalog.service(service)?.fact(name)?;
        let said = match (&fact.text, fact.high) {
            (Some(text), _) => text.to_string(),
            (None, Some(high)) => format!("< {high} {}", fact.unit.as_deref().unwrap_or_default()),
            _ => return None,
        };
        Some(format!("{said} ({})", fact.origin.date))
    };
    let mut out = Vec::new();
    for region in &workload.regions {
        for engine in engines {
            let name = &*engine.name;
            let published = match name {
                _ if name.starts_with("aurora-") => fact("aurora", "global-database-replication-lag")
                    .zip(fact("aurora", "global-database-rto"))
                    .map(|(lag, rto)| format!("behind by {lag}; promoted in {rto}")),
                _ if name.starts_with("dynamodb-") => fact("dynamodb", "global-tables-mrec-rpo"),
                "elasticache-valkey" | "elasticache-redis" => fact("elasticache", "global-datastore-mode"),
                "neptune" => fact("neptune", "global-database-rpo").map(|lag| format!("behind by {lag}")),
                _ => None,
            };
            let published =
                published.unwrap_or_else(|| "nothing is published of how far a copy is behind".to_owned());
            let refilled =
                if engine.is_source { "" } else { "; what it lacks is filled from the database's copy" };
            out.push(format!("{region}: {}: {published}{refilled}", engine.title));
        }
    }
    out
}

/// What a chosen engine cannot do in the regions that were asked for, as published.
pub(in crate::plan) fn unsupported(
    catalog: &Catalog,
    workload: &Workload,
    engines: &[EnginePlan],
) -> Vec<String> {
    let mut out = Vec::new();
    for region in std::iter::once(&workload.region).chain(&workload.regions) {
        let gap =
            catalog.service("regions").and_then(|service| service.fact(&format!("region-gap-{region}")));
        if let Some(text) = gap.and_then(|gap| gap.text.as_deref()) {
            out.push(format!("{region}: {text}: not every combination is offered there"));
        }
    }
    if workload.regions.is_empty() {
        return out;
    }
    for engine in engines {
        let class = engine.shape.class.as_deref().unwrap_or_default();
        let title = &engine.title;
        match &*engine.name {
            "elasticache-valkey" | "elasticache-redis" => {
                if class.starts_with("cache.t") {
                    out.push(format!("{title}: {class} has no copies in other regions: burstable and previous classes are excluded"));
                }
                if workload.regions.len() > 2 {
                    out.push(format!(
                        "{title}: copies in {} regions were asked for, it has two at most",
                        workload.regions.len()
                    ));
                }
            }
            name if name.ends_with("-serverless") => out.push(format!(
                "{title}: it has no copies in other regions: one of its own has to be filled there"
            )),
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::services::tests::{offered, workload};

    /// Only what can be had there as well is set up, and paid twice; where nothing has a price nothing is left out.
    #[test]
    fn a_copy_is_set_up_where_its_class_has_a_price() {
        let text = "service = \"D\"\n[sources]\na = { text = \"t\", date = \"2026\", confidence = \"A\" }\n\
            [instances.mars-1]\n\"db.r5.large\" = { usd = 2, from = \"a\" }";
        let catalog = Catalog::read([("documentdb", text)]).unwrap_or_default();
        let offer = offered(&workload(), "documentdb");
        let mut copied = offer.clone();
        assert!(machines(&catalog, "mars-1", &mut copied));
        assert!(!copied.setups.is_empty() && copied.setups.len() < offer.setups.len());
        for setup in &copied.setups {
            assert_eq!(setup.shape.class.as_deref(), Some("db.r5.large"));
            assert!(
                setup
                    .lines
                    .iter()
                    .any(|line| line.what == "a copy in mars-1: 1 × db.r5.large"
                        && line.monthly == 2.0 * HOURS)
            );
        }
        let mut same = offer.clone();
        assert!(!machines(&catalog, "mars-2", &mut same) && !storage(&catalog, "mars-1", &mut same));
        assert_eq!(same.setups.len(), offer.setups.len());
    }
}
