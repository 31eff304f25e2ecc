//! The slow rhythm beside the data's way: what the journal may forget, the bounds that protect source and disk, and the
//! shapes of the source's tables.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use headwater_model::{Error, Offset, Result, Source, ViewChange};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use crate::backfill::ViewPlan;
use crate::board::Board;
use crate::journal::Journal;
use crate::reshape::Watch;
use crate::state::{Consumer, State};
use crate::watch;

/// How often counters are sampled and the journal is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How often the source is asked for the log it keeps, and for its tables' shapes.
const ASK_EVERY: Duration = Duration::from_secs(3);

/// How long one question may take before it is left for the next time.
const ASK_WITHIN: Duration = Duration::from_secs(3);

/// For so long entries stay in the journal that every store has, and in so much of its bound.
const RECENT: Duration = Duration::from_secs(120);
const RECENT_PART: u64 = 8;

/// The journal's end as it was at each look of late.
#[derive(Default)]
struct Recent(VecDeque<(Instant, Offset)>);

impl Recent {
    /// The newest entry that came in longer ago than [`RECENT`].
    fn before(&mut self, now: Instant, durable: Offset) -> Offset {
        self.0.push_back((now, durable));
        let mut before = Offset::ZERO;
        while let Some((at, offset)) = self.0.front()
            && now.duration_since(*at) >= RECENT
        {
            before = *offset;
            self.0.pop_front();
        }
        if before > Offset::ZERO {
            // Until the next one is old enough.
            self.0.push_front((now - RECENT, before));
        }
        before
    }
}

pub(crate) struct Upkeep {
    pub source: Arc<dyn Source>,
    pub journal: Journal,
    pub derived: Option<DerivedJournal>,
    pub board: Arc<Board>,
    pub state: Arc<State>,
    pub plans: Vec<ViewPlan>,
    pub retained_log_bytes_max: u64,
    pub watch: Arc<Watch>,
}

/// The derived journal, and how far the mirror has moved durably.
#[derive(Clone)]
pub(crate) struct DerivedJournal {
    pub journal: Journal<ViewChange>,
    pub upto: watch::Receiver<Offset>,
    pub saved: watch::Receiver<Offset>,
}

impl Upkeep {
    pub async fn run(self, cancel: CancellationToken) -> Result<()> {
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut ask_at = Instant::now();
        let mut recent = Recent::default();
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(()),
                _ = look.tick() => {}
            }
            self.board.sample(self.journal.durable());
            self.truncate(recent.before(Instant::now(), self.journal.durable()))?;
            if Instant::now() >= ask_at {
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => return Ok(()),
                    asked = self.ask() => asked?,
                }
                ask_at = Instant::now() + ASK_EVERY;
            }
        }
    }

    /// Forgets what every store has applied. When the slowest store alone keeps the journal past its bound, the store is let
    /// go, and filled again later, rather than fill the disk or hold the source's log.
    ///
    /// What came in lately stays in any case, while there is room: should the source turn out to have lost it, its keys are
    /// read again. `recent` is the entry before it.
    fn truncate(&self, recent: Offset) -> Result<()> {
        let durable = self.journal.durable();
        let slowest = self.board.slowest();
        let mut upto = slowest.as_ref().map_or(durable, |(_, offset)| *offset);
        if let Some((store, offset)) = slowest
            // The entry that it has in hand may be larger than any bound: filling again would take longer than that.
            && self.journal.bytes_after(offset.next()) > self.journal.bytes_max()
        {
            upto = self.let_go(&store, offset)?;
        }
        if self.journal.bytes() <= self.journal.bytes_max() / RECENT_PART {
            upto = upto.min(recent);
        }
        if let Some(undo) = self.state.undo()? {
            upto = upto.min(Offset(undo.from.0.saturating_sub(2)));
        }
        if let Some(derived) = &self.derived {
            derived.journal.truncate(upto)?;
            upto = upto.min(*derived.saved.borrow());
        }
        self.journal.truncate(upto)
    }

    fn let_go(&self, store: &str, offset: Offset) -> Result<Offset> {
        let behind = self.journal.durable().0 - offset.0;
        error!(
            store,
            behind_transactions = behind,
            "the journal is at its bound: the store is let go and will be filled again"
        );
        for plan in self.plans.iter().filter(|plan| plan.view.stores.iter().any(|name| **name == *store)) {
            let consumer = Consumer { store: store.into(), view: plan.view.name.clone() };
            self.state.want_fill(&consumer, &plan.fingerprint)?;
            self.board.view_ready(&consumer, false);
        }
        self.board.let_go(store, behind);
        Ok(self.board.slowest().map_or(self.journal.durable(), |(_, offset)| offset))
    }

    /// A new column may have values in rows that nobody writes to, and old ones may have been converted: no change in the
    /// log tells of it.
    async fn look_at_shapes(&self) {
        match timeout(ASK_WITHIN, self.watch.look()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, "the source does not show its tables"),
            Err(_) => debug!("the source does not show its tables in time"),
        }
    }

    /// What only the source knows. One that keeps too much log for us is set free.
    async fn ask(&self) -> Result<()> {
        match timeout(ASK_WITHIN, self.source.progress()).await {
            Ok(Ok((_, retained))) => {
                self.board.retained(retained.bytes);
                if retained.bytes > self.retained_log_bytes_max {
                    return Err(Error::out_of_step(format!(
                        "the source keeps {} bytes of log for us, more than retained_log_max allows: it is set free",
                        retained.bytes
                    )));
                }
            }
            Ok(Err(error)) => debug!(%error, "the source does not say how far it is"),
            Err(_) => debug!("the source does not say in time how far it is"),
        }
        self.look_at_shapes().await;
        Ok(())
    }
}
