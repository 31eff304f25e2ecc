//! Which engine answers: the stores of the pattern in their order, and at last the source.
//!
//! A store may answer if it holds the views filled, is as new as the reader demands, and does not fail just now. If the
//! first takes longer than it usually does, the next is asked beside it, and the first good answer counts. When none is
//! new enough the reader waits; when it has waited long enough, or none can answer at all, the source answers within its
//! budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use headwater_model::{Answer, AnswerMoment, Error, ErrorKind, Found, Position, Read, Result, Store};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::breaker::Breaker;
use super::freshness::{Demand, show};
use super::{Inner, Pattern, Refused, Shown};
use crate::board::Progress;
use crate::service::{Distance, Handle, NamedStore};

/// The next store is asked beside the first after this many times what it usually takes, and within these bounds.
const HEDGE_TIMES: u32 = 4;
const HEDGE_LEAST: Duration = Duration::from_millis(3);

/// The end of what is said of a store that is older than its reader allows.
const TOO_OLD: &str = "ms old";

/// A store as readers see it.
pub(super) struct ReadStore {
    pub name: Box<str>,
    pub(super) store: Arc<dyn Store>,
    pub(super) progress: watch::Receiver<Progress>,
    pub(super) breaker: Breaker,
    /// What an answer takes, smoothed, in microseconds.
    usual_micros: AtomicU64,
}

/// A store that may be asked now, and how old it is.
struct Candidate<'a> {
    store: &'a ReadStore,
    progress: Progress,
    distance: Distance,
}

/// An answer, who gave it (`None`: the source), and a place behind which it shows nothing.
struct Routed {
    found: Found,
    store: Option<Box<str>>,
    position: Option<Position>,
    age: Duration,
}

/// What may make a store new enough that is not.
#[derive(Clone, Copy)]
enum Outlook {
    None,
    /// It has not applied everything yet.
    MayCome,
    /// It has applied everything, but the source has not been heard of for too long: it must be asked.
    Unheard,
}

impl ReadStore {
    pub fn new(store: &NamedStore, handle: &Handle) -> ReadStore {
        ReadStore {
            name: store.name.clone(),
            store: Arc::clone(&store.store),
            progress: handle.progress(&store.name),
            breaker: Breaker::default(),
            usual_micros: AtomicU64::new(1_000),
        }
    }

    /// Whether it holds all that the pattern reads.
    pub(super) fn is_filled(&self, pattern: &Pattern) -> bool {
        let progress = self.progress.borrow();
        pattern.plan.read.views().iter().all(|view| progress.ready.contains(&view.name))
    }

    /// Asks the store, and learns from how that goes.
    async fn ask(&self, read: &Read, within: Duration) -> Result<Answer> {
        let began = Instant::now();
        let answered = match timeout(within, self.store.answer(read)).await {
            Ok(answered) => answered,
            Err(_) => Err(Error::transient(format!("no answer within {} ms", within.as_millis()))),
        };
        match &answered {
            Ok(_) => {
                self.breaker.succeeded();
                let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                let usual = self.usual_micros.load(Ordering::Relaxed);
                self.usual_micros.store(usual - usual / 8 + took.min(10_000_000) / 8, Ordering::Relaxed);
            }
            // The question's fault, not the store's.
            Err(error) if error.kind() == ErrorKind::Unsupported => self.breaker.undecided(),
            Err(_) => self.breaker.failed(),
        }
        answered
    }

    fn hedge_after(&self, within: Duration) -> Duration {
        let usual = Duration::from_micros(self.usual_micros.load(Ordering::Relaxed));
        (usual * HEDGE_TIMES).clamp(HEDGE_LEAST, within)
    }
}

impl Inner {
    pub(super) async fn route(
        &self,
        pattern: &Pattern,
        read: &Read,
        after: Option<Position>,
        within: Duration,
    ) -> Result<(Found, Shown), Refused> {
        let Routed { found, store, position, age } =
            self.routed(pattern, read, after.as_ref(), within).await?;
        // Where nothing was committed since, a store is at an older place and still shows everything up to the one that was
        // asked for: whoever passes on the position of each answer never goes back.
        let position = match (position, after) {
            (None, after) => after,
            (Some(shown), Some(after)) if shown < after => Some(after),
            (shown, _) => shown,
        };
        let position = position.map(|position| show(&*self.source, &position));
        Ok((found, Shown { store, position, age }))
    }

    async fn routed(
        &self,
        pattern: &Pattern,
        read: &Read,
        after: Option<&Position>,
        within: Duration,
    ) -> Result<Routed, Refused> {
        let began = Instant::now();
        let deadline = began + within;
        // The source needs its time too, if it is to answer in the end.
        let spare = self.options.source_timeout.min(within / 2);
        let stores_until = if pattern.plan.access.source { deadline - spare } else { deadline };
        let mut tried = Vec::new();
        let mut demand = Demand { offset: None, age_max: pattern.plan.access.stale };
        let mut known = true;
        if let Some(position) = after {
            demand.offset = self.offset_of(position, stores_until).await?;
            known = demand.offset.is_some();
        }
        if known
            && let Some(answer) =
                self.stores_in_time(pattern, read, &demand, stores_until, &mut tried).await?
        {
            return Ok(answer);
        }
        let mut by_source = None;
        if pattern.plan.access.source {
            match self.ask_source(read, after, deadline).await {
                Err(refused @ (Refused::Overloaded { .. } | Refused::Unavailable { .. })) => {
                    by_source = Some(refused);
                }
                ended => return ended,
            }
            // The source could not: a store may still become new enough in time.
            if known
                && let Some(answer) =
                    self.stores_in_time(pattern, read, &demand, deadline, &mut tried).await?
            {
                return Ok(answer);
            }
        }
        if after.is_some() || tried.iter().any(|(_, why)| why.ends_with(TOO_OLD)) {
            return Err(self.behind(pattern, began));
        }
        Err(match by_source {
            Some(overloaded @ Refused::Overloaded { .. }) => overloaded,
            Some(Refused::Unavailable { tried: source }) => {
                tried.extend(source);
                Refused::Unavailable { tried }
            }
            _ => Refused::Unavailable { tried },
        })
    }

    /// The offset after which a store shows `position`; `None` if that is not known in time.
    pub(super) async fn offset_of(
        &self,
        position: &Position,
        until: Instant,
    ) -> Result<Option<headwater_model::Offset>, Refused> {
        let Some(frontier) = self.handle.frontier() else { return Ok(None) };
        match timeout_at(until, frontier.passed(position)).await {
            Ok(Ok(offset)) => Ok(Some(offset)),
            Ok(Err(error)) if error.kind() == ErrorKind::OutOfStep => Err(Refused::OtherHistory(error)),
            Ok(Err(_)) | Err(_) => Ok(None),
        }
    }

    /// Asks the stores as soon as one may be asked; gives up when waiting cannot help, and at `until`.
    async fn stores_in_time(
        &self,
        pattern: &Pattern,
        read: &Read,
        demand: &Demand,
        until: Instant,
        tried: &mut Vec<(String, String)>,
    ) -> Result<Option<Routed>, Refused> {
        loop {
            let moved = self.handle.moved();
            let mut moved = std::pin::pin!(moved);
            // Registered before looking, so that no move in between is missed.
            moved.as_mut().enable();
            tried.clear();
            let (candidates, outlook) = self.candidates(pattern, demand, tried);
            if !candidates.is_empty() {
                return self.ask_in_order(pattern, read, candidates, tried).await;
            }
            let came = match outlook {
                Outlook::None => return Ok(None),
                Outlook::MayCome => timeout_at(until, moved).await.is_ok(),
                Outlook::Unheard => match self.handle.frontier() {
                    Some(frontier) => matches!(timeout_at(until, frontier.now()).await, Ok(Ok(_))),
                    None => false,
                },
            };
            if !came {
                return Ok(None);
            }
        }
    }

    /// The stores that may be asked now, in the pattern's order; and what may make another one new enough.
    fn candidates(
        &self,
        pattern: &Pattern,
        demand: &Demand,
        tried: &mut Vec<(String, String)>,
    ) -> (Vec<Candidate<'_>>, Outlook) {
        let views = pattern.plan.read.views();
        let mut candidates = Vec::with_capacity(pattern.stores.len());
        let mut outlook = Outlook::None;
        for place in &pattern.stores {
            let store = &self.stores[*place];
            let progress = store.progress.borrow().clone();
            let mut not = |why: String| tried.push((store.name.to_string(), why));
            if let Some(view) = views.iter().find(|view| !progress.ready.contains(&view.name)) {
                not(format!("view `{}` is not filled", view.name));
                continue;
            }
            if demand.offset.is_some_and(|offset| progress.offset < offset) {
                if progress.connected {
                    outlook = Outlook::MayCome;
                }
                not("has not applied the position yet".to_owned());
                continue;
            }
            let distance = self.handle.distance(progress.offset);
            if demand.age_max.is_some_and(|most| distance.age > most) {
                if distance.transactions == 0 && progress.connected {
                    outlook = Outlook::Unheard;
                }
                not(format!("is {} {TOO_OLD}", distance.age.as_millis()));
                continue;
            }
            if !store.breaker.lets_through() {
                not("failed just now and is left alone for a moment".to_owned());
                continue;
            }
            candidates.push(Candidate { store, progress, distance });
        }
        (candidates, outlook)
    }

    /// Asks one after the other, the next also when one takes unusually long. `None` if none gave a good answer.
    async fn ask_in_order(
        &self,
        pattern: &Pattern,
        read: &Read,
        candidates: Vec<Candidate<'_>>,
        tried: &mut Vec<(String, String)>,
    ) -> Result<Option<Routed>, Refused> {
        let within = self.options.store_timeout;
        let mut asked = FuturesUnordered::new();
        let mut waiting = candidates.into_iter();
        let Some(first) = waiting.next() else { return Ok(None) };
        let mut hedge_at = Instant::now() + first.store.hedge_after(within);
        asked.push(ask(first, read, within));
        while !asked.is_empty() {
            let ended = tokio::select! {
                biased;
                ended = asked.next() => ended,
                () = tokio::time::sleep_until(hedge_at), if waiting.len() > 0 => None,
            };
            let Some((candidate, answered)) = ended else {
                if let Some(next) = waiting.next() {
                    pattern.stats.hedged();
                    hedge_at = Instant::now() + next.store.hedge_after(within);
                    asked.push(ask(next, read, within));
                }
                continue;
            };
            match answered.and_then(|answer| self.judge(pattern, &candidate, answer)) {
                Ok(answer) => {
                    self.abandon(asked, waiting);
                    return Ok(Some(answer));
                }
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    self.abandon(asked, waiting);
                    return Err(Refused::TooMuch(error));
                }
                Err(error) => tried.push((candidate.store.name.to_string(), error.to_string())),
            }
            if let Some(next) = waiting.next() {
                hedge_at = Instant::now() + next.store.hedge_after(within);
                asked.push(ask(next, read, within));
            }
        }
        Ok(None)
    }

    /// Those that were let through and are not waited for have said nothing.
    fn abandon<'a>(
        &self,
        asked: FuturesUnordered<impl Future>,
        waiting: impl Iterator<Item = Candidate<'a>>,
    ) {
        drop(asked);
        waiting.for_each(|candidate| candidate.store.breaker.undecided());
    }

    /// Whether an answer is one that may be given: the store must not have been cleared, rewound or taken over meanwhile.
    fn judge(&self, pattern: &Pattern, candidate: &Candidate<'_>, answer: Answer) -> Result<Routed> {
        let (AnswerMoment::Applied(held) | AnswerMoment::AtLeast(held)) = answer.at else {
            return Err(Error::bug("a store answered with the source's moment"));
        };
        if Some(held.epoch) != self.handle.epoch() {
            return Err(Error::new(ErrorKind::Fenced, "another instance writes to the store"));
        }
        if held.offset < candidate.progress.stored {
            return Err(Error::out_of_step("the store went back in time"));
        }
        let now = candidate.store.progress.borrow();
        if pattern.plan.read.views().iter().any(|view| !now.ready.contains(&view.name)) {
            return Err(Error::out_of_step("the view is being filled again"));
        }
        Ok(Routed {
            found: answer.found,
            store: Some(candidate.store.name.clone()),
            position: held.position,
            age: candidate.distance.age,
        })
    }

    /// The source, within its budget.
    async fn ask_source(
        &self,
        read: &Read,
        after: Option<&Position>,
        deadline: Instant,
    ) -> Result<Routed, Refused> {
        let unavailable = |why: String| Err(Refused::Unavailable { tried: vec![("source".to_owned(), why)] });
        if !self.source_breaker.lets_through() {
            return unavailable("failed just now and is left alone for a moment".to_owned());
        }
        let _permit = match self.budget.take(deadline).await {
            Ok(permit) => permit,
            Err(exhausted) => {
                self.source_breaker.undecided();
                return Err(Refused::Overloaded { again_after: exhausted.again_after });
            }
        };
        let within = self.options.source_timeout.min(deadline.saturating_duration_since(Instant::now()));
        let answered = match timeout(within, self.source.answer(read)).await {
            Ok(answered) => answered,
            Err(_) => Err(Error::transient(format!("no answer within {} ms", within.as_millis()))),
        };
        let answer = match answered {
            Ok(answer) => {
                self.source_breaker.succeeded();
                answer
            }
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                self.source_breaker.undecided();
                return Err(Refused::TooMuch(error));
            }
            Err(error) => {
                self.source_breaker.failed();
                return unavailable(error.to_string());
            }
        };
        let AnswerMoment::Now { all_to, none_past } = answer.at else {
            return unavailable("answered with a store's moment".to_owned());
        };
        match after.map(|after| all_to.partial_cmp(after)) {
            None | Some(Some(std::cmp::Ordering::Equal | std::cmp::Ordering::Greater)) => {}
            Some(Some(std::cmp::Ordering::Less)) => {
                return unavailable("the source itself has not come to the position".to_owned());
            }
            Some(None) => {
                return Err(Refused::OtherHistory(Error::out_of_step(format!(
                    "the source is now system {}",
                    all_to.system
                ))));
            }
        }
        Ok(Routed { found: answer.found, store: None, position: Some(none_past), age: Duration::ZERO })
    }

    /// How far the furthest store is behind.
    pub(super) fn behind(&self, pattern: &Pattern, began: Instant) -> Refused {
        let offsets = pattern.stores.iter().map(|place| self.stores[*place].progress.borrow().offset);
        let distance = offsets.max().map(|offset| self.handle.distance(offset));
        Refused::Behind {
            waited: began.elapsed(),
            age: distance.map(|distance| distance.age),
            transactions: distance.map(|distance| distance.transactions),
        }
    }
}

async fn ask<'a>(candidate: Candidate<'a>, read: &Read, within: Duration) -> (Candidate<'a>, Result<Answer>) {
    let answered = candidate.store.ask(read, within).await;
    (candidate, answered)
}
