//! Items by their keys, strongly consistent.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, ReturnConsumedCapacity};
use futures::{StreamExt, TryStreamExt, stream};
use headwater_model::{Error, ErrorKind, Result};

use super::failure::failure;
use super::item::{AT, EXPIRES, Item, KEY, PLACES, STALE, WRITE};
use super::store::Shared;

/// Items in one request.
const ITEMS_MAX: usize = 100;

/// Rounds for what the service left over, each twice as long after the one before, from 25 ms on.
const ROUNDS_MAX: u32 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum What {
    /// Whole items.
    All,
    /// Only what is ours in them.
    Ours,
}

/// Those that are there, by the text of their key.
pub(super) async fn items(
    shared: &Shared,
    view: &str,
    mut keys: Vec<String>,
    what: What,
) -> Result<HashMap<String, Item>> {
    keys.sort_unstable();
    keys.dedup();
    // No item has such a key, and the service refuses to be asked.
    keys.retain(|key| !key.is_empty() && key.len() <= super::codec::KEY_BYTES_MAX);
    let parts: Vec<Vec<String>> = keys.chunks(ITEMS_MAX).map(<[String]>::to_vec).collect();
    let found: Vec<Vec<Item>> = stream::iter(parts)
        .map(|keys| batch(shared, view, keys, what))
        .buffer_unordered(shared.config.requests)
        .try_collect()
        .await?;
    let mut items = HashMap::new();
    for item in found.into_iter().flatten() {
        if let Some(AttributeValue::S(key)) = item.get(KEY) {
            items.insert(key.clone(), item);
        }
    }
    Ok(items)
}

async fn batch(shared: &Shared, view: &str, keys: Vec<String>, what: What) -> Result<Vec<Item>> {
    let (client, table) = (shared.client().await, shared.documents(view));
    let doing = || format!("read documents of the view \"{view}\"");
    let key = |key: String| HashMap::from([(KEY.to_owned(), AttributeValue::S(key))]);
    let mut asked = KeysAndAttributes::builder()
        .consistent_read(true)
        .set_keys(Some(keys.into_iter().map(key).collect()));
    if what == What::Ours {
        asked = asked.projection_expression("#key, #write, #at, #expires, #places, #stale");
        for (name, attribute) in [
            ("#key", KEY),
            ("#write", WRITE),
            ("#at", AT),
            ("#expires", EXPIRES),
            ("#places", PLACES),
            ("#stale", STALE),
        ] {
            asked = asked.expression_attribute_names(name, attribute);
        }
    }
    let asked = asked.build().map_err(|e| Error::bug("a read names no key").with_cause(e))?;
    let mut left = HashMap::from([(table.clone(), asked)]);
    let mut items = Vec::new();
    for round in 0..ROUNDS_MAX {
        let request = client
            .batch_get_item()
            .set_request_items(Some(left))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let mut answer = request.send().await.map_err(|e| failure(doing(), e))?;
        for consumed in answer.consumed_capacity() {
            shared.meter.read(view, Some(consumed));
        }
        if let Some(found) = answer.responses.as_mut().and_then(|found| found.remove(&table)) {
            items.extend(found);
        }
        left = answer.unprocessed_keys.unwrap_or_default();
        if left.is_empty() {
            return Ok(items);
        }
        tokio::time::sleep(Duration::from_millis(25 << round)).await;
    }
    Err(Error::new(
        ErrorKind::Throttled,
        format!("{}: the service leaves keys over, again and again", doing()),
    ))
}
