use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use headwater_model::file::StoreSection;
use headwater_model::{Layout, Store};
use headwater_testkit::MongoDb;
use headwater_testkit::contract::store::{Subject, run};
use serde_json::json;

use super::{database, section, server, store};

struct Database {
    server: &'static MongoDb,
    layout: Layout,
    name: Mutex<String>,
}

impl Database {
    fn name(&self) -> String {
        self.name.lock().unwrap().clone()
    }
}

#[async_trait]
impl Subject for Database {
    async fn fresh(&self) -> Arc<dyn Store> {
        let former = std::mem::replace(&mut *self.name.lock().unwrap(), database());
        if !former.is_empty() {
            self.server.run(&former, &json!({ "dropDatabase": 1 }));
        }
        store(self.server, &self.name())
    }

    async fn of_source(&self, source: &str) -> Option<Arc<dyn Store>> {
        let section = section(&self.server.url(&self.name()), &[]);
        let section = StoreSection { source: Some(source.into()), ..section };
        Some(headwater_engines::store(&section).unwrap())
    }

    async fn reopen(&self, _: &Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        Some(store(self.server, &self.name()))
    }

    async fn empty(&self, _: &Arc<dyn Store>) -> bool {
        self.server.run(&self.name(), &json!({ "dropDatabase": 1 }));
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
async fn documents_as_hashes_keep_it() {
    let Some(server) = server() else { return };
    run(&Database { server, layout: Layout::Hash, name: Mutex::default() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_as_json_keep_it() {
    let Some(server) = server() else { return };
    run(&Database { server, layout: Layout::Json, name: Mutex::default() }).await;
}
