//! One step: changes are staged outside of the readers' sight and published under one write lock.

use std::sync::{Arc, RwLock};

use async_trait::async_trait;
use headwater_model::{Error, Held, Key, Offset, Record, Refusal, Result, ViewChange, ViewId};
use tokio::sync::OwnedMutexGuard;

use super::state::{State, cost};
use super::store::{fenced, read, write};
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
    Put { view: ViewId, key: Box<str>, moved_from: Option<Box<str>>, document: Document },
    Delete { view: ViewId, key: Box<str> },
    Clear { view: ViewId },
}

/// A whole document is rendered while staging, outside of the lock; a partial one needs the stored one.
pub(super) enum Document {
    Whole(Box<str>),
    Partial(Record),
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
                    let key = text(&key);
                    let bytes = cost(&key, json.len());
                    if stored_bytes + self.staged_bytes + bytes > self.bytes_max {
                        refusals.push(Refusal {
                            view: view.name.clone(),
                            key: key.into(),
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
                        Document::Partial(document)
                    } else {
                        Document::Whole(json.into())
                    };
                    let moved_from = moved_from.map(|key| text(&key));
                    Staged::Put { view: view.name.clone(), key, moved_from, document }
                }
                ViewChange::Delete { view, key } => {
                    Staged::Delete { view: view.name.clone(), key: text(&key) }
                }
                ViewChange::Clear { view } => Staged::Clear { view: view.name.clone() },
            };
            self.staged.push(staged);
        }
        Ok(refusals)
    }

    async fn commit(self: Box<Self>, held: &Held) -> Result<()> {
        let mut state = write(&self.state)?;
        match &state.held {
            Some(now) if now.epoch > held.epoch => return Err(fenced(now.epoch, held.epoch)),
            Some(now) if now.offset == self.after => {}
            _ => return Err(Error::out_of_step("the store changed while a step was open")),
        }
        // Merging cannot fail half-way: every stored document was written by this store.
        let mut out = Vec::new();
        for staged in self.staged {
            match staged {
                Staged::Put { view, key, moved_from, document } => {
                    let documents = state.documents(&view);
                    let moved = moved_from.as_deref().filter(|from| **from != *key);
                    let document = match document {
                        Document::Whole(json) => json,
                        Document::Partial(record) => {
                            let stored = documents.by_key.get(moved.unwrap_or(&key));
                            out.clear();
                            write_merged(&record, stored.map(|json| json.as_bytes()), &mut out)?;
                            String::from_utf8_lossy(&out).into()
                        }
                    };
                    if let Some(from) = moved {
                        documents.remove(from);
                    }
                    documents.put(&key, document);
                }
                Staged::Delete { view, key } => {
                    state.documents(&view).remove(&key);
                }
                Staged::Clear { view } => state.documents(&view).clear(),
            }
        }
        state.held = Some(held.clone());
        Ok(())
    }
}

fn text(key: &Key) -> Box<str> {
    key.to_text().into()
}
