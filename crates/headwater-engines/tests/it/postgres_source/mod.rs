//! PostgreSQL as a source, on real servers.

mod access;
mod chunk;
mod follow;
mod types;

use std::sync::Arc;
use std::time::Duration;

use headwater_model::file::{Setting, SourceSection};
use headwater_model::{
    Change, Chunk, ChunkRange, Event, Follow, Key, Record, Row, Secret, Source, Table, TableName, Value,
};
use headwater_testkit::Postgres;
use serde_json::Value as Json;

fn open(url: &str) -> Arc<dyn Source> {
    open_with(url, &[])
}

fn open_with(url: &str, settings: &[(&str, &str)]) -> Arc<dyn Source> {
    let settings = settings.iter().map(|(name, value)| ((*name).into(), Setting::Text(Secret::new(*value))));
    headwater_engines::source(&SourceSection {
        name: None,
        url: Secret::new(url),
        settings: settings.collect(),
        hold_for: Duration::from_secs(60),
        retained_log_bytes_max: 1 << 30,
    })
    .unwrap()
}

fn name(name: &str) -> TableName {
    match name.split_once('.') {
        Some((schema, name)) => TableName::new(Some(schema), name),
        None => TableName::new(Some("public"), name),
    }
}

fn range(table: &str) -> ChunkRange {
    ChunkRange { table: name(table), after: None, limit: 1_000_000, bytes_max: usize::MAX, keys: Vec::new() }
}

/// A source that is prepared and followed from the slot's start.
struct Log {
    source: Arc<dyn Source>,
    follow: Box<dyn Follow>,
    marks: u64,
    waiting: std::collections::VecDeque<Event>,
}

impl Log {
    async fn new(postgres: &Postgres, tables: &[&str]) -> Log {
        Log::of(open(&postgres.url()), tables).await
    }

    async fn of(source: Arc<dyn Source>, tables: &[&str]) -> Log {
        let tables: Vec<TableName> = tables.iter().map(|table| name(table)).collect();
        source.prepare(&tables).await.unwrap();
        let follow = source.follow(None).await.unwrap();
        Log { source, follow, marks: 0, waiting: Default::default() }
    }

    async fn next(&mut self) -> Event {
        while self.waiting.is_empty() {
            let events = tokio::time::timeout(Duration::from_secs(20), self.follow.next());
            let events = events.await.expect("events arrive").unwrap();
            assert!(!events.is_empty());
            self.waiting.extend(events);
        }
        self.waiting.pop_front().unwrap()
    }

    /// Everything up to now, without idle notices.
    async fn drain(&mut self) -> Vec<Event> {
        self.marks += 1;
        self.source.mark(self.marks).await.unwrap();
        let mut events = Vec::new();
        loop {
            match self.next().await {
                Event::Mark { chunk, .. } if chunk == self.marks => return events,
                // Marks of before, read again.
                Event::Idle { .. } | Event::Mark { .. } => {}
                event => events.push(event),
            }
        }
    }

    /// The changes up to now, checked to lie in whole transactions.
    async fn changes(&mut self) -> Vec<Change> {
        let mut inside = false;
        let mut changes = Vec::new();
        for event in self.drain().await {
            match event {
                Event::Begin { xid } => {
                    assert!(!inside && xid.is_some());
                    inside = true;
                }
                Event::Commit { .. } => {
                    assert!(inside);
                    inside = false;
                }
                Event::Change(change) => {
                    assert!(inside);
                    changes.push(change);
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        assert!(!inside);
        changes
    }
}

fn record(table: &Table, row: &Row) -> Record {
    let names: Vec<Box<str>> = table.columns.iter().map(|column| column.name.clone()).collect();
    Record { names: names.into(), values: row.0.clone() }
}

fn json(table: &Table, row: &Row) -> Json {
    serde_json::from_str(&record(table, row).to_json()).unwrap()
}

/// Equal, with numbers compared by value.
fn assert_same(found: &Json, expected: &Json, path: &str) {
    match (found, expected) {
        (Json::Number(a), Json::Number(b)) => {
            let (a, b) = (Value::Decimal(a.to_string().into()), Value::Decimal(b.to_string().into()));
            assert!(a.same(&b), "{path}: {a:?} is not {b:?}");
        }
        (Json::Array(a), Json::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{path}");
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                assert_same(a, b, &format!("{path}[{i}]"));
            }
        }
        (Json::Object(a), Json::Object(b)) => {
            let sorted = |o: &serde_json::Map<String, Json>| {
                let mut names: Vec<String> = o.keys().cloned().collect();
                names.sort();
                names
            };
            assert_eq!(sorted(a), sorted(b), "{path}");
            for (name, value) in a {
                assert_same(value, &b[name], &format!("{path}.{name}"));
            }
        }
        (a, b) => assert_eq!(a, b, "{path}"),
    }
}

fn key(values: &[Value]) -> Key {
    Key(values.to_vec())
}
