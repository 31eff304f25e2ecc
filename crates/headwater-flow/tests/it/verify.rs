//! Verification of real stores while random transactions commit: no drift where there is none, and exactly what was damaged
//! behind our back where something was.
//!
//! `HEADWATER_SEED=n` plays one case again.

mod damage;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use headwater_flow::verify::Pace;
use headwater_flow::verify::report::{Comparison, Request, Verdict};
use headwater_flow::{NamedStore, Options};
use headwater_model::{Index, Layout, Order, Source, Store, View};
use headwater_testkit::checker::{Copy, Truth, eventually_equal};
use headwater_testkit::workload::{Dialect, Workload};
use headwater_testkit::{Chance, Folder, Postgres, Redis};

use crate::cases::{self, SetOnDrop};
use crate::support::{self, Life, block_on};
use crate::writer::Writer;
use damage::{Damage, Found};

const CASES: u64 = 3;
const AT_ONCE: u64 = 2;
const PATIENCE: Duration = Duration::from_secs(90);
const STORES: [&str; 3] = ["near", "local", "scratch"];

#[test]
fn exactly_what_was_damaged_is_found_and_nothing_under_full_load() {
    support::log();
    let (postgres, redis) = (Postgres::start(), Redis::start());
    cases::run(CASES, AT_ONCE, |seed, worker| {
        let redis_url = format!("{}/{worker}", redis.url());
        Case::begin(seed, &postgres, redis_url).run();
    });
}

/// A source that is written to, and three stores that follow it.
struct Case {
    seed: u64,
    chance: Chance,
    folder: Folder,
    dialect: Dialect,
    source_url: String,
    redis_url: String,
    workload: Workload,
    views: Vec<View>,
    scratch: Arc<dyn Store>,
}

impl Case {
    fn begin(seed: u64, postgres: &Postgres, redis_url: String) -> Case {
        let mut chance = Chance::new(seed);
        let dialect = if chance.one_in(2) { Dialect::Postgres } else { Dialect::Sqlite };
        let folder = Folder::new("verify");
        let source_url = match dialect {
            Dialect::Postgres => {
                postgres.psql(&format!("CREATE DATABASE verify_{seed}"));
                let url = postgres.url();
                let (server, _) = url.rsplit_once('/').unwrap();
                format!("{server}/verify_{seed}")
            }
            _ => format!("sqlite:{}", folder.join("source.db").display()),
        };
        let workload = Workload::new(seed, dialect);
        let mut views = workload.views(&STORES);
        views.iter_mut().for_each(|view| index(view, &mut chance));
        for view in views.clone() {
            if chance.one_in(3) {
                let layout = if view.layout() == Layout::Json { Layout::Hash } else { Layout::Json };
                views.push(View { name: format!("{}_also", view.name).into(), layout: Some(layout), ..view });
            }
        }
        if dialect == Dialect::Postgres {
            views.iter_mut().for_each(support::in_public);
        }
        let scratch = support::store("memory:", &[]);
        let case = Case { seed, chance, folder, dialect, source_url, redis_url, workload, views, scratch };
        damage::empty_redis(&case.redis_url);
        case
    }

    fn run(mut self) {
        let mut writer = Writer::connect(&self.source_url);
        writer.execute(&self.workload.ddl());
        for _ in 0..60 + self.chance.below(200) {
            writer.execute(&self.workload.transaction().sql());
        }
        let mut life = Life::begin(self.options(), self.source(), self.stores(), &self.views);
        life.wait_settled(PATIENCE);
        self.under_load(&life);
        life.wait_settled(PATIENCE);
        // Nothing is on its way any more, neither in the source's log: a row that went while it is damaged would come back.
        self.all_equal();
        self.damaged(&life);
        life.stop();
        if self.dialect == Dialect::Postgres {
            block_on(self.source().forget()).expect("forget");
        }
    }

    /// While transactions commit as fast as they can, nothing drifts.
    fn under_load(&mut self, life: &Life) {
        let over = AtomicBool::new(false);
        let mut writer = Writer::connect(&self.source_url);
        let workload = &mut self.workload;
        std::thread::scope(|scope| {
            let _end = SetOnDrop(&over);
            let over = &over;
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    writer.execute(&workload.transaction().sql());
                    // SQLite's writers take turns by chance: without a moment between two transactions nobody else has one.
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
            for sample in [None, Some(0.3)] {
                let report = life.verify(&Request { sample, ..full() });
                for comparison in report.comparisons() {
                    assert_eq!(comparison.verdict, Verdict::Equal, "under load: {comparison:#?}");
                    assert_eq!(comparison.unsettled, 0, "under load: {comparison:#?}");
                }
            }
        });
    }

    /// What is damaged is found: those keys, and no others.
    fn damaged(&mut self, life: &Life) {
        let mut expected: BTreeMap<(String, String), Found> = BTreeMap::new();
        for _ in 0..3 + self.chance.below(12) {
            let view = self.chance.pick(&self.views).clone();
            let store = self.chance.pick(&self.stores()).clone();
            let place = (view.name.to_string(), store.name.to_string());
            let damage = Damage {
                redis_url: &self.redis_url,
                sqlite: &self.local(),
                store: &store,
                view: &Arc::new(view),
            };
            damage.inflict(&mut self.chance, expected.entry(place).or_default());
        }
        let report = life.verify(&full());
        for comparison in report.comparisons() {
            let place = (comparison.name.clone(), comparison.store.clone());
            let expected = expected.remove(&place).unwrap_or_default();
            assert_eq!(found(comparison), expected, "seed {}: {comparison:#?}", self.seed);
            let verdict = if expected.is_empty() { Verdict::Equal } else { Verdict::Drifted };
            assert_eq!(comparison.verdict, verdict, "{comparison:#?}");
        }
        expected.retain(|_, found| !found.is_empty());
        assert!(expected.is_empty(), "not looked at: {expected:?}");
        let report = life.verify(&Request { repair: Some(1.0), ..full() });
        assert_eq!(report.left(), 0, "seed {}: {report:#?}", self.seed);
        assert_eq!(life.verify(&full()).drift(), 0, "seed {}: after the repair", self.seed);
        self.all_equal();
    }

    /// By code that shares nothing with what is tested.
    fn all_equal(&self) {
        let truth = match self.dialect {
            Dialect::Postgres => Truth::Postgres(self.source_url.clone()),
            _ => Truth::Sqlite(self.folder.join("source.db")),
        };
        let copies = [
            Copy::Redis { url: self.redis_url.clone(), prefix: "p:".into() },
            Copy::Sqlite(self.local()),
            Copy::Store(Arc::clone(&self.scratch)),
        ];
        for copy in &copies {
            block_on(eventually_equal(Duration::from_secs(15), &truth, copy, &self.views));
        }
    }

    fn options(&mut self) -> Options {
        Options {
            backfill_chunk_rows: *self.chance.pick(&[20, 100, 1000]),
            ..support::options(&self.folder.join("data"))
        }
    }

    fn source(&self) -> Arc<dyn Source> {
        let slot = format!("verify_{}", self.seed);
        match self.dialect {
            Dialect::Postgres => {
                support::source(&self.source_url, &[("slot", &slot), ("publication", &slot)])
            }
            _ => support::source(&self.source_url, &[]),
        }
    }

    fn local(&self) -> PathBuf {
        self.folder.join("local.db")
    }

    fn stores(&self) -> Vec<NamedStore> {
        let local = format!("sqlite:{}", self.local().display());
        let engines = [
            support::store(&self.redis_url, &[("prefix", "p:")]),
            support::store(&local, &[]),
            Arc::clone(&self.scratch),
        ];
        engines.into_iter().zip(STORES).map(|(engine, name)| support::named(name, engine)).collect()
    }
}

/// The orders that its kind implies, or some that an access pattern could ask for.
fn index(view: &mut View, chance: &mut Chance) {
    view.indexes = view.kind.indexes();
    let is_plain = view.name.starts_with("flat") || &*view.name == "tree";
    if is_plain && !chance.one_in(4) {
        let order = |column: &str, descending| Order { column: column.into(), descending };
        view.indexes = vec![
            Index { by: vec!["rank".into()], order: vec![order("id", true)] },
            Index { by: Vec::new(), order: vec![order("rank", chance.one_in(2))] },
        ];
    }
}

fn found(comparison: &Comparison) -> Found {
    comparison.drifted.iter().map(|drifted| (drifted.key.clone(), drifted.kind)).collect()
}

/// Everything, and no rests: they would only make it last longer.
fn full() -> Request {
    Request { pace: Pace::Full, ..Request::default() }
}
