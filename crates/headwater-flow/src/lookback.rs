//! Looking back at the beginning of a term: what the journal and the stores have that is not the source's any more, or lack that
//! is.
//!
//! Owns: noting it durably, before anything new comes in, so that a crash forgets none of it. Does not own: the judgement itself
//! ([`crate::history`]), or putting it right ([`crate::backfill`], [`crate::closing`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use headwater_model::{ErrorKind, Key, Lineage, Offset, Param, Position, Result, Source, TableName};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::backfill::ViewPlan;
use crate::board::Board;
use crate::history::{self, Undone};
use crate::journal::Journal;
use crate::retry::Backoff;
use crate::state::{Consumer, Stale, State, Undo};

/// How long the source may take to say which course of history it is on.
const LINEAGE_WITHIN: Duration = Duration::from_secs(15);

pub(crate) struct LookBack<'a> {
    pub journal: &'a Journal,
    pub state: &'a State,
    pub board: &'a Board,
    pub plans: &'a [ViewPlan],
    /// How the keys of each view's documents read.
    pub keys: &'a BTreeMap<Box<str>, Vec<Param>>,
    pub tables: BTreeSet<TableName>,
    /// The source's history as it is now.
    pub lineage: &'a Lineage,
    /// The log between the journal and what is followed from here on is lost.
    pub gap: bool,
    /// The source took another course since it was followed last.
    pub moved: bool,
}

impl LookBack<'_> {
    /// Notes all of it. Returns the keys that are to be put right first.
    pub fn note(&self) -> Result<BTreeMap<TableName, Vec<Key>>> {
        let end =
            Stale { upto: self.journal.durable(), since: self.journal.last_committed_at().unwrap_or(0) };
        let everything = |_: &TableName| true;
        if self.gap {
            self.open_gaps(end, everything)?;
        }
        let joined = self.state.joined()?;
        if !joined.is_empty() && !self.gap {
            let names: Vec<String> = joined.iter().map(ToString::to_string).collect();
            if self.open_gaps(end, |table| joined.contains(table))? {
                let cause =
                    format!("the log did not tell of {}: views of them are read again", names.join(", "));
                error!("{cause}");
                self.board.source_gap(&cause);
            }
        }
        self.state.forget_joined()?;
        let mut forgotten = false;
        match history::undone(self.journal, self.lineage)? {
            Undone::Nothing => {}
            Undone::From(from) => {
                let before = history::position_at(self.journal, Offset(from.0 - 1))?;
                let since = before.map_or(end.since, |(_, committed_at)| committed_at);
                self.state.want_undo(Undo { from, upto: end.upto, since })?;
            }
            Undone::Forgotten => forgotten = true,
        }
        let mut undo = BTreeMap::new();
        if let Some(wanted) = self.state.undo()? {
            let stale = Stale { upto: Offset(wanted.from.0 - 1), since: wanted.since };
            match history::touched(self.journal, wanted.from, wanted.upto, &self.tables) {
                Ok(Some(keys)) => {
                    let count: usize = keys.values().map(Vec::len).sum();
                    warn!(
                        from = %wanted.from,
                        upto = %wanted.upto,
                        keys = count,
                        "what only the source's former course had committed is undone"
                    );
                    self.board.undoing(stale);
                    undo = keys;
                }
                Ok(None) => forgotten = true,
                Err(error) if error.kind() == ErrorKind::OutOfStep => forgotten = true,
                Err(error) => return Err(error),
            }
        }
        if forgotten {
            let cause = "what only the source's former course had committed cannot be told key by key: every view is read again";
            error!("{cause}");
            self.board.source_gap(cause);
            let since = self.journal.first();
            self.open_gaps(Stale { upto: Offset(since.0.saturating_sub(1)), ..end }, everything)?;
            self.state.forget_undo()?;
        }
        if self.moved {
            let cause = format!(
                "now system {}{}",
                self.lineage.system,
                if self.gap { "" } else { ", followed without a gap" }
            );
            info!("the source has been promoted or restored: {cause}");
            self.board.source_moved(&cause);
        }
        Ok(undo)
    }

    /// Views of the tables that `concerned` picks are read again: in place where they were whole. Whether there are any that
    /// were.
    fn open_gaps(&self, stale: Stale, concerned: impl Fn(&TableName) -> bool) -> Result<bool> {
        let mirrored = self.plans.iter().filter(|plan| plan.stateful).flat_map(|plan| &plan.tables);
        self.state.open_mirror_gap(mirrored.filter(|table| concerned(table)))?;
        let mut any = false;
        for plan in self.plans.iter().filter(|plan| plan.tables.iter().any(&concerned)) {
            for store in &plan.view.stores {
                let consumer = Consumer { store: store.clone(), view: plan.view.name.clone() };
                let key = self.keys.get(&plan.view.name).map(Vec::as_slice).unwrap_or_default();
                let mut in_place = false;
                if plan.stateful || is_readable(key) {
                    in_place = self.state.open_gap(&consumer, &plan.fingerprint, stale)?;
                } else {
                    self.state.want_fill(&consumer, &plan.fingerprint)?;
                }
                if plan.stateful && !in_place {
                    // Filled from the mirror as it is, the view would first show what the store has long gone beyond.
                    self.state.want_new_mirror()?;
                }
                any |= in_place;
            }
        }
        Ok(any)
    }
}

/// Whether the source is on another course of history than the one that is followed. Waits until that can be told: what looks like
/// a gap may be a failover that loses nothing.
pub(crate) async fn has_moved(
    source: &dyn Source,
    board: &Board,
    followed: &Lineage,
    cancel: &CancellationToken,
) -> bool {
    let known = Position::new(Arc::clone(&followed.system), 0);
    let mut backoff = Backoff::new();
    loop {
        let asked = tokio::select! {
            biased;
            () = cancel.cancelled() => return false,
            asked = tokio::time::timeout(LINEAGE_WITHIN, source.lineage(Some(&known))) => asked,
        };
        match asked {
            Ok(Ok(now)) => return now != *followed,
            Ok(Err(error)) if !error.is_retryable() => return false,
            Ok(Err(error)) => board.source_failed(&error),
            Err(_) => {}
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => return false,
            () = backoff.pause() => {}
        }
    }
}

/// Whether a key's text says which key it is.
fn is_readable(key: &[Param]) -> bool {
    !key.is_empty() && key.iter().all(Param::says_the_kind)
}
