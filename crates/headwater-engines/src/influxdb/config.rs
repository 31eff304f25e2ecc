//! The store's URL and settings.

use std::time::Duration;

use headwater_model::file::StoreSection;
use headwater_model::{Error, Result, Secret};
use percent_encoding::percent_decode_str;

use crate::http::Server;
use crate::settings;

const REMEDY: &str = "write influx://user:password@host:8086/database, influxs://… for TLS; for version 2: influxs://host:8086/bucket \
                      with the settings org and token";

/// As InfluxDB 1.x bounds the values of a tag unless it is told otherwise.
const SERIES_MAX: i64 = 100_000;

/// What it is called: [`StoreSection::of_source`] of it.
const STATE: &str = "hw:state";

#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) server: Server,
    /// The database, or the bucket of version 2.
    pub(super) database: String,
    /// The measurement of the store's own state.
    pub(super) state: String,
    pub(super) login: Login,
    /// The organization, where writing goes by the API of version 2.
    pub(super) org: Option<String>,
    /// Whether a database that is missing is created.
    pub(super) create: bool,
    /// Tag sets of one view.
    pub(super) series_max: usize,
    pub(super) gzip: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Login {
    Nobody,
    Password { user: String, password: Secret },
    Token(Secret),
}

impl Config {
    pub(super) fn new(section: &StoreSection) -> Result<Config> {
        let wrong = |what: &str| {
            Error::misconfigured(format!("store {:?}: {what}", section.name)).with_remedy(REMEDY)
        };
        let (scheme, rest) =
            section.url.reveal().split_once("://").ok_or_else(|| wrong("the URL cannot be read"))?;
        let tls = scheme == "influxs";
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let decoded = |text: &str| {
            let text = percent_decode_str(text).decode_utf8();
            text.map(|text| text.into_owned()).map_err(|_| wrong("a part of the URL is not UTF-8"))
        };
        let database = decoded(database)?;
        if database.is_empty() || database.contains(['?', '#']) || database.contains(char::is_control) {
            return Err(wrong("the URL names no database"));
        }
        let (login, address) = match authority.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, authority),
        };
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| wrong("the URL's port is not a number"))?)
            }
            _ => (address, 8086),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        if host.is_empty() || !host.bytes().all(plain) {
            return Err(wrong("the URL's host is no name of a host"));
        }
        let mut settings =
            settings::Reader::new(format!("the store \"{}\"", section.name), &section.settings);
        let org = settings.text("org")?.map(str::to_owned);
        let token = settings.text("token")?.map(Secret::new);
        let create = settings.flag("create")?.unwrap_or(false);
        let series_max = settings.number("series_max", 1..=10_000_000)?.unwrap_or(SERIES_MAX);
        let seconds = settings.number("timeout_seconds", 1..=3600)?.unwrap_or(30);
        let tls_ca = settings.text("tls_ca")?.map(str::to_owned);
        let local = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        let gzip = settings.flag("gzip")?.unwrap_or(!local);
        settings.finish()?;
        if org.is_some() && token.is_none() {
            return Err(wrong("`org` is for version 2 of the API, which wants a `token`"));
        }
        if org.is_some() && create {
            return Err(Error::misconfigured(format!(
                "store {:?}: `create` is for databases, and a bucket is wanted",
                section.name
            ))
            .with_remedy(format!("run: influx bucket create --name {database} --retention 0")));
        }
        let login = match (token, login) {
            (Some(_), Some(_)) => return Err(wrong("the URL has a user, and there is a `token` too")),
            (Some(token), None) => Login::Token(token),
            (None, None) => Login::Nobody,
            (None, Some(login)) => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                Login::Password { user: decoded(user)?, password: Secret::new(decoded(password)?) }
            }
        };
        let server = Server {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            tls,
            tls_ca,
            request_within: Duration::from_secs(seconds.unsigned_abs()),
        };
        let series_max = usize::try_from(series_max).unwrap_or(usize::MAX);
        let state = section.of_source(STATE);
        Ok(Config { server, database, state, login, org, create, series_max, gzip })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use headwater_model::file::Setting;

    use super::*;

    fn config(url: &str, settings: &[(&str, &str)]) -> Result<Config> {
        let text = |text: &str| Setting::Text(Secret::new(text));
        Config::new(&StoreSection {
            name: "history".into(),
            url: Secret::new(url),
            settings: settings.iter().map(|(name, value)| (Box::from(*name), text(value))).collect(),
            source: None,
        })
    }

    #[test]
    fn a_url_names_server_login_and_database() {
        let full = config("influxs://wr%40iter:p%3Aw@db.internal:9000/shop%20floor", &[]).unwrap();
        assert_eq!((&*full.server.host, full.server.port, full.server.tls), ("db.internal", 9000, true));
        assert_eq!((&*full.database, full.gzip, full.create), ("shop floor", true, false));
        let Login::Password { user, password } = &full.login else { panic!("{:?}", full.login) };
        assert_eq!((&**user, password.reveal()), ("wr@iter", "p:w"));
        assert!(!format!("{full:?}").contains("p:w"));
        let plain = config("influx://[::1]/shop", &[]).unwrap();
        assert_eq!((&*plain.server.host, plain.server.port, plain.gzip), ("::1", 8086, false));
        let v2 = config("influxs://host/bucket", &[("org", "shop"), ("token", "hush")]).unwrap();
        assert_eq!(v2.org.as_deref(), Some("shop"));
        assert!(!format!("{v2:?}").contains("hush"));
    }

    #[test]
    fn mistakes_have_remedies() {
        for url in [
            "influx:host",
            "influx://",
            "influx://host",
            "influx://host/",
            "influx://host:x/db",
            "influx://u:pw@/db",
            "influx://host/db?q=1",
        ] {
            let error = config(url, &[]).unwrap_err();
            assert!(error.remedy().is_some() && !error.to_string().contains("pw"), "{error:?}");
        }
        assert!(config("influx://host/db", &[("org", "shop")]).is_err());
        assert!(config("influx://u:p@host/db", &[("token", "t")]).is_err());
        let error = config("influx://host/db", &[("tokn", "t")]).unwrap_err();
        assert_eq!(error.remedy(), Some("did you mean \"token\"?"));
    }
}
