//! A simulated store: documents in memory, atomic steps, an epoch; and whatever may happen to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use headwater_model::{
    Answer, AnswerMoment, Apply, Astray, Epoch, Error, Held, Listed, Offset, Promise, Read, Refusal, Result,
    Standing, Store, StoreFacts, Stored, StoredBody, Value, View, ViewChange,
};

use super::{Line, Mischief, World};

/// The documents of a view by key, fields by name, values as JSON.
pub type Documents = BTreeMap<String, BTreeMap<Box<str>, String>>;

/// Looks at what a reader sees after each effect: the store's name, its documents by view, and its position.
pub type Watcher = Arc<dyn Fn(&str, &BTreeMap<Box<str>, Documents>, &Held) + Send + Sync>;

/// Cheap to clone; clones are the same store.
#[derive(Clone)]
pub struct Shelf {
    world: World,
    pub name: &'static str,
    inner: Arc<Mutex<Inner>>,
    watcher: Arc<Mutex<Option<Watcher>>>,
    partial_json: bool,
}

#[derive(Default)]
struct Inner {
    held: Option<Held>,
    views: BTreeMap<Box<str>, Documents>,
    copies: Vec<(Held, BTreeMap<Box<str>, Documents>)>,
    /// The newest `v` that was shown of each key.
    shown: BTreeMap<(Box<str>, String), i64>,
}

impl Shelf {
    pub fn new(world: &World, name: &'static str, partial_json: bool) -> Shelf {
        let (inner, watcher) = (Arc::default(), Arc::default());
        Shelf { world: world.clone(), name, inner, watcher, partial_json }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub fn watch(&self, watcher: Watcher) {
        *self.watcher.lock().unwrap() = Some(watcher);
    }

    pub fn documents(&self, view: &str) -> Documents {
        self.lock().views.get(view).cloned().unwrap_or_default()
    }

    /// Everything is lost.
    pub fn flush(&self) {
        let mut inner = self.lock();
        *inner = Inner { copies: std::mem::take(&mut inner.copies), ..Inner::default() };
    }

    /// An older copy takes over. False if there is none.
    pub fn restore(&self) -> bool {
        let mut inner = self.lock();
        if inner.copies.is_empty() {
            return false;
        }
        let place = self.world.below(inner.copies.len() as u64) as usize;
        let (held, views) = inner.copies[place].clone();
        (inner.held, inner.views) = (Some(held), views);
        inner.shown.clear();
        true
    }

    /// A reader looks.
    fn look(&self, inner: &mut Inner) {
        let Some(held) = inner.held.clone() else { return };
        for (view, documents) in &inner.views {
            for (key, document) in documents {
                let Some(v) = document.get("v").and_then(|v| v.parse::<i64>().ok()) else { continue };
                let newest = inner.shown.entry((view.clone(), key.clone())).or_insert(v);
                if v < *newest {
                    self.world.violated(format!(
                        "{}: key {key} of `{view}` goes back from version {newest} to {v} at offset {}",
                        self.name, held.offset
                    ));
                }
                *newest = (*newest).max(v);
            }
        }
        let watcher = self.watcher.lock().unwrap().clone();
        if let Some(watcher) = watcher {
            watcher(self.name, &inner.views, &held);
        }
    }

    fn check(&self, inner: &Inner, epoch: Epoch, after: Offset) -> Result<()> {
        if self.world.is(Mischief::NoFence) {
            return Ok(());
        }
        match &inner.held {
            None => Err(Error::out_of_step("the simulated store is empty")),
            Some(held) => held.admit(epoch, after),
        }
    }

    fn write(&self, inner: &mut Inner, changes: &[ViewChange]) {
        for change in changes {
            let documents = inner.views.entry(change.view().name.clone()).or_default();
            match change {
                ViewChange::Clear { .. } => documents.clear(),
                ViewChange::Delete { key, .. } => {
                    documents.remove(&key.to_text());
                }
                ViewChange::Put { key, moved_from, document, .. } => {
                    let text = key.to_text();
                    let before = match moved_from {
                        Some(from) => documents.remove(&from.to_text()),
                        None => documents.get(&text).cloned(),
                    };
                    let before = before.unwrap_or_default();
                    let mut after = BTreeMap::new();
                    for (field, value) in document.fields() {
                        let kept = before.get(field).cloned();
                        let json = match value {
                            Value::Unchanged if self.world.is(Mischief::NullsWhatIsUnchanged) => {
                                Some("null".to_owned())
                            }
                            Value::Unchanged => kept,
                            value => Some(json(value)),
                        };
                        after.extend(json.map(|json| (Box::from(field), json)));
                    }
                    documents.insert(text, after);
                }
            }
        }
    }
}

fn told(changes: &[ViewChange]) -> String {
    let told = changes.iter().map(|change| match change {
        ViewChange::Clear { view } => format!("{} cleared", view.name),
        ViewChange::Delete { view, key } => format!("{}-{key}", view.name),
        ViewChange::Put { view, key, moved_from, document } => {
            let from = moved_from.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
            format!("{}={key}{from} {}", view.name, document.to_json())
        }
    });
    told.collect::<Vec<_>>().join(", ")
}

fn json(value: &Value) -> String {
    let mut bytes = Vec::new();
    value.write_json(&mut bytes);
    String::from_utf8(bytes).unwrap()
}

/// The store as one instance reaches it.
#[derive(Clone)]
pub struct SimulatedStore {
    pub shelf: Shelf,
    pub line: Line,
}

#[async_trait]
impl Store for SimulatedStore {
    async fn inspect(&self) -> Result<StoreFacts> {
        let facts = StoreFacts {
            server: "simulated".to_owned(),
            promise: Promise::Transaction,
            partial_hash: true,
            partial_json: self.shelf.partial_json,
            key_bytes_max: 1 << 20,
            document_bytes_max: 1 << 20,
            risks: Vec::new(),
        };
        self.line.call("look", || Ok(facts)).await
    }

    async fn claim(&self, epoch: Epoch) -> Result<Option<Held>> {
        self.line
            .call("claim", || {
                let mut inner = self.shelf.lock();
                let before = inner.held.clone();
                match &mut inner.held {
                    Some(held) => {
                        if !self.shelf.world.is(Mischief::NoFence) {
                            held.fence(epoch)?;
                        }
                        held.epoch = epoch;
                    }
                    None => {
                        let nothing = Held { epoch, offset: Offset::ZERO, position: None, committed_at: 0 };
                        inner.held = Some(nothing);
                    }
                }
                Ok(before)
            })
            .await
    }

    async fn prepare(&self, _: &View) -> Result<()> {
        self.line.call("prepare", || Ok(())).await
    }

    async fn held(&self) -> Result<Option<Held>> {
        self.line.call("held", || Ok(self.shelf.lock().held.clone())).await
    }

    async fn begin(&self, epoch: Epoch, after: Offset) -> Result<Box<dyn Apply>> {
        self.line.call("begin", || self.shelf.check(&self.shelf.lock(), epoch, after)).await?;
        Ok(Box::new(Step { store: self.clone(), epoch, after, pieces: Vec::new() }))
    }

    async fn answer(&self, _: &Read) -> Result<Answer> {
        Err(Error::unsupported("the simulated store answers nothing"))
    }

    async fn scan(&self, view: &View, _: Option<String>, _: usize) -> Result<(Vec<Stored>, Option<String>)> {
        let stored = |(key, fields): (String, BTreeMap<Box<str>, String>)| Stored {
            key,
            body: StoredBody::Fields(
                fields.into_iter().map(|(name, json)| (name.into(), json.into_bytes())).collect(),
            ),
        };
        Ok((self.shelf.documents(&view.name).into_iter().map(stored).collect(), None))
    }

    async fn keys(&self, view: &View, _: Option<String>, _: usize) -> Result<(Vec<String>, Option<String>)> {
        Ok((self.shelf.documents(&view.name).into_keys().collect(), None))
    }

    async fn entries(&self, _: &View, _: Option<String>, _: usize) -> Result<(Vec<Listed>, Option<String>)> {
        Ok((Vec::new(), None))
    }

    async fn astray(&self, _: &View, _: &[Standing]) -> Result<(AnswerMoment, Vec<Astray>)> {
        Err(Error::unsupported("the simulated store has no indexes"))
    }

    async fn rows(&self, view: &View) -> Result<u64> {
        Ok(self.shelf.documents(&view.name).len() as u64)
    }

    fn consumed(&self) -> Vec<headwater_model::Consumed> {
        Vec::new()
    }
}

struct Step {
    store: SimulatedStore,
    epoch: Epoch,
    after: Offset,
    pieces: Vec<Vec<ViewChange>>,
}

#[async_trait]
impl Apply for Step {
    async fn write(&mut self, changes: Vec<ViewChange>) -> Result<Vec<Refusal>> {
        self.store.line.passage("write").await?;
        self.pieces.push(changes);
        Ok(Vec::new())
    }

    async fn unplace(&mut self, _: &Arc<View>, _: &[Listed]) -> Result<()> {
        Err(Error::unsupported("the simulated store has no indexes"))
    }

    async fn commit(self: Box<Self>, held: &Held) -> Result<()> {
        let (shelf, line) = (&self.store.shelf, &self.store.line);
        let world = &shelf.world;
        line.passage("commit").await?;
        let mut changes = self.pieces.concat();
        if world.is(Mischief::LosesAChange) && changes.len() > 12 {
            changes.pop();
        }
        let write = |inner: &mut Inner| shelf.write(inner, &changes);
        if world.is(Mischief::PositionFirst) || world.is(Mischief::PositionLast) {
            {
                let mut inner = shelf.lock();
                shelf.check(&inner, self.epoch, self.after)?;
                match world.is(Mischief::PositionFirst) {
                    true => inner.held = Some(held.clone()),
                    false => write(&mut inner),
                }
                shelf.look(&mut inner);
            }
            line.passage("commit").await?;
        }
        {
            let mut inner = shelf.lock();
            if !world.is(Mischief::PositionFirst) {
                shelf.check(&inner, self.epoch, self.after)?;
            }
            if !world.is(Mischief::PositionLast) {
                write(&mut inner);
            }
            inner.held = Some(held.clone());
            world.note("applied", held.offset.0);
            world.tell(|| format!("  {} at {:?}: {}", shelf.name, held.position, told(&changes)));
            shelf.look(&mut inner);
            if world.one_in(4) {
                if inner.copies.len() == 6 {
                    inner.copies.remove(0);
                }
                let copy = (held.clone(), inner.views.clone());
                inner.copies.push(copy);
            }
        }
        line.passage("commit").await
    }
}
