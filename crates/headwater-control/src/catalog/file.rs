//! The files of `catalog/`: one per service, and one of instance classes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;

use super::{Catalog, Class, Fact, Figure, InstanceOffer, Origin, Price, Service};

macro_rules! built_in {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../catalog/", $name, ".toml")))),*]
    };
}

pub(super) const BUILT_IN: &[(&str, &str)] = built_in! {
    "aurora" "aurora-dsql" "aurora-mysql" "aurora-postgresql" "data-transfer" "dms" "documentdb"
    "dynamodb" "ec2" "elasticache" "elasticache-redis" "elasticache-valkey" "instances" "keyspaces"
    "kinesis" "memorydb" "model" "nat-gateway" "neptune" "opensearch" "qldb" "rds" "rds-mysql"
    "rds-postgresql" "redshift" "regions" "s3" "savings-plans" "timestream-influxdb"
    "timestream-liveanalytics" "vpc"
};

/// The file of instance classes.
const CLASSES: &str = "instances";

/// A file of the catalogue that does not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Without `.toml`.
    pub file: Box<str>,
    pub what: String,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "catalogue file {}.toml: {}", self.file, self.what)
    }
}

impl std::error::Error for Malformed {}

type Origins = BTreeMap<Box<str>, Arc<Origin>>;
type PerRegion<T> = BTreeMap<Box<str>, BTreeMap<Box<str>, T>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ServiceFile {
    service: Box<str>,
    #[serde(default)]
    gaps: Vec<Box<str>>,
    sources: Origins,
    #[serde(default)]
    prices: PerRegion<PriceLine>,
    #[serde(default)]
    instances: PerRegion<HourLine>,
    #[serde(default)]
    instances_io_optimized: PerRegion<HourLine>,
    #[serde(default)]
    facts: BTreeMap<Box<str>, FactLine>,
    #[serde(default)]
    classes: BTreeMap<Box<str>, ClassLine>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PriceLine {
    Price { usd: f64, per: Box<str>, from: Box<str>, text: Box<str> },
    Ratio { ratio: f64, from: Box<str> },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HourLine {
    usd: f64,
    from: Box<str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FactLine {
    value: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    unit: Option<Box<str>>,
    text: Option<Box<str>>,
    from: Box<str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassLine {
    vcpu: f64,
    memory_gib: f64,
    network: Box<str>,
    from: Box<str>,
}

pub(super) fn read_into(catalog: &mut Catalog, name: &str, text: &str) -> Result<(), Malformed> {
    let malformed = |what: String| Malformed { file: name.into(), what };
    let file: ServiceFile = toml::from_str(text).map_err(|error| malformed(error.to_string()))?;
    let reader = Reader { name, origins: &file.sources };
    if name == CLASSES {
        for (class, line) in file.classes {
            let read = Class {
                vcpu: reader.positive(line.vcpu, &class)?,
                memory_gib: reader.positive(line.memory_gib, &class)?,
                network: line.network,
                origin: reader.origin(&line.from)?,
            };
            catalog.classes.insert(class, read);
        }
        return Ok(());
    }
    let mut service = Service { title: file.service, gaps: file.gaps, ..Service::default() };
    for (region, lines) in file.prices {
        for (item, line) in lines {
            let place = (region.clone(), item.clone());
            match line {
                PriceLine::Price { usd, per, from, text } => {
                    let usd = reader.figure(usd, &from, &item)?;
                    service.prices.insert(place, Price { usd, per, text });
                }
                PriceLine::Ratio { ratio, from } => {
                    service.ratios.insert(place, reader.figure(ratio, &from, &item)?);
                }
            }
        }
    }
    let offers = [
        (InstanceOffer::Standard, file.instances),
        (InstanceOffer::IoOptimized, file.instances_io_optimized),
    ];
    for (offer, regions) in offers {
        for (region, lines) in regions {
            let classes = lines.into_iter().map(|(class, line)| {
                let usd = reader.figure(line.usd, &line.from, &class)?;
                Ok((class, usd))
            });
            service.instances.insert((offer, region), classes.collect::<Result<_, Malformed>>()?);
        }
    }
    for (fact, line) in file.facts {
        let origin = reader.origin(&line.from)?;
        let FactLine { value, low, high, unit, text, .. } = line;
        service.facts.insert(fact, Fact { value, low, high, unit, text, origin });
    }
    catalog.services.insert(name.into(), service);
    Ok(())
}

/// What every line of a file needs.
struct Reader<'f> {
    name: &'f str,
    origins: &'f Origins,
}

impl Reader<'_> {
    fn origin(&self, from: &str) -> Result<Arc<Origin>, Malformed> {
        let found = self.origins.get(from).cloned();
        found.ok_or_else(|| self.malformed(format!("`{from}` is not among its sources")))
    }

    fn positive(&self, value: f64, of: &str) -> Result<f64, Malformed> {
        if value.is_finite() && value > 0.0 {
            return Ok(value);
        }
        Err(self.malformed(format!(
            "`{of}` is {value}: a figure that is not known is left out, and none is zero"
        )))
    }

    fn figure(&self, value: f64, from: &str, of: &str) -> Result<Figure, Malformed> {
        Ok(Figure { value: self.positive(value, of)?, origin: self.origin(from)? })
    }

    fn malformed(&self, what: String) -> Malformed {
        Malformed { file: self.name.into(), what }
    }
}
