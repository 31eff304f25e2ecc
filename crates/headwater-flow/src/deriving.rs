//! Documents with embedded rows: the deriver between the two journals, in a thread of its own.
//!
//! Order matters: documents go to the derived journal, durably, before the mirror saves its cursor. A crash between the
//! two repeats transactions, which give the same documents at the same offsets; the reverse would lose them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use headwater_model::{ErrorKind, Offset, Result, TableName, View, ViewChange};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::amend::{Amendment, Wrong};
use crate::board::Board;
use crate::derive::{Deriver, Tables, compile_each};
use crate::frontier::Frontier;
use crate::journal::{EntryKind, Item, Journal, Options, Reader, Writer};
use crate::machine::Disk;
use crate::upkeep::DerivedJournal;
use crate::watch;

/// Journal bytes that are derived between two saves, about.
const READ_BYTES: usize = 1 << 20;

/// The mirror is made safe from a power loss this often; until then the journal keeps what it would have to repeat.
const PERSIST_EVERY: Duration = Duration::from_secs(5);

pub(crate) struct Deriving {
    deriver: Deriver,
    reader: Reader,
    writer: Writer<ViewChange>,
    derived: Journal<ViewChange>,
    shared: Shared,
    upto: watch::Sender<Offset>,
    saved: watch::Sender<Offset>,
    /// Tables that were whole when this term began. One that is not any more took another shape.
    whole_before: BTreeSet<TableName>,
    /// Whether the mirror knows nothing yet: every view that is derived here must be filled.
    pub is_new: bool,
}

/// What deriving shares with the tasks beside it.
pub(crate) struct Shared {
    /// Tables that were read in full for the mirror.
    pub mirrored: Arc<watch::Sender<BTreeSet<TableName>>>,
    pub board: Arc<Board>,
    pub frontier: Arc<Frontier>,
    /// Cancelled when a table takes another shape: the views are looked at again.
    pub reshaped: CancellationToken,
    /// As [`crate::machine::Machine::disk`]. With one that is given, deriving gets no thread of its own.
    pub disk: Option<Arc<dyn Disk>>,
    /// Groups of rankings that are to be counted again.
    pub amendments: mpsc::Receiver<Amendment>,
}

impl Deriving {
    /// Opens mirror and derived journal in `data`. A mirror that does not fit the journal is made anew. Of the tables in
    /// `read_again` it has the rows, but they read otherwise by now.
    pub fn open(
        data: &Path,
        views: &[Arc<View>],
        tables: &Tables,
        read_again: &BTreeSet<TableName>,
        journal: &Journal,
        shared: Shared,
    ) -> Result<Deriving> {
        let path = Self::mirror_path(data);
        let mut is_new = false;
        let (mut deriver, derived, writer, start) = loop {
            let (plan, broken) = compile_each(views, tables);
            shared.board.views_broken(broken);
            let opened = match Deriver::open_holding(&path, plan) {
                Ok(deriver) if is_new => Some((deriver, journal.durable())),
                // One that never began (a crash came first) knows nothing, not even where it is.
                Ok(deriver) => deriver.began().map(|cursor| (deriver, cursor)),
                Err(error) if error.kind() != ErrorKind::Corrupt || is_new => return Err(error),
                Err(error) => {
                    warn!(%error, "the mirror cannot be read");
                    None
                }
            };
            if let Some((deriver, start)) = opened {
                let mut options = Options::new(data.join("derived"));
                options.after = start;
                options.disk = shared.disk.clone();
                let (derived, mut writer) = Journal::<ViewChange>::open(options)?;
                let fits = start.next() >= journal.first()
                    && start <= journal.durable()
                    && start.next() >= derived.first();
                if fits || is_new {
                    writer.truncate_after(start)?;
                    break (deriver, derived, writer, start);
                }
                warn!("the mirror does not fit the journal: it is made anew");
            }
            is_new = true;
            Self::forget(data)?;
        };
        deriver.read_again(read_again)?;
        let all: BTreeSet<TableName> = deriver.plan().tables().into_iter().collect();
        let incomplete: BTreeSet<TableName> = deriver.incomplete().into_iter().collect();
        let whole_before: BTreeSet<TableName> = all.difference(&incomplete).cloned().collect();
        shared.mirrored.send_if_modified(|mirrored| {
            mirrored.extend(whole_before.iter().cloned());
            true
        });
        let reader = journal.read(start)?;
        let (upto, _) = watch::channel(start);
        let (saved, _) = watch::channel(if is_new { start } else { deriver.durable() });
        Ok(Deriving { deriver, reader, writer, derived, shared, upto, saved, whole_before, is_new })
    }

    /// The mirror's file.
    pub fn mirror_path(data: &Path) -> PathBuf {
        data.join("mirror.db")
    }

    /// Forgets the mirrored rows of every table but these. A mirror that cannot be read is left to [`Deriving::open`].
    pub fn keep_only(data: &Path, tables: &[TableName]) -> Result<()> {
        match Deriver::keep_only(&Self::mirror_path(data), tables) {
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(()),
            ended => ended,
        }
    }

    /// Removes the mirror in `data`, and what was made from it: after a gap in the log its rows are not the source's any
    /// more.
    pub fn forget(data: &Path) -> Result<()> {
        remove_mirror(&Self::mirror_path(data))?;
        let derived = data.join("derived");
        match std::fs::remove_dir_all(&derived) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(headwater_model::Error::misconfigured(format!(
                    "remove the old documents in {}",
                    derived.display()
                ))
                .with_cause(error))
            }
            _ => Ok(()),
        }
    }

    /// A new mirror takes its place in the journal, once it is on record that every view is filled for it.
    pub fn begin_new(&mut self) -> Result<()> {
        if self.is_new {
            let start = *self.upto.borrow();
            self.deriver.begin_after(start)?;
        }
        Ok(())
    }

    /// Tables whose rows the mirror lacks.
    pub fn incomplete(&self) -> Vec<TableName> {
        self.deriver.incomplete()
    }

    /// Tables that the mirror takes nothing of until the log is whole for them ([`Frontier::whole_after`]). Reads that have
    /// landed for them in an earlier term are of no use.
    pub fn held(&self) -> Vec<TableName> {
        self.deriver.held()
    }

    pub fn derived(&self) -> DerivedJournal {
        DerivedJournal {
            journal: self.derived.clone(),
            upto: self.upto.subscribe(),
            saved: self.saved.subscribe(),
        }
    }

    /// Derives until cancelled.
    pub async fn run(self, cancel: CancellationToken) -> Result<()> {
        if self.shared.disk.is_some() {
            return self.derive(&cancel).await;
        }
        let runtime = Handle::current();
        match tokio::task::spawn_blocking(move || runtime.block_on(self.derive(&cancel))).await {
            Ok(result) => result,
            Err(error) => Err(headwater_model::Error::bug("deriving panicked").with_cause(error)),
        }
    }

    async fn derive(mut self, cancel: &CancellationToken) -> Result<()> {
        let mut persisted_at = Instant::now();
        let mut in_hand = false;
        let mut holding = !self.deriver.held().is_empty();
        let mut amended = Vec::new();
        let mut read = self.shared.mirrored.subscribe();
        loop {
            let items = tokio::select! {
                // First, for a runtime that goes away takes timers with it.
                biased;
                () = cancel.cancelled() => None,
                items = self.reader.next(READ_BYTES) => Some(items),
                // A table was read to its end: a kill from here on does not have it read again.
                Ok(()) = read.changed() => Some(Ok(Vec::new())),
                () = tokio::time::sleep(PERSIST_EVERY) => Some(Ok(Vec::new())),
            };
            let Some(items) = items else { break };
            for item in items? {
                match item {
                    Item::Begin { offset, .. } => {
                        // An entry is only read when capture has told of every mark before it.
                        if holding && self.shared.frontier.whole_after().is_some_and(|whole| offset > whole) {
                            self.deriver.let_in()?;
                            holding = false;
                        }
                        self.deriver.emit_unchanged(self.shared.board.may_be_filling());
                        self.deriver.begin(offset)?;
                        in_hand = true;
                        while let Ok(amendment) = self.shared.amendments.try_recv() {
                            match &amendment.wrong {
                                Wrong::Groups { view, groups } => self.deriver.count_again(view, groups)?,
                                Wrong::Entries { table, misplaced } => {
                                    self.deriver.place_again(table, misplaced)?;
                                }
                            }
                            amended.push(amendment);
                        }
                    }
                    Item::Changes(changes) => {
                        for change in changes {
                            self.deriver.change(change)?;
                        }
                    }
                    Item::Commit { offset, position, committed_at } => {
                        in_hand = false;
                        let writer = &mut self.writer;
                        let mut written = false;
                        self.deriver.commit(&mut |changes| {
                            if !std::mem::replace(&mut written, true) {
                                writer.begin_at(offset, EntryKind::Transaction { xid: None })?;
                            }
                            changes.iter().try_for_each(|change| writer.change(change))
                        })?;
                        if written {
                            self.writer.commit(position, committed_at)?;
                        }
                    }
                }
            }
            self.shared.board.views_broken(self.deriver.take_broken());
            // A transaction larger than one read is in hand: what it does is told when it is whole.
            if !in_hand {
                self.save()?;
                amended.drain(..).for_each(Amendment::done);
                if persisted_at.elapsed() >= PERSIST_EVERY && self.deriver.durable() < self.deriver.cursor() {
                    self.deriver.persist()?;
                    self.saved.send_replace(self.deriver.durable());
                    persisted_at = Instant::now();
                }
            }
        }
        if !in_hand {
            // A table whose read has just ended is not to be read again at the next start.
            self.save()?;
            self.deriver.persist()?;
        }
        Ok(())
    }

    /// Makes what was derived safe, then known.
    fn save(&mut self) -> Result<()> {
        self.writer.settle()?;
        let read = self.shared.mirrored.borrow().clone();
        for table in self.deriver.incomplete() {
            if self.whole_before.contains(&table) {
                info!(%table, "the table has a new shape: views are looked at again");
                self.shared.reshaped.cancel();
            } else if read.contains(&table) && !self.deriver.held().contains(&table) {
                info!(%table, "the mirror holds the whole table");
                self.deriver.mark_complete(&table)?;
            }
        }
        self.deriver.save()?;
        let known = *self.upto.borrow();
        self.upto.send_replace(self.deriver.cursor().max(known));
        Ok(())
    }
}

fn remove_mirror(path: &Path) -> Result<()> {
    for end in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(headwater_model::Error::misconfigured(format!(
                    "remove the old mirror {}",
                    path.display()
                ))
                .with_cause(error));
            }
            _ => {}
        }
    }
    Ok(())
}
