//! The store: the client, who owns it, reads.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use headwater_model::file::StoreSection;
use headwater_model::{
    Answer, AnswerMoment, Apply, Astray, Consumed, Epoch, Error, ErrorKind, Held, Listed, Offset, Promise,
    Read, Result, Standing, StoreFacts, Stored, View,
};
use tokio::sync::OnceCell;

use super::client::connect;
use super::codec::{ITEM_BYTES_MAX, KEY_BYTES_MAX};
use super::config::Config;
use super::meter::Meter;
use super::state::{ITEM, State, StateItem};
use super::step::Step;
use super::tables::{self, Table};
use super::version::Session;
use super::{answer, scan};

/// Claims that others make at the same time, before we give up.
const CLAIMS_MAX: usize = 16;

/// Tables of one prefix in one region.
pub struct Store(Arc<Shared>);

/// What the store and its open step both use.
pub(super) struct Shared {
    pub(super) config: Config,
    client: OnceCell<Client>,
    pub(super) state: StateItem,
    /// The newest of this value, whether it still holds or not.
    session: Mutex<Option<Arc<Session>>>,
    pub(super) meter: Meter,
}

impl Store {
    /// Reads URL and settings; does not connect.
    pub fn new(section: &StoreSection) -> Result<Store> {
        let config = Config::new(section)?;
        let state = StateItem { table: Table::of_state(&config.prefix).name, item: section.of_source(ITEM) };
        Ok(Store(Arc::new(Shared {
            config,
            client: OnceCell::new(),
            state,
            session: Mutex::default(),
            meter: Meter::default(),
        })))
    }
}

impl Shared {
    pub(super) async fn client(&self) -> &Client {
        self.client.get_or_init(|| connect(&self.config)).await
    }

    pub(super) fn documents(&self, view: &str) -> String {
        tables::documents(&self.config.prefix, view)
    }

    pub(super) fn places(&self, view: &str) -> String {
        tables::places(&self.config.prefix, view)
    }

    /// What the store holds, for an answer.
    pub(super) async fn held(&self) -> Result<Held> {
        let state = self.state.read(self.client().await).await?;
        state
            .map(|state| state.held)
            .ok_or_else(|| Error::out_of_step("the store is empty: it has no position, or no tables"))
    }

    fn session(&self) -> Option<Arc<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The state in which a session of its own owns the store: greater than what the store remembers, and than what this
    /// value remembers of a store that was emptied since.
    fn next(&self, before: Option<&State>, held: Held) -> Result<State> {
        let known = before.map_or(0, |state| state.session);
        let own = self.session().filter(|own| own.epoch == held.epoch).map_or(0, |own| own.number);
        let session = known.max(own).checked_add(1);
        let session = session.ok_or_else(|| Error::unsupported("the store was claimed too often"))?;
        Ok(State { held, session })
    }

    fn own(&self, state: &State) -> Arc<Session> {
        let session = Arc::new(Session::new(state.held.epoch, state.session));
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&session));
        session
    }
}

#[async_trait]
impl headwater_model::Store for Store {
    async fn inspect(&self) -> Result<StoreFacts> {
        // Says whether the service is there and lets us in.
        let client = self.0.client().await;
        self.0.state.read(client).await?;
        let region = client.config().region().map_or("?", |region| region.as_ref()).to_owned();
        let server = match &self.0.config.endpoint {
            Some(endpoint) => format!("DynamoDB at {endpoint}"),
            None => format!("DynamoDB in {region}"),
        };
        Ok(StoreFacts {
            server,
            promise: Promise::Key,
            partial_hash: true,
            partial_json: false,
            key_bytes_max: KEY_BYTES_MAX,
            document_bytes_max: ITEM_BYTES_MAX,
            risks: Vec::new(),
        })
    }

    async fn claim(&self, epoch: Epoch) -> Result<Option<Held>> {
        let client = self.0.client().await;
        Table::of_state(&self.0.config.prefix).ensure(client, self.0.config.create).await?;
        for _ in 0..CLAIMS_MAX {
            let before = self.0.state.read(client).await?;
            if let Some(state) = &before {
                state.held.fence(epoch)?;
            }
            let held = match &before {
                Some(state) => Held { epoch, ..state.held.clone() },
                None => Held { epoch, offset: Offset::ZERO, position: None, committed_at: 0 },
            };
            let state = self.0.next(before.as_ref(), held)?;
            // Somebody else claims or writes at the same time: look again who it was.
            if self.0.state.change(client, before.as_ref(), &state).await? {
                self.0.own(&state);
                return Ok(before.map(|state| state.held));
            }
        }
        Err(Error::transient("others claim the store all the time"))
    }

    async fn prepare(&self, view: &View) -> Result<()> {
        let client = self.0.client().await;
        for table in Table::of_view(&self.0.config.prefix, view) {
            table.ensure(client, self.0.config.create).await?;
        }
        Ok(())
    }

    async fn held(&self) -> Result<Option<Held>> {
        Ok(self.0.state.read(self.0.client().await).await?.map(|state| state.held))
    }

    async fn begin(&self, epoch: Epoch, after: Offset) -> Result<Box<dyn Apply>> {
        let client = self.0.client().await;
        let Some(state) = self.0.state.read(client).await? else {
            return Err(Error::out_of_step("the store is empty"));
        };
        state.held.admit(epoch, after)?;
        let own = self.0.session().filter(|own| own.epoch == epoch && own.number == state.session);
        let (session, before) = match own {
            Some(session) => (session, state),
            // Claimed by another value of this process' epoch, or before a restart: writes need a session of their own.
            None => {
                let next = self.0.next(Some(&state), state.held.clone())?;
                if !self.0.state.change(client, Some(&state), &next).await? {
                    return Err(Error::new(ErrorKind::OutOfStep, "the store was claimed again meanwhile"));
                }
                (self.0.own(&next), next)
            }
        };
        Ok(Box::new(Step::new(Arc::clone(&self.0), client.clone(), session, before)))
    }

    async fn answer(&self, read: &Read) -> Result<Answer> {
        answer::answer(&self.0, read).await
    }

    async fn scan(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Stored>, Option<String>)> {
        scan::page(&self.0, view, cursor, limit).await
    }

    async fn keys(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<String>, Option<String>)> {
        scan::texts(&self.0, view, cursor, limit).await
    }

    /// Nothing: an entry is believed only where its document remembers it, so one too many changes no answer, and to list them
    /// would read all of a table.
    async fn entries(&self, _: &View, _: Option<String>, _: usize) -> Result<(Vec<Listed>, Option<String>)> {
        Ok((Vec::new(), None))
    }

    async fn astray(&self, view: &View, asked: &[Standing]) -> Result<(AnswerMoment, Vec<Astray>)> {
        answer::astray(&self.0, view, asked).await
    }

    async fn rows(&self, view: &View) -> Result<u64> {
        scan::count(&self.0, view).await
    }

    fn consumed(&self) -> Vec<Consumed> {
        self.0.meter.totals(&self.0.config.prefix)
    }
}
