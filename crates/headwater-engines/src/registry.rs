//! The only list of engines: a URL's scheme names the engine.

use std::sync::Arc;

use headwater_model::file::{SourceSection, StoreSection};
use headwater_model::{Error, Result, Source, Store};

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
        other => Err(unknown("store", other, STORES)),
    }
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
    #[cfg(feature = "sqlite")]
    "sqlite:",
    #[cfg(feature = "memory")]
    "memory:",
];

/// The part before the first `:`. The rest of a URL may hold a password and is never repeated.
fn scheme(url: &str) -> &str {
    url.split_once(':').map_or("", |(scheme, _)| scheme)
}

fn unknown(role: &str, scheme: &str, known: &[&str]) -> Error {
    Error::misconfigured(format!("no engine for a {role} with the URL scheme \"{scheme}:\""))
        .with_remedy(format!("use one of {}", known.join(", ")))
}
