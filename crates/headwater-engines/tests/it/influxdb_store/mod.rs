//! The InfluxDB store against InfluxDB: the contract first, then what only this engine can do wrong.

mod contract;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use headwater_engines::influxdb::Store;
use headwater_model::Secret;
use headwater_model::file::{Setting, StoreSection};
use headwater_testkit::InfluxDb;

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
    }
}

fn store(server: &InfluxDb, database: &str) -> Arc<Store> {
    Arc::new(Store::new(&section(&server.url(database), &[])).unwrap())
}
