//! What a step gathers: of each key of each view the last change, because a step becomes visible at once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use headwater_model::{
    Apply, Epoch, Error, Held, Key, Listed, Offset, Record, Refusal, Result, View, ViewChange, ViewId,
};

use super::element::{Element, Stored, element, found_by};
use super::store::Shared;
use super::{Database, read, write};

pub(super) struct Step<D> {
    pub(super) shared: Arc<Shared<D>>,
    pub(super) epoch: Epoch,
    pub(super) after: Offset,
    pub(super) changes: Changes,
}

/// By the name of the view.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) views: BTreeMap<ViewId, ViewChanges>,
    bytes: usize,
}

pub(super) struct ViewChanges {
    pub(super) view: Arc<View>,
    /// What was there before the step is gone.
    pub(super) cleared: bool,
    /// By [`found_by`]; `None` is a deletion.
    pub(super) keys: HashMap<String, Option<Element>>,
}

impl Changes {
    fn of(&mut self, view: &Arc<View>) -> &mut ViewChanges {
        self.views.entry(view.name.clone()).or_insert_with(|| ViewChanges {
            view: Arc::clone(view),
            cleared: false,
            keys: HashMap::new(),
        })
    }

    fn put(&mut self, view: &Arc<View>, key: &str, change: Option<Element>) {
        let key = found_by(key);
        let bytes = |key: &str, change: &Option<Element>| key.len() + change.as_ref().map_or(8, |e| e.bytes);
        self.bytes += bytes(&key, &change);
        let key_len = key.len();
        if let Some(replaced) = self.of(view).keys.insert(key, change) {
            self.bytes -= key_len + replaced.map_or(8, |element| element.bytes);
        }
    }

    fn clear(&mut self, view: &Arc<View>) {
        let of = self.of(view);
        of.cleared = true;
        let gone = std::mem::take(&mut of.keys);
        self.bytes -= gone
            .iter()
            .map(|(key, change)| key.len() + change.as_ref().map_or(8, |e| e.bytes))
            .sum::<usize>();
    }
}

impl<D: Database> Step<D> {
    async fn document(
        &mut self,
        view: &Arc<View>,
        key: &Key,
        moved_from: Option<Key>,
        document: &Record,
    ) -> Result<Option<Refusal>> {
        let bytes_max = self.shared.database.bounds().document_bytes_max;
        let text = key.to_text();
        let moved_from = moved_from.filter(|old| old.to_text() != text);
        let stored = match document.is_partial() {
            true => self.stored(view, moved_from.as_ref().unwrap_or(key)).await?,
            false => None,
        };
        match element(view, key, document, stored.as_ref(), bytes_max)? {
            Ok(element) => {
                if let Some(old) = moved_from {
                    self.changes.put(view, &old.to_text(), None);
                }
                self.changes.put(view, &text, Some(element));
                Ok(None)
            }
            Err(reason) => Ok(Some(Refusal { view: view.name.clone(), key: text, reason })),
        }
    }

    /// What is there of a document, as this step has left it so far. Nobody else writes meanwhile, or the step finds nothing to
    /// do.
    async fn stored(&self, view: &Arc<View>, key: &Key) -> Result<Option<Stored>> {
        if let Some(changes) = self.changes.views.get(&view.name) {
            match changes.keys.get(&found_by(&key.to_text())) {
                Some(change) => return Ok(change.as_ref().map(|element| element.stored.clone())),
                None if changes.cleared => return Ok(None),
                None => {}
            }
        }
        read::stored(&self.shared, view, key).await
    }
}

#[async_trait]
impl<D: Database> Apply for Step<D> {
    async fn write(&mut self, changes: Vec<ViewChange>) -> Result<Vec<Refusal>> {
        let mut refusals = Vec::new();
        for change in changes {
            match change {
                ViewChange::Put { view, key, moved_from, document } => {
                    refusals.extend(self.document(&view, &key, moved_from, &document).await?);
                }
                ViewChange::Delete { view, key } => self.changes.put(&view, &key.to_text(), None),
                ViewChange::Clear { view } => self.changes.clear(&view),
            }
            let most = self.shared.database.bounds().step_bytes_max;
            if self.changes.bytes > most {
                return Err(Error::unsupported(format!(
                    "store \"{}\": one transaction changes more than {most} bytes, and a graph takes a transaction \
                     as one statement",
                    self.shared.name
                ))
                .with_remedy(
                    "raise step_bytes_max of the store and what the server takes, or let the store be filled anew: it then \
                     reads the tables instead of this transaction",
                ));
            }
        }
        Ok(refusals)
    }

    /// There are none: a place goes with its document, which is written anew as a whole.
    async fn unplace(&mut self, _: &Arc<View>, _: &[Listed]) -> Result<()> {
        Ok(())
    }

    async fn commit(self: Box<Self>, held: &Held) -> Result<()> {
        let Step { shared, epoch, after, changes } = *self;
        let statement = write::statement(changes, epoch, after, held)?;
        let done = shared.run(statement).await?;
        if !done.is_empty() {
            return Ok(());
        }
        let found = shared.held().await?;
        Err(shared.outrun(found.as_ref(), epoch, after))
    }
}
