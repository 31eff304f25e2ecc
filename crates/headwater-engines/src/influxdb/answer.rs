//! Access patterns. The position is read first, then what is asked for: an answer shows what the store held there, or
//! something newer.
//!
//! A series is believed as it is, but for points that are newer than the position: those are in flight, and the directory says
//! what is true of their documents. While points are taken away a reader waits: it could miss a document that moves.

use std::collections::BTreeMap;
use std::time::Duration;

use headwater_model::sort::read_sort;
use headwater_model::{
    Answer, AnswerMoment, Astray, Error, Found, Held, Key, RangeRead, Read, Result, Standing, Stored,
    StoredBody, View,
};
use tokio::time::{Instant, sleep};

use super::client::Client;
use super::directory::{self, Bucket};
use super::line;
use super::place::{self, FIELD, SLOTS, series_of};
use super::record::Record;
use super::scan::{self, Pages};
use super::state::{self, State};
use crate::entries::{self, Entry};
use crate::span::Span;

/// Points in one request.
const POINTS_MAX: usize = 10_000;

/// How long a reader waits for points to be gone.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

pub(super) async fn answer(client: &Client, read: &Read) -> Result<Answer> {
    let (held, found) = match read {
        Read::Get { view, keys } => get(client, view, keys).await?,
        Read::Range(read) => range(client, read).await?,
        Read::Walk(_) => return Err(Error::unsupported("InfluxDB has no edges to walk along")),
    };
    Ok(Answer { at: AnswerMoment::AtLeast(held), found })
}

/// The records of keys, and the state before.
async fn look(client: &Client, view: &View, keys: &[String]) -> Result<(State, Vec<Option<Record>>)> {
    let mut questions = vec![state::question(client)];
    questions.extend(keys.iter().map(|key| directory::question(&view.name, key)));
    let mut answers = client.ask(&questions).await?.into_iter();
    let state = state::answered(&answers.next().unwrap_or_default())?.ok_or_else(state::empty)?;
    let record = |(key, rows): (&String, _)| {
        let bucket = Bucket::read(rows)?;
        Ok(bucket.of(key).map(|(_, record)| record.clone()).filter(|record| record.document.is_some()))
    };
    Ok((state, keys.iter().zip(answers).map(record).collect::<Result<_>>()?))
}

async fn get(client: &Client, view: &View, keys: &[Key]) -> Result<(Held, Found)> {
    let keys: Vec<String> = keys.iter().map(Key::to_text).collect();
    let (state, records) = look(client, view, &keys).await?;
    let body = |record: Option<Record>| record.and_then(|record| record.document).map(StoredBody::Json);
    Ok((state.held, Found::Documents(records.into_iter().map(body).collect())))
}

async fn range(client: &Client, read: &RangeRead) -> Result<(Held, Found)> {
    let view = &*read.view;
    let series = series_of(view).filter(|_| read.index == 0).ok_or_else(|| {
        Error::unsupported(format!("InfluxDB keeps no order of the view \"{}\" but a series' own", view.name))
    })?;
    let Some(span) = Span::of(read)? else {
        let state = state::read(client).await?.ok_or_else(state::empty)?;
        return Ok((state.held, Found::Page { documents: Vec::new(), next: None }));
    };
    let tags = place::tags(&series.tags, &span.part)?;
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = Stretch::new(read, &span, &tags)?.read(client).await? {
            return Ok(answer);
        }
        wait(until).await?;
    }
}

/// Until points are gone, perhaps.
async fn wait(until: Instant) -> Result<()> {
    if Instant::now() > until {
        return Err(Error::transient(
            "points of series are taken away all the time, and an answer could miss some",
        ));
    }
    sleep(PAUSE).await;
    Ok(())
}

/// Whether what was read between these two states may lack something.
fn is_torn(first: &State, last: &State) -> bool {
    first.removes() || last.removes() || first.removals != last.removals
}

/// One try to answer.
struct Stretch<'r> {
    read: &'r RangeRead,
    span: &'r Span,
    pages: Pages,
    /// By the bytes that they are sorted by, with their microsecond.
    found: BTreeMap<Vec<u8>, (i64, Stored)>,
}

impl<'r> Stretch<'r> {
    fn new(read: &'r RangeRead, span: &'r Span, tags: &[(String, String)]) -> Result<Stretch<'r>> {
        let time = within(read)?;
        let measurement = place::measurement(&read.view.name);
        let pages =
            Pages::new(line::identifier(FIELD), &measurement, place::tagged(tags), time, read.reverse);
        Ok(Stretch { read, span, pages, found: BTreeMap::new() })
    }

    /// `None`: points went away meanwhile.
    async fn read(mut self, client: &Client) -> Result<Option<(Held, Found)>> {
        let limit = self.read.limit.max(1);
        let mut first: Option<State> = None;
        loop {
            let size = limit.saturating_add(1).min(POINTS_MAX);
            let question = self.pages.question(size);
            let mut answers =
                client.ask(&[state::question(client), question, state::question(client)]).await?.into_iter();
            let mut next = || answers.next().unwrap_or_default();
            let (before, rows, after) = (next(), next(), next());
            let (Some(before), Some(after)) = (state::answered(&before)?, state::answered(&after)?) else {
                return Err(state::empty());
            };
            let first = first.get_or_insert(before);
            if is_torn(first, &after) {
                return Ok(None);
            }
            let rows = if self.pages.is_done() { Vec::new() } else { self.pages.take(rows, size) };
            let mut in_flight = Vec::new();
            for row in &rows {
                let (time, record) = Record::of_row(row)?;
                if record.version.at > after.held.offset {
                    in_flight.push(record.key);
                } else if record.place.as_ref().is_some_and(|place| place.time == time) {
                    self.take(record)?;
                }
            }
            if !in_flight.is_empty() {
                let (_, records) = look(client, &self.read.view, &in_flight).await?;
                for record in records.into_iter().flatten() {
                    self.take(record)?;
                }
            }
            let edge = if self.read.reverse { self.pages.to - 1 } else { self.pages.from };
            let edge = edge.div_euclid(SLOTS);
            let (is_done, reverse) = (self.pages.is_done(), self.read.reverse);
            // Rows of one microsecond are sorted by key, and lie in the order in which they came.
            let is_passed = |micros: i64| is_done || if reverse { micros > edge } else { micros < edge };
            let passed = self.found.values().filter(|(micros, _)| is_passed(*micros)).count();
            if passed > limit || is_done {
                self.found.retain(|_, (micros, _)| is_passed(*micros));
                let held = first.held.clone();
                return Ok(Some((held, self.page(limit))));
            }
        }
    }

    fn take(&mut self, record: Record) -> Result<()> {
        let Some(place) = &record.place else { return Ok(()) };
        let sort = place.entry.sort();
        let is_within = place.entry.part() == self.span.part
            && sort >= &self.span.lower[..]
            && self.span.upper.as_ref().is_none_or(|upper| sort < &upper[..]);
        if is_within {
            let (sort, micros) = (sort.to_vec(), place.time.div_euclid(SLOTS));
            self.found.extend(scan::stored(record).map(|stored| (sort, (micros, stored))));
        }
        Ok(())
    }

    fn page(self, limit: usize) -> Found {
        let is_more = self.found.len() > limit;
        let mut found: Vec<(Vec<u8>, (i64, Stored))> = self.found.into_iter().collect();
        if self.read.reverse {
            found.reverse();
        }
        found.truncate(limit);
        let next = found.last().filter(|_| is_more).map(|(sort, _)| sort.clone());
        Found::Page { documents: found.into_iter().map(|(_, (_, stored))| stored).collect(), next }
    }
}

/// The nanoseconds that a read is about: no fewer than its bounds say, which the bytes then say exactly.
fn within(read: &RangeRead) -> Result<(i64, i64)> {
    let (mut from, mut to) = (i64::MIN, i64::MAX);
    let bounds =
        [read.from.as_ref(), read.to.as_ref()].map(|bound| bound.and_then(|b| place::micros_of(&b.value)));
    if let Some(micros) = bounds[0] {
        from = micros;
    }
    if let Some(micros) = bounds[1] {
        to = micros;
    }
    if let Some(after) = &read.after
        && let (value, _) = read_sort(after, false)?
        && let Some(micros) = place::micros_of(&value)
    {
        match read.reverse {
            true => to = to.min(micros),
            false => from = from.max(micros),
        }
    }
    Ok((place::nanos(from), place::nanos(to.saturating_add(1))))
}

/// Whether documents stand where they should: a point, and in it what the directory has.
pub(super) async fn astray(
    client: &Client,
    view: &View,
    asked: &[Standing],
) -> Result<(AnswerMoment, Vec<Astray>)> {
    let until = Instant::now() + PATIENCE;
    let keys: Vec<String> = asked.iter().map(|standing| standing.key.to_string()).collect();
    loop {
        let (before, records) = look(client, view, &keys).await?;
        let mut told = Vec::with_capacity(asked.len());
        for (standing, record) in asked.iter().zip(records) {
            told.push(compare(client, view, standing, record).await?);
        }
        let after = state::read(client).await?.ok_or_else(state::empty)?;
        // What is in flight is neither here nor there.
        if !is_torn(&before, &after) && before == after && after.flight.is_none() {
            return Ok((AnswerMoment::AtLeast(before.held), told));
        }
        wait(until).await?;
    }
}

async fn compare(
    client: &Client,
    view: &View,
    standing: &Standing,
    record: Option<Record>,
) -> Result<Astray> {
    let Some(series) = series_of(view) else { return Ok(Astray::default()) };
    let remembered: Vec<Entry> =
        record.iter().filter_map(|record| Some(record.place.as_ref()?.entry.clone())).collect();
    let mut questions = Vec::new();
    let wanted = || standing.should.iter().chain(&standing.should_not);
    for entry in wanted().map(Entry::from) {
        let micros = place::micros(&entry).unwrap_or(i64::MAX / SLOTS - 1);
        let first = micros * SLOTS;
        let tags = place::tagged(&place::tags(&series.tags, entry.part())?);
        questions.push(format!(
            "SELECT {} FROM {} WHERE {tags}time >= {first} AND time < {}",
            line::identifier(FIELD),
            line::identifier(&place::measurement(&view.name)),
            first + SLOTS
        ));
    }
    let mut there = Vec::new();
    for (entry, rows) in wanted().zip(client.ask(&questions).await?) {
        let found = rows.iter().map(|row| Record::of_row(row)).collect::<Result<Vec<_>>>()?;
        let own = Entry::from(entry);
        there.push((
            entry,
            found.into_iter().find(|(time, found)| {
                found.key == *entry.key
                    && found.place.as_ref().is_some_and(|place| place.entry == own && place.time == *time)
            }),
        ));
    }
    let has = |entry: &headwater_model::IndexEntry| {
        let found = there.iter().find(|(known, _)| *known == entry).and_then(|(_, found)| found.as_ref());
        let is_wanted = standing.should.contains(entry);
        found.is_some_and(|(_, found)| !is_wanted || Some(found) == record.as_ref())
    };
    Ok(entries::astray(standing, &remembered, has))
}
