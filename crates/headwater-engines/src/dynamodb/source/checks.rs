//! Whether streams are read in time: DynamoDB deletes a record after 24 hours, read or not, and what was deleted unread is a gap.
//! Asked from outside, of what lies in the account: also while nobody follows. And whether one key takes too many of the writes that an
//! instance hears of.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_dynamodbstreams::Client as Streams;
use aws_sdk_dynamodbstreams::types::ShardIteratorType;
use futures::{StreamExt as _, TryStreamExt as _};
use headwater_model::exam::{Check, ExamBudget, Examination, Examine, Urgency};
use headwater_model::file::SourceSection;
use headwater_model::{ErrorKind, Result};

use super::config::Options;
use super::follow::{self, RECORDS_MAX, REQUESTS_MAX, Refusal};
use super::shards::Place;
use super::state::{Checkpoint, Join, State, now_ms};
use crate::checks::{Found, Limits, Symptom, evidence, limit, page, record};
use crate::dynamodb::checks::nobody_counts;
use crate::dynamodb::client::{connect, connect_streams};
use crate::dynamodb::judge;

const HOUR_MS: i64 = 3_600_000;

/// So long before the end it is no longer a matter for this week.
const NEARLY_GONE_MS: i64 = 18 * HOUR_MS;

/// Answers of a shard may be empty although more comes.
const PAGES_MAX: usize = 5;

const LATE: Check = Check {
    id: "HW5010",
    page: page!("HW5010"),
    asks: "Query of Headwater's own table, GetRecords of each shard that is followed",
    limits: &[limit("hours", 12.0)],
};

const HOT: Check = Check {
    id: "HW5011",
    page: page!("HW5011"),
    asks: "the running instance: traffic of the source's tables",
    limits: judge::HOT_LIMITS,
};

pub(crate) fn checks() -> Vec<&'static Check> {
    vec![&LATE, &HOT]
}

/// Examines the streams of one source, with the credentials that the source has.
pub(crate) struct Examiner {
    options: Options,
}

impl Examiner {
    pub(crate) fn of_source(section: &SourceSection) -> Result<Examiner> {
        Ok(Examiner { options: Options::new(section)? })
    }

    async fn late(&self, limits: &Limits<'_>) -> Result<Found> {
        let config = &self.options.config;
        let state = State::new(connect(config).await, &config.prefix, &self.options.follower);
        // Nobody has followed yet.
        let Some(lease) = state.lease().await? else { return Ok(Found::new()) };
        let late_ms = (limits.of("hours") * HOUR_MS as f64) as i64;
        let mut found = Found::new();
        let silent_ms = now_ms() - lease.at_ms;
        if silent_ms >= late_ms {
            let what = format!(
                "nobody has followed its tables for {}; after 24 hours what was written meanwhile is deleted, and every table is \
                 read again",
                hours(silent_ms)
            );
            let symptom = Symptom::new(
                format!("follower {}", self.options.follower),
                urgency(silent_ms),
                what,
                &["headwater run"],
            );
            found.push((symptom, evidence(&[("silent_ms", silent_ms)])));
        }
        let read = match state.newest().await? {
            Some(number) => state.checkpoint(number).await?.unwrap_or_default(),
            None => Checkpoint::new(),
        };
        let streams = connect_streams(config, self.options.streams_endpoint.as_deref()).await;
        for (table, join) in state.joins().await? {
            match oldest(&streams, &table, &join, &read).await {
                Ok(Some(made_ms)) if now_ms() - made_ms >= late_ms => {
                    let age_ms = now_ms() - made_ms;
                    let what = format!(
                        "the oldest record of its stream that is not read is {} old; after 24 hours it is deleted, and the table is \
                         read again",
                        hours(age_ms)
                    );
                    let remedy = [
                        "headwater status: what holds the source up, a full journal or requests that are throttled",
                        "headwater run, if none runs",
                    ];
                    let symptom = Symptom::new(format!("table {table}"), urgency(age_ms), what, &remedy);
                    found.push((symptom, evidence(&[("age_ms", age_ms)])));
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::OutOfStep => {
                    let remedy = ["headwater run: the gap is declared, and the table is read again in place"];
                    let symptom =
                        Symptom::new(format!("table {table}"), Urgency::Critical, error.to_string(), &remedy);
                    found.push((symptom, BTreeMap::new()));
                }
                // Its stream was switched off: whoever follows says so.
                Err(error) if error.kind() == ErrorKind::Transient => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

#[async_trait]
impl Examine for Examiner {
    async fn examine(&self, budget: &ExamBudget) -> Result<Examination> {
        let mut examination = Examination { server: "DynamoDB".to_owned(), ..Examination::default() };
        if budget.wants(&LATE) {
            self.look_at_streams(budget, &mut examination).await?;
        }
        if budget.wants(&HOT) {
            look_at_keys(budget, &mut examination);
        }
        Ok(examination)
    }
}

impl Examiner {
    async fn look_at_streams(&self, budget: &ExamBudget, examination: &mut Examination) -> Result<()> {
        let limits = Limits { check: &LATE, set: &budget.limits };
        let looked = tokio::time::timeout(budget.each, self.late(&limits)).await;
        let remedy = "allow what following takes: docs/engines/dynamodb.md";
        record(examination, &LATE, budget, looked, (&[ErrorKind::Denied], remedy.to_owned()))
    }
}

fn look_at_keys(budget: &ExamBudget, examination: &mut Examination) {
    let Some(traffic) = &budget.traffic else {
        return examination.skipped.push(nobody_counts(&HOT));
    };
    let limits = Limits { check: &HOT, set: &budget.limits };
    let divide = |parts: usize| {
        format!(
            "in the application: write under one of {parts} keys instead (KEY#0 to KEY#{}, by chance or by a hash), and read all of them",
            parts - 1
        )
    };
    examination.made += 1;
    let found = traffic.iter().filter_map(|of| judge::hot(of, &limits, divide)).take(budget.findings_max);
    let asked = HOT.asks_within(&budget.limits);
    examination.found.extend(found.map(|(symptom, answered)| symptom.diagnosis(&HOT, &asked, answered)));
}

/// When the oldest record of a table was made that is not read yet.
async fn oldest(streams: &Streams, table: &str, join: &Join, read: &Checkpoint) -> Result<Option<i64>> {
    let read = read.get(table).filter(|read| read.join == join.id);
    let shards = read.map_or(&join.shards, |read| &read.shards);
    let mut asked = Vec::new();
    for (shard, place) in &shards.0 {
        if *place != Place::Done {
            asked.push(unread(streams, &join.stream, shard, place));
        }
    }
    let made: Vec<Option<i64>> = futures::stream::iter(asked)
        .buffer_unordered(REQUESTS_MAX)
        .try_collect()
        .await
        .map_err(|refusal: Refusal| refusal.of(table))?;
    Ok(made.into_iter().flatten().min())
}

/// The same of a shard.
async fn unread(streams: &Streams, arn: &str, shard: &str, place: &Place) -> Result<Option<i64>, Refusal> {
    let (kind, number, behind_ms, records) = match place {
        Place::After(number) => (ShardIteratorType::AfterSequenceNumber, Some(number.clone()), i64::MIN, 1),
        Place::Joined(ms) | Place::Behind(ms) => (ShardIteratorType::TrimHorizon, None, *ms, RECORDS_MAX),
        Place::Start | Place::Done => (ShardIteratorType::TrimHorizon, None, i64::MIN, 1),
    };
    let mut next = Some(follow::iterator(streams, arn, shard, kind, number).await?);
    for _ in 0..PAGES_MAX {
        let Some(from) = next else { break };
        let page = streams.get_records().shard_iterator(from).limit(records).send().await;
        let page = page.map_err(|e| Refusal::new("read", e))?;
        let made = page.records().iter().filter_map(|record| {
            let at = record.dynamodb()?.approximate_creation_date_time()?;
            at.to_millis().ok()
        });
        if let Some(made_ms) = made.filter(|made_ms| *made_ms > behind_ms).min() {
            return Ok(Some(made_ms));
        }
        next = page.next_shard_iterator;
    }
    Ok(None)
}

fn urgency(age_ms: i64) -> Urgency {
    if age_ms >= NEARLY_GONE_MS { Urgency::Critical } else { Urgency::High }
}

fn hours(ms: i64) -> String {
    match ms / HOUR_MS {
        0 => format!("{} minutes", ms / 60_000),
        hours => format!("{hours} hours"),
    }
}
