//! What is looked for in the tables of a store: how they are guarded, how large their items are, what else hangs on them, and whether what
//! a running instance writes there suits them. CloudWatch, which knows what others do, is not asked.

use std::collections::BTreeMap;
use std::time::Instant;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{KeyType, PointInTimeRecoveryStatus, TableDescription};
use headwater_model::exam::{Check, ExamBudget, Examination, Examine, Skipped, Urgency};
use headwater_model::file::StoreSection;
use headwater_model::{Error, ErrorKind, Result};

use super::client::connect;
use super::config::Config;
use super::failure::failure;
use super::item::{KEY, PART, STATE_KEY, size};
use super::judge;
use crate::checks::{Found, Limits, Symptom, limit, page, record};

/// Tables that are looked at, at most.
const TABLES_MAX: usize = 200;

/// Items that are asked for at once.
const PAGE: usize = 100;

/// DynamoDB refuses an item of 400 KB: one that is not far from it is urgent.
const NEARLY_REFUSED_BYTES: usize = 320_000;

const UNPROTECTED: Check = Check { id: "HW5001", page: page!("HW5001"), asks: "DescribeTable", limits: &[] };

const NO_RECOVERY: Check =
    Check { id: "HW5002", page: page!("HW5002"), asks: "DescribeContinuousBackups", limits: &[] };

const LARGE_ITEMS: Check = Check {
    id: "HW5003",
    page: page!("HW5003"),
    asks: "Scan, {items} items of each table",
    limits: &[limit("items", 500.0), limit("bytes", 102_400.0)],
};

const FOREIGN_INDEX: Check =
    Check { id: "HW5004", page: page!("HW5004"), asks: "DescribeTable", limits: &[] };

const BOUGHT: Check = Check {
    id: "HW5005",
    page: page!("HW5005"),
    asks: "DescribeTable, and the running instance: traffic of its tables",
    limits: judge::BOUGHT_LIMITS,
};

const HOT: Check = Check {
    id: "HW5006",
    page: page!("HW5006"),
    asks: "the running instance: traffic of its tables",
    limits: judge::HOT_LIMITS,
};

/// What the role may not ask, and what DynamoDB Local does not know.
const REFUSED: &[ErrorKind] = &[ErrorKind::Denied, ErrorKind::Unsupported];

/// Every check, in the order of their ids.
pub(crate) fn checks() -> Vec<&'static Check> {
    vec![&UNPROTECTED, &NO_RECOVERY, &LARGE_ITEMS, &FOREIGN_INDEX, &BOUGHT, &HOT]
}

/// A check that only a running instance has the figures for, where none runs.
pub(super) fn nobody_counts(check: &Check) -> Skipped {
    Skipped {
        check: check.id,
        title: check.title(),
        why: "no instance runs in this data folder, and nobody else counts what goes to which key".to_owned(),
        remedy: Some("start it: headwater run".to_owned()),
    }
}

/// Examines the tables of one store, with the credentials that the store has.
pub(crate) struct Examiner {
    config: Config,
}

impl Examiner {
    pub(crate) fn of_store(section: &StoreSection) -> Result<Examiner> {
        Ok(Examiner { config: Config::new(section)? })
    }
}

#[async_trait]
impl Examine for Examiner {
    async fn examine(&self, budget: &ExamBudget) -> Result<Examination> {
        let client = connect(&self.config).await;
        let tables = self.tables(&client).await?;
        let mut examination = Examination { server: "DynamoDB".to_owned(), ..Examination::default() };
        for check in checks().into_iter().filter(|check| budget.wants(check)) {
            let limits = Limits { check, set: &budget.limits };
            if [BOUGHT.id, HOT.id].contains(&check.id) && budget.traffic.is_none() {
                examination.skipped.push(nobody_counts(check));
                continue;
            }
            let looked = look(&client, &tables, &limits, budget).await;
            let action = check.asks.split(',').next().unwrap_or_default();
            let remedy = format!("allow dynamodb:{action} on the store's tables");
            record(&mut examination, check, budget, Ok(looked), (REFUSED, remedy))?;
        }
        Ok(examination)
    }
}

impl Examiner {
    /// Those that have the store's prefix, and keys as ours have.
    async fn tables(&self, client: &Client) -> Result<Vec<TableDescription>> {
        let mut names: Vec<String> = Vec::new();
        let mut start = None;
        loop {
            let request = client.list_tables().set_exclusive_start_table_name(start);
            let page = request.send().await.map_err(|e| failure("list the tables", e))?;
            let ours = |name: &String| name.starts_with(&self.config.prefix);
            names.extend(page.table_names.unwrap_or_default().into_iter().filter(ours));
            start = page.last_evaluated_table_name;
            if start.is_none() || names.len() >= TABLES_MAX {
                break;
            }
        }
        names.truncate(TABLES_MAX);
        let mut tables = Vec::new();
        for name in names {
            let doing = format!("describe the table {name:?}");
            let found =
                client.describe_table().table_name(&name).send().await.map_err(|e| failure(doing, e))?;
            let is_ours = |table: &TableDescription| {
                let mut keys = table.key_schema().iter();
                keys.any(|key| {
                    key.key_type == KeyType::Hash && [KEY, PART, STATE_KEY].contains(&&*key.attribute_name)
                })
            };
            tables.extend(found.table.filter(is_ours));
        }
        Ok(tables)
    }
}

async fn look(
    client: &Client,
    tables: &[TableDescription],
    limits: &Limits<'_>,
    budget: &ExamBudget,
) -> Result<Found> {
    let until = Instant::now() + budget.each;
    let mut found = Found::new();
    for table in tables {
        let name = table.table_name().unwrap_or_default();
        let traffic = || budget.traffic.iter().flatten().find(|traffic| traffic.table == name);
        found.extend(match limits.check.id {
            "HW5001" => unprotected(name, table)?,
            "HW5002" => no_recovery(client, name).await?,
            "HW5003" => large_items(client, name, limits, until).await?,
            "HW5005" => traffic().and_then(|of| judge::bought(table, of, limits)).into_iter().collect(),
            "HW5006" => {
                let spread = |parts| spread(name, parts);
                traffic().and_then(|of| judge::hot(of, limits, spread)).into_iter().collect()
            }
            _ => foreign_indexes(name, table),
        });
    }
    Ok(found)
}

fn unprotected(name: &str, table: &TableDescription) -> Result<Found> {
    match table.deletion_protection_enabled {
        Some(true) => return Ok(Found::new()),
        Some(false) => {}
        None => {
            return Err(Error::unsupported("what answers there does not tell whether a table is protected"));
        }
    }
    let set =
        |to: &str| format!("aws dynamodb update-table --table-name {name} --{to}deletion-protection-enabled");
    let items = table.item_count().unwrap_or(0);
    let symptom = Symptom::new(
        format!("table {name}"),
        Urgency::Medium,
        format!("one request deletes it, with the {items} items that it had when they were last counted"),
        &[&set("")],
    )
    .undo(set("no-"));
    Ok(vec![(symptom, BTreeMap::from([("DeletionProtectionEnabled".to_owned(), "false".to_owned())]))])
}

async fn no_recovery(client: &Client, name: &str) -> Result<Found> {
    let doing = format!("ask for the backups of the table {name:?}");
    let asked = client.describe_continuous_backups().table_name(name).send().await;
    let described = asked.map_err(|e| failure(doing, e))?;
    let status = (described.continuous_backups_description())
        .and_then(|backups| backups.point_in_time_recovery_description())
        .and_then(|recovery| recovery.point_in_time_recovery_status());
    if status == Some(&PointInTimeRecoveryStatus::Enabled) {
        return Ok(Found::new());
    }
    let set = |to: bool| {
        format!(
            "aws dynamodb update-continuous-backups --table-name {name} --point-in-time-recovery-specification \
             PointInTimeRecoveryEnabled={to}"
        )
    };
    let what = "it cannot be brought back to a moment: what is lost is filled again from the source";
    let symptom = Symptom::new(format!("table {name}"), Urgency::Low, what, &[&set(true)]).undo(set(false));
    Ok(vec![(symptom, BTreeMap::new())])
}

/// The largest item of a sample, if it is too large.
async fn large_items(client: &Client, name: &str, limits: &Limits<'_>, until: Instant) -> Result<Found> {
    let most = limits.of("items") as usize;
    let (mut seen, mut start) = (0, None);
    let mut largest: Option<(usize, String)> = None;
    let mut large = 0;
    while seen < most && Instant::now() < until {
        let limit = i32::try_from(PAGE.min(most - seen)).unwrap_or(i32::MAX);
        let request = client.scan().table_name(name).limit(limit).set_exclusive_start_key(start);
        let doing = format!("sample the table {name:?}");
        let page = request.send().await.map_err(|e| failure(doing, e))?;
        seen += usize::try_from(page.scanned_count()).unwrap_or(0);
        for item in page.items.unwrap_or_default() {
            let bytes = size(&item);
            large += usize::from(bytes as f64 >= limits.of("bytes"));
            if largest.as_ref().is_none_or(|(known, _)| bytes > *known) {
                let key = item.get(KEY).and_then(|key| key.as_s().ok()).cloned();
                largest = Some((bytes, key.unwrap_or_else(|| "a place of an index".to_owned())));
            }
        }
        start = page.last_evaluated_key;
        if start.is_none() {
            break;
        }
    }
    let Some((bytes, key)) = largest.filter(|_| large > 0) else { return Ok(Found::new()) };
    let urgency = if bytes >= NEARLY_REFUSED_BYTES { Urgency::High } else { Urgency::Medium };
    let symptom = Symptom::new(
        format!("table {name}"),
        urgency,
        format!(
            "{large} of {seen} items are large, that of {key} has {bytes} bytes: each write of it costs {} units, and 400 KB is the most",
            bytes.div_ceil(1024)
        ),
        &["in the file: a smaller limit for embedded rows, or fewer columns, of this view"],
    );
    let answered = [("bytes".to_owned(), bytes.to_string()), ("sampled".to_owned(), seen.to_string())];
    Ok(vec![(symptom, BTreeMap::from(answered))])
}

fn foreign_indexes(name: &str, table: &TableDescription) -> Found {
    let of_index = |index: &aws_sdk_dynamodb::types::GlobalSecondaryIndexDescription| {
        let index_name = index.index_name().unwrap_or_default();
        let bytes = index.index_size_bytes().unwrap_or(0);
        let symptom = Symptom::new(
            format!("index {index_name} of {name}"),
            Urgency::Medium,
            format!(
                "Headwater does not read it, and every write to the table is one to it, too; it takes {bytes} bytes"
            ),
            &[&format!(
                "aws dynamodb update-table --table-name {name} --global-secondary-index-updates \
                 '[{{\"Delete\":{{\"IndexName\":\"{index_name}\"}}}}]'"
            )],
        );
        (symptom, BTreeMap::from([("IndexSizeBytes".to_owned(), bytes.to_string())]))
    };
    table.global_secondary_indexes().iter().map(of_index).collect()
}

/// What spreads the writes to a table of a view over so many keys.
fn spread(table: &str, parts: usize) -> String {
    match table.strip_suffix(".index") {
        Some(of) => format!(
            "in the file: let the ranking or range of the view in {of} be apart by a column (within) that has {parts} values at least"
        ),
        None => "in the file: leave out of the document (columns, a smaller limit) what changes all the time, or hold it in a view of its own \
                 in a store in memory"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// DynamoDB Local does not know it, so this is as the service describes a table.
    #[test]
    fn a_table_is_protected_or_not_or_it_is_not_known() {
        let table =
            |protected| TableDescription::builder().set_deletion_protection_enabled(protected).build();
        assert!(unprotected("t", &table(Some(true))).unwrap().is_empty());
        let found = unprotected("t", &table(Some(false))).unwrap();
        assert!(found[0].0.remedy[0].ends_with("--table-name t --deletion-protection-enabled"));
        assert!(found[0].0.undo[0].ends_with("--no-deletion-protection-enabled"));
        assert_eq!(unprotected("t", &table(None)).err().unwrap().kind(), ErrorKind::Unsupported);
    }
}
