//! DynamoDB as a source, on DynamoDB Local.

mod chunk;
mod doctor;
mod follow;
mod joining;
mod types;
mod unwilling;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    StreamSpecification, StreamViewType,
};
use headwater_model::file::{Setting, SourceSection};
use headwater_model::{
    Change, ChunkRange, Event, Follow, Key, Position, Row, Secret, Source, TableName, Value,
};

use crate::dynamodb_store::{contract::client, server};

type Item = std::collections::HashMap<String, AttributeValue>;

fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

fn number(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn name(name: &str) -> TableName {
    TableName::new(None, name)
}

/// Tables whose names begin with a prefix that no other test has.
struct Account {
    client: Client,
    prefix: String,
}

impl Account {
    fn new() -> Account {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::SeqCst);
        Account { client: client(), prefix: format!("s{count}_") }
    }

    fn named(&self, table: &str) -> String {
        format!("{}{table}", self.prefix)
    }

    /// A table by `id`, and by `n` if that is said; with a stream.
    async fn table(&self, table: &str, id: ScalarAttributeType, n: Option<ScalarAttributeType>) -> String {
        let named = self.bare(table, id, n).await;
        self.stream(&named, Some(StreamViewType::NewAndOldImages)).await;
        named
    }

    async fn bare(&self, table: &str, id: ScalarAttributeType, n: Option<ScalarAttributeType>) -> String {
        let named = self.named(table);
        let mut request =
            self.client.create_table().table_name(&named).billing_mode(BillingMode::PayPerRequest);
        let parts = [("id", Some(id), KeyType::Hash), ("n", n, KeyType::Range)];
        for (name, kind, role) in parts {
            let Some(kind) = kind else { continue };
            let attribute = AttributeDefinition::builder().attribute_name(name).attribute_type(kind);
            let key = KeySchemaElement::builder().attribute_name(name).key_type(role);
            request =
                request.attribute_definitions(attribute.build().unwrap()).key_schema(key.build().unwrap());
        }
        request.send().await.unwrap();
        named
    }

    /// Switches a table's stream on, or off.
    async fn stream(&self, table: &str, kind: Option<StreamViewType>) {
        let stream = StreamSpecification::builder().stream_enabled(kind.is_some()).set_stream_view_type(kind);
        let request = self.client.update_table().table_name(table);
        request.stream_specification(stream.build().unwrap()).send().await.unwrap();
    }

    async fn put(&self, table: &str, item: &[(&str, AttributeValue)]) {
        let item: Item = item.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        self.client.put_item().table_name(table).set_item(Some(item)).send().await.unwrap();
    }

    async fn delete(&self, table: &str, id: AttributeValue) {
        self.client.delete_item().table_name(table).key("id", id).send().await.unwrap();
    }

    fn section(&self, columns: &[(&str, &[(&str, &str)])]) -> SourceSection {
        let text = |text: &str| Setting::Text(Secret::new(text));
        let words = |of: &[(&str, &str)]| {
            Setting::Table(of.iter().map(|(name, word)| (Box::from(*name), text(word))).collect())
        };
        let columns = columns.iter().map(|(table, of)| (self.named(table).into(), words(of)));
        let mut section = SourceSection::of_url(&format!("dynamodb://us-east-1/{}", self.prefix));
        section.settings = [
            ("endpoint".into(), text(&server().endpoint())),
            ("access_key_id".into(), text("local")),
            ("secret_access_key".into(), text("hush")),
            ("create".into(), Setting::Bool(true)),
            ("poll_ms".into(), Setting::Int(20)),
            ("settle_ms".into(), Setting::Int(200)),
            ("lease_ms".into(), Setting::Int(3000)),
            ("columns".into(), Setting::Table(columns.collect())),
        ]
        .into();
        section
    }

    fn source(&self, columns: &[(&str, &[(&str, &str)])]) -> Arc<dyn Source> {
        headwater_engines::source(&self.section(columns)).unwrap()
    }

    /// An item of what the source keeps here.
    fn state_key(&self, item: &str) -> Item {
        Item::from([("hw_follower".to_owned(), text("headwater")), ("hw_item".to_owned(), text(item))])
    }

    fn state_table(&self) -> String {
        self.named(".headwater-source")
    }
}

fn range(table: &str) -> ChunkRange {
    ChunkRange { table: name(table), after: None, limit: 1_000_000, bytes_max: usize::MAX, keys: Vec::new() }
}

/// A source that is prepared and followed.
struct Log {
    source: Arc<dyn Source>,
    follow: Box<dyn Follow>,
    marks: u64,
    waiting: VecDeque<Event>,
    last: Option<Position>,
}

impl Log {
    async fn of(source: Arc<dyn Source>, tables: &[&str], after: Option<&Position>) -> Log {
        let tables: Vec<TableName> = tables.iter().map(|table| name(table)).collect();
        source.prepare(&tables).await.unwrap();
        let follow = headwater_testkit::eventually(Duration::from_secs(60), "it is followed", async || {
            match source.follow(after).await {
                Ok(follow) => Ok(follow),
                // The one before has not given the lease back.
                Err(error) if error.to_string().contains("another instance") => Err(error.to_string()),
                Err(error) => panic!("{error}"),
            }
        })
        .await;
        Log { source, follow, marks: 0, waiting: VecDeque::new(), last: after.cloned() }
    }

    async fn next(&mut self) -> headwater_model::Result<Event> {
        while self.waiting.is_empty() {
            let events = tokio::time::timeout(Duration::from_secs(60), self.follow.next());
            let events = events.await.expect("events arrive")?;
            assert!(!events.is_empty());
            self.waiting.extend(events);
        }
        let event = self.waiting.pop_front().unwrap();
        if let Event::Commit { position, .. } | Event::Idle { position } | Event::Mark { position, .. } =
            &event
        {
            let grows = |last: &Position| match &event {
                Event::Idle { .. } => position >= last,
                _ => position > last,
            };
            assert!(self.last.as_ref().is_none_or(grows), "{position:?} after {:?}", self.last);
            self.last = Some(position.clone());
        }
        Ok(event)
    }

    /// The error that following ends with.
    async fn end(&mut self) -> headwater_model::Error {
        loop {
            if let Err(error) = self.next().await {
                return error;
            }
        }
    }

    /// Everything up to now, without idle notices, checked to lie in whole transactions.
    async fn drain(&mut self) -> Vec<Event> {
        self.marks += 1;
        self.source.mark(self.marks).await.unwrap();
        let (mut events, mut inside) = (Vec::new(), false);
        loop {
            match self.next().await.unwrap() {
                Event::Mark { chunk, .. } if chunk == self.marks => {
                    assert!(!inside);
                    return events;
                }
                Event::Idle { .. } | Event::Mark { .. } => {}
                event => {
                    match &event {
                        Event::Begin { .. } => assert!(!std::mem::replace(&mut inside, true)),
                        Event::Commit { .. } => assert!(std::mem::replace(&mut inside, false)),
                        _ => assert!(inside),
                    }
                    events.push(event);
                }
            }
        }
    }

    async fn changes(&mut self) -> Vec<Change> {
        let change = |event| match event {
            Event::Change(change) => Some(change),
            _ => None,
        };
        self.drain().await.into_iter().filter_map(change).collect()
    }
}

fn key(values: &[Value]) -> Key {
    Key(values.to_vec())
}

fn values(row: &Row) -> Vec<String> {
    row.0.iter().map(|value| if value.is_null() { "NULL".into() } else { value.to_text() }).collect()
}
