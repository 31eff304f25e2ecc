//! The data plane as one long-running part: takes the lead, starts the tasks, stops them, and says how they are.
//!
//! Owns: leadership (the folder's lock, the source's one reader, the epoch), the lives of the tasks, what the journal may
//! forget, and the bounds that protect the source. Does not own: any step of the data's way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use headwater_model::file::HealSection;
use headwater_model::heal::Action;
use headwater_model::{
    Catalogued, ChunkRange, ColumnFacts, Consumed, Epoch, Error, ErrorKind, Follow, Layout, Lineage, Moment,
    Offset, Param, ParamRole, Position, Reshaped, Result, Source, SourceFacts, Store, TableFacts, TableName,
    View,
};
use tokio::sync::futures::Notified;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, error, info, warn};

use crate::amend::Amender;
use crate::apply::Applier;
use crate::backfill::{Backfill, ViewPlan};
use crate::board::{Board, Progress, store_part};
use crate::capture::Capture;
use crate::chunks::Chunks;
use crate::closing::{Closing, MirrorAt};
use crate::counting::{Counting, Counts};
use crate::derive::{self, Tables};
use crate::deriving::{self, Deriving};
use crate::fingerprint::Fingerprint;
use crate::frontier::{Frontier, Reached};
use crate::heal::table::{Event, PartKind};
use crate::heal::{Heal, MIRROR};
use crate::history::{self, Resume};
use crate::incidents::keeping::Keeping;
use crate::journal::{self, Journal};
use crate::landing::Windows;
use crate::lock::FolderLock;
use crate::lookback::{LookBack, has_moved};
use crate::machine::Machine;
use crate::mapping::{Derived, Mapper};
use crate::part::sizing::Sizing;
use crate::part::{Keeper, Keepers, Part, PartFilter};
use crate::refused::RefusedKeys;
use crate::repair::Menders;
use crate::reshape::{Catalogue, Watch};
use crate::retry::Backoff;
use crate::serve::stats::HistogramSample;
use crate::state::{Consumer, Fill, Stale, State};
use crate::status::{ConsumedStatus, Incident, MirrorStatus, QuarantinedRow, Status};
use crate::trace::Tracer;
use crate::trace::transactions::Transactions;
use crate::upkeep::Upkeep;
use crate::verify::canary::Canaries;
use crate::verify::report::{Report, Request};
use crate::verify::{self, Verifier};
use crate::whereabouts::{Finder, Whereabouts};

/// How long a store may take to say what it holds before it is left for later.
const ASK_WITHIN: Duration = Duration::from_secs(3);

/// A standby looks for its chance more often than this.
const STEPPED_DOWN_FOR: Duration = Duration::from_secs(3);

/// The source, as incidents name it.
const SOURCE: &str = "source";

/// What the service needs to know, all from the file.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of journal and state; created if it is not there.
    pub data: PathBuf,
    pub journal_bytes_max: u64,
    /// How long a slow store may hold back the release of the source's log.
    pub hold_for: Duration,
    pub retained_log_bytes_max: u64,
    /// Chunks in flight, and tables read at once: 1 to 16.
    pub backfill_parallel: usize,
    pub backfill_chunk_rows: usize,
    pub backfill_rows_per_second_max: Option<u64>,
    /// Who has to agree before something is mended.
    pub heal: HealSection,
}

/// A store of the file, with its name.
#[derive(Clone)]
pub struct NamedStore {
    pub name: Box<str>,
    pub store: Arc<dyn Store>,
}

pub struct Service {
    options: Options,
    machine: Machine,
    source: Arc<dyn Source>,
    stores: Vec<NamedStore>,
    views: Vec<Arc<View>>,
    parts: Arc<[Arc<Part>]>,
    board: Arc<Board>,
    counts: Arc<Counts>,
    term: Arc<Mutex<Option<Term>>>,
    tracer: Option<Arc<dyn Tracer>>,
    /// While this instance holds the data folder.
    heal: Arc<Mutex<Option<Arc<Heal>>>>,
    background: verify::Background,
}

/// What others may look at while this instance leads.
#[derive(Clone)]
struct Term {
    journal: Journal,
    frontier: Arc<Frontier>,
    state: Arc<State>,
    /// Once the source is followed.
    windows: Option<Arc<Windows>>,
    /// How far the mirror is, once it is there.
    derived: Option<crate::watch::Receiver<Offset>>,
    /// Once everything runs.
    verifier: Option<Arc<Verifier>>,
    /// Once everything is planned.
    finder: Option<Arc<Finder>>,
    ended: CancellationToken,
    /// Ends the term, for others to take over.
    step_down: CancellationToken,
}

/// How far a store may lie behind the source.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Distance {
    /// Everything that was committed longer ago than this is applied.
    pub age: Duration,
    /// Known entries of the journal that are not.
    pub transactions: u64,
}

/// A view of a running service: cheap to clone, usable from anywhere.
#[derive(Clone)]
pub struct Handle {
    source: Arc<dyn Source>,
    stores: Arc<[NamedStore]>,
    parts: Arc<[Arc<Part>]>,
    board: Arc<Board>,
    counts: Arc<Counts>,
    term: Arc<Mutex<Option<Term>>>,
    heal: Arc<Mutex<Option<Arc<Heal>>>>,
    data: Arc<Path>,
    journal_bytes_max: u64,
    retained_log_bytes_max: u64,
}

impl Handle {
    /// Whether this instance leads: it follows the source, and others wait for it.
    pub fn is_leading(&self) -> bool {
        self.term().is_some()
    }

    /// What waits for approval and what is paused, and where that is decided; `None` while another instance holds the data
    /// folder.
    pub fn heal(&self) -> Option<Arc<Heal>> {
        self.heal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives up the connection to a store in the middle of whatever it does; it is made again at once. Whether there is such
    /// a store and this instance leads.
    pub fn cut_store(&self, store: &str) -> bool {
        let cut = self.board.cut(store).filter(|_| self.is_leading());
        cut.inspect(|cut| cut.notify_waiters()).is_some()
    }

    /// Stops leading for a few seconds, so that a standby takes over if there is one. Whether this instance led.
    pub fn step_down(&self) -> bool {
        self.term().inspect(|term| term.step_down.cancel()).is_some()
    }

    /// The stores of the file that views are in.
    pub fn stores(&self) -> Vec<Box<str>> {
        self.board.stores()
    }

    /// Of journal and state.
    pub fn data(&self) -> &Path {
        &self.data
    }

    fn term(&self) -> Option<Term> {
        self.term.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The system that is followed: positions of it compare.
    pub(crate) fn system(&self) -> Option<Arc<str>> {
        self.term()?.frontier.system()
    }

    /// Of this term; `None` while this instance does not lead.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.board.epoch()
    }

    /// The newest entry of the journal; `None` while this instance does not lead.
    pub(crate) fn durable(&self) -> Option<Offset> {
        self.term().map(|term| term.journal.durable())
    }

    pub(crate) fn part(&self, store: &str, view: &str) -> Option<Arc<Part>> {
        self.parts.iter().find(|part| *part.store == *store && *part.view.name == *view).cloned()
    }

    fn consumed(&self, store: &str) -> Vec<Consumed> {
        let named = self.stores.iter().find(|named| *named.name == *store);
        named.map(|named| named.store.consumed()).unwrap_or_default()
    }

    pub(crate) fn frontier(&self) -> Option<Arc<Frontier>> {
        self.term().map(|term| term.frontier)
    }

    /// `None` while this instance does not follow the source.
    pub(crate) fn windows(&self) -> Option<Arc<Windows>> {
        self.term()?.windows
    }

    pub(crate) fn progress(&self, store: &str) -> watch::Receiver<Progress> {
        self.board.progress(store)
    }

    /// Completes when some store has moved or changed its state after this was called and enabled.
    pub(crate) fn moved(&self) -> Notified<'_> {
        self.board.moved()
    }

    /// How far a store at `offset` may lie behind the source.
    pub(crate) fn distance(&self, offset: Offset) -> Distance {
        let Some(frontier) = self.frontier() else {
            return Distance { age: Duration::MAX, transactions: 0 };
        };
        let silent = frontier.silent_for();
        let transactions = frontier.reached().offset.0.saturating_sub(offset.0);
        let waiting = match transactions {
            0 => None,
            _ => self.board.waiting_since(offset),
        };
        let waited = waiting.map_or(0, |since| u64::try_from(self.board.now_micros() - since).unwrap_or(0));
        Distance { age: silent.max(Duration::from_micros(waited)), transactions }
    }

    /// [`Handle::distance`], of what may lack commits that lie further back.
    pub(crate) fn distance_of(&self, offset: Offset, stale: Option<Stale>) -> Distance {
        let distance = self.distance(offset);
        let Some(stale) = stale else { return distance };
        let age = u64::try_from(self.board.now_micros() - stale.since).unwrap_or(0);
        Distance { age: distance.age.max(Duration::from_micros(age)), ..distance }
    }

    /// How long ago it was last known that everything the source had committed was read; `None` while this instance does
    /// not lead.
    pub fn silent_for(&self) -> Option<Duration> {
        self.frontier().map(|frontier| frontier.silent_for())
    }

    /// What happened to the parts, newest first, and only so much of it; the log in the data folder holds more.
    pub fn incidents(&self) -> Vec<Incident> {
        self.board.incidents()
    }

    /// How often something happened since the process started, by kind.
    pub fn incident_counts(&self) -> Vec<(&'static str, u64)> {
        self.board.incident_counts()
    }

    /// Of each store: how long commits took to be seen in it, of the newest transaction of each step. From the source's
    /// clock to this machine's.
    pub fn commit_to_visible(&self) -> Vec<(Box<str>, HistogramSample)> {
        self.board.commit_to_visible()
    }

    /// At most `limit` rows that stores refused or that the source does not hand on, the newest first; none while this instance does not lead.
    pub fn quarantined_rows(&self, limit: usize) -> Result<Vec<QuarantinedRow>> {
        self.term().map_or(Ok(Vec::new()), |term| term.state.quarantined_rows(limit))
    }

    /// Forgets that a row was refused: the store goes on without it until it is written at the source again. Whether there
    /// was such an entry. `Transient` while this instance does not lead.
    pub fn discard_quarantined(&self, id: i64) -> Result<bool> {
        let Some(term) = self.term() else { return Err(Error::transient("this instance does not lead")) };
        match term.state.discard_quarantined(id)? {
            None => return Ok(false),
            Some(Some(store)) => self.board.quarantined(&store, term.state.quarantined(&store)?),
            Some(None) => self.board.left_out(term.state.left_out()?),
        }
        Ok(true)
    }

    /// Compares stores with the source while both move, and tells `progress` how far it is. Dropped, it ends. `Transient` while
    /// this instance does not lead.
    pub async fn verify(
        &self,
        request: &Request,
        progress: &watch::Sender<verify::report::Progress>,
    ) -> Result<Report> {
        let no_lead = || Error::transient("this instance does not lead: nothing can be verified here now");
        let term = self.term().ok_or_else(no_lead)?;
        let verifier = term.verifier.ok_or_else(no_lead)?;
        let _asked = verifier.ask();
        tokio::select! {
            report = verifier.run(request, progress) => report,
            () = term.ended.cancelled() => Err(Error::transient("the verification broke off: this instance began anew or leads no more")),
        }
    }

    /// Tries a row once more that its store refused. Whether there was such an entry; an error says why it was refused again.
    pub async fn retry_quarantined(&self, id: i64) -> Result<bool> {
        let no_lead = || Error::transient("this instance does not lead");
        let term = self.term().ok_or_else(no_lead)?;
        let verifier = term.verifier.ok_or_else(no_lead)?;
        let Some(row) = term.state.quarantined_row(id)? else { return Ok(false) };
        // Once it is taken, its entry goes: the store's applier sees to it.
        verifier.retry(&row).await?;
        Ok(true)
    }

    /// What the source has of a row, and what became of it in every store and view that shows it. `Transient` while this
    /// instance does not lead; else the errors of [`Finder::find`].
    pub async fn find(&self, table: &str, key: &str) -> Result<Whereabouts> {
        let Some(finder) = self.term().and_then(|term| term.finder) else {
            return Err(Error::transient("this instance does not lead")
                .with_remedy("ask the instance that does, with its file or on its machine"));
        };
        finder.find(table, key).await
    }

    /// [`Handle::status`] with rows counted not longer than `age_max` ago, unless the stores are slow to count: then, after
    /// `within`, with what is known. Stores count only when this is asked, and at most every few seconds.
    pub async fn status_with_rows(&self, age_max: Duration, within: Duration) -> Status {
        if self.is_leading() {
            self.counts.ask(age_max, within).await;
        }
        self.status()
    }

    /// How everything is, from memory: no engine is asked. Rows are as old as the last
    /// [`Handle::status_with_rows`].
    pub fn status(&self) -> Status {
        let term = self.term();
        let derived = term.as_ref().and_then(|term| term.derived.as_ref().map(|upto| *upto.borrow()));
        let journal = term.map(|term| term.journal);
        let durable = journal.as_ref().map_or(Offset::ZERO, Journal::durable);
        let notation = |position: &_| self.source.notation(position);
        let mut status = self.board.status(durable, notation);
        status.heal = self.heal().map(|heal| heal.status()).unwrap_or_default();
        status.source.retained_log_bytes_max = self.retained_log_bytes_max;
        status.source.traffic = self.source.traffic();
        status.journal.bytes_max = self.journal_bytes_max;
        status.mirror = derived.map(|offset| MirrorStatus {
            offset: offset.0,
            lag_transactions: durable.0.saturating_sub(offset.0),
        });
        for store in &mut status.stores {
            for view in &mut store.views {
                view.part = self.part(&store.name, &view.name).map(|part| part.status());
            }
            for used in self.consumed(&store.name) {
                if let Some(view) = store.views.iter_mut().find(|view| *view.name == *used.view) {
                    let Consumed { read_units, write_units, tables, .. } = used;
                    view.consumed = Some(ConsumedStatus { read_units, write_units });
                    view.traffic = tables;
                }
            }
        }
        if let Some(journal) = journal {
            status.source.position = journal.last_position().map(|position| self.source.notation(&position));
            status.journal.first_offset = journal.first().0;
            status.journal.durable_offset = durable.0;
            status.journal.bytes = journal.bytes();
            for store in &mut status.stores {
                store.lag_bytes = journal.bytes_after(Offset(store.offset));
            }
        }
        status
    }
}

/// Why leading ended.
enum Ended {
    Cancelled,
    /// Something was out of reach that may come back: a new term begins soon.
    Failed(Error),
    /// A successor took over: wait for the next turn.
    Fenced(Error),
    /// Somebody asked for it: others may lead for now.
    SteppedDown,
    /// A table's shape changed: everything is planned again.
    Reshaped,
    /// The log between the journal and the source has a gap: what it hides is read again.
    Gap(Error),
    /// The source takes another course of history: a new term looks what that means.
    Moved(Error),
}

/// The source's one place for a reader, taken.
struct Taken {
    stream: Box<dyn Follow>,
    /// The source's history as it is followed from here on.
    lineage: Lineage,
    /// The same as it was before anything was made anew, to judge what was followed before by.
    before: Lineage,
    /// Where the log goes on; `None` at the beginning, and after a gap.
    after: Option<Position>,
    /// The source took another course since it was followed last.
    moved: bool,
}

impl Service {
    /// `views` have their table names resolved. Nothing is touched before [`Service::run`].
    pub fn new(
        options: Options,
        source: Arc<dyn Source>,
        stores: Vec<NamedStore>,
        views: Vec<Arc<View>>,
    ) -> Result<Service> {
        Service::on(Machine::default(), options, source, stores, views)
    }

    /// As [`Service::new`], on a machine that may be simulated.
    pub fn on(
        machine: Machine,
        options: Options,
        source: Arc<dyn Source>,
        stores: Vec<NamedStore>,
        views: Vec<Arc<View>>,
    ) -> Result<Service> {
        let consumers: Vec<Consumer> = consumers(&views);
        let parts: Arc<[Arc<Part>]> = Part::all(&views).into();
        let in_part =
            parts.iter().map(|part| Consumer { store: part.store.clone(), view: part.view.name.clone() });
        let all: Vec<Consumer> = consumers.into_iter().chain(in_part).collect();
        for consumer in &all {
            if !stores.iter().any(|store| store.name == consumer.store) {
                return Err(Error::misconfigured(format!(
                    "view `{}` names store `{}`, which is not in the file",
                    consumer.view, consumer.store
                )));
            }
        }
        let board = Arc::new(Board::new(options.hold_for, machine.clock.clone(), all));
        let counts = Arc::new(Counts::new());
        let (term, heal) = Default::default();
        let (tracer, background) = (None, verify::Background::default());
        Ok(Service {
            options,
            machine,
            source,
            stores,
            views,
            parts,
            board,
            counts,
            term,
            tracer,
            heal,
            background,
        })
    }

    /// Also verifies by itself; without this, only when it is asked to.
    pub fn verifying(self, background: verify::Background) -> Service {
        Service { background, ..self }
    }

    /// With traces of what it does, from the next term on.
    pub fn traced(self, tracer: Option<Arc<dyn Tracer>>) -> Service {
        Service { tracer, ..self }
    }

    pub fn handle(&self) -> Handle {
        Handle {
            source: Arc::clone(&self.source),
            stores: self.stores.as_slice().into(),
            parts: Arc::clone(&self.parts),
            board: Arc::clone(&self.board),
            counts: Arc::clone(&self.counts),
            term: Arc::clone(&self.term),
            heal: Arc::clone(&self.heal),
            data: self.options.data.as_path().into(),
            journal_bytes_max: self.options.journal_bytes_max,
            retained_log_bytes_max: self.options.retained_log_bytes_max,
        }
    }

    /// Leads, or waits to lead, until cancelled. An error is one that waiting does not mend.
    pub async fn run(self, cancel: CancellationToken) -> Result<()> {
        std::fs::create_dir_all(&self.options.data).map_err(|error| {
            Error::misconfigured(format!("create the data folder {}", self.options.data.display()))
                .with_cause(error)
        })?;
        let mut gap = None;
        while !cancel.is_cancelled() {
            let ended = match self.lead(&cancel, std::mem::take(&mut gap)).await {
                Err(error) if error.is_retryable() => Ended::Failed(error),
                ended => ended?,
            };
            *self.term.lock().unwrap_or_else(PoisonError::into_inner) = None;
            self.board.leads_no_more();
            match ended {
                Ended::Cancelled => break,
                Ended::Failed(why) => {
                    warn!(error = %why, "leading ended; trying again");
                    pause(&cancel).await;
                }
                Ended::Reshaped => {}
                Ended::SteppedDown => {
                    info!("stepped down; another instance may lead");
                    tokio::select! {
                        biased;
                        () = cancel.cancelled() => {}
                        () = tokio::time::sleep(STEPPED_DOWN_FOR) => {}
                    }
                }
                Ended::Fenced(why) => {
                    warn!(error = %why, "another instance took over; waiting");
                    pause(&cancel).await;
                }
                Ended::Gap(why) => {
                    error!(error = %why, "the log has a gap: every view is read again from the source");
                    gap = Some(why.to_string());
                }
                Ended::Moved(why) => {
                    warn!(error = %why, "the source has taken another course of history: looking where to go on");
                }
            }
        }
        Ok(())
    }

    /// One term of leadership, from taking the folder's lock to the end of all tasks and of what is written about them.
    async fn lead(&self, cancel: &CancellationToken, gap: Option<String>) -> Result<Ended> {
        let Some(_folder) = self.take_folder(cancel).await? else { return Ok(Ended::Cancelled) };
        let (over, keeping) = (
            CancellationToken::new(),
            Keeping::open(&self.options.data, Arc::clone(&self.board), self.machine.disk.is_none()),
        );
        let _told = over.clone().drop_guard();
        let keeping = tokio::spawn(keeping.run(over.clone()).in_current_span());
        let parts = parts_of(self.stores.iter().map(|store| &*store.name));
        let heal = Heal::open(&self.options.data, self.options.heal, parts, Arc::clone(&self.board));
        let ended = match heal {
            Ok(heal) => {
                let heal = Arc::new(heal);
                *self.heal.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&heal));
                let ended = self.term(cancel, gap, &heal).await;
                *self.heal.lock().unwrap_or_else(PoisonError::into_inner) = None;
                ended
            }
            Err(error) => Err(error),
        };
        match &ended {
            Ok(Ended::Cancelled | Ended::Reshaped | Ended::Moved(_)) => {}
            Ok(Ended::SteppedDown) => self.board.standby("it stepped down, as a drill asked"),
            Ok(Ended::Failed(why) | Ended::Gap(why)) | Err(why) => self.board.source_failed(why),
            Ok(Ended::Fenced(why)) => self.board.standby(&why.to_string()),
        }
        over.cancel();
        match keeping.await {
            Ok(kept) => kept?,
            Err(error) => return Err(Error::bug("keeping the incident log panicked").with_cause(error)),
        }
        ended
    }

    async fn term(&self, cancel: &CancellationToken, gap: Option<String>, heal: &Arc<Heal>) -> Result<Ended> {
        if let Some(why) = &gap {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(Ended::Cancelled),
                allowed = self.may_rebuild(heal, why) => allowed?,
            }
        }
        let gap = gap.is_some();
        let state = Arc::new(State::open(&self.options.data.join("state.db"))?);
        let tables = self.tables();
        // Before the source hears which tables are still wanted: a table that comes back after a crash between the two
        // would otherwise seem never to have been away.
        state.keep_only(&consumers(&self.views))?;
        // After a gap they are found again by the reads.
        state.keep_left_out(if gap { &[] } else { &tables })?;
        self.board.left_out(state.left_out()?);
        Deriving::keep_only(&self.options.data, &tables)?;
        let Some(held) = cancel.run_until_cancelled(self.greatest_held()).await else {
            return Ok(Ended::Cancelled);
        };
        let (journal, writer) = {
            let mut options = journal::Options::new(self.options.data.join("journal"));
            options.bytes_max = self.options.journal_bytes_max;
            // Space is freed a segment at a time: a small bound needs small segments.
            options.segment_bytes = options.segment_bytes.min(options.bytes_max / 8);
            options.after = held.1;
            options.disk = self.machine.disk.clone();
            Journal::open(options)?
        };
        let last = journal.last_position();
        // From a random number on: none of the marks that other terms left in the log has such a one. A clock would not do:
        // two instances that were started together, one of which waits, would count from about the same.
        let first_mark = fastrand::u64(1 << 32..1 << 62);
        let reached = Reached { position: last.clone().filter(|_| !gap), offset: journal.durable() };
        let frontier = Arc::new(Frontier::new(Arc::clone(&self.source), first_mark, reached));
        let tasks = CancellationToken::new();
        // Threads are not dropped with this future: they are told.
        let _told = tasks.clone().drop_guard();
        let step_down = CancellationToken::new();
        *self.term.lock().unwrap_or_else(PoisonError::into_inner) = Some(Term {
            ended: tasks.clone(),
            journal: journal.clone(),
            frontier: Arc::clone(&frontier),
            state: Arc::clone(&state),
            windows: None,
            derived: None,
            verifier: None,
            step_down: step_down.clone(),
            finder: None,
        });
        let Some(taken) = self.take_source(&tables, last.as_ref(), gap, &state, cancel).await? else {
            return Ok(Ended::Cancelled);
        };
        let taken = match taken {
            Ok(taken) => taken,
            Err(why) => return Ok(Ended::Gap(why)),
        };
        frontier.follows(taken.lineage.clone(), taken.after.clone());
        let epoch = Epoch(state.epoch()?.max(held.0).0 + 1);
        state.set_epoch(epoch)?;
        let Some(looked) = cancel.run_until_cancelled(self.look(&tables, &frontier)).await else {
            return Ok(Ended::Cancelled);
        };
        let (server, described, first_look) = looked?;
        self.board.leading(epoch.0, &server.server);
        info!(%epoch, server = %server.server, "leading");

        let facts: BTreeMap<_, _> = server.tables.iter().map(|table| (table.name.clone(), table)).collect();
        let described: Catalogue = described.into_iter().map(|now| (now.table.name.clone(), now)).collect();
        let shapes: Tables =
            described.iter().map(|(name, now)| (name.clone(), Arc::clone(&now.table))).collect();
        let shapes = Arc::new(shapes);
        let plans = self.plans(&facts, &described)?;
        let key =
            |plan: &ViewPlan| facts.get(&plan.view.from).map(|table| key_params(table)).unwrap_or_default();
        let keys: BTreeMap<_, _> = plans.iter().map(|plan| (plan.view.name.clone(), key(plan))).collect();
        let back = LookBack {
            journal: &journal,
            state: &state,
            board: &self.board,
            plans: &plans,
            keys: &keys,
            tables: tables.iter().cloned().collect(),
            lineage: &taken.before,
            gap,
            moved: taken.moved,
        };
        let undo = back.note()?;
        // From here on a start needs not know what was followed before.
        state.set_lineage(&taken.lineage)?;
        self.know_tables(&state, &plans)?;
        if gap {
            // Was allowed as a whole: no store asks again.
            state.forget_filled()?;
        }
        heal.settle(SOURCE, Action::Rebuild)?;
        let reshaped = CancellationToken::new();
        let mut running: JoinSet<(&'static str, Result<()>)> = JoinSet::new();

        let windows = Arc::new(Windows::new(&first_look));
        if let Some(term) = &mut *self.term.lock().unwrap_or_else(PoisonError::into_inner) {
            term.windows = Some(Arc::clone(&windows));
        }
        let (requests, asked) = mpsc::channel(64);
        let mirrored = Arc::new(crate::watch::Sender::new(BTreeSet::new()));
        let stateful: Vec<_> =
            plans.iter().filter(|plan| plan.stateful).map(|plan| Arc::clone(&plan.view)).collect();
        if stateful.is_empty() || last.is_none() || state.wants_new_mirror()? {
            // A mirror that nobody moves would miss what happens to its tables meanwhile. And a journal
            // without an entry is not the one that a mirror, if there is one, was made from.
            Deriving::forget(&self.options.data)?;
            state.set_mirrored(&[])?;
        }
        let (amender, amendments) = Amender::new();
        let derived = if stateful.is_empty() {
            None
        } else {
            let shared = deriving::Shared {
                mirrored: Arc::clone(&mirrored),
                board: Arc::clone(&self.board),
                frontier: Arc::clone(&frontier),
                reshaped: reshaped.clone(),
                disk: self.machine.disk.clone(),
                amendments,
            };
            let read_again = self.reshape_mirror(&state, &described)?;
            let mut deriving =
                Deriving::open(&self.options.data, &stateful, &shapes, &read_again, &journal, shared)?;
            // Only now: after a crash in between they are found to be reshaped once more.
            state.set_mirrored(&described.values().cloned().collect::<Vec<_>>())?;
            self.fill_mirror(&deriving, &state, &plans)?;
            if deriving.is_new {
                state.has_new_mirror()?;
            }
            let gapped = state.mirror_gap()?;
            mirrored.send_if_modified(|mirrored| {
                mirrored.retain(|table| !gapped.contains(table));
                true
            });
            deriving.begin_new()?;
            let derived = deriving.derived();
            if let Some(term) = &mut *self.term.lock().unwrap_or_else(PoisonError::into_inner) {
                term.derived = Some(derived.upto.clone());
            }
            running.spawn(named("derive", deriving.run(tasks.clone())));
            Some(derived)
        };
        let watch =
            Arc::new(Watch::new(Arc::clone(&self.source), Arc::clone(&state), described, reshaped.clone()));
        let traces = self
            .tracer
            .clone()
            .map(|tracer| Arc::new(Transactions::new(self.machine.clock.clone(), tracer, self.showing())));
        if let Some(traces) = &traces {
            let (durable, derived) =
                (journal.durable_changed(), derived.as_ref().map(|made| made.upto.clone()));
            let stamping = Arc::clone(traces).run(durable, derived, tasks.clone());
            running.spawn(named("trace", stamping));
        }
        let capture = Capture {
            source: Arc::clone(&self.source),
            journal: journal.clone(),
            writer,
            windows: Arc::clone(&windows),
            frontier: Arc::clone(&frontier),
            board: Arc::clone(&self.board),
            traces: traces.clone(),
            shapes: Arc::clone(&shapes),
            watch: Arc::clone(&watch),
            state: Arc::clone(&state),
            last: taken.after.clone(),
            last_offset: journal.durable(),
            last_committed_at: journal.last_committed_at().unwrap_or(0),
        };
        running.spawn(named("capture", capture.run(taken.stream, tasks.clone())));
        running.spawn(named("frontier", Arc::clone(&frontier).run(tasks.clone())));
        let chunks = Arc::new(Chunks {
            source: Arc::clone(&self.source),
            windows,
            journal: journal.clone(),
            frontier: Arc::clone(&frontier),
        });
        let finder = Finder {
            source: Arc::clone(&self.source),
            stores: self.stores.iter().map(|store| (store.name.clone(), Arc::clone(&store.store))).collect(),
            plans: plans.clone(),
            tables: Arc::clone(&shapes),
            keys: facts.iter().map(|(name, table)| (name.clone(), key_params(table))).collect(),
            mirror: Deriving::mirror_path(&self.options.data),
            journal: journal.clone(),
            state: Arc::clone(&state),
            board: Arc::clone(&self.board),
        };
        if let Some(term) = &mut *self.term.lock().unwrap_or_else(PoisonError::into_inner) {
            term.finder = Some(Arc::new(finder));
        }
        let closing = Closing {
            chunks: Arc::clone(&chunks),
            board: Arc::clone(&self.board),
            stores: self.stores.iter().map(|store| (store.name.clone(), Arc::clone(&store.store))).collect(),
            flat: plans
                .iter()
                .filter(|plan| !plan.stateful)
                .map(|plan| {
                    let params = keys.get(&plan.view.name).cloned().unwrap_or_default();
                    (plan.view.name.clone(), (Arc::clone(&plan.view), params))
                })
                .collect(),
            mirror: derived.as_ref().map(|derived| MirrorAt {
                path: Deriving::mirror_path(&self.options.data),
                views: stateful,
                tables: Arc::clone(&shapes),
                upto: derived.upto.clone(),
            }),
        };
        let backfill = Backfill {
            closing,
            undo,
            chunks: Arc::clone(&chunks),
            state: Arc::clone(&state),
            board: Arc::clone(&self.board),
            tracer: self.tracer.clone(),
            plans: plans.iter().map(|plan| (plan.view.name.clone(), plan.clone())).collect(),
            estimates: facts.iter().map(|(name, table)| (name.clone(), table.rows_estimate)).collect(),
            mirrored,
            parallel: self.options.backfill_parallel.clamp(1, 16),
            chunk_rows: self.options.backfill_chunk_rows.max(1),
            rows_per_second_max: self.options.backfill_rows_per_second_max,
        };
        running.spawn(named("backfill", backfill.run(asked, tasks.clone())));
        let mut menders = Menders::default();
        for NamedStore { name, store } in &self.stores {
            let held_here: Vec<ViewPlan> =
                plans.iter().filter(|plan| plan.view.stores.contains(name)).cloned().collect();
            let in_part: Vec<&ViewPlan> =
                plans.iter().filter(|plan| plan.view.part(name).is_some()).collect();
            if held_here.is_empty() && in_part.is_empty() {
                continue;
            }
            let followed = || held_here.iter().chain(in_part.iter().copied());
            let flat: Vec<_> =
                followed().filter(|plan| !plan.stateful).map(|plan| Arc::clone(&plan.view)).collect();
            let stateful: BTreeSet<_> =
                followed().filter(|plan| plan.stateful).map(|plan| plan.view.name.clone()).collect();
            let mapper = Mapper {
                journal: journal.clone(),
                flat,
                tables: Arc::clone(&shapes),
                board: Arc::clone(&self.board),
                derived: match &derived {
                    Some(made) if !stateful.is_empty() => Some(Derived {
                        journal: made.journal.clone(),
                        upto: made.upto.clone(),
                        views: stateful,
                    }),
                    _ => None,
                },
            };
            let applier = Applier {
                name: name.clone(),
                store: Arc::clone(store),
                epoch,
                claimed: false,
                keepers: self.keepers(name, &facts, &shapes)?,
                mends: menders.add(name),
                refused: RefusedKeys::default(),
                plans: held_here,
                journal: journal.clone(),
                frontier: Arc::clone(&frontier),
                mapper,
                state: Arc::clone(&state),
                board: Arc::clone(&self.board),
                traces: traces.clone(),
                backfill: requests.clone(),
                heal: Arc::clone(heal),
                replan: reshaped.clone(),
            };
            running.spawn(named("apply", applier.run(tasks.clone())));
        }
        let verifier = Arc::new(Verifier {
            chunks,
            keys: plans.iter().filter_map(|plan| key_params_of(plan, &facts)).collect(),
            plans: plans.clone(),
            stores: self.stores.clone(),
            board: Arc::clone(&self.board),
            state: Arc::clone(&state),
            tables: Arc::clone(&shapes),
            derived: derived.clone(),
            mirror: Deriving::mirror_path(&self.options.data),
            estimates: facts.iter().map(|(name, table)| (name.clone(), table.rows_estimate)).collect(),
            chunk_rows: self.options.backfill_chunk_rows.max(1),
            menders,
            amender,
            heal: Arc::clone(heal),
            turn: tokio::sync::Mutex::default(),
            canaries: Canaries::default(),
            asked: watch::Sender::new(0),
        });
        if let Some(term) = &mut *self.term.lock().unwrap_or_else(PoisonError::into_inner) {
            term.verifier = Some(Arc::clone(&verifier));
        }
        for (consumer, verified) in state.all_verified()? {
            self.board.view_verified(&consumer, verified);
        }
        running.spawn(named("verify", verifier.in_background(self.background, tasks.clone())));
        let upkeep = Upkeep {
            source: Arc::clone(&self.source),
            journal: journal.clone(),
            derived: derived.clone(),
            board: Arc::clone(&self.board),
            state: Arc::clone(&state),
            plans,
            retained_log_bytes_max: self.options.retained_log_bytes_max,
            watch,
        };
        running.spawn(named("upkeep", upkeep.run(tasks.clone())));
        let counting = Counting {
            stores: self.stores.clone(),
            views: self.views.clone(),
            board: Arc::clone(&self.board),
            counts: Arc::clone(&self.counts),
        };
        running.spawn(named("counting", counting.run(tasks.clone())));
        let sizing = Sizing {
            parts: self.parts.to_vec(),
            stores: self.stores.clone(),
            board: Arc::clone(&self.board),
        };
        running.spawn(named("sizing", sizing.run(tasks.clone())));

        let ended = tokio::select! {
            biased;
            () = cancel.cancelled() => Ok(Ended::Cancelled),
            () = reshaped.cancelled() => Ok(Ended::Reshaped),
            () = step_down.cancelled() => Ok(Ended::SteppedDown),
            Some(ended) = running.join_next() => sort_out(ended),
        };
        tasks.cancel();
        while running.join_next().await.is_some() {}
        match ended {
            Ok(Ended::Gap(why)) if has_moved(&*self.source, &self.board, &taken.lineage, cancel).await => {
                Ok(Ended::Moved(why))
            }
            ended => ended,
        }
    }

    /// The stores that hold something, all of a view or part of it.
    fn showing(&self) -> Vec<Box<str>> {
        let holds = |name: &str| self.views.iter().any(|view| view.is_in(name));
        self.stores.iter().map(|store| store.name.clone()).filter(|name| holds(name)).collect()
    }

    /// Waits until everything may be cleared and filled again. What the source keeps for us meanwhile is of no use: it goes
    /// first.
    async fn may_rebuild(&self, heal: &Heal, why: &str) -> Result<()> {
        let asked = heal.ask(PartKind::Source, SOURCE, Event::LogLost, why);
        let Err(error) = asked.as_ref() else { return Ok(()) };
        if error.kind() != ErrorKind::Denied {
            return asked.map(drop);
        }
        if let Err(error) = self.source.forget().await {
            warn!(%error, "the source cannot be set free yet");
        }
        let told = |waits: &Error| self.board.source_failed(waits);
        heal.wait_for(PartKind::Source, SOURCE, Event::LogLost, why, told).await.map(drop)
    }

    async fn take_folder(&self, cancel: &CancellationToken) -> Result<Option<FolderLock>> {
        let mut told = false;
        loop {
            if let Some(lock) = FolderLock::try_take(&self.options.data)? {
                return Ok(Some(lock));
            }
            if !std::mem::replace(&mut told, true) {
                info!(folder = %self.options.data.display(), "another instance uses the data folder; standing by");
                self.board.standby("another instance uses the data folder");
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(None),
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
            }
        }
    }

    /// What the source says of itself and of the tables, and what a read shows that begins now, when they are followed: see
    /// [`crate::passed::Passed::new`].
    async fn look(
        &self,
        tables: &[TableName],
        frontier: &Frontier,
    ) -> Result<(SourceFacts, Vec<Catalogued>, Moment)> {
        let facts = self.source.inspect().await?;
        let described = self.source.shapes(tables).await?;
        let Some(table) = tables.first() else {
            return Err(Error::misconfigured("there is no view"));
        };
        self.source.mark(frontier.next_mark()).await?;
        let one_row =
            ChunkRange { table: table.clone(), after: None, limit: 1, bytes_max: 1, keys: Vec::new() };
        Ok((facts, described, self.source.read_chunk(&one_row).await?.moment))
    }

    /// Waits for the source and for its one place for a reader. The inner error is a gap. After a `gap`, what the source
    /// keeps for us begins anew.
    async fn take_source(
        &self,
        tables: &[TableName],
        last: Option<&Position>,
        gap: bool,
        state: &State,
        cancel: &CancellationToken,
    ) -> Result<Option<Result<Taken>>> {
        let mut backoff = Backoff::new();
        let mut told = String::new();
        loop {
            let tried = cancel.run_until_cancelled(self.try_take(tables, last, gap, state)).await;
            let Some(tried) = tried else { return Ok(None) };
            let error = match tried {
                Ok(taken) => return Ok(Some(Ok(taken))),
                Err(error) if error.kind() == ErrorKind::OutOfStep => return Ok(Some(Err(error))),
                Err(error) if error.is_retryable() => error,
                Err(error) => return Err(error.while_doing("follow the source")),
            };
            if error.to_string() != told {
                told = error.to_string();
                info!(%error, remedy = error.remedy(), "the source cannot be followed yet; standing by");
                self.board.standby(&told);
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(None),
                () = backoff.pause() => {}
            }
        }
    }

    async fn try_take(
        &self,
        tables: &[TableName],
        last: Option<&Position>,
        gap: bool,
        state: &State,
    ) -> Result<Taken> {
        // First of all: nothing is made, or dropped, in a database that is not ours.
        let mut lineage = None;
        let mut after = None;
        if let Some(last) = last {
            let now = self.source.lineage(Some(last)).await?;
            self.recognise(last, &now)?;
            after = match history::resume(last, state.lineage()?.as_ref(), &now) {
                _ if gap => None,
                Resume::Here(position) | Resume::Left(position) => Some(position),
                Resume::Lost(why) => return Err(Error::out_of_step(why)),
            };
            lineage = Some(now);
        }
        if gap {
            self.source.forget().await?;
        }
        let joined = self.source.prepare(tables).await?;
        if !gap {
            state.note_joined(&joined)?;
        }
        // A source that began anew may have another name for itself.
        let (before, lineage) = match lineage {
            Some(before) if gap => (before, self.source.lineage(last).await?),
            Some(before) => (before.clone(), before),
            None => {
                let lineage = self.source.lineage(None).await?;
                (lineage.clone(), lineage)
            }
        };
        let stream = self.source.follow(after.as_ref()).await?;
        let moved = last.is_some_and(|last| last.system != before.system);
        Ok(Taken { stream, lineage, before, after, moved })
    }

    /// Refuses a source that is not the database the journal follows. One that took a new course of history (a failover,
    /// a restore) is still that database.
    fn recognise(&self, last: &Position, now: &Lineage) -> Result<()> {
        if Position::new(Arc::clone(&now.system), 0).is_same_database(last) {
            return Ok(());
        }
        Err(Error::misconfigured(format!(
            "the journal follows system {}, but the source is now system {}",
            last.system, now.system
        ))
        .with_remedy(
            "check the source's url; if the change is meant, delete the data folder and every view is filled again",
        ))
    }

    /// The greatest epoch and offset that a store within reach holds.
    async fn greatest_held(&self) -> (Epoch, Offset) {
        let mut greatest = (Epoch(0), Offset::ZERO);
        for NamedStore { name, store } in &self.stores {
            match tokio::time::timeout(ASK_WITHIN, store.held()).await {
                Ok(Ok(Some(held))) => greatest = (greatest.0.max(held.epoch), greatest.1.max(held.offset)),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => warn!(store = %name, %error, "the store does not say how far it is"),
                Err(_) => warn!(store = %name, "the store does not answer"),
            }
        }
        greatest
    }

    fn tables(&self) -> Vec<TableName> {
        let tables: BTreeSet<TableName> = self.views.iter().flat_map(|view| view.tables()).collect();
        tables.into_iter().collect()
    }

    fn plans(
        &self,
        facts: &BTreeMap<TableName, &TableFacts>,
        described: &Catalogue,
    ) -> Result<Vec<ViewPlan>> {
        let mut plans = Vec::with_capacity(self.views.len());
        for view in &self.views {
            let Some(root) = facts.get(&view.from) else {
                return Err(Error::misconfigured(format!(
                    "view `{}`: the source has no table {}",
                    view.name, view.from
                ))
                .with_remedy("run `headwater check`"));
            };
            // Flat documents can be put in part; JSON texts cannot everywhere.
            let stateful = derive::needs_state(view, root, view.layout() == Layout::Hash);
            let tables = view.tables();
            let unwritable = |error| Error::bug("a view cannot be described").with_cause(error);
            let fingerprint = Fingerprint {
                definition: serde_json::to_string(&(&**view, stateful)).map_err(unwritable)?,
                tables: tables.iter().filter_map(|table| described.get(table).cloned()).collect(),
            };
            plans.push(ViewPlan { view: Arc::clone(view), tables, stateful, fingerprint });
        }
        Ok(plans)
    }

    /// The parts that the store holds. Until a store has counted, their size is of what the source estimates.
    fn keepers(
        &self,
        store: &str,
        facts: &BTreeMap<TableName, &TableFacts>,
        shapes: &Tables,
    ) -> Result<Keepers> {
        let mut keepers = Vec::new();
        for part in self.parts.iter().filter(|part| *part.store == *store) {
            let view = &part.view;
            part.set_rows(facts.get(&view.from).map_or(0, |table| table.rows_estimate));
            let filter =
                match (view.part(store).and_then(|part| part.filter.as_deref()), shapes.get(&view.from)) {
                    (Some(text), Some(table)) => Some(PartFilter::new(view, text, table)?),
                    _ => None,
                };
            keepers.push(Keeper::new(Arc::clone(part), filter));
        }
        Ok(Keepers(keepers))
    }

    /// Views whose mirrored rows are not all there are read again, from nothing if the mirror is new.
    fn fill_mirror(&self, deriving: &Deriving, state: &State, plans: &[ViewPlan]) -> Result<()> {
        let (incomplete, held) = (deriving.incomplete(), deriving.held());
        for plan in plans.iter().filter(|plan| plan.stateful) {
            for store in &plan.view.stores {
                let consumer = Consumer { store: store.clone(), view: plan.view.name.clone() };
                let restart = plan.tables.iter().any(|table| held.contains(table))
                    && state.fill(&consumer, &plan.fingerprint)? == Fill::Filling;
                if deriving.is_new || restart {
                    state.want_fill(&consumer, &plan.fingerprint)?;
                } else if plan.tables.iter().any(|table| incomplete.contains(table)) {
                    state.refresh_fill(&consumer)?;
                }
            }
        }
        Ok(())
    }

    /// Whatever is in step with its tables goes on from the tables as they are now, also where a store is out of reach:
    /// what an earlier release noted does not say all of what is compared.
    fn know_tables(&self, state: &State, plans: &[ViewPlan]) -> Result<()> {
        for plan in plans {
            for store in &plan.view.stores {
                let consumer = Consumer { store: store.clone(), view: plan.view.name.clone() };
                state.fill(&consumer, &plan.fingerprint)?;
            }
        }
        Ok(())
    }

    /// Makes the mirror forget tables whose rows may have other keys now. Those whose rows are to be read again over what
    /// is there are returned.
    fn reshape_mirror(&self, state: &State, described: &Catalogue) -> Result<BTreeSet<TableName>> {
        let (mut again, mut kept) = (BTreeSet::new(), self.tables());
        for then in state.mirrored()? {
            let name = &then.table.name;
            match described.get(name).map(|now| now.since(&then)) {
                None | Some(Reshaped::No) => {}
                Some(Reshaped::Rows) => {
                    again.insert(name.clone());
                }
                Some(Reshaped::Keys) => kept.retain(|table| table != name),
            }
        }
        Deriving::keep_only(&self.options.data, &kept)?;
        Ok(again)
    }
}

/// How the key of a table's rows reads.
fn key_params(table: &TableFacts) -> Vec<Param> {
    let column = |name: &str| table.columns.iter().find(|column| *column.name == *name);
    let param = |column: &ColumnFacts| Param {
        name: column.name.clone(),
        role: ParamRole::Key,
        kind: column.kind.clone(),
        type_name: column.type_name.clone(),
        required: true,
    };
    table.key.iter().filter_map(|name| column(name)).map(param).collect()
}

fn key_params_of(
    plan: &ViewPlan,
    facts: &BTreeMap<TableName, &TableFacts>,
) -> Option<(Box<str>, Vec<Param>)> {
    let facts = facts.get(&plan.view.from)?;
    Some((plan.view.name.clone(), verify::key_params(&plan.view, facts)))
}

/// The parts whose healing can be paused.
pub fn parts_of<'n>(stores: impl IntoIterator<Item = &'n str>) -> Vec<String> {
    [SOURCE.to_owned(), MIRROR.to_owned()].into_iter().chain(stores.into_iter().map(store_part)).collect()
}

fn consumers(views: &[Arc<View>]) -> Vec<Consumer> {
    let of = |view: &Arc<View>| {
        let view = Arc::clone(view);
        (0..view.stores.len())
            .map(move |i| Consumer { store: view.stores[i].clone(), view: view.name.clone() })
    };
    views.iter().flat_map(of).collect()
}

/// Between two terms that ended badly.
async fn pause(cancel: &CancellationToken) {
    tokio::select! {
        biased;
        () = cancel.cancelled() => {}
        () = tokio::time::sleep(Duration::from_secs(1)) => {}
    }
}

/// A task with its name; what it logs stands where the service was begun.
fn named(
    name: &'static str,
    task: impl Future<Output = Result<()>>,
) -> impl Future<Output = (&'static str, Result<()>)> {
    async move { (name, task.await) }.in_current_span()
}

/// What the end of a task means for the whole.
fn sort_out(ended: std::result::Result<(&'static str, Result<()>), tokio::task::JoinError>) -> Result<Ended> {
    match ended {
        Ok((_, Err(error))) if error.kind() == ErrorKind::Fenced => Ok(Ended::Fenced(error)),
        Ok((_, Err(error))) if error.kind() == ErrorKind::OutOfStep => Ok(Ended::Gap(error)),
        Ok((task, Err(error))) => Err(error.while_doing(task)),
        Ok((task, Ok(()))) => Err(Error::bug(format!("{task} ended by itself"))),
        Err(error) => Err(Error::bug("a task panicked").with_cause(error)),
    }
}
