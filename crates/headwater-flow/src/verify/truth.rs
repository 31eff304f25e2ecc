//! What the documents of a view should be: of flat views from chunks of their table, of the others from the mirror.
//!
//! A document that embeds rows is not made from the source itself here: that would take a join as of a moment that nobody
//! holds. The mirror is compared with the source table by table ([`super::mirror`]), and the stores with what the mirror gives;
//! the two together say that the stores equal the source.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use headwater_model::{Change, ChunkRange, Error, Key, Offset, Result, TableId, TableName, View, ViewChange};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::Verifier;
use super::page::{Entry, Page, Roll, Should, Tails};
use crate::chunks::{InFlight, MARK_WITHIN};
use crate::derive::{Look, Stateless, Tables};
use crate::landing::{Outcome, Purpose, Seen};
use crate::retry::Backoff;

/// A chunk ends behind the row that passes this.
const CHUNK_BYTES: usize = 4 << 20;

/// How long a table may not let itself be read.
const READABLE_WITHIN: Duration = Duration::from_secs(120);

/// How long single keys may be read again and again.
const SEEN_WITHIN: Duration = Duration::from_secs(300);

/// Chunks in flight at full speed: the next is read while one waits for its mark.
const CHUNKS_AHEAD: usize = 2;

/// Pages that wait to be compared, at full speed.
const PAGES_AHEAD: usize = 1;

/// Documents that are made from the mirror at once.
const DOCUMENTS_AT_ONCE: usize = 1_000;

/// Where the documents of a view come from.
#[derive(Clone)]
pub(super) enum Truth {
    Rows { view: Arc<View>, table: TableId },
    Mirror { view: Arc<View>, look: Arc<Mutex<Look>> },
}

impl Truth {
    pub async fn of(verifier: &Verifier, view: &Arc<View>) -> Result<Truth> {
        let view = Arc::clone(view);
        match verifier.is_derived(&view.name) {
            true => Ok(Truth::Mirror { look: verifier.look().await?, view }),
            false => {
                let table = readable(&view.from, verifier.chunks.table_id(&view.from)).await?;
                Ok(Truth::Rows { table, view })
            }
        }
    }

    /// Of one page, or of a few that follow each other.
    pub fn roll(&self, verifier: &Verifier, after: Offset) -> Result<Roll> {
        self.rolls(verifier).roll(after)
    }

    pub fn rolls<'v>(&self, verifier: &'v Verifier) -> Rolls<'v> {
        Rolls {
            truth: self.clone(),
            rows: Tails::of(&verifier.chunks.journal),
            documents: verifier.derived.as_ref().map(|derived| Tails::of(&derived.journal)),
            tables: &verifier.tables,
        }
    }

    pub fn view(&self) -> &Arc<View> {
        match self {
            Truth::Rows { view, .. } | Truth::Mirror { view, .. } => view,
        }
    }

    /// All documents, in pages of about so many rows, behind `after` if that is given.
    pub fn pages(&self, verifier: &Arc<Verifier>, after: Option<Key>, rows: usize, ahead: bool) -> Pages {
        let (want, wanted) = mpsc::unbounded_channel();
        let (send, pages) = mpsc::channel(1 + PAGES_AHEAD);
        let (truth, verifier) = (self.clone(), Arc::clone(verifier));
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            let mut out = Out { wanted, send };
            let ended = match truth {
                Truth::Rows { view, table } => {
                    let mut seen = see_table(&verifier, view.from.clone(), table, after, rows);
                    seen.ahead = ahead;
                    of_rows(&verifier, &view, seen, &mut out).await
                }
                Truth::Mirror { view, look } => {
                    of_mirror(&view, &look, after, rows.min(DOCUMENTS_AT_ONCE), &mut out).await
                }
            };
            if let Err(error) = ended {
                let _ = out.send.send(Err(error)).await;
            }
        }));
        let pages = Pages { want, pages, _task: task };
        (0..if ahead { PAGES_AHEAD } else { 0 }).for_each(|_| pages.want());
        pages
    }

    /// What the documents of these keys should be.
    pub async fn of_keys(&self, verifier: &Verifier, keys: Vec<Key>) -> Result<Page> {
        let view = &self.view().name;
        let (keys, foreign): (Vec<Key>, Vec<Key>) =
            keys.into_iter().partition(|key| verifier.row_key(view, &key.to_text()).is_some());
        let mut page = match keys.is_empty() {
            true => Page::new(verifier.chunks.journal.durable(), Vec::new()),
            false => self.of_row_keys(verifier, keys).await?,
        };
        // No row can have such a key, so the source need not be asked, and could not be.
        page.entries.extend(foreign.into_iter().map(|key| Entry::new(key, Should::NotBe)));
        Ok(page)
    }

    async fn of_row_keys(&self, verifier: &Verifier, keys: Vec<Key>) -> Result<Page> {
        match self {
            Truth::Rows { view, table } => {
                let seen = see_keys(verifier, &view.from, *table, keys).await?;
                to_page(seen, &mut Stateless::new(std::slice::from_ref(view), &verifier.tables)?)
            }
            Truth::Mirror { view, look } => {
                let (look, view) = (Arc::clone(look), Arc::clone(view));
                blocking(move || {
                    let looked = lock(&look).documents_of(&view.name, &keys)?;
                    let should = |found| match found {
                        Some(document) => Should::Be(document),
                        None => Should::NotBe,
                    };
                    let entries = keys.into_iter().zip(looked.found);
                    let entries = entries.map(|(key, found)| Entry::new(key, should(found))).collect();
                    Ok(Page::new(looked.offset, entries))
                })
                .await
            }
        }
    }
}

/// Rolls of pages that follow each other.
pub(super) struct Rolls<'v> {
    truth: Truth,
    rows: Tails<Change>,
    documents: Option<Tails<ViewChange>>,
    tables: &'v Tables,
}

impl Rolls<'_> {
    pub fn roll(&mut self, after: Offset) -> Result<Roll> {
        match &self.truth {
            Truth::Rows { view, .. } => Roll::flat(&mut self.rows, after, view, self.tables),
            Truth::Mirror { view, .. } => {
                let documents = self.documents.as_mut().ok_or_else(|| Error::bug("nothing is derived"))?;
                Roll::derived(documents, after, view)
            }
        }
    }
}

/// Pages as they are read. Dropped, nothing is read any more.
pub(super) struct Pages {
    want: mpsc::UnboundedSender<()>,
    pages: mpsc::Receiver<Result<Page>>,
    _task: AbortOnDropHandle<()>,
}

impl Pages {
    pub async fn next(&mut self) -> Result<Option<Page>> {
        self.want();
        self.pages.recv().await.transpose()
    }

    /// One more may be read. That the reader has ended is seen where its pages are.
    fn want(&self) {
        let _ = self.want.send(());
    }
}

/// Where pages go, one for each that is wanted.
struct Out {
    wanted: mpsc::UnboundedReceiver<()>,
    send: mpsc::Sender<Result<Page>>,
}

impl Out {
    /// False if nobody wants any more.
    async fn is_wanted(&mut self) -> bool {
        self.wanted.recv().await.is_some()
    }

    async fn give(&self, page: Page) {
        // Nobody takes it: the next one is not wanted either.
        let _ = self.send.send(Ok(page)).await;
    }
}

async fn of_rows(
    verifier: &Verifier,
    view: &Arc<View>,
    mut table: SeenTable<'_>,
    out: &mut Out,
) -> Result<()> {
    let mut map = Stateless::new(std::slice::from_ref(view), &verifier.tables)?;
    while out.is_wanted().await
        && let Some(seen) = table.next().await?
    {
        let mut page = to_page(seen, &mut map)?;
        page.waited = table.waited;
        out.give(page).await;
    }
    Ok(())
}

async fn of_mirror(
    view: &Arc<View>,
    look: &Arc<Mutex<Look>>,
    after: Option<Key>,
    limit: usize,
    out: &mut Out,
) -> Result<()> {
    let mut after = match after {
        Some(key) => lock(look).place_of(&view.name, &key)?,
        None => Vec::new(),
    };
    while out.is_wanted().await {
        let (look, view) = (Arc::clone(look), Arc::clone(view));
        let looked = blocking(move || lock(&look).documents(&view.name, &after, limit)).await?;
        let (offset, found) = (looked.offset, looked.found);
        let entries =
            found.items.into_iter().map(|(key, document)| Entry::new(key, Should::Be(document))).collect();
        out.give(Page::new(offset, entries)).await;
        match found.next {
            None => return Ok(()),
            Some(next) => after = next,
        }
    }
    Ok(())
}

/// The chunks of a table, in order.
pub(super) struct SeenTable<'v> {
    verifier: &'v Verifier,
    name: TableName,
    table: TableId,
    after: Option<Key>,
    rows: usize,
    limit: usize,
    /// Whether the next is read while one waits for its mark.
    pub ahead: bool,
    /// How long the newest one waited for its mark.
    pub waited: Duration,
    ended: bool,
    in_flight: VecDeque<InFlight>,
}

pub(super) fn see_table(
    verifier: &Verifier,
    name: TableName,
    table: TableId,
    after: Option<Key>,
    rows: usize,
) -> SeenTable<'_> {
    let in_flight = VecDeque::new();
    let waited = Duration::ZERO;
    SeenTable {
        verifier,
        name,
        table,
        after,
        rows,
        limit: rows,
        ahead: false,
        waited,
        ended: false,
        in_flight,
    }
}

impl SeenTable<'_> {
    /// The next chunk; `None` at the end of the table.
    pub async fn next(&mut self) -> Result<Option<Seen>> {
        let most = if self.ahead { CHUNKS_AHEAD } else { 1 };
        self.waited = Duration::ZERO;
        loop {
            while !self.ended && self.in_flight.len() < most {
                let range = ChunkRange {
                    table: self.name.clone(),
                    after: self.after.clone(),
                    limit: self.limit,
                    bytes_max: CHUNK_BYTES,
                    keys: Vec::new(),
                };
                let look = Purpose::Look { asked: Vec::new() };
                let chunk =
                    readable(&self.name, self.verifier.chunks.start(&range, self.table, look)).await?;
                self.ended = chunk.last;
                self.after = chunk.upto.clone().or(self.after.take());
                self.in_flight.push_back(chunk);
            }
            let Some(mut chunk) = self.in_flight.pop_front() else { return Ok(None) };
            let began = Instant::now();
            let outcome = timeout(MARK_WITHIN, &mut chunk.outcome).await;
            self.waited += began.elapsed();
            if let Ok(Ok(Outcome::Seen(seen))) = outcome {
                self.limit = self.rows;
                return Ok(Some(seen));
            }
            // Too much came by, or its mark never did.
            self.in_flight.clear();
            (self.after, self.ended) = (chunk.from.clone(), false);
            self.limit = (self.limit / 4).max(1);
        }
    }
}

/// Nobody waits for ever behind a lock, or for a source that does not answer.
pub(super) async fn readable<T>(table: &TableName, read: impl Future<Output = Result<T>>) -> Result<T> {
    let waited = timeout(READABLE_WITHIN, read).await;
    waited.unwrap_or_else(|_| {
        let seconds = READABLE_WITHIN.as_secs();
        Err(Error::transient(format!("table {table} could not be read within {seconds} s")).with_remedy(
            "another session of the source may hold it locked, or the source does not answer: see there what the read waits for, \
             then ask again",
        ))
    })
}

/// What is true of single keys.
pub(super) async fn see_keys(
    verifier: &Verifier,
    name: &TableName,
    table: TableId,
    keys: Vec<Key>,
) -> Result<Seen> {
    let (mut backoff, until) = (Backoff::new(), Instant::now() + SEEN_WITHIN);
    loop {
        let range = ChunkRange {
            table: name.clone(),
            after: None,
            limit: keys.len(),
            bytes_max: usize::MAX,
            keys: keys.clone(),
        };
        let look = Purpose::Look { asked: keys.clone() };
        let mut chunk = readable(name, verifier.chunks.start(&range, table, look)).await?;
        if let Ok(Ok(Outcome::Seen(seen))) = timeout(MARK_WITHIN, &mut chunk.outcome).await {
            return Ok(seen);
        }
        if Instant::now() > until {
            return Err(Error::transient(format!(
                "rows of table {name} were read again and again, and never did the log come by in time or small enough"
            ))
            .with_remedy("the source's log is far ahead of what was read of it: let it catch up, then ask again"));
        }
        backoff.pause().await;
    }
}

/// The documents that rows make.
fn to_page(seen: Seen, map: &mut Stateless) -> Result<Page> {
    let mut entries = Vec::with_capacity(seen.rows.len() + seen.absent.len() + seen.unknown.len());
    let mut mapped = Vec::with_capacity(1);
    for row in seen.rows {
        map.map(Change::Snapshot { table: Arc::clone(&seen.table), row }, &mut mapped);
        entries.extend(mapped.drain(..).filter_map(|change| match change {
            ViewChange::Put { key, document, .. } => Some(Entry::new(key, Should::Be(document))),
            ViewChange::Delete { key, .. } => Some(Entry::new(key, Should::NotBe)),
            ViewChange::Clear { .. } => None,
        }));
    }
    if let Some(broken) = map.take_broken().into_iter().next() {
        return Err(broken.error);
    }
    entries.extend(seen.absent.into_iter().map(|key| Entry::new(key, Should::NotBe)));
    entries.extend(seen.unknown.into_iter().map(|key| Entry::new(key, Should::Unknown)));
    Ok(Page::new(seen.offset, entries))
}

pub(super) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(read).await {
        Ok(read) => read,
        Err(error) => Err(Error::bug("looking at the mirror panicked").with_cause(error)),
    }
}

pub(super) fn lock(look: &Mutex<Look>) -> std::sync::MutexGuard<'_, Look> {
    // It only reads: a panic leaves nothing half done but its own transaction, which the next one reports.
    look.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_table_that_stays_locked_is_told_and_not_waited_for() {
        let table = TableName::new(None, "orders");
        let error = readable::<()>(&table, std::future::pending()).await.expect_err("nobody lets go of it");
        assert!(error.to_string().contains("table orders could not be read within 120 s"), "{error}");
        assert!(error.remedy().is_some_and(|remedy| remedy.contains("locked")), "{:?}", error.remedy());
        assert_eq!(readable(&table, async { Ok(7) }).await.expect("it is read"), 7);
    }
}
