use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use headwater_model::file::StoreSection;
use headwater_model::{Layout, Store};
use headwater_testkit::MariaDb;
use headwater_testkit::contract::store::{Subject, run};

use super::{database, make, section, server, store};
use crate::store_promises;

struct Database {
    layout: Layout,
    name: Mutex<String>,
}

#[async_trait]
impl Subject for Database {
    async fn fresh(&self) -> Arc<dyn Store> {
        let name = database();
        *self.name.lock().unwrap() = name.clone();
        store(&name)
    }

    async fn reopen(&self, _: &Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        Some(store(&self.name.lock().unwrap()))
    }

    async fn of_source(&self, source: &str) -> Option<Arc<dyn Store>> {
        let section = StoreSection { source: Some(source.into()), ..section(&self.name.lock().unwrap()) };
        Some(headwater_engines::store(&section).unwrap())
    }

    async fn empty(&self, _: &Arc<dyn Store>) -> bool {
        let name = self.name.lock().unwrap().clone();
        server().sql(&format!("DROP DATABASE {name}"));
        make(&name);
        true
    }

    fn layouts(&self) -> Vec<Layout> {
        vec![self.layout]
    }

    fn believes_entries(&self) -> bool {
        false
    }

    fn keeps_any_order(&self) -> bool {
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_as_columns_keep_it() {
    if !MariaDb::is_left_out() {
        run(&Database { layout: Layout::Hash, name: Mutex::default() }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_as_text_keep_it() {
    if !MariaDb::is_left_out() {
        run(&Database { layout: Layout::Json, name: Mutex::default() }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_transactions_are_kept() {
    if !MariaDb::is_left_out() {
        store_promises::all(|| store(&database())).await;
    }
}
