//! The store's own state: one item in a table of its own; where several sources have their views here, one of each.
//!
//! | attribute | content |
//! |---|---|
//! | `hw_item` | `position`, or `position@SOURCE` |
//! | `format` | `1` |
//! | `epoch`, `session` | who owns the store: [`crate::versioned`] |
//! | `offset` | up to where the store has everything |
//! | `system`, `sequence` | the source position of the newest transaction; not there before the first |
//! | `committed_at` | its commit time, microseconds since 1970 by the source's clock |

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use headwater_model::Result;

use super::failure::{failure, is_condition, is_missing};
use super::item::{Item, STATE_KEY, number};
use crate::versioned::{SYSTEM, State};

/// What the item is called: [`headwater_model::file::StoreSection::of_source`] of it.
pub(super) const ITEM: &str = "position";

/// The item, and what may be done with it.
#[derive(Clone, Debug)]
pub(super) struct StateItem {
    pub(super) table: String,
    pub(super) item: String,
}

impl StateItem {
    fn key(&self) -> (String, AttributeValue) {
        (STATE_KEY.to_owned(), AttributeValue::S(self.item.clone()))
    }

    /// `None`: the store is empty, or not even there.
    pub(super) async fn read(&self, client: &Client) -> Result<Option<State>> {
        let (name, key) = self.key();
        let request = client.get_item().table_name(&self.table).key(name, key).consistent_read(true);
        match request.send().await {
            Ok(found) => found.item.map(|item| read(&item)).transpose(),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(failure("read the store's position", error)),
        }
    }

    /// Makes the state `new` if it is still `old`; `false` if it is not.
    pub(super) async fn change(&self, client: &Client, old: Option<&State>, new: &State) -> Result<bool> {
        let mut request = client.put_item().table_name(&self.table).set_item(Some(write(new, self.key())));
        request = match old {
            None => request
                .condition_expression("attribute_not_exists(#item)")
                .expression_attribute_names("#item", STATE_KEY),
            Some(old) => request
                .condition_expression("#epoch = :epoch AND #session = :session AND #offset = :offset")
                .expression_attribute_names("#epoch", "epoch")
                .expression_attribute_names("#session", "session")
                .expression_attribute_names("#offset", "offset")
                .expression_attribute_values(":epoch", number(old.held.epoch.0))
                .expression_attribute_values(":session", number(old.session))
                .expression_attribute_values(":offset", number(old.held.offset.0)),
        };
        match request.send().await {
            Ok(_) => Ok(true),
            // An earlier try of this very request may have gone through.
            Err(error) if is_condition(&error) => Ok(self.read(client).await?.as_ref() == Some(new)),
            Err(error) => Err(failure("write the store's position", error)),
        }
    }
}

fn read(item: &Item) -> Result<State> {
    State::read(|name| {
        let value = item.get(name)?;
        let text = if name == SYSTEM { value.as_s() } else { value.as_n() };
        text.ok().map(String::as_str)
    })
}

fn write(state: &State, key: (String, AttributeValue)) -> Item {
    let fields = state.fields().into_iter().map(|(name, text)| {
        let value = if name == SYSTEM { AttributeValue::S(text) } else { AttributeValue::N(text) };
        (name.to_owned(), value)
    });
    fields.chain([key]).collect()
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
            let key = (STATE_KEY.to_owned(), AttributeValue::S(ITEM.to_owned()));
            assert_eq!(read(&write(&state, key)).expect("readable"), state);
        }
        assert!(read(&Item::new()).is_err());
    }
}
