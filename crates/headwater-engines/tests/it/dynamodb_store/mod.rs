//! The DynamoDB store against DynamoDB Local: the contract first, then what only this engine can do wrong.

pub(crate) mod contract;
mod doctor;
mod items;
mod late;
mod unwilling;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use headwater_engines::dynamodb::Store;
use headwater_model::Secret;
use headwater_model::file::{Setting, StoreSection};
use headwater_testkit::DynamoDb;

/// One server for all of them: a JVM each would take longer than the tests. It ends with the process.
pub(crate) fn server() -> &'static DynamoDb {
    static SERVER: OnceLock<DynamoDb> = OnceLock::new();
    SERVER.get_or_init(DynamoDb::start)
}

/// A prefix that no other test uses.
fn prefix() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("t{}_", COUNT.fetch_add(1, Ordering::SeqCst))
}

fn section(endpoint: &str, prefix: &str) -> StoreSection {
    let text = |text: &str| Setting::Text(Secret::new(text));
    StoreSection {
        name: "catalog".into(),
        url: Secret::new(format!("dynamodb://us-east-1/{prefix}")),
        settings: [
            ("endpoint".into(), text(endpoint)),
            ("access_key_id".into(), text("local")),
            ("secret_access_key".into(), text("hush")),
            ("create".into(), Setting::Bool(true)),
        ]
        .into(),
        source: None,
    }
}

fn store(prefix: &str) -> Arc<Store> {
    Arc::new(Store::new(&section(&server().endpoint(), prefix)).unwrap())
}
