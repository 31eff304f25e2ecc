//! MariaDB and MySQL as a source, on real servers.

mod access;
mod chunk;
mod failover;
mod follow;
mod types;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use headwater_model::file::{Setting, SourceSection};
use headwater_model::{
    Change, ChunkRange, Event, Follow, Key, Position, Row, Secret, Source, TableName, Value,
};
use headwater_testkit::{Flavour, MariaDb, numbers};

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
    TableName::new(None, name)
}

fn range(table: &str) -> ChunkRange {
    ChunkRange { table: name(table), after: None, limit: 1_000_000, bytes_max: usize::MAX, keys: Vec::new() }
}

/// A source that is prepared and followed from now on.
struct Log {
    source: Arc<dyn Source>,
    follow: Box<dyn Follow>,
    marks: u64,
    waiting: VecDeque<Event>,
    last: Option<Position>,
}

impl Log {
    async fn new(server: &MariaDb, tables: &[&str]) -> Log {
        Log::of(open(&server.url()), tables, None).await
    }

    async fn of(source: Arc<dyn Source>, tables: &[&str], after: Option<&Position>) -> Log {
        let tables: Vec<TableName> = tables.iter().map(|table| name(table)).collect();
        source.prepare(&tables).await.unwrap();
        let follow = source.follow(after).await.unwrap();
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
            assert!(
                self.last.as_ref().is_none_or(|last| position >= last),
                "{position:?} after {:?}",
                self.last
            );
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

    /// Everything up to now, without idle notices.
    async fn drain(&mut self) -> Vec<Event> {
        self.marks += 1;
        self.source.mark(self.marks).await.unwrap();
        let mut events = Vec::new();
        loop {
            match self.next().await.unwrap() {
                Event::Mark { chunk, .. } if chunk == self.marks => return events,
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
                Event::Begin { .. } => assert!(!std::mem::replace(&mut inside, true)),
                Event::Commit { .. } => assert!(std::mem::replace(&mut inside, false)),
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

    /// The rows of inserts and updates up to now.
    async fn rows(&mut self) -> Vec<Row> {
        let row = |change| match change {
            Change::Insert { row, .. } | Change::Update { row, .. } => Some(row),
            _ => None,
        };
        self.changes().await.into_iter().filter_map(row).collect()
    }
}

fn key(values: &[Value]) -> Key {
    Key(values.to_vec())
}

fn values(row: &Row) -> Vec<String> {
    row.0.iter().map(|value| if value.is_null() { "NULL".into() } else { value.to_text() }).collect()
}
