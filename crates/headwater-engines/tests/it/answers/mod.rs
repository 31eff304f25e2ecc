//! Access patterns answered by the sources in SQL.

mod bounds;
mod documents;
mod edges;
mod indexes;
mod rankings;
mod rows;

use std::sync::Arc;
use std::time::Duration;

use headwater_engines::sqlite::{Source as Sqlite, SourceOptions};
use headwater_model::file::{Setting, SourceSection};
use headwater_model::{
    Answer, AnswerMoment, Bound, ChunkRange, Found, Index, Key, Order, RangeRead, Read, Record, Row, Secret,
    Source, StoredBody, TableName, Value, View, ViewKind,
};
use headwater_testkit::checker::Truth;
use headwater_testkit::workload::Dialect;
use headwater_testkit::{Folder, Postgres};

/// A database of one of the two kinds, and the source on it.
struct Database {
    engine: Engine,
    source: Arc<dyn Source>,
}

enum Engine {
    Postgres(Postgres),
    Sqlite(Folder),
}

impl Database {
    fn postgres() -> Database {
        let postgres = Postgres::start();
        let source = postgres_source(&postgres, &[]);
        Database { engine: Engine::Postgres(postgres), source }
    }

    fn sqlite() -> Database {
        let folder = Folder::new("answers");
        let path = folder.join("app.db");
        let db = rusqlite::Connection::open(&path).unwrap();
        db.execute_batch("PRAGMA journal_mode=WAL").unwrap();
        let source = Arc::new(Sqlite::with_options(SourceOptions { path, retained_log_bytes_max: 1 << 30 }));
        Database { engine: Engine::Sqlite(folder), source }
    }

    fn both() -> [Database; 2] {
        [Database::postgres(), Database::sqlite()]
    }

    fn dialect(&self) -> Dialect {
        match self.engine {
            Engine::Postgres(_) => Dialect::Postgres,
            Engine::Sqlite(_) => Dialect::Sqlite,
        }
    }

    fn truth(&self) -> Truth {
        match &self.engine {
            Engine::Postgres(postgres) => Truth::Postgres(postgres.url()),
            Engine::Sqlite(folder) => Truth::Sqlite(folder.join("app.db")),
        }
    }

    async fn run(&self, sql: &str) {
        match &self.engine {
            Engine::Postgres(postgres) => {
                let client = postgres.connect().await;
                client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{e:?}: {sql}"));
            }
            Engine::Sqlite(folder) => {
                let db = rusqlite::Connection::open(folder.join("app.db")).unwrap();
                db.busy_timeout(Duration::from_secs(20)).unwrap();
                db.execute_batch(sql).unwrap_or_else(|e| panic!("{e}: {sql}"));
            }
        }
    }

    /// Lets the source know of tables: SQLite's has a position only then.
    async fn prepare(&self, tables: &[&str]) {
        if let Engine::Sqlite(_) = self.engine {
            let tables: Vec<TableName> = tables.iter().map(|table| TableName::new(None, table)).collect();
            self.source.prepare(&tables).await.unwrap();
        }
    }

    /// The documents of a flat view as the data plane would make them of a chunk.
    async fn documents(&self, view: &View) -> Vec<(Key, Record)> {
        let table = TableName::new(None, &view.from.name);
        let range =
            ChunkRange { table, after: None, limit: 1 << 20, bytes_max: usize::MAX, keys: Vec::new() };
        let chunk = self.source.read_chunk(&range).await.unwrap();
        assert!(view.columns.is_none() && view.filter.is_none());
        let names: Arc<[Box<str>]> = chunk.table.columns.iter().map(|column| column.name.clone()).collect();
        let record = |row: Row| (row.key(&chunk.table), Record { names: names.clone(), values: row.0 });
        chunk.rows.into_iter().map(record).collect()
    }

    async fn answer(&self, read: &Read) -> Answer {
        self.source.answer(read).await.unwrap_or_else(|e| panic!("{e}\n{read:?}"))
    }

    async fn get(&self, view: &Arc<View>, keys: Vec<Key>) -> Vec<Option<String>> {
        match self.answer(&Read::Get { view: view.clone(), keys }).await.found {
            Found::Documents(documents) => documents.into_iter().map(|body| body.map(json)).collect(),
            other => panic!("no documents: {other:?}"),
        }
    }

    /// Keys and documents, and the place of the last.
    async fn page(&self, read: &RangeRead) -> (Vec<(String, String)>, Option<Vec<u8>>) {
        match self.answer(&Read::Range(read.clone())).await.found {
            Found::Page { documents, next } => {
                (documents.into_iter().map(|stored| (stored.key, json(stored.body))).collect(), next)
            }
            other => panic!("no page: {other:?}"),
        }
    }
}

fn postgres_source(postgres: &Postgres, settings: &[(&str, &str)]) -> Arc<dyn Source> {
    let settings = settings.iter().map(|(name, value)| ((*name).into(), Setting::Text(Secret::new(*value))));
    headwater_engines::source(&SourceSection {
        name: None,
        url: Secret::new(postgres.url()),
        settings: settings.collect(),
        hold_for: Duration::from_secs(60),
        retained_log_bytes_max: 1 << 30,
    })
    .unwrap()
}

fn json(body: StoredBody) -> String {
    match body {
        StoredBody::Json(text) => text.to_string(),
        StoredBody::Fields(_) => panic!("the source gives JSON"),
    }
}

fn view(name: &str, from: &str, kind: ViewKind, indexes: Vec<Index>) -> Arc<View> {
    let mut all = kind.indexes();
    all.extend(indexes);
    Arc::new(View {
        name: name.into(),
        from: TableName::new(None, from),
        kind,
        columns: None,
        filter: None,
        embeds: Vec::new(),
        stores: Vec::new(),
        parts: Vec::new(),
        layout: None,
        indexes: all,
    })
}

fn range(view: &Arc<View>, index: usize, by: Vec<Value>, limit: usize) -> RangeRead {
    let view = view.clone();
    RangeRead { view, index, by, from: None, to: None, after: None, reverse: false, limit }
}

/// The documents of an index that a read is about, as the model says: all of them, in order, with their places.
fn model<'a>(
    index: &Index,
    documents: &'a [(Key, Record)],
    read: &RangeRead,
) -> Vec<(Vec<u8>, &'a Key, &'a Record)> {
    let Some(part) = Index::part(&read.by) else { return Vec::new() };
    let within = |value: &Value, bound: &Option<Bound>, wanted: std::cmp::Ordering| match bound {
        None => true,
        Some(_) if value.is_null() => false,
        Some(bound) => {
            let ordering = value.compare(&bound.value);
            ordering == wanted || (bound.inclusive && ordering.is_eq())
        }
    };
    let mut found = Vec::new();
    for (key, record) in documents {
        let Some(place) = index.place(key, record).filter(|place| place.part == part) else { continue };
        let first = index.order.first().and_then(|order| record.get(&order.column)).unwrap_or(&Value::Null);
        if within(first, &read.from, std::cmp::Ordering::Greater)
            && within(first, &read.to, std::cmp::Ordering::Less)
        {
            found.push((place.sort, key, record));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    if read.reverse {
        found.reverse();
    }
    if let Some(after) = &read.after {
        found.retain(|(sort, ..)| if read.reverse { sort < after } else { sort > after });
    }
    found
}

fn sequence(answer: &Answer) -> u64 {
    match &answer.at {
        AnswerMoment::Now { all_to, .. } => all_to.sequence,
        other => panic!("the source answers as of now, not {other:?}"),
    }
}
