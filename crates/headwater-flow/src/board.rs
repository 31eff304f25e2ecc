//! The live state of every part, in one place: the tasks write it, release and truncation decide by it, `status`
//! reads it. Held only for moments; nothing waits while it is locked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headwater_model::file::show_table_name;
use headwater_model::{Epoch, Error, ErrorKind, Held, Offset, Position, Promise, TableName, View, ViewId};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::error;

use crate::capture::Written;
use crate::derive::Broken;
use crate::incidents::Incidents;
use crate::machine::Clock;
use crate::serve::stats::{Histogram, HistogramSample};
use crate::state::{Consumer, Stale};
use crate::status::{
    BackfillStatus, CanaryStatus, Incident, IncidentKind, PartState, SourceStatus, Status, StoreStatus,
    VerificationStatus, VerifiedStatus, ViewStatus,
};
use crate::verify::{coverage, report};

/// A store that is behind by more than this is shown as lagging.
const LAGGING_MS: u64 = 5_000;

/// Who approves what is done alone.
pub(crate) const BY_ITSELF: &str = "headwater";

/// Rates are averages over about this long.
const RATE_OVER: Duration = Duration::from_secs(3);

/// Commit times are remembered at this distance, and this many of them: a quarter of an hour.
const COMMITS_APART_MICROS: i64 = 50_000;
const COMMITS_MAX: usize = 18_000;

/// A counter and its recent history.
#[derive(Debug, Default)]
struct Meter {
    total: u64,
    samples: VecDeque<(Instant, u64)>,
}

impl Meter {
    fn add(&mut self, n: u64) {
        self.total += n;
    }

    fn sample(&mut self, now: Instant) {
        self.samples.push_back((now, self.total));
        while self.samples.len() > 2 && now.duration_since(self.samples[1].0) >= RATE_OVER {
            self.samples.pop_front();
        }
    }

    fn per_second(&self) -> f64 {
        match (self.samples.front(), self.samples.back()) {
            (Some((from, before)), Some((to, after))) if to > from => {
                (after - before) as f64 / to.duration_since(*from).as_secs_f64()
            }
            _ => 0.0,
        }
    }
}

#[derive(Debug, Default)]
struct ViewPart {
    ready: bool,
    /// From when it was asked to be filled until it is.
    filling: bool,
    rows: Option<u64>,
    changes: Meter,
    verified: Option<VerifiedStatus>,
    /// Set when a shape no longer fits the view's definition.
    error: Option<String>,
    /// What it may lack because of a gap in the log.
    stale: Option<Stale>,
}

/// How far a store is, for those who read from it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Progress {
    /// Whether the store is being written to.
    pub connected: bool,
    /// Everything up to here is applied.
    pub offset: Offset,
    /// What the store itself says at least.
    pub stored: Offset,
    /// The views that are filled and derived: what they lack is not there.
    pub ready: Arc<BTreeSet<ViewId>>,
    /// Of these, the ones that are put right after a gap, or after a failover: they may be older than `offset` says.
    pub stale: Arc<BTreeMap<ViewId, Stale>>,
}

impl Progress {
    /// The oldest state that one of `views` may show, if that is older than `offset` says.
    pub fn stale<'v>(&self, views: impl IntoIterator<Item = &'v Arc<View>>) -> Option<Stale> {
        if self.stale.is_empty() {
            return None;
        }
        views
            .into_iter()
            .filter_map(|view| self.stale.get(&view.name))
            .min_by_key(|stale| stale.upto)
            .copied()
    }
}

/// Keys of a course of history that the source has left are put right.
#[derive(Clone, Copy, Debug)]
struct Undoing {
    stale: Stale,
    /// Up to where the journal has what puts them right, once that is known.
    until: Option<Offset>,
}

#[derive(Debug, Default)]
struct StorePart {
    progress: watch::Sender<Progress>,
    server: String,
    promise: Option<Promise>,
    failure: Option<(PartState, String)>,
    connected: bool,
    /// Everything up to here is applied; the store itself may say less, where what followed did not concern it.
    offset: Offset,
    stored: Offset,
    position: Option<Position>,
    behind_since: Option<Instant>,
    let_go: bool,
    /// Of the newest transaction applied; 0 before the first.
    committed_at: i64,
    changes: Meter,
    /// From a commit at the source to its being seen here, of the newest transaction of each step.
    visible: Histogram,
    lagging: bool,
    undoing: Option<Undoing>,
    quarantined: u64,
    views: BTreeMap<Box<str>, ViewPart>,
    /// Told when the connection is to be given up.
    cut: Arc<Notify>,
}

#[derive(Debug)]
struct BackfillPart {
    table: String,
    rows: Meter,
    rows_before: u64,
    rows_estimate: u64,
    views: Vec<String>,
}

/// Transactions that were committed soon after each other.
#[derive(Debug)]
struct Commits {
    last: Offset,
    /// When the first of them was.
    at: i64,
}

#[derive(Debug, Default)]
struct Inner {
    clock: Clock,
    epoch: u64,
    server: String,
    source_state: PartState,
    source_error: Option<String>,
    committed_at: Option<i64>,
    /// How old the first change is that a store has not applied.
    commits: VecDeque<Commits>,
    transactions: Meter,
    changes: Meter,
    table_changes: BTreeMap<TableName, u64>,
    retained: Option<u64>,
    left_out: u64,
    stores: BTreeMap<Box<str>, StorePart>,
    backfills: BTreeMap<u64, BackfillPart>,
    backfills_told: bool,
    incidents: Incidents,
    /// The verification that goes on.
    verifying: Option<report::Progress>,
    canaries: BTreeMap<String, CanaryStatus>,
}

pub struct Board {
    hold_for: Duration,
    started: Instant,
    inner: Mutex<Inner>,
    moved: Notify,
    /// Of this term; 0 while this instance does not lead.
    epoch: AtomicU64,
}

impl Inner {
    fn waiting_since(&self, offset: Offset) -> Option<i64> {
        let first = self.commits.partition_point(|commits| commits.last <= offset);
        self.commits.get(first).map(|commits| commits.at)
    }

    /// How long the oldest change that `part` lacks has been committed, in milliseconds.
    fn lag_ms(&self, part: &StorePart, durable: Offset, now_micros: i64) -> u64 {
        let waiting_since = match self.waiting_since(part.offset) {
            _ if part.offset >= durable => None,
            // Perhaps older than what is remembered: at least as old as the last that was applied.
            None => Some(part.committed_at).filter(|at| *at > 0),
            since => since,
        };
        waiting_since.map_or(0, |at| u64::try_from((now_micros - at) / 1000).unwrap_or(0))
    }

    /// Notes which stores fall behind, and which have caught up.
    fn look_at_lag(&mut self, durable: Offset) {
        let now = self.clock.now_micros();
        let looked_at: Vec<(Box<str>, u64, bool)> = self
            .stores
            .iter()
            .filter(|(_, part)| part.connected)
            .map(|(name, part)| (name.clone(), self.lag_ms(part, durable, now), part.lagging))
            .collect();
        for (name, lag_ms, lagging) in looked_at {
            let lags = lag_ms > LAGGING_MS;
            if lags == lagging {
                continue;
            }
            if let Some(part) = self.stores.get_mut(&name) {
                part.lagging = lags;
            }
            let (kind, cause) = match lags {
                true => (IncidentKind::Lagging, format!("more than {} s behind", LAGGING_MS / 1000)),
                false => (IncidentKind::Recovered, "in step again".to_owned()),
            };
            self.happened(&store_part(&name), kind, &cause);
        }
    }

    fn happened(&mut self, part: &str, kind: IncidentKind, cause: &str) {
        self.note(Incident::new(self.clock.now_micros(), part, kind, cause));
    }

    fn note(&mut self, incident: Incident) {
        self.incidents.add(Incident { epoch: self.epoch, ..incident });
    }
}

/// As incidents name it.
pub(crate) fn store_part(name: &str) -> String {
    format!("store {name}")
}

impl StorePart {
    /// Tells readers what changed, if something did that concerns them.
    fn tell(&mut self) {
        let filled = |view: &ViewPart| view.ready && view.error.is_none();
        if self.undoing.is_some_and(|undoing| undoing.until.is_some_and(|until| self.offset >= until)) {
            self.undoing = None;
        }
        let undoing = self.undoing.map(|undoing| undoing.stale);
        let oldest = |view: &ViewPart| view.stale.into_iter().chain(undoing).min_by_key(|stale| stale.upto);
        self.progress.send_if_modified(|progress| {
            let before = progress.clone();
            let as_told =
                self.views.iter().all(|(name, view)| progress.stale.get(name) == oldest(view).as_ref());
            if !as_told {
                let stale = self.views.iter().filter_map(|(name, view)| Some((name.clone(), oldest(view)?)));
                progress.stale = Arc::new(stale.collect());
            }
            (progress.connected, progress.offset, progress.stored) =
                (self.connected, self.offset, self.stored);
            let unchanged =
                self.views.iter().all(|(name, view)| progress.ready.contains(name) == filled(view));
            if !unchanged {
                let ready = self.views.iter().filter(|(_, view)| filled(view)).map(|(name, _)| name.clone());
                progress.ready = Arc::new(ready.collect());
            }
            *progress != before
        });
    }
}

impl Board {
    pub fn new(hold_for: Duration, clock: Clock, consumers: impl IntoIterator<Item = Consumer>) -> Board {
        let mut inner = Inner { clock, ..Inner::default() };
        for consumer in consumers {
            let store = inner.stores.entry(consumer.store).or_default();
            store.views.entry(consumer.view).or_default();
        }
        Board {
            hold_for,
            started: Instant::now(),
            inner: Mutex::new(inner),
            moved: Notify::new(),
            epoch: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Only numbers and texts behind it: a panic elsewhere cannot leave them half written in a harmful way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now_micros(&self) -> i64 {
        self.lock().clock.now_micros()
    }

    // The source.

    pub fn epoch(&self) -> Option<Epoch> {
        Some(Epoch(self.epoch.load(Ordering::Acquire))).filter(|epoch| epoch.0 > 0)
    }

    pub fn leading(&self, epoch: u64, server: &str) {
        self.epoch.store(epoch, Ordering::Release);
        let mut inner = self.lock();
        (inner.epoch, inner.server) = (epoch, server.to_owned());
        (inner.source_state, inner.source_error) = (PartState::Healthy, None);
        inner.backfills.clear();
        inner.backfills_told = false;
        inner.happened("source", IncidentKind::Leading, &format!("epoch {epoch}, {server}"));
    }

    pub fn standby(&self, why: &str) {
        let mut inner = self.lock();
        if inner.source_error.as_deref() != Some(why) {
            inner.happened("source", IncidentKind::Standby, why);
        }
        (inner.source_state, inner.source_error) = (PartState::Standby, Some(why.to_owned()));
    }

    pub fn source_failed(&self, error: &Error) {
        let mut inner = self.lock();
        let why = told(error);
        let kind = match error.kind() {
            ErrorKind::OutOfStep => IncidentKind::Gap,
            _ => IncidentKind::Failed,
        };
        if inner.source_error.as_ref() != Some(&why) {
            inner.happened("source", kind, &why);
        }
        inner.source_state = state_after(error);
        inner.source_error = Some(why);
    }

    pub fn source_healthy(&self) {
        let mut inner = self.lock();
        if inner.source_error.is_some() {
            inner.happened("source", IncidentKind::Recovered, "");
        }
        (inner.source_state, inner.source_error) = (PartState::Healthy, None);
    }

    pub fn captured(&self, offset: Offset, committed_at: i64, written: &Written) {
        let mut inner = self.lock();
        match inner.commits.back_mut().filter(|commits| committed_at - commits.at <= COMMITS_APART_MICROS) {
            Some(commits) => commits.last = offset,
            None => {
                if inner.commits.len() == COMMITS_MAX {
                    inner.commits.pop_front();
                }
                inner.commits.push_back(Commits { last: offset, at: committed_at });
            }
        }
        inner.committed_at = Some(committed_at);
        inner.transactions.add(1);
        inner.changes.add(written.changes);
        for (table, rows) in &written.rows {
            match inner.table_changes.get_mut(&table.name) {
                Some(count) => *count += rows,
                None => _ = inner.table_changes.insert(table.name.clone(), *rows),
            }
        }
    }

    pub fn retained(&self, bytes: u64) {
        self.lock().retained = Some(bytes);
    }

    // Stores.

    pub fn store_connected(&self, store: &str, server: &str, promise: Promise, held: &Held) {
        let mut recovered = false;
        self.store(store, |part| {
            recovered = part.failure.is_some();
            part.server = server.to_owned();
            part.promise = Some(promise);
            part.failure = None;
            part.connected = true;
            part.let_go = false;
            (part.offset, part.stored) = (held.offset, held.offset);
            part.position = held.position.clone();
        });
        if recovered {
            self.lock().happened(&store_part(store), IncidentKind::Recovered, "connected again");
        }
    }

    pub fn store_failed(&self, store: &str, error: &Error) {
        let why = told(error);
        let mut is_new = false;
        self.store(store, |part| {
            is_new = part.failure.as_ref().is_none_or(|(_, before)| *before != why);
            part.failure = Some((state_after(error), why.clone()));
            part.connected = false;
        });
        if is_new {
            self.lock().happened(&store_part(store), IncidentKind::Failed, &why);
        }
    }

    pub fn applied(&self, store: &str, held: &Held, stored: Offset, changes: &BTreeMap<Box<str>, u64>) {
        let now = self.now_micros();
        self.store(store, |part| {
            part.failure = None;
            (part.offset, part.stored) = (held.offset, stored);
            // What a backfill brings carries the commit time of what came before it: that is no news.
            if !changes.is_empty() && held.committed_at > part.committed_at {
                let took = u64::try_from(now - held.committed_at).unwrap_or(0);
                part.visible.record(Duration::from_micros(took));
            }
            part.committed_at = held.committed_at;
            if held.position.is_some() {
                part.position = held.position.clone();
            }
            for (view, count) in changes {
                part.changes.add(*count);
                if let Some(view) = part.views.get_mut(view) {
                    view.changes.add(*count);
                }
            }
        });
    }

    /// So many rows cannot be handed on by the source.
    pub fn left_out(&self, rows: u64) {
        let mut inner = self.lock();
        if rows > inner.left_out {
            let cause = format!("rows without a key are left out; {rows} are in quarantine");
            inner.happened("source", IncidentKind::Quarantined, &cause);
        }
        inner.left_out = rows;
    }

    pub fn has_left_out(&self) -> bool {
        self.lock().left_out > 0
    }

    pub fn quarantined(&self, store: &str, rows: u64) {
        let mut more = 0;
        self.store(store, |part| {
            more = rows.saturating_sub(part.quarantined);
            part.quarantined = rows;
        });
        if more > 0 {
            let cause = format!("rows were refused; {rows} are in quarantine");
            self.lock().happened(&store_part(store), IncidentKind::Quarantined, &cause);
        }
    }

    pub fn view_ready(&self, consumer: &Consumer, ready: bool) {
        let mut filled = false;
        self.store(&consumer.store, |part| {
            let Some(view) = part.views.get_mut(&consumer.view) else { return };
            view.ready = ready;
            filled = ready && std::mem::take(&mut view.filling) && !part.views.values().any(|v| v.filling);
        });
        if filled {
            let cause = "every view is complete";
            self.lock().happened(&store_part(&consumer.store), IncidentKind::Filled, cause);
        }
    }

    /// How far the verification is that goes on; `None`: none does.
    pub fn verifying(&self, progress: Option<report::Progress>) {
        self.lock().verifying = progress;
    }

    /// What is known of a store's canary.
    pub fn canary(&self, store: &str, status: CanaryStatus) {
        self.lock().canaries.insert(store.to_owned(), status);
    }

    /// All of the view was compared with the source.
    pub fn view_verified(&self, consumer: &Consumer, verified: VerifiedStatus) {
        self.view(consumer, |view| view.verified = Some(verified));
    }

    /// A view in a store is whole, and if `everywhere`, no store that holds it has a gap any more: then those that hold part
    /// of it have none either.
    pub fn view_complete(&self, consumer: &Consumer, everywhere: bool) {
        self.view(consumer, |view| view.stale = None);
        if everywhere {
            for store in self.lock().stores.values_mut() {
                if let Some(view) = store.views.get_mut(&consumer.view) {
                    view.stale = None;
                }
                store.tell();
            }
        }
        self.view_ready(consumer, true);
    }

    /// What a view in a store may lack.
    pub fn view_stale(&self, consumer: &Consumer, stale: Option<Stale>) {
        self.view(consumer, |view| view.stale = stale);
    }

    /// These views are read again in place from now on.
    pub fn gaps_closing(&self, consumers: &BTreeSet<Consumer>) {
        let mut by_store: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for consumer in consumers {
            self.view(consumer, |view| view.filling = true);
            by_store.entry(&consumer.store).or_default().push(&consumer.view);
        }
        for (store, views) in by_store {
            let cause = format!("read again in place, and served meanwhile: {}", views.join(", "));
            self.lock().happened(&store_part(store), IncidentKind::Filling, &cause);
        }
    }

    /// What a former course of the source's history alone had committed is still shown, of all views in all stores.
    pub fn undoing(&self, stale: Stale) {
        let mut inner = self.lock();
        for store in inner.stores.values_mut() {
            store.undoing = Some(Undoing { stale, until: None });
            store.tell();
        }
    }

    /// A store that has applied the journal up to `offset` shows nothing any more that is to be undone.
    pub fn undone(&self, offset: Offset) {
        let mut inner = self.lock();
        for store in inner.stores.values_mut() {
            if let Some(undoing) = &mut store.undoing {
                undoing.until = Some(offset);
            }
            store.tell();
        }
        inner.happened(
            "source",
            IncidentKind::Recovered,
            "what only the former primary had committed is undone",
        );
        drop(inner);
        self.moved.notify_waiters();
    }

    /// The source takes another course of history from now on, and is followed without a gap, or with one that is told of
    /// beside this.
    pub fn source_moved(&self, cause: &str) {
        self.lock().happened("source", IncidentKind::Promoted, cause);
    }

    /// The log tells nothing of some time for some tables.
    pub fn source_gap(&self, cause: &str) {
        self.lock().happened("source", IncidentKind::Gap, cause);
    }

    /// These views are filled from now on.
    pub fn views_filling<'c>(&self, consumers: impl IntoIterator<Item = &'c Consumer>) {
        let mut by_store: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for consumer in consumers {
            self.view(consumer, |view| (view.ready, view.filling) = (false, true));
            by_store.entry(&consumer.store).or_default().push(&consumer.view);
        }
        for (store, views) in by_store {
            let cause = format!("from the source: {}", views.join(", "));
            self.lock().happened(&store_part(store), IncidentKind::Filling, &cause);
        }
    }

    pub fn view_rows(&self, consumer: &Consumer, rows: Option<u64>) {
        self.view(consumer, |view| view.rows = rows);
    }

    /// These views can be derived no further; the others go on.
    pub fn views_broken(&self, views: Vec<Broken>) {
        for Broken { view, error } in views {
            error!(%view, %error, "the view can no longer be derived");
            let mut inner = self.lock();
            let mut broken = Vec::new();
            for (name, store) in &mut inner.stores {
                if let Some(part) = store.views.get_mut(&view) {
                    if part.error.replace(error.to_string()).is_none() {
                        broken.push(store_part(name));
                    }
                    store.tell();
                }
            }
            for part in broken {
                inner.happened(&part, IncidentKind::Broken, &format!("view `{view}`: {error}"));
            }
        }
    }

    fn store(&self, name: &str, change: impl FnOnce(&mut StorePart)) {
        if let Some(part) = self.lock().stores.get_mut(name) {
            change(part);
            part.tell();
        }
        self.moved.notify_waiters();
    }

    fn view(&self, consumer: &Consumer, change: impl FnOnce(&mut ViewPart)) {
        self.store(&consumer.store, |part| {
            if let Some(view) = part.views.get_mut(&consumer.view) {
                change(view);
            }
        });
    }

    pub fn stores(&self) -> Vec<Box<str>> {
        self.lock().stores.keys().cloned().collect()
    }

    /// Told when the store's connection is to be given up, in the middle of whatever it does.
    pub fn cut(&self, store: &str) -> Option<Arc<Notify>> {
        self.lock().stores.get(store).map(|part| Arc::clone(&part.cut))
    }

    /// How far a store is, from now on. A store that the board does not know never moves.
    pub fn progress(&self, store: &str) -> watch::Receiver<Progress> {
        match self.lock().stores.get(store) {
            Some(part) => part.progress.subscribe(),
            None => watch::Sender::new(Progress::default()).subscribe(),
        }
    }

    /// Completes when some store has moved or changed its state after this was called and enabled.
    pub fn moved(&self) -> Notified<'_> {
        self.moved.notified()
    }

    /// This instance leads no more: another one may do what it likes with the stores.
    pub fn leads_no_more(&self) {
        self.epoch.store(0, Ordering::Release);
        for store in self.lock().stores.values_mut() {
            store.connected = false;
            store.views.values_mut().for_each(|view| view.ready = false);
            store.tell();
        }
        self.moved.notify_waiters();
    }

    /// When the first change was committed that comes after `offset`, microseconds since 1970 by the source's clock, or
    /// up to 50 ms before; `None` if there is none that is remembered.
    pub fn waiting_since(&self, offset: Offset) -> Option<i64> {
        self.lock().waiting_since(offset)
    }

    pub fn offset(&self, store: &str) -> Offset {
        self.lock().stores.get(store).map_or(Offset::ZERO, |part| part.offset)
    }

    /// The slowest store that the journal keeps entries for, and the offset that it holds itself.
    pub fn slowest(&self) -> Option<(Box<str>, Offset)> {
        let inner = self.lock();
        let kept = inner.stores.iter().filter(|(_, part)| !part.let_go);
        kept.map(|(name, part)| (name.clone(), part.stored)).min_by_key(|(_, offset)| *offset)
    }

    /// The journal keeps nothing for this store any more, until it connects again.
    pub fn let_go(&self, store: &str, transactions_behind: u64) {
        self.store(store, |part| part.let_go = true);
        let cause = "too far behind for the journal's bound: filled again when it is back";
        self.note(Incident {
            evidence: Some(format!("{transactions_behind} transactions behind")),
            step: Some("let go of the store".to_owned()),
            approved_by: Some(BY_ITSELF.to_owned()),
            ..Incident::new(self.now_micros(), &store_part(store), IncidentKind::LetGo, cause)
        });
    }

    pub fn is_let_go(&self, store: &str) -> bool {
        self.lock().stores.get(store).is_some_and(|part| part.let_go)
    }

    // What the source may forget.

    /// `durable` and `position` are of the journal's newest durable entry. A store that is behind holds the release back
    /// to its own position, but only for `hold_for`: after that the journal alone keeps its changes.
    pub fn releasable(&self, durable: Offset, position: Option<Position>) -> Option<Position> {
        let mut inner = self.lock();
        let now = Instant::now();
        let mut release = position;
        for part in inner.stores.values_mut() {
            if part.let_go || part.offset >= durable {
                part.behind_since = None;
                continue;
            }
            let behind = now.duration_since(*part.behind_since.get_or_insert(now));
            if !part.connected || behind > self.hold_for {
                continue;
            }
            let earlier = match (&release, &part.position) {
                (Some(release), Some(position)) => position < release,
                _ => true,
            };
            if earlier {
                release.clone_from(&part.position);
            }
        }
        release
    }

    // Backfills.

    pub fn backfill_begins(
        &self,
        job: u64,
        table: String,
        rows_before: u64,
        rows_estimate: u64,
        views: Vec<String>,
    ) {
        let mut part = BackfillPart { table, rows: Meter::default(), rows_before, rows_estimate, views };
        part.rows.sample(Instant::now());
        self.lock().backfills.insert(job, part);
    }

    /// Every read that is under way has been told of with [`Board::backfill_begins`].
    pub fn backfills_told(&self) {
        self.lock().backfills_told = true;
    }

    /// Whether a store may be being filled. Before the reads have been told of, it may.
    pub fn may_be_filling(&self) -> bool {
        let inner = self.lock();
        !inner.backfills_told || !inner.backfills.is_empty()
    }

    pub fn backfill_rows(&self, job: u64, rows: u64) {
        if let Some(part) = self.lock().backfills.get_mut(&job) {
            part.rows.add(rows);
        }
    }

    pub fn backfill_ends(&self, job: u64) {
        self.lock().backfills.remove(&job);
    }

    // Looking.

    /// Takes one sample of every counter; called about once a second. `durable` is the journal's end.
    pub fn sample(&self, durable: Offset) {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.look_at_lag(durable);
        inner.transactions.sample(now);
        inner.changes.sample(now);
        for store in inner.stores.values_mut() {
            store.changes.sample(now);
            store.views.values_mut().for_each(|view| view.changes.sample(now));
        }
        inner.backfills.values_mut().for_each(|part| part.rows.sample(now));
    }

    // Incidents.

    /// Something happened to `part`, which is named as in [`Incident::part`].
    pub fn happened(&self, part: &str, kind: IncidentKind, cause: &str) {
        self.lock().happened(part, kind, cause);
    }

    /// The same with evidence, the step that is taken, who allowed it and what came of it, as far as there is.
    pub fn note(&self, incident: Incident) {
        self.lock().note(incident);
    }

    /// What happened, newest first.
    pub fn incidents(&self) -> Vec<Incident> {
        self.lock().incidents.newest_first()
    }

    /// How often something happened since the process started, by kind.
    pub fn incident_counts(&self) -> Vec<(&'static str, u64)> {
        self.lock().incidents.counts()
    }

    /// For the one who writes the log.
    pub fn with_incidents<T>(&self, f: impl FnOnce(&mut Incidents) -> T) -> T {
        f(&mut self.lock().incidents)
    }

    /// Of each store: how long commits took to be seen in it.
    pub fn commit_to_visible(&self) -> Vec<(Box<str>, HistogramSample)> {
        let inner = self.lock();
        inner.stores.iter().map(|(name, part)| (name.clone(), part.visible.sample())).collect()
    }

    /// Everything the board knows. `durable` is the journal's end.
    pub fn status(&self, durable: Offset, notation: impl Fn(&Position) -> String) -> Status {
        let inner = self.lock();
        let now_micros = inner.clock.now_micros();
        let stores = inner.stores.iter().map(|(name, part)| {
            let lag_ms = inner.lag_ms(part, durable, now_micros);
            store_status(name, part, lag_ms, durable, &notation)
        });
        let backfills = inner.backfills.values().map(|part| {
            let rows = part.rows_before + part.rows.total;
            let rate = part.rows.per_second();
            let left = part.rows_estimate.saturating_sub(rows);
            BackfillStatus {
                table: part.table.clone(),
                rows,
                rows_estimate: part.rows_estimate.max(rows),
                rows_per_second: rate,
                eta_seconds: (rate > 0.0).then(|| (left as f64 / rate).ceil() as u64),
                views: part.views.clone(),
            }
        });
        let stores: Vec<StoreStatus> = stores.collect();
        Status {
            verification: VerificationStatus {
                canaries: inner.canaries.clone(),
                ..coverage::of(&stores, now_micros, inner.verifying.clone())
            },
            epoch: inner.epoch,
            uptime_seconds: self.started.elapsed().as_secs(),
            source: SourceStatus {
                server: inner.server.clone(),
                state: inner.source_state,
                error: inner.source_error.clone(),
                position: None,
                committed_at_micros: inner.committed_at,
                transactions_per_second: inner.transactions.per_second(),
                changes_per_second: inner.changes.per_second(),
                transactions_total: inner.transactions.total,
                changes_total: inner.changes.total,
                table_changes: inner
                    .table_changes
                    .iter()
                    .map(|(table, rows)| (show_table_name(table), *rows))
                    .collect(),
                retained_log_bytes: inner.retained,
                retained_log_bytes_max: 0,
                quarantined_rows: inner.left_out,
                traffic: Vec::new(),
            },
            stores,
            backfills: backfills.collect(),
            ..Status::default()
        }
    }
}

fn store_status(
    name: &str,
    part: &StorePart,
    lag_ms: u64,
    durable: Offset,
    notation: impl Fn(&Position) -> String,
) -> StoreStatus {
    let behind = durable.0.saturating_sub(part.offset.0);
    let state = match &part.failure {
        Some((state, _)) => *state,
        None if !part.connected => PartState::Starting,
        None if part.views.values().any(|view| !view.ready || view.stale.is_some())
            || part.undoing.is_some() =>
        {
            PartState::Rebuilding
        }
        None if lag_ms > LAGGING_MS => PartState::Lagging,
        None => PartState::Healthy,
    };
    let views = part.views.iter().map(|(name, view)| ViewStatus {
        name: name.to_string(),
        state: match (&view.error, view.ready) {
            (Some(_), _) => PartState::Paused,
            (None, true) if view.stale.is_none() && part.undoing.is_none() => state_of_view(state),
            (None, _) => PartState::Rebuilding,
        },
        stale_since_micros: view
            .stale
            .into_iter()
            .chain(part.undoing.map(|u| u.stale))
            .map(|s| s.since)
            .min(),
        error: view.error.clone(),
        rows: view.rows,
        changes_per_second: view.changes.per_second(),
        changes_total: view.changes.total,
        part: None,
        verified: view.verified,
        consumed: None,
        traffic: Vec::new(),
    });
    StoreStatus {
        name: name.to_owned(),
        server: part.server.clone(),
        state,
        error: part.failure.as_ref().map(|(_, error)| error.clone()),
        promise: part.promise.map(|promise| match promise {
            Promise::Transaction => "transaction".to_owned(),
            Promise::Key => "key".to_owned(),
        }),
        offset: part.offset.0,
        position: part.position.as_ref().map(notation),
        lag_ms,
        lag_transactions: behind,
        lag_bytes: 0,
        changes_per_second: part.changes.per_second(),
        changes_total: part.changes.total,
        quarantined_rows: part.quarantined,
        views: views.collect(),
    }
}

/// A filled view is as well as its store, except that other views being filled do not concern it.
fn state_of_view(store: PartState) -> PartState {
    match store {
        PartState::Rebuilding => PartState::Healthy,
        other => other,
    }
}

fn state_after(error: &Error) -> PartState {
    match error.kind() {
        ErrorKind::Transient | ErrorKind::Throttled | ErrorKind::OutOfStep => PartState::Failed,
        ErrorKind::Fenced => PartState::Standby,
        _ => PartState::Paused,
    }
}

fn told(error: &Error) -> String {
    match error.remedy() {
        Some(remedy) => format!("{error} ({remedy})"),
        None => error.to_string(),
    }
}
