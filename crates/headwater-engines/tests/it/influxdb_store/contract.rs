use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use headwater_model::file::StoreSection;
use headwater_model::{Layout, Store};
use headwater_testkit::InfluxDb;
use headwater_testkit::contract::store::{Subject, run};

use super::{database, section, server, store};

struct Database {
    server: &'static InfluxDb,
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
        let former = std::mem::replace(&mut *self.name.lock().unwrap(), database(self.server));
        if !former.is_empty() {
            self.server.ask("", &format!("DROP DATABASE {former}"));
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
        self.server.ask(&self.name(), "DROP SERIES FROM /.*/");
        true
    }

    fn layouts(&self) -> Vec<Layout> {
        vec![Layout::Json]
    }

    fn believes_entries(&self) -> bool {
        true
    }

    fn keeps_any_order(&self) -> bool {
        false
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn series_and_documents_keep_it() {
    let Some(server) = server() else { return };
    run(&Database { server, name: Mutex::default() }).await;
}
