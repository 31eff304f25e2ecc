//! PostgreSQL as a store, with a role that owns its schema and may do nothing else: the contract first, then what only
//! this engine can do wrong.

mod access;
mod contract;
mod tables;
mod takeover;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use headwater_engines::postgres::Store;
use headwater_model::Secret;
use headwater_model::file::{Setting, StoreSection};
use headwater_testkit::Postgres;

/// One server for all of them. It ends with the process.
pub fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = Postgres::start();
        server.psql("CREATE ROLE keeper LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC");
        server
    })
}

/// A schema that no other test uses, and that `keeper` owns.
fn schema() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("models{}", COUNT.fetch_add(1, Ordering::SeqCst));
    server().psql(&format!("CREATE SCHEMA {name} AUTHORIZATION keeper"));
    name
}

fn section(schema: &str) -> StoreSection {
    StoreSection {
        name: "reports".into(),
        url: Secret::new(server().url_as("keeper", "")),
        settings: [("schema".into(), Setting::Text(Secret::new(schema)))].into(),
        source: None,
    }
}

fn store(schema: &str) -> Arc<Store> {
    Arc::new(Store::new(&section(schema)).unwrap())
}
