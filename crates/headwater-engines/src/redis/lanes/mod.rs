//! A store in a cluster, spread over lanes.
//!
//! Every lane is a whole store of its own: its keys lie in one slot, with a position, an owner and indexes, and a step is one
//! MULTI there ([`super::lane`]). A document lies in the lane that its name says ([`super::slot`]). A step of the store is one in
//! every lane, at the same time, so the store promises [`Promise::Key`]: a transaction may show in one lane before it does in
//! another.
//!
//! Invariants: the store is where its last lane is, so it never says that it is ahead of what any node holds, whatever node
//! lost its newest writes. No lane goes back by what is written again ([`super::ahead`]). An owner is one only where it is that of
//! every lane, so one that was overtaken writes nowhere.
//!
//! | file | idea |
//! |---|---|
//! | `mod` | ownership: claiming all lanes, and where the store is |
//! | `step` | a step in every lane; `moved`: documents that go from one lane to another |
//! | `read` | questions to many lanes at one moment |
//! | `walk` | the keys of all lanes, node by node |

mod moved;
mod read;
mod step;
mod walk;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures::future::join_all;
use headwater_model::{
    Answer, AnswerMoment, Astray, Epoch, Error, ErrorKind, Held, Offset, Promise, Read, Result, Standing,
    StoreFacts, View,
};
use tokio::sync::{RwLock, Semaphore};

use self::step::LanesStep;
use super::ahead::Ahead;
use super::cluster::Nodes;
use super::config::Config;
use super::lane::{Lane, beginning};
use super::meta::{self, Mark};
use super::resp::Reply;
use super::{answer, facts, listing, slot};

/// Reads that go on at the same time; each has a connection per node.
const READS_MAX: usize = 64;

pub(super) struct Lanes(Arc<Shared>);

/// What the store and its open step both use.
struct Shared {
    config: Config,
    nodes: Arc<Nodes>,
    lanes: Vec<Lane>,
    /// By lane.
    slots: Vec<u16>,
    /// Held by whoever makes the lanes uneven, or wants them to stay even.
    even: RwLock<()>,
    reads: Semaphore,
    /// What a lane is perhaps ahead of is not held back from the next step: [`step`] says why.
    direct: AtomicBool,
}

impl Lanes {
    pub(super) fn new(config: &Config) -> Result<Lanes> {
        if config.prefix.contains('{') {
            return Err(Error::misconfigured(format!(
                "store {:?}: this is a cluster, and the prefix {:?} has a \"{{\" but no hash tag",
                config.store, config.prefix
            ))
            .with_remedy(
                "take the brace out of the prefix, so that the store is spread over the cluster, or close the hash tag \
                 (\"{shop}:\"), so that all of it lies in one slot",
            ));
        }
        let nodes = Arc::new(Nodes::new(config.clone()));
        let (mut lanes, mut slots) = (Vec::new(), Vec::new());
        for tag in slot::tags(config.lanes) {
            let slot = slot::of_tag(&tag);
            let config = Config { prefix: format!("{}{{{tag}}}:", config.prefix), ..config.clone() };
            lanes.push(Lane::new(config, Some((Arc::clone(&nodes), slot))));
            slots.push(slot);
        }
        Ok(Lanes(Arc::new(Shared {
            config: config.clone(),
            nodes,
            lanes,
            slots,
            even: RwLock::default(),
            reads: Semaphore::new(READS_MAX),
            direct: AtomicBool::new(false),
        })))
    }

    pub(super) async fn inspect(&self) -> Result<StoreFacts> {
        let shared = &self.0;
        let nodes =
            shared.nodes.owners(shared.slots.iter().copied()).await.inspect_err(|_| shared.nodes.doubt())?;
        let (mut all, count): (Option<StoreFacts>, _) = (None, nodes.len());
        for node in nodes {
            let mut reader = shared.nodes.reader(&node).await?;
            let mut facts =
                facts::inspect(&mut reader).await.map_err(|e| e.while_doing(format!("node {node}")))?;
            shared.nodes.give_back(reader);
            facts.risks.iter_mut().for_each(|risk| risk.what = format!("node {node}: {}", risk.what));
            match &mut all {
                Some(all) => all.risks.append(&mut facts.risks),
                None => all = Some(facts),
            }
        }
        let facts = all.ok_or_else(|| Error::transient("the cluster has no nodes"))?;
        let server = format!("{}, a cluster with the store on {count} nodes", facts.server);
        Ok(StoreFacts { server, promise: Promise::Key, ..facts })
    }

    pub(super) async fn prepare(&self, view: &View) -> Result<()> {
        self.0.check_count().await?;
        self.0.all(join_all(self.0.lanes.iter().map(|lane| lane.prepare(view))).await).map(drop)
    }

    /// Takes all lanes over, and brings them to one place: that of the last.
    pub(super) async fn claim(&self, epoch: Epoch) -> Result<Option<Held>> {
        let shared = &self.0;
        shared.check_count().await?;
        let raise = |before: Option<&Mark>| {
            let held = |held: &Held| Held { epoch, ..held.clone() };
            before.map(|mark| Mark { held: held(&mark.held), ahead: mark.ahead.clone() })
        };
        let before = shared.take_over(epoch, |_| raise).await?;
        if before.iter().any(Option::is_none) {
            // A node lost all it had. What the others have is given up first: until the lanes that have nothing are made, nobody
            // takes the store for one that lacks nothing.
            let void = || Some(Mark { held: beginning(epoch), ahead: Ahead::default() });
            shared.take_over(epoch, |_| |before: Option<&Mark>| before.and_then(|_| void())).await?;
            shared
                .take_over(epoch, |_| |before: Option<&Mark>| if before.is_none() { void() } else { None })
                .await?;
            return Ok(None);
        }
        let before: Vec<Mark> = before.into_iter().flatten().collect();
        let Some(last) = before.iter().map(|mark| &mark.held).min_by_key(|held| held.offset) else {
            return Err(Error::bug("a store without lanes"));
        };
        let highest = before.iter().map(|mark| mark.held.epoch).max().unwrap_or_default();
        let even = |was: &Mark| {
            let mut ahead = was.ahead.clone();
            if was.held.offset > last.offset {
                ahead.left_at(was.held.offset);
            }
            Mark { held: Held { epoch, ..last.clone() }, ahead }
        };
        let even: Vec<Mark> = before.iter().map(even).collect();
        shared
            .take_over(epoch, |lane| {
                let mark = &even[lane];
                move |now: Option<&Mark>| (now? != mark).then(|| mark.clone())
            })
            .await?;
        Ok(Some(Held { epoch: highest, ..last.clone() }))
    }

    /// Where the last lane is; nothing if one of them holds nothing.
    pub(super) async fn held(&self) -> Result<Option<Held>> {
        let shared = &self.0;
        let blocks = (0..shared.lanes.len()).map(|lane| answer::Block::new(lane, &shared.lanes[lane].meta()));
        let told = shared.told(&blocks.collect::<Vec<_>>()).await?;
        Ok(read::last(told.into_iter().map(|told| told.mark)).map(|mark| mark.held))
    }

    pub(super) async fn begin(&self, epoch: Epoch, after: Offset) -> Result<LanesStep> {
        let shared = &self.0;
        let steps = shared.all(join_all(shared.lanes.iter().map(|lane| lane.begin(epoch, after))).await)?;
        Ok(LanesStep::new(Arc::clone(shared), after, steps))
    }

    pub(super) async fn answer(&self, read: &Read) -> Result<Answer> {
        let _one = self.0.reads.acquire().await.map_err(|_| Error::bug("reads are never closed"))?;
        answer::answer(&mut read::Spread(&self.0), read).await
    }

    pub(super) async fn astray(
        &self,
        view: &View,
        asked: &[Standing],
    ) -> Result<(AnswerMoment, Vec<Astray>)> {
        let _one = self.0.reads.acquire().await.map_err(|_| Error::bug("reads are never closed"))?;
        listing::astray(&mut read::Spread(&self.0), view, asked).await
    }
}

impl Shared {
    /// [`Lane::take_over`] of every lane; what was held, by lane.
    async fn take_over<N: Fn(Option<&Mark>) -> Option<Mark> + Send>(
        &self,
        epoch: Epoch,
        next: impl Fn(usize) -> N,
    ) -> Result<Vec<Option<Mark>>> {
        let more = [(meta::LANES.to_owned(), self.lanes.len().to_string())];
        let each = self.lanes.iter().enumerate().map(|(at, lane)| lane.take_over(epoch, &more, next(at)));
        self.all(join_all(each).await)
    }

    /// A store is spread over as many lanes as when it was begun. The first is called the same however many there are.
    async fn check_count(&self) -> Result<()> {
        let mut reader = self.nodes.reader(&self.nodes.owner(self.slots[0]).await?).await?;
        let found = reader.ask(&[b"HMGET", &self.lanes[0].meta(), meta::LANES.as_bytes()]).await?;
        self.nodes.give_back(reader);
        let count = match found {
            Reply::Array(mut found) => found.pop().unwrap_or(Reply::Nil),
            error => error,
        };
        match count {
            Reply::Text(count) if count != self.lanes.len().to_string().as_bytes() => {
                let count = String::from_utf8_lossy(&count).into_owned();
                Err(Error::misconfigured(format!(
                    "store {:?} is spread over {count} lanes, and the file says {}",
                    self.config.store,
                    self.lanes.len()
                ))
                .with_remedy(format!(
                    "write `lanes = {count}`, or give the store another prefix to fill it anew"
                )))
            }
            Reply::Error(text) => {
                self.nodes.doubt();
                Err(super::failure::from_reply(&text))
            }
            _ => Ok(()),
        }
    }

    /// What all lanes gave, or the error that says most.
    fn all<T>(&self, results: Vec<Result<T>>) -> Result<Vec<T>> {
        let (mut all, mut worst): (Vec<T>, Option<Error>) = (Vec::with_capacity(results.len()), None);
        for result in results {
            match result {
                Ok(one) => all.push(one),
                Err(e) => {
                    if worst.as_ref().is_none_or(|worst| gravity(e.kind()) > gravity(worst.kind())) {
                        worst = Some(e);
                    }
                }
            }
        }
        match worst {
            None => Ok(all),
            Some(error) => {
                // Perhaps a slot has another owner by now.
                self.nodes.doubt();
                Err(error)
            }
        }
    }
}

/// Of several lanes' errors the one that asks most of the caller is told.
fn gravity(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Fenced => 4,
        ErrorKind::OutOfStep => 3,
        ErrorKind::Transient => 1,
        ErrorKind::Throttled => 2,
        _ => 5,
    }
}
