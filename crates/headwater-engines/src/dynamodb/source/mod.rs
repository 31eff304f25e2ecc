//! Amazon DynamoDB as a source: tables with streams, whatever writes to them.
//!
//! DynamoDB orders the changes of one key and nothing beyond: there is no transaction in its streams, no order between two
//! keys and no position over several shards. So a position is a number given here ([`state`]), what came by together is one
//! transaction of ours, and what is promised is each key's own order.
//!
//! | file | idea |
//! |---|---|
//! | `shape`, `value` | tables without columns as tables with columns; attributes as values |
//! | `shards` | which shard may be read, and how far each was |
//! | `follow`, `marks` | reading all of them; marks on their way |
//! | `state` | how far every shard was read at each position, and who follows, in a table of ours |
//! | `chunk`, `segments` | parts of a table and single items; how far a scan has come |
//! | `inspect`, `checks` | facts; whether a stream is read too late |
//! | `config` | URL and settings |

mod checks;
mod chunk;
mod config;
mod follow;
mod inspect;
mod marks;
mod segments;
mod shape;
mod shards;
mod state;
mod value;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{StreamSpecification, StreamViewType};
use aws_sdk_dynamodbstreams::Client as Streams;
use headwater_model::file::SourceSection;
use headwater_model::{
    Answer, Catalogued, Chunk, ChunkId, ChunkRange, Error, Follow, Lineage, Position, Read, Result,
    RetainedLog, SourceFacts, TableName, Traffic,
};
use tokio::sync::OnceCell;
use tokio::time::Instant;

pub(crate) use self::checks::{Examiner, checks};
use self::chunk::Pace;
use self::config::Options;
use self::follow::Begin;
use self::marks::Shared;
use self::shape::{Described, Shape, describe};
use self::shards::Shards;
use self::state::{Join, Lease, State, now_ms};
use super::client::{connect, connect_streams};
use super::failure::failure;
use super::tables::Table;

/// How long `follow` waits for another instance to end.
const FOLLOW_WAIT: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How often a lease is renewed before it would run out.
const RENEWALS: u32 = 5;

/// A stream that was switched on is there within seconds.
const STREAM_WITHIN: Duration = Duration::from_secs(60);

/// How often positions that were released are deleted.
const FORGET_EVERY: Duration = Duration::from_secs(5);

/// Tables of one account in one region.
pub struct Source {
    options: Options,
    opened: OnceCell<Opened>,
    shared: Arc<Shared>,
    pace: Pace,
    /// Who this value is, to others that would follow.
    owner: String,
    followed: AtomicU64,
    /// Names of the tables of the last `prepare`.
    tables: Mutex<Vec<String>>,
    /// A lease of somebody else as it was seen first.
    seen: Mutex<Option<(Lease, Instant)>>,
    released: Mutex<Option<(u64, Instant)>>,
}

struct Opened {
    client: Client,
    streams: Streams,
    state: Arc<State>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Source {
    /// Reads URL and settings; does not connect.
    pub fn new(section: &SourceSection) -> Result<Source> {
        let options = Options::new(section)?;
        Ok(Source {
            pace: Pace::new(options.read_units_max),
            options,
            opened: OnceCell::new(),
            shared: Arc::default(),
            owner: format!("{}.{}", std::process::id(), now_ms()),
            followed: AtomicU64::new(0),
            tables: Mutex::default(),
            seen: Mutex::default(),
            released: Mutex::default(),
        })
    }

    async fn opened(&self) -> &Opened {
        let open = async || {
            let config = &self.options.config;
            let client = connect(config).await;
            let streams = connect_streams(config, self.options.streams_endpoint.as_deref()).await;
            let state = Arc::new(State::new(client.clone(), &config.prefix, &self.options.follower));
            Opened { client, streams, state }
        };
        self.opened.get_or_init(open).await
    }

    /// What positions are called: the account and region, and this history of positions.
    async fn system(&self) -> Result<Arc<str>> {
        let opened = self.opened().await;
        let place = inspect::place(&opened.client, &self.options.config.prefix).await?;
        let course = opened.state.course().await?;
        Ok(format!("{place}/{}", course.as_deref().unwrap_or("none")).into())
    }

    async fn described(&self, name: &str) -> Result<Described> {
        let found = describe(&self.opened().await.client, name).await?;
        found.ok_or_else(|| Error::misconfigured(format!("there is no table {name}")))
    }

    fn shape(&self, described: &Described) -> Result<Shape> {
        match self.options.columns.get(described.name.as_str()) {
            Some(declared) => described.shape(declared),
            None => Err(inspect::undeclared(&described.name)),
        }
    }

    /// Switches a stream on that is off.
    async fn switch_on(&self, table: &str) -> Result<Described> {
        let specification = StreamSpecification::builder()
            .stream_enabled(true)
            .stream_view_type(StreamViewType::NewAndOldImages)
            .build()
            .map_err(|e| Error::bug("a stream's specification is incomplete").with_cause(e))?;
        let client = &self.opened().await.client;
        let request = client.update_table().table_name(table).stream_specification(specification);
        request.send().await.map_err(|e| failure(format_args!("switch on the stream of {table}"), e))?;
        let until = Instant::now() + STREAM_WITHIN;
        loop {
            let described = self.described(table).await?;
            if described.stream().is_ok() {
                return Ok(described);
            }
            if Instant::now() > until {
                return Err(Error::transient(format!(
                    "the stream of table {table} is still being switched on"
                )));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Takes the lease, from one who gave it back or is silent. Whoever follows is waited for, bounded.
    async fn lease(&self, owner: &str) -> Result<Lease> {
        let state = &self.opened().await.state;
        let until = Instant::now() + FOLLOW_WAIT;
        loop {
            let seen = state.lease().await?;
            let is_free = match &seen {
                None => true,
                Some(lease) if lease.owner == state::NOBODY || lease.owner.starts_with(&self.owner) => true,
                Some(lease) => {
                    let mut known = lock(&self.seen);
                    match &*known {
                        Some((was, since)) if was == lease => since.elapsed() >= self.options.lease,
                        _ => {
                            *known = Some((lease.clone(), Instant::now()));
                            false
                        }
                    }
                }
            };
            if is_free && let Some(lease) = state.take(seen.as_ref(), owner).await? {
                return Ok(lease);
            }
            if Instant::now() > until {
                return Err(Error::transient("another instance follows these tables").with_remedy(format!(
                    "if it is none of yours, give this one a follower of its own in [source]; it is {:?} now",
                    self.options.follower
                )));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

#[async_trait]
impl headwater_model::Source for Source {
    async fn inspect(&self) -> Result<SourceFacts> {
        inspect::facts(&self.opened().await.client, &self.options).await
    }

    async fn lineage(&self, _known: Option<&Position>) -> Result<Lineage> {
        Ok(Lineage::only(self.system().await?))
    }

    async fn prepare(&self, tables: &[TableName]) -> Result<Vec<TableName>> {
        let opened = self.opened().await;
        let create = self.options.config.create;
        Table::of_source(&self.options.config.prefix).ensure(&opened.client, create).await?;
        if opened.state.course().await?.is_none() {
            opened.state.begin(&format!("{:x}", now_ms())).await?;
        }
        let mut joins = opened.state.joins().await?;
        let mut joined = Vec::new();
        for name in tables {
            let mut described = self.described(&name.name).await?;
            // Says now what could not be read later.
            self.shape(&described)?;
            let known = joins.remove(&*name.name);
            if described.stream.is_none() && create {
                described = self.switch_on(&name.name).await?;
            }
            let stream = match described.stream() {
                Ok(stream) => stream,
                // It was followed: whoever switched it off may switch it on again.
                Err((what, remedy)) if known.is_some() => {
                    return Err(Error::transient(what).with_remedy(remedy));
                }
                Err((what, remedy)) => return Err(Error::misconfigured(what).with_remedy(remedy)),
            };
            if known.is_some_and(|known| known.stream == stream.arn) {
                continue;
            }
            let listed = follow::listed(&opened.streams, &name.name, &stream.arn).await?;
            if listed.is_empty() {
                return Err(Error::transient(format!("the stream of table {} has no shard yet", name.name)));
            }
            let iterators = follow::latest(&opened.streams, &name.name, &stream.arn, &listed).await?;
            let now = now_ms();
            let join = Join {
                id: format!("{now:x}"),
                stream: stream.arn.clone(),
                shards: Shards::joined(&listed, now),
                iterators,
            };
            opened.state.join(&name.name, &join).await?;
            joined.push(name.clone());
        }
        for left in joins.keys() {
            opened.state.leave(left).await?;
        }
        *lock(&self.tables) = tables.iter().map(|table| table.name.to_string()).collect();
        Ok(joined)
    }

    async fn follow(&self, after: Option<&Position>) -> Result<Box<dyn Follow>> {
        let opened = self.opened().await;
        let system = self.system().await?;
        let owner = format!("{}.{}", self.owner, self.followed.fetch_add(1, Ordering::Relaxed));
        let names = lock(&self.tables).clone();
        let lease = self.lease(&owner).await?;
        // The one before gives no more of them.
        let given = opened.state.newest().await?.unwrap_or(0);
        let (number, place) = match after {
            Some(after) if after.system != system => {
                return Err(Error::out_of_step(format!(
                    "the position belongs to {}, what is followed here is {system}: the table in which Headwater keeps \
                     positions was deleted or begun anew",
                    after.system
                )));
            }
            Some(after) => follow::number(after.sequence),
            None => (given, 0),
        };
        let known = match opened.state.checkpoint(number).await? {
            Some(known) => known,
            // Before the first turn.
            None if number == 0 => state::Checkpoint::new(),
            None => {
                return Err(Error::out_of_step(format!(
                    "how far the streams were read at position {number} is not known any more"
                )));
            }
        };
        let silent_ms = now_ms().saturating_sub(lease.at_ms);
        if !known.is_empty() && silent_ms > follow::TRIMMED_AFTER_MS {
            return Err(Error::out_of_step(format!(
                "nobody has followed for {} hours, and DynamoDB keeps the records of a stream for 24",
                silent_ms / 3_600_000
            )));
        }
        let mut joins = opened.state.joins().await?;
        let (mut read, mut arns, mut shapes) = (known, BTreeMap::new(), BTreeMap::new());
        let mut joined = BTreeMap::new();
        for name in &names {
            let Some(join) = joins.remove(name) else {
                return Err(Error::transient(format!("table {name} is not prepared for being followed")));
            };
            let described = self.described(name).await?;
            // Until the table is prepared anew, which tells those who keep it that they lack something.
            if described.stream.as_ref().is_none_or(|stream| stream.arn != join.stream) {
                return Err(Error::transient(format!(
                    "table {name} has no stream, or another one than was followed: it will be read anew"
                ))
                .with_remedy("switch its stream on, with new and old images, if it is off"));
            }
            shapes.insert(name.clone(), self.shape(&described)?);
            arns.insert(name.clone(), join.stream);
            joined.extend(
                join.iterators.into_iter().map(|(shard, iterator)| ((name.clone(), shard), iterator)),
            );
            if read.get(name).is_none_or(|read| read.join != join.id) {
                read.insert(name.clone(), state::Read { join: join.id, shards: join.shards });
            }
        }
        read.retain(|name, _| arns.contains_key(name));
        let given = given.max(number);
        let begin = Begin { system, number, place, given, read, arns, joined, lease };
        let following = follow::start(
            opened.streams.clone(),
            Arc::clone(&opened.state),
            Arc::clone(&self.shared),
            shapes,
            self.options.poll,
            self.options.lease / RENEWALS,
            begin,
        )
        .await?;
        Ok(Box::new(following))
    }

    async fn shapes(&self, tables: &[TableName]) -> Result<Vec<Catalogued>> {
        let mut shapes = Vec::with_capacity(tables.len());
        for table in tables {
            let described = self.described(&table.name).await?;
            shapes.push(described.catalogued(&self.shape(&described)?));
        }
        Ok(shapes)
    }

    async fn read_chunk(&self, range: &ChunkRange) -> Result<Chunk> {
        // Before anything is read: what came by up to here is in what is read, and what is in it beyond comes by later.
        let position = match self.shared.reached() {
            Some(position) => position,
            None => self.progress().await?.0,
        };
        let shape = self.shape(&self.described(&range.table.name).await?)?;
        let segments = self.options.scan_segments;
        chunk::read(&self.opened().await.client, &self.pace, &shape, position, range, segments).await
    }

    async fn mark(&self, chunk: ChunkId) -> Result<()> {
        self.shared.mark(chunk, self.options.settle);
        Ok(())
    }

    async fn release(&self, upto: &Position) -> Result<()> {
        let (number, _) = follow::number(upto.sequence);
        let is_due =
            lock(&self.released).is_none_or(|(known, at)| number > known && at.elapsed() >= FORGET_EVERY);
        let is_ours = self.shared.reached().is_some_and(|reached| reached.system == upto.system);
        if !is_due || !is_ours {
            return Ok(());
        }
        *lock(&self.released) = Some((number, Instant::now()));
        self.opened().await.state.forget_before(number).await
    }

    async fn progress(&self) -> Result<(Position, RetainedLog)> {
        // A stream is kept for a day whoever reads it: nothing is kept for us.
        let retained = RetainedLog { bytes: 0, bound_bytes: None };
        if let Some(reached) = self.shared.reached() {
            return Ok((reached, retained));
        }
        let number = self.opened().await.state.newest().await?.unwrap_or(0);
        Ok((Position::new(self.system().await?, follow::sequence(number, 0)), retained))
    }

    async fn forget(&self) -> Result<()> {
        *lock(&self.released) = None;
        self.opened().await.state.forget_all().await
    }

    async fn answer(&self, _read: &Read) -> Result<Answer> {
        Err(Error::unsupported("DynamoDB as a source answers no access patterns")
            .with_remedy("keep the view in a second store if it has to be answered when the first one fails"))
    }

    fn traffic(&self) -> Vec<Traffic> {
        self.shared.traffic()
    }

    fn notation(&self, position: &Position) -> String {
        follow::number(position.sequence).0.to_string()
    }

    fn sequence(&self, notation: &str) -> Option<u64> {
        notation.parse().ok().map(|number| follow::sequence(number, 0))
    }
}
