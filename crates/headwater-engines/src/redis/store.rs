//! The store: connections, ownership, reads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use headwater_model::file::StoreSection;
use headwater_model::{
    Answer, Apply, Epoch, Error, ErrorKind, Held, Offset, Read, Result, StoreFacts, Stored, View,
};
use tokio::time::Instant;

use super::config::{Address, Config};
use super::connection::Connection;
use super::rows::Rows;
use super::step::Step;
use super::writer::{Writer, check_layout, outrun};
use super::{answer, cluster, facts, keys, meta, scan};

/// Connections kept for reads.
const READERS_MAX: usize = 4;

/// A connection that rested longer is tried before it is used.
const RESTED: Duration = Duration::from_secs(1);

/// One Redis or Valkey server, or the one node of a cluster that owns the prefix's slot.
pub struct Store(Arc<Shared>);

/// What the store and its open step both use.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) rows: Rows,
    /// Where a cluster said that our slot is.
    home: Mutex<Option<Address>>,
    readers: Mutex<Vec<(Connection, Instant)>>,
    /// At rest between steps.
    writer: Mutex<Option<Writer>>,
    step_open: AtomicBool,
    /// A foreign value was met under our names: types are looked at until a step went well.
    wary: AtomicBool,
    /// Whether this value claimed the store, so that nobody else should write.
    claimed: AtomicBool,
}

impl Store {
    /// Reads URL and settings; does not connect.
    pub fn new(section: &StoreSection) -> Result<Store> {
        Ok(Store(Arc::new(Shared {
            config: Config::new(section)?,
            rows: Rows::default(),
            home: Mutex::default(),
            readers: Mutex::default(),
            writer: Mutex::default(),
            step_open: AtomicBool::new(false),
            wary: AtomicBool::new(false),
            claimed: AtomicBool::new(false),
        })))
    }
}

impl Shared {
    pub(super) async fn connect(&self) -> Result<Connection> {
        let home = lock(&self.home).clone();
        let start = home.clone().unwrap_or_else(|| self.config.address.clone());
        let opened = cluster::open_home(&self.config, start).await;
        *lock(&self.home) = match &opened {
            Ok((_, address)) if *address != self.config.address => Some(address.clone()),
            // Gone or moved: the next attempt asks the configured address again.
            _ => None,
        };
        opened
            .map(|(connection, _)| connection)
            .map_err(|e| e.while_doing(format!("store {:?}", self.config.store)))
    }

    /// A connection for reads; give it back when it has no reply outstanding, or drop it.
    pub(super) async fn reader(&self) -> Result<Connection> {
        loop {
            let Some((mut reader, since)) = lock(&self.readers).pop() else { return self.connect().await };
            // One that rested may have died; nothing is lost by asking.
            if since.elapsed() < RESTED || reader.call(&[b"PING"]).await.is_ok() {
                return Ok(reader);
            }
        }
    }

    pub(super) fn give_back(&self, reader: Connection) {
        let mut readers = lock(&self.readers);
        if readers.len() < READERS_MAX {
            readers.push((reader, Instant::now()));
        }
    }

    /// Puts the writer where the next step finds it.
    pub(super) fn rest(&self, writer: Writer) {
        *lock(&self.writer) = Some(writer);
    }

    pub(super) fn step_over(&self) {
        self.step_open.store(false, Ordering::SeqCst);
    }

    pub(super) fn wary(&self) {
        self.wary.store(true, Ordering::Relaxed);
    }

    pub(super) fn unwary(&self) {
        self.wary.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_wary(&self) -> bool {
        self.wary.load(Ordering::Relaxed)
    }

    /// A writer that knows what the store holds. One that rested too long may have lost its connection: nothing was sent
    /// on it yet, so it is simply replaced.
    async fn writer(&self) -> Result<Writer> {
        let resting = lock(&self.writer).take();
        if let Some(mut writer) = resting {
            match writer.refresh().await {
                Ok(()) => return Ok(writer),
                Err(e) if e.kind() != ErrorKind::Transient => return Err(e),
                Err(_) => self.rows.forget(),
            }
        }
        Writer::open(&self.config, self.connect().await?).await
    }
}

#[async_trait]
impl headwater_model::Store for Store {
    async fn inspect(&self) -> Result<StoreFacts> {
        let mut reader = self.0.reader().await?;
        let facts = facts::inspect(&mut reader, &self.0.config.prefix).await?;
        self.0.give_back(reader);
        Ok(facts)
    }

    async fn claim(&self, epoch: Epoch) -> Result<Option<Held>> {
        let shared = &self.0;
        let mut writer = shared.writer().await?;
        if keys::hash_tag(&shared.config.prefix).is_none() && facts::is_cluster(&mut writer.connection).await
        {
            return Err(
                cluster::needs_tag(&shared.config.prefix).unwrap_or_else(|| Error::bug("no tag, yet a tag"))
            );
        }
        writer.distrust();
        loop {
            writer.refresh().await?;
            let before = writer.held.clone();
            if let Some(held) = &before
                && held.epoch > epoch
            {
                let error = outrun(Some(held), epoch, held.offset);
                shared.rest(writer);
                return Err(error);
            }
            let now = match &before {
                Some(held) => Held { epoch, ..held.clone() },
                None => Held { epoch, offset: Offset::ZERO, position: None, committed_at: 0 },
            };
            // Somebody else claims at the same time: look again who it was.
            if writer.move_to(&now).await? {
                // The fields of the views may be another owner's by now.
                writer.distrust();
                shared.rows.forget();
                shared.claimed.store(true, Ordering::SeqCst);
                drop(writer);
                return Ok(before);
            }
        }
    }

    async fn prepare(&self, view: &View) -> Result<()> {
        let mut reader = self.0.reader().await?;
        let all = reader.call(&[b"HGETALL", &keys::meta(&self.0.config.prefix)]).await?;
        self.0.give_back(reader);
        check_layout(view, meta::read_views(all)?.get(&view.name))
    }

    async fn held(&self) -> Result<Option<Held>> {
        let mut reader = self.0.reader().await?;
        meta::ask_held(&keys::meta(&self.0.config.prefix), &mut reader.out);
        let reply = reader.reply().await?;
        self.0.give_back(reader);
        meta::read_held(reply)
    }

    async fn begin(&self, epoch: Epoch, after: Offset) -> Result<Box<dyn Apply>> {
        let shared = &self.0;
        if shared.step_open.swap(true, Ordering::SeqCst) {
            return Err(Error::bug("a step of this store is still open"));
        }
        let mut opening = Opening(Some(shared));
        let writer = shared.writer().await?;
        match &writer.held {
            Some(held) if held.epoch <= epoch && held.offset == after => {
                let before = held.clone();
                opening.0 = None;
                Ok(Box::new(Step::new(Arc::clone(shared), writer, epoch, before)))
            }
            found => {
                shared.rows.forget();
                // What the writer knows of the views belongs to what was there before: start anew.
                Err(outrun(found.as_ref(), epoch, after))
            }
        }
    }

    async fn answer(&self, read: &Read) -> Result<Answer> {
        let mut reader = self.0.reader().await?;
        let answer = answer::answer(&mut reader, &self.0.config.prefix, read).await?;
        self.0.give_back(reader);
        Ok(answer)
    }

    async fn scan(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Stored>, Option<String>)> {
        let mut reader = self.0.reader().await?;
        let page = scan::page(&mut reader, &self.0.config.prefix, view, cursor.as_deref(), limit).await?;
        self.0.give_back(reader);
        Ok(page)
    }

    async fn keys(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<String>, Option<String>)> {
        let mut reader = self.0.reader().await?;
        let page = scan::texts(&mut reader, &self.0.config.prefix, view, cursor.as_deref(), limit).await?;
        self.0.give_back(reader);
        Ok(page)
    }

    async fn rows(&self, view: &View) -> Result<u64> {
        let shared = &self.0;
        if let Some(rows) = shared.rows.known(&view.name) {
            return Ok(rows);
        }
        let (from, commits) = (Instant::now(), shared.rows.commits());
        let mut reader = shared.reader().await?;
        let (mut walk, mut rows) = (scan::Walk::new(&shared.config.prefix, &view.name), 0);
        while let Some(keys) = walk.next(&mut reader).await? {
            rows += keys.len() as u64;
        }
        shared.give_back(reader);
        let kept = shared.claimed.load(Ordering::SeqCst);
        shared.rows.counted(&view.name, rows, commits, kept, from.elapsed());
        Ok(rows)
    }

    fn consumed(&self) -> Vec<headwater_model::Consumed> {
        Vec::new()
    }
}

/// A step that is being opened. One that never is, be it that the caller stopped waiting, is over.
struct Opening<'s>(Option<&'s Shared>);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.0 {
            shared.step_over();
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
