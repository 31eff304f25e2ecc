//! Rows to the server, and what a step that broke off has left there.
//!
//! Points of series go first, then the directory, then points that are no longer true: whoever finds a document by its key
//! finds its point too. Before all of that the state says in which stretch of time they are.
//!
//! A successor goes through that stretch: what a series has newer than the directory becomes true, and what the directory
//! does not have goes. Then it is as if the step had written some of its keys, and its replay writes the others.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use headwater_model::{Listed, Result, View};
use serde_json::Value as Json;

use super::client::Client;
use super::directory::{self, Bucket, PROBES};
use super::place::{self, FIELD, Place, SLOTS, series_of};
use super::record::{Record, Version};
use super::state::{self, Flight, Reach, State};
use super::step::{Changes, Spot, Step};
use super::{failure, line, scan};

/// Points that are looked at together.
const PAGE: usize = 500;

/// What is to be written of one view.
struct Plan {
    view: Arc<View>,
    cleared: bool,
    rows: Vec<Ready>,
    removals: Vec<Place>,
    /// The earliest and the latest point that comes or goes.
    reach: Option<(i64, i64)>,
}

/// A row that is to be written.
struct Ready {
    order: Order,
    /// What both of its points hold.
    record: String,
    /// In the directory.
    time: i64,
    spot: Option<Spot>,
}

/// When a row comes into the directory: what takes fields along from under another key before that key changes, in its order;
/// what goes, last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    Moved(usize),
    Stays,
    Goes,
}

impl Ready {
    fn point(&self) -> Option<String> {
        let spot = self.spot.as_ref()?;
        Some(place::point(&spot.series, &spot.natives, spot.time, &self.record))
    }
}

pub(super) async fn write(step: &mut Step, views: Vec<Changes>, version: Version) -> Result<()> {
    let plans: Vec<Plan> = views.into_iter().map(|changes| plan(changes, version)).collect::<Result<_>>()?;
    if plans.iter().all(|plan| !plan.cleared && plan.rows.is_empty()) {
        return Ok(());
    }
    let shared = Arc::clone(&step.shared);
    let client = &shared.client;
    let now = state::owned(client, &step.state).await?;
    let flight = announce(&plans, now.flight.clone(), version);
    if flight.is_some() {
        let removals = now.removals + u64::from(flight.as_ref().is_some_and(|flight| flight.removes));
        step.state = State { flight, removals, ..now };
        state::write(client, &step.state).await?;
    }
    for plan in plans {
        if plan.cleared {
            for measurement in [directory::measurement(&plan.view.name), place::measurement(&plan.view.name)]
            {
                drop_measurement(client, &measurement).await?;
            }
        }
        client.write_in_any_order(&mut plan.rows.iter().filter_map(Ready::point)).await?;
        write_directory(client, &plan).await?;
        remove(client, &plan.view, plan.removals).await?;
    }
    Ok(())
}

async fn write_directory(client: &Client, plan: &Plan) -> Result<()> {
    let (moved, rest) = plan.rows.split_at(plan.rows.partition_point(|row| row.order < Order::Stays));
    let (stays, goes) = rest.split_at(rest.partition_point(|row| row.order < Order::Goes));
    let point =
        |row: &Ready| directory::point(&plan.view.name, row.time, &row.record, row.order == Order::Goes);
    client.write(&mut moved.iter().map(point)).await?;
    client.write_in_any_order(&mut stays.iter().map(point)).await?;
    client.write_in_any_order(&mut goes.iter().map(point)).await
}

fn plan(changes: Changes, version: Version) -> Result<Plan> {
    let Changes { view, cleared, rows, .. } = changes;
    let mut plan =
        Plan { view, cleared, rows: Vec::with_capacity(rows.len()), removals: Vec::new(), reach: None };
    for (key, row) in rows {
        let (is_gone, stored) = (row.document.is_none(), row.stored);
        if stored.as_ref().is_some_and(|stored| version.yields_to(stored.version))
            || (is_gone && stored.is_none())
        {
            continue;
        }
        let (json, spot) = row.document.map_or((None, None), |document| (Some(document.json), document.spot));
        let place = spot.as_ref().map(|spot| Place { entry: spot.entry.clone(), time: spot.time });
        let record = Record { key, version, document: json, place };
        let reach = |plan: &mut Plan, time: i64| {
            let (from, to) = plan.reach.unwrap_or((time, time));
            plan.reach = Some((from.min(time), to.max(time)));
        };
        if let Some(spot) = &spot {
            reach(&mut plan, spot.time);
        }
        if let Some(old) = stored.and_then(|stored| stored.place)
            && !record.place.as_ref().is_some_and(|new| is_same(new, &old))
        {
            reach(&mut plan, old.time);
            plan.removals.push(old);
        }
        let order = match row.moved {
            _ if is_gone => Order::Goes,
            Some(number) => Order::Moved(number),
            None => Order::Stays,
        };
        plan.rows.push(Ready { order, record: record.field()?, time: row.time, spot });
    }
    plan.rows.sort_by_key(|row| row.order);
    Ok(plan)
}

fn is_same(a: &Place, b: &Place) -> bool {
    a.time == b.time && a.entry.part() == b.entry.part()
}

/// What these plans, and what was written before them in the same step, make of points. `None`: nothing.
fn announce(plans: &[Plan], before: Option<Flight>, version: Version) -> Option<Flight> {
    let mut flight = before.unwrap_or_default();
    for plan in plans {
        flight.removes |= plan.cleared || !plan.removals.is_empty();
        if let (Some((from, to)), Some(series)) = (plan.reach, series_of(&plan.view)) {
            let reach = flight.reaches.entry(plan.view.name.clone());
            let reach = reach.or_insert_with(|| Reach { from, to, tags: series.tags.clone() });
            reach.from = reach.from.min(from);
            reach.to = reach.to.max(to);
        }
    }
    // Readers tell what is in flight by its offset, and a part of a transaction has none yet.
    flight.removes |= version.part > 0 && !flight.reaches.is_empty();
    (flight.removes || !flight.reaches.is_empty()).then_some(flight)
}

/// All points of a measurement, with what the server knows of its tags and fields if we may.
async fn drop_measurement(client: &Client, measurement: &str) -> Result<()> {
    let name = line::identifier(measurement);
    match client.ask_one(format!("DROP MEASUREMENT {name}")).await {
        Err(error) if failure::is_unknown_measurement(&error) => Ok(()),
        // For administrators only, in InfluxDB 1.x; this one keeps the types of the fields.
        Err(error) if error.kind() == headwater_model::ErrorKind::Denied => {
            client.ask_one(format!("DROP SERIES FROM {name}")).await.map(drop)
        }
        other => other.map(drop),
    }
    .map_err(|e| e.while_doing(format!("empty the measurement {measurement:?}")))
}

/// Takes points away. A stretch of a series that goes as a whole is one statement: each costs the server some milliseconds.
async fn remove(client: &Client, view: &View, removals: Vec<Place>) -> Result<()> {
    let Some(series) = series_of(view) else { return Ok(()) };
    let name = line::identifier(&place::measurement(&view.name));
    let mut by_tags: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for old in removals {
        let tags = place::tags(&series.tags, old.entry.part())?;
        by_tags.entry(place::tagged(&tags)).or_default().push(old.time);
    }
    let within =
        |tags: &str, from: i64, to: i64| format!("FROM {name} WHERE {tags}time >= {from} AND time <= {to}");
    let mut counts = Vec::new();
    for (tags, times) in &mut by_tags {
        times.sort_unstable();
        times.dedup();
        if let [first, .., last] = times[..] {
            counts.push(format!("SELECT count({}) {}", line::identifier(FIELD), within(tags, first, last)));
        }
    }
    let mut counted = client.ask(&counts).await?.into_iter();
    let mut deletes = Vec::new();
    for (tags, times) in &by_tags {
        let there = match times.len() {
            0 | 1 => None,
            _ => counted.next().and_then(|rows| rows.first()?.get(1)?.as_u64()),
        };
        match times[..] {
            [first, .., last] if there == Some(times.len() as u64) => {
                deletes.push(format!("DELETE {}", within(tags, first, last)));
            }
            _ => deletes.extend(times.iter().map(|time| format!("DELETE {}", within(tags, *time, *time)))),
        }
    }
    client.ask(&deletes).await.map_err(|e| e.while_doing(format!("delete points of {name}")))?;
    Ok(())
}

/// Makes the series what the directory says, where a step broke off; the state then says that nothing is in flight.
pub(super) async fn recover(client: &Client, state: State) -> Result<State> {
    let Some(flight) = &state.flight else { return Ok(state) };
    for (view, reach) in &flight.reaches {
        for forward in [true, false] {
            let mut pages = scan::points(view, reach);
            while let Some(rows) = pages.next(client, PAGE).await? {
                tidy(client, view, &reach.tags, rows, forward).await?;
            }
        }
    }
    // Readers that began before may have seen what went.
    let now = State { flight: None, removals: state.removals + 1, ..state };
    state::write(client, &now).await?;
    Ok(now)
}

/// `forward`: what is newer than the directory becomes true. Otherwise what the directory does not have goes.
async fn tidy(
    client: &Client,
    view: &str,
    tags: &[Box<str>],
    rows: Vec<Vec<Json>>,
    forward: bool,
) -> Result<()> {
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        // What is not ours is left to verification.
        found.extend(Record::of_row(row).ok().map(|found| (found, row)));
    }
    let questions: Vec<String> =
        found.iter().map(|((_, record), _)| directory::question(view, &record.key)).collect();
    let buckets = client
        .ask_in_any_order(&questions)
        .await?
        .into_iter()
        .map(Bucket::read)
        .collect::<Result<Vec<Bucket>>>()?;
    let mut newer: HashMap<String, (i64, Record)> = HashMap::new();
    let mut deletes = Vec::new();
    for (((time, record), row), bucket) in found.into_iter().zip(buckets) {
        let known = bucket.of(&record.key);
        if forward {
            let is_newer =
                |than: Option<&(i64, Record)>| than.is_none_or(|(_, than)| record.version > than.version);
            if is_newer(known) && is_newer(newer.get(&record.key)) {
                let first = directory::time(&record.key);
                let free = || (first..first + PROBES).find(|time| !bucket.is_taken(*time));
                let at = known.map(|(time, _)| *time).or_else(free);
                newer.extend(at.map(|at| (record.key.clone(), (at, record))));
            }
            continue;
        }
        let place = known.and_then(|(_, known)| known.place.as_ref().filter(|_| known.document.is_some()));
        if place.is_some_and(|place| place.time == time && record.place.as_ref() == Some(place)) {
            continue;
        }
        let name = line::identifier(&place::measurement(view));
        deletes.push(format!("DELETE FROM {name} WHERE {}", scan::exactly(tags, row)));
    }
    let mut points = Vec::with_capacity(newer.len());
    for (time, record) in newer.values() {
        points.push(directory::point(view, *time, &record.field()?, record.document.is_none()));
    }
    client.write(&mut points.into_iter()).await?;
    client.ask(&deletes).await?;
    Ok(())
}

/// Takes points out of the series that are no document's.
pub(super) async fn unplace(step: &mut Step, view: &Arc<View>, strays: &[Listed]) -> Result<()> {
    let Some(series) = series_of(view) else { return Ok(()) };
    let shared = Arc::clone(&step.shared);
    let client = &shared.client;
    let name = line::identifier(&place::measurement(&view.name));
    let mut deletes = Vec::new();
    for stray in strays {
        match stray {
            Listed::Entry(entry) => {
                let entry = crate::entries::Entry::from(entry);
                let Ok(micros) = place::micros(&entry) else { continue };
                let condition = place::tagged(&place::tags(&series.tags, entry.part())?);
                let first = micros * SLOTS;
                let question = format!(
                    "SELECT {} FROM {name} WHERE {condition}time >= {first} AND time < {}",
                    line::identifier(FIELD),
                    first + SLOTS
                );
                for row in client.ask_one(question).await? {
                    let (time, record) = Record::of_row(&row)?;
                    if record.place.is_some_and(|place| place.entry == entry) {
                        deletes.push(format!("DELETE FROM {name} WHERE {condition}time = {time}"));
                    }
                }
            }
            Listed::Foreign(words) => {
                let condition = String::from_utf8_lossy(words);
                deletes.push(format!("DELETE FROM {name} WHERE {condition}"));
            }
        }
    }
    let now = state::owned(client, &step.state).await?;
    let mut flight = now.flight.clone().unwrap_or_default();
    flight.removes = true;
    step.state = State { flight: Some(flight), removals: now.removals + 1, ..now };
    state::write(client, &step.state).await?;
    client.ask(&deletes).await.map_err(|e| e.while_doing(format!("delete points of {name}")))?;
    Ok(())
}
