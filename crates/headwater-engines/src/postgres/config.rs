//! The connection URL, and the settings of a source and of a store. Refuses what it does not know, by name; never repeats a secret.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use headwater_model::file::{Settings, SourceSection, StoreSection};
use headwater_model::{Error, Result, Secret};
use percent_encoding::percent_decode_str;

use super::line::Line;
use crate::reach::Reach;
use crate::settings::Reader;

/// Everything needed to connect and to name what is ours in the database.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub hosts: Vec<Host>,
    pub user: String,
    pub password: Option<Secret>,
    pub database: String,
    pub tls: TlsOptions,
    pub application_name: String,
    pub session: SessionAttrs,
    pub connect_within: Duration,
    pub slot: String,
    pub publication: String,
    /// How long the server works on one access pattern.
    pub answer_within: Duration,
    /// What is known of the servers' history, shared by all who connect.
    pub line: Arc<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Tcp {
        name: String,
        port: u16,
    },
    /// The socket file itself.
    Unix(PathBuf),
}

impl Host {
    fn is_local(&self) -> bool {
        match self {
            Host::Unix(_) => true,
            Host::Tcp { name, .. } => name == "localhost" || name == "::1" || name.starts_with("127."),
        }
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Host::Tcp { name, port } => write!(f, "{name}:{port}"),
            Host::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TlsMode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl TlsMode {
    /// As libpq writes it.
    pub fn name(self) -> &'static str {
        match self {
            TlsMode::Disable => "disable",
            TlsMode::Prefer => "prefer",
            TlsMode::Require => "require",
            TlsMode::VerifyCa => "verify-ca",
            TlsMode::VerifyFull => "verify-full",
        }
    }
}

/// libpq's `sslmode` and files.
#[derive(Clone, Debug)]
pub(super) struct TlsOptions {
    /// `None`: verify-full for a host elsewhere, prefer for a local one.
    mode: Option<TlsMode>,
    pub root_cert: Option<PathBuf>,
    pub client_cert: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
}

impl TlsOptions {
    pub fn mode_for(&self, host: &Host) -> TlsMode {
        match (host, self.mode) {
            (Host::Unix(_), _) => TlsMode::Disable,
            (_, Some(mode)) => mode,
            (host, None) if host.is_local() => TlsMode::Prefer,
            _ => TlsMode::VerifyFull,
        }
    }
}

/// libpq's `target_session_attrs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionAttrs {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
}

const PARAMETERS: &[&str] = &[
    "application_name",
    "connect_timeout",
    "dbname",
    "host",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
    "user",
];

impl Config {
    /// `prefer` is not counted on: whoever is in between may prefer otherwise.
    pub fn reach(&self) -> Reach {
        let mut hosts = Vec::new();
        let mut encrypted = true;
        for host in &self.hosts {
            if let Host::Tcp { name, .. } = host {
                hosts.push(name.clone());
                encrypted &= !matches!(self.tls.mode_for(host), TlsMode::Disable | TlsMode::Prefer);
            }
        }
        Reach::new(hosts, encrypted, None)
    }

    pub fn new(section: &SourceSection) -> Result<Config> {
        let mut config = parse_url(section.url.reveal()).map_err(|e| e.while_doing("the source"))?;
        if let Some(source) = &section.name {
            // Slots are named per server, and two databases of one server may be followed.
            config.slot = format!("{}_{}", config.slot, source.to_ascii_lowercase().replace('-', "_"));
        }
        config.read_settings(&section.settings)?;
        Ok(config)
    }

    /// Of a store, with the schema that its tables are in.
    pub fn of_store(section: &StoreSection) -> Result<(Config, String)> {
        let name = format!("the store \"{}\"", section.name);
        let config = parse_url(section.url.reveal()).map_err(|e| e.while_doing(&name))?;
        let mut reader = Reader::new(name, &section.settings);
        let schema = reader.text("schema")?.unwrap_or("headwater").to_owned();
        reader.finish()?;
        if schema.is_empty() || schema.len() > 63 || schema.starts_with("pg_") || schema.contains('\0') {
            return Err(Error::misconfigured(format!("\"{schema}\" is no name for a schema"))
                .with_remedy("use up to 63 bytes that do not start with pg_"));
        }
        Ok((config, schema))
    }

    fn read_settings(&mut self, settings: &Settings) -> Result<()> {
        let mut reader = Reader::new("the PostgreSQL source", settings);
        if let Some(slot) = reader.text("slot")? {
            self.slot = slot.to_owned();
        }
        if let Some(publication) = reader.text("publication")? {
            self.publication = publication.to_owned();
        }
        if let Some(timeout) = reader.answer_timeout()? {
            self.answer_within = timeout;
        }
        reader.finish()?;
        let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if self.slot.is_empty() || self.slot.len() > 63 || !self.slot.bytes().all(valid) {
            return Err(Error::misconfigured(format!("\"{}\" is no name for a replication slot", self.slot))
                .with_remedy("use up to 63 lower-case letters, digits and underscores"));
        }
        if self.publication.is_empty() || self.publication.len() > 63 {
            return Err(Error::misconfigured("the publication's name must have 1 to 63 bytes"));
        }
        Ok(())
    }
}

fn unknown_parameter(name: &str) -> Error {
    let nearest = PARAMETERS
        .iter()
        .map(|k| (strsim::damerau_levenshtein(k, name), *k))
        .min()
        .filter(|(distance, _)| *distance <= 3);
    let remedy = match nearest {
        Some((_, nearest)) => format!("did you mean `{nearest}`?"),
        None => format!("known are: {}", PARAMETERS.join(", ")),
    };
    Error::misconfigured(format!("unknown parameter in the URL: `{name}`")).with_remedy(remedy)
}

/// `postgres://user:password@host:port,host:port/dbname?parameter=value`, with libpq's parameters.
fn parse_url(url: &str) -> Result<Config> {
    let rest = url
        .strip_prefix("postgres://")
        .or_else(|| url.strip_prefix("postgresql://"))
        .ok_or_else(|| malformed("it must start with postgres://"))?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (credentials, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = match credentials.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (credentials, None),
    };

    let mut user = decode(user)?;
    let mut password = password.map(decode).transpose()?;
    let mut database = decode(database)?;
    let mut host_list: Vec<(String, Option<u16>)> = Vec::new();
    for host in hosts.split(',').filter(|h| !h.is_empty()) {
        host_list.push(split_port(host)?);
    }
    let (mut host_parameter, mut ports) = (None, Vec::new());
    let mut tls = TlsOptions { mode: None, root_cert: None, client_cert: None, client_key: None };
    let mut application_name = "headwater".to_owned();
    let mut session = None;
    let mut connect_within = Duration::from_secs(10);

    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name)?, decode(value)?);
        match name.as_str() {
            "application_name" => application_name = value,
            "connect_timeout" => {
                let seconds: u64 = value.parse().map_err(|_| malformed("connect_timeout is a number"))?;
                connect_within = Duration::from_secs(seconds.clamp(1, 300));
            }
            "dbname" => database = value,
            "host" => host_parameter = Some(value),
            "password" => password = Some(value),
            "port" => {
                for port in value.split(',') {
                    ports.push(port.parse().map_err(|_| malformed("the port is a number up to 65535"))?);
                }
            }
            "sslcert" => tls.client_cert = Some(value.into()),
            "sslkey" => tls.client_key = Some(value.into()),
            "sslmode" => tls.mode = Some(tls_mode(&value)?),
            "sslrootcert" => tls.root_cert = (value != "system").then(|| value.into()),
            "target_session_attrs" => session = Some(session_attrs(&value)?),
            "user" => user = value,
            other => return Err(unknown_parameter(other)),
        }
    }

    if let Some(hosts) = host_parameter {
        host_list = hosts.split(',').map(|host| (host.to_owned(), None)).collect();
    }
    if host_list.is_empty() {
        host_list.push(("localhost".into(), None));
    }
    let hosts: Vec<Host> = host_list
        .into_iter()
        .enumerate()
        .map(|(i, (name, port))| {
            let port = port.or_else(|| ports.get(i).or(ports.first()).copied()).unwrap_or(5432);
            match name.starts_with('/') {
                true => Host::Unix(format!("{name}/.s.PGSQL.{port}").into()),
                false => Host::Tcp { name, port },
            }
        })
        .collect();
    if user.is_empty() {
        return Err(malformed("it names no user"));
    }
    if database.is_empty() {
        database = user.clone();
    }
    // Marks need a node that can write, so among several hosts that one is meant.
    let session =
        session.unwrap_or(if hosts.len() > 1 { SessionAttrs::ReadWrite } else { SessionAttrs::Any });
    Ok(Config {
        hosts,
        user,
        password: password.map(Secret::new),
        database,
        tls,
        application_name,
        session,
        connect_within,
        slot: "headwater".into(),
        publication: "headwater".into(),
        answer_within: crate::settings::ANSWER_WITHIN,
        line: Arc::default(),
    })
}

/// `host`, `host:port`, `[::1]:port`
fn split_port(host: &str) -> Result<(String, Option<u16>)> {
    let (name, port) = match host.strip_prefix('[').and_then(|h| h.split_once(']')) {
        Some((name, tail)) => (name, tail.strip_prefix(':')),
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let port = port
        .map(|port| port.parse().map_err(|_| malformed("the port is a number up to 65535")))
        .transpose()?;
    Ok((decode(name)?, port))
}

fn tls_mode(text: &str) -> Result<TlsMode> {
    Ok(match text {
        "disable" => TlsMode::Disable,
        "allow" | "prefer" => TlsMode::Prefer,
        "require" => TlsMode::Require,
        "verify-ca" => TlsMode::VerifyCa,
        "verify-full" => TlsMode::VerifyFull,
        _ => {
            return Err(malformed("sslmode is one of disable, prefer, require, verify-ca, verify-full"));
        }
    })
}

fn session_attrs(text: &str) -> Result<SessionAttrs> {
    Ok(match text {
        "any" => SessionAttrs::Any,
        "read-write" => SessionAttrs::ReadWrite,
        "read-only" => SessionAttrs::ReadOnly,
        "primary" => SessionAttrs::Primary,
        "standby" => SessionAttrs::Standby,
        _ => {
            return Err(malformed(
                "target_session_attrs is one of any, read-write, read-only, primary, standby",
            ));
        }
    })
}

fn decode(text: &str) -> Result<String> {
    percent_decode_str(text)
        .decode_utf8()
        .map(|text| text.into_owned())
        .map_err(|_| malformed("a percent-encoded part is not UTF-8"))
}

/// Never repeats any part of the URL: it may hold the password.
fn malformed(why: &str) -> Error {
    Error::misconfigured(format!("the URL cannot be read: {why}"))
        .with_remedy("write it as postgres://user@host:5432/dbname, special characters percent-encoded")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_url_is_read_as_libpq_reads_it() {
        let config =
            parse_url("postgres://us%40er:p%2Fw@db1:5433,[::1],db3/sh%20op?sslmode=require").unwrap();
        assert_eq!(config.user, "us@er");
        assert_eq!(config.password.unwrap().reveal(), "p/w");
        assert_eq!(config.database, "sh op");
        assert_eq!(config.session, SessionAttrs::ReadWrite);
        assert_eq!(
            config.hosts,
            [
                Host::Tcp { name: "db1".into(), port: 5433 },
                Host::Tcp { name: "::1".into(), port: 5432 },
                Host::Tcp { name: "db3".into(), port: 5432 },
            ]
        );
    }

    #[test]
    fn a_socket_folder_may_be_the_host_or_a_parameter() {
        for url in ["postgres://me@%2Frun%2Fpg:5444/shop", "postgresql://me@/shop?host=/run/pg&port=5444"] {
            let config = parse_url(url).unwrap();
            assert_eq!(config.hosts, [Host::Unix("/run/pg/.s.PGSQL.5444".into())]);
            assert_eq!(config.tls.mode_for(&config.hosts[0]), TlsMode::Disable);
        }
    }

    #[test]
    fn hosts_elsewhere_are_verified_unless_told_otherwise() {
        let mode = |url: &str| {
            let config = parse_url(url).unwrap();
            config.tls.mode_for(&config.hosts[0])
        };
        assert_eq!(mode("postgres://u@db.internal/x"), TlsMode::VerifyFull);
        assert_eq!(mode("postgres://u@localhost/x"), TlsMode::Prefer);
        assert_eq!(mode("postgres://u@127.0.0.1/x?sslmode=verify-ca"), TlsMode::VerifyCa);
    }

    #[test]
    fn errors_name_the_mistake_and_never_the_password() {
        for url in [
            "postgres://u:hunter2@h:port/x",
            "postgres://u:hunter2@h/x?sslmod=require",
            "postgres://:hunter2@h/x",
            "mysql://u:hunter2@h/x",
        ] {
            let error = parse_url(url).unwrap_err();
            let shown = format!("{error} {error:?} {:?}", error.remedy());
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        let error = parse_url("postgres://u@h/x?sslmod=require").unwrap_err();
        assert_eq!(error.remedy(), Some("did you mean `sslmode`?"));
    }
}
