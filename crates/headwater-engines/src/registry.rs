//! The only list of engines: a URL's scheme names the engine.

use std::sync::Arc;

use headwater_model::exam::{Check, Examine};
use headwater_model::file::{SourceSection, StoreSection};
use headwater_model::{Error, Result, Source, Store, View};

use crate::sandbox::{Folder, SandboxSource, SandboxStore};

/// The source that `section.url` names. Parses settings, does not connect.
pub fn source(section: &SourceSection) -> Result<Arc<dyn Source>> {
    match scheme(section.url.reveal()) {
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => Ok(Arc::new(crate::postgres::Source::new(section)?)),
        #[cfg(feature = "sqlite")]
        "sqlite" => Ok(Arc::new(crate::sqlite::Source::new(section)?)),
        other => Err(unknown("source", other, SOURCES)),
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
        #[cfg(feature = "dynamodb")]
        "dynamodb" => Ok(Arc::new(crate::dynamodb::Store::new(section)?)),
        #[cfg(not(feature = "dynamodb"))]
        "dynamodb" => Err(left_out("store", "dynamodb")),
        #[cfg(feature = "falkordb")]
        "falkordb" | "falkordbs" => crate::falkordb::store(section),
        #[cfg(not(feature = "falkordb"))]
        "falkordb" | "falkordbs" => Err(left_out("store", "falkordb")),
        other => Err(unknown("store", other, STORES)),
    }
}

/// Why the store that `section.url` names cannot hold a view, if so. Connects nowhere.
pub fn fits(section: &StoreSection, view: &View) -> Result<()> {
    match scheme(section.url.reveal()) {
        #[cfg(feature = "falkordb")]
        "falkordb" | "falkordbs" => crate::graph::fits(&section.name, view),
        _ => {
            let _ = view;
            Ok(())
        }
    }
}

/// What examines the source that `section.url` names; `None` if there is nothing to examine in its kind. Does not connect.
pub fn source_examiner(section: &SourceSection) -> Result<Option<Box<dyn Examine>>> {
    match scheme(section.url.reveal()) {
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => Ok(Some(Box::new(crate::postgres::Examiner::of_source(section)?))),
        _ => source(section).map(|_| None),
    }
}

/// Everything that is looked for in any engine of this build, in the order of the ids.
pub fn checks() -> Vec<&'static Check> {
    let mut checks: Vec<&'static Check> = Vec::new();
    #[cfg(feature = "postgres")]
    checks.extend(crate::postgres::checks());
    checks.sort_by_key(|check| check.id);
    checks
}

/// URL schemes of sources that this build knows.
const SOURCES: &[&str] = &[
    #[cfg(feature = "postgres")]
    "postgres:",
    #[cfg(feature = "sqlite")]
    "sqlite:",
];

/// URL schemes of stores that this build knows.
const STORES: &[&str] = &[
    #[cfg(feature = "redis")]
    "redis:",
    #[cfg(feature = "redis")]
    "rediss:",
    #[cfg(feature = "postgres")]
    "postgres:",
    #[cfg(feature = "sqlite")]
    "sqlite:",
    #[cfg(feature = "memory")]
    "memory:",
    #[cfg(feature = "dynamodb")]
    "dynamodb:",
    #[cfg(feature = "falkordb")]
    "falkordb:",
];

/// The schemes of stores that this build can keep.
pub fn store_schemes() -> Vec<&'static str> {
    STORES.iter().map(|scheme| scheme.trim_end_matches(':')).collect()
}

/// A source for a sandbox: a server if one is installed and wanted, or else a file.
pub fn sandbox_source(server: bool, folder: &Folder) -> Result<Box<dyn SandboxSource>> {
    #[cfg(feature = "postgres")]
    if server {
        return Ok(Box::new(crate::postgres::sandbox::Cluster::new(folder)?));
    }
    #[cfg(feature = "sqlite")]
    if !server {
        return Ok(Box::new(crate::sqlite::sandbox::File::source(folder)?));
    }
    let _ = folder;
    Err(Error::unsupported("this build has no source for a sandbox"))
}

/// A store for a sandbox, called `name`: a server, or else a file.
pub fn sandbox_store(server: bool, folder: &Folder, name: &str) -> Result<Box<dyn SandboxStore>> {
    #[cfg(feature = "redis")]
    if server {
        return Ok(Box::new(crate::redis::sandbox::Server::new(folder)?));
    }
    #[cfg(feature = "sqlite")]
    if !server {
        return Ok(Box::new(crate::sqlite::sandbox::File::store(folder, name)));
    }
    let _ = (folder, name);
    Err(Error::unsupported("this build has no store for a sandbox"))
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

/// The engine is there, but this build does without it.
#[cfg(any(not(feature = "dynamodb"), not(feature = "falkordb")))]
fn left_out(role: &str, feature: &str) -> Error {
    Error::misconfigured(format!("this build has no engine for a {role} with the URL scheme \"{feature}:\""))
        .with_remedy(format!("build with --features {feature}"))
}

fn unknown(role: &str, scheme: &str, known: &[&str]) -> Error {
    Error::misconfigured(format!("no engine for a {role} with the URL scheme \"{scheme}:\""))
        .with_remedy(format!("use one of {}", known.join(", ")))
}
