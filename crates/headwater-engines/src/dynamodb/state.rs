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
use headwater_model::{Epoch, Error, Held, Offset, Position, Result};

use super::failure::{failure, is_condition, is_missing};
use super::item::{Item, STATE_KEY, number};
use crate::versioned::State;

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
    let wrong = |name: &str| Error::corrupt(format!("the store's own state has no {name} that can be read"));
    let text = |name: &str| item.get(name).and_then(|value| value.as_n().ok()).ok_or_else(|| wrong(name));
    let number = |name: &str| text(name)?.parse::<u64>().map_err(|_| wrong(name));
    if text("format")? != "1" {
        return Err(Error::unsupported(format!(
            "the store was written by a newer Headwater (format {})",
            text("format")?
        ))
        .with_remedy("use that version, or let this one start over with another prefix"));
    }
    let position = match item.get("system").and_then(|system| system.as_s().ok()) {
        Some(system) => Some(Position::new(system.as_str(), number("sequence")?)),
        None => None,
    };
    Ok(State {
        held: Held {
            epoch: Epoch(number("epoch")?),
            offset: Offset(number("offset")?),
            position,
            committed_at: text("committed_at")?.parse().map_err(|_| wrong("committed_at"))?,
        },
        session: u32::try_from(number("session")?).map_err(|_| wrong("session"))?,
    })
}

fn write(state: &State, key: (String, AttributeValue)) -> Item {
    let State { held, session } = state;
    let mut item = Item::from([
        key,
        ("format".to_owned(), number(1)),
        ("epoch".to_owned(), number(held.epoch.0)),
        ("session".to_owned(), number(session)),
        ("offset".to_owned(), number(held.offset.0)),
        ("committed_at".to_owned(), number(held.committed_at)),
    ]);
    if let Some(position) = &held.position {
        item.insert("system".to_owned(), AttributeValue::S(position.system.to_string()));
        item.insert("sequence".to_owned(), number(position.sequence));
    }
    item
}

#[cfg(test)]
mod tests {
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
