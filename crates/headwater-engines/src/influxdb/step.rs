//! A step: what changed, one row per key, until it is written.
//!
//! Rows wait for `commit`, which knows as of which offset they are. A transaction that is larger than [`BYTES_MAX`] is
//! written before that, in parts.
//!
//! Invariant: what is refused is refused in `write`. So all that decides it is known there: what lies under the key, what a
//! partial document is put over, which tags and types the series has, and which nanoseconds are taken.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use headwater_model::{
    Error, Held, Key, Listed, Record as Fields, Refusal, Result, View, ViewChange, ViewId,
};

use super::directory::{self, Bucket, PROBES};
use super::guard::Guard;
use super::place::{self, FIELD, Native, SLOTS, series_of};
use super::record::{RECORD_BYTES_MAX, Record, Version};
use super::state::{self, State};
use super::store::Shared;
use super::{flush, line};
use crate::entries::{self, Entry};
use crate::filter::{Filter, VIEWS_MAX};
use crate::stored_json;

/// What rows may take while they wait.
const BYTES_MAX: usize = 32 << 20;
/// What a row takes beside its document.
const ROW_BYTES: usize = 512;

pub(super) const KEY_BYTES_MAX: usize = 2_048;
pub(super) const DOCUMENT_BYTES_MAX: usize = 48 << 10;

pub(super) struct Step {
    pub(super) shared: Arc<Shared>,
    /// As of when the step was opened, or last written.
    pub(super) state: State,
    views: HashMap<ViewId, Changes>,
    memory: Memory,
    bytes: usize,
    moves: usize,
    parts: u32,
}

/// Of one view.
pub(super) struct Changes {
    pub(super) view: Arc<View>,
    /// All that the store has is to go first.
    pub(super) cleared: bool,
    pub(super) rows: HashMap<String, Row>,
    /// Times in the directory, and microseconds of series with their nanoseconds, that this step gives to keys.
    times: HashSet<i64>,
    slots: HashMap<Micro, HashSet<i64>>,
}

/// What a key is to have.
pub(super) struct Row {
    /// `None`: nothing any more.
    pub(super) document: Option<Document>,
    /// What the store has under the key.
    pub(super) stored: Option<Record>,
    /// Where the key is in the directory.
    pub(super) time: i64,
    /// The document came from under another key, with fields that only that key's record has: it is written before that
    /// one changes, in this order.
    pub(super) moved: Option<usize>,
    /// Where this step has put it last.
    planned: Option<(Micro, i64)>,
}

pub(super) struct Document {
    pub(super) json: Arc<str>,
    pub(super) spot: Option<Spot>,
}

/// A document's point in its series.
pub(super) struct Spot {
    pub(super) entry: Entry,
    pub(super) natives: Vec<(String, Native)>,
    /// Measurement and tags.
    pub(super) series: String,
    tags: Vec<(String, String)>,
    micros: i64,
    /// In nanoseconds, once it is found.
    pub(super) time: i64,
}

/// A microsecond of a series.
type Micro = (String, i64);

/// What a session knows of the store because nobody else writes there. Lost with a step that fails.
#[derive(Default)]
pub(super) struct Memory {
    views: HashMap<ViewId, OfView>,
}

#[derive(Default)]
struct OfView {
    guard: Option<Guard>,
    /// The view was emptied, and this is all that was put since.
    fresh: Option<Fresh>,
}

#[derive(Default)]
struct Fresh {
    /// [`directory::time`]s.
    keys: Filter,
    /// Of [`Micro`]s.
    micros: Filter,
}

/// What the store has, as far as it was read for one `write`.
#[derive(Default)]
struct Known(HashMap<ViewId, HashMap<String, Bucket>>);

impl Known {
    fn under(&self, view: &View, key: &str) -> Option<&Bucket> {
        self.0.get(&view.name)?.get(key)
    }
}

impl Step {
    pub(super) fn new(shared: Arc<Shared>, state: State, memory: Memory) -> Step {
        Step { shared, state, views: HashMap::new(), memory, bytes: 0, moves: 0, parts: 0 }
    }

    fn changes(&mut self, view: &Arc<View>) -> &mut Changes {
        let changes = self.views.entry(view.name.clone()).or_insert_with(|| Changes {
            view: Arc::clone(view),
            cleared: false,
            rows: HashMap::new(),
            times: HashSet::new(),
            slots: HashMap::new(),
        });
        changes.view = Arc::clone(view);
        changes
    }

    /// Reads what lies under the keys of these changes.
    async fn look(&self, changes: &[ViewChange]) -> Result<Known> {
        let mut cleared: HashSet<&str> = HashSet::new();
        let mut wanted: Vec<(ViewId, String)> = Vec::new();
        let mut asked: HashSet<(&str, String)> = HashSet::new();
        for change in changes {
            let view = change.view();
            let here = self.views.get(&view.name);
            let is_empty = cleared.contains(&*view.name) || here.is_some_and(|here| here.cleared);
            let fresh = self.memory.views.get(&view.name).and_then(|known| known.fresh.as_ref());
            let mut want = |key: &Key| {
                let key = key.to_text();
                let is_known = here.is_some_and(|here| here.rows.contains_key(&key))
                    || fresh.is_some_and(|fresh| !fresh.keys.may_have(&directory::time(&key)));
                if !is_empty && !is_known && asked.insert((&view.name, key.clone())) {
                    wanted.push((view.name.clone(), key));
                }
            };
            match change {
                ViewChange::Put { key, moved_from, .. } => {
                    want(key);
                    moved_from.iter().for_each(want);
                }
                ViewChange::Delete { key, .. } => want(key),
                ViewChange::Clear { .. } => {
                    cleared.insert(&view.name);
                }
            }
        }
        let questions: Vec<String> =
            wanted.iter().map(|(view, key)| directory::question(view, key)).collect();
        let answers = self.shared.client.ask_in_any_order(&questions).await?;
        let mut known = Known::default();
        for ((view, key), rows) in wanted.into_iter().zip(answers) {
            known.0.entry(view).or_default().insert(key, Bucket::read(rows)?);
        }
        Ok(known)
    }

    /// Knows what the series of these changes take.
    async fn guard(&mut self, changes: &[ViewChange]) -> Result<()> {
        for view in changes.iter().map(ViewChange::view) {
            let known = self.memory.views.entry(view.name.clone()).or_default();
            if series_of(view).is_some() && known.guard.is_none() {
                let measurement = place::measurement(&view.name);
                known.guard = Some(Guard::load(&self.shared.client, &measurement).await?);
            }
        }
        Ok(())
    }

    /// What a key has by now: in this step, or in the store.
    fn found<'a>(&'a self, view: &View, key: &str, known: &'a Known) -> Option<(&'a str, Option<&'a Entry>)> {
        let changes = self.views.get(&view.name);
        if let Some(row) = changes.and_then(|changes| changes.rows.get(key)) {
            let document = row.document.as_ref()?;
            return Some((&document.json, document.spot.as_ref().map(|spot| &spot.entry)));
        }
        if changes.is_some_and(|changes| changes.cleared) {
            return None;
        }
        let (_, stored) = known.under(view, key)?.of(key)?;
        Some((stored.document.as_deref()?, stored.place.as_ref().map(|place| &place.entry)))
    }

    /// JSON and place of the document that a put makes. Where it takes fields along from another key, a replay may find that
    /// key's record written by the step that it replays: then the new key has them already.
    fn merged(
        &self,
        view: &View,
        key: &Key,
        (text, from): (&str, Option<&str>),
        fields: &Fields,
        known: &Known,
    ) -> Result<(String, Option<Entry>)> {
        let mut base = self.found(view, from.unwrap_or(text), known);
        if let Some(from) = from {
            let waits = self.views.get(&view.name).is_some_and(|changes| changes.rows.contains_key(from));
            let bucket = known.under(view, from);
            let stored = bucket.and_then(|bucket| bucket.of(from));
            let was_written =
                !waits && stored.is_some_and(|(_, stored)| stored.version.at > self.state.held.offset);
            if was_written && let Some(own) = self.found(view, text, known) {
                base = Some(own);
            }
        }
        let mut json = Vec::with_capacity(256);
        stored_json::write_merged(fields, base.map(|(json, _)| json.as_bytes()), &mut json)?;
        let json =
            String::from_utf8(json).map_err(|e| Error::bug("a document is not UTF-8").with_cause(e))?;
        let entry = match series_of(view) {
            Some(_) => {
                let stored: Vec<Entry> = base.and_then(|(_, entry)| entry.cloned()).into_iter().collect();
                entries::of(view, key, fields, &stored)?.pop()
            }
            None => None,
        };
        Ok((json, entry))
    }

    fn put(
        &mut self,
        view: &Arc<View>,
        key: &Key,
        moved_from: Option<Key>,
        fields: &Fields,
        known: &Known,
    ) -> Result<Option<Refusal>> {
        let text = key.to_text();
        let from = moved_from.map(|from| from.to_text()).filter(|from| *from != text);
        let (json, entry) = self.merged(view, key, (&text, from.as_deref()), fields, known)?;
        let refused = |reason| Ok(Some(Refusal { view: view.name.clone(), key: text.clone(), reason }));
        if let Some(reason) = refuse(&text, &json, entry.as_ref()) {
            return refused(reason);
        }
        let spot = match (series_of(view), entry) {
            (Some(series), Some(entry)) => {
                let guard = self.memory.views.get(&view.name).and_then(|known| known.guard.as_ref());
                let natives = place::natives(series, fields, &json, guard);
                match self.spot(view, &series.tags, entry, natives)? {
                    Ok(spot) => Some(spot),
                    Err(reason) => return refused(reason),
                }
            }
            _ => None,
        };
        let mut moved = None;
        if let Some(from) = from {
            if fields.is_partial() {
                self.moves += 1;
                moved = Some(self.moves);
            }
            self.set(view, from, None, None, known);
        }
        self.bytes += 2 * json.len() + text.len() + ROW_BYTES;
        if self.set(view, text.clone(), Some(Document { json: json.into(), spot }), moved, known) {
            return Ok(None);
        }
        refused(format!(
            "{PROBES} other keys have the same hash, and a place in the directory has no room for more"
        ))
    }

    /// Where the document is to lie, but for the nanosecond; or why it cannot.
    fn spot(
        &mut self,
        view: &View,
        tags: &[Box<str>],
        entry: Entry,
        natives: Vec<(String, Native)>,
    ) -> Result<Result<Spot, String>> {
        let micros = match place::micros(&entry) {
            Ok(micros) => micros,
            Err(reason) => return Ok(Err(reason)),
        };
        let tags = place::tags(tags, entry.part())?;
        let series = match place::series_key(&place::measurement(&view.name), &tags) {
            Ok(series) => series,
            Err(reason) => return Ok(Err(reason)),
        };
        let series_max = self.shared.client.config().series_max;
        let known = self.memory.views.entry(view.name.clone()).or_default();
        if let Some(reason) = known.guard.get_or_insert_default().refuse(&series, &natives, series_max) {
            return Ok(Err(reason));
        }
        Ok(Ok(Spot { entry, natives, series, tags, micros, time: 0 }))
    }

    /// `false` if the directory has no room for the key.
    fn set(
        &mut self,
        view: &Arc<View>,
        key: String,
        document: Option<Document>,
        moved: Option<usize>,
        known: &Known,
    ) -> bool {
        let changes = self.changes(view);
        if let Some(row) = changes.rows.get_mut(&key) {
            row.document = document;
            row.moved = moved;
            return true;
        }
        let bucket = known.under(view, &key).filter(|_| !changes.cleared);
        let found = bucket.and_then(|bucket| bucket.of(&key)).cloned();
        // What is not there need not go.
        if document.is_none() && found.as_ref().is_none_or(|(_, stored)| stored.document.is_none()) {
            return true;
        }
        let first = directory::time(&key);
        let is_free = |time: &i64| {
            !changes.times.contains(time) && !bucket.is_some_and(|bucket| bucket.is_taken(*time))
        };
        let time = found.as_ref().map(|(time, _)| *time);
        let Some(time) = time.or_else(|| (first..first + PROBES).find(is_free)) else { return false };
        changes.times.insert(time);
        let stored = found.map(|(_, stored)| stored);
        changes.rows.insert(key, Row { document, stored, time, moved, planned: None });
        let known = self.memory.views.entry(view.name.clone()).or_default();
        if let Some(fresh) = &mut known.fresh {
            fresh.keys.add(&first);
        }
        true
    }

    /// Finds a nanosecond for each of these documents. A document for which there is none stays as it was.
    async fn settle(&mut self, touched: Vec<(ViewId, String)>) -> Result<Vec<Refusal>> {
        let mut wanted: Vec<(Micro, String)> = Vec::new();
        let mut asked: HashSet<Micro> = HashSet::new();
        let mut open = Vec::new();
        for (name, key) in touched {
            let Some(changes) = self.views.get_mut(&name) else { continue };
            let Some(row) = changes.rows.get_mut(&key) else { continue };
            let Some(series) = series_of(&changes.view) else { continue };
            let Some(spot) = row.document.as_mut().and_then(|document| document.spot.as_mut()) else {
                continue;
            };
            let stored = row.stored.as_ref().and_then(|stored| Some((stored, stored.place.as_ref()?)));
            let fits = |time: i64| {
                stored.is_none_or(|(stored, place)| {
                    let is_its_own = place.time == time && place.entry.part() == spot.entry.part();
                    let json = stored.document.as_deref().unwrap_or_default();
                    !is_its_own || !place::empties(json, &spot.natives, series)
                })
            };
            let micro = (spot.series.clone(), spot.micros);
            let planned =
                row.planned.as_ref().filter(|(planned, _)| *planned == micro).map(|(_, time)| *time);
            let own = stored.filter(|(_, place)| {
                place.entry.part() == spot.entry.part() && place.time.div_euclid(SLOTS) == spot.micros
            });
            let kept = planned.or(own.map(|(_, place)| place.time)).filter(|time| fits(*time));
            if let Some(time) = kept {
                spot.time = time;
                row.planned = Some((micro, time));
                continue;
            }
            let fresh = self.memory.views.get(&name).and_then(|known| known.fresh.as_ref());
            let is_empty = changes.cleared || fresh.is_some_and(|fresh| !fresh.micros.may_have(&micro));
            if !is_empty && asked.insert(micro.clone()) {
                let first = spot.micros * SLOTS;
                let question = format!(
                    "SELECT {} FROM {} WHERE {}time >= {first} AND time < {}",
                    line::identifier(FIELD),
                    line::identifier(&place::measurement(&name)),
                    place::tagged(&spot.tags),
                    first + SLOTS,
                );
                wanted.push((micro.clone(), question));
            }
            open.push((name, key, micro));
        }
        let (micros, questions): (Vec<Micro>, Vec<String>) = wanted.into_iter().unzip();
        let answers = self.shared.client.ask_in_any_order(&questions).await?;
        let mut taken: HashMap<Micro, HashSet<i64>> = HashMap::new();
        for (micro, rows) in micros.into_iter().zip(answers) {
            let times = rows.iter().filter_map(|row| row.first()?.as_i64());
            taken.entry(micro).or_default().extend(times);
        }
        let mut refusals = Vec::new();
        for (name, key, micro) in open {
            let Some(changes) = self.views.get_mut(&name) else { continue };
            let here = changes.slots.entry(micro.clone()).or_default();
            let first = micro.1 * SLOTS;
            let there = taken.get(&micro);
            let time = (first..first + SLOTS)
                .find(|time| !here.contains(time) && !there.is_some_and(|there| there.contains(time)));
            let Some(time) = time else {
                changes.rows.remove(&key);
                let reason = format!("{SLOTS} other rows have the same tags and the same microsecond");
                refusals.push(Refusal { view: name, key, reason });
                continue;
            };
            here.insert(time);
            if let Some(row) = changes.rows.get_mut(&key)
                && let Some(spot) = row.document.as_mut().and_then(|document| document.spot.as_mut())
            {
                spot.time = time;
                row.planned = Some((micro.clone(), time));
            }
            let known = self.memory.views.entry(name).or_default();
            if let Some(fresh) = &mut known.fresh {
                fresh.micros.add(&micro);
            }
        }
        Ok(refusals)
    }

    async fn flush(&mut self, version: Version) -> Result<()> {
        self.bytes = 0;
        self.moves = 0;
        let views: Vec<Changes> = self.views.drain().map(|(_, changes)| changes).collect();
        flush::write(self, views, version).await
    }
}

#[async_trait]
impl headwater_model::Apply for Step {
    async fn write(&mut self, changes: Vec<ViewChange>) -> Result<Vec<Refusal>> {
        if self.bytes > BYTES_MAX {
            self.parts += 1;
            self.flush(Version { at: self.state.held.offset, part: self.parts }).await?;
        }
        let known = self.look(&changes).await?;
        self.guard(&changes).await?;
        let mut refusals = Vec::new();
        let mut touched = Vec::new();
        for change in changes {
            match change {
                ViewChange::Put { view, key, moved_from, document } => {
                    match self.put(&view, &key, moved_from, &document, &known)? {
                        None if series_of(&view).is_some() => {
                            touched.push((view.name.clone(), key.to_text()));
                        }
                        refused => refusals.extend(refused),
                    }
                }
                ViewChange::Delete { view, key } => {
                    self.bytes += ROW_BYTES;
                    self.set(&view, key.to_text(), None, None, &known);
                }
                ViewChange::Clear { view } => {
                    let changes = self.changes(&view);
                    changes.rows.clear();
                    changes.times.clear();
                    changes.slots.clear();
                    changes.cleared = true;
                    let emptied = OfView { guard: Some(Guard::default()), fresh: Some(Fresh::default()) };
                    self.memory.views.insert(view.name.clone(), emptied);
                }
            }
        }
        refusals.extend(self.settle(touched).await?);
        Ok(refusals)
    }

    async fn unplace(&mut self, view: &Arc<View>, strays: &[Listed]) -> Result<()> {
        flush::unplace(self, view, strays).await
    }

    async fn commit(mut self: Box<Self>, held: &Held) -> Result<()> {
        self.flush(Version { at: held.offset, part: 0 }).await?;
        let client = &self.shared.client;
        state::owned(client, &self.state).await?;
        let now = State { held: held.clone(), flight: None, ..self.state.clone() };
        state::write(client, &now).await?;
        let mut memory = std::mem::take(&mut self.memory);
        memory.forget_some();
        self.shared.remember(now.session, memory);
        Ok(())
    }
}

impl Memory {
    /// What was put since views were emptied is remembered of [`VIEWS_MAX`] of them.
    fn forget_some(&mut self) {
        let mut fresh: Vec<&mut Option<Fresh>> =
            self.views.values_mut().map(|known| &mut known.fresh).collect();
        fresh.sort_by_key(|fresh| fresh.as_ref().is_none_or(|fresh| !fresh.keys.was_touched));
        fresh.iter_mut().skip(VIEWS_MAX).for_each(|fresh| **fresh = None);
        fresh.into_iter().flatten().for_each(|fresh| fresh.keys.was_touched = false);
    }
}

fn refuse(key: &str, json: &str, entry: Option<&Entry>) -> Option<String> {
    if key.len() > KEY_BYTES_MAX {
        return Some(format!("its key has {} bytes, of {KEY_BYTES_MAX} at most", key.len()));
    }
    if json.len() > DOCUMENT_BYTES_MAX {
        return Some(format!("the document has {} bytes, of {DOCUMENT_BYTES_MAX} at most", json.len()));
    }
    // Beside the document: the key as JSON, the place as digits, and some numbers.
    let bytes = json.len() + 2 * key.len() + entry.map_or(0, |entry| 2 * entry.bytes.len()) + 200;
    (bytes > RECORD_BYTES_MAX)
        .then(|| format!("document, key and tags take {bytes} bytes, of {RECORD_BYTES_MAX} at most"))
}
