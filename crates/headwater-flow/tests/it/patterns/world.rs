//! A source, four or five stores that are kept in step with it, and one way to read from each of them alone.

use std::sync::Arc;
use std::time::Duration;

use headwater_flow::NamedStore;
use headwater_flow::serve::{Ask, Options, Reply, Serving};
use headwater_model::file::{File, toml_access, toml_string, toml_views};
use headwater_model::{AccessPlan, Source, Store, View};
use headwater_testkit::checker::{self, Expected, Truth};
use headwater_testkit::faults::FaultyStore;
use headwater_testkit::workload::{Dialect, Workload};
use headwater_testkit::{Chance, Folder, Postgres};

use super::question::Question;
use crate::more::More;
use crate::support::{self, Life, block_on};
use crate::writer::Writer;

pub const PATIENCE: Duration = Duration::from_secs(60);

/// And one more, where its server is.
const STORES: [&str; 4] = ["near", "local", "scratch", "reports"];

pub struct World {
    pub life: Life,
    pub plans: Vec<Arc<AccessPlan>>,
    /// Each store alone, then the source alone.
    pub each: Vec<Serving>,
    /// The stores in their order, then the source.
    pub all: Serving,
    pub faulty: Vec<FaultyStore>,
    pub truth: Truth,
    pub source_url: String,
    views: Vec<View>,
    source: Arc<dyn Source>,
    runtime: tokio::runtime::Runtime,
    redis_url: String,
    database: Option<String>,
    _folder: Folder,
}

impl World {
    /// Everything that was written before is in all stores.
    pub fn begin(
        seed: u64,
        chance: &mut Chance,
        postgres: &Postgres,
        more: &More<'_>,
        redis_url: &str,
    ) -> (World, Workload) {
        let names: Vec<&str> = STORES.into_iter().chain(more.name()).collect();
        let folder = Folder::new("patterns");
        let dialect = if chance.one_in(2) { Dialect::Postgres } else { Dialect::Sqlite };
        let database = (dialect == Dialect::Postgres).then(|| format!("patterns_{seed}"));
        let (source_url, truth) = match &database {
            Some(name) => {
                postgres.psql(&format!("CREATE DATABASE {name}"));
                let server = postgres.url();
                let url = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
                (url.clone(), Truth::Postgres(url))
            }
            None => {
                let path = folder.join("source.db");
                (format!("sqlite:{}", path.display()), Truth::Sqlite(path))
            }
        };
        let mut workload = Workload::new(seed, dialect);
        let mut writer = Writer::connect(&source_url);
        writer.execute(&workload.ddl());
        for _ in 0..20 + chance.below(80) {
            writer.execute(&workload.transaction().sql());
        }
        let slot = format!("patterns_{seed}");
        let answer = ("answer_timeout", "30s");
        let source = match dialect {
            Dialect::Postgres => {
                support::source(&source_url, &[("slot", &slot), ("publication", &slot), answer])
            }
            _ => support::source(&source_url, &[answer]),
        };
        empty(redis_url);
        let local = format!("sqlite:{}", folder.join("local.db").display());
        let faulty: Vec<FaultyStore> = [
            support::store(redis_url, &[("prefix", "p:")]),
            support::store(&local, &[]),
            support::store("memory:", &[]),
            support::store(&postgres.url(), &[("schema", &slot)]),
        ]
        .into_iter()
        .chain(more.store(&slot))
        .map(FaultyStore::new)
        .collect();
        let stores: Vec<NamedStore> = names
            .iter()
            .zip(&faulty)
            .map(|(name, store)| support::named(name, Arc::new(store.clone()) as Arc<dyn Store>))
            .collect();

        let file = file(&source_url, redis_url, &local, &names, &workload, chance);
        let facts = block_on(source.inspect()).expect("inspect");
        let resolved = headwater_control::resolve(&file, &facts)
            .unwrap_or_else(|findings| panic!("seed {seed}: {findings:#?}"));
        let views: Vec<View> = resolved.views.iter().map(|view| View::clone(view)).collect();
        let options = support::options(&folder.join("data"));
        let mut life = Life::begin(options, Arc::clone(&source), stores.clone(), &views);
        life.wait_settled(PATIENCE);

        let serving = |names: &[&str], from_source: bool| {
            let mut plans = resolved.access.clone();
            for plan in &mut plans {
                plan.stores = names.iter().map(|name| (*name).into()).collect();
                plan.access.source = from_source;
            }
            Serving::new(life.handle.clone(), Arc::clone(&source), &stores, plans, generous())
        };
        let mut each: Vec<Serving> = names.iter().map(|name| serving(&[name], false)).collect();
        each.push(serving(&[], true));
        let all = serving(&names, true);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let world = World {
            life,
            plans: resolved.access.into_iter().map(Arc::new).collect(),
            each,
            all,
            faulty,
            truth,
            source_url,
            views,
            source,
            runtime,
            redis_url: redis_url.to_owned(),
            database,
            _folder: folder,
        };
        (world, workload)
    }

    /// All documents of all views, as the source makes them now.
    pub fn expected(&self) -> Expected {
        block_on(checker::expected(&self.truth, &self.views))
    }

    /// Where the source is now, as an application would write it.
    pub fn position(&self) -> String {
        let (position, _) = self.runtime.block_on(self.source.progress()).expect("progress");
        self.source.notation(&position)
    }

    /// The sequence of a position as answers give it.
    pub fn sequence(&self, position: &str) -> u64 {
        let (_, written) = position.rsplit_once('@').expect("a system");
        self.source.sequence(written).expect("a position")
    }

    pub fn ask(
        &self,
        serving: &Serving,
        question: &Question,
        cursor: Option<&str>,
        after: Option<&str>,
    ) -> Reply {
        let ask =
            Ask { params: question.params(cursor), after: after.map(str::to_owned), within: Some(PATIENCE) };
        let reply = self.runtime.block_on(serving.answer(question.name(), &ask));
        reply.unwrap_or_else(|refused| panic!("{question} after {after:?}: {refused:?}"))
    }

    pub fn end(self, postgres: &Postgres) {
        self.life.stop();
        if let Some(name) = self.database {
            block_on(self.source.forget()).expect("forget");
            postgres.psql(&format!("DROP DATABASE {name} WITH (FORCE)"));
        }
        empty(&self.redis_url);
    }
}

/// Bounds that a slow machine does not reach.
fn generous() -> Options {
    Options {
        source_rate_per_second: 1_000_000,
        source_parallel: 16,
        source_timeout: Duration::from_secs(25),
        store_timeout: Duration::from_secs(25),
        ..Options::default()
    }
}

/// The workload's views and access patterns, as a file has them.
fn file(
    source: &str,
    redis: &str,
    local: &str,
    names: &[&str],
    workload: &Workload,
    chance: &mut Chance,
) -> File {
    let mut views = workload.views(names);
    let access = workload.patterns(&mut views, chance);
    let text = format!(
        "[source]\nurl = {}\n\n[stores]\nnear = {{ url = {} }}\nlocal = {{ url = {} }}\nscratch = {{ url = \"memory:\" }}\n\
         reports = {{ url = \"postgres://reports@localhost\" }}\nmodels = {{ url = \"mysql://models@localhost/models\" }}\n\
         social = {{ url = \"falkordb://localhost/social\" }}\n{}{}",
        toml_string(source),
        toml_string(redis),
        toml_string(local),
        toml_views(&views),
        toml_access(&access)
    );
    support::file(&text)
}

fn empty(redis_url: &str) {
    let mut connection = redis::Client::open(redis_url).unwrap().get_connection().unwrap();
    redis::cmd("FLUSHDB").exec(&mut connection).unwrap();
}
