//! Healing's conscience: nothing is cleared, filled again or dropped before it was asked for here.
//!
//! Owns: the table of what is done at which level ([`table`]), what waits for approval and what is paused ([`book`]),
//! kept in `heal.json` in the data folder. Does not own: doing any of it.
//!
//! Invariant: an approval is used up only after what it allows is on record as done; a crash in between asks nobody twice.

mod book;
pub mod table;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headwater_model::file::HealSection;
use headwater_model::heal::{Action, Level};
use headwater_model::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tracing::{error, info, warn};

pub use book::{ALL, Approval, Held, MIRROR, Pause};
use book::{Book, Decision};
use table::{Event, PartKind, transition};

use crate::board::Board;
use crate::lock::FolderLock;
use crate::machine::Clock;
use crate::status::{Incident, IncidentKind};

/// How often a pause that ends by itself is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the status says of healing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealStatus {
    pub safe: bool,
    pub held: Vec<Held>,
    pub pauses: Vec<Pause>,
    /// Who has to agree to what.
    pub levels: Vec<(Action, Level)>,
}

/// Cheap to share. Of whoever holds the data folder's lock.
pub struct Heal {
    path: PathBuf,
    file: HealSection,
    parts: Vec<String>,
    book: Mutex<Book>,
    changed: Notify,
    board: Arc<Board>,
}

impl Heal {
    /// `parts` are those that can be paused, besides [`ALL`].
    pub(crate) fn open(
        data: &Path,
        file: HealSection,
        parts: Vec<String>,
        board: Arc<Board>,
    ) -> Result<Heal> {
        let path = data.join("heal.json");
        let book = match read(&path) {
            Ok(book) => book,
            // Whoever paused something must not find it healed because a disk was damaged.
            Err(why) => {
                error!(%why, "what was approved and paused is lost: healing is paused until somebody resumes it");
                board.happened(
                    "incident log",
                    IncidentKind::LogDamaged,
                    &format!("{why}: healing is paused"),
                );
                let mut book = Book::default();
                book.pause(board.now_micros(), ALL, None, "headwater, which could not read heal.json");
                book
            }
        };
        Ok(Heal { path, file, parts, book: Mutex::new(book), changed: Notify::new(), board })
    }

    /// For a command while no instance runs: it holds the folder's lock as long as it needs.
    pub fn offline<T>(
        data: &Path,
        file: HealSection,
        parts: Vec<String>,
        act: impl FnOnce(&Heal) -> Result<T>,
    ) -> Result<T> {
        let Some(_folder) = FolderLock::try_take(data)? else {
            return Err(Error::transient("an instance holds the data folder but does not answer")
                .with_remedy("try again in a moment, or look at its log"));
        };
        let board = Arc::new(Board::new(Duration::ZERO, Clock::default(), []));
        let keeping = crate::incidents::keeping::Keeping::open(data, Arc::clone(&board), true);
        let done = act(&Heal::open(data, file, parts, board)?);
        keeping.close();
        done
    }

    /// What is held and paused in a data folder that nobody may be using: only looks.
    pub fn peek(data: &Path, file: &HealSection) -> Result<HealStatus> {
        let book = read(&data.join("heal.json")).map_err(Error::corrupt)?;
        Ok(shown(file, &book))
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whole or not at all, and durable when this returns.
    fn save(&self, book: &Book) -> Result<()> {
        let text = serde_json::to_vec_pretty(book)
            .map_err(|error| Error::bug("approvals cannot be written as JSON").with_cause(error))?;
        let fresh = self.path.with_extension("new");
        let written = File::create(&fresh)
            .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&fresh, &self.path));
        written.map_err(|error| Error::transient(format!("write {}", self.path.display())).with_cause(error))
    }

    /// Whether what the table says for `event` may be done to `part` now; who approved it, or a `Denied` that says what it
    /// waits for.
    pub(crate) fn ask(&self, kind: PartKind, part: &str, event: Event, evidence: &str) -> Result<String> {
        let Some(action) = transition(kind, event).and_then(|row| row.action) else {
            return Err(Error::bug(format!("{event:?} of {kind:?} is not in the table of healing")));
        };
        let cause = event.what();
        let decision = {
            let mut book = self.lock();
            let before = book.clone();
            let decision = book.decide(
                self.board.now_micros(),
                &self.file,
                part,
                action,
                cause,
                Some(evidence.to_owned()),
            );
            if *book != before {
                self.save(&book)?;
            }
            decision
        };
        let incident = |approved_by: Option<String>, result: String| Incident {
            evidence: Some(evidence.to_owned()),
            step: Some(action.what().to_owned()),
            approved_by,
            result: Some(result),
            ..Incident::new(self.board.now_micros(), part, IncidentKind::Healing, cause)
        };
        match decision {
            Decision::Go { approved_by } => {
                info!(part, action = action.name(), cause, %approved_by, "healing");
                self.board.note(incident(Some(approved_by.clone()), "begun".to_owned()));
                Ok(approved_by)
            }
            Decision::Wait { id, why, is_new } => {
                if is_new {
                    warn!(part, action = action.name(), id, cause, %why, "healing is held");
                    self.board.note(incident(None, why.clone()));
                }
                Err(Error::new(ErrorKind::Denied, format!("it {cause}; to {}: {why}", action.what())))
            }
        }
    }

    /// Like [`Heal::ask`], waiting as long as it takes. Cancelled by dropping it.
    pub(crate) async fn wait_for(
        &self,
        kind: PartKind,
        part: &str,
        event: Event,
        evidence: &str,
        waiting: impl Fn(&Error),
    ) -> Result<String> {
        loop {
            let changed = self.changed();
            match self.ask(kind, part, event, evidence) {
                Err(error) if error.kind() == ErrorKind::Denied => waiting(&error),
                decided => return decided,
            }
            changed.await;
        }
    }

    /// Completes when something was approved or resumed, or a pause ended. From the call on.
    pub(crate) fn changed(&self) -> impl Future<Output = ()> {
        let notified = self.changed.notified();
        async move {
            tokio::pin!(notified);
            loop {
                tokio::select! {
                    biased;
                    () = &mut notified => return,
                    () = tokio::time::sleep(LOOK_EVERY) => {
                        if self.end_pauses() {
                            return;
                        }
                    }
                }
            }
        }
    }

    fn end_pauses(&self) -> bool {
        let mut book = self.lock();
        let ended = book.end_pauses(self.board.now_micros());
        if ended.is_empty() {
            return false;
        }
        if let Err(error) = self.save(&book) {
            warn!(%error, "that a pause ended cannot be written down");
        }
        drop(book);
        ended.iter().for_each(|pause| self.note(&pause.part, "healing goes on: its pause is over", None));
        self.changed.notify_waiters();
        true
    }

    /// It is done, or not needed any more: an approval for it is used up.
    pub(crate) fn settle(&self, part: &str, action: Action) -> Result<()> {
        let mut book = self.lock();
        if book.settle(part, action) { self.save(&book) } else { Ok(()) }
    }

    /// Tells who is asked for approval more of what it is about.
    pub(crate) fn describe(&self, part: &str, action: Action, evidence: String) -> Result<()> {
        let mut book = self.lock();
        if book.describe(part, action, evidence) { self.save(&book) } else { Ok(()) }
    }

    /// Whether somebody approved what was held, and it can be done now.
    pub(crate) fn is_approved(&self, part: &str, action: Action) -> bool {
        self.lock().is_approved(self.board.now_micros(), part, action)
    }

    pub fn status(&self) -> HealStatus {
        shown(&self.file, &self.lock())
    }

    /// `name` agrees to what is held under `id`.
    pub fn approve(&self, id: u64, name: &str) -> Result<Held> {
        let name = self::name(name)?;
        let mut book = self.lock();
        let held = book
            .approve(self.board.now_micros(), id, name)
            .map_err(|why| Error::misconfigured(why).with_remedy("`headwater heal plan` lists what is held"))?
            .clone();
        self.save(&book)?;
        drop(book);
        let result = match held.missing() {
            0 => "approved".to_owned(),
            missing => format!("approved by one, {missing} more to come"),
        };
        info!(id, by = name, part = %held.part, action = held.action.name(), "approved");
        self.board.note(Incident {
            evidence: held.evidence.clone(),
            step: Some(held.action.what().to_owned()),
            approved_by: Some(name.to_owned()),
            result: Some(result),
            ..Incident::new(self.board.now_micros(), &held.part, IncidentKind::Healing, &held.cause)
        });
        self.changed.notify_waiters();
        Ok(held)
    }

    /// Nothing is healed in `part` for so long, or until [`Heal::resume`]; bounds are kept all the same.
    pub fn pause(&self, part: &str, within: Option<Duration>, by: &str) -> Result<()> {
        let (part, by) = (self.part(part)?, name(by)?);
        let now = self.board.now_micros();
        let until =
            within.map(|within| now.saturating_add(i64::try_from(within.as_micros()).unwrap_or(i64::MAX)));
        let mut book = self.lock();
        book.pause(now, part, until, by);
        self.save(&book)?;
        drop(book);
        self.note(part, "healing is paused", Some(by));
        Ok(())
    }

    /// Whether it was paused.
    pub fn resume(&self, part: &str, by: &str) -> Result<bool> {
        let (part, by) = (self.part(part)?, name(by)?);
        let mut book = self.lock();
        let was = book.resume(part);
        self.save(&book)?;
        drop(book);
        if was {
            self.note(part, "healing goes on", Some(by));
            self.changed.notify_waiters();
        }
        Ok(was)
    }

    fn note(&self, part: &str, step: &str, by: Option<&str>) {
        info!(part, by, "{step}");
        self.board.note(Incident {
            step: Some(step.to_owned()),
            approved_by: by.map(str::to_owned),
            ..Incident::new(self.board.now_micros(), part, IncidentKind::Healing, "")
        });
    }

    fn part<'p>(&self, part: &'p str) -> Result<&'p str> {
        if part == ALL || self.parts.iter().any(|known| known == part) {
            return Ok(part);
        }
        let known: Vec<String> = self.parts.iter().map(|part| part.replacen(' ', ":", 1)).collect();
        Err(Error::misconfigured(format!("there is no part `{part}`"))
            .with_remedy(format!("it is one of: {ALL}, {}", known.join(", "))))
    }
}

fn shown(file: &HealSection, book: &Book) -> HealStatus {
    let levels = Action::ALL.map(|action| (action, table::level(file, action)));
    HealStatus {
        safe: file.safe,
        held: book.held.clone(),
        pauses: book.pauses.clone(),
        levels: levels.to_vec(),
    }
}

/// Names go into the log: short, and on one line.
fn name(name: &str) -> Result<&str> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > 100 || name.chars().any(char::is_control) {
        return Err(Error::misconfigured("a name has 1 to 100 characters on one line")
            .with_remedy("say who you are with `--as NAME`"));
    }
    Ok(name)
}

fn read(path: &Path) -> std::result::Result<Book, String> {
    match fs::read(path) {
        Ok(text) => {
            serde_json::from_slice(&text).map_err(|error| format!("{} is damaged: {error}", path.display()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Book::default()),
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
    }
}
