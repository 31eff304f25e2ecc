//! What the tests of the running service share: engines by URL, and a service that can be ended like a crash.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use headwater_flow::status::PartState;
use headwater_flow::verify::report::{Report, Request};
use headwater_flow::{Handle, NamedStore, Options, Service};
use headwater_model::file::{File, References, Setting, Settings, SourceSection, StoreSection};
use headwater_model::{Embed, Result, Secret, Source, Store, TableName, View};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A file that refers to nothing.
pub fn file(text: &str) -> File {
    struct Nothing;

    impl References for Nothing {
        fn variable(&self, _: &str) -> Option<String> {
            None
        }

        fn file(&self, path: &Path) -> std::result::Result<String, String> {
            Err(format!("no {}", path.display()))
        }
    }

    File::load(text, &Nothing).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

fn settings(pairs: &[(&str, &str)]) -> Settings {
    pairs.iter().map(|(name, value)| ((*name).into(), Setting::Text(Secret::new(*value)))).collect()
}

pub fn source(url: &str, pairs: &[(&str, &str)]) -> Arc<dyn Source> {
    let section = SourceSection {
        name: None,
        url: Secret::new(url),
        settings: settings(pairs),
        hold_for: Duration::from_secs(60),
        retained_log_bytes_max: 1 << 30,
    };
    headwater_engines::source(&section).unwrap()
}

pub fn store(url: &str, pairs: &[(&str, &str)]) -> Arc<dyn Store> {
    let section =
        StoreSection { name: "store".into(), url: Secret::new(url), settings: settings(pairs), source: None };
    headwater_engines::store(&section).unwrap()
}

/// What reaches DynamoDB Local, and lets it be written to.
fn dynamodb_local(port: u16) -> Settings {
    let endpoint = format!("http://127.0.0.1:{port}");
    let mut settings =
        settings(&[("endpoint", &endpoint), ("access_key_id", "local"), ("secret_access_key", "local")]);
    settings.insert("create".into(), Setting::Bool(true));
    settings
}

/// Tables of DynamoDB Local as a source, with these columns.
pub fn streams(port: u16, prefix: &str, columns: Setting) -> Arc<dyn Source> {
    let mut section = SourceSection::of_url(&format!("dynamodb://us-east-1/{prefix}"));
    section.settings = dynamodb_local(port);
    section.settings.insert("columns".into(), columns);
    for (name, ms) in [("poll_ms", 20), ("settle_ms", 100), ("lease_ms", 1000)] {
        section.settings.insert(name.into(), Setting::Int(ms));
    }
    headwater_engines::source(&section).unwrap()
}

/// Tables of DynamoDB Local as a store.
pub fn tables(port: u16, prefix: &str) -> Arc<dyn Store> {
    let settings = dynamodb_local(port);
    let url = Secret::new(format!("dynamodb://us-east-1/{prefix}"));
    headwater_engines::store(&StoreSection { name: "store".into(), url, settings, source: None }).unwrap()
}

pub fn named(name: &str, store: Arc<dyn Store>) -> NamedStore {
    NamedStore { name: name.into(), store }
}

pub fn options(data: &Path) -> Options {
    Options {
        data: data.to_owned(),
        journal_bytes_max: 1 << 30,
        hold_for: Duration::from_secs(60),
        retained_log_bytes_max: 1 << 30,
        backfill_parallel: 2,
        backfill_chunk_rows: 1000,
        backfill_rows_per_second_max: None,
        heal: Default::default(),
    }
}

/// A flat view of `public.TABLE`, in `stores`.
pub fn flat(name: &str, table: &str, stores: &[&str]) -> View {
    View {
        name: name.into(),
        from: TableName::new(Some("public"), table),
        columns: None,
        filter: None,
        embeds: Vec::new(),
        stores: stores.iter().map(|store| (*store).into()).collect(),
        parts: Vec::new(),
        layout: None,
        kind: headwater_model::ViewKind::Document,
        indexes: Vec::new(),
    }
}

/// With HEADWATER_LOG set, the service's log goes to stderr.
pub fn log() {
    if let Ok(filter) = tracing_subscriber::EnvFilter::try_from_env("HEADWATER_LOG") {
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    }
}

/// A service on a runtime of its own, so that all of it can end at once and at any point.
pub struct Life {
    runtime: Runtime,
    running: JoinHandle<Result<()>>,
    cancel: CancellationToken,
    pub handle: Handle,
}

impl Life {
    pub fn begin(options: Options, source: Arc<dyn Source>, stores: Vec<NamedStore>, views: &[View]) -> Life {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let views = views.iter().cloned().map(Arc::new).collect();
        let service = Service::new(options, source, stores, views).unwrap();
        let handle = service.handle();
        let cancel = CancellationToken::new();
        let running = runtime.spawn(service.run(cancel.clone()));
        Life { runtime, running, cancel, handle }
    }

    /// Panics if the service ended by itself.
    pub fn assert_alive(&mut self) {
        if self.running.is_finished() {
            let ended = self.runtime.block_on(&mut self.running);
            panic!("the service ended by itself: {ended:?}");
        }
    }

    /// Compares every store with the source.
    pub fn verify(&self, request: &Request) -> Report {
        let (progress, _) = tokio::sync::watch::channel(Default::default());
        self.runtime.block_on(self.handle.verify(request, &progress)).unwrap()
    }

    /// Every task ends at the point it has come to, and nothing is said to anyone.
    pub fn crash(mut self) {
        self.assert_alive();
        self.runtime.shutdown_timeout(Duration::from_secs(20));
    }

    /// Ends as on SIGTERM.
    pub fn stop(mut self) {
        self.end();
        self.runtime.shutdown_timeout(Duration::from_secs(20));
    }

    /// [`Life::stop`], and something is left to look at.
    pub fn end(&mut self) {
        self.assert_alive();
        self.cancel.cancel();
        let running = &mut self.running;
        let ended =
            self.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), running).await });
        ended
            .expect("the service stops in time")
            .expect("the service does not panic")
            .expect("the service ends well");
    }

    /// `None` when every view of every store is complete and in step, else what is not.
    pub fn unsettled(&self) -> Option<String> {
        let status = self.handle.status();
        let durable = status.journal.durable_offset;
        status.stores.iter().find_map(|store| {
            let view = store.views.iter().find(|view| view.state != PartState::Healthy);
            match view {
                Some(view) => Some(format!(
                    "{} of {}: {:?} {:?}",
                    view.name,
                    store.name,
                    view.state,
                    view.error.as_ref().or(store.error.as_ref())
                )),
                None if store.offset < durable => {
                    Some(format!("{} is at {} of {durable}: {:?}", store.name, store.offset, store.error))
                }
                None => None,
            }
        })
    }

    pub fn wait_settled(&mut self, within: Duration) {
        let until = std::time::Instant::now() + within;
        while let Some(what) = self.unsettled() {
            self.assert_alive();
            assert!(std::time::Instant::now() < until, "not settled within {within:?}: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Gives a view's tables their schema, as PostgreSQL names them.
pub fn in_public(view: &mut View) {
    rename_tables(view, &|table| TableName::new(Some("public"), &table.name));
}

/// Gives a view's tables other names.
pub fn rename_tables(view: &mut View, named: &dyn Fn(&TableName) -> TableName) {
    fn rename(embeds: &mut [Embed], named: &dyn Fn(&TableName) -> TableName) {
        for embed in embeds {
            embed.from = named(&embed.from);
            rename(&mut embed.embeds, named);
        }
    }
    view.from = named(&view.from);
    rename(&mut view.embeds, named);
}
