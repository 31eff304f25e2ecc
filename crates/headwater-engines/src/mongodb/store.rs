//! The store: the server, who owns it, reads.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use headwater_model::file::StoreSection;
use headwater_model::{
    Answer, AnswerMoment, Apply, Astray, Consumed, Epoch, Error, Held, Listed, Offset, Promise, Read, Record,
    Result, Risk, Severity, Standing, StoreFacts, Stored as Found, View,
};
use mongodb::bson::doc;
use tokio::sync::OnceCell;

use super::codec::{self, Body, DOCUMENT_BYTES_MAX};
use super::config::Config;
use super::flush::Writer;
use super::fresh::Fresh;
use super::item::{self, ID, OURS, Stored};
use super::server::Server;
use super::state::{ITEM, StateItem};
use super::{answer, collections, scan};
use crate::entries::Entry;
use crate::versioned::{As, Changes, Engine, Owner, Session, State, Step, What};

/// Keys that one request asks for.
const KEYS_MAX: usize = 1_000;

/// Collections of one prefix in one database.
pub struct Store(Arc<Shared>);

/// What the store and its open step both use.
pub(super) struct Shared {
    pub(super) config: Config,
    server: OnceCell<Server>,
    state: StateItem,
    owner: Owner,
    pub(super) fresh: Fresh,
}

impl Store {
    /// Reads URL and settings; does not connect.
    pub fn new(section: &StoreSection) -> Result<Store> {
        let config = Config::new(section)?;
        let state =
            StateItem { collection: collections::of_state(&config.prefix), item: section.of_source(ITEM) };
        let (server, owner, fresh) = (OnceCell::new(), Owner::default(), Fresh::default());
        Ok(Store(Arc::new(Shared { config, server, state, owner, fresh })))
    }
}

impl Shared {
    pub(super) async fn server(&self) -> Result<&Server> {
        self.server.get_or_try_init(|| Server::connect(&self.config)).await
    }

    /// What the store holds, for an answer.
    pub(super) async fn held(&self) -> Result<Held> {
        let state = self.state().await?.map(|state| state.held);
        state.ok_or_else(|| Error::out_of_step("the store is empty: it has no position"))
    }

    /// Bytes of a place in an index that the server takes. Known once it was looked at.
    fn place_bytes_max(&self) -> usize {
        self.server.get().map_or(usize::MAX, |server| server.place_bytes_max)
    }
}

#[async_trait]
impl Engine for Shared {
    type Body = Body;

    async fn state(&self) -> Result<Option<State>> {
        self.state.read(self.server().await?).await
    }

    async fn change(&self, old: Option<&State>, new: &State) -> Result<bool> {
        self.state.change(self.server().await?, old, new).await
    }

    async fn stored(
        &self,
        view: &View,
        keys: HashSet<String>,
        what: What,
    ) -> Result<HashMap<String, Stored>> {
        let server = self.server().await?;
        let collection = collections::of_documents(&self.config.prefix, &view.name);
        let ids: Vec<String> = keys.iter().map(|key| item::id(key)).collect();
        let mut stored = HashMap::with_capacity(ids.len());
        for ids in ids.chunks(KEYS_MAX) {
            let options = match what {
                What::All => doc! {},
                What::Ours => doc! { "projection": { OURS: 1 } },
            };
            let doing = format!("read from the view \"{}\"", view.name);
            let filter = doc! { ID: { "$in": ids } };
            for document in server.find(doing, &collection, filter, options).await? {
                stored.extend([item::read(document)?]);
            }
        }
        Ok(stored)
    }

    fn encode(&self, view: &View, record: &Record, base: Option<&Body>) -> Body {
        codec::encode(view.layout(), record, base)
    }

    fn size(&self, body: &Body) -> usize {
        codec::size(body)
    }

    fn refuse(&self, _: &str, size: usize, places: &[Entry]) -> Option<String> {
        if size > DOCUMENT_BYTES_MAX {
            return Some(format!(
                "the document has {size} bytes as BSON, MongoDB takes {DOCUMENT_BYTES_MAX}"
            ));
        }
        let max = self.place_bytes_max();
        let large = places.iter().find(|entry| item::text(&entry.bytes).len() > max)?;
        Some(format!(
            "its place in index {} of the view takes {} bytes, the server takes {max}",
            large.index,
            item::text(&large.bytes).len()
        ))
    }

    fn takes(&self, _: &str) -> bool {
        true
    }

    async fn write(&self, changes: Changes<Body>, session: &Session, at: As) -> Result<()> {
        Writer { shared: self, server: self.server().await?, session, at }.write(changes).await
    }
}

#[async_trait]
impl headwater_model::Store for Store {
    async fn inspect(&self) -> Result<StoreFacts> {
        let server = self.0.server().await?;
        // Says whether the user may read.
        self.0.state().await?;
        let alone = Risk {
            severity: Severity::Warning,
            what: "the server is no replica set: while it is down the store is down, and what its disk loses is lost".into(),
            remedy: "run it as a replica set of three (rs.initiate()), and name its members in the URL".into(),
        };
        Ok(StoreFacts {
            server: server.name.clone(),
            promise: Promise::Key,
            partial_hash: true,
            partial_json: true,
            key_bytes_max: DOCUMENT_BYTES_MAX,
            document_bytes_max: DOCUMENT_BYTES_MAX,
            risks: if server.is_replicated { Vec::new() } else { vec![alone] },
        })
    }

    async fn claim(&self, epoch: Epoch) -> Result<Option<Held>> {
        self.0.owner.claim(&*self.0, epoch).await
    }

    async fn prepare(&self, view: &View) -> Result<()> {
        let collection = collections::of_documents(&self.0.config.prefix, &view.name);
        collections::prepare(self.0.server().await?, &collection, view).await
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

    /// Nothing: what lies in an index is what documents say of themselves, so that there are no strays.
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
        Vec::new()
    }
}
