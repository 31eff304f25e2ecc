//! The store: the client, who owns it, reads.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use headwater_model::file::StoreSection;
use headwater_model::{
    Answer, AnswerMoment, Apply, Astray, Consumed, Epoch, Error, Held, Listed, Offset, Promise, Read, Result,
    Risk, Severity, Standing, StoreFacts, Stored, View,
};

use super::client::Client;
use super::config::Config;
use super::state::{self, State};
use super::step::{DOCUMENT_BYTES_MAX, KEY_BYTES_MAX, Memory, Step};
use super::{answer, flush, line, place, scan};

/// A database, or a bucket.
pub struct Store {
    name: Box<str>,
    shared: Arc<Shared>,
}

/// What the store and its open step both use.
pub(super) struct Shared {
    pub(super) client: Client,
    /// The session of this value, and what it knows of the store between two steps.
    memory: Mutex<Option<(u32, Memory)>>,
}

impl Store {
    /// Reads URL and settings; does not connect.
    pub fn new(section: &StoreSection) -> Result<Store> {
        let client = Client::new(Config::new(section)?);
        Ok(Store {
            name: section.name.clone(),
            shared: Arc::new(Shared { client, memory: Mutex::default() }),
        })
    }

    fn named(&self, error: Error) -> Error {
        error.while_doing(format!("store \"{}\"", self.name))
    }

    /// What would take points away behind our back, as far as we may look.
    async fn risks(&self) -> Vec<Risk> {
        let config = self.shared.client.config();
        let database = line::identifier(&config.database);
        let Ok(policies) = self.shared.client.ask_one(format!("SHOW RETENTION POLICIES ON {database}")).await
        else {
            return Vec::new();
        };
        let text = |row: &[serde_json::Value], at: usize| row.get(at)?.as_str().map(str::to_owned);
        let default = policies.iter().find(|row| row.last().and_then(|is| is.as_bool()) == Some(true));
        let Some(policy) = default else { return Vec::new() };
        match (text(policy, 0), text(policy, 1)) {
            (Some(name), Some(duration)) if duration != "0s" => vec![Risk {
                severity: Severity::Error,
                what: format!(
                    "the retention policy {name:?} of {:?} drops what is older than {duration}: documents that the source has, and \
                     Headwater's own position",
                    config.database
                ),
                remedy: format!(
                    "ALTER RETENTION POLICY {} ON {database} DURATION INF; what is to go after a while is deleted in the source",
                    line::identifier(&name)
                ),
            }],
            _ => Vec::new(),
        }
    }

    /// Claims the store and says what it held before.
    async fn take(&self, epoch: Epoch) -> Result<Option<Held>> {
        let client = &self.shared.client;
        if client.config().create {
            let name = line::identifier(&client.config().database);
            client.ask_one(format!("CREATE DATABASE {name} WITH DURATION INF")).await?;
        }
        let before = state::read(client).await?;
        if let Some(state) = &before {
            state.held.fence(epoch)?;
        }
        let now = match &before {
            Some(before) => State {
                held: Held { epoch, ..before.held.clone() },
                session: next(before.session)?,
                ..before.clone()
            },
            None => State::new(Held { epoch, offset: Offset::ZERO, position: None, committed_at: 0 }, 1),
        };
        state::write(client, &now).await?;
        match state::read(client).await? {
            Some(found) if found == now => {}
            Some(found) => return Err(found.held.lost_to(epoch)),
            None => return Err(state::empty()),
        }
        self.shared.remember(now.session, Memory::default());
        Ok(before.map(|before| before.held))
    }

    async fn open(&self, epoch: Epoch, after: Offset) -> Result<Step> {
        let client = &self.shared.client;
        let Some(mut state) = state::read(client).await? else { return Err(state::empty()) };
        state.held.admit(epoch, after)?;
        let memory = match self.shared.recall(state.session) {
            Some(memory) => memory,
            // Claimed by another value, or a step failed: writes need a session of their own.
            None => {
                state.session = next(state.session)?;
                state::write(client, &state).await?;
                Memory::default()
            }
        };
        let state = flush::recover(client, state).await?;
        Ok(Step::new(Arc::clone(&self.shared), state, memory))
    }
}

fn next(session: u32) -> Result<u32> {
    session.checked_add(1).ok_or_else(|| Error::unsupported("the store was claimed too often"))
}

impl Shared {
    pub(super) fn remember(&self, session: u32, memory: Memory) {
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner) = Some((session, memory));
    }

    /// Takes out what is known, if it is of this session.
    fn recall(&self, session: u32) -> Option<Memory> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.take().filter(|(of, _)| *of == session).map(|(_, memory)| memory)
    }
}

#[async_trait]
impl headwater_model::Store for Store {
    async fn inspect(&self) -> Result<StoreFacts> {
        let version = self.shared.client.version().await.map_err(|e| self.named(e))?;
        // Says whether we are let in.
        state::read(&self.shared.client).await.map_err(|e| self.named(e))?;
        Ok(StoreFacts {
            server: format!("InfluxDB {version}"),
            promise: Promise::Key,
            partial_hash: true,
            partial_json: true,
            key_bytes_max: KEY_BYTES_MAX,
            document_bytes_max: DOCUMENT_BYTES_MAX,
            risks: self.risks().await,
        })
    }

    async fn claim(&self, epoch: Epoch) -> Result<Option<Held>> {
        self.take(epoch).await.map_err(|e| self.named(e))
    }

    /// Measurements come to be with their first point.
    async fn prepare(&self, view: &View) -> Result<()> {
        place::fits(&self.name, view)
    }

    async fn held(&self) -> Result<Option<Held>> {
        let state = state::read(&self.shared.client).await.map_err(|e| self.named(e))?;
        Ok(state.map(|state| state.held))
    }

    async fn begin(&self, epoch: Epoch, after: Offset) -> Result<Box<dyn Apply>> {
        Ok(Box::new(self.open(epoch, after).await.map_err(|e| self.named(e))?))
    }

    async fn answer(&self, read: &Read) -> Result<Answer> {
        answer::answer(&self.shared.client, read).await.map_err(|e| self.named(e))
    }

    async fn scan(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Stored>, Option<String>)> {
        scan::documents(&self.shared.client, view, cursor, limit).await
    }

    async fn keys(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<String>, Option<String>)> {
        scan::keys(&self.shared.client, view, cursor, limit).await
    }

    async fn entries(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Listed>, Option<String>)> {
        scan::entries(&self.shared.client, view, cursor, limit).await
    }

    async fn astray(&self, view: &View, asked: &[Standing]) -> Result<(AnswerMoment, Vec<Astray>)> {
        answer::astray(&self.shared.client, view, asked).await
    }

    async fn rows(&self, view: &View) -> Result<u64> {
        scan::rows(&self.shared.client, view).await
    }

    fn consumed(&self) -> Vec<Consumed> {
        Vec::new()
    }
}
