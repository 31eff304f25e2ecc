//! From the journal into one store.
//!
//! Owns: the store's session (claim, prepare, clear what cannot be relied on), the size of its atomic steps, and what is
//! done about its errors. Does not own: what a change means for a view ([`crate::mapping`]).
//!
//! Invariant: a step ends only where a transaction ends, and carries the offset of that end, or between rows of a chunk,
//! and then its offset stays before the chunk; the store's own record of the offset, never our memory of it, says where
//! to go on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_model::heal::Action;
use headwater_model::{
    Apply, Epoch, Error, ErrorKind, Held, Offset, Position, Refusal, Result, Store, View, ViewChange,
};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::backfill::{Request, ViewPlan};
use crate::board::{Board, store_part};
use crate::frontier::Frontier;
use crate::heal::Heal;
use crate::heal::table::{Event, PartKind};
use crate::journal::{self, Item, Journal};
use crate::mapping::{End, Mapper, Piece};
use crate::part::Keepers;
use crate::refused::{RefusedKeys, Spoken};
use crate::repair::Mend;
use crate::retry::Backoff;
use crate::state::{Consumer, Fill, State};
use crate::trace::transactions::{Step, Transactions};
use crate::verify::canary::is_canary;

/// Pieces that wait for the store: mapping goes on while the store works, but not far ahead.
const PIECES_AHEAD: usize = 2;

/// A position that moved over changes which do not concern the store is stored this often.
const IDLE_COMMIT_EVERY: Duration = Duration::from_secs(1);

/// A store to which nothing is written is asked this often whether it still holds what it held: an emptied store must
/// not stay empty until the next change.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Mends that wait until the store has come to their place in the log.
const EARLY_MENDS_MAX: usize = 4;

/// A store that needs someone to change something is looked at again this often.
const PAUSED_RETRY: Duration = Duration::from_secs(10);

pub(crate) struct Applier {
    pub name: Box<str>,
    pub store: Arc<dyn Store>,
    pub epoch: Epoch,
    /// Whether the store has confirmed that it is ours in this term.
    pub claimed: bool,
    /// The views that the store holds, all of each.
    pub plans: Vec<ViewPlan>,
    /// Those that it holds in part.
    pub keepers: Keepers,
    /// Documents to be put right.
    pub mends: mpsc::Receiver<Mend>,
    /// What is in quarantine of the store.
    pub refused: RefusedKeys,
    pub journal: Journal,
    pub frontier: Arc<Frontier>,
    pub mapper: Mapper,
    pub state: Arc<State>,
    pub board: Arc<Board>,
    pub traces: Option<Arc<Transactions>>,
    pub backfill: mpsc::Sender<Request>,
    pub heal: Arc<Heal>,
    /// Ends the term: everything is planned again.
    pub replan: CancellationToken,
}

impl Applier {
    /// Keeps the store in step until cancelled. Returns an error only when the store belongs to a successor.
    pub async fn run(mut self, cancel: CancellationToken) -> Result<()> {
        let mut backoff = Backoff::new();
        let cut = self.board.cut(&self.name).unwrap_or_default();
        loop {
            let began = Instant::now();
            let heal = Arc::clone(&self.heal);
            // From here on, so that an approval during the session is not missed.
            let healed = heal.changed();
            let ended = tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(()),
                ended = self.session(&cancel) => ended,
                () = cut.notified() => Err(Error::transient("the connection was given up, as a drill asked")),
            };
            let Err(error) = ended else { return Ok(()) };
            self.board.store_failed(&self.name, &error);
            if error.kind() == ErrorKind::Fenced {
                return Err(error.while_doing(format_args!("write to store `{}`", self.name)));
            }
            warn!(store = %self.name, %error, "the store is not in step; trying again");
            if began.elapsed() > Duration::from_secs(30) {
                backoff.reset();
            }
            let pause = async {
                match error.kind() {
                    ErrorKind::Transient | ErrorKind::Throttled | ErrorKind::OutOfStep => {
                        backoff.pause().await
                    }
                    _ => {
                        tokio::select! {
                            biased;
                            () = tokio::time::sleep(PAUSED_RETRY) => {}
                            () = healed => {}
                        }
                    }
                }
            };
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(()),
                () = pause => {}
            }
        }
    }

    /// One connection's life: ends with the first error, or when cancelled (between steps).
    async fn session(&mut self, cancel: &CancellationToken) -> Result<()> {
        let facts = self.store.inspect().await?;
        let held = self.claim().await?;
        for plan in &self.plans {
            self.store.prepare(&plan.view).await?;
        }
        for view in self.keepers.views() {
            self.store.prepare(view).await?;
        }
        let mut held = held;
        loop {
            self.empty_parts(held.as_ref()).await?;
            let start = self.starting_point(held).await?;
            self.keepers.begin(self.epoch, start.held.offset);
            self.board.store_connected(&self.name, &facts.server, facts.promise, &start.held);
            for plan in &self.plans {
                let consumer = self.consumer(plan);
                let fill = self.state.fill(&consumer, &plan.fingerprint)?;
                self.board.view_stale(&consumer, self.state.stale(&consumer)?);
                self.board.view_ready(&consumer, matches!(fill, Fill::Ready | Fill::Gapped | Fill::Closing));
            }
            for view in self.keepers.views() {
                let consumer = Consumer { store: self.name.clone(), view: view.name.clone() };
                self.board.view_stale(&consumer, self.state.stale_anywhere(&view.name)?);
                self.board.view_ready(&consumer, true);
            }
            if let Some(offset) = start.until {
                info!(store = %self.name, %offset, "views are cleared once the store has come so far");
            }
            if !start.wanted.is_empty() {
                info!(store = %self.name, views = start.wanted.len(), "views are filled from the source");
                // A backfill that is gone is the end of the service, which cancels us.
                let _ = self.backfill.send(start.wanted).await;
            }
            self.refused = RefusedKeys::new(self.state.quarantined_keys(&self.name)?);
            match self.pump(start.held, start.until, cancel).await? {
                Some(arrived) => held = Some(arrived),
                None => return Ok(()),
            }
        }
    }

    /// Takes the store over. One that did not say what it holds when this term began may know this very epoch, from another
    /// instance that still writes: two owners of one epoch would not fence each other. So the first claim of a term only
    /// counts if it raises the epoch; one whose reply was lost does not, and costs a term.
    async fn claim(&mut self) -> Result<Option<Held>> {
        let held = self.store.claim(self.epoch).await?;
        match &held {
            Some(held) if !self.claimed && held.epoch >= self.epoch => Err(Error::new(
                ErrorKind::Fenced,
                format!("the store is at epoch {} already, perhaps of another instance", held.epoch),
            )),
            _ => {
                self.claimed = true;
                Ok(held)
            }
        }
    }

    /// A part begins empty: which keys it holds is remembered by nobody, and what came by meanwhile neither.
    async fn empty_parts(&self, held: Option<&Held>) -> Result<()> {
        if self.keepers.is_empty() {
            return Ok(());
        }
        let offset = held.map_or(Offset::ZERO, |held| held.offset);
        let clear = |view: &Arc<View>| ViewChange::Clear { view: Arc::clone(view) };
        let mut step = self.store.begin(self.epoch, offset).await?;
        step.write(self.keepers.views().map(clear).collect()).await?;
        let nothing = Held { epoch: self.epoch, offset, position: None, committed_at: 0 };
        step.commit(&Held { epoch: self.epoch, ..held.cloned().unwrap_or(nothing) }).await
    }

    fn consumer(&self, plan: &ViewPlan) -> Consumer {
        Consumer { store: self.name.clone(), view: plan.view.name.clone() }
    }

    /// Where to go on, and the views that must be filled: all of them when the store's position is not one of this
    /// journal's. Those are cleared here, in a step of their own, before anything else is written.
    ///
    /// A view that is cleared must not be given what came by before its tables were followed, perhaps anew: a row that went
    /// unseen meanwhile would come back for good. So a store that is not yet behind that place first goes there.
    async fn starting_point(&self, held: Option<Held>) -> Result<Start> {
        let before = held.clone().unwrap_or(Held {
            epoch: self.epoch,
            offset: Offset::ZERO,
            position: None,
            committed_at: 0,
        });
        let continues = match &held {
            Some(held) => self.is_ours(held)?,
            None => false,
        };
        let mut wanted = Vec::new();
        let mut to_clear = Vec::new();
        for plan in &self.plans {
            let consumer = self.consumer(plan);
            let fill = self.state.fill(&consumer, &plan.fingerprint)?;
            // Documents that were derived before the mirror was made anew are not to be had again.
            let derived = !(plan.stateful && self.mapper.lacks_derived_after(before.offset));
            if continues && derived && fill == Fill::Stale {
                self.board.view_ready(&consumer, false);
                wanted.push(consumer);
            } else if continues && derived && fill == Fill::Gapped {
                // Read again over what is there, which is served meanwhile.
                wanted.push(consumer);
            } else if !continues || !derived || fill == Fill::Wanted {
                if continues {
                    // It is cleared later perhaps: neither is it ready until then, nor do reads that began before serve it.
                    self.state.want_fill(&consumer, &plan.fingerprint)?;
                }
                self.board.view_stale(&consumer, None);
                to_clear.push(plan);
            }
        }
        let mut now = Held { epoch: self.epoch, ..before.clone() };
        let whole = match !to_clear.is_empty() || !continues {
            true => self.frontier.wait_whole().await,
            false => Offset::ZERO,
        };
        if continues && before.offset < whole {
            return Ok(Start { held: now, wanted: Vec::new(), until: Some(whole) });
        }
        self.may_clear(held.as_ref(), continues, &to_clear)?;
        let gapped = self.state.mirror_gap()?;
        if to_clear.iter().any(|plan| plan.stateful && plan.tables.iter().any(|table| gapped.contains(table)))
        {
            // Made from the mirror before its gap is closed, documents would show what the store had long gone beyond.
            self.state.want_new_mirror()?;
            self.replan.cancel();
            return Err(Error::transient("what documents are made from is read anew first"));
        }
        let mut cleared = Vec::new();
        for plan in to_clear {
            let consumer = self.consumer(plan);
            self.state.want_fill(&consumer, &plan.fingerprint)?;
            self.state.release_quarantine(&consumer)?;
            wanted.push(consumer);
            cleared.push(ViewChange::Clear { view: Arc::clone(&plan.view) });
        }
        if !continues {
            let end = self.durable_end(whole).await?;
            (now.offset, now.position) = (end.offset, end.position);
            now.committed_at = end.committed_at.unwrap_or(0);
        }
        // Before they are cleared: what a reader does not find in them from now on may well be there.
        for change in &cleared {
            let consumer = Consumer { store: self.name.clone(), view: change.view().name.clone() };
            self.board.view_ready(&consumer, false);
        }
        if !cleared.is_empty() || now.offset != before.offset {
            let mut step = self.store.begin(self.epoch, before.offset).await?;
            step.write(cleared).await?;
            step.commit(&now).await?;
        }
        self.heal.settle(&store_part(&self.name), Action::Refill)?;
        self.board.quarantined(&self.name, self.state.quarantined(&self.name)?);
        Ok(Start { held: now, wanted, until: None })
    }

    /// A view that was filled before is not cleared and filled again unless that is allowed. The first filling is what the
    /// file asks for.
    fn may_clear(&self, held: Option<&Held>, continues: bool, plans: &[&ViewPlan]) -> Result<()> {
        let mut again = Vec::new();
        for plan in plans {
            if self.state.was_filled(&self.consumer(plan), &plan.fingerprint)? {
                again.push(&*plan.view.name);
            }
        }
        if again.is_empty() {
            return Ok(());
        }
        let views = again.join(", ");
        let (event, seen) = match held {
            None => (Event::Emptied, "the store holds no position".to_owned()),
            Some(held) if !continues => {
                let (first, durable) = (self.journal.first(), self.journal.durable());
                (
                    Event::Displaced,
                    format!("the store is at offset {}, the journal has {first} to {durable}", held.offset),
                )
            }
            Some(_) => (Event::GivenUp, "on record as to be filled".to_owned()),
        };
        self.heal.ask(PartKind::Store, &store_part(&self.name), event, &format!("{seen}; views: {views}"))?;
        Ok(())
    }

    /// The journal's end, once that is at `least` or behind it.
    async fn durable_end(&self, least: Offset) -> Result<journal::End> {
        let mut durable = self.journal.durable_changed();
        let closed = |_| Error::transient("the journal was closed");
        durable.wait_for(|known| *known >= least).await.map_err(closed)?;
        Ok(self.journal.end())
    }

    /// Whether what the store holds is a place in this journal: the offset is there, and it is the same transaction.
    fn is_ours(&self, held: &Held) -> Result<bool> {
        let end = self.journal.end();
        let durable = end.offset;
        if held.offset == durable {
            return Ok(held.position == end.position);
        }
        if held.offset > durable || held.offset < self.journal.first() {
            let (store, first) = (&self.name, self.journal.first());
            warn!(%store, offset = %held.offset, %first, %durable, "the store is at a place the journal does not have");
            return Ok(false);
        }
        Ok(held.position == self.position_at(held.offset)?)
    }

    fn position_at(&self, offset: Offset) -> Result<Option<Position>> {
        let mut reader = self.journal.read(Offset(offset.0 - 1))?;
        loop {
            let items = reader.try_next(1 << 20)?;
            if items.is_empty() {
                return Ok(None);
            }
            for item in items {
                if let Item::Commit { offset: at, position, .. } = item {
                    return Ok((at == offset).then_some(position));
                }
            }
        }
    }

    /// Maps and writes until an error or cancellation. Mapping runs ahead in a task of its own.
    /// Ends at `until`, if that is given, with what the store then holds.
    async fn pump(
        &mut self,
        held: Held,
        until: Option<Offset>,
        cancel: &CancellationToken,
    ) -> Result<Option<Held>> {
        let (send, mut pieces) = mpsc::channel(PIECES_AHEAD);
        let mapping = tokio::spawn(self.mapper.clone().run(held.offset, send));
        let written = self.write(held, until, &mut pieces, cancel).await;
        pieces.close();
        mapping.abort();
        match (written, mapping.await) {
            (Ok(Ended::Cancelled), _) => Ok(None),
            (Ok(Ended::Arrived(held)), _) => Ok(Some(held)),
            (Ok(Ended::PiecesStopped), Ok(result)) => result.map(|()| None),
            (Ok(Ended::PiecesStopped), Err(error)) => Err(Error::bug("mapping panicked").with_cause(error)),
            (Err(error), _) => Err(error),
        }
    }

    async fn write(
        &mut self,
        mut held: Held,
        until: Option<Offset>,
        pieces: &mut mpsc::Receiver<Piece>,
        cancel: &CancellationToken,
    ) -> Result<Ended> {
        let mut step: Option<Box<dyn Apply>> = None;
        let mut counts: BTreeMap<Box<str>, u64> = BTreeMap::new();
        let mut stored = held.offset;
        let mut store_by = Instant::now() + IDLE_COMMIT_EVERY;
        let mut look_at = Instant::now() + LOOK_EVERY;
        // Of a place that the store has still to come to: under load it always is a little behind.
        let mut early: Vec<Mend> = Vec::new();
        // When the step that is under way began and behind which place, and when the last of it came.
        let mut begun: Option<(i64, Offset)> = None;
        let mut come_at = 0;
        loop {
            // Also while piece follows piece: between two steps there is always a moment.
            while step.is_none()
                && let Some(mend) = self.next_mend(&mut early, held.offset)
            {
                self.mend(mend, &held, &mut stored).await?;
            }
            let piece = tokio::select! {
                biased;
                // A transaction larger than memory is under way: it is finished or dropped as a whole.
                () = cancel.cancelled() => None,
                piece = pieces.recv() => match piece {
                    Some(piece) => Some(piece),
                    None => return Ok(Ended::PiecesStopped),
                },
                () = tokio::time::sleep_until(store_by), if step.is_none() && stored < held.offset => {
                    self.store.begin(self.epoch, stored).await?.commit(&held).await?;
                    stored = held.offset;
                    self.board.applied(&self.name, &held, stored, &BTreeMap::new());
                    continue;
                }
                () = self.keepers.work(), if step.is_none() => {
                    let changes = self.keepers.take(held.offset);
                    if !changes.is_empty() {
                        self.ensure_kept()?;
                        let mut open = self.store.begin(self.epoch, stored).await?;
                        self.add(&mut open, changes, held.offset).await?;
                        open.commit(&held).await?;
                        stored = held.offset;
                        self.board.applied(&self.name, &held, stored, &BTreeMap::new());
                    }
                    continue;
                }
                Some(mend) = self.mends.recv(), if step.is_none() && early.len() < EARLY_MENDS_MAX => {
                    early.push(mend);
                    continue;
                }
                () = tokio::time::sleep_until(look_at), if step.is_none() => {
                    self.ensure_kept()?;
                    self.look(stored).await?;
                    look_at = Instant::now() + LOOK_EVERY;
                    continue;
                }
            };
            let Some(piece) = piece else {
                if step.is_none() && stored < held.offset {
                    self.store.begin(self.epoch, stored).await?.commit(&held).await?;
                }
                return Ok(Ended::Cancelled);
            };
            self.ensure_kept()?;
            if let Some(traces) = &self.traces {
                come_at = traces.now_micros();
                begun.get_or_insert((come_at, held.offset));
            }
            let changes = self.keepers.keep(piece.changes);
            for same in changes.chunk_by(|a, b| Arc::ptr_eq(a.view(), b.view())) {
                *counts.entry(same[0].view().name.clone()).or_default() += same.len() as u64;
            }
            if !changes.is_empty() {
                let at = if let End::At(end) = &piece.end { end.offset } else { held.offset };
                let open = match &mut step {
                    Some(open) => open,
                    None => step.insert(self.store.begin(self.epoch, stored).await?),
                };
                self.add(open, changes, at).await?;
            }
            match piece.end {
                End::Open => continue,
                // Of the entry that follows what is held.
                End::Before => self.keepers.close(held.offset.next()),
                End::At(end) => {
                    held = Held { epoch: self.epoch, ..end };
                    self.keepers.close(held.offset);
                    let changes = self.keepers.take(held.offset);
                    if !changes.is_empty() {
                        let open = match &mut step {
                            Some(open) => open,
                            None => step.insert(self.store.begin(self.epoch, stored).await?),
                        };
                        self.add(open, changes, held.offset).await?;
                    }
                }
            }
            if let Some(open) = step.take() {
                open.commit(&held).await?;
                stored = held.offset;
                store_by = Instant::now() + IDLE_COMMIT_EVERY;
                look_at = Instant::now() + LOOK_EVERY;
            }
            if let (Some(traces), Some((begun_at, after))) = (&self.traces, begun.take()) {
                traces.shown(&Step {
                    store: &self.name,
                    upto: held.offset,
                    begun_at,
                    come_at,
                    derived: self.mapper.derived.is_some(),
                    transactions: held.offset.0 - after.0,
                    changes: counts.values().sum(),
                });
            }
            self.board.applied(&self.name, &held, stored, &std::mem::take(&mut counts));
            if until.is_some_and(|until| held.offset >= until) {
                if stored < held.offset {
                    self.store.begin(self.epoch, stored).await?.commit(&held).await?;
                }
                return Ok(Ended::Arrived(held));
            }
        }
    }

    /// A mend that the store has come far enough for.
    fn next_mend(&mut self, early: &mut Vec<Mend>, at: Offset) -> Option<Mend> {
        while early.len() < EARLY_MENDS_MAX
            && let Ok(mend) = self.mends.try_recv()
        {
            early.push(mend);
        }
        let ready = early.iter().position(|mend| mend.page.offset <= at)?;
        Some(early.remove(ready))
    }

    /// Puts documents right in a step of their own, which leaves the store where it is.
    async fn mend(&mut self, mut mend: Mend, held: &Held, stored: &mut Offset) -> Result<()> {
        self.ensure_kept()?;
        if is_canary(&mend.view) {
            return self.plant(mend, held, stored).await;
        }
        let Some((mut gone, mut come)) = mend.changes(&self.mapper, held.offset) else {
            mend.done(0, Vec::new());
            return Ok(());
        };
        let (count, strays) = (gone.len() as u64, std::mem::take(&mut mend.strays));
        // A part is given nothing but by its readers: what is wrong in it leaves it.
        if self.keepers.drop_keys(&gone) {
            come.clear();
        }
        let mut refused = Vec::new();
        let mut spoken_of = self.refused.spoken_of(&gone);
        spoken_of.extend(self.refused.spoken_of(&come));
        let mut open = self.store.begin(self.epoch, *stored).await?;
        if !gone.is_empty() {
            refused.extend(open.write(std::mem::take(&mut gone)).await?);
        }
        if !strays.is_empty() {
            open.unplace(&mend.view, &strays).await?;
        }
        if !come.is_empty() {
            refused.extend(open.write(come).await?);
        }
        self.settle(spoken_of, &refused)?;
        self.quarantine(&refused, held.offset)?;
        open.commit(held).await?;
        *stored = held.offset;
        self.board.applied(&self.name, held, *stored, &BTreeMap::new());
        mend.done(count, refused);
        Ok(())
    }

    /// Writes a document of our own, which is of no view: what the store says against it is no row's quarantine.
    async fn plant(&mut self, mend: Mend, held: &Held, stored: &mut Offset) -> Result<()> {
        let refuse =
            |reason: String| vec![Refusal { view: mend.view.name.clone(), key: String::new(), reason }];
        if let Err(error) = self.store.prepare(&mend.view).await {
            let refused = refuse(error.to_string());
            mend.done(0, refused);
            return Ok(());
        }
        let changes = mend.puts();
        let count = changes.len() as u64;
        let mut open = self.store.begin(self.epoch, *stored).await?;
        let refused = open.write(changes).await?;
        if refused.is_empty() {
            open.commit(held).await?;
            *stored = held.offset;
            self.board.applied(&self.name, held, *stored, &BTreeMap::new());
        }
        mend.done(count, refused);
        Ok(())
    }

    /// Adds changes to a step, which belong to what ends at `at`.
    async fn add(&mut self, open: &mut Box<dyn Apply>, changes: Vec<ViewChange>, at: Offset) -> Result<()> {
        let spoken_of = self.refused.spoken_of(&changes);
        let refusals = open.write(changes).await?;
        let (leave, refusals) = self.keepers.refused(refusals);
        if !leave.is_empty() {
            open.write(leave).await?;
        }
        self.settle(spoken_of, &refusals)?;
        self.quarantine(&refusals, at)
    }

    /// What was in quarantine and is taken now leaves it. Before the step commits: if it does not, its changes come again, and
    /// with them what is refused.
    fn settle(&mut self, spoken_of: Vec<Spoken>, refusals: &[Refusal]) -> Result<()> {
        let settled = self.refused.written(spoken_of, refusals);
        if !settled.is_empty() {
            info!(store = %self.name, rows = settled.len(), "rows in quarantine were mended at the source");
            self.state.settle_quarantine(&self.name, &settled)?;
            self.board.quarantined(&self.name, self.state.quarantined(&self.name)?);
        }
        Ok(())
    }

    /// An error once the journal keeps nothing for the store any more: its views are on record as to be filled, which
    /// begins with a new session.
    fn ensure_kept(&self) -> Result<()> {
        match self.board.is_let_go(&self.name) {
            true => Err(Error::out_of_step("the journal let go of the store, which was too far behind")),
            false => Ok(()),
        }
    }

    /// Whether the store still holds what was stored last, by us.
    async fn look(&self, stored: Offset) -> Result<()> {
        match self.store.held().await? {
            Some(held) if held.epoch > self.epoch => Err(Error::new(
                ErrorKind::Fenced,
                format!("the store is at epoch {}, this instance at {}", held.epoch, self.epoch),
            )),
            Some(held) if held.offset == stored => Ok(()),
            Some(held) => {
                Err(Error::out_of_step(format!("the store is at offset {}, not {stored}", held.offset)))
            }
            None => Err(Error::out_of_step("the store was emptied")),
        }
    }

    /// What the store would not take is recorded before the step that goes on without it commits.
    fn quarantine(&self, refusals: &[Refusal], offset: Offset) -> Result<()> {
        if refusals.is_empty() {
            return Ok(());
        }
        for refusal in refusals {
            warn!(store = %self.name, view = %refusal.view, key = %refusal.key, reason = %refusal.reason, "a row is quarantined");
        }
        self.state.quarantine(&self.name, refusals, offset)?;
        self.board.quarantined(&self.name, self.state.quarantined(&self.name)?);
        Ok(())
    }
}

/// How a session begins.
struct Start {
    held: Held,
    /// Views that were cleared, or hold documents of an older shape: to be filled.
    wanted: Vec<Consumer>,
    /// Views are to be cleared when the store has come so far.
    until: Option<Offset>,
}

enum Ended {
    Cancelled,
    Arrived(Held),
    PiecesStopped,
}
