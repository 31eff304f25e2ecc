//! What engines declare is what they say, and what the documentation says.

use headwater_engines::engine::{Engine, markdown};
use headwater_engines::registry::{engines, store};
use headwater_model::Secret;
use headwater_model::file::StoreSection;

fn named(scheme: &str) -> Engine {
    engines().into_iter().find(|engine| engine.schemes.contains(&scheme)).expect("an engine")
}

#[test]
fn the_documentation_has_the_table_of_engines() {
    let page = include_str!("../../../../docs/engines/README.md");
    let table = markdown(&engines());
    assert!(page.contains(&table), "put this into docs/engines/README.md:\n\n{table}");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/engines");
    for engine in engines() {
        assert!(std::path::Path::new(folder).join(engine.page).exists(), "no page {}", engine.page);
    }
}

#[tokio::test]
async fn what_engines_declare_is_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let mut urls = Vec::new();
    #[cfg(feature = "memory")]
    urls.push("memory:".to_owned());
    #[cfg(feature = "sqlite")]
    urls.push(format!("sqlite:{}", folder.path().join("derived.db").display()));
    #[cfg(feature = "redis")]
    let redis = headwater_testkit::Redis::start();
    #[cfg(feature = "redis")]
    urls.push(redis.url());
    #[cfg(feature = "postgres")]
    urls.push(crate::postgres_store::server().url());
    #[cfg(feature = "mysql")]
    if !headwater_testkit::MariaDb::is_left_out() {
        urls.push(crate::mysql_store::server(headwater_testkit::Flavour::MariaDb).url());
    }
    #[cfg(feature = "influxdb")]
    let influxdb = headwater_testkit::InfluxDb::start();
    #[cfg(feature = "influxdb")]
    urls.extend(influxdb.as_ref().map(|server| server.url("shop")));
    #[cfg(feature = "mongodb")]
    urls.extend(crate::mongodb_store::server().map(|server| server.url("shop")));
    for url in urls {
        let engine = named(url.split(':').next().unwrap_or_default());
        let section = StoreSection {
            name: "s".into(),
            url: Secret::new(url),
            settings: Default::default(),
            source: None,
        };
        let facts = store(&section).unwrap().inspect().await.unwrap();
        let declared = engine.store.expect("a store");
        assert!(engine.built_in, "{}", engine.name);
        assert_eq!(facts.promise, declared.promise, "{}", engine.name);
    }
}

#[test]
fn every_scheme_has_one_engine_and_leads_to_it() {
    let mut seen = std::collections::BTreeSet::new();
    for engine in engines() {
        assert!(engine.source.is_some() || engine.store.is_some(), "{} is good for nothing", engine.name);
        for scheme in engine.schemes {
            assert!(seen.insert(*scheme), "{scheme} is two engines'");
            let section = StoreSection {
                name: "s".into(),
                url: Secret::new(format!("{scheme}:")),
                settings: Default::default(),
                source: None,
            };
            if engine.store.is_none() {
                continue;
            }
            // Whatever is wrong with that URL, it is not its scheme.
            let error =
                store(&section).err().map(|error| (error.to_string(), error.remedy().map(str::to_owned)));
            match error {
                Some((_, remedy)) if !engine.built_in => {
                    assert_eq!(remedy, Some(format!("build with --features {}", engine.feature)));
                }
                Some((message, _)) => assert!(!message.contains("no engine"), "{message}"),
                None => {}
            }
        }
    }
}
