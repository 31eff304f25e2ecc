//! What is looked for in an InfluxDB database: how many tag sets its series have, what drops points, and how many shards they lie in.

use std::collections::BTreeMap;

use async_trait::async_trait;
use headwater_model::exam::{Check, ExamBudget, Examination, Examine, Urgency};
use headwater_model::file::StoreSection;
use headwater_model::{Error, ErrorKind, Result};
use serde_json::Value as Json;

use super::client::{Client, Rows};
use super::config::Config;
use super::line;
use crate::checks::{Found, Limits, Symptom, limit, page, record};

const NEARLY_FULL: Check = Check {
    id: "HW7001",
    page: page!("HW7001"),
    asks: "SHOW MEASUREMENTS\nSHOW SERIES EXACT CARDINALITY FROM …",
    limits: &[limit("share", 0.8)],
};

const DROPS: Check =
    Check { id: "HW7002", page: page!("HW7002"), asks: "SHOW RETENTION POLICIES ON …", limits: &[] };

const SHARDS: Check = Check {
    id: "HW7003",
    page: page!("HW7003"),
    asks: "SHOW SHARD GROUPS\nSHOW RETENTION POLICIES ON …",
    limits: &[limit("groups", 300.0)],
};

/// What only administrators may ask, and what version 2 does not know.
const REFUSED: &[ErrorKind] = &[ErrorKind::Denied, ErrorKind::Unsupported, ErrorKind::Misconfigured];

/// Every check, in the order of their ids.
pub(crate) fn checks() -> Vec<&'static Check> {
    vec![&NEARLY_FULL, &DROPS, &SHARDS]
}

/// Examines one database, with the user of the store's URL.
pub(crate) struct Examiner {
    client: Client,
}

impl Examiner {
    pub(crate) fn of_store(section: &StoreSection) -> Result<Examiner> {
        Ok(Examiner { client: Client::new(Config::new(section)?) })
    }
}

#[async_trait]
impl Examine for Examiner {
    async fn examine(&self, budget: &ExamBudget) -> Result<Examination> {
        let server = format!("InfluxDB {}", self.client.version().await?);
        let mut examination = Examination { server, ..Examination::default() };
        for check in checks().into_iter().filter(|check| budget.wants(check)) {
            let limits = Limits { check, set: &budget.limits };
            let looking = async {
                match check.id {
                    "HW7001" => self.nearly_full(&limits).await,
                    "HW7002" => self.drops().await,
                    _ => self.shards(&limits).await,
                }
            };
            let looked = tokio::time::timeout(budget.each, looking).await;
            let remedy =
                "GRANT ALL PRIVILEGES TO the user of the store's URL: InfluxDB lets administrators alone ask";
            record(&mut examination, check, budget, looked, (REFUSED, remedy.to_owned()))?;
        }
        Ok(examination)
    }
}

/// A retention policy.
struct Policy {
    name: String,
    keeps: String,
    shard_seconds: f64,
    is_default: bool,
}

impl Examiner {
    fn database(&self) -> String {
        line::identifier(&self.client.config().database)
    }

    async fn nearly_full(&self, limits: &Limits<'_>) -> Result<Found> {
        let most = self.client.config().series_max;
        let mut found = Found::new();
        for row in self.client.ask_one(format!("SHOW MEASUREMENTS ON {}", self.database())).await? {
            // Those with a colon are our own, and have no tags.
            let Some(name) = row.first().and_then(Json::as_str).filter(|name| !name.starts_with("hw:"))
            else {
                continue;
            };
            let counted = format!(
                "SHOW SERIES EXACT CARDINALITY ON {} FROM {}",
                self.database(),
                line::identifier(name)
            );
            let rows = self.client.ask_one(counted).await?;
            let count = rows.first().and_then(|row| row.last()?.as_u64()).unwrap_or(0);
            if (count as f64) < limits.of("share") * most as f64 {
                continue;
            }
            let urgency = if count >= most as u64 { Urgency::High } else { Urgency::Medium };
            let symptom = Symptom::new(
                format!("series {name}"),
                urgency,
                format!(
                    "has {count} tag sets, and series_max is {most}: a document with a new one will be refused"
                ),
                &[&format!(
                    "series_max = {}  # in the store's section, or take out of `tags` what has a value per row",
                    most * 2
                )],
            );
            let answered =
                [("tag_sets".to_owned(), count.to_string()), ("series_max".to_owned(), most.to_string())];
            found.push((symptom, BTreeMap::from(answered)));
        }
        Ok(found)
    }

    async fn policies(&self) -> Result<Vec<Policy>> {
        let rows: Rows =
            self.client.ask_one(format!("SHOW RETENTION POLICIES ON {}", self.database())).await?;
        let text = |row: &[Json], at: usize| row.get(at).and_then(Json::as_str).map(str::to_owned);
        let read = |row: Vec<Json>| {
            Some(Policy {
                name: text(&row, 0)?,
                keeps: text(&row, 1)?,
                shard_seconds: seconds(&text(&row, 2)?)?,
                is_default: row.last()?.as_bool()?,
            })
        };
        rows.into_iter()
            .map(|row| read(row).ok_or_else(|| Error::bug("a retention policy that cannot be read")))
            .collect()
    }

    async fn drops(&self) -> Result<Found> {
        let policies = self.policies().await?;
        let dropping =
            policies.into_iter().filter(|policy| policy.is_default && seconds(&policy.keeps) != Some(0.0));
        Ok(dropping
            .map(|policy| {
                let symptom = Symptom::new(
                    format!("retention policy {}", policy.name),
                    Urgency::High,
                    format!(
                        "drops what is older than {}: documents that the source has, and Headwater's own position",
                        policy.keeps
                    ),
                    &[&self.alter(&policy, "DURATION INF")],
                )
                .undo(self.alter(&policy, &format!("DURATION {}", policy.keeps)));
                (symptom, BTreeMap::from([("duration".to_owned(), policy.keeps)]))
            })
            .collect())
    }

    async fn shards(&self, limits: &Limits<'_>) -> Result<Found> {
        let policies = self.policies().await?;
        let Some(policy) = policies.iter().find(|policy| policy.is_default) else { return Ok(Found::new()) };
        let rows = self.client.ask_one("SHOW SHARD GROUPS".to_owned()).await?;
        let is_ours = |row: &&Vec<Json>| {
            row.get(1).and_then(Json::as_str) == Some(&*self.client.config().database)
                && row.get(2).and_then(Json::as_str) == Some(&*policy.name)
        };
        let groups = rows.iter().filter(is_ours).count() as f64;
        // One that is a year or more is as long as anybody wants it.
        if groups <= limits.of("groups") || policy.shard_seconds >= YEAR_SECONDS {
            return Ok(Found::new());
        }
        let symptom = Symptom::new(
            format!("retention policy {}", policy.name),
            Urgency::Low,
            format!(
                "its points lie in {groups} groups of shards of {:.0} hours each: every one takes memory and files, and windows over long \
                 times read all of them",
                policy.shard_seconds / 3600.0
            ),
            &[&self.alter(policy, "SHARD DURATION 52w")],
        )
        .undo(self.alter(policy, &format!("SHARD DURATION {:.0}h", policy.shard_seconds / 3600.0)));
        Ok(vec![(symptom, BTreeMap::from([("groups".to_owned(), groups.to_string())]))])
    }

    fn alter(&self, policy: &Policy, what: &str) -> String {
        format!("ALTER RETENTION POLICY {} ON {} {what}", line::identifier(&policy.name), self.database())
    }
}

const YEAR_SECONDS: f64 = 52.0 * 7.0 * 86_400.0;

/// A duration as InfluxDB writes it: `168h0m0s`.
fn seconds(text: &str) -> Option<f64> {
    let mut sum = 0.0;
    let mut number = String::new();
    for letter in text.chars() {
        if letter.is_ascii_digit() {
            number.push(letter);
            continue;
        }
        let unit = match letter {
            'w' => 604_800.0,
            'd' => 86_400.0,
            'h' => 3600.0,
            'm' => 60.0,
            's' => 1.0,
            _ => return None,
        };
        sum += number.parse::<f64>().ok()? * unit;
        number.clear();
    }
    number.is_empty().then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn durations_are_read_as_influxdb_writes_them() {
        assert_eq!(seconds("168h0m0s"), Some(604_800.0));
        assert_eq!(seconds("0s"), Some(0.0));
        assert_eq!(seconds("1h30m5s"), Some(5405.0));
        assert_eq!((seconds("INF"), seconds("5")), (None, None));
    }
}
