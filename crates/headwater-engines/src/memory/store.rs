//! The store: who owns it, what it holds, and the reads.

use std::ops::Bound;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use async_trait::async_trait;
use headwater_model::file::StoreSection;
use headwater_model::{
    Answer, AnswerMoment, Astray, Epoch, Error, Held, Listed, Offset, Promise, Read, Result, Standing,
    StoreFacts, Stored, StoredBody, View,
};
use tokio::sync::Mutex;

use super::answer::answer;
use super::apply::Apply;
use super::config::Options;
use super::indexes;
use super::state::State;

/// A store in memory. Clones share what it holds.
#[derive(Clone)]
pub struct Store {
    state: Arc<RwLock<State>>,
    turn: Arc<Mutex<()>>,
    options: Options,
}

impl Store {
    pub fn new(section: &StoreSection) -> Result<Store> {
        Ok(Store::with_options(Options::parse(section)?))
    }

    pub fn with_options(options: Options) -> Store {
        Store { state: Arc::default(), turn: Arc::default(), options }
    }
}

#[async_trait]
impl headwater_model::Store for Store {
    async fn inspect(&self) -> Result<StoreFacts> {
        Ok(StoreFacts {
            server: format!("memory, at most {} MiB", self.options.bytes_max >> 20),
            promise: Promise::Transaction,
            partial_hash: true,
            partial_json: true,
            key_bytes_max: 1 << 20,
            document_bytes_max: usize::try_from(self.options.bytes_max).unwrap_or(usize::MAX),
            risks: Vec::new(),
        })
    }

    async fn claim(&self, epoch: Epoch) -> Result<Option<Held>> {
        let mut state = write(&self.state)?;
        let before = state.held.clone();
        match &mut state.held {
            Some(held) => {
                held.fence(epoch)?;
                held.epoch = epoch;
            }
            None => {
                state.held = Some(Held { epoch, offset: Offset::ZERO, position: None, committed_at: 0 });
            }
        }
        Ok(before)
    }

    async fn prepare(&self, view: &View) -> Result<()> {
        write(&self.state)?.documents(&view.name);
        Ok(())
    }

    async fn held(&self) -> Result<Option<Held>> {
        Ok(read(&self.state)?.held.clone())
    }

    async fn begin(&self, epoch: Epoch, after: Offset) -> Result<Box<dyn headwater_model::Apply>> {
        let turn = self.turn.clone().lock_owned().await;
        match &read(&self.state)?.held {
            None => return Err(Error::out_of_step("the store in memory is empty")),
            Some(held) => held.admit(epoch, after)?,
        }
        Ok(Box::new(Apply {
            state: self.state.clone(),
            bytes_max: self.options.bytes_max,
            after,
            _turn: turn,
            staged: Vec::new(),
            staged_bytes: 0,
        }))
    }

    async fn answer(&self, asked: &Read) -> Result<Answer> {
        answer(&*read(&self.state)?, asked)
    }

    async fn scan(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Stored>, Option<String>)> {
        let state = read(&self.state)?;
        let Some(documents) = state.views.get(&view.name) else { return Ok((Vec::new(), None)) };
        let from = cursor.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let keys = documents.order.range::<str, _>((from, Bound::Unbounded)).take(limit.max(1));
        let stored: Vec<Stored> = keys
            .filter_map(|key| Some((key, documents.by_key.get(key)?)))
            .map(|(key, document)| Stored {
                key: key.to_string(),
                body: StoredBody::Json(Arc::clone(&document.json)),
            })
            .collect();
        let next = if stored.len() < limit.max(1) { None } else { stored.last().map(|s| s.key.clone()) };
        Ok((stored, next))
    }

    async fn keys(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<String>, Option<String>)> {
        let state = read(&self.state)?;
        let Some(documents) = state.views.get(&view.name) else { return Ok((Vec::new(), None)) };
        let from = cursor.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let keys = documents.order.range::<str, _>((from, Bound::Unbounded)).take(limit.max(1));
        let keys: Vec<String> = keys.map(|key| key.to_string()).collect();
        let next = if keys.len() < limit.max(1) { None } else { keys.last().cloned() };
        Ok((keys, next))
    }

    async fn entries(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Listed>, Option<String>)> {
        indexes::entries(&*read(&self.state)?, view, cursor.as_deref(), limit.max(1))
    }

    async fn astray(&self, view: &View, asked: &[Standing]) -> Result<(AnswerMoment, Vec<Astray>)> {
        indexes::astray(&*read(&self.state)?, view, asked)
    }

    async fn rows(&self, view: &View) -> Result<u64> {
        Ok(read(&self.state)?.views.get(&view.name).map_or(0, |documents| documents.by_key.len() as u64))
    }

    fn consumed(&self) -> Vec<headwater_model::Consumed> {
        Vec::new()
    }
}

pub(super) fn read(state: &RwLock<State>) -> Result<RwLockReadGuard<'_, State>> {
    state.read().map_err(|_| poisoned())
}

pub(super) fn write(state: &RwLock<State>) -> Result<RwLockWriteGuard<'_, State>> {
    state.write().map_err(|_| poisoned())
}

/// A thread panicked while it held the lock: what it left cannot be trusted.
fn poisoned() -> Error {
    Error::bug("the store in memory was left half-written by a panic")
}
