//! Which engine answers: the stores of the pattern in their order, and at last the source.
//!
//! A store may answer if it holds the views filled, is as new as the reader demands, and does not fail just now. If the
//! first takes longer than it usually does, the next is asked beside it, and the first good answer counts. When none is
//! new enough the reader waits; when it has waited long enough, or none can answer at all, the source answers within its
//! budget.
//!
//! What the log says is not always visible at the source: a commit that waits for a synchronous standby is known to stores
//! first. Whoever demands a position at which such a commit lies is not answered by the source until it shows it.
//!
//! A store that holds part of the view is asked first, if it holds what is asked for. What another store had to answer is offered
//! to it, and readers that miss the same document at the same time wait for one load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use headwater_model::{
    Answer, AnswerMoment, Epoch, Error, ErrorKind, Found, Key, Moment, Offset, Position, Read, Result, Store,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::breaker::Breaker;
use super::flight::{Follow, Seat};
use super::freshness::{Demand, show};
use super::{Inner, Pattern, Refused, Shown};
use crate::board::Progress;
use crate::part::{Offer, Part};
use crate::service::{Distance, Handle, NamedStore};
use crate::state::Stale;
use crate::trace::read::Asking;

/// The next store is asked beside the first after this many times what it usually takes, and within these bounds.
const HEDGE_TIMES: u32 = 4;
const HEDGE_LEAST: Duration = Duration::from_millis(3);

/// Between two questions to a source that does not show yet what it has in its log: the first pause, and the longest.
const UNSEEN_PAUSE: Duration = Duration::from_millis(20);
const UNSEEN_PAUSE_MAX: Duration = Duration::from_millis(320);

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
    /// What it may lack, although it is further on.
    stale: Option<Stale>,
    /// Whether it holds part of the view only.
    part: bool,
}

/// An answer, who gave it (`None`: the source), and a place behind which it shows nothing.
#[derive(Clone, Debug)]
pub(super) struct Routed {
    found: Found,
    store: Option<Box<str>>,
    position: Option<Position>,
    age: Duration,
    at: At,
}

/// Where an answer stands in the order of commits.
#[derive(Clone, Debug)]
enum At {
    /// Of a store: it shows everything up to `from`, and nothing behind `upto`.
    Offsets { from: Offset, upto: Offset, epoch: Epoch },
    /// Of the source: it shows everything up to `all_to` that it `sees`.
    Source { all_to: Position, sees: Moment },
}

/// What the source had to say.
enum Sourced {
    Answer(Routed),
    /// It does not show yet what lies at or before the position that is demanded: the transaction with this number.
    Lacks(u64),
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
        let routed = match (read, pattern.parts.is_empty()) {
            (Read::Get { keys, .. }, false) => {
                let routed = self.get(pattern, read, keys, after.as_ref(), within).await?;
                pattern.count_parts(&self.stores, &routed);
                routed
            }
            _ => self.routed(pattern, read, after.as_ref(), within).await?,
        };
        let Routed { found, store, position, age, .. } = routed;
        // Where nothing was committed since, a store is at an older place and still shows everything up to the one that was
        // asked for: whoever passes on the position of each answer never goes back.
        let here = |position: Position| match self
            .handle
            .frontier()
            .and_then(|frontier| frontier.place(&position))
        {
            Some(here) => here,
            None => position,
        };
        let position = match (position.map(here), after) {
            (None, after) => after,
            (Some(shown), Some(after)) if shown < after => Some(after),
            (shown, _) => shown,
        };
        let position = position.map(|position| show(&*self.source, &position));
        Ok((found, Shown { store, position, age }))
    }

    /// Documents of a view of which some store holds a part.
    async fn get(
        &self,
        pattern: &Pattern,
        read: &Read,
        keys: &[Key],
        after: Option<&Position>,
        within: Duration,
    ) -> Result<Routed, Refused> {
        let [key] = keys else { return self.routed(pattern, read, after, within).await };
        if pattern.parts.iter().any(|(_, part)| part.holds(keys)) {
            return self.routed(pattern, read, after, within).await;
        }
        // One that waits for a store to come so far keeps nobody waiting that does not ask for it.
        let may_lead = match after {
            None => true,
            Some(position) => self.is_reached(pattern, position).await?,
        };
        match pattern.flights.board(&key.to_text(), may_lead) {
            Seat::Alone => self.routed(pattern, read, after, within).await,
            Seat::Lead(lead) => {
                let routed = self.routed(pattern, read, after, within).await?;
                lead.land(&Arc::new(routed.clone()));
                Ok(routed)
            }
            Seat::Follow(mut flight) => {
                let began = Instant::now();
                let joining = Asking::join();
                // Half of the time remains for a load of one's own, should this one not serve.
                if let Ok(Some(routed)) = timeout(within / 2, flight.landed()).await
                    && let Some(routed) =
                        self.shared(pattern, &routed, &flight, after, began + within / 2).await?
                {
                    pattern.parts.iter().for_each(|(_, part)| part.joined());
                    joining.end(None);
                    return Ok(routed);
                }
                self.routed(pattern, read, after, within.saturating_sub(began.elapsed())).await
            }
        }
    }

    /// Whether a store that holds all of it shows the position already.
    async fn is_reached(&self, pattern: &Pattern, position: &Position) -> Result<bool, Refused> {
        let Some(offset) = self.offset_of(position, Instant::now()).await? else { return Ok(false) };
        Ok(pattern.stores.iter().any(|place| self.stores[*place].progress.borrow().offset >= offset))
    }

    /// What another reader's load brought, if it is as new as this reader demands.
    async fn shared(
        &self,
        pattern: &Pattern,
        routed: &Routed,
        flight: &Follow<Routed>,
        after: Option<&Position>,
        until: Instant,
    ) -> Result<Option<Routed>, Refused> {
        let age = routed.age + flight.since.elapsed();
        if pattern.plan.access.stale.is_some_and(|most| age > most) {
            return Ok(None);
        }
        let is_new = match (&routed.at, after) {
            (_, None) => true,
            (At::Source { all_to, sees }, Some(after)) => {
                all_to >= after
                    && self.handle.windows().is_some_and(|windows| windows.lacks(sees, after).is_none())
            }
            (At::Offsets { from, .. }, Some(after)) => {
                self.offset_of(after, until).await?.is_some_and(|offset| *from >= offset)
            }
        };
        Ok(is_new.then(|| Routed { age, ..routed.clone() }))
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
        let (mut by_source, mut unseen, mut pause) = (None, None, UNSEEN_PAUSE);
        if pattern.plan.access.source {
            loop {
                let until = match self.ask_source(read, after, deadline).await {
                    Ok(Sourced::Answer(answer)) => return Ok(answer),
                    Ok(Sourced::Lacks(xid)) => {
                        unseen = Some(xid);
                        deadline.min(Instant::now() + pause)
                    }
                    Err(refused @ (Refused::Overloaded { .. } | Refused::Unavailable { .. })) => {
                        by_source = Some(refused);
                        deadline
                    }
                    Err(refused) => return Err(refused),
                };
                // The source could not: a store may still become new enough in time.
                if known
                    && let Some(answer) =
                        self.stores_in_time(pattern, read, &demand, until, &mut tried).await?
                {
                    return Ok(answer);
                }
                if by_source.is_some() || until >= deadline {
                    break;
                }
                sleep_until(until).await;
                pause = (pause * 2).min(UNSEEN_PAUSE_MAX);
            }
        }
        if after.is_some() || tried.iter().any(|(_, why)| why.ends_with(TOO_OLD)) {
            return Err(self.behind(pattern, began, unseen));
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
    ) -> Result<Option<Offset>, Refused> {
        let Some(frontier) = self.handle.frontier() else { return Ok(None) };
        match timeout_at(until, frontier.passed(position)).await {
            Ok(Ok(offset)) => Ok(Some(offset)),
            Ok(Err(error)) if error.kind() == ErrorKind::OutOfStep => Err(Refused::OtherHistory(error)),
            Ok(Err(_)) | Err(_) => Ok(None),
        }
    }

    /// Asks a store as soon as one may be asked, each once: the next also when one takes unusually long or fails, be it one
    /// that has become new enough meanwhile. Gives up when waiting cannot help, and at `until`.
    async fn stores_in_time(
        &self,
        pattern: &Pattern,
        read: &Read,
        demand: &Demand,
        until: Instant,
        tried: &mut Vec<(String, String)>,
    ) -> Result<Option<Routed>, Refused> {
        let within = self.options.store_timeout;
        let places = pattern.parts.len() + pattern.stores.len();
        let mut asked: Vec<&ReadStore> = Vec::new();
        let mut running = FuturesUnordered::new();
        // When the next one is asked beside those that run.
        let mut next_at = Instant::now();
        loop {
            let moved = self.handle.moved();
            let mut moved = std::pin::pin!(moved);
            // Registered before looking, so that no move in between is missed.
            moved.as_mut().enable();
            let (mut at_once, mut in_vain) = (None, false);
            let is_due = running.is_empty() || Instant::now() >= next_at;
            if is_due {
                tried.retain(|(name, _)| asked.iter().any(|store| *store.name == **name));
                let (candidate, outlook) = self.candidate(pattern, read, demand, &asked, tried);
                if let Some(candidate) = candidate {
                    let hedge = !running.is_empty();
                    if hedge {
                        pattern.stats.hedged();
                    }
                    asked.push(candidate.store);
                    next_at = Instant::now() + candidate.store.hedge_after(within);
                    let mut ask = Box::pin(ask(candidate, read, within, hedge));
                    // A store in memory answers at once: then nothing is set up for waiting.
                    match futures::poll!(&mut ask) {
                        Poll::Ready(ended) => at_once = Some(ended),
                        Poll::Pending => running.push(ask),
                    }
                } else if running.is_empty() {
                    let came = match outlook {
                        Outlook::None => false,
                        Outlook::MayCome => timeout_at(until, moved).await.is_ok(),
                        Outlook::Unheard => match self.handle.frontier() {
                            Some(frontier) => matches!(timeout_at(until, frontier.now()).await, Ok(Ok(_))),
                            None => false,
                        },
                    };
                    if !came {
                        return Ok(None);
                    }
                    continue;
                } else {
                    in_vain = true;
                }
            }
            let more = asked.len() < places;
            let ended = match at_once {
                Some(ended) => Some(ended),
                None => tokio::select! {
                    biased;
                    ended = running.next() => ended,
                    () = sleep_until(next_at), if more && !in_vain => None,
                    () = moved, if more && in_vain => None,
                },
            };
            let Some((candidate, answered)) = ended else { continue };
            match answered.and_then(|answer| self.judge(pattern, &candidate, answer)) {
                Ok(Some(routed)) => {
                    if !candidate.part {
                        pattern.offer(read, &routed);
                    }
                    return Ok(Some(routed));
                }
                // It left the part meanwhile.
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Unsupported => return Err(Refused::TooMuch(error)),
                Err(error) => tried.push((candidate.store.name.to_string(), error.to_string())),
            }
            next_at = Instant::now();
        }
    }

    /// The first store in the pattern's order that may be asked now and was not `asked` yet; and what may make one that may
    /// not new enough.
    fn candidate(
        &self,
        pattern: &Pattern,
        read: &Read,
        demand: &Demand,
        asked: &[&ReadStore],
        tried: &mut Vec<(String, String)>,
    ) -> (Option<Candidate<'_>>, Outlook) {
        let views = pattern.plan.read.views();
        let mut outlook = Outlook::None;
        let holds = |part: &Part| matches!(read, Read::Get { keys, .. } if part.holds(keys));
        let parts = pattern.parts.iter().filter(|(_, part)| holds(part)).map(|(place, _)| (*place, true));
        for (place, part) in parts.chain(pattern.stores.iter().map(|place| (*place, false))) {
            let store = &self.stores[place];
            if asked.iter().any(|asked| std::ptr::eq(*asked, store)) {
                continue;
            }
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
            let stale = progress.stale(views.iter().copied());
            if demand.offset.is_some_and(|offset| stale.is_some_and(|stale| stale.upto < offset)) {
                outlook = Outlook::MayCome;
                not("is put right after a gap in the log, and may lack the position until then".to_owned());
                continue;
            }
            let distance = self.handle.distance_of(progress.offset, stale);
            if demand.age_max.is_some_and(|most| distance.age > most) {
                if distance.transactions == 0 && progress.connected && stale.is_none() {
                    outlook = Outlook::Unheard;
                }
                not(format!("is {} {TOO_OLD}", distance.age.as_millis()));
                continue;
            }
            if !store.breaker.lets_through() {
                not("failed just now and is left alone for a moment".to_owned());
                continue;
            }
            return (Some(Candidate { store, progress, distance, stale, part }), outlook);
        }
        (None, outlook)
    }

    /// Whether an answer is one that may be given: the store must not have been cleared, rewound or taken over meanwhile.
    /// `None`: a part does not hold all that is asked for.
    fn judge(&self, pattern: &Pattern, candidate: &Candidate<'_>, answer: Answer) -> Result<Option<Routed>> {
        let (held, upto) = match answer.at {
            AnswerMoment::Applied(held) => (held, None),
            // The store is given only what is in the journal by now.
            AnswerMoment::AtLeast(held) => (held, self.handle.durable()),
            AnswerMoment::Now { .. } => return Err(Error::bug("a store answered with the source's moment")),
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
        let lacks = |found: &Found| matches!(found, Found::Documents(all) if all.iter().any(Option::is_none));
        if candidate.part && lacks(&answer.found) {
            return Ok(None);
        }
        let upto = upto.unwrap_or(held.offset).max(held.offset);
        let from = candidate.stale.map_or(held.offset, |stale| stale.upto.min(held.offset));
        Ok(Some(Routed {
            found: answer.found,
            store: Some(candidate.store.name.clone()),
            position: held.position,
            age: candidate.distance.age,
            at: At::Offsets { from, upto, epoch: held.epoch },
        }))
    }

    /// The source, within its budget.
    async fn ask_source(
        &self,
        read: &Read,
        after: Option<&Position>,
        deadline: Instant,
    ) -> Result<Sourced, Refused> {
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
        let asking = Asking::begin(None, false);
        let answered = match timeout(within, self.source.answer(read)).await {
            Ok(answered) => answered,
            Err(_) => Err(Error::transient(format!("no answer within {} ms", within.as_millis()))),
        };
        asking.ended(&answered);
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
        let AnswerMoment::Now { all_to, none_past, sees } = answer.at else {
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
        if let Some(after) = after {
            let Some(windows) = self.handle.windows() else {
                return unavailable("is not followed by this instance".to_owned());
            };
            if let Some(xid) = windows.lacks(&sees, after) {
                return Ok(Sourced::Lacks(xid));
            }
        }
        let (position, at) = (Some(none_past), At::Source { all_to, sees });
        let (found, age) = (answer.found, Duration::ZERO);
        Ok(Sourced::Answer(Routed { found, store: None, position, age, at }))
    }

    /// How far the furthest store is behind, and what the source does not show.
    pub(super) fn behind(&self, pattern: &Pattern, began: Instant, unseen: Option<u64>) -> Refused {
        let offsets = pattern.stores.iter().map(|place| self.stores[*place].progress.borrow().offset);
        let distance = offsets.max().map(|offset| self.handle.distance(offset));
        Refused::Behind {
            waited: began.elapsed(),
            age: distance.map(|distance| distance.age),
            transactions: distance.map(|distance| distance.transactions),
            unseen,
        }
    }
}

impl Pattern {
    /// What a store that holds all of the view answered may be held in part.
    fn offer(&self, read: &Read, routed: &Routed) {
        let (Read::Get { keys, .. }, Found::Documents(documents)) = (read, &routed.found) else { return };
        let At::Offsets { from, upto, epoch } = routed.at else { return };
        for (_, part) in &self.parts {
            for (key, body) in keys.iter().zip(documents) {
                let Some(body) = body.clone() else { continue };
                let (key, fields) = (key.clone(), Arc::clone(&self.fields));
                part.offer(Offer { key, body, fields, from, upto, epoch });
            }
        }
    }

    /// Who had it and who had not, of those that were asked first.
    fn count_parts(&self, stores: &[ReadStore], routed: &Routed) {
        for (place, part) in &self.parts {
            if routed.store.as_ref() == Some(&stores[*place].name) {
                return part.hit();
            }
            part.missed();
        }
    }
}

/// `hedge`: beside another that is slow.
async fn ask<'a>(
    candidate: Candidate<'a>,
    read: &Read,
    within: Duration,
    hedge: bool,
) -> (Candidate<'a>, Result<Answer>) {
    let asking = Asking::begin(Some(&candidate.store.name), hedge);
    let answered = candidate.store.ask(read, within).await;
    asking.ended(&answered);
    (candidate, answered)
}
