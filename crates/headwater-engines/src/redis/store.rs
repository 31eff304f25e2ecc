//! The store: one server, one slot of a cluster, or many.
//!
//! Which of them is known once the server was asked. A prefix with a hash tag puts all keys into one slot, whatever the
//! server is.

use async_trait::async_trait;
use headwater_model::file::StoreSection;
use headwater_model::{
    Answer, AnswerMoment, Apply, Astray, Epoch, Held, Listed, Offset, Read, Result, Standing, StoreFacts,
    Stored, View,
};
use tokio::sync::OnceCell;

use super::config::Config;
use super::connection::Connection;
use super::lane::Lane;
use super::lanes::Lanes;
use super::{facts, keys};

/// A Redis or Valkey server or cluster.
pub struct Store {
    config: Config,
    kind: OnceCell<Kind>,
}

enum Kind {
    /// All keys lie together.
    One(Lane),
    /// A cluster, and no hash tag.
    Spread(Lanes),
}

impl Store {
    /// Reads URL and settings; does not connect.
    pub fn new(section: &StoreSection) -> Result<Store> {
        let config = Config::new(section)?;
        let kind = match keys::hash_tag(&config.prefix) {
            Some(_) => OnceCell::from(Kind::One(Lane::new(config.clone(), None))),
            None => OnceCell::new(),
        };
        Ok(Store { config, kind })
    }

    async fn kind(&self) -> Result<&Kind> {
        let look = async || {
            let mut connection = Connection::open(&self.config, &self.config.address).await?;
            match facts::is_cluster(&mut connection).await? {
                true => Ok(Kind::Spread(Lanes::new(&self.config)?)),
                false => Ok(Kind::One(Lane::new(self.config.clone(), None))),
            }
        };
        self.kind
            .get_or_try_init(look)
            .await
            .map_err(|e: headwater_model::Error| e.while_doing(format!("store {:?}", self.config.store)))
    }
}

#[async_trait]
impl headwater_model::Store for Store {
    async fn inspect(&self) -> Result<StoreFacts> {
        match self.kind().await? {
            Kind::One(lane) => lane.inspect().await,
            Kind::Spread(lanes) => lanes.inspect().await,
        }
    }

    async fn claim(&self, epoch: Epoch) -> Result<Option<Held>> {
        match self.kind().await? {
            Kind::One(lane) => lane.claim(epoch).await,
            Kind::Spread(lanes) => lanes.claim(epoch).await,
        }
    }

    async fn prepare(&self, view: &View) -> Result<()> {
        match self.kind().await? {
            Kind::One(lane) => lane.prepare(view).await,
            Kind::Spread(lanes) => lanes.prepare(view).await,
        }
    }

    async fn held(&self) -> Result<Option<Held>> {
        match self.kind().await? {
            Kind::One(lane) => lane.held().await,
            Kind::Spread(lanes) => lanes.held().await,
        }
    }

    async fn begin(&self, epoch: Epoch, after: Offset) -> Result<Box<dyn Apply>> {
        match self.kind().await? {
            Kind::One(lane) => Ok(Box::new(lane.begin(epoch, after).await?)),
            Kind::Spread(lanes) => Ok(Box::new(lanes.begin(epoch, after).await?)),
        }
    }

    async fn answer(&self, read: &Read) -> Result<Answer> {
        match self.kind().await? {
            Kind::One(lane) => lane.answer(read).await,
            Kind::Spread(lanes) => lanes.answer(read).await,
        }
    }

    async fn scan(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Stored>, Option<String>)> {
        match self.kind().await? {
            Kind::One(lane) => lane.scan(view, cursor, limit).await,
            Kind::Spread(lanes) => lanes.scan(view, cursor, limit).await,
        }
    }

    async fn keys(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<String>, Option<String>)> {
        match self.kind().await? {
            Kind::One(lane) => lane.keys(view, cursor, limit).await,
            Kind::Spread(lanes) => lanes.keys(view, cursor, limit).await,
        }
    }

    async fn entries(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Listed>, Option<String>)> {
        match self.kind().await? {
            Kind::One(lane) => lane.entries(view, cursor, limit).await,
            Kind::Spread(lanes) => lanes.entries(view, cursor, limit).await,
        }
    }

    async fn astray(&self, view: &View, asked: &[Standing]) -> Result<(AnswerMoment, Vec<Astray>)> {
        match self.kind().await? {
            Kind::One(lane) => lane.astray(view, asked).await,
            Kind::Spread(lanes) => lanes.astray(view, asked).await,
        }
    }

    async fn rows(&self, view: &View) -> Result<u64> {
        match self.kind().await? {
            Kind::One(lane) => lane.rows(view).await,
            Kind::Spread(lanes) => lanes.rows(view).await,
        }
    }

    fn consumed(&self) -> Vec<headwater_model::Consumed> {
        Vec::new()
    }
}
