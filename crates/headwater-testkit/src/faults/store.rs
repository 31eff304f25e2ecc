//! A store that misbehaves on purpose: it wraps a real one and rejects, loses replies, holds them or delays them.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use headwater_model::{
    Answer, AnswerMoment, Apply, Astray, Epoch, Error, ErrorKind, Held, Listed, Offset, Read, Refusal,
    Result, Standing, Store, StoreFacts, Stored, View, ViewChange,
};
use tokio::sync::watch;

use crate::Chance;

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails, and the store never hears of it.
    Reject(ErrorKind),
    /// It takes effect, and then fails: a lost reply.
    FailAfter(ErrorKind),
    /// It takes effect, and its reply waits for [`FaultyStore::release`].
    Hold,
    /// It takes effect, and its reply comes so much later.
    Slow(Duration),
}

/// Which call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    Claim,
    Held,
    Begin,
    Write,
    Commit,
    Answer,
    /// `inspect`, `prepare`, `scan`, `keys`, `rows`.
    Other,
}

/// Cheap to clone; clones share their faults.
#[derive(Clone)]
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    faults: Arc<Faults>,
}

struct Faults {
    /// Per call, in order: `None` lets one call through.
    queued: Mutex<HashMap<Call, VecDeque<Option<Fault>>>>,
    random: Mutex<Option<(Chance, u64)>>,
    injected: AtomicUsize,
    held: watch::Sender<bool>,
    severed: AtomicBool,
}

impl FaultyStore {
    /// Behaves until it is told not to.
    pub fn new(inner: Arc<dyn Store>) -> FaultyStore {
        let faults = Faults {
            queued: Mutex::default(),
            random: Mutex::default(),
            injected: AtomicUsize::new(0),
            held: watch::Sender::new(true),
            severed: AtomicBool::new(false),
        };
        FaultyStore { inner, faults: Arc::new(faults) }
    }

    /// One in `one_in` of the calls `held`, `begin`, `write` and `commit` meets a fault: a rejection, a lost
    /// reply or a short delay.
    pub fn seeded(inner: Arc<dyn Store>, chance: Chance, one_in: u64) -> FaultyStore {
        let store = FaultyStore::new(inner);
        *store.faults.random.lock().unwrap() = Some((chance, one_in));
        store
    }

    /// The next such call that has no fault queued yet meets this one.
    pub fn inject(&self, call: Call, fault: Fault) {
        self.faults.queued.lock().unwrap().entry(call).or_default().push_back(Some(fault));
    }

    /// The next `count` such calls that have nothing queued yet go through.
    pub fn let_through(&self, call: Call, count: usize) {
        let mut queued = self.faults.queued.lock().unwrap();
        queued.entry(call).or_default().extend(std::iter::repeat_n(None, count));
    }

    /// From now on every call fails, as if the network were cut, until [`FaultyStore::behave`].
    pub fn sever(&self) {
        self.faults.severed.store(true, Ordering::SeqCst);
    }

    /// Lets go of the replies that are held.
    pub fn release(&self) {
        self.faults.held.send_replace(false);
    }

    /// No more faults; what is held is let go.
    pub fn behave(&self) {
        self.faults.queued.lock().unwrap().clear();
        *self.faults.random.lock().unwrap() = None;
        self.faults.severed.store(false, Ordering::SeqCst);
        self.release();
    }

    /// How many faults calls have met.
    pub fn injected(&self) -> usize {
        self.faults.injected.load(Ordering::SeqCst)
    }
}

impl Faults {
    fn next(&self, call: Call) -> Option<Fault> {
        if self.severed.load(Ordering::SeqCst) {
            return Some(Fault::Reject(ErrorKind::Transient));
        }
        let queued = self.queued.lock().unwrap().get_mut(&call).and_then(VecDeque::pop_front);
        let fault = match queued {
            Some(planned) => planned,
            None => self.random(call),
        };
        if fault.is_some() {
            self.injected.fetch_add(1, Ordering::SeqCst);
        }
        if fault == Some(Fault::Hold) {
            self.held.send_replace(true);
        }
        fault
    }

    fn random(&self, call: Call) -> Option<Fault> {
        if !matches!(call, Call::Held | Call::Begin | Call::Write | Call::Commit) {
            return None;
        }
        let mut random = self.random.lock().unwrap();
        let (chance, one_in) = random.as_mut()?;
        if !chance.one_in(*one_in) {
            return None;
        }
        Some(match chance.below(4) {
            0 => Fault::Reject(ErrorKind::Transient),
            1 => Fault::Reject(ErrorKind::Throttled),
            2 => Fault::FailAfter(ErrorKind::Transient),
            _ => Fault::Slow(Duration::from_millis(chance.below(20))),
        })
    }

    /// Makes the call, with its fault.
    async fn around<T>(&self, call: Call, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let failure = |kind, how: &str| Error::new(kind, format!("injected: {call:?} {how}"));
        match self.next(call) {
            None => work.await,
            Some(Fault::Reject(kind)) => Err(failure(kind, "was rejected")),
            Some(Fault::FailAfter(kind)) => {
                work.await?;
                Err(failure(kind, "took effect and its reply was lost"))
            }
            Some(Fault::Hold) => {
                let answer = work.await;
                let mut held = self.held.subscribe();
                let _ = held.wait_for(|held| !held).await;
                answer
            }
            Some(Fault::Slow(delay)) => {
                let answer = work.await;
                tokio::time::sleep(delay).await;
                answer
            }
        }
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn inspect(&self) -> Result<StoreFacts> {
        self.faults.around(Call::Other, self.inner.inspect()).await
    }

    async fn claim(&self, epoch: Epoch) -> Result<Option<Held>> {
        self.faults.around(Call::Claim, self.inner.claim(epoch)).await
    }

    async fn prepare(&self, view: &View) -> Result<()> {
        self.faults.around(Call::Other, self.inner.prepare(view)).await
    }

    async fn held(&self) -> Result<Option<Held>> {
        self.faults.around(Call::Held, self.inner.held()).await
    }

    async fn begin(&self, epoch: Epoch, after: Offset) -> Result<Box<dyn Apply>> {
        let inner = self.faults.around(Call::Begin, self.inner.begin(epoch, after)).await?;
        Ok(Box::new(FaultyStep { inner, faults: Arc::clone(&self.faults) }))
    }

    async fn answer(&self, read: &Read) -> Result<Answer> {
        self.faults.around(Call::Answer, self.inner.answer(read)).await
    }

    async fn scan(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Stored>, Option<String>)> {
        self.faults.around(Call::Other, self.inner.scan(view, cursor, limit)).await
    }

    async fn keys(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<String>, Option<String>)> {
        self.faults.around(Call::Other, self.inner.keys(view, cursor, limit)).await
    }

    async fn entries(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Listed>, Option<String>)> {
        self.faults.around(Call::Other, self.inner.entries(view, cursor, limit)).await
    }

    async fn astray(&self, view: &View, asked: &[Standing]) -> Result<(AnswerMoment, Vec<Astray>)> {
        self.faults.around(Call::Answer, self.inner.astray(view, asked)).await
    }

    async fn rows(&self, view: &View) -> Result<u64> {
        self.faults.around(Call::Other, self.inner.rows(view)).await
    }

    fn consumed(&self) -> Vec<headwater_model::Consumed> {
        self.inner.consumed()
    }
}

struct FaultyStep {
    inner: Box<dyn Apply>,
    faults: Arc<Faults>,
}

#[async_trait]
impl Apply for FaultyStep {
    async fn write(&mut self, changes: Vec<ViewChange>) -> Result<Vec<Refusal>> {
        self.faults.around(Call::Write, self.inner.write(changes)).await
    }

    async fn unplace(&mut self, view: &Arc<View>, strays: &[Listed]) -> Result<()> {
        self.faults.around(Call::Write, self.inner.unplace(view, strays)).await
    }

    async fn commit(self: Box<Self>, held: &Held) -> Result<()> {
        self.faults.around(Call::Commit, self.inner.commit(held)).await
    }
}
