//! Puts single documents of one store right: what verification found, and rows that were refused and are tried again.
//!
//! Owns: how a document that is known as of an offset comes into a store in order with everything else. Does not own: which
//! documents, and what they should be ([`crate::verify`]); the mirror's rows, which are mended through the journal
//! ([`crate::landing::Purpose::Mend`]).
//!
//! Invariant: only the store's own applier writes, between two of its steps, at its own position and epoch. Documents are brought
//! to exactly that position first, along the journal, so a mend is never older than what the store shows, and repeating it
//! changes nothing. Each document is taken away and put again within one atomic step: so its places in indexes are made anew too, and
//! what else was found there of it goes in between.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_model::{Error, Listed, Offset, Refusal, Result, View, ViewChange};
use tokio::sync::{mpsc, oneshot};

use crate::mapping::Mapper;
use crate::verify::page::{Entry, Page, Roll, Should, Tails};

/// Mends that wait for an applier.
const WAITING_MAX: usize = 4;

/// Documents that should be so in one store.
pub(crate) struct Mend {
    pub view: Arc<View>,
    pub page: Page,
    /// What goes from the view's indexes, of documents of the page or of nobody.
    pub strays: Vec<Listed>,
    done: oneshot::Sender<Mended>,
}

/// What came of a mend.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mended {
    /// Documents that are as they should be.
    pub count: u64,
    /// What the store would not take.
    pub refused: Vec<Refusal>,
}

/// The way to the appliers of all stores.
#[derive(Clone, Default)]
pub(crate) struct Menders(BTreeMap<Box<str>, mpsc::Sender<Mend>>);

impl Menders {
    /// What the store's applier takes its mends from.
    pub fn add(&mut self, store: &str) -> mpsc::Receiver<Mend> {
        let (send, receive) = mpsc::channel(WAITING_MAX);
        self.0.insert(store.into(), send);
        receive
    }

    /// Has a page's documents written to a store. `Transient` if its applier began anew meanwhile: nothing is lost by asking
    /// again.
    pub async fn mend(
        &self,
        store: &str,
        view: &Arc<View>,
        page: Page,
        strays: Vec<Listed>,
    ) -> Result<Mended> {
        let again = || Error::transient(format!("store `{store}` is not in step: nothing was put right"));
        let sender = self.0.get(store).ok_or_else(again)?;
        let (done, answer) = oneshot::channel();
        let mend = Mend { view: Arc::clone(view), page, strays, done };
        sender.send(mend).await.map_err(|_| again())?;
        answer.await.map_err(|_| again())
    }
}

impl Mend {
    /// The changes for a store at `at`, in two writes of one step; `None` if what they should be there cannot be told.
    pub fn changes(&mut self, mapper: &Mapper, at: Offset) -> Option<(Vec<ViewChange>, Vec<ViewChange>)> {
        if self.page.offset > at {
            return None;
        }
        if self.page.entries.is_empty() {
            return Some((Vec::new(), Vec::new()));
        }
        roll(mapper, &self.view, self.page.offset).ok()?.to(at, &mut self.page).ok()?;
        let page = &self.page;
        let is_known = |stray: &Listed| match stray {
            Listed::Entry(stray) => {
                page.entries.iter().any(|e| e.text == stray.key && e.should != Should::Unknown)
            }
            Listed::Foreign(_) => true,
        };
        self.strays.retain(is_known);
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        for entry in &self.page.entries {
            let (view, key) = (Arc::clone(&self.view), entry.key.clone());
            match &entry.should {
                Should::Unknown => continue,
                Should::NotBe => gone.push(ViewChange::Delete { view, key }),
                Should::Be(document) => {
                    gone.push(ViewChange::Delete { view: Arc::clone(&view), key: key.clone() });
                    come.push(ViewChange::Put { view, key, moved_from: None, document: document.clone() });
                }
            }
        }
        Some((gone, come))
    }

    /// The documents as they are given, whatever the offset.
    pub fn puts(&self) -> Vec<ViewChange> {
        let put = |entry: &Entry| match &entry.should {
            Should::Be(document) => Some(ViewChange::Put {
                view: Arc::clone(&self.view),
                key: entry.key.clone(),
                moved_from: None,
                document: document.clone(),
            }),
            Should::NotBe | Should::Unknown => None,
        };
        self.page.entries.iter().filter_map(put).collect()
    }

    /// It is done, and durable as far as the store makes it so.
    pub fn done(self, count: u64, refused: Vec<Refusal>) {
        // Whoever asked may have gone: what was done is right all the same.
        let _ = self.done.send(Mended { count, refused });
    }
}

fn roll(mapper: &Mapper, view: &Arc<View>, after: Offset) -> Result<Roll> {
    match &mapper.derived {
        Some(derived) if derived.views.contains(&view.name) => {
            Roll::derived(&mut Tails::of(&derived.journal), after, view)
        }
        _ => Roll::flat(&mut Tails::of(&mapper.journal), after, view, &mapper.tables),
    }
}
