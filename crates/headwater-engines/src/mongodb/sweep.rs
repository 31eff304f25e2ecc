//! Emptying a view: a tombstone for every document, whoever wrote it and as of when.
//!
//! Tombstones, not an empty collection: what a former owner still writes must find something newer there. And whatever
//! their stamps and offsets were, because the store's state may have been lost, or begin with another journal.

use std::collections::HashMap;

use headwater_model::{Error, Result, View};
use mongodb::bson::{Document, doc};

use super::collections;
use super::flush::{Condition, TRIES, WRITES_MAX, Writer};
use super::item::{self, AT, GONE, ID, LONG_KEY, Stored, WRITE};
use super::server::count;
use crate::filter::Filter;
use crate::versioned::{Engine as _, What, ensure_owned};

impl Writer<'_> {
    pub(super) async fn sweep(&self, view: &View) -> Result<()> {
        ensure_owned(self.shared, self.session).await?;
        let collection = collections::of_documents(&self.shared.config.prefix, &view.name);
        let doing = format!("empty the view \"{}\"", view.name);
        let mut after = doc! { "$gte": "" };
        let mut there = Filter::default();
        loop {
            let options = doc! {
                "projection": { LONG_KEY: 1, WRITE: 1, AT: 1, GONE: 1 },
                "sort": { ID: 1 },
                "limit": WRITES_MAX as i64,
            };
            let found = self.server.find(&doing, &collection, doc! { ID: after }, options).await?;
            let Some(last) = found.last().and_then(|last| last.get_str(ID).ok()) else { break };
            after = doc! { "$gt": last };
            let found: HashMap<_, _> = found.into_iter().map(item::read).collect::<Result<_>>()?;
            found.keys().for_each(|key| there.add(key.as_str()));
            self.bury(view, &doing, &collection, found).await?;
        }
        self.shared.fresh.begin(&view.name, there);
        Ok(())
    }

    /// Leaves tombstones in place of documents.
    async fn bury(
        &self,
        view: &View,
        doing: &str,
        collection: &str,
        mut found: HashMap<String, Stored>,
    ) -> Result<()> {
        for _ in 0..TRIES {
            let updates = self.tombstones(&found).await?;
            if updates.is_empty() {
                return Ok(());
            }
            let wanted = updates.len() as u64;
            let command = doc! { "update": collection, "updates": updates, "ordered": false };
            let (answer, failed) = self.server.write(doing, &command).await?;
            if let Some(error) = failed.first() {
                return Err(error.failure(doing));
            }
            if count(&answer) == wanted {
                return Ok(());
            }
            // Some changed meanwhile.
            found = self.shared.stored(view, found.into_keys().collect(), What::Ours).await?;
        }
        Err(Error::transient(format!("{doing}: it changes all the time")))
    }

    /// The updates that leave them, each on the condition that the document is still what it was.
    async fn tombstones(&self, found: &HashMap<String, Stored>) -> Result<Vec<Document>> {
        let mut updates = Vec::with_capacity(found.len());
        for (key, stored) in found {
            if let Some(write) = stored.write {
                if self.session.is_later(write) {
                    // Whoever wrote it owns the store, or the store's state was lost since.
                    ensure_owned(self.shared, self.session).await?;
                } else if stored.is_gone && stored.at <= self.at.offset() {
                    continue;
                }
            }
            let stamp = self.session.stamp();
            let unchanged = Condition::of(stored.seen.clone()).filter(key, stamp, self.at);
            let tombstone = item::write(key, stamp, self.at.offset(), None);
            updates.push(doc! { "q": unchanged, "u": tombstone });
        }
        Ok(updates)
    }
}
