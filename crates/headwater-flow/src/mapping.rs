//! From journal entries to the changes of one store's views, in pieces that fit one atomic step.
//!
//! Rows of flat views are mapped here, one by one. Documents with embedded rows come ready from the derived journal, under
//! the same offsets; the two are merged by offset, so a source transaction reaches the store whole.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use headwater_model::{Epoch, Error, Held, Offset, Result, View, ViewChange};
use tokio::sync::mpsc;

use crate::board::Board;
use crate::derive::{Stateless, Tables, collapse};
use crate::journal::{EntryKind, Item, Journal, Reader};
use crate::watch;

/// Journal bytes that are read for one step, about.
const READ_BYTES: usize = 256 << 10;

/// Changes of one step, unless a single transaction has more.
const STEP_CHANGES: usize = 2_000;

/// A part of an atomic step.
pub(crate) struct Piece {
    pub changes: Vec<ViewChange>,
    pub end: End,
}

/// Whether a step ends with a piece, and where that is.
pub(crate) enum End {
    /// The transaction goes on.
    Open,
    /// Rows of a chunk, which need not appear together: the step may end, but the place stays before the chunk, so a
    /// crash repeats it whole. Repeating is harmless: nothing that comes after the chunk is applied yet.
    Before,
    /// The last transaction that is whole with this piece.
    At(Held),
}

/// The derived journal, as far as it is made.
#[derive(Clone)]
pub(crate) struct Derived {
    pub journal: Journal<ViewChange>,
    /// Source offsets up to here have their derived entries in the journal, durably.
    pub upto: watch::Receiver<Offset>,
    /// The views of this store that come from there.
    pub views: BTreeSet<Box<str>>,
}

#[derive(Clone)]
pub(crate) struct Mapper {
    pub journal: Journal,
    /// The store's flat views, and the tables as they are now.
    pub flat: Vec<Arc<View>>,
    pub tables: Arc<Tables>,
    pub derived: Option<Derived>,
    pub board: Arc<Board>,
}

impl Mapper {
    /// Whether documents with embedded rows that belong behind `offset` are gone from the derived journal.
    pub fn lacks_derived_after(&self, offset: Offset) -> bool {
        self.derived.as_ref().is_some_and(|derived| derived.journal.first() > offset.next())
    }

    /// Maps everything after `after`, until the receiver goes away.
    pub async fn run(mut self, after: Offset, out: mpsc::Sender<Piece>) -> Result<()> {
        let mut flat = Stateless::new(&self.flat, &self.tables)?;
        let mut source = self.journal.read(after)?;
        let mut derived = match self.derived.take() {
            Some(derived) => Some(Merge::new(derived, after)?),
            None => None,
        };
        // Changes of whole transactions, and of the entry under way.
        let mut whole: Vec<ViewChange> = Vec::new();
        let mut end: Option<Held> = None;
        let mut current: Vec<ViewChange> = Vec::new();
        let mut is_chunk = false;
        loop {
            for item in source.next(READ_BYTES).await? {
                match item {
                    Item::Begin { kind, .. } => is_chunk = matches!(kind, EntryKind::Chunk { .. }),
                    Item::Changes(changes) => {
                        for change in changes {
                            flat.map(change, &mut current);
                        }
                        self.board.views_broken(flat.take_broken());
                    }
                    Item::Commit { offset, position, committed_at } => {
                        collapse(&mut current, 0);
                        whole.append(&mut current);
                        if let Some(derived) = &mut derived {
                            derived.wait(offset).await?;
                            while let Some(mut changes) = derived.take(offset)? {
                                whole.append(&mut changes);
                                if whole.len() >= STEP_CHANGES && !send(&out, &mut whole, End::Open).await {
                                    return Ok(());
                                }
                            }
                        }
                        end = Some(Held {
                            epoch: Epoch::default(),
                            offset,
                            position: Some(position),
                            committed_at,
                        });
                    }
                }
                // What is whole goes ahead of a chunk's rows, and does not grow beyond a step.
                if (whole.len() >= STEP_CHANGES || current.len() >= STEP_CHANGES)
                    && let Some(held) = end.take()
                    && !send(&out, &mut whole, End::At(held)).await
                {
                    return Ok(());
                }
                if current.len() >= STEP_CHANGES {
                    collapse(&mut current, 0);
                    let end = if is_chunk { End::Before } else { End::Open };
                    if !send(&out, &mut current, end).await {
                        return Ok(());
                    }
                }
            }
            if let Some(held) = end.take()
                && !send(&out, &mut whole, End::At(held)).await
            {
                return Ok(());
            }
        }
    }
}

/// Whether anyone still wants pieces.
async fn send(out: &mpsc::Sender<Piece>, changes: &mut Vec<ViewChange>, end: End) -> bool {
    out.send(Piece { changes: std::mem::take(changes), end }).await.is_ok()
}

/// Reads the derived journal in step with the source journal.
struct Merge {
    derived: Derived,
    reader: Reader<ViewChange>,
    items: VecDeque<Item<ViewChange>>,
}

impl Merge {
    fn new(derived: Derived, after: Offset) -> Result<Merge> {
        // It has entries only where documents changed, and may end earlier; what comes later has later offsets.
        // What is missing at its start belongs to views that are filled again (`lacks_derived_after`).
        let start = derived.journal.first().0.saturating_sub(1);
        let reader = derived.journal.read(after.min(derived.journal.durable()).max(Offset(start)))?;
        Ok(Merge { derived, reader, items: VecDeque::new() })
    }

    async fn wait(&mut self, offset: Offset) -> Result<()> {
        match self.derived.upto.wait_for(|upto| *upto >= offset).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::transient("documents are not derived any more")),
        }
    }

    /// The next changes at or before `offset`; `None` when there are no more.
    fn take(&mut self, offset: Offset) -> Result<Option<Vec<ViewChange>>> {
        loop {
            match self.items.pop_front() {
                None => {
                    self.items = self.reader.try_next(READ_BYTES)?.into();
                    if self.items.is_empty() {
                        return Ok(None);
                    }
                }
                Some(Item::Begin { offset: at, kind }) if at > offset => {
                    self.items.push_front(Item::Begin { offset: at, kind });
                    return Ok(None);
                }
                Some(Item::Changes(mut changes)) => {
                    changes.retain(|change| self.derived.views.contains(&*change.view().name));
                    return Ok(Some(changes));
                }
                Some(Item::Begin { .. } | Item::Commit { .. }) => {}
            }
        }
    }
}
