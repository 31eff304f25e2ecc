//! What services cost and what they can, as published: each figure with where it was read, when, and how far it is trusted.
//!
//! Owns: reading the files of `catalog/`, and looking figures up. Does not own: what follows from them.
//!
//! Invariant: a figure that was not published is not here. Whoever needs it gets `None` and says so; nothing is taken for
//! zero, and no region's price for another's.

mod file;
mod origin;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use file::Malformed;
pub use origin::{Confidence, Origin};

/// The services of one provider.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    services: BTreeMap<Box<str>, Service>,
    classes: BTreeMap<Box<str>, Class>,
}

/// A figure, and where it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    pub value: f64,
    pub origin: Arc<Origin>,
}

/// A price in US dollars.
#[derive(Clone, Debug, PartialEq)]
pub struct Price {
    pub usd: Figure,
    /// What is paid for, in the provider's words: `GB-month`, `million WRU`.
    pub per: Box<str>,
    pub text: Box<str>,
}

/// What is known of a service beside its prices. Figures are in [`Fact::unit`].
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    pub value: Option<f64>,
    /// Ends of a range; a bound such as `< 60` has a high end only.
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub unit: Option<Box<str>>,
    pub text: Option<Box<str>>,
    pub origin: Arc<Origin>,
}

/// Processors and memory of an instance class.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    pub vcpu: f64,
    pub memory_gib: f64,
    pub network: Box<str>,
    pub origin: Arc<Origin>,
}

/// How an instance pays for the pages it reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InstanceOffer {
    Standard,
    /// Dearer by the hour, and nothing per request.
    IoOptimized,
}

#[derive(Clone, Debug, Default)]
pub struct Service {
    /// As its provider calls it.
    pub title: Box<str>,
    /// What is known to be missing here.
    pub gaps: Vec<Box<str>>,
    prices: BTreeMap<(Box<str>, Box<str>), Price>,
    ratios: BTreeMap<(Box<str>, Box<str>), Figure>,
    instances: BTreeMap<(InstanceOffer, Box<str>), BTreeMap<Box<str>, Figure>>,
    facts: BTreeMap<Box<str>, Fact>,
}

impl Catalog {
    /// The catalogue that this build carries.
    pub fn built_in() -> Result<Catalog, Malformed> {
        Catalog::read(file::BUILT_IN.iter().copied())
    }

    /// From the texts of files, each with its name without `.toml`.
    pub fn read<'t>(files: impl IntoIterator<Item = (&'t str, &'t str)>) -> Result<Catalog, Malformed> {
        let mut catalog = Catalog::default();
        for (name, text) in files {
            file::read_into(&mut catalog, name, text)?;
        }
        Ok(catalog)
    }

    /// By the name of its file: `rds-postgresql`.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.get(name)
    }

    /// Puts another value in place of a fact's, if the service has it.
    pub fn replace(&mut self, service: &str, fact: &str, value: f64, origin: &Origin) {
        if let Some(fact) = self.services.get_mut(service).and_then(|service| service.facts.get_mut(fact)) {
            (fact.value, fact.origin) = (Some(value), Arc::new(origin.clone()));
        }
    }

    pub fn services(&self) -> impl Iterator<Item = (&str, &Service)> {
        self.services.iter().map(|(name, service)| (&**name, service))
    }

    /// `db.r6g.large`, `cache.r7g.large`.
    pub fn class(&self, name: &str) -> Option<&Class> {
        self.classes.get(name)
    }

    /// The regions for which anything has a price.
    pub fn regions(&self) -> Vec<&str> {
        let priced = self.services.values().flat_map(|service| {
            let items = service.prices.keys().map(|(region, _)| &**region);
            items.chain(service.instances.keys().map(|(_, region)| &**region))
        });
        let mut regions: Vec<&str> = priced.collect();
        regions.sort_unstable();
        regions.dedup();
        regions
    }
}

impl Service {
    pub fn price(&self, region: &str, item: &str) -> Option<&Price> {
        self.prices.get(&(region.into(), item.into()))
    }

    /// A factor on a price, such as that of a standby.
    pub fn ratio(&self, region: &str, item: &str) -> Option<&Figure> {
        self.ratios.get(&(region.into(), item.into()))
    }

    /// US dollars per hour of each class that is offered in the region.
    pub fn instances(&self, region: &str, offer: InstanceOffer) -> impl Iterator<Item = (&str, &Figure)> {
        let offered = self.instances.get(&(offer, region.into()));
        offered.into_iter().flatten().map(|(class, usd)| (&**class, usd))
    }

    pub fn fact(&self, name: &str) -> Option<&Fact> {
        self.facts.get(name)
    }
}

#[cfg(test)]
mod tests;
