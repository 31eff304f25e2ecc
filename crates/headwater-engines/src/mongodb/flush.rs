//! Rows to the collections: each on the condition that nothing newer is there, a thousand to a request.
//!
//! A write whose condition does not hold finds its key there already, for it would insert otherwise: such rows are looked
//! at and written one by one. So are those that were thought to be new ([`super::fresh`]), and are not.

use std::collections::HashSet;

use futures::{TryStreamExt as _, stream};
use headwater_model::{Error, Result, View};
use mongodb::bson::{Document, doc};

use super::codec::{self, Body};
use super::collections;
use super::failure::DUPLICATE;
use super::item::{self, AT, ID, Stored, WRITE, number};
use super::server::Server;
use super::store::Shared;
use crate::versioned::{As, Changes, Engine as _, Row, Session, Stamp, What, ensure_owned};

/// How often a document may change under our hands before we give up.
pub(super) const TRIES: usize = 8;

/// Writes in one request.
pub(super) const WRITES_MAX: usize = 1_000;
/// Their documents' bytes, unless one alone has more. MongoDB takes 48 MB.
const BYTES_MAX: usize = 8 << 20;
/// Requests under way at a time.
pub(super) const REQUESTS: usize = 4;

pub(super) struct Writer<'s> {
    pub(super) shared: &'s Shared,
    pub(super) server: &'s Server,
    pub(super) session: &'s Session,
    pub(super) at: As,
}

type Keyed = (String, Row<Body>);

impl Writer<'_> {
    pub(super) async fn write(&self, changes: Changes<Body>) -> Result<()> {
        let Changes { view, cleared, rows } = changes;
        if cleared {
            self.sweep(&view).await?;
        }
        let rows = rows.into_iter().filter(|(_, row)| !self.is_passed(&row.stored));
        let (mut moved, mut rest): (Vec<Keyed>, Vec<Keyed>) = rows.partition(|(_, row)| row.moved.is_some());
        moved.sort_by_key(|(_, row)| row.moved);
        for row in moved {
            self.together(&view, Verb::Update, vec![row]).await?;
        }
        let new = self.shared.fresh.take(&view.name, &mut rest);
        let batches = [(Verb::Insert, new), (Verb::Update, rest)]
            .into_iter()
            .flat_map(|(verb, rows)| batches(rows).into_iter().map(move |rows| (verb, rows)));
        let batches = batches.map(|(verb, rows)| Ok(self.together(&view, verb, rows)));
        stream::iter(batches).try_for_each_concurrent(REQUESTS, |batch| batch).await
    }

    /// Replayed: what is there is newer.
    fn is_passed(&self, stored: &Stored) -> bool {
        self.at.yields_to(stored.at) && stored.write.is_some_and(|write| !self.session.is_later(write))
    }

    /// Writes rows with one request, and then those by themselves that found something unexpected.
    async fn together(&self, view: &View, verb: Verb, rows: Vec<Keyed>) -> Result<()> {
        let mut keys = Vec::with_capacity(rows.len());
        let mut writes = Vec::with_capacity(rows.len());
        for (key, row) in rows {
            let stamp = self.session.stamp();
            let document = self.document(&key, stamp, row);
            writes.push(match verb {
                Verb::Insert => document,
                Verb::Update => {
                    doc! { "q": Condition::Newer.filter(&key, stamp, self.at), "u": document, "upsert": true }
                }
            });
            keys.push(key);
        }
        let collection = collections::of_documents(&self.shared.config.prefix, &view.name);
        let command = match verb {
            Verb::Insert => doc! { "insert": collection, "documents": writes, "ordered": false },
            Verb::Update => doc! { "update": collection, "updates": writes, "ordered": false },
        };
        let doing = format!("write {} keys of the view \"{}\"", keys.len(), view.name);
        let (_, failed) = self.server.write(doing, &command).await?;
        for error in failed {
            let Some(key) = keys.get(error.index) else { continue };
            if error.code != DUPLICATE {
                return Err(error.failure(doing_one(view, key)));
            }
            if let Some(document) = verb.document(&command, error.index) {
                self.alone(view, key, document).await?;
            }
        }
        Ok(())
    }

    fn document(&self, key: &str, stamp: Stamp, row: Row<Body>) -> Document {
        let at = self.at.offset();
        match row.document {
            Some(document) => item::write(key, stamp, at, Some((document.body, &document.places))),
            None => item::write(key, stamp, at, None),
        }
    }

    /// Writes a document unless what is there is newer.
    async fn alone(&self, view: &View, key: &str, document: &Document) -> Result<()> {
        let collection = collections::of_documents(&self.shared.config.prefix, &view.name);
        let stamp = document.get_document("_hw").ok().and_then(|ours| Stamp::read(ours.get_str("w").ok()?));
        let stamp = stamp.ok_or_else(|| Error::bug("a document is written without a stamp"))?;
        for _ in 0..TRIES {
            let found =
                self.shared.stored(view, HashSet::from([key.to_owned()]), What::Ours).await?.remove(key);
            let condition = match found {
                None => Condition::Newer,
                Some(Stored { seen, write, at, .. }) => {
                    match write {
                        // An earlier try of this very request went through.
                        Some(write) if write == stamp => return Ok(()),
                        // Whoever wrote it owns the store, or the store's state was lost since.
                        Some(write) if self.session.is_later(write) => {
                            ensure_owned(self.shared, self.session).await?;
                        }
                        Some(_) if self.at.yields_to(at) => return Ok(()),
                        // Nothing says that it is newer.
                        Some(_) | None => {}
                    }
                    Condition::of(seen)
                }
            };
            let filter = condition.filter(key, stamp, self.at);
            let update = doc! { "q": filter, "u": document, "upsert": true };
            let command = doc! { "update": &*collection, "updates": [update] };
            let (_, failed) = self.server.write(doing_one(view, key), &command).await?;
            match failed.first() {
                None => return Ok(()),
                Some(error) if error.code == DUPLICATE => {}
                Some(error) => return Err(error.failure(doing_one(view, key))),
            }
        }
        Err(Error::transient(format!("{}: it changes all the time", doing_one(view, key))))
    }
}

/// How rows are written together.
#[derive(Clone, Copy)]
enum Verb {
    /// There is nothing under the key.
    Insert,
    /// What is there is older, or there is nothing.
    Update,
}

impl Verb {
    /// The document of one write of a command.
    fn document(self, command: &Document, index: usize) -> Option<&Document> {
        let write = |of: &str| command.get_array(of).ok()?.get(index)?.as_document();
        match self {
            Verb::Insert => write("documents"),
            Verb::Update => write("updates")?.get_document("u").ok(),
        }
    }
}

/// What must hold of the document that is there, if one is.
pub(super) enum Condition {
    /// Written earlier, and as of an earlier place in the log.
    Newer,
    /// Exactly this: it was looked at.
    Still(String),
    /// Nobody of ours wrote it.
    Foreign,
}

impl Condition {
    /// That it is as it was seen.
    pub(super) fn of(seen: Option<String>) -> Condition {
        seen.map_or(Condition::Foreign, Condition::Still)
    }

    pub(super) fn filter(&self, key: &str, stamp: Stamp, at: As) -> Document {
        let mut filter = doc! { ID: item::id(key) };
        match self {
            Condition::Newer => {
                filter.insert(WRITE, doc! { "$lt": stamp.to_text() });
                if let As::Of(offset) = at {
                    filter.insert(AT, doc! { "$lte": number(offset) });
                }
            }
            Condition::Still(seen) => {
                filter.insert(WRITE, seen);
            }
            Condition::Foreign => {
                filter.insert(WRITE, doc! { "$not": { "$type": "string" } });
            }
        }
        filter
    }
}

fn doing_one(view: &View, key: &str) -> String {
    format!("write the key {key:?} of the view \"{}\"", view.name)
}

fn batches(rows: Vec<Keyed>) -> Vec<Vec<Keyed>> {
    let mut batches: Vec<Vec<Keyed>> = Vec::new();
    let mut bytes = 0;
    for (key, row) in rows {
        let size = key.len() + row.document.as_ref().map_or(0, |document| codec::size(&document.body));
        match batches.last_mut() {
            Some(batch) if batch.len() < WRITES_MAX && bytes + size <= BYTES_MAX => {
                batch.push((key, row));
                bytes += size;
            }
            _ => {
                batches.push(vec![(key, row)]);
                bytes = size;
            }
        }
    }
    batches
}
