//! The one thread that writes to the store's file. It owns the write connection and, while a step is open, the SQL
//! transaction that holds the step back from readers. Commands arrive over a bounded queue and are answered one by one.
//!
//! Invariant: a step that was dropped is rolled back before anything else is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use headwater_model::{Epoch, Error, Held, Listed, Offset, Refusal, Result, View, ViewChange};
use tokio::sync::{mpsc, oneshot};

use super::checkpoint::Checkpointer;
use super::index;
use super::schema::{self, HeldTable};
use super::step::Step;
use crate::sqlite::config::{StoreOptions, Synchronous};
use crate::sqlite::connection::{Opened, failed};

/// Callers wait for each answer, so more than a few commands never wait at once.
const COMMANDS_MAX: usize = 16;

/// A step larger than this spills into the write-ahead log instead of memory.
const CACHE_KIB: i64 = 32 * 1024;

/// The log starts again from its beginning after about this many pages (64 MiB).
const WAL_PAGES: u32 = 16_384;

pub(super) type Reply<T> = oneshot::Sender<Result<T>>;

pub(super) enum Command {
    Claim {
        epoch: Epoch,
        reply: Reply<Option<Held>>,
    },
    Prepare {
        view: Box<View>,
        reply: Reply<()>,
    },
    /// `dropped` is set when the caller gives the step up.
    Begin {
        epoch: Epoch,
        after: Offset,
        dropped: Arc<AtomicBool>,
        reply: Reply<()>,
    },
    Write {
        changes: Vec<ViewChange>,
        reply: Reply<Vec<Refusal>>,
    },
    Unplace {
        view: Arc<View>,
        strays: Vec<Listed>,
        reply: Reply<()>,
    },
    Commit {
        held: Held,
        reply: Reply<()>,
    },
    /// Wakes the thread to roll back a dropped step.
    Wake,
}

/// Starts the thread. It ends when the last sender is gone.
pub(super) fn start(options: StoreOptions) -> Result<mpsc::Sender<Command>> {
    let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
    let checkpointer = Checkpointer::start(&options.path)?;
    std::thread::Builder::new()
        .name("sqlite store".to_owned())
        .spawn(move || {
            let own = HeldTable::of(options.source.as_deref());
            Writer { options, own, opened: None, step: None, checkpointer }.run(inbox)
        })
        .map_err(|e| Error::transient("start the thread that writes to the store").with_cause(e))?;
    Ok(commands)
}

/// Sends a command and waits for its answer.
pub(super) async fn ask<T>(
    commands: &mpsc::Sender<Command>,
    command: impl FnOnce(Reply<T>) -> Command,
) -> Result<T> {
    let gone = || Error::bug("the thread that writes to the store has ended");
    let (reply, answer) = oneshot::channel();
    commands.send(command(reply)).await.map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?
}

struct Writer {
    options: StoreOptions,
    own: HeldTable,
    opened: Option<Opened>,
    step: Option<(Step, Arc<AtomicBool>, Epoch)>,
    checkpointer: Checkpointer,
}

impl Writer {
    fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        while let Some(command) = inbox.blocking_recv() {
            if self.step.as_ref().is_some_and(|(_, dropped, _)| dropped.load(Ordering::Acquire)) {
                self.roll_back();
            }
            // A caller that no longer waits for its answer loses nothing by it.
            match command {
                Command::Claim { epoch, reply } => drop(reply.send(self.claim(epoch))),
                Command::Prepare { view, reply } => drop(reply.send(self.prepare(&view))),
                Command::Begin { epoch, after, dropped, reply } => {
                    let begun = self.begin(epoch, after, dropped);
                    if reply.send(begun).is_err() {
                        self.roll_back();
                    }
                }
                Command::Write { changes, reply } => drop(reply.send(self.write(changes))),
                Command::Unplace { view, strays, reply } => drop(reply.send(self.unplace(&view, &strays))),
                Command::Commit { held, reply } => drop(reply.send(self.commit(&held))),
                Command::Wake => {}
            }
        }
    }

    /// The file, opened or made; opened again when it was removed or replaced meanwhile.
    fn open(&mut self) -> Result<&rusqlite::Connection> {
        if self.opened.as_ref().is_some_and(|opened| !opened.is_current()) {
            self.opened = None;
        }
        let opened = match self.opened.take() {
            Some(opened) => opened,
            None => open_for_writing(&self.options, &self.own)?,
        };
        Ok(&self.opened.insert(opened).connection)
    }

    fn claim(&mut self, epoch: Epoch) -> Result<Option<Held>> {
        self.no_step("claim")?;
        let own = self.own.clone();
        let connection = self.open()?;
        in_transaction(connection, || {
            let before = own.held(connection)?;
            let held = match &before {
                Some(held) => {
                    held.fence(epoch)?;
                    Held { epoch, ..held.clone() }
                }
                None => {
                    // Somebody may have dropped them under an open connection.
                    own.make(connection)?;
                    Held { epoch, offset: Offset::ZERO, position: None, committed_at: 0 }
                }
            };
            own.set(connection, &held)?;
            Ok(before)
        })
    }

    fn prepare(&mut self, view: &View) -> Result<()> {
        self.no_step("prepare a view of")?;
        let connection = self.open()?;
        in_transaction(connection, || schema::make_view(connection, view))
    }

    fn no_step(&self, doing: &str) -> Result<()> {
        match self.step {
            Some(_) => Err(Error::bug(format!("{doing} the store: a step is open"))),
            None => Ok(()),
        }
    }

    fn begin(&mut self, epoch: Epoch, after: Offset, dropped: Arc<AtomicBool>) -> Result<()> {
        self.no_step("begin a step in")?;
        let own = self.own.clone();
        let connection = self.open()?;
        begin_immediate(connection)?;
        let open = || match own.held(connection)? {
            None => Err(Error::out_of_step("the store's file is empty")),
            Some(held) => {
                held.admit(epoch, after)?;
                Step::open(connection)
            }
        };
        let opened = open();
        if opened.is_err() {
            let _ = connection.execute_batch("ROLLBACK");
        }
        self.step = Some((opened?, dropped, epoch));
        Ok(())
    }

    fn write(&mut self, changes: Vec<ViewChange>) -> Result<Vec<Refusal>> {
        let (Some(opened), Some((step, ..))) = (&self.opened, &mut self.step) else { return Err(no_step()) };
        let written = step.write(&opened.connection, changes);
        if written.is_err() {
            self.roll_back();
        }
        written
    }

    fn unplace(&mut self, view: &View, strays: &[Listed]) -> Result<()> {
        let (Some(opened), Some(_)) = (&self.opened, &self.step) else { return Err(no_step()) };
        let done = index::unplace(&opened.connection, view, strays);
        if done.is_err() {
            self.roll_back();
        }
        done
    }

    fn commit(&mut self, held: &Held) -> Result<()> {
        let (Some(opened), Some((step, _, epoch))) = (&self.opened, self.step.take()) else {
            return Err(no_step());
        };
        let connection = &opened.connection;
        let commit = || {
            if held.epoch != epoch {
                return Err(Error::bug(format!("a step of epoch {epoch} ends as epoch {}", held.epoch)));
            }
            let changes = step.close(connection)?;
            self.own.set(connection, held)?;
            connection.execute_batch("COMMIT").map_err(|e| failed(e, "commit to the store"))?;
            self.checkpointer.committed(changes);
            Ok(())
        };
        let committed = commit();
        if committed.is_err() {
            self.roll_back();
        }
        committed
    }

    fn roll_back(&mut self) {
        self.step = None;
        let Some(opened) = &self.opened else { return };
        // SQLite has rolled back by itself after some errors. If it cannot now, the connection is of no use.
        if !opened.connection.is_autocommit() && opened.connection.execute_batch("ROLLBACK").is_err() {
            self.opened = None;
        }
    }
}

fn open_for_writing(options: &StoreOptions, own: &HeldTable) -> Result<Opened> {
    let opened = Opened::existing_or_new(&options.path)?;
    let connection = &opened.connection;
    let synchronous = match options.synchronous {
        Synchronous::Normal => "NORMAL",
        Synchronous::Full => "FULL",
    };
    let set_up = || -> rusqlite::Result<String> {
        let mode = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        connection.execute_batch(&format!(
            "PRAGMA synchronous = {synchronous};
             PRAGMA cache_size = -{CACHE_KIB};
             PRAGMA wal_autocheckpoint = {WAL_PAGES};
             PRAGMA journal_size_limit = 67108864;"
        ))?;
        Ok(mode)
    };
    let mode = set_up().map_err(|e| failed(e, "set up the store's file"))?;
    if mode != "wal" {
        return Err(Error::unsupported(format!(
            "the file system of {} does not allow write-ahead logging (journal_mode stays {mode})",
            options.path.display()
        ))
        .with_remedy("put the store's file on a local disk"));
    }
    own.make(connection)?;
    Ok(opened)
}

fn begin_immediate(connection: &rusqlite::Connection) -> Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE").map_err(|e| failed(e, "begin to write to the store"))
}

fn in_transaction<T>(connection: &rusqlite::Connection, work: impl FnOnce() -> Result<T>) -> Result<T> {
    begin_immediate(connection)?;
    let done = work().and_then(|done| {
        connection.execute_batch("COMMIT").map_err(|e| failed(e, "commit to the store"))?;
        Ok(done)
    });
    if done.is_err() && !connection.is_autocommit() {
        let _ = connection.execute_batch("ROLLBACK");
    }
    done
}

fn no_step() -> Error {
    Error::bug("no step is open: it failed before, and was rolled back")
}
