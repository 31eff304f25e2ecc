use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use headwater_model::file::StoreSection;
use headwater_model::{Layout, Store};
use headwater_testkit::Flavour;
use headwater_testkit::contract::store::{Subject, run};

use super::{database, make, section, server, store};
use crate::store_promises;

of_both!(documents_as_columns_keep_it, documents_as_text_keep_it, whole_transactions_are_kept);

struct Database {
    flavour: Flavour,
    layout: Layout,
    name: Mutex<String>,
}

#[async_trait]
impl Subject for Database {
    async fn fresh(&self) -> Arc<dyn Store> {
        let name = database(self.flavour);
        *self.name.lock().unwrap() = name.clone();
        store(self.flavour, &name)
    }

    async fn reopen(&self, _: &Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        Some(store(self.flavour, &self.name.lock().unwrap()))
    }

    async fn of_source(&self, source: &str) -> Option<Arc<dyn Store>> {
        let section =
            StoreSection { source: Some(source.into()), ..section(self.flavour, &self.name.lock().unwrap()) };
        Some(headwater_engines::store(&section).unwrap())
    }

    async fn empty(&self, _: &Arc<dyn Store>) -> bool {
        let name = self.name.lock().unwrap().clone();
        server(self.flavour).sql(&format!("DROP DATABASE {name}"));
        make(self.flavour, &name);
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

async fn documents_as_columns_keep_it(flavour: Flavour) {
    run(&Database { flavour, layout: Layout::Hash, name: Mutex::default() }).await;
}

async fn documents_as_text_keep_it(flavour: Flavour) {
    run(&Database { flavour, layout: Layout::Json, name: Mutex::default() }).await;
}

async fn whole_transactions_are_kept(flavour: Flavour) {
    store_promises::all(|| store(flavour, &database(flavour))).await;
}
