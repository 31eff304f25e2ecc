use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use headwater_model::file::StoreSection;
use headwater_model::{Layout, Store};
use headwater_testkit::contract::store::{Subject, run};

use super::{prefix, section, server, store};

struct DynamoDbTables {
    layout: Layout,
    prefix: Mutex<String>,
}

#[async_trait]
impl Subject for DynamoDbTables {
    async fn fresh(&self) -> Arc<dyn Store> {
        let prefix = prefix();
        *self.prefix.lock().unwrap() = prefix.clone();
        store(&prefix)
    }

    async fn reopen(&self, _: &Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        Some(store(&self.prefix.lock().unwrap()))
    }

    async fn of_source(&self, source: &str) -> Option<Arc<dyn Store>> {
        let section = section(&server().endpoint(), &self.prefix.lock().unwrap());
        let section = StoreSection { source: Some(source.into()), ..section };
        Some(headwater_engines::store(&section).unwrap())
    }

    async fn empty(&self, _: &Arc<dyn Store>) -> bool {
        let prefix = self.prefix.lock().unwrap().clone();
        let client = client();
        let tables = client.list_tables().exclusive_start_table_name(&prefix).send().await.unwrap();
        for table in tables.table_names().iter().filter(|table| table.starts_with(&prefix)) {
            client.delete_table().table_name(table).send().await.unwrap();
        }
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

/// Past the store.
pub(crate) fn client() -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(server().endpoint())
        .credentials_provider(Credentials::new("local", "hush", None, None, "test"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Client::from_conf(config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_as_attributes_keep_it() {
    run(&DynamoDbTables { layout: Layout::Hash, prefix: Mutex::default() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_as_text_keep_it() {
    run(&DynamoDbTables { layout: Layout::Json, prefix: Mutex::default() }).await;
}
