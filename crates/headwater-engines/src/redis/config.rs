//! The store's URL and settings.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use headwater_model::file::{Setting, StoreSection};
use headwater_model::{Error, Result, Secret};
use percent_encoding::percent_decode_str;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use url::Url;

use super::{keys, slot};
use crate::reach::Reach;

/// `user` and `password` are for what a URL cannot say: a Unix socket with a password.
const SETTINGS: &[&str] =
    &["prefix", "lanes", "timeout_seconds", "tls_ca", "tls_cert", "tls_key", "user", "password"];

/// Lanes of a store in a cluster, where the file does not say.
const LANES: u16 = 16;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Address {
    Tcp {
        host: String,
        port: u16,
    },
    #[cfg(unix)]
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            #[cfg(unix)]
            Address::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(super) store: Box<str>,
    pub(crate) address: Address,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(super) database: u32,
    pub(crate) tls: Option<Tls>,
    /// Before every key, our own meta key included.
    pub(super) prefix: String,
    /// The meta key behind the prefix.
    pub(super) meta: String,
    /// How many lanes the store is spread over, if it is in a cluster and the prefix has no hash tag.
    pub(super) lanes: u16,
    pub(super) connect_within: Duration,
    pub(super) answer_within: Duration,
}

impl Config {
    pub(crate) fn reach(&self) -> Reach {
        let hosts = match &self.address {
            Address::Tcp { host, .. } => vec![host.clone()],
            #[cfg(unix)]
            Address::Unix(_) => Vec::new(),
        };
        Reach::new(hosts, self.tls.is_some(), None)
    }

    pub(crate) fn new(section: &StoreSection) -> Result<Config> {
        let wrong = |what: String| {
            Error::misconfigured(format!("store {:?}: {what}", section.name))
                .with_remedy("write redis://user:password@host:6379/0, rediss://… for TLS, or redis+unix:///path/to/socket")
        };
        for name in section.settings.keys() {
            if !SETTINGS.contains(&&**name) {
                return Err(unknown_setting(&section.name, name));
            }
        }
        let text = |name: &str| match section.settings.get(name) {
            None => Ok(None),
            Some(Setting::Text(text)) => Ok(Some(text.reveal().to_owned())),
            Some(_) => {
                Err(Error::misconfigured(format!("store {:?}: `{name}` must be a text", section.name)))
            }
        };
        // The URL's parser never gets to print the URL: it may hold a password.
        let url = Url::parse(section.url.reveal())
            .map_err(|e| wrong("the URL cannot be read".into()).with_cause(e))?;
        let decoded = |part: &str| {
            percent_decode_str(part)
                .decode_utf8()
                .map(|text| text.into_owned())
                .map_err(|_| wrong("the URL's %-escapes are not UTF-8".into()))
        };
        let with_tls = match url.scheme() {
            "redis" | "valkey" | "redis+unix" | "unix" => false,
            "rediss" | "valkeys" => true,
            other => return Err(wrong(format!("no Redis URL has the scheme \"{other}:\""))),
        };
        let on_socket = url.scheme().ends_with("unix");
        let mut database = 0;
        for (name, value) in url.query_pairs() {
            match &*name {
                "db" => {
                    database = value.parse().map_err(|_| wrong(format!("db={value:?} is not a number")))?
                }
                other => return Err(wrong(format!("the URL has the unknown parameter {other:?}"))),
            }
        }
        let address = if on_socket {
            socket(&decoded(url.path())?)?
        } else {
            let path = url.path().trim_matches('/');
            if !path.is_empty() {
                database =
                    path.parse().map_err(|_| wrong(format!("the database {path:?} is not a number")))?;
            }
            let host = match url.host() {
                Some(url::Host::Ipv6(ip)) => ip.to_string(),
                Some(host) => host.to_string(),
                None => return Err(wrong("the URL has no host".into())),
            };
            Address::Tcp { host: decoded(&host)?, port: url.port().unwrap_or(6379) }
        };
        let user = match url.username() {
            "" => text("user")?,
            user => Some(decoded(user)?),
        };
        let password = match url.password() {
            None => text("password")?,
            Some(password) => Some(decoded(password)?),
        };
        let tls = match with_tls {
            false
                if ["tls_ca", "tls_cert", "tls_key"]
                    .iter()
                    .any(|name| section.settings.contains_key(*name)) =>
            {
                return Err(wrong("TLS settings are given but the URL is not rediss://".into()));
            }
            false => None,
            true => Some(Tls::new(text("tls_ca")?, text("tls_cert")?, text("tls_key")?)?),
        };
        let answer_within = match section.settings.get("timeout_seconds") {
            None => Duration::from_secs(60),
            Some(Setting::Int(seconds @ 1..=86_400)) => Duration::from_secs(seconds.unsigned_abs()),
            Some(_) => return Err(wrong("`timeout_seconds` must be a whole number from 1 to 86400".into())),
        };
        let lanes = match section.settings.get("lanes") {
            None => LANES,
            Some(Setting::Int(lanes))
                if let Ok(lanes) = u16::try_from(*lanes)
                    && (2..=slot::LANES_MAX).contains(&lanes)
                    && lanes.is_power_of_two() =>
            {
                lanes
            }
            Some(_) => {
                let most = slot::LANES_MAX;
                return Err(Error::misconfigured(format!(
                    "store {:?}: `lanes` must be 2, 4, 8 or another power of two up to {most}",
                    section.name
                )));
            }
        };
        Ok(Config {
            store: section.name.clone(),
            address,
            user,
            password: password.map(Secret::new),
            database,
            tls,
            prefix: text("prefix")?.unwrap_or_default(),
            meta: section.of_source(keys::META),
            lanes,
            connect_within: Duration::from_secs(10).min(answer_within),
            answer_within,
        })
    }

    /// The hash that holds epoch, offset, position and what must be known about each view.
    pub(super) fn meta(&self) -> Vec<u8> {
        format!("{}{}", self.prefix, self.meta).into_bytes()
    }
}

#[cfg(unix)]
fn socket(path: &str) -> Result<Address> {
    Ok(Address::Unix(path.into()))
}

#[cfg(not(unix))]
fn socket(_: &str) -> Result<Address> {
    Err(Error::unsupported("this platform has no Unix sockets"))
}

fn unknown_setting(store: &str, name: &str) -> Error {
    let nearest = SETTINGS
        .iter()
        .map(|known| (strsim::damerau_levenshtein(known, name), known))
        .min()
        .filter(|(distance, _)| *distance <= 3);
    let error = Error::misconfigured(format!("store {store:?}: a Redis store has no setting `{name}`"));
    match nearest {
        Some((_, known)) => error.with_remedy(format!("did you mean `{known}`?")),
        None => error.with_remedy(format!("known settings: {}", SETTINGS.join(", "))),
    }
}

/// TLS with the server's certificate verified, against the system's roots or a given authority.
#[derive(Clone)]
pub(crate) struct Tls(Arc<ClientConfig>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    fn new(authority: Option<String>, certificate: Option<String>, key: Option<String>) -> Result<Tls> {
        let unreadable =
            |what: &str, path: &str| Error::misconfigured(format!("`{what}`: cannot read {path:?} as PEM"));
        let certificates = |what: &str, path: &str| -> Result<Vec<CertificateDer<'static>>> {
            CertificateDer::pem_file_iter(Path::new(path))
                .and_then(|found| found.collect::<Result<Vec<_>, _>>())
                .map_err(|e| unreadable(what, path).with_cause(e))
        };
        let mut roots = RootCertStore::empty();
        match &authority {
            Some(path) => {
                for root in certificates("tls_ca", path)? {
                    roots.add(root).map_err(|e| unreadable("tls_ca", path).with_cause(e))?;
                }
            }
            None => {
                // Some system stores hold certificates that cannot be parsed; those verify nothing and are skipped.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if roots.is_empty() {
            return Err(Error::misconfigured("no certificate authority was found to verify the server with")
                .with_remedy("set `tls_ca` to a PEM file"));
        }
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::bug("no TLS version fits the cryptography").with_cause(e))?
            .with_root_certificates(roots);
        let config = match (&certificate, &key) {
            (None, None) => config.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let chain = certificates("tls_cert", certificate)?;
                let private = PrivateKeyDer::from_pem_file(Path::new(key))
                    .map_err(|e| unreadable("tls_key", key).with_cause(e))?;
                config
                    .with_client_auth_cert(chain, private)
                    .map_err(|e| Error::misconfigured("`tls_cert` and `tls_key` do not fit").with_cause(e))?
            }
            _ => {
                return Err(Error::misconfigured(
                    "`tls_cert` and `tls_key` go together: one of them is missing",
                ));
            }
        };
        Ok(Tls(Arc::new(config)))
    }

    pub(super) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        TlsConnector::from(Arc::clone(&self.0)).connect(name, stream).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(url: &str, settings: &[(&str, &str)]) -> StoreSection {
        StoreSection {
            name: "near".into(),
            url: Secret::new(url),
            settings: settings
                .iter()
                .map(|(name, value)| ((*name).into(), Setting::Text(Secret::new(*value))))
                .collect(),
            source: None,
        }
    }

    #[test]
    fn a_url_names_user_password_host_port_and_database() {
        let config = Config::new(&section("redis://me:p%40ss@cache.internal:7000/3", &[("prefix", "shop:")]));
        let config = config.expect("a valid URL");
        assert_eq!(config.address, Address::Tcp { host: "cache.internal".into(), port: 7000 });
        assert_eq!(config.user.as_deref(), Some("me"));
        assert_eq!(config.password.expect("a password").reveal(), "p@ss");
        assert_eq!((config.database, &*config.prefix), (3, "shop:"));
        let config = Config::new(&section("redis://localhost", &[])).expect("a valid URL");
        assert_eq!(config.address, Address::Tcp { host: "localhost".into(), port: 6379 });
        assert!(config.user.is_none() && config.password.is_none());
        let config = Config::new(&section("redis+unix:///run/redis.sock?db=2", &[])).expect("a valid URL");
        assert_eq!((config.address, config.database), (Address::Unix("/run/redis.sock".into()), 2));
    }

    #[test]
    fn mistakes_are_named_and_passwords_are_not() {
        for (url, settings, what) in [
            ("redis://:hunter2@host/x", &[][..], "\"x\" is not a number"),
            ("redis://:hunter2@host?dbb=1", &[], "dbb"),
            ("redis://:hunter2@host:99999", &[], "cannot be read"),
            ("redis://:hunter2@host", &[("prefx", "a")], "prefx"),
            ("redis://:hunter2@host", &[("tls_ca", "/a")], "rediss"),
        ] {
            let error = Config::new(&section(url, settings)).expect_err(what);
            assert!(error.to_string().contains(what), "{error}");
            assert!(!format!("{error:?} {:?}", error.remedy()).contains("hunter2"));
        }
        let error = Config::new(&section("redis://host", &[("prefx", "a")])).expect_err("unknown");
        assert_eq!(error.remedy(), Some("did you mean `prefix`?"));
    }
}
