//! All documents of a view, page by page, in the order of the service's own hashes. A cursor is the key it ended at.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::scan::builders::ScanFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity, Select};
use headwater_model::{Error, Result, Stored as Found, View};

use super::codec;
use super::failure::failure;
use super::item::{self, EXPIRES, Item, KEY};
use super::meter::Of;
use super::store::Shared;

/// Counting reads everything: beyond so many items it is left to the service's own count, which is hours old.
const COUNTED_MAX: u64 = 50_000;

pub(super) async fn page(
    shared: &Shared,
    view: &View,
    cursor: Option<String>,
    limit: usize,
) -> Result<(Vec<Found>, Option<String>)> {
    let mut documents = Vec::new();
    let next = pages(
        shared,
        view,
        cursor,
        limit,
        |request| request,
        |item| {
            let key = key_of(&item)?;
            let stored = item::read(item)?;
            if !stored.is_gone {
                documents.push(Found { key, body: codec::decode(view.layout(), &stored.body)? });
            }
            Ok(documents.len())
        },
    )
    .await?;
    Ok((documents, next))
}

pub(super) async fn texts(
    shared: &Shared,
    view: &View,
    cursor: Option<String>,
    limit: usize,
) -> Result<(Vec<String>, Option<String>)> {
    let only_keys = |request: ScanFluentBuilder| {
        request
            .projection_expression("#key, #expires")
            .expression_attribute_names("#key", KEY)
            .expression_attribute_names("#expires", EXPIRES)
    };
    let mut keys = Vec::new();
    let next = pages(shared, view, cursor, limit, only_keys, |item| {
        if !item.contains_key(EXPIRES) {
            keys.push(key_of(&item)?);
        }
        Ok(keys.len())
    })
    .await?;
    Ok((keys, next))
}

/// Gives each item to `take`, which says how many documents it has by now, until these are `limit` or all.
async fn pages(
    shared: &Shared,
    view: &View,
    cursor: Option<String>,
    limit: usize,
    ask: impl Fn(ScanFluentBuilder) -> ScanFluentBuilder,
    mut take: impl FnMut(Item) -> Result<usize>,
) -> Result<Option<String>> {
    let limit = limit.max(1);
    let mut start = cursor.map(|key| HashMap::from([(KEY.to_owned(), AttributeValue::S(key))]));
    let mut taken = 0;
    loop {
        let request = shared
            .client()
            .await
            .scan()
            .table_name(shared.documents(&view.name))
            .consistent_read(true)
            .limit(i32::try_from(limit - taken).unwrap_or(i32::MAX))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .set_exclusive_start_key(start);
        let doing = format!("scan the view \"{}\"", view.name);
        let page = ask(request).send().await.map_err(|e| failure(doing, e))?;
        shared.meter.read(&view.name, Of::Documents, page.consumed_capacity());
        for item in page.items.unwrap_or_default() {
            taken = take(item)?;
        }
        match page.last_evaluated_key {
            None => return Ok(None),
            Some(last) if taken >= limit => return key_of(&last).map(Some),
            last => start = last,
        }
    }
}

pub(super) async fn count(shared: &Shared, view: &View) -> Result<u64> {
    let (client, table) = (shared.client().await, shared.documents(&view.name));
    let doing = || format!("count the view \"{}\"", view.name);
    let (mut rows, mut looked_at, mut start) = (0, 0, None);
    loop {
        let request = client
            .scan()
            .table_name(&table)
            .consistent_read(true)
            .select(Select::Count)
            .filter_expression("attribute_not_exists(#expires)")
            .expression_attribute_names("#expires", EXPIRES)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .set_exclusive_start_key(start);
        let page = request.send().await.map_err(|e| failure(doing(), e))?;
        shared.meter.read(&view.name, Of::Documents, page.consumed_capacity());
        rows += u64::try_from(page.count()).unwrap_or(0);
        looked_at += u64::try_from(page.scanned_count()).unwrap_or(0);
        start = page.last_evaluated_key;
        if start.is_none() {
            return Ok(rows);
        }
        if looked_at >= COUNTED_MAX {
            break;
        }
    }
    let found = client.describe_table().table_name(&table).send().await.map_err(|e| failure(doing(), e))?;
    let estimate = found.table.and_then(|table| table.item_count).and_then(|items| u64::try_from(items).ok());
    estimate.filter(|items| *items >= looked_at).ok_or_else(|| {
        Error::unsupported(format!(
            "{}: it has more than {COUNTED_MAX} documents, and the service, which counts every six hours, has not counted them \
             yet",
            doing()
        ))
    })
}

fn key_of(item: &Item) -> Result<String> {
    let key = item.get(KEY).and_then(|key| key.as_s().ok());
    key.cloned().ok_or_else(|| codec::broken(KEY))
}
