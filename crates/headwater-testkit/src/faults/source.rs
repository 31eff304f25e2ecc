//! A source whose log can be held back: it wraps a real one, and what the log brings waits until it is let go.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use headwater_model::{
    Answer, Catalogued, Chunk, ChunkId, ChunkRange, Event, Follow, Lineage, Position, Read, Result,
    RetainedLog, Source, SourceFacts, TableName,
};
use tokio::sync::watch;

/// Everything but the log goes through: tables are read, marks are put into the log and are held back with it.
#[derive(Clone)]
pub struct HeldLog {
    inner: Arc<dyn Source>,
    held: watch::Sender<bool>,
    follows: bool,
    asked: Arc<AtomicUsize>,
    looks: Arc<AtomicUsize>,
}

impl HeldLog {
    /// Held back from the start.
    pub fn new(inner: Arc<dyn Source>) -> HeldLog {
        HeldLog {
            inner,
            held: watch::Sender::new(true),
            follows: true,
            asked: Arc::default(),
            looks: Arc::default(),
        }
    }

    /// The log cannot even be opened: whoever wants to follow it waits for ever.
    pub fn never_opened(inner: Arc<dyn Source>) -> HeldLog {
        HeldLog { follows: false, ..HeldLog::new(inner) }
    }

    /// How often someone has begun to follow, or has tried to.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// How often someone has been told the shapes of tables.
    pub fn looks(&self) -> usize {
        self.looks.load(Ordering::SeqCst)
    }

    /// Lets the log come by, with all that waits in it.
    pub fn let_go(&self) {
        self.held.send_replace(false);
    }

    /// Holds back what has not come by yet.
    pub fn hold(&self) {
        self.held.send_replace(true);
    }
}

struct HeldFollow {
    inner: Box<dyn Follow>,
    held: watch::Receiver<bool>,
    /// What came while the log is held back.
    waiting: Vec<Event>,
}

#[async_trait]
impl Follow for HeldFollow {
    async fn next(&mut self) -> Result<Vec<Event>> {
        if self.waiting.is_empty() {
            self.waiting = self.inner.next().await?;
        }
        // The sender outlives the service; if not, nothing more is let go.
        if self.held.wait_for(|held| !held).await.is_err() {
            std::future::pending::<()>().await;
        }
        Ok(std::mem::take(&mut self.waiting))
    }
}

#[async_trait]
impl Source for HeldLog {
    async fn inspect(&self) -> Result<SourceFacts> {
        self.inner.inspect().await
    }

    async fn lineage(&self, known: Option<&Position>) -> Result<Lineage> {
        self.inner.lineage(known).await
    }

    async fn prepare(&self, tables: &[TableName]) -> Result<Vec<TableName>> {
        self.inner.prepare(tables).await
    }

    async fn follow(&self, after: Option<&Position>) -> Result<Box<dyn Follow>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if !self.follows {
            std::future::pending::<()>().await;
        }
        let inner = self.inner.follow(after).await?;
        Ok(Box::new(HeldFollow { inner, held: self.held.subscribe(), waiting: Vec::new() }))
    }

    async fn shapes(&self, tables: &[TableName]) -> Result<Vec<Catalogued>> {
        let shapes = self.inner.shapes(tables).await;
        self.looks.fetch_add(1, Ordering::SeqCst);
        shapes
    }

    async fn read_chunk(&self, range: &ChunkRange) -> Result<Chunk> {
        self.inner.read_chunk(range).await
    }

    async fn mark(&self, chunk: ChunkId) -> Result<()> {
        self.inner.mark(chunk).await
    }

    async fn release(&self, upto: &Position) -> Result<()> {
        self.inner.release(upto).await
    }

    async fn progress(&self) -> Result<(Position, RetainedLog)> {
        self.inner.progress().await
    }

    async fn forget(&self) -> Result<()> {
        self.inner.forget().await
    }

    async fn answer(&self, read: &Read) -> Result<Answer> {
        self.inner.answer(read).await
    }

    fn traffic(&self) -> Vec<headwater_model::Traffic> {
        self.inner.traffic()
    }

    fn notation(&self, position: &Position) -> String {
        self.inner.notation(position)
    }

    fn sequence(&self, notation: &str) -> Option<u64> {
        self.inner.sequence(notation)
    }
}
