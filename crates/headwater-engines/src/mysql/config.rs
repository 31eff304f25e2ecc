//! The connection URL, and the settings of `[source]` or of a store. Refuses what it does not know, by name; never repeats a secret.

use std::path::PathBuf;
use std::time::Duration;

use headwater_model::file::{SourceSection, StoreSection};
use headwater_model::{Error, Result, Secret};
use percent_encoding::percent_decode_str;

use crate::reach::Reach;
use crate::settings::Reader;

/// Everything needed to connect.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub hosts: Vec<Host>,
    pub user: String,
    pub password: Option<Secret>,
    pub database: String,
    pub tls: TlsOptions,
    pub connect_within: Duration,
    /// How long the server works on one access pattern.
    pub answer_within: Duration,
    pub zero_dates: ZeroDates,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    pub name: String,
    pub port: u16,
}

impl Host {
    fn is_local(&self) -> bool {
        self.name == "localhost" || self.name == "::1" || self.name.starts_with("127.")
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.name, self.port)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TlsMode {
    Disable,
    Require,
    VerifyFull,
}

#[derive(Clone, Debug)]
pub(super) struct TlsOptions {
    /// `None`: verify-full for a host elsewhere, no TLS for a local one.
    mode: Option<TlsMode>,
    pub root_cert: Option<PathBuf>,
}

impl TlsOptions {
    pub fn mode_for(&self, host: &Host) -> TlsMode {
        self.mode.unwrap_or(if host.is_local() { TlsMode::Disable } else { TlsMode::VerifyFull })
    }
}

/// What becomes of dates that are none: `0000-00-00`, and those with a month or a day that is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ZeroDates {
    /// The server's own text.
    Text,
    Null,
    /// The row is left out, and on record.
    Refuse,
}

const PARAMETERS: &[&str] = &["connect_timeout", "sslmode", "sslrootcert"];

impl Config {
    pub fn new(section: &SourceSection) -> Result<Config> {
        let mut config = parse_url(section.url.reveal())?;
        let mut reader = Reader::new("the MySQL source", &section.settings);
        if let Some(timeout) = reader.answer_timeout()? {
            config.answer_within = timeout;
        }
        match reader.word("zero_dates", &["text", "null", "refuse"])? {
            Some("null") => config.zero_dates = ZeroDates::Null,
            Some("refuse") => config.zero_dates = ZeroDates::Refuse,
            _ => {}
        }
        reader.finish()?;
        Ok(config)
    }

    /// Of a store: its tables lie in the database that the URL names.
    pub fn of_store(section: &StoreSection) -> Result<Config> {
        let name = format!("the store \"{}\"", section.name);
        let config = parse_url(section.url.reveal()).map_err(|e| e.while_doing(&name))?;
        Reader::new(name, &section.settings).finish()?;
        Ok(config)
    }

    pub fn reach(&self) -> Reach {
        let encrypted = self.hosts.iter().all(|host| self.tls.mode_for(host) != TlsMode::Disable);
        Reach::new(self.hosts.iter().map(|host| host.name.clone()).collect(), encrypted, None)
    }
}

/// `mysql://user:password@host:port,host:port/database?parameter=value`
fn parse_url(url: &str) -> Result<Config> {
    let rest = url
        .strip_prefix("mysql://")
        .or_else(|| url.strip_prefix("mariadb://"))
        .ok_or_else(|| malformed("it must start with mysql:// or mariadb://"))?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (credentials, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = match credentials.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (credentials, None),
    };
    let user = decode(user)?;
    if user.is_empty() {
        return Err(malformed("it names no user"));
    }
    let database = decode(database)?;
    if database.is_empty() {
        return Err(malformed("it names no database"));
    }
    let hosts = hosts.split(',').map(host).collect::<Result<Vec<Host>>>()?;
    let mut tls = TlsOptions { mode: None, root_cert: None };
    let mut connect_within = Duration::from_secs(10);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name)?, decode(value)?);
        match name.as_str() {
            "connect_timeout" => {
                let seconds: u64 = value.parse().map_err(|_| malformed("connect_timeout is a number"))?;
                connect_within = Duration::from_secs(seconds.clamp(1, 300));
            }
            "sslmode" => tls.mode = Some(tls_mode(&value)?),
            "sslrootcert" => tls.root_cert = Some(value.into()),
            other => return Err(unknown_parameter(other)),
        }
    }
    Ok(Config {
        hosts,
        user,
        password: password.map(decode).transpose()?.map(Secret::new),
        database,
        tls,
        connect_within,
        answer_within: crate::settings::ANSWER_WITHIN,
        zero_dates: ZeroDates::Text,
    })
}

/// `host`, `host:port`, `[::1]:port`
fn host(text: &str) -> Result<Host> {
    let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, tail)) => (name, tail.strip_prefix(':')),
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    let port = port.map(str::parse).transpose().map_err(|_| malformed("the port is a number up to 65535"))?;
    let name = if name.is_empty() { "localhost".into() } else { decode(name)? };
    Ok(Host { name, port: port.unwrap_or(3306) })
}

fn tls_mode(text: &str) -> Result<TlsMode> {
    Ok(match text {
        "disable" => TlsMode::Disable,
        "require" => TlsMode::Require,
        // The driver verifies no certificate without its name.
        "verify-ca" | "verify-full" => TlsMode::VerifyFull,
        _ => return Err(malformed("sslmode is one of disable, require, verify-ca, verify-full")),
    })
}

fn decode(text: &str) -> Result<String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| malformed("what stands behind % is no UTF-8"))
}

fn malformed(what: &str) -> Error {
    Error::misconfigured(format!("the URL cannot be read: {what}"))
        .with_remedy("write it as mysql://user:password@host:3306/database")
}

fn unknown_parameter(name: &str) -> Error {
    let nearest = PARAMETERS.iter().map(|known| (strsim::damerau_levenshtein(known, name), *known)).min();
    let remedy = match nearest.filter(|(distance, _)| *distance <= 3) {
        Some((_, nearest)) => format!("did you mean `{nearest}`?"),
        None => format!("known are: {}", PARAMETERS.join(", ")),
    };
    Error::misconfigured(format!("unknown parameter in the URL: `{name}`")).with_remedy(remedy)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_url_has_a_user_hosts_and_a_database() {
        let config = parse_url("mysql://app:p%40ss@one:3307,two/shop?connect_timeout=3").unwrap();
        let hosts: Vec<String> = config.hosts.iter().map(Host::to_string).collect();
        assert_eq!(hosts, ["one:3307", "two:3306"]);
        assert_eq!((config.user.as_str(), config.database.as_str()), ("app", "shop"));
        assert_eq!(config.password.unwrap().reveal(), "p@ss");
        assert_eq!(config.tls.mode_for(&config.hosts[0]), TlsMode::VerifyFull);
        let local = parse_url("mariadb://app@[::1]:3308/shop").unwrap();
        assert_eq!(local.hosts[0].to_string(), "::1:3308");
        assert_eq!(local.tls.mode_for(&local.hosts[0]), TlsMode::Disable);
    }

    #[test]
    fn what_cannot_be_read_is_said_without_the_secret() {
        for url in
            ["mysql://h/d", "mysql://u:secret@h/", "mysql://u:secret@h:x/d", "mysql://u:secret@h/d?sslmod=x"]
        {
            let error = parse_url(url).unwrap_err();
            assert!(!format!("{error} {:?}", error.remedy()).contains("secret"), "{error}");
        }
        assert_eq!(
            parse_url("mysql://u@h/d?sslmod=x").unwrap_err().remedy(),
            Some("did you mean `sslmode`?")
        );
    }
}
