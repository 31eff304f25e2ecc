//! The only list of engines: a URL's scheme names the engine.

use std::sync::Arc;

use headwater_model::advice::AdviseIndexes;
use headwater_model::exam::{Check, Examine};
use headwater_model::file::{SourceSection, StoreSection};
use headwater_model::{Error, Result, Source, SourceUsage, Store, View};

use crate::engine::Engine;
use crate::reach::Reach;
use crate::sandbox::{Folder, SandboxSource, SandboxStore};

/// The source that `section.url` names. Parses settings, does not connect.
pub fn source(section: &SourceSection) -> Result<Arc<dyn Source>> {
    match scheme(section.url.reveal()) {
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => Ok(Arc::new(crate::postgres::Source::new(section)?)),
        #[cfg(feature = "sqlite")]
        "sqlite" => Ok(Arc::new(crate::sqlite::Source::new(section)?)),
        #[cfg(feature = "mysql")]
        "mysql" | "mariadb" => Ok(Arc::new(crate::mysql::Source::new(section)?)),
        #[cfg(feature = "dynamodb")]
        "dynamodb" => Ok(Arc::new(crate::dynamodb::Source::new(section)?)),
        other => Err(unknown(Role::Source, other)),
    }
}

/// The store that `section.url` names. Parses settings, does not connect.
pub fn store(section: &StoreSection) -> Result<Arc<dyn Store>> {
    match scheme(section.url.reveal()) {
        #[cfg(feature = "sqlite")]
        "sqlite" => Ok(Arc::new(crate::sqlite::Store::new(section)?)),
        #[cfg(feature = "memory")]
        "memory" => Ok(Arc::new(crate::memory::Store::new(section)?)),
        #[cfg(feature = "redis")]
        "redis" | "rediss" | "redis+unix" | "valkey" | "valkeys" => {
            Ok(Arc::new(crate::redis::Store::new(section)?))
        }
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => Ok(Arc::new(crate::postgres::Store::new(section)?)),
        #[cfg(feature = "mysql")]
        "mysql" | "mariadb" => Ok(Arc::new(crate::mysql::Store::new(section)?)),
        #[cfg(feature = "dynamodb")]
        "dynamodb" => Ok(Arc::new(crate::dynamodb::Store::new(section)?)),
        #[cfg(feature = "mongodb")]
        "mongodb" | "mongodb+srv" => Ok(Arc::new(crate::mongodb::Store::new(section)?)),
        #[cfg(feature = "falkordb")]
        "falkordb" | "falkordbs" => crate::falkordb::store(section),
        #[cfg(feature = "neptune")]
        "neptune" => crate::neptune::store(section),
        #[cfg(feature = "influxdb")]
        "influx" | "influxs" => Ok(Arc::new(crate::influxdb::Store::new(section)?)),
        other => Err(unknown(Role::Store, other)),
    }
}

/// Why the store that `section.url` names cannot hold a view, if so. Connects nowhere.
pub fn fits(section: &StoreSection, view: &View) -> Result<()> {
    match scheme(section.url.reveal()) {
        #[cfg(feature = "falkordb")]
        "falkordb" | "falkordbs" => crate::graph::fits(&section.name, view),
        #[cfg(feature = "neptune")]
        "neptune" => crate::graph::fits(&section.name, view),
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => crate::postgres::fits(view),
        #[cfg(feature = "mysql")]
        "mysql" | "mariadb" => crate::mysql::fits(view),
        #[cfg(feature = "influxdb")]
        "influx" | "influxs" => crate::influxdb::fits(&section.name, view),
        _ => {
            let _ = view;
            Ok(())
        }
    }
}

/// How documents get to the store that `section.url` names; `None` if its engine does not say. Does not connect.
pub fn store_reach(section: &StoreSection) -> Result<Option<Reach>> {
    Ok(match scheme(section.url.reveal()) {
        #[cfg(feature = "sqlite")]
        "sqlite" => Some(Reach::default()),
        #[cfg(feature = "memory")]
        "memory" => Some(Reach::default()),
        #[cfg(feature = "redis")]
        "redis" | "rediss" | "redis+unix" | "valkey" | "valkeys" => Some(crate::redis::reach(section)?),
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => Some(crate::postgres::store_reach(section)?),
        #[cfg(feature = "mysql")]
        "mysql" | "mariadb" => Some(crate::mysql::store_reach(section)?),
        #[cfg(feature = "dynamodb")]
        "dynamodb" => Some(crate::dynamodb::reach(section)?),
        #[cfg(feature = "mongodb")]
        "mongodb" | "mongodb+srv" => Some(crate::mongodb::reach(section)?),
        #[cfg(feature = "falkordb")]
        "falkordb" | "falkordbs" => Some(crate::falkordb::reach(section)?),
        #[cfg(feature = "neptune")]
        "neptune" => Some(crate::neptune::reach(section)?),
        #[cfg(feature = "influxdb")]
        "influx" | "influxs" => Some(crate::influxdb::reach(section)?),
        _ => None,
    })
}

/// How the source that `section.url` names is used, as far as it counts that; `None` if its kind does not.
pub async fn usage(section: &SourceSection) -> Result<Option<SourceUsage>> {
    match scheme(section.url.reveal()) {
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => crate::postgres::usage(section).await.map(Some),
        _ => source(section).map(|_| None),
    }
}

/// What examines the source that `section.url` names; `None` if there is nothing to examine in its kind. Does not connect.
pub fn source_examiner(section: &SourceSection) -> Result<Option<Box<dyn Examine>>> {
    match scheme(section.url.reveal()) {
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => Ok(Some(Box::new(crate::postgres::Examiner::of_source(section)?))),
        #[cfg(feature = "mysql")]
        "mysql" | "mariadb" => Ok(Some(Box::new(crate::mysql::Examiner::of_source(section)?))),
        #[cfg(feature = "dynamodb")]
        "dynamodb" => Ok(Some(Box::new(crate::dynamodb::SourceExaminer::of_source(section)?))),
        _ => source(section).map(|_| None),
    }
}

/// What advises indexes for the source that `section.url` names. Does not connect.
pub fn index_advisor(section: &SourceSection) -> Result<Box<dyn AdviseIndexes>> {
    match scheme(section.url.reveal()) {
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => Ok(Box::new(crate::postgres::Advisor::of_source(section)?)),
        #[cfg(feature = "mysql")]
        "mysql" | "mariadb" => Ok(Box::new(crate::mysql::Advisor::of_source(section)?)),
        _ => source(section).and_then(|_| {
            Err(Error::unsupported("there is no advice about indexes for this kind of engine yet")
                .with_remedy(
                    "name a database of PostgreSQL, MariaDB or MySQL: headwater doctor indexes postgres://user@host/database",
                ))
        }),
    }
}

/// What examines the store that `section.url` names; `None` if there is nothing to examine in its kind. Does not connect.
pub fn store_examiner(section: &StoreSection) -> Result<Option<Box<dyn Examine>>> {
    match scheme(section.url.reveal()) {
        #[cfg(feature = "redis")]
        "redis" | "rediss" | "redis+unix" | "valkey" | "valkeys" => {
            Ok(Some(Box::new(crate::redis::Examiner::of_store(section)?)))
        }
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => Ok(Some(Box::new(crate::postgres::Examiner::of_store(section)?))),
        #[cfg(feature = "falkordb")]
        "falkordb" | "falkordbs" => Ok(Some(Box::new(crate::falkordb::Examiner::of_store(section)?))),
        #[cfg(feature = "influxdb")]
        "influx" | "influxs" => Ok(Some(Box::new(crate::influxdb::Examiner::of_store(section)?))),
        #[cfg(feature = "mongodb")]
        "mongodb" | "mongodb+srv" => Ok(Some(Box::new(crate::mongodb::Examiner::of_store(section)?))),
        #[cfg(feature = "dynamodb")]
        "dynamodb" => Ok(Some(Box::new(crate::dynamodb::Examiner::of_store(section)?))),
        _ => store(section).map(|_| None),
    }
}

/// Everything that is looked for in any engine of this build, in the order of the ids.
pub fn checks() -> Vec<&'static Check> {
    let mut checks: Vec<&'static Check> = Vec::new();
    #[cfg(feature = "postgres")]
    checks.extend(crate::postgres::checks());
    #[cfg(feature = "redis")]
    checks.extend(crate::redis::checks());
    #[cfg(feature = "mysql")]
    checks.extend(crate::mysql::checks());
    #[cfg(feature = "dynamodb")]
    checks.extend(crate::dynamodb::checks());
    #[cfg(feature = "falkordb")]
    checks.extend(crate::falkordb::checks());
    #[cfg(feature = "influxdb")]
    checks.extend(crate::influxdb::checks());
    #[cfg(feature = "mongodb")]
    checks.extend(crate::mongodb::checks());
    checks.sort_by_key(|check| check.id);
    checks
}

/// All engines, built in or not.
pub fn engines() -> Vec<Engine> {
    vec![
        crate::declared_postgres::ENGINE,
        crate::declared_mysql::ENGINE,
        crate::declared_sqlite::ENGINE,
        crate::declared_redis::ENGINE,
        crate::declared_dynamodb::ENGINE,
        crate::declared_mongodb::ENGINE,
        crate::declared_falkordb::ENGINE,
        crate::declared_neptune::ENGINE,
        crate::declared_influxdb::ENGINE,
        crate::declared_memory::ENGINE,
    ]
}

/// The schemes of stores that this build can keep.
pub fn store_schemes() -> Vec<&'static str> {
    Role::Store
        .engines()
        .filter(|engine| engine.built_in)
        .flat_map(|engine| engine.schemes)
        .copied()
        .collect()
}

#[derive(Clone, Copy)]
enum Role {
    Source,
    Store,
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Role::Source => "source",
            Role::Store => "store",
        }
    }

    fn engines(self) -> impl Iterator<Item = Engine> {
        engines().into_iter().filter(move |engine| match self {
            Role::Source => engine.source.is_some(),
            Role::Store => engine.store.is_some(),
        })
    }
}

/// What a sandbox can start, as URLs name it: a file first, then the usual server.
const SANDBOX_SOURCES: [&str; 3] = ["sqlite", "postgres", "mariadb"];
const SANDBOX_STORES: [&str; 3] = ["sqlite", "redis", "influx"];

/// A source for a sandbox: a server if one is wanted, or else a file.
pub fn sandbox_source(server: bool, folder: &Folder) -> Result<Box<dyn SandboxSource>> {
    sandbox_source_of(SANDBOX_SOURCES[usize::from(server)], folder)
}

/// The same of a kind, as URLs name it.
pub fn sandbox_source_of(scheme: &str, folder: &Folder) -> Result<Box<dyn SandboxSource>> {
    match scheme {
        #[cfg(feature = "sqlite")]
        "sqlite" => Ok(Box::new(crate::sqlite::sandbox::File::source(folder)?)),
        #[cfg(feature = "postgres")]
        "postgres" => Ok(Box::new(crate::postgres::sandbox::Cluster::new(folder)?)),
        #[cfg(feature = "mysql")]
        "mariadb" => Ok(Box::new(crate::mysql::sandbox::Server::source(folder)?)),
        other => {
            let _ = folder;
            Err(no_sandbox(Role::Source, other, &SANDBOX_SOURCES))
        }
    }
}

/// A store for a sandbox, called `name`: a server if one is wanted, or else a file.
pub fn sandbox_store(server: bool, folder: &Folder, name: &str) -> Result<Box<dyn SandboxStore>> {
    sandbox_store_of(SANDBOX_STORES[usize::from(server)], folder, name)
}

/// The same of a kind, as URLs name it.
pub fn sandbox_store_of(scheme: &str, folder: &Folder, name: &str) -> Result<Box<dyn SandboxStore>> {
    match scheme {
        #[cfg(feature = "sqlite")]
        "sqlite" => Ok(Box::new(crate::sqlite::sandbox::File::store(folder, name))),
        #[cfg(feature = "redis")]
        "redis" => Ok(Box::new(crate::redis::sandbox::Server::new(folder)?)),
        #[cfg(feature = "influxdb")]
        "influx" => Ok(Box::new(crate::influxdb::sandbox::Server::new(folder)?)),
        other => {
            let _ = (folder, name);
            Err(no_sandbox(Role::Store, other, &SANDBOX_STORES))
        }
    }
}

fn no_sandbox(role: Role, scheme: &str, known: &[&str]) -> Error {
    if known.contains(&scheme) {
        return unknown(role, scheme);
    }
    Error::misconfigured(format!("no sandbox can start a {} of the kind \"{scheme}\"", role.word()))
        .with_remedy(format!("name one of {}", known.join(", ")))
}

/// Whether a server for a sandbox's source, and one for its store, is installed here.
pub fn sandbox_servers() -> (bool, bool) {
    #[cfg(feature = "postgres")]
    let source = crate::postgres::sandbox::Cluster::is_installed();
    #[cfg(not(feature = "postgres"))]
    let source = false;
    #[cfg(feature = "redis")]
    let store = crate::redis::sandbox::Server::is_installed();
    #[cfg(not(feature = "redis"))]
    let store = false;
    (source, store)
}

/// The part before the first `:`. The rest of a URL may hold a password and is never repeated.
fn scheme(url: &str) -> &str {
    url.split_once(':').map_or("", |(scheme, _)| scheme)
}

/// No engine of the role has the scheme, or this build does without it.
fn unknown(role: Role, scheme: &str) -> Error {
    let word = role.word();
    if let Some(engine) = role.engines().find(|engine| !engine.built_in && engine.schemes.contains(&scheme)) {
        return Error::misconfigured(format!(
            "this build has no engine for a {word} with the URL scheme \"{scheme}:\""
        ))
        .with_remedy(format!("build with --features {}", engine.feature));
    }
    let known: Vec<String> = (role.engines())
        .filter(|engine| engine.built_in)
        .filter_map(|engine| engine.schemes.first().map(|scheme| format!("{scheme}:")))
        .collect();
    Error::misconfigured(format!("no engine for a {word} with the URL scheme \"{scheme}:\""))
        .with_remedy(format!("use one of {}", known.join(", ")))
}
