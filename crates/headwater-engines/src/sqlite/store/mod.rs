//! The embedded store: views as JSON documents in a SQLite file.
//!
//! Data and position are one SQL transaction, so every reader, in this process or another, sees whole transactions of
//! the source and the position that belongs to them. All writes go through one thread ([`writer`]); reads have
//! connections of their own and, in write-ahead mode, never wait for it.

mod answer;
mod checkpoint;
mod index;
mod reads;
mod schema;
mod step;
mod turn;
mod writer;

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use headwater_model::file::StoreSection;
use headwater_model::{
    Answer, AnswerMoment, Astray, Epoch, Held, Listed, Offset, Promise, Read, Refusal, Result, Standing,
    StoreFacts, Stored, View, ViewChange,
};
use tokio::sync::mpsc;

use self::schema::HeldTable;
use self::writer::{Command, ask};
use super::config::StoreOptions;
use super::readers::Readers;

/// A store in a SQLite file. Nothing is opened or made before it is asked for.
pub struct Store {
    options: StoreOptions,
    own: HeldTable,
    /// Where other sources have their views in the file too.
    turn: Option<Arc<tokio::sync::Mutex<()>>>,
    readers: Arc<Readers>,
    writer: OnceLock<mpsc::Sender<Command>>,
}

impl Store {
    pub fn new(section: &StoreSection) -> Result<Store> {
        Ok(Store::with_options(StoreOptions::parse(section)?))
    }

    pub fn with_options(options: StoreOptions) -> Store {
        let readers = Arc::new(Readers::new(options.path.clone()));
        let own = HeldTable::of(options.source.as_deref());
        let turn = options.source.is_some().then(|| turn::of(&options.path));
        Store { options, own, turn, readers, writer: OnceLock::new() }
    }

    fn writer(&self) -> Result<&mpsc::Sender<Command>> {
        if let Some(writer) = self.writer.get() {
            return Ok(writer);
        }
        let started = writer::start(self.options.clone())?;
        // If another call was faster, this thread ends at once: its only sender is dropped.
        Ok(self.writer.get_or_init(|| started))
    }
}

#[async_trait]
impl headwater_model::Store for Store {
    async fn inspect(&self) -> Result<StoreFacts> {
        // Opening is the look: it fails when the file cannot be used.
        self.readers.read(|_| Ok(())).await?;
        Ok(StoreFacts {
            server: format!("SQLite {}", rusqlite::version()),
            promise: Promise::Transaction,
            partial_hash: true,
            partial_json: true,
            key_bytes_max: step::KEY_BYTES_MAX,
            document_bytes_max: step::DOCUMENT_BYTES_MAX,
            risks: Vec::new(),
        })
    }

    async fn claim(&self, epoch: Epoch) -> Result<Option<Held>> {
        ask(self.writer()?, |reply| Command::Claim { epoch, reply }).await
    }

    async fn prepare(&self, view: &View) -> Result<()> {
        let view = Box::new(view.clone());
        ask(self.writer()?, |reply| Command::Prepare { view, reply }).await
    }

    async fn held(&self) -> Result<Option<Held>> {
        let own = self.own.clone();
        Ok(self.readers.read(move |connection| own.held(connection)).await?.flatten())
    }

    async fn begin(&self, epoch: Epoch, after: Offset) -> Result<Box<dyn headwater_model::Apply>> {
        let commands = self.writer()?.clone();
        let turn = match &self.turn {
            Some(turn) => Some(Arc::clone(turn).lock_owned().await),
            None => None,
        };
        let dropped = Arc::new(AtomicBool::new(false));
        // Made before the answer arrives, so that a caller who gives up while waiting leaves no step open.
        let apply = Apply { commands, dropped: dropped.clone(), _turn: turn };
        ask(&apply.commands, |reply| Command::Begin { epoch, after, dropped, reply }).await?;
        Ok(Box::new(apply))
    }

    async fn answer(&self, read: &Read) -> Result<Answer> {
        let (own, read) = (self.own.clone(), read.clone());
        let answered = self.readers.read(move |connection| answer::answer(connection, &own, &read)).await?;
        answered.ok_or_else(answer::empty)
    }

    async fn scan(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Stored>, Option<String>)> {
        let name = view.name.clone();
        let page = move |connection: &_| reads::scan(connection, &name, cursor.as_deref(), limit.max(1));
        Ok(self.readers.read(page).await?.unwrap_or_default())
    }

    async fn keys(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<String>, Option<String>)> {
        let name = view.name.clone();
        let page = move |connection: &_| reads::keys(connection, &name, cursor.as_deref(), limit.max(1));
        Ok(self.readers.read(page).await?.unwrap_or_default())
    }

    async fn entries(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Listed>, Option<String>)> {
        let view = view.clone();
        let page = move |connection: &_| index::entries(connection, &view, cursor.as_deref(), limit.max(1));
        Ok(self.readers.read(page).await?.unwrap_or_default())
    }

    async fn astray(&self, view: &View, asked: &[Standing]) -> Result<(AnswerMoment, Vec<Astray>)> {
        let (own, view, asked) = (self.own.clone(), view.clone(), asked.to_vec());
        let told =
            self.readers.read(move |connection| answer::astray(connection, &own, &view, &asked)).await?;
        told.ok_or_else(answer::empty)
    }

    async fn rows(&self, view: &View) -> Result<u64> {
        let name = view.name.clone();
        Ok(self.readers.read(move |connection| reads::rows(connection, &name)).await?.unwrap_or(0))
    }

    fn consumed(&self) -> Vec<headwater_model::Consumed> {
        Vec::new()
    }
}

/// The open step, as its owner holds it.
struct Apply {
    commands: mpsc::Sender<Command>,
    dropped: Arc<AtomicBool>,
    _turn: Option<tokio::sync::OwnedMutexGuard<()>>,
}

#[async_trait]
impl headwater_model::Apply for Apply {
    async fn write(&mut self, changes: Vec<ViewChange>) -> Result<Vec<Refusal>> {
        ask(&self.commands, |reply| Command::Write { changes, reply }).await
    }

    async fn unplace(&mut self, view: &Arc<View>, strays: &[Listed]) -> Result<()> {
        let (view, strays) = (Arc::clone(view), strays.to_vec());
        ask(&self.commands, |reply| Command::Unplace { view, strays, reply }).await
    }

    async fn commit(self: Box<Self>, held: &Held) -> Result<()> {
        let held = held.clone();
        ask(&self.commands, |reply| Command::Commit { held, reply }).await
    }
}

impl Drop for Apply {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::Release);
        // With a full queue the thread is awake anyway and sees the flag.
        let _ = self.commands.try_send(Command::Wake);
    }
}
