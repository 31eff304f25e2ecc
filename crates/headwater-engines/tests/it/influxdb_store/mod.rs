//! The InfluxDB store against InfluxDB: the contract first, then what only this engine can do wrong.

mod broken;
mod contract;
mod doctor;
mod points;
mod server;
mod unwilling;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use headwater_engines::influxdb::Store;
use headwater_model::file::{Setting, StoreSection};
use headwater_model::{
    Epoch, Found, Layout, Offset, RangeRead, Read, Record, Refusal, Result, Secret, Series, Store as _,
    Value, View, ViewChange, ViewKind,
};
use headwater_testkit::InfluxDb;
use headwater_testkit::contract::store::{held, key, record, view};

/// One server for all of them; each test has databases of its own. It ends with the process.
fn server() -> Option<&'static InfluxDb> {
    static SERVER: OnceLock<Option<InfluxDb>> = OnceLock::new();
    SERVER.get_or_init(InfluxDb::start).as_ref()
}

/// A database that no other test uses, with shards so long that times far apart are in few of them.
fn database(server: &InfluxDb) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("t{}", COUNT.fetch_add(1, Ordering::SeqCst));
    server.ask("", &format!("CREATE DATABASE {name} WITH DURATION INF SHARD DURATION 520w"));
    name
}

fn section(url: &str, settings: &[(&str, Setting)]) -> StoreSection {
    StoreSection {
        name: "history".into(),
        url: Secret::new(url),
        settings: settings.iter().map(|(name, value)| (Box::from(*name), value.clone())).collect(),
        source: None,
    }
}

fn store(server: &InfluxDb, database: &str) -> Arc<Store> {
    Arc::new(Store::new(&section(&server.url(database), &[])).unwrap())
}

/// Prices of books: a series with a tag, and fields of several types.
fn prices() -> Arc<View> {
    let mut view = (*view("price", Layout::Json)).clone();
    view.kind = ViewKind::Series(Series {
        time: "at".into(),
        tags: vec!["book".into()],
        fields: vec!["price".into(), "sold".into(), "note".into(), "sale".into()],
    });
    view.indexes = view.kind.indexes();
    Arc::new(view)
}

/// 2020-09-13T12:26:40Z, in microseconds.
const T0: i64 = 1_600_000_000_000_000;

fn point(id: i64, micros: i64, book: &str, price: &str) -> Record {
    record(&[
        ("id", Value::Int(id)),
        ("at", Value::TimestampTz(T0 + micros)),
        ("book", Value::text(book)),
        ("price", Value::Decimal(price.into())),
        ("sold", Value::Int(7)),
        ("note", Value::text("a \"note\"")),
        ("sale", Value::Bool(true)),
    ])
}

fn put(view: &Arc<View>, id: i64, document: Record) -> ViewChange {
    ViewChange::Put { view: view.clone(), key: key(id), moved_from: None, document }
}

fn delete(view: &Arc<View>, id: i64) -> ViewChange {
    ViewChange::Delete { view: view.clone(), key: key(id) }
}

/// One step behind `after`; what it refuses.
async fn step(store: &Store, epoch: u64, after: u64, changes: Vec<ViewChange>) -> Result<Vec<Refusal>> {
    let mut apply = store.begin(Epoch(epoch), Offset(after)).await?;
    let refusals = apply.write(changes).await?;
    apply.commit(&held(epoch, after + 1)).await?;
    Ok(refusals)
}

/// A store that is claimed, in a database of its own.
async fn claimed(server: &InfluxDb) -> (Arc<Store>, String) {
    let database = database(server);
    let store = store(server, &database);
    assert_eq!(store.claim(Epoch(1)).await.unwrap(), None);
    (store, database)
}

/// All of a book's prices, as the series has them.
async fn window(store: &Store, view: &Arc<View>, book: &str) -> Result<Vec<String>> {
    let by = vec![Value::text(book)];
    let read = RangeRead {
        view: view.clone(),
        index: 0,
        by,
        from: None,
        to: None,
        after: None,
        reverse: false,
        limit: 10_000,
    };
    match store.answer(&Read::Range(read)).await?.found {
        Found::Page { documents, next: None } => Ok(documents.into_iter().map(|stored| stored.key).collect()),
        found => panic!("{found:?}"),
    }
}
