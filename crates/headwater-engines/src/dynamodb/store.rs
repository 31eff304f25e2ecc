//! The store: the client, who owns it, reads.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use headwater_model::file::StoreSection;
use headwater_model::{
    Answer, AnswerMoment, Apply, Astray, Consumed, Epoch, Error, Held, Listed, Offset, Promise, Read, Record,
    Result, Standing, StoreFacts, Stored as Found, View,
};
use tokio::sync::OnceCell;

use super::client::connect;
use super::codec::{self, ITEM_BYTES_MAX, KEY_BYTES_MAX};
use super::config::Config;
use super::flush::Writer;
use super::item::{self, Item, Stored};
use super::meter::Meter;
use super::state::{ITEM, StateItem};
use super::tables::{self, Table};
use super::{answer, fetch, scan};
use crate::entries::Entry;
use crate::versioned::{As, Changes, Engine, Owner, Session, State, Step, What};

/// Tables of one prefix in one region.
pub struct Store(Arc<Shared>);

/// What the store and its open step both use.
pub(super) struct Shared {
    pub(super) config: Config,
    client: OnceCell<Client>,
    pub(super) state: StateItem,
    owner: Owner,
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
            owner: Owner::default(),
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
}

#[async_trait]
impl Engine for Shared {
    type Body = Item;

    async fn state(&self) -> Result<Option<State>> {
        self.state.read(self.client().await).await
    }

    async fn change(&self, old: Option<&State>, new: &State) -> Result<bool> {
        self.state.change(self.client().await, old, new).await
    }

    async fn stored(
        &self,
        view: &View,
        keys: HashSet<String>,
        what: What,
    ) -> Result<HashMap<String, Stored>> {
        let items = fetch::items(self, &view.name, keys.into_iter().collect(), what).await?;
        items.into_iter().map(|(key, item)| Ok((key, item::read(item)?))).collect()
    }

    fn encode(&self, view: &View, record: &Record, base: Option<&Item>) -> Item {
        codec::encode(view.layout(), record, base)
    }

    fn size(&self, item: &Item) -> usize {
        item::size(item)
    }

    fn refuse(&self, key: &str, size: usize, places: &[Entry]) -> Option<String> {
        codec::refuse(key, size).or_else(|| codec::refuse_places(places))
    }

    fn takes(&self, key: &str) -> bool {
        codec::refuse(key, 0).is_none()
    }

    async fn write(&self, changes: Changes<Item>, session: &Session, at: As) -> Result<()> {
        Writer { shared: self, client: self.client().await, session, at }.write(changes).await
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
        self.0.owner.claim(&*self.0, epoch).await
    }

    async fn prepare(&self, view: &View) -> Result<()> {
        let client = self.0.client().await;
        for table in Table::of_view(&self.0.config.prefix, view) {
            table.ensure(client, self.0.config.create).await?;
        }
        Ok(())
    }

    async fn held(&self) -> Result<Option<Held>> {
        Ok(self.0.state().await?.map(|state| state.held))
    }

    async fn begin(&self, epoch: Epoch, after: Offset) -> Result<Box<dyn Apply>> {
        let (session, before) = self.0.owner.begin(&*self.0, epoch, after).await?;
        Ok(Box::new(Step::new(Arc::clone(&self.0), session, before)))
    }

    async fn answer(&self, read: &Read) -> Result<Answer> {
        answer::answer(&self.0, read).await
    }

    async fn scan(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Found>, Option<String>)> {
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
