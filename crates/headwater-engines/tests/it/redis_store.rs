//! Redis as a store, on a real server.

use std::sync::Arc;

use async_trait::async_trait;
use headwater_model::file::{Setting, StoreSection};
use headwater_model::{Layout, Secret, Store};
use headwater_testkit::{Redis, contract};

fn open(url: &str, prefix: &str) -> Arc<dyn Store> {
    let settings = [("prefix".into(), Setting::Text(Secret::new(prefix)))].into();
    let section = StoreSection { name: "near".into(), url: Secret::new(url), settings };
    headwater_engines::store(&section).unwrap()
}

struct Subject {
    redis: Redis,
    prefix: &'static str,
}

#[async_trait]
impl contract::store::Subject for Subject {
    async fn fresh(&self) -> Arc<dyn Store> {
        self.redis.cli(&["FLUSHALL"]);
        open(&self.redis.url(), self.prefix)
    }

    async fn reopen(&self, _: &Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        Some(open(&self.redis.url(), self.prefix))
    }

    async fn empty(&self, _: &Arc<dyn Store>) -> bool {
        self.redis.cli(&["FLUSHALL"]);
        true
    }

    fn layouts(&self) -> Vec<Layout> {
        vec![Layout::Hash, Layout::Json]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract() {
    contract::store::run(&Subject { redis: Redis::start(), prefix: "" }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract_in_one_slot_of_a_cluster() {
    contract::store::run(&Subject { redis: Redis::builder().cluster().start(), prefix: "{shop*}:" }).await;
}
