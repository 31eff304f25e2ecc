//! Rows to the tables: each by itself, many at a time, each on the condition that nothing newer is there.
//!
//! Invariant: a document that the table shows has its places in the table of places, in which there may be more. So what
//! it will stand at is written before it, and what it stood at is removed after it; it remembers that until its next
//! write, because we may be gone in between.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use futures::{StreamExt, TryStreamExt, stream};
use headwater_model::{Error, ErrorKind, Result, View};

use super::failure::{failure, is_condition};
use super::item::{
    AT, EXPIRES, Item, KEY, PART, PLACES, SORT, STALE, Stored, WRITE, binary, number, part_of,
};
use super::meter::Of;
use super::store::Shared;
use crate::entries::{self, Entry};
use crate::versioned::{As, Changes, Document, Engine as _, Row, Session, Stamp, What, ensure_owned};

/// How often an item may change under our hands before we give up.
const TRIES: usize = 8;

/// What is left of a deleted document stays so long.
const TOMBSTONE_SECONDS: u64 = 86_400;

pub(super) struct Writer<'s> {
    pub(super) shared: &'s Shared,
    pub(super) client: &'s Client,
    pub(super) session: &'s Session,
    pub(super) at: As,
}

impl Writer<'_> {
    pub(super) async fn write(&self, changes: Changes<Item>) -> Result<()> {
        let Changes { view, cleared, rows } = changes;
        if cleared {
            self.sweep(&view).await?;
        }
        let (mut moved, rest): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(_, row)| row.moved.is_some());
        moved.sort_by_key(|(_, row)| row.moved);
        for (key, row) in moved {
            self.row(&view, &key, row).await?;
        }
        self.all(rest, |(key, row)| {
            let view = &view;
            async move { self.row(view, &key, row).await }
        })
        .await
    }

    /// Does it to each, many at a time; ends with the first error.
    pub(super) async fn all<T, F, D>(&self, these: Vec<T>, each: D) -> Result<()>
    where
        F: Future<Output = Result<()>>,
        D: Fn(T) -> F,
    {
        stream::iter(these).map(Ok).try_for_each_concurrent(self.shared.config.requests, each).await
    }

    async fn row(&self, view: &View, key: &str, row: Row<Item>) -> Result<()> {
        let Row { document, stored, again, .. } = row;
        let (attributes, places) = match document {
            Some(Document { body, places }) => (Some(body), places),
            None => (None, Vec::new()),
        };
        // Replayed: what is there is newer.
        if self.at.yields_to(stored.at) && stored.write.is_some_and(|write| !self.session.is_later(write)) {
            return Ok(());
        }
        for entry in entries::without(&stored.stale, &places) {
            self.remove_place(view, key, entry).await?;
        }
        for entry in entries::without(&places, if again { &[] } else { &stored.places }) {
            self.put_place(view, key, entry).await?;
        }
        let left: Vec<Entry> = entries::without(&stored.places, &places).cloned().collect();
        let mut item = attributes.unwrap_or_else(tombstone);
        for (name, entries) in [(PLACES, &places), (STALE, &left)] {
            if !entries.is_empty() {
                item.insert(name.to_owned(), binary(entries::pack(entries)));
            }
        }
        self.put(view, key, item).await?;
        for entry in &left {
            self.remove_place(view, key, entry).await?;
        }
        Ok(())
    }

    /// Puts an item unless what is there is newer.
    pub(super) async fn put(&self, view: &View, key: &str, mut item: Item) -> Result<()> {
        let stamp = self.session.stamp();
        item.insert(KEY.to_owned(), AttributeValue::S(key.to_owned()));
        item.insert(WRITE.to_owned(), AttributeValue::S(stamp.to_text()));
        item.insert(AT.to_owned(), number(self.at.offset().0));
        let mut condition = Condition::Newer;
        for _ in 0..TRIES {
            let request = self
                .client
                .put_item()
                .table_name(self.shared.documents(&view.name))
                .set_item(Some(item.clone()))
                .return_consumed_capacity(ReturnConsumedCapacity::Total);
            let error = match condition.ask(request, stamp, self.at).send().await {
                Ok(done) => {
                    let consumed = done.consumed_capacity();
                    self.shared.meter.write(&view.name, Of::Documents, Some(key.as_bytes()), consumed);
                    return Ok(());
                }
                Err(error) => error,
            };
            if !is_condition(&error) {
                return Err(self.failed(view, key, (Of::Documents, key.as_bytes()), error));
            }
            let found = self.stored(view, key).await?;
            let Some(Stored { seen: Some(seen), write, at, .. }) = found else {
                condition = Condition::Newer;
                continue;
            };
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
            condition = Condition::Still(seen);
        }
        Err(Error::transient(format!("{}: it changes all the time", self.doing(view, key))))
    }

    pub(super) async fn stored(&self, view: &View, key: &str) -> Result<Option<Stored>> {
        Ok(self.shared.stored(view, [key.to_owned()].into(), What::Ours).await?.remove(key))
    }

    async fn put_place(&self, view: &View, key: &str, entry: &Entry) -> Result<()> {
        let stamp = self.session.stamp();
        let part = part_of(entry.index, entry.part());
        let mut item = place(entry);
        item.insert(KEY.to_owned(), AttributeValue::S(key.to_owned()));
        item.insert(WRITE.to_owned(), AttributeValue::S(stamp.to_text()));
        let mut fenced = true;
        loop {
            let mut request = self
                .client
                .put_item()
                .table_name(self.shared.places(&view.name))
                .set_item(Some(item.clone()))
                .return_consumed_capacity(ReturnConsumedCapacity::Total);
            if fenced {
                request = request
                    .condition_expression("attribute_not_exists(#write) OR #write <= :write")
                    .expression_attribute_names("#write", WRITE)
                    .expression_attribute_values(":write", AttributeValue::S(stamp.to_text()));
            }
            match request.send().await {
                Ok(done) => {
                    let consumed = done.consumed_capacity();
                    self.shared.meter.write(&view.name, Of::Places, Some(&part), consumed);
                    return Ok(());
                }
                // Of a later owner, unless the store's state was lost since.
                Err(error) if fenced && is_condition(&error) => {
                    ensure_owned(self.shared, self.session).await?;
                    fenced = false;
                }
                Err(error) => return Err(self.failed(view, key, (Of::Places, &part), error)),
            }
        }
    }

    /// One that a later owner put stays.
    async fn remove_place(&self, view: &View, key: &str, entry: &Entry) -> Result<()> {
        let part = part_of(entry.index, entry.part());
        let request = self
            .client
            .delete_item()
            .table_name(self.shared.places(&view.name))
            .set_key(Some(place(entry)))
            .condition_expression("attribute_not_exists(#write) OR #write < :write")
            .expression_attribute_names("#write", WRITE)
            .expression_attribute_values(":write", AttributeValue::S(self.session.stamp().to_text()))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        match request.send().await {
            Ok(done) => {
                self.shared.meter.write(&view.name, Of::Places, Some(&part), done.consumed_capacity());
                Ok(())
            }
            Err(error) if is_condition(&error) => Ok(()),
            Err(error) => Err(self.failed(view, key, (Of::Places, &part), error)),
        }
    }

    /// Notes whether it was for want of capacity, and for which partition of which table.
    fn failed<E>(&self, view: &View, key: &str, partition: (Of, &[u8]), error: SdkError<E>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let error = failure(self.doing(view, key), error);
        if error.kind() == ErrorKind::Throttled {
            self.shared.meter.throttled(&view.name, partition.0, partition.1);
        }
        error
    }

    pub(super) fn doing(&self, view: &View, key: &str) -> String {
        format!("write the key {key:?} of the view \"{}\"", view.name)
    }
}

/// What must hold of the item that is there, if one is.
enum Condition {
    /// Written earlier, and as of an earlier place in the log.
    Newer,
    /// Exactly this: it was looked at.
    Still(String),
}

impl Condition {
    fn ask(&self, request: PutItemFluentBuilder, stamp: Stamp, at: As) -> PutItemFluentBuilder {
        let request = request.expression_attribute_names("#write", WRITE);
        let write = AttributeValue::S(stamp.to_text());
        match (self, at) {
            (Condition::Newer, As::Of(offset)) => request
                .condition_expression("attribute_not_exists(#write) OR (#write < :write AND #at <= :at)")
                .expression_attribute_names("#at", AT)
                .expression_attribute_values(":write", write)
                .expression_attribute_values(":at", number(offset.0)),
            (Condition::Newer, As::Behind(_)) => request
                .condition_expression("attribute_not_exists(#write) OR #write < :write")
                .expression_attribute_values(":write", write),
            (Condition::Still(seen), _) => request
                .condition_expression("#write = :seen")
                .expression_attribute_values(":seen", AttributeValue::S(seen.clone())),
        }
    }
}

/// What a deleted document leaves.
pub(super) fn tombstone() -> Item {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Item::from([(EXPIRES.to_owned(), number(now.as_secs() + TOMBSTONE_SECONDS))])
}

/// The key of an entry in the table of places.
fn place(entry: &Entry) -> Item {
    Item::from([
        (PART.to_owned(), binary(part_of(entry.index, entry.part()))),
        (SORT.to_owned(), binary(entry.sort())),
    ])
}
