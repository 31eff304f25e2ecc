//! What infrastructure is made of, in figures and names: what both formats say, each in its own words.

use super::names::{pascal, slug};

/// Something that both formats call by one id: `source`, and `Source`.
pub(super) trait Part {
    fn id(&self) -> &str;

    fn slug(&self) -> String {
        slug(self.id())
    }

    fn pascal(&self) -> String {
        pascal(self.id())
    }
}

macro_rules! parts {
    ($($name:ident)*) => { $(impl Part for $name { fn id(&self) -> &str { &self.id } })* };
}

parts! { Group Secret Cache Table Variable Output Copy }

/// The database that is committed to.
pub(super) struct Database {
    pub title: String,
    pub setup: String,
    pub aurora: bool,
    pub postgres: bool,
    pub engine: &'static str,
    pub family: &'static str,
    pub version: &'static str,
    pub class: String,
    /// Those that are there whatever happens: the standby of a volume is none.
    pub instances: usize,
    pub standby: bool,
    pub storage_gb: u64,
    pub storage_gb_max: u64,
    pub iops: Option<u64>,
    pub io_optimized: bool,
    pub insights: bool,
    /// Whether the provider makes and rotates the administrator's password: not with readers of a volume, nor with copies.
    pub managed: bool,
    pub port: u16,
    pub database: String,
    pub parameters: Vec<Parameter>,
    pub logs: Vec<&'static str>,
}

pub(super) struct Parameter {
    pub name: &'static str,
    pub value: &'static str,
    pub method: &'static str,
}

pub(super) struct Cache {
    pub id: String,
    pub title: String,
    pub setup: String,
    pub views: String,
    pub serverless: bool,
    pub engine: &'static str,
    pub version: &'static str,
    pub major: &'static str,
    pub family: &'static str,
    pub class: String,
    pub shards: usize,
    pub replicas: usize,
    pub snapshots: bool,
    pub gb_max: u64,
}

impl Cache {
    /// Shards must, whether there is something to fail over to or not.
    pub fn fails_over(&self) -> bool {
        self.replicas > 0 || self.shards > 1
    }
}

pub(super) struct Table {
    pub id: String,
    pub name: String,
    pub about: String,
    pub partition: (&'static str, &'static str),
    pub sort: Option<(&'static str, &'static str)>,
    pub expires: bool,
    pub provisioned: bool,
    pub read_units: u64,
    pub write_units: u64,
}

/// Units of a table that follow what is used of them.
pub(super) struct Scaled {
    pub name: &'static str,
    pub dimension: &'static str,
    pub metric: &'static str,
    pub units: u64,
}

impl Table {
    pub fn scaled(&self) -> [Scaled; 2] {
        [
            Scaled {
                name: "reads",
                dimension: "ReadCapacityUnits",
                metric: "DynamoDBReadCapacityUtilization",
                units: self.read_units,
            },
            Scaled {
                name: "writes",
                dimension: "WriteCapacityUnits",
                metric: "DynamoDBWriteCapacityUtilization",
                units: self.write_units,
            },
        ]
    }
}

/// Machines over shared storage.
pub(super) struct Cluster {
    pub title: String,
    pub setup: String,
    pub views: String,
    pub class: String,
    pub instances: usize,
    pub units: Option<u64>,
}

pub(super) struct Group {
    pub id: String,
    pub about: &'static str,
}

/// From one security group to another.
pub(super) struct Rule {
    pub from: String,
    pub to: String,
    pub port: u16,
    pub about: &'static str,
}

impl Rule {
    pub fn sender(&self) -> String {
        pascal(&self.from)
    }

    pub fn receiver(&self) -> String {
        pascal(&self.to)
    }
}

pub(super) struct Secret {
    pub id: String,
    pub about: String,
    pub unrotated: &'static str,
    /// Whether other regions have to know it.
    pub replicated: bool,
}

/// Another region that has a copy.
pub(super) struct Copy {
    pub id: String,
    pub region: String,
}

/// What a machine is told at its first start.
pub(super) struct Variable {
    pub id: String,
    pub terraform: String,
    pub cloudformation: String,
    /// What `headwater.toml` calls it.
    pub environment: Option<String>,
    /// The name of a secret, rather than a value.
    pub secret: bool,
    pub width: usize,
}

impl Variable {
    pub fn padded(&self) -> String {
        format!("{:<width$}", self.id, width = self.width)
    }
}

pub(super) struct Output {
    pub id: String,
    pub about: String,
    pub terraform: String,
    pub cloudformation: String,
}

pub(super) struct Alarm {
    pub id: String,
    pub about: String,
    pub namespace: &'static str,
    pub metric: &'static str,
    pub statistic: &'static str,
    pub above: bool,
    pub threshold: u64,
    pub period: u32,
    pub periods: u32,
    pub missing: &'static str,
    pub dimension: &'static str,
    pub terraform: String,
    pub cloudformation: String,
}

impl Alarm {
    pub fn comparison(&self) -> &'static str {
        if self.above { "GreaterThanThreshold" } else { "LessThanThreshold" }
    }
}

impl Part for Alarm {
    fn id(&self) -> &str {
        &self.id
    }
}
