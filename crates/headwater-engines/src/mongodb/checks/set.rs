//! The members of the replica set, and their log.

use std::collections::BTreeMap;

use headwater_model::exam::Urgency;
use headwater_model::{ErrorKind, Result};
use mongodb::bson::{Document, doc};

use super::super::server::batch;
use super::{Asks, number, quoted};
use crate::checks::{Found, Limits, Symptom, evidence};

/// `replSetResizeOplog` takes no less.
const LOG_MB_MIN: f64 = 990.0;

/// A log that is not full yet tells by how it has grown, after so long.
const GROWN_HOURS: f64 = 1.0;
const NEARLY_FULL: f64 = 0.8;

/// A remedy makes the log so many times larger, at most.
const TIMES_MAX: f64 = 20.0;

const MB: f64 = 1_048_576.0;

/// States in which a member is as it should be: primary, secondary, arbiter
/// (<https://www.mongodb.com/docs/manual/reference/replica-states/>).
const WELL: [f64; 3] = [1.0, 2.0, 7.0];

impl Asks<'_> {
    pub(super) async fn short_log(&self, limits: &Limits<'_>) -> Result<Found> {
        let local = self.server.beside("local");
        let mut ends = [0.0; 2];
        for (end, direction) in ends.iter_mut().zip([1, -1]) {
            let asked = doc! {
                "find": "oplog.rs",
                "projection": { "ts": 1 },
                "sort": { "$natural": direction },
                "limit": 1,
                "singleBatch": true,
            };
            let found = batch(self.ask_of(&local, asked).await?);
            // A server that is alone has none.
            let Some(Ok(ts)) = found.first().map(|entry| entry.get_timestamp("ts")) else {
                return Ok(Found::new());
            };
            *end = f64::from(ts.time);
        }
        let stats = self.ask_of(&local, doc! { "collStats": "oplog.rs" }).await?;
        let of = |field: &str| number(stats.get(field)).unwrap_or_default();
        let (size, max) = (of("size"), of("maxSize"));
        let held = (ends[1] - ends[0]) / 3_600.0;
        if size <= 0.0 || (size < NEARLY_FULL * max && held < GROWN_HOURS) {
            return Ok(Found::new());
        }
        let hours = held * (max / size).max(1.0);
        let wanted = limits.of("hours");
        if hours >= wanted {
            return Ok(Found::new());
        }
        // Twice what is wanted, for a busier day; but one such hour says nothing of all others.
        let megabytes = |bytes: f64| (bytes / MB).ceil().max(LOG_MB_MIN);
        let enough = megabytes(max * (2.0 * wanted / hours).min(TIMES_MAX));
        let resize =
            |megabytes: f64| format!("db.adminCommand({{ replSetResizeOplog: 1, size: {megabytes:.1} }})");
        let symptom = Symptom::new(
            "oplog",
            if hours < wanted / 4.0 { Urgency::High } else { Urgency::Medium },
            format!("holds {hours:.1} hours of changes: a member that is away for longer has to copy everything anew"),
            &[&resize(enough)],
        )
        .undo(resize(megabytes(max)));
        let answered =
            [("hours", format!("{hours:.4}")), ("size", size.to_string()), ("maxSize", max.to_string())];
        Ok(vec![(symptom, evidence(&answered))])
    }

    pub(super) async fn members(&self, limits: &Limits<'_>) -> Result<Found> {
        let status = match self.ask_admin(doc! { "replSetGetStatus": 1 }).await {
            Ok(status) => status,
            Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(Found::new()),
            Err(error) => return Err(error),
        };
        let members = documents(&status, "members");
        let moment =
            |member: &Document| member.get_datetime("optimeDate").map_or(0, |at| at.timestamp_millis());
        let newest = members.iter().map(moment).max().unwrap_or_default();
        let mut found = Found::new();
        for member in &members {
            let name = member.get_str("name").unwrap_or_default();
            let state = member.get_str("stateStr").unwrap_or("unknown").to_lowercase();
            let code = number(member.get("state")).unwrap_or_default();
            let lag = (newest - moment(member)) as f64 / 1_000.0;
            let is_down = number(member.get("health")) == Some(0.0);
            let (urgency, what) = if is_down {
                (
                    Urgency::High,
                    "does not answer the others: the set can lose one member less than it should".to_owned(),
                )
            } else if !WELL.contains(&code) {
                (Urgency::Medium, format!("is {state}, and neither takes over nor answers"))
            } else if code == 2.0 && lag >= limits.of("lag_seconds") {
                (
                    Urgency::Medium,
                    format!(
                        "is {lag:.0} s behind: writes that wait for a majority may wait for it, and what it answers is old"
                    ),
                )
            } else {
                continue;
            };
            let symptom = Symptom::new(
                format!("member {name}"),
                urgency,
                what,
                &[
                    "// look at that member's log, disk and network, and start it again",
                    &format!("rs.remove({})  // if it is not to come back", quoted(name)),
                ],
            );
            let answered = [("state", state), ("lag_seconds", format!("{lag:.0}"))];
            found.push((symptom, evidence(&answered)));
        }
        Ok(found)
    }

    pub(super) async fn one_failure(&self) -> Result<Found> {
        if !self.server.is_replicated {
            let symptom = Symptom::new(
                "the server",
                Urgency::Medium,
                "is no member of a replica set: while it is down the store is down, and what its disk loses is lost",
                &["// in its configuration: replication.replSetName: \"rs0\", then", "rs.initiate()", ADD],
            );
            return Ok(vec![(symptom, BTreeMap::new())]);
        }
        let answer = self.ask_admin(doc! { "replSetGetConfig": 1 }).await?;
        let members =
            answer.get_document("config").map(|config| documents(config, "members")).unwrap_or_default();
        let voters = Voters::of(&members);
        let Some(what) = voters.stopped_by_one() else { return Ok(Found::new()) };
        let symptom = Symptom::new("replica set", Urgency::Medium, what, &[ADD]);
        let answered = [("voters", voters.all), ("with_data", voters.with_data)];
        Ok(vec![(symptom, evidence(&answered))])
    }
}

const ADD: &str = "rs.add(\"another-host:27017\")  // until three members have the data";

fn documents(of: &Document, field: &str) -> Vec<Document> {
    let found =
        of.get_array(field).map(|found| found.iter().filter_map(|one| one.as_document().cloned()).collect());
    found.unwrap_or_default()
}

/// Members that vote.
struct Voters {
    all: usize,
    with_data: usize,
}

impl Voters {
    fn of(members: &[Document]) -> Voters {
        let votes = |member: &&Document| number(member.get("votes")) != Some(0.0);
        let has_data = |member: &&Document| !member.get_bool("arbiterOnly").unwrap_or(false);
        let all = members.iter().filter(votes);
        Voters { all: all.clone().count(), with_data: all.filter(has_data).count() }
    }

    /// What ends when one of those with data is away.
    fn stopped_by_one(&self) -> Option<String> {
        let (majority, left) = (self.all / 2 + 1, self.with_data.saturating_sub(1));
        if left >= majority {
            return None;
        }
        Some(match (self.all, self.all > majority) {
            (1, _) => "has one member that votes: while it is down there is no primary, and the store stands"
                .to_owned(),
            (_, true) => format!(
                "{} of {} members that vote are arbiters: with one of the others away no write reaches a majority, and the store stands",
                self.all - self.with_data,
                self.all
            ),
            (_, false) => format!(
                "of {} that vote a majority is {majority}: with one away there is no primary, and the store stands",
                self.all
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_that_one_failure_stops_is_known() {
        let plain = || doc! { "votes": 1 };
        let arbiter = || doc! { "votes": 1, "arbiterOnly": true };
        let silent = || doc! { "votes": 0 };
        let stopped = |members: &[Document]| Voters::of(members).stopped_by_one();
        assert!(stopped(&[plain(), plain(), plain()]).is_none());
        assert!(stopped(&[plain(), plain(), plain(), plain(), arbiter()]).is_none());
        assert!(stopped(&[plain(), plain(), plain(), silent()]).is_none());
        assert!(
            stopped(&[plain(), plain(), arbiter()])
                .is_some_and(|what| what.contains("1 of 3 members that vote are arbiters"))
        );
        assert!(stopped(&[plain(), silent()]).is_some_and(|what| what.contains("one member that votes")));
        for members in [vec![plain(), plain()], vec![plain(), plain(), silent()]] {
            assert!(stopped(&members).is_some_and(|what| what.contains("no primary")), "{members:?}");
        }
    }
}
