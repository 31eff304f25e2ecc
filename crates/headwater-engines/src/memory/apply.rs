//! One step: changes are staged outside of the readers' sight and published under one write lock.

use std::sync::{Arc, RwLock};

use async_trait::async_trait;
use headwater_model::{Error, Held, Key, Listed, Offset, Record, Refusal, Result, View, ViewChange};
use smol_str::SmolStr;
use tokio::sync::OwnedMutexGuard;

use super::state::{Document as Stored, State, cost};
use super::store::{read, write};
use crate::entries::{self, Entry};
use crate::stored_json::write_merged;

pub(super) struct Apply {
    pub(super) state: Arc<RwLock<State>>,
    pub(super) bytes_max: u64,
    pub(super) after: Offset,
    /// One step at a time.
    pub(super) _turn: OwnedMutexGuard<()>,
    pub(super) staged: Vec<Staged>,
    pub(super) staged_bytes: u64,
}

pub(super) enum Staged {
    Put { view: Arc<View>, key: SmolStr, moved_from: Option<SmolStr>, document: Document },
    Delete { view: Arc<View>, key: SmolStr },
    Clear { view: Arc<View> },
    Unplace { view: Arc<View>, strays: Vec<Entry> },
}

/// A whole document is rendered and placed while staging, outside of the lock; a partial one needs the stored one.
pub(super) enum Document {
    Whole(Arc<str>, Vec<Entry>),
    Partial(Key, Record),
}

impl Document {
    /// Its text and its entries, over what is stored.
    fn over(self, view: &View, stored: Option<&Stored>) -> Result<(Arc<str>, Vec<Entry>)> {
        match self {
            Document::Whole(json, entries) => Ok((json, entries)),
            Document::Partial(key, record) => {
                let mut out = Vec::new();
                write_merged(&record, stored.map(|stored| stored.json.as_bytes()), &mut out)?;
                let old = stored.map_or(&[][..], |stored| &stored.entries);
                Ok((String::from_utf8_lossy(&out).into(), entries::of(view, &key, &record, old)?))
            }
        }
    }
}

#[async_trait]
impl headwater_model::Apply for Apply {
    async fn write(&mut self, changes: Vec<ViewChange>) -> Result<Vec<Refusal>> {
        let stored_bytes = read(&self.state)?.bytes();
        let mut refusals = Vec::new();
        for change in changes {
            let staged = match change {
                ViewChange::Put { view, key, moved_from, document } => {
                    let json = document.to_json();
                    let text_of_key = text(&key);
                    let entries = entries::of(&view, &key, &document, &[])?;
                    let bytes = cost(&text_of_key, json.len(), &entries);
                    if stored_bytes + self.staged_bytes + bytes > self.bytes_max {
                        refusals.push(Refusal {
                            view: view.name.clone(),
                            key: text_of_key.to_string(),
                            reason: format!(
                                "the store in memory is full: {} bytes, of which {} wait in this step, and bytes_max is {}",
                                stored_bytes + self.staged_bytes,
                                self.staged_bytes,
                                self.bytes_max
                            ),
                        });
                        continue;
                    }
                    self.staged_bytes += bytes;
                    let document = if document.is_partial() {
                        Document::Partial(key, document)
                    } else {
                        Document::Whole(json.into(), entries)
                    };
                    let moved_from = moved_from.map(|key| text(&key));
                    Staged::Put { view, key: text_of_key, moved_from, document }
                }
                ViewChange::Delete { view, key } => Staged::Delete { view, key: text(&key) },
                ViewChange::Clear { view } => Staged::Clear { view },
            };
            self.staged.push(staged);
        }
        Ok(refusals)
    }

    async fn unplace(&mut self, view: &Arc<View>, strays: &[Listed]) -> Result<()> {
        let entries = strays.iter().filter_map(|stray| match stray {
            Listed::Entry(entry) => Some(Entry::from(entry)),
            Listed::Foreign(_) => None,
        });
        self.staged.push(Staged::Unplace { view: Arc::clone(view), strays: entries.collect() });
        Ok(())
    }

    async fn commit(self: Box<Self>, held: &Held) -> Result<()> {
        let mut state = write(&self.state)?;
        match &state.held {
            Some(now) => now.admit(held.epoch, self.after)?,
            None => return Err(Error::out_of_step("the store was emptied while a step was open")),
        }
        // Merging cannot fail half-way: every stored document was written by this store.
        for staged in self.staged {
            match staged {
                Staged::Put { view, key, moved_from, document } => {
                    let documents = state.documents(&view.name);
                    let moved = moved_from.as_deref().filter(|from| **from != *key);
                    let stored = documents.by_key.get(moved.unwrap_or(&key));
                    let (json, entries) = document.over(&view, stored)?;
                    if let Some(from) = moved {
                        documents.remove(from);
                    }
                    documents.put(&key, json, entries);
                }
                Staged::Delete { view, key } => state.documents(&view.name).remove(&key),
                Staged::Clear { view } => state.documents(&view.name).clear(),
                Staged::Unplace { view, strays } => state.documents(&view.name).unplace(&strays),
            }
        }
        state.held = Some(held.clone());
        Ok(())
    }
}

fn text(key: &Key) -> SmolStr {
    key.to_text().into()
}
