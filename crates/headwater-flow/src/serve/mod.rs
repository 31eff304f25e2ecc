//! Reading: access patterns answered by whichever store can, and at last by the source.
//!
//! Owns: which store answers ([`route`]), what a reader's texts mean ([`request`]), what the answer looks like
//! ([`render`]), and the figures of each pattern ([`stats`]). Does not own: protocols (HTTP, RESP), or how an engine
//! answers (each engine's `answer`).
//!
//! Invariants: an answer is at least as new as its reader demanded, by position or by age, or it is not given. A view that is
//! being filled answers nothing, and neither does a store that another instance writes to. The source is asked within its
//! budget and never beyond it.

mod breaker;
mod budget;
mod cursor;
mod flight;
mod freshness;
mod readiness;
mod render;
mod request;
mod route;
mod scan;
pub mod stats;
#[cfg(test)]
mod tests;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_model::{AccessPlan, Error, Field, PlannedRead, Position, Read, Source, Stored};

pub use render::json;

use crate::part::Part;
use crate::service::{Handle, NamedStore};
use crate::trace::Tracer;
use breaker::Breaker;
use budget::Budget;
use flight::Flights;
pub(crate) use render::prefers_numbers;
use route::{ReadStore, Routed};
use stats::{PatternStats, Refusal};

/// How reading is bounded, all from the file.
#[derive(Clone, Debug)]
pub struct Options {
    /// Reads that the source may be asked, when no store can answer.
    pub source_rate_per_second: u64,
    /// Of these, at once.
    pub source_parallel: usize,
    pub source_timeout: Duration,
    /// How long a store may take before the next one is asked.
    pub store_timeout: Duration,
    /// How long a reader waits for its own writes if it does not say.
    pub within: Duration,
    /// Who wants to know where the time of some reads goes.
    pub tracer: Option<Arc<dyn Tracer>>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            source_rate_per_second: 200,
            source_parallel: 4,
            source_timeout: Duration::from_millis(500),
            store_timeout: Duration::from_millis(500),
            within: Duration::from_secs(1),
            tracer: None,
        }
    }
}

/// Keys of one batch.
pub const BATCH_KEYS_MAX: usize = 100;

/// The longest that a reader may wait.
pub const WITHIN_MAX: Duration = Duration::from_secs(30);

/// What a reader asks, as it came.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// Parameters by name: those of the pattern, and `limit`, `cursor`, `reverse` where the pattern has an order.
    pub params: Vec<(String, String)>,
    /// The answer must show everything up to this position: as the source writes it (PostgreSQL: an LSN), or as a former
    /// answer gave it.
    pub after: Option<String>,
    /// How long to wait for that; at most [`WITHIN_MAX`].
    pub within: Option<Duration>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub content: Content,
    pub shown: Shown,
}

/// JSON texts.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// To a `get`: the document, if there is one.
    Document(Option<Arc<str>>),
    /// To a batch of a `get`: of each key, in the order in which they were asked for.
    Documents(Vec<Option<Arc<str>>>),
    /// To everything else: in order, and where to go on if there may be more.
    List { items: Vec<Arc<str>>, next: Option<String> },
}

/// Which moment an answer shows, and who gave it.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// `None`: the source.
    pub store: Option<Box<str>>,
    /// What [`Ask::after`] takes: an answer to whoever asks for it never shows less than this one.
    pub position: Option<String>,
    /// How far the answer may lie behind the source.
    pub age: Duration,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Refused {
    UnknownPattern {
        name: String,
        meant: Option<String>,
    },
    /// The reader's mistake: what is wrong with which parameter.
    BadParameter {
        name: String,
        message: String,
        remedy: Option<String>,
    },
    /// The position asked for is of another course of history, or one that this one has not come to: whether it is part of
    /// it cannot be known.
    OtherHistory(Error),
    /// Nothing new enough within the deadline.
    Behind {
        waited: Duration,
        /// Of the store that is the furthest, how old.
        age: Option<Duration>,
        transactions: Option<u64>,
        /// The number of a transaction that the source does not show yet, although it is in the log at or before the position,
        /// or may be: then the source cannot stand in for the stores.
        unseen: Option<u64>,
    },
    /// The answer would take more than its bound.
    TooMuch(Error),
    Overloaded {
        again_after: Duration,
    },
    /// Who was asked, and why that gave nothing.
    Unavailable {
        tried: Vec<(String, String)>,
    },
}

impl Refused {
    pub fn reason(&self) -> Refusal {
        match self {
            Refused::UnknownPattern { .. }
            | Refused::BadParameter { .. }
            | Refused::OtherHistory(_)
            | Refused::TooMuch(_) => Refusal::BadRequest,
            Refused::Behind { .. } => Refusal::Behind,
            Refused::Overloaded { .. } => Refusal::Overloaded,
            Refused::Unavailable { .. } => Refusal::Unavailable,
        }
    }
}

/// Answers access patterns. Cheap to clone.
#[derive(Clone)]
pub struct Serving {
    inner: Arc<Inner>,
}

struct Inner {
    handle: Handle,
    source: Arc<dyn Source>,
    budget: Budget,
    source_breaker: Breaker,
    stores: Vec<ReadStore>,
    patterns: BTreeMap<Box<str>, Arc<Pattern>>,
    options: Options,
}

/// An access pattern and its figures.
pub struct Pattern {
    pub plan: AccessPlan,
    pub stats: PatternStats,
    /// Places in [`Inner::stores`], in the order in which they are asked.
    stores: Vec<usize>,
    /// Of those that hold part of the view, which are asked before all others if they hold what is asked for.
    parts: Vec<(usize, Arc<Part>)>,
    /// [`AccessPlan::fields`], as parts want them.
    fields: Arc<[Field]>,
    /// Loads of documents that no part holds.
    flights: Flights<Routed>,
}

impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pattern")
            .field("plan", &self.plan)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

impl Serving {
    /// `stores` are those that the service keeps in step.
    pub fn new(
        handle: Handle,
        source: Arc<dyn Source>,
        stores: &[NamedStore],
        plans: Vec<AccessPlan>,
        options: Options,
    ) -> Serving {
        let names: Vec<&str> = stores.iter().map(|store| &*store.name).collect();
        let patterns = plans.into_iter().map(|plan| {
            let pattern = Pattern::new(plan, &names, &handle);
            (pattern.plan.access.name.clone(), Arc::new(pattern))
        });
        let inner = Inner {
            budget: Budget::new(options.source_rate_per_second, options.source_parallel),
            source_breaker: Breaker::default(),
            patterns: patterns.collect(),
            stores: stores.iter().map(|store| ReadStore::new(store, &handle)).collect(),
            handle,
            source,
            options,
        };
        Serving { inner: Arc::new(inner) }
    }

    /// All access patterns, by name.
    pub fn patterns(&self) -> impl Iterator<Item = &Arc<Pattern>> {
        self.inner.patterns.values()
    }

    pub fn pattern(&self, name: &str) -> Result<&Arc<Pattern>, Refused> {
        self.inner.patterns.get(name).ok_or_else(|| Refused::UnknownPattern {
            name: name.to_owned(),
            meant: headwater_model::nearest(name, self.inner.patterns.keys().map(|name| &**name))
                .map(str::to_owned),
        })
    }

    /// Answers what a reader asks of a pattern.
    pub async fn answer(&self, pattern: &str, ask: &Ask) -> Result<Reply, Refused> {
        self.answer_asked(pattern, ask, request::read).await
    }

    /// Answers a `get` of several keys, each of which has its own of every parameter, in order: all as of one moment. Counted
    /// as one read.
    pub async fn answer_batch(&self, pattern: &str, ask: &Ask) -> Result<Reply, Refused> {
        self.answer_asked(pattern, ask, request::batch).await
    }

    async fn answer_asked(&self, pattern: &str, ask: &Ask, read: ReadAsked) -> Result<Reply, Refused> {
        let pattern = self.pattern(pattern)?;
        let began = std::time::Instant::now();
        let answered = self.answer_pattern(pattern, ask, read).await;
        match &answered {
            Ok(reply) => {
                pattern.stats.answered(reply.shown.store.as_deref(), began.elapsed(), reply.shown.age);
            }
            Err(refused) => pattern.stats.refused(refused.reason()),
        }
        answered
    }

    async fn answer_pattern(&self, pattern: &Pattern, ask: &Ask, read: ReadAsked) -> Result<Reply, Refused> {
        let asked = read(&pattern.plan, &ask.params)?;
        let after = ask.after.as_deref().map(|text| self.position(text)).transpose()?;
        let within = ask.within.unwrap_or(self.inner.options.within).min(WITHIN_MAX);
        let (found, shown) = self.inner.route(pattern, &asked.read, after, within).await?;
        pattern.stats.found(&found);
        let content = render::content(&pattern.plan, &asked, found)?;
        Ok(Reply { content, shown })
    }

    /// Answers a read of a pattern whose values are known already: for protocols that do not pass through texts. Counted
    /// as one read.
    pub async fn answer_read(
        &self,
        pattern: &Pattern,
        read: &Read,
        after: Option<Position>,
        within: Duration,
    ) -> Result<(headwater_model::Found, Shown), Refused> {
        self.answer_reads(pattern, read, after, within, 1).await
    }

    /// Like [`Serving::answer_read`], for several reads that were put together into one: counted as `reads`.
    pub async fn answer_reads(
        &self,
        pattern: &Pattern,
        read: &Read,
        after: Option<Position>,
        within: Duration,
        reads: u64,
    ) -> Result<(headwater_model::Found, Shown), Refused> {
        let began = std::time::Instant::now();
        let route = self.inner.route(pattern, read, after, within.min(WITHIN_MAX));
        let answered =
            match self.inner.options.tracer.as_deref().map(|tracer| (tracer, tracer.samples_read())) {
                Some((tracer, Some(trace))) => {
                    let answered = trace.of(Box::pin(route)).await;
                    let shown = answered.as_ref().map(|(_, shown)| shown);
                    tracer.read(&pattern.plan.access.name, reads, &trace, shown);
                    answered
                }
                _ => route.await,
            };
        match &answered {
            Ok((found, shown)) => {
                pattern.stats.found(found);
                pattern.stats.answered_many(shown.store.as_deref(), began.elapsed(), shown.age, reads);
            }
            Err(refused) => pattern.stats.refused_many(refused.reason(), reads),
        }
        answered
    }

    /// Up to `limit` documents of the view that a `get` reads, from the first store that can answer or from the one that
    /// a former answer names, and where to go on. In an order of that store's own.
    pub async fn scan(
        &self,
        pattern: &Pattern,
        from: Option<ScanPlace>,
        limit: usize,
    ) -> Result<(Vec<Stored>, Option<ScanPlace>), Refused> {
        self.inner.scan(pattern, from, limit).await
    }

    /// Waits until each of these patterns has a store that shows everything up to `position`: then reads that demand it
    /// need not wait. `Behind` if that takes longer than `within`.
    pub async fn wait<'p>(
        &self,
        patterns: impl Iterator<Item = &'p Pattern>,
        position: &Position,
        within: Duration,
    ) -> Result<(), Refused> {
        self.inner.wait(patterns, position, within.min(WITHIN_MAX)).await
    }

    /// A pattern that the file does not have, for protocols that read views rather than patterns.
    pub fn unlisted(&self, plan: AccessPlan) -> Arc<Pattern> {
        let names: Vec<&str> = self.inner.stores.iter().map(|store| &*store.name).collect();
        Arc::new(Pattern::new(plan, &names, &self.inner.handle))
    }

    /// A position as an application writes it: `POSITION`, or `SYSTEM@POSITION` as answers give it.
    pub fn position(&self, text: &str) -> Result<Position, Refused> {
        freshness::position(&self.inner.handle, &*self.inner.source, text)
    }
}

/// What a pattern and parameters make together.
type ReadAsked = fn(&AccessPlan, &[(String, String)]) -> Result<request::Asked, Refused>;

/// Where a scan goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanPlace {
    /// Which store has been read from.
    pub store: usize,
    /// What it said.
    pub cursor: String,
}

impl Pattern {
    /// `stores`: the names of all stores, in order.
    fn new(plan: AccessPlan, stores: &[&str], handle: &Handle) -> Pattern {
        let place = |name: &str| stores.iter().position(|store| *store == name);
        let part = |name: &str| match &plan.read {
            PlannedRead::Get { view } => handle.part(name, &view.name),
            _ => None,
        };
        let (mut whole, mut parts) = (Vec::new(), Vec::new());
        for name in &plan.stores {
            match (place(name), part(name)) {
                (Some(place), Some(part)) => parts.push((place, part)),
                (Some(place), None) => whole.push(place),
                (None, _) => {}
            }
        }
        Pattern {
            stats: PatternStats::new(&plan.stores),
            stores: whole,
            parts,
            fields: plan.fields.clone().into(),
            flights: Flights::default(),
            plan,
        }
    }

    /// Whether this is a plain `get` of a view.
    pub fn gets(&self, view: &str) -> bool {
        matches!(&self.plan.read, PlannedRead::Get { view: got } if *got.name == *view)
    }
}
