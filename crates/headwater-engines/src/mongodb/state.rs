//! The store's own state: one document of a collection of its own; where several sources have their views here, one of each.
//!
//! | field | content |
//! |---|---|
//! | `_id` | `position`, or `position@SOURCE` |
//! | `format` | `1` |
//! | `epoch`, `session` | who owns the store: [`crate::versioned`] |
//! | `offset` | up to where the store has everything |
//! | `system`, `sequence` | the source position of the newest transaction; not there before the first |
//! | `committed_at` | its commit time, microseconds since 1970 by the source's clock |
//!
//! Numbers are texts: BSON has no integer of 64 bits without a sign.

use headwater_model::Result;
use mongodb::bson::{Document, doc};

use super::failure::DUPLICATE;
use super::server::{Server, count};
use crate::versioned::State;

/// What the document is called: [`headwater_model::file::StoreSection::of_source`] of it.
pub(super) const ITEM: &str = "position";

const DOING: &str = "write the store's position";

/// The document, and what may be done with it.
#[derive(Clone, Debug)]
pub(super) struct StateItem {
    pub(super) collection: String,
    pub(super) item: String,
}

impl StateItem {
    /// `None`: the store is empty, or not even there.
    pub(super) async fn read(&self, server: &Server) -> Result<Option<State>> {
        let filter = doc! { "_id": &*self.item };
        let found =
            server.find("read the store's position", &self.collection, filter, doc! { "limit": 1 }).await?;
        found.first().map(read).transpose()
    }

    /// Makes the state `new` if it is still `old`; `false` if it is not.
    pub(super) async fn change(&self, server: &Server, old: Option<&State>, new: &State) -> Result<bool> {
        let document = write(new, &self.item);
        let (answer, failed) = match old {
            None => {
                server.write(DOING, &doc! { "insert": &*self.collection, "documents": [document] }).await?
            }
            Some(old) => {
                let filter = doc! {
                    "_id": &*self.item,
                    "epoch": old.held.epoch.0.to_string(),
                    "session": old.session.to_string(),
                    "offset": old.held.offset.0.to_string(),
                };
                let update = doc! { "q": filter, "u": document };
                server.write(DOING, &doc! { "update": &*self.collection, "updates": [update] }).await?
            }
        };
        match failed.first() {
            Some(error) if error.code != DUPLICATE => Err(error.failure(DOING)),
            None if count(&answer) == 1 => Ok(true),
            // An earlier try of this very request may have gone through.
            _ => Ok(self.read(server).await?.as_ref() == Some(new)),
        }
    }
}

fn read(document: &Document) -> Result<State> {
    State::read(|name| document.get_str(name).ok())
}

fn write(state: &State, item: &str) -> Document {
    let mut document = doc! { "_id": item };
    document.extend(state.fields().into_iter().map(|(name, text)| (name.to_owned(), text.into())));
    document
}

#[cfg(test)]
mod tests {
    use headwater_model::{Epoch, Held, Offset, Position};

    use super::*;

    #[test]
    fn a_state_comes_back() {
        for position in [None, Some(Position::new("a/1", u64::MAX))] {
            let held = Held { epoch: Epoch(7), offset: Offset(u64::MAX), position, committed_at: -5 };
            let state = State { held, session: 3 };
            assert_eq!(read(&write(&state, ITEM)).expect("readable"), state);
        }
        assert!(read(&Document::new()).is_err());
    }
}
