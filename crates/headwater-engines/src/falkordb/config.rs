//! The store's URL and settings.

use headwater_model::file::{Setting, StoreSection};
use headwater_model::{Error, Result, Secret};
use percent_encoding::percent_decode_str;

use crate::graph::Bounds;
use crate::redis::config as redis;
use crate::settings;

const REMEDY: &str = "write falkordb://user:password@host:6379/graph, or falkordbs://… for TLS";

/// What FalkorDB itself takes as one text at most is 512 MB.
const STEP_BYTES_MAX: u64 = 256 << 20;
const STEP_BYTES_MOST: u64 = 480 << 20;

/// A document is in the statement twice, as text and as properties.
const DOCUMENT_BYTES_MAX: usize = 16 << 20;

/// Settings that go on to the connection.
const OF_REDIS: &[&str] = &["timeout_seconds", "tls_ca", "tls_cert", "tls_key", "user", "password"];

pub(super) struct Config {
    pub(super) redis: redis::Config,
    /// The key that the graph lies under.
    pub(super) graph: String,
    pub(super) bounds: Bounds,
}

impl Config {
    pub(super) fn new(section: &StoreSection) -> Result<Config> {
        let wrong = |what: &str| {
            Error::misconfigured(format!("store {:?}: {what}", section.name)).with_remedy(REMEDY)
        };
        let url = section.url.reveal();
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("the URL cannot be read"))?;
        let scheme = if scheme == "falkordbs" { "rediss" } else { "redis" };
        let (server, graph) = rest.split_once('/').unwrap_or((rest, ""));
        let graph =
            percent_decode_str(graph).decode_utf8().map_err(|_| wrong("the graph's name is not UTF-8"))?;
        if graph.contains(['?', '#', '/']) {
            return Err(wrong("the URL has more than a graph's name behind the host"));
        }
        let graph = if graph.is_empty() { "headwater".to_owned() } else { graph.into_owned() };

        let mut reader = settings::Reader::new(format!("the store \"{}\"", section.name), &section.settings);
        let step_bytes_max = reader.bytes("step_bytes_max")?.unwrap_or(STEP_BYTES_MAX);
        if !((1 << 20)..=STEP_BYTES_MOST).contains(&step_bytes_max) {
            return Err(Error::misconfigured(format!(
                "store {:?}: step_bytes_max is {step_bytes_max} bytes",
                section.name
            ))
            .with_remedy("give 1MiB to 480MiB: the server takes 512 MB as one text"));
        }
        for name in OF_REDIS {
            reader.elsewhere(name);
        }
        reader.finish()?;

        let settings = section.settings.iter().filter(|(name, _)| OF_REDIS.contains(&&***name));
        let settings = settings.map(|(name, value): (_, &Setting)| (name.clone(), value.clone())).collect();
        let url = Secret::new(format!("{scheme}://{server}"));
        let redis =
            redis::Config::new(&StoreSection { name: section.name.clone(), url, settings, source: None });
        // What it says of a URL is about one of another scheme.
        let redis = redis.map_err(|error| match error.remedy() {
            Some(remedy) if remedy.contains("redis://") => error.with_remedy(REMEDY),
            _ => error,
        })?;
        let bounds = Bounds {
            step_bytes_max: usize::try_from(step_bytes_max).unwrap_or(usize::MAX),
            document_bytes_max: DOCUMENT_BYTES_MAX,
        };
        Ok(Config { redis, graph, bounds })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config(url: &str, settings: &[(&str, &str)]) -> Result<Config> {
        let text = |text: &str| Setting::Text(Secret::new(text));
        Config::new(&StoreSection {
            name: "social".into(),
            url: Secret::new(url),
            settings: settings.iter().map(|(name, value)| (Box::from(*name), text(value))).collect(),
            source: None,
        })
    }

    #[test]
    fn a_url_names_server_and_graph() {
        let config_of = |url: &str| config(url, &[]).unwrap();
        let full = config_of("falkordb://me:p%40ss@graph.internal:7000/shop%20graph");
        assert_eq!(full.graph, "shop graph");
        assert_eq!(full.redis.address.to_string(), "graph.internal:7000");
        assert_eq!(full.redis.user.as_deref(), Some("me"));
        assert_eq!(full.redis.password.unwrap().reveal(), "p@ss");
        let short = config_of("falkordb://localhost");
        assert_eq!((&*short.graph, short.redis.address.to_string()), ("headwater", "localhost:6379".into()));
        assert!(config_of("falkordbs://localhost/g").redis.tls.is_some());
    }

    #[test]
    fn mistakes_are_named_and_passwords_are_not() {
        for (url, settings, what) in [
            ("falkordb://:hunter2@host/a/b", &[][..], "more than a graph's name"),
            ("falkordb://:hunter2@host:99999/a", &[], "cannot be read"),
            ("falkordb:hunter2", &[], "cannot be read"),
            ("falkordb://:hunter2@host", &[("prefix", "a")], "no setting \"prefix\""),
            ("falkordb://:hunter2@host", &[("step_bytes_max", "1GiB")], "step_bytes_max"),
            ("falkordb://:hunter2@host", &[("tls_ca", "/a")], "TLS"),
        ] {
            let error = config(url, settings).err().expect(what);
            assert!(error.to_string().contains(what), "{error}");
            let remedy = error.remedy().unwrap_or_default().to_owned();
            assert!(!remedy.is_empty() && !remedy.contains("redis://"), "{remedy}");
            assert!(!format!("{error:?} {remedy}").contains("hunter2"));
        }
    }
}
