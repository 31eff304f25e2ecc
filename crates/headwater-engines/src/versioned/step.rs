//! A step: what changed, one row per key, until it is written.
//!
//! Rows wait for `commit`, which knows as of which offset they are. A transaction that is larger than [`BYTES_MAX`] is
//! written before that.
//!
//! Invariant: what is refused is refused in `write`. So all that decides it is known there: what a partial document is put
//! over is read before.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use headwater_model::{Error, Held, Key, Listed, Record, Refusal, Result, View, ViewChange, ViewId};

use super::Engine;
use super::owner::State;
use super::row::{Changes, Document, Row, Stored, What};
use super::version::{As, Session};
use crate::entries::{self, Entry};

/// What rows may take while they wait.
const BYTES_MAX: usize = 32 << 20;

/// What a row takes beside its document.
const ROW_BYTES: usize = 256;

pub(crate) struct Step<E: Engine> {
    engine: Arc<E>,
    session: Arc<Session>,
    /// As of when the step was opened.
    before: State,
    views: HashMap<ViewId, Changes<E::Body>>,
    bytes: usize,
    moves: usize,
}

/// Keys of a view.
type Wanted<'v> = (&'v View, HashSet<String>);

/// What the store has, as far as it was read for one `write`.
type Known<B> = HashMap<(ViewId, String), Stored<B>>;

impl<E: Engine> Step<E> {
    pub(crate) fn new(engine: Arc<E>, session: Arc<Session>, before: State) -> Step<E> {
        Step { engine, session, before, views: HashMap::new(), bytes: 0, moves: 0 }
    }

    fn changes(&mut self, view: &Arc<View>) -> &mut Changes<E::Body> {
        let changes = self.views.entry(view.name.clone()).or_insert_with(|| Changes {
            view: Arc::clone(view),
            cleared: false,
            rows: HashMap::new(),
        });
        changes.view = Arc::clone(view);
        changes
    }

    /// Reads what these changes are put over, and where that stands in indexes.
    async fn look(&self, changes: &[ViewChange]) -> Result<Known<E::Body>> {
        let mut cleared: HashSet<&str> = HashSet::new();
        let mut wanted: HashMap<(&ViewId, What), Wanted<'_>> = HashMap::new();
        for change in changes {
            let view = change.view();
            let known = self.views.get(&view.name);
            let is_cleared = cleared.contains(&*view.name) || known.is_some_and(|known| known.cleared);
            let mut want = |key: &Key, partial: bool| {
                let what = match (partial, view.indexes.is_empty()) {
                    (true, _) => What::All,
                    (false, false) => What::Ours,
                    (false, true) => return,
                };
                let key = key.to_text();
                if !is_cleared && known.is_none_or(|known| !known.rows.contains_key(&key)) {
                    let wanted = wanted.entry((&view.name, what)).or_insert_with(|| (view, HashSet::new()));
                    wanted.1.insert(key);
                }
            };
            match change {
                ViewChange::Put { key, moved_from, document, .. } => {
                    for key in [Some(key), moved_from.as_ref()].into_iter().flatten() {
                        want(key, document.is_partial());
                    }
                }
                ViewChange::Delete { key, .. } => want(key, false),
                ViewChange::Clear { .. } => {
                    cleared.insert(&view.name);
                }
            }
        }
        let mut known = Known::new();
        // Whole rows last: where both are known, they are what counts.
        let mut wanted: Vec<_> = wanted.into_iter().collect();
        wanted.sort_by_key(|((_, what), _)| *what == What::All);
        for ((name, what), (view, keys)) in wanted {
            for (key, stored) in self.engine.stored(view, keys, what).await? {
                known.insert((name.clone(), key), stored);
            }
        }
        Ok(known)
    }

    /// What a key has by now, if that is a document: in this step, or in the store.
    fn found<'a>(
        &'a self,
        view: &View,
        key: &str,
        known: &'a Known<E::Body>,
    ) -> Option<(&'a E::Body, &'a [Entry])> {
        let changes = self.views.get(&view.name);
        if let Some(row) = changes.and_then(|changes| changes.rows.get(key)) {
            return row.document.as_ref().map(|document| (&document.body, &document.places[..]));
        }
        if changes.is_some_and(|changes| changes.cleared) {
            return None;
        }
        let stored = known.get(&(view.name.clone(), key.to_owned()))?;
        (!stored.is_gone).then_some((&stored.body, &stored.places[..]))
    }

    /// The document that a put makes. Where it takes fields along from another key, a replay may find that key's row
    /// written by the step that it replays: then the new key has them already.
    fn document(
        &self,
        view: &View,
        key: &Key,
        (text, from): (&str, Option<&str>),
        record: &Record,
        known: &Known<E::Body>,
    ) -> Result<Document<E::Body>> {
        let mut base = self.found(view, from.unwrap_or(text), known);
        if let Some(from) = from {
            let waits =
                |key: &str| self.views.get(&view.name).is_some_and(|changes| changes.rows.contains_key(key));
            let is_later = |stored: &Stored<E::Body>| stored.at > self.before.held.offset;
            let was_written =
                !waits(from) && known.get(&(view.name.clone(), from.to_owned())).is_some_and(is_later);
            if was_written && let Some(own) = self.found(view, text, known) {
                base = Some(own);
            }
        }
        Ok(Document {
            body: self.engine.encode(view, record, base.map(|(body, _)| body)),
            places: entries::of(view, key, record, base.map_or(&[], |(_, places)| places))?,
        })
    }

    fn put(
        &mut self,
        view: &Arc<View>,
        key: &Key,
        moved_from: Option<Key>,
        record: &Record,
        known: &Known<E::Body>,
    ) -> Result<Option<Refusal>> {
        let text = key.to_text();
        let from = moved_from.map(|from| from.to_text()).filter(|from| *from != text);
        let document = self.document(view, key, (&text, from.as_deref()), record, known)?;
        let bytes = text.len() + self.engine.size(&document.body) + ours(&document.places);
        if let Some(reason) = self.engine.refuse(&text, bytes, &document.places) {
            return Ok(Some(Refusal { view: view.name.clone(), key: text, reason }));
        }
        let mut moved = None;
        if let Some(from) = from {
            if record.is_partial() {
                self.moves += 1;
                moved = Some(self.moves);
            }
            self.set(view, from, None, None, known);
        }
        self.bytes += bytes + ROW_BYTES;
        self.set(view, text, Some(document), moved, known);
        Ok(None)
    }

    fn set(
        &mut self,
        view: &Arc<View>,
        key: String,
        document: Option<Document<E::Body>>,
        moved: Option<usize>,
        known: &Known<E::Body>,
    ) {
        // What the engine could not hold it does not have.
        if !self.engine.takes(&key) {
            return;
        }
        let changes = self.changes(view);
        let (cleared, is_new) = (changes.cleared, !changes.rows.contains_key(&key));
        let row = changes.rows.entry(key).or_insert_with_key(|key| Row {
            document: None,
            stored: match known.get(&(view.name.clone(), key.clone())) {
                Some(stored) if !cleared => stored.clone(),
                _ => Stored::default(),
            },
            moved: None,
            again: false,
        });
        row.again |= row.document.is_none() && document.is_some() && !is_new;
        row.document = document;
        row.moved = moved;
    }

    async fn flush(&mut self, at: As) -> Result<()> {
        self.bytes = 0;
        for (_, changes) in self.views.drain() {
            self.engine.write(changes, &self.session, at).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl<E: Engine> headwater_model::Apply for Step<E> {
    async fn write(&mut self, changes: Vec<ViewChange>) -> Result<Vec<Refusal>> {
        if self.bytes > BYTES_MAX {
            self.flush(As::Behind(self.before.held.offset)).await?;
        }
        let known = self.look(&changes).await?;
        let mut refusals = Vec::new();
        for change in changes {
            match change {
                ViewChange::Put { view, key, moved_from, document } => {
                    refusals.extend(self.put(&view, &key, moved_from, &document, &known)?);
                }
                ViewChange::Delete { view, key } => {
                    self.bytes += ROW_BYTES;
                    self.set(&view, key.to_text(), None, None, &known);
                }
                ViewChange::Clear { view } => {
                    let changes = self.changes(&view);
                    changes.rows.clear();
                    changes.cleared = true;
                }
            }
        }
        Ok(refusals)
    }

    /// Nobody believes them: they are taken away when their documents change, or cost a read until then.
    async fn unplace(&mut self, _: &Arc<View>, _: &[Listed]) -> Result<()> {
        Ok(())
    }

    async fn commit(mut self: Box<Self>, held: &Held) -> Result<()> {
        self.flush(As::Of(held.offset)).await?;
        let now = State { held: held.clone(), session: self.before.session };
        if self.engine.change(Some(&self.before), &now).await? {
            return Ok(());
        }
        match self.engine.state().await? {
            Some(found) => Err(found.held.lost_to(held.epoch)),
            None => Err(Error::out_of_step("the store was emptied")),
        }
    }
}

/// What a row has beside the document, at most: stamps, and its places now and before.
fn ours(places: &[Entry]) -> usize {
    let places: usize = places.iter().map(|entry| entry.bytes.len() + 10).sum();
    160 + 2 * places
}
