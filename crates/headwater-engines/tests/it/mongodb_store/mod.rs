//! The MongoDB store against MongoDB: the contract first, then what only this engine can do wrong.

mod contract;
mod doctor;
mod documents;
mod late;
mod server;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use headwater_engines::mongodb::Store;
use headwater_model::file::{Setting, StoreSection};
use headwater_model::{
    Epoch, Layout, Offset, Record, Refusal, Result, Secret, Store as _, Value, View, ViewChange,
};
use headwater_testkit::MongoDb;
use headwater_testkit::contract::store::{held, key, record, view};

/// One server for all of them; each test has a database of its own. It ends with the process.
pub(crate) fn server() -> Option<&'static MongoDb> {
    static SERVER: OnceLock<Option<MongoDb>> = OnceLock::new();
    SERVER.get_or_init(MongoDb::start).as_ref()
}

/// A database that no other test uses.
fn database() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("t{}", COUNT.fetch_add(1, Ordering::SeqCst))
}

fn section(url: &str, settings: &[(&str, Setting)]) -> StoreSection {
    StoreSection {
        name: "catalog".into(),
        url: Secret::new(url),
        settings: settings.iter().map(|(name, value)| (Box::from(*name), value.clone())).collect(),
        source: None,
    }
}

fn store(server: &MongoDb, database: &str) -> Arc<Store> {
    Arc::new(Store::new(&section(&server.url(database), &[])).unwrap())
}

fn book(id: i64, title: &str) -> Record {
    record(&[("id", Value::Int(id)), ("title", Value::text(title))])
}

fn put(view: &Arc<View>, id: i64, document: Record) -> ViewChange {
    ViewChange::Put { view: view.clone(), key: key(id), moved_from: None, document }
}

/// One step behind `after`; what it refuses.
async fn step(store: &Store, epoch: u64, after: u64, changes: Vec<ViewChange>) -> Result<Vec<Refusal>> {
    let mut apply = store.begin(Epoch(epoch), Offset(after)).await?;
    let refusals = apply.write(changes).await?;
    apply.commit(&held(epoch, after + 1)).await?;
    Ok(refusals)
}

/// A store that is claimed, with a view of it.
async fn claimed(server: &MongoDb, database: &str) -> (Arc<Store>, Arc<View>) {
    let (store, books) = (store(server, database), view("book", Layout::Json));
    assert_eq!(store.claim(Epoch(1)).await.unwrap(), None);
    store.prepare(&books).await.unwrap();
    (store, books)
}

/// The keys of a view, as the store lists them.
async fn keys(store: &Store, view: &View) -> Vec<String> {
    let (keys, next) = store.keys(view, None, 1_000).await.unwrap();
    assert_eq!(next, None);
    keys
}
