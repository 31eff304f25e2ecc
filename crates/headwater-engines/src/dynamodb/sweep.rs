//! Emptying a view: a tombstone for every document, whoever wrote it and as of when, and no places.
//!
//! Tombstones, not an empty table: what a former owner still writes must find something newer there. And whatever their
//! stamps and offsets were, because the store's state may have been lost, or begin with another journal.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, DeleteRequest, ReturnConsumedCapacity, WriteRequest};
use headwater_model::{Error, ErrorKind, Result, View};

use super::failure::{failure, is_condition, is_missing};
use super::flush::{Writer, tombstone};
use super::item::{self, AT, EXPIRES, Item, KEY, PART, SORT, WRITE, number};
use super::meter::Of;
use crate::versioned::ensure_owned;

/// Items in one request.
const DELETES_MAX: usize = 25;

/// Rounds for what the service left over, each twice as long after the one before, from 25 ms on.
const ROUNDS_MAX: u32 = 10;

/// How often an item may change under our hands before we give up.
const TRIES: usize = 8;

impl Writer<'_> {
    pub(super) async fn sweep(&self, view: &View) -> Result<()> {
        ensure_owned(self.shared, self.session).await?;
        self.sweep_documents(view).await?;
        self.sweep_places(view).await
    }

    async fn sweep_documents(&self, view: &View) -> Result<()> {
        let mut start = None;
        loop {
            let request = self
                .client
                .scan()
                .table_name(self.shared.documents(&view.name))
                .consistent_read(true)
                .projection_expression("#key, #write, #at, #expires")
                .expression_attribute_names("#key", KEY)
                .expression_attribute_names("#write", WRITE)
                .expression_attribute_names("#at", AT)
                .expression_attribute_names("#expires", EXPIRES)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .set_exclusive_start_key(start);
            let doing = format!("empty the view \"{}\"", view.name);
            let page = request.send().await.map_err(|e| failure(&doing, e))?;
            self.shared.meter.read(&view.name, Of::Documents, page.consumed_capacity());
            self.all(page.items.unwrap_or_default(), |item| self.bury(view, item)).await?;
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(());
            }
        }
    }

    /// Leaves a tombstone in place of an item.
    async fn bury(&self, view: &View, item: Item) -> Result<()> {
        let Some(key) = item.get(KEY).and_then(|key| key.as_s().ok()).cloned() else { return Ok(()) };
        let mut found = Some(item::read(item)?);
        for _ in 0..TRIES {
            let Some(stored) = found else { return Ok(()) };
            if let Some(write) = stored.write {
                if self.session.is_later(write) {
                    // Whoever wrote it owns the store, or the store's state was lost since.
                    ensure_owned(self.shared, self.session).await?;
                } else if stored.is_gone && stored.at <= self.at.offset() {
                    return Ok(());
                }
            }
            let mut item = tombstone();
            item.insert(KEY.to_owned(), AttributeValue::S(key.clone()));
            item.insert(WRITE.to_owned(), AttributeValue::S(self.session.stamp().to_text()));
            item.insert(AT.to_owned(), number(self.at.offset().0));
            let mut request = self
                .client
                .put_item()
                .table_name(self.shared.documents(&view.name))
                .set_item(Some(item))
                .expression_attribute_names("#write", WRITE)
                .return_consumed_capacity(ReturnConsumedCapacity::Total);
            request = match stored.seen {
                Some(seen) => request
                    .condition_expression("#write = :seen")
                    .expression_attribute_values(":seen", AttributeValue::S(seen)),
                None => request.condition_expression("attribute_not_exists(#write)"),
            };
            match request.send().await {
                Ok(done) => {
                    let consumed = done.consumed_capacity();
                    self.shared.meter.write(&view.name, Of::Documents, Some(key.as_bytes()), consumed);
                    return Ok(());
                }
                Err(error) if is_condition(&error) => found = self.stored(view, &key).await?,
                Err(error) => return Err(failure(self.doing(view, &key), error)),
            }
        }
        Err(Error::transient(format!("{}: it changes all the time", self.doing(view, &key))))
    }

    /// Places are only believed where a document stands at them: those that a former owner still puts do no harm.
    async fn sweep_places(&self, view: &View) -> Result<()> {
        let (table, mut start) = (self.shared.places(&view.name), None);
        loop {
            let request = self
                .client
                .scan()
                .table_name(&table)
                .projection_expression("#part, #sort")
                .expression_attribute_names("#part", PART)
                .expression_attribute_names("#sort", SORT)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .consistent_read(true)
                .set_exclusive_start_key(start);
            let page = match request.send().await {
                Ok(page) => page,
                // A view without indexes has no such table, unless it once had some.
                Err(error) if is_missing(&error) && view.indexes.is_empty() => return Ok(()),
                Err(error) => {
                    return Err(failure(
                        format_args!("empty the indexes of the view \"{}\"", view.name),
                        error,
                    ));
                }
            };
            self.shared.meter.read(&view.name, Of::Places, page.consumed_capacity());
            let items = page.items.unwrap_or_default();
            let parts: Vec<Vec<Item>> = items.chunks(DELETES_MAX).map(<[Item]>::to_vec).collect();
            self.all(parts, |part| self.delete_places(view, &table, part)).await?;
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(());
            }
        }
    }

    async fn delete_places(&self, view: &View, table: &str, keys: Vec<Item>) -> Result<()> {
        let doing = || format!("empty the indexes of the view \"{}\"", view.name);
        let delete = |key: Item| {
            let delete = DeleteRequest::builder().set_key(Some(key)).build();
            let delete = delete.map_err(|e| Error::bug("a delete names no key").with_cause(e))?;
            Ok(WriteRequest::builder().delete_request(delete).build())
        };
        let deletes = keys.into_iter().map(delete).collect::<Result<Vec<_>>>()?;
        let mut left = HashMap::from([(table.to_owned(), deletes)]);
        for round in 0..ROUNDS_MAX {
            let request = self
                .client
                .batch_write_item()
                .set_request_items(Some(left))
                .return_consumed_capacity(ReturnConsumedCapacity::Total);
            let done = request.send().await.map_err(|e| failure(doing(), e))?;
            for consumed in done.consumed_capacity() {
                self.shared.meter.write(&view.name, Of::Places, None, Some(consumed));
            }
            left = done.unprocessed_items.unwrap_or_default();
            if left.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(25 << round)).await;
        }
        Err(Error::new(
            ErrorKind::Throttled,
            format!("{}: the service leaves items over, again and again", doing()),
        ))
    }
}
