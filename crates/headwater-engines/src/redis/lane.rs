//! One lane: the keys of one server, or of one slot of a cluster, with their position and their owner.
//!
//! Owns connections, ownership and reads of these keys. What several lanes of one store are together is in [`super::lanes`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headwater_model::{
    Answer, AnswerMoment, Astray, Epoch, Error, ErrorKind, Held, Listed, Offset, Read, Result, Standing,
    StoreFacts, Stored, View,
};
use tokio::time::Instant;

use super::ahead::Ahead;
use super::answer::{self, Alone};
use super::cluster::{self, Nodes};
use super::config::{Address, Config};
use super::connection::Connection;
use super::meta::Mark;
use super::rows::Rows;
use super::step::Step;
use super::writer::{Writer, check_layout, outrun};
use super::{facts, listing, meta, scan};

/// Connections kept for reads.
const READERS_MAX: usize = 4;

/// A connection that rested longer is tried before it is used.
pub(super) const RESTED: Duration = Duration::from_secs(1);

/// One Redis or Valkey server, or the one node of a cluster that owns the prefix's slot.
pub(super) struct Lane(Arc<Shared>);

/// What the lane and its open step both use.
pub(super) struct Shared {
    pub(super) config: Config,
    /// Who owns which slot, and which is ours, if the lane is one of several.
    nodes: Option<(Arc<Nodes>, u16)>,
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

impl Lane {
    pub(super) fn new(config: Config, nodes: Option<(Arc<Nodes>, u16)>) -> Lane {
        Lane(Arc::new(Shared {
            config,
            nodes,
            rows: Rows::default(),
            home: Mutex::default(),
            readers: Mutex::default(),
            writer: Mutex::default(),
            step_open: AtomicBool::new(false),
            wary: AtomicBool::new(false),
            claimed: AtomicBool::new(false),
        }))
    }

    pub(super) fn prefix(&self) -> &str {
        &self.0.config.prefix
    }

    pub(super) fn meta(&self) -> Vec<u8> {
        self.0.config.meta()
    }

    pub(super) fn count(&self) -> &Rows {
        &self.0.rows
    }

    /// Whether this value claimed the lane, so that nobody else should write.
    pub(super) fn is_claimed(&self) -> bool {
        self.0.claimed.load(Ordering::SeqCst)
    }
}

impl Shared {
    pub(super) async fn connect(&self) -> Result<Connection> {
        let opened = match &self.nodes {
            Some((nodes, slot)) => nodes.open(&self.config, *slot).await,
            None => self.open().await,
        };
        opened.map_err(|e| e.while_doing(format!("store {:?}", self.config.store)))
    }

    async fn open(&self) -> Result<Connection> {
        let home = lock(&self.home).clone();
        let start = home.clone().unwrap_or_else(|| self.config.address.clone());
        let opened = cluster::open_home(&self.config, start).await;
        *lock(&self.home) = match &opened {
            Ok(connection) if connection.address != self.config.address => Some(connection.address.clone()),
            // Gone or moved: the next attempt asks the configured address again.
            _ => None,
        };
        opened
    }

    /// A connection for reads; give it back when it has no reply outstanding, or drop it.
    pub(super) async fn reader(&self) -> Result<Connection> {
        if let Some((nodes, slot)) = &self.nodes {
            return nodes.reader(&nodes.owner(*slot).await?).await;
        }
        loop {
            let Some((mut reader, since)) = lock(&self.readers).pop() else { return self.connect().await };
            // One that rested may have died; nothing is lost by asking.
            if since.elapsed() < RESTED || reader.call(&[b"PING"]).await.is_ok() {
                return Ok(reader);
            }
        }
    }

    pub(super) fn give_back(&self, reader: Connection) {
        if let Some((nodes, _)) = &self.nodes {
            return nodes.give_back(reader);
        }
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

impl Lane {
    pub(super) async fn inspect(&self) -> Result<StoreFacts> {
        let mut reader = self.0.reader().await?;
        let facts = facts::inspect(&mut reader).await?;
        self.0.give_back(reader);
        Ok(facts)
    }

    pub(super) async fn claim(&self, epoch: Epoch) -> Result<Option<Held>> {
        let before = self
            .take_over(epoch, &[], |before| {
                Some(match before {
                    Some(mark) => {
                        Mark { held: Held { epoch, ..mark.held.clone() }, ahead: mark.ahead.clone() }
                    }
                    None => Mark { held: beginning(epoch), ahead: Ahead::default() },
                })
            })
            .await?;
        Ok(before.map(|mark| mark.held))
    }

    /// Writes what `next` makes of what is held, unless a higher epoch owns the lane; gives what was held. Where `next` gives
    /// nothing, nothing is written.
    pub(super) async fn take_over(
        &self,
        epoch: Epoch,
        more: &[(String, String)],
        next: impl Fn(Option<&Mark>) -> Option<Mark>,
    ) -> Result<Option<Mark>> {
        let shared = &self.0;
        let mut writer = shared.writer().await?;
        writer.distrust();
        loop {
            writer.refresh().await?;
            let before = writer.mark();
            if let Some(Mark { held, .. }) = &before
                && held.epoch > epoch
            {
                let error = outrun(Some(held), epoch, held.offset);
                shared.rest(writer);
                return Err(error);
            }
            let Some(now) = next(before.as_ref()) else {
                shared.rest(writer);
                return Ok(before);
            };
            let mut more = more.to_vec();
            if before.as_ref().map_or(&Ahead::default(), |mark| &mark.ahead) != &now.ahead {
                more.push((meta::AHEAD.to_owned(), now.ahead.to_text()));
            }
            // Somebody else claims at the same time: look again who it was.
            if writer.move_to(&now.held, &more).await? {
                // The fields of the views may be another owner's by now.
                writer.distrust();
                shared.rows.forget();
                shared.claimed.store(true, Ordering::SeqCst);
                drop(writer);
                return Ok(before);
            }
        }
    }

    pub(super) async fn prepare(&self, view: &View) -> Result<()> {
        let mut reader = self.0.reader().await?;
        let all = reader.call(&[b"HGETALL", &self.meta()]).await?;
        self.0.give_back(reader);
        check_layout(view, meta::read_views(all)?.get(&view.name))
    }

    pub(super) async fn held(&self) -> Result<Option<Held>> {
        let mut reader = self.0.reader().await?;
        meta::ask_mark(&self.meta(), &mut reader.out);
        let reply = reader.reply().await?;
        self.0.give_back(reader);
        Ok(meta::read_mark(reply)?.map(|mark| mark.held))
    }

    pub(super) async fn begin(&self, epoch: Epoch, after: Offset) -> Result<Step> {
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
                Ok(Step::new(Arc::clone(shared), writer, epoch, before))
            }
            found => {
                shared.rows.forget();
                // What the writer knows of the views belongs to what was there before: start anew.
                Err(outrun(found.as_ref(), epoch, after))
            }
        }
    }

    pub(super) async fn answer(&self, read: &Read) -> Result<Answer> {
        let mut reader = self.0.reader().await?;
        let answer =
            answer::answer(&mut Alone { connection: &mut reader, config: &self.0.config }, read).await?;
        self.0.give_back(reader);
        Ok(answer)
    }

    pub(super) async fn scan(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Stored>, Option<String>)> {
        let (of, mut reader) = (scan::Keys::of(self.prefix(), &view.name), self.0.reader().await?);
        let page = scan::page(&mut reader, &of, view.layout(), cursor.as_deref(), limit).await?;
        self.0.give_back(reader);
        Ok(page)
    }

    pub(super) async fn keys(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<String>, Option<String>)> {
        let (of, mut reader) = (scan::Keys::of(self.prefix(), &view.name), self.0.reader().await?);
        let page = scan::texts(&mut reader, &of, cursor.as_deref(), limit).await?;
        self.0.give_back(reader);
        Ok(page)
    }

    pub(super) async fn entries(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Listed>, Option<String>)> {
        let (of, mut reader) = (scan::Keys::of_indexes(self.prefix(), &view.name), self.0.reader().await?);
        let page = listing::page(&mut reader, &of, view, 1, cursor.as_deref(), limit).await?;
        self.0.give_back(reader);
        Ok(page)
    }

    pub(super) async fn astray(
        &self,
        view: &View,
        asked: &[Standing],
    ) -> Result<(AnswerMoment, Vec<Astray>)> {
        let mut reader = self.0.reader().await?;
        let mut alone = Alone { connection: &mut reader, config: &self.0.config };
        let told = listing::astray(&mut alone, view, asked).await?;
        self.0.give_back(reader);
        Ok(told)
    }

    pub(super) async fn rows(&self, view: &View) -> Result<u64> {
        let shared = &self.0;
        if let Some(rows) = shared.rows.known(&view.name) {
            return Ok(rows);
        }
        let (from, commits) = (Instant::now(), shared.rows.commits());
        let mut reader = shared.reader().await?;
        let of = scan::Keys::of(self.prefix(), &view.name);
        let (mut walk, mut rows) = (scan::Walk::new(), 0);
        while let Some(keys) = walk.next(&mut reader, &of).await? {
            rows += keys.len() as u64;
        }
        shared.give_back(reader);
        shared.rows.counted(&view.name, rows, commits, self.is_claimed(), from.elapsed());
        Ok(rows)
    }
}

/// What an empty store holds once it is claimed.
pub(super) fn beginning(epoch: Epoch) -> Held {
    Held { epoch, offset: Offset::ZERO, position: None, committed_at: 0 }
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
