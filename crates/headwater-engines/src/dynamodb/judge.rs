//! What traffic means: capacity that is bought and not used, and keys that are nearly more than one partition takes. Of what went through
//! our hands alone; CloudWatch knows what others read and write.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::TableDescription;
use headwater_model::Traffic;
use headwater_model::exam::{Limit, Urgency};

use crate::checks::{Limits, Symptom, evidence, limit};

/// Write units per second of one partition, and so of one key: the service's own limit.
const PARTITION_UNITS: f64 = 1000.0;

/// What is bought should be used so far, as the service's own scaling does it usually.
const TARGET_SHARE: f64 = 0.7;

/// A key is divided so that no part takes more than half of what a partition does.
const PART_UNITS: f64 = PARTITION_UNITS / 2.0;

pub(super) const BOUGHT_LIMITS: &[Limit] = &[limit("hours", 24.0), limit("times", 3.0), limit("units", 10.0)];

pub(super) const HOT_LIMITS: &[Limit] =
    &[limit("units", 700.0), limit("share", 0.5), limit("from_units", 100.0)];

pub(super) type Found = (Symptom, BTreeMap<String, String>);

/// A table with provisioned capacity far above what was used of it.
pub(super) fn bought(table: &TableDescription, traffic: &Traffic, limits: &Limits<'_>) -> Option<Found> {
    let hours = limits.of("hours");
    let provisioned = table.provisioned_throughput()?;
    let units = |units: Option<i64>| units.unwrap_or(0);
    let had = (units(provisioned.read_capacity_units), units(provisioned.write_capacity_units));
    let used = (traffic.read_units_per_second, traffic.write_units_per_second);
    let enough = |had: i64, used: f64| {
        let is_far_more = had as f64 >= limits.of("units") && had as f64 > limits.of("times") * used;
        if is_far_more { ((used / TARGET_SHARE).ceil() as i64).max(1) } else { had }
    };
    let enough = (enough(had.0, used.0), enough(had.1, used.1));
    if enough == had || (traffic.watched_seconds as f64) < hours * 3_600.0 {
        return None;
    }
    let watched = traffic.watched_seconds as f64 / 3_600.0;
    let name = &traffic.table;
    let set = |(reads, writes): (i64, i64)| {
        format!(
            "aws dynamodb update-table --table-name {name} --provisioned-throughput \
             ReadCapacityUnits={reads},WriteCapacityUnits={writes}"
        )
    };
    let what = format!(
        "{} read and {} write units per second are bought; Headwater used {:.1} and {:.1} in its busiest minute of {watched:.1} hours; what \
         others read and write there was not counted",
        had.0, had.1, used.0, used.1
    );
    let on_demand = format!(
        "or, where it comes in bursts: aws dynamodb update-table --table-name {name} --billing-mode PAY_PER_REQUEST"
    );
    let symptom = Symptom::new(format!("table {name}"), Urgency::Medium, what, &[&set(enough), &on_demand]);
    let answered = evidence(&[
        ("ReadCapacityUnits", had.0.to_string()),
        ("WriteCapacityUnits", had.1.to_string()),
        ("read_units_per_second", format!("{:.2}", used.0)),
        ("write_units_per_second", format!("{:.2}", used.1)),
        ("watched_seconds", traffic.watched_seconds.to_string()),
        ("not counted", "readers and writers other than Headwater; scaling by itself".to_owned()),
    ]);
    Some((symptom.undo(set(had)), answered))
}

/// A key that takes most of a table's writes, or nearly all that one partition can. `remedy` is given the number of parts that would do.
pub(super) fn hot(traffic: &Traffic, limits: &Limits<'_>, remedy: impl Fn(usize) -> String) -> Option<Found> {
    let hot = traffic.hottest.as_ref()?;
    let (rate, share) = (hot.write_units_per_second, hot.share);
    let is_near = rate >= limits.of("units");
    if !is_near && (share < limits.of("share") || rate < limits.of("from_units")) {
        return None;
    }
    let name = &traffic.table;
    let mut what = format!(
        "the key {} takes {rate:.0} write units per second in its busiest minute, {:.0} % of what is written to the table; one partition \
         takes {PARTITION_UNITS:.0}",
        hot.key,
        share * 100.0
    );
    let mut answered = vec![
        ("key", hot.key.clone()),
        ("write_units_per_second", format!("{rate:.2}")),
        ("share", format!("{share:.2}")),
    ];
    if let Some(throttled) = &traffic.throttled {
        what.push_str(&format!("; {} writes were throttled, the last to {}", throttled.times, throttled.key));
        answered.push(("throttled", throttled.times.to_string()));
        answered.push(("throttled_key", throttled.key.clone()));
    }
    let urgency = if is_near || traffic.throttled.is_some() { Urgency::High } else { Urgency::Medium };
    let parts = ((rate / PART_UNITS).ceil() as usize).max(2);
    let all = format!(
        "to see every writer's keys: aws dynamodb update-contributor-insights --table-name {name} --contributor-insights-action ENABLE"
    );
    let symptom = Symptom::new(format!("table {name}"), urgency, what, &[&remedy(parts), &all]);
    Some((symptom, evidence(&answered)))
}
