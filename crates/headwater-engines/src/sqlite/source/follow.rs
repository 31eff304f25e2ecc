//! Following: one thread per follower that watches the file and reads windows of the change table.
//!
//! The thread asks `PRAGMA data_version`, which looks at one counter and takes no lock that could stop a writer: each
//! millisecond while the application writes, and less often the longer it does not. What it has read waits in a queue
//! of one, so it is never more than two windows ahead of the consumer, and a consumer that gives up loses nothing.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use fs4::{FileExt, TryLockError};
use headwater_model::{Error, Event, Position, Result};
use rusqlite::Connection;
use tokio::sync::mpsc;

use super::log::{self, Log};
use super::registry::{self, Registry};
use crate::sqlite::connection::{Opened, failed};

/// How long `follow` waits for another instance to end.
const LOCK_WAIT: Duration = Duration::from_secs(3);

/// How often a quiet file is told to be quiet.
const TELL_EVERY: Duration = Duration::from_millis(500);

const CHECK_FILE_EVERY: Duration = Duration::from_millis(500);

/// How often the file is looked at, by how long it has been quiet.
const PACE: [(Duration, Duration); 3] = [
    (Duration::from_millis(200), Duration::from_millis(1)),
    (Duration::from_secs(2), Duration::from_millis(2)),
    (Duration::MAX, Duration::from_millis(8)),
];

/// A running read of the change table.
pub(super) struct Follow {
    windows: mpsc::Receiver<Result<Vec<Event>>>,
}

#[async_trait]
impl headwater_model::Follow for Follow {
    async fn next(&mut self) -> Result<Vec<Event>> {
        let ended = || Err(Error::bug("the thread that follows the database has ended"));
        self.windows.recv().await.unwrap_or_else(ended)
    }
}

/// Opens the file, takes the lock, checks that the log fits `after`, and starts the thread. Blocks.
pub(super) fn start(path: &Path, after: Option<Position>) -> Result<Follow> {
    let opened = Opened::existing(path)?;
    let lock = lock(path)?;
    let mut worker =
        Worker { opened, registry: None, log: Log::after(0), checked: Instant::now(), _lock: lock };
    worker.log = Log::after(worker.place(after.as_ref())?);
    let (sender, windows) = mpsc::channel(1);
    std::thread::Builder::new()
        .name("sqlite follow".to_owned())
        .spawn(move || worker.run(&sender))
        .map_err(|e| Error::transient("start the thread that follows the database").with_cause(e))?;
    Ok(Follow { windows })
}

/// One follower per database, also across processes: an advisory lock on a file beside it.
fn lock(path: &Path) -> Result<File> {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut name = path.into_os_string();
    name.push("-headwater.lock");
    let name = PathBuf::from(name);
    let doing = format!("lock {}", name.display());
    let file = File::options().create(true).truncate(false).write(true).open(&name).map_err(|e| {
        Error::new(headwater_model::ErrorKind::Denied, doing.clone())
            .with_cause(e)
            .with_remedy("let Headwater's user write the folder of the database")
    })?;
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match FileExt::try_lock(&file) {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(25));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(Error::transient(format!(
                    "another instance follows this database: {} is locked",
                    name.display()
                )));
            }
            Err(error) => return Err(Error::transient(doing).with_cause(error)),
        }
    }
}

struct Worker {
    opened: Opened,
    registry: Option<Arc<Registry>>,
    log: Log,
    checked: Instant,
    /// Held for as long as the thread runs.
    _lock: File,
}

impl Worker {
    /// The change id to go on after.
    fn place(&self, after: Option<&Position>) -> Result<i64> {
        let connection = &self.opened.connection;
        let moment = connection.unchecked_transaction().map_err(|e| failed(e, "look at the change table"))?;
        let registry = registry::load(&moment)?;
        let (oldest, newest) = (log::oldest(&moment)?, log::newest(&moment)?);
        let Some(after) = after else { return Ok(oldest - 1) };
        if after.system != registry.system {
            return Err(Error::out_of_step(format!(
                "the position belongs to the database {}, this one is {}",
                after.system, registry.system
            )));
        }
        let upto = log::change_of(after);
        if upto > newest {
            return Err(Error::out_of_step(format!(
                "the change table ends at {newest}, before change {upto}: the database was restored from an older copy"
            )));
        }
        if upto < oldest - 1 {
            return Err(log::gap(upto, oldest));
        }
        Ok(upto)
    }

    fn run(mut self, sender: &mpsc::Sender<Result<Vec<Event>>>) {
        let mut version = None;
        let mut changed = Instant::now();
        let mut told = Instant::now();
        while !sender.is_closed() {
            let read = self.check_file().and_then(|()| self.data_version()).and_then(|now| {
                if version != Some(now) || self.log.is_open() {
                    version = Some(now);
                    changed = Instant::now();
                    self.read()
                } else {
                    Ok(Vec::new())
                }
            });
            let ended = read.is_err();
            match read {
                Ok(events) if events.is_empty() => {
                    let quiet = changed.elapsed();
                    let pace =
                        PACE.iter().find(|(until, _)| quiet < *until).map_or(PACE[2].1, |(_, pace)| *pace);
                    if !self.log.is_open() {
                        std::thread::sleep(pace);
                    }
                    // A consumer that has not taken the last window knows that there is something.
                    if told.elapsed() >= TELL_EVERY
                        && let Some(idle) = self.idle()
                    {
                        told = Instant::now();
                        let _ = sender.try_send(Ok(vec![idle]));
                    }
                }
                window => {
                    told = Instant::now();
                    if sender.blocking_send(window).is_err() {
                        return;
                    }
                }
            }
            if ended {
                return;
            }
        }
    }

    /// That there is nothing new, where that is so.
    fn idle(&self) -> Option<Event> {
        let registry = self.registry.as_ref().filter(|_| !self.log.is_open())?;
        Some(Event::Idle { position: self.log.position(registry) })
    }

    /// Fails if the path names another file by now, which no change of the open one would tell.
    fn check_file(&mut self) -> Result<()> {
        if self.checked.elapsed() < CHECK_FILE_EVERY {
            return Ok(());
        }
        self.checked = Instant::now();
        match self.opened.is_current() {
            true => Ok(()),
            false => Err(Error::out_of_step("the database file was removed or replaced")),
        }
    }

    fn data_version(&self) -> Result<i64> {
        self.opened
            .connection
            .prepare_cached("PRAGMA data_version")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .map_err(|e| failed(e, "look for changes"))
    }

    /// One window, in a read transaction of its own (or in one that is kept, for a backlog that would not end).
    fn read(&mut self) -> Result<Vec<Event>> {
        loop {
            let connection = &self.opened.connection;
            if connection.is_autocommit() {
                connection.execute_batch("BEGIN").map_err(|e| failed(e, "begin to read changes"))?;
            }
            let read = match current(connection, &mut self.registry) {
                Ok(registry) if registry.stale => None,
                Ok(registry) => Some(self.log.window(connection, &registry)),
                Err(error) => Some(Err(error)),
            };
            let keep = matches!(read, Some(Ok(_))) && self.log.is_open() && self.log.wants_one_snapshot();
            if !keep {
                connection.execute_batch("ROLLBACK").map_err(|e| failed(e, "end reading changes"))?;
            }
            match read {
                Some(window) => return window,
                None => {
                    refresh(connection)?;
                    self.registry = None;
                }
            }
        }
    }
}

/// The registry of this transaction's schema.
fn current(connection: &Connection, known: &mut Option<Arc<Registry>>) -> Result<Arc<Registry>> {
    let version = registry::schema_version(connection)?;
    if let Some(known) = known.as_ref().filter(|known| known.schema_version == version) {
        return Ok(known.clone());
    }
    let loaded = Arc::new(registry::load(connection)?);
    *known = Some(loaded.clone());
    Ok(loaded)
}

fn refresh(connection: &Connection) -> Result<()> {
    super::in_write_transaction(connection, || registry::refresh(connection))
}
