//! Items by their keys, strongly consistent.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::builders::KeysAndAttributesBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, ReturnConsumedCapacity};
use futures::{StreamExt, TryStreamExt, stream};
use headwater_model::{Error, ErrorKind, Result};

use super::codec::{KEY_BYTES_MAX, SORT_BYTES_MAX};
use super::failure::failure;
use super::item::{AT, EXPIRES, Item, KEY, PART, PLACES, SORT, STALE, WRITE, binary, place_key};
use super::meter::Of;
use super::store::Shared;
use crate::entries::Entry;
use crate::versioned::What;

/// Items in one request.
const ITEMS_MAX: usize = 100;

/// Rounds for what the service left over, each twice as long after the one before, from 25 ms on.
const ROUNDS_MAX: u32 = 10;

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
    keys.retain(|key| !key.is_empty() && key.len() <= KEY_BYTES_MAX);
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

/// The keys of the documents that entries lead to, of those that are there.
pub(super) async fn places(
    shared: &Shared,
    view: &str,
    entries: Vec<Entry>,
) -> Result<HashMap<(Vec<u8>, Vec<u8>), String>> {
    let mut keys: Vec<_> = entries.iter().map(place_key).collect();
    keys.sort_unstable();
    keys.dedup();
    // None is there, and the service refuses to be asked.
    keys.retain(|(part, sort)| part.len() <= KEY_BYTES_MAX && sort.len() <= SORT_BYTES_MAX);
    let parts: Vec<Vec<Item>> = keys
        .chunks(ITEMS_MAX)
        .map(|keys| {
            let item = |(part, sort): &(Vec<u8>, Vec<u8>)| {
                Item::from([(PART.to_owned(), binary(&part[..])), (SORT.to_owned(), binary(&sort[..]))])
            };
            keys.iter().map(item).collect()
        })
        .collect();
    let found: Vec<Vec<Item>> = stream::iter(parts)
        .map(|keys| {
            let asked = KeysAndAttributes::builder().consistent_read(true).set_keys(Some(keys));
            ask(shared, view, Of::Places, asked)
        })
        .buffer_unordered(shared.config.requests)
        .try_collect()
        .await?;
    let mut places = HashMap::new();
    for item in found.into_iter().flatten() {
        let bytes =
            |name| item.get(name).and_then(|value| value.as_b().ok()).map(|bytes| bytes.as_ref().to_vec());
        let key = item.get(KEY).and_then(|key| key.as_s().ok());
        if let (Some(part), Some(sort), Some(key)) = (bytes(PART), bytes(SORT), key) {
            places.insert((part, sort), key.clone());
        }
    }
    Ok(places)
}

async fn batch(shared: &Shared, view: &str, keys: Vec<String>, what: What) -> Result<Vec<Item>> {
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
    ask(shared, view, Of::Documents, asked).await
}

/// The items of one request.
async fn ask(shared: &Shared, view: &str, of: Of, asked: KeysAndAttributesBuilder) -> Result<Vec<Item>> {
    let client = shared.client().await;
    let table = match of {
        Of::Documents => shared.documents(view),
        Of::Places => shared.places(view),
    };
    let doing = || format!("read from the view \"{view}\"");
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
            shared.meter.read(view, of, Some(consumed));
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
