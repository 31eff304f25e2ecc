//! The stores that need no server, held to the contract of stores.

use std::sync::Arc;

use async_trait::async_trait;
use headwater_model::{Layout, Store};
use headwater_testkit::contract::store::{Subject, run};

#[cfg(feature = "memory")]
struct Memory;

#[cfg(feature = "memory")]
#[async_trait]
impl Subject for Memory {
    async fn fresh(&self) -> Arc<dyn Store> {
        Arc::new(headwater_engines::memory::Store::with_options(Default::default()))
    }

    async fn reopen(&self, _: &Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        None
    }

    async fn of_source(&self, _: &str) -> Option<Arc<dyn Store>> {
        None
    }

    async fn empty(&self, _: &Arc<dyn Store>) -> bool {
        false
    }

    fn layouts(&self) -> Vec<Layout> {
        vec![Layout::Hash, Layout::Json]
    }

    fn believes_entries(&self) -> bool {
        true
    }

    fn keeps_any_order(&self) -> bool {
        true
    }
}

#[cfg(feature = "memory")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_keeps_it() {
    run(&Memory).await;
}

#[cfg(feature = "sqlite")]
struct Sqlite {
    folder: tempfile::TempDir,
    count: std::sync::atomic::AtomicUsize,
}

#[cfg(feature = "sqlite")]
impl Sqlite {
    fn path(&self) -> std::path::PathBuf {
        let count = self.count.load(std::sync::atomic::Ordering::SeqCst);
        self.folder.path().join(format!("{count}.db"))
    }

    fn open(&self) -> Arc<dyn Store> {
        use headwater_engines::sqlite::{Store, StoreOptions};
        Arc::new(Store::with_options(StoreOptions::at(self.path())))
    }
}

#[cfg(feature = "sqlite")]
#[async_trait]
impl Subject for Sqlite {
    async fn fresh(&self) -> Arc<dyn Store> {
        self.count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        self.open()
    }

    async fn reopen(&self, _: &Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        Some(self.open())
    }

    async fn of_source(&self, source: &str) -> Option<Arc<dyn Store>> {
        use headwater_engines::sqlite::{Store, StoreOptions};
        let options = StoreOptions { source: Some(source.into()), ..StoreOptions::at(self.path()) };
        Some(Arc::new(Store::with_options(options)))
    }

    async fn empty(&self, _: &Arc<dyn Store>) -> bool {
        for end in ["", "-wal", "-shm"] {
            let mut name = self.path().into_os_string();
            name.push(end);
            let _ = std::fs::remove_file(name);
        }
        true
    }

    fn layouts(&self) -> Vec<Layout> {
        vec![Layout::Json]
    }

    fn believes_entries(&self) -> bool {
        true
    }

    fn keeps_any_order(&self) -> bool {
        true
    }
}

#[cfg(feature = "sqlite")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    run(&Sqlite { folder, count: Default::default() }).await;
}
