//! The store's URL and settings.

use std::time::Duration;

use headwater_model::file::StoreSection;
use headwater_model::{Error, Result, Secret};
use mongodb::error::ErrorKind;
use mongodb::options::{Acknowledgment, ConnectionString, HostInfo, ServerAddress, Tls};

use crate::settings;

const REMEDY: &str = "write mongodb://user@host:27017/database, or mongodb+srv://user@host/database; the driver's options may \
                      follow, as ?replicaSet=rs0&tls=true";

#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) url: Secret,
    pub(super) database: String,
    /// Before the name of every collection.
    pub(super) prefix: String,
    /// How long one request may take.
    pub(super) request_within: Duration,
    pub(super) hosts: Vec<String>,
    pub(super) encrypted: bool,
}

impl Config {
    pub(super) fn new(section: &StoreSection) -> Result<Config> {
        let whose = format!("store {:?}", section.name);
        let mut settings =
            settings::Reader::new(format!("the store \"{}\"", section.name), &section.settings);
        let prefix = settings.text("prefix")?.unwrap_or_default().to_owned();
        let seconds = settings.number("timeout_seconds", 1..=3600)?.unwrap_or(30);
        settings.finish()?;
        let wrong = |what: &str| Error::misconfigured(format!("{whose}: {what}")).with_remedy(REMEDY);
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if prefix.len() > 60 || !prefix.bytes().all(allowed) {
            return Err(wrong("prefix is not up to 60 letters, digits, - and _"));
        }
        let parsed = ConnectionString::parse(section.url.reveal()).map_err(|error| {
            // The driver quotes what it cannot read, which may be a part of the password.
            match &*error.kind {
                ErrorKind::InvalidArgument { message, .. } if !section.url.reveal().contains('@') => {
                    wrong(&format!("the URL is not one of MongoDB's: {message}"))
                }
                _ => wrong("the URL is not one of MongoDB's"),
            }
        })?;
        let database = parsed.default_database.clone().filter(|name| !name.is_empty());
        let database = database.ok_or_else(|| wrong("the URL names no database"))?;
        if parsed.write_concern.as_ref().is_some_and(|concern| concern.w == Some(Acknowledgment::Nodes(0))) {
            return Err(Error::misconfigured(format!("{whose}: w=0 in the URL has no write acknowledged"))
                .with_remedy("take w out of the URL: writes then wait for a majority"));
        }
        let (hosts, by_record) = match &parsed.host_info {
            HostInfo::HostIdentifiers(hosts) => (hosts.iter().filter_map(host).collect(), false),
            HostInfo::DnsRecord(name) => (vec![name.clone()], true),
            _ => (Vec::new(), false),
        };
        let encrypted = match &parsed.tls {
            Some(tls) => matches!(tls, Tls::Enabled(_)),
            None => by_record,
        };
        Ok(Config {
            url: section.url.clone(),
            database,
            prefix,
            request_within: Duration::from_secs(seconds.unsigned_abs()),
            hosts,
            encrypted,
        })
    }
}

/// `None`: a socket of this machine.
fn host(address: &ServerAddress) -> Option<String> {
    match address {
        ServerAddress::Tcp { host, .. } => Some(host.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use headwater_model::file::Setting;

    fn config(url: &str, settings: &[(&str, Setting)]) -> Result<Config> {
        Config::new(&StoreSection {
            name: "catalog".into(),
            url: Secret::new(url),
            settings: settings.iter().map(|(name, value)| (Box::from(*name), value.clone())).collect(),
            source: None,
        })
    }

    #[test]
    fn a_url_names_hosts_and_the_database() {
        let read = |url: &str| config(url, &[]).map(|c| (c.hosts, c.database, c.encrypted)).unwrap();
        let hosts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(read("mongodb://h/shop"), (hosts(&["h"]), "shop".into(), false));
        assert_eq!(
            read("mongodb://u:p@a:1,b:2/shop?replicaSet=rs0&tls=true"),
            (hosts(&["a", "b"]), "shop".into(), true)
        );
        assert_eq!(
            read("mongodb+srv://u:p@c.example.org/shop"),
            (hosts(&["c.example.org"]), "shop".into(), true)
        );
    }

    #[test]
    fn a_url_that_cannot_be_used_is_told_without_its_password() {
        for wrong in [
            "mongodb://u:hush@h",
            "mongodb://u:hush@h/",
            "mongodb://u:hu@sh@h/shop",
            "mongodb://u:hush@h/shop?w=0",
            "mongodb://u:hush@h/shop?replicaset",
        ] {
            let error = config(wrong, &[]).unwrap_err();
            assert!(error.remedy().is_some(), "{wrong}");
            assert!(!format!("{error} {error:?}").contains("hu"), "{error}");
        }
        let error = config("mongodb://h/shop?directConection=true", &[]).unwrap_err();
        assert!(
            error.to_string().ends_with("An option with a similar name exists: directconnection"),
            "{error}"
        );
        let error = config("mongodb://h/shop", &[("prefx", Setting::Bool(true))]).unwrap_err();
        assert_eq!(error.remedy(), Some("did you mean \"prefix\"?"));
        assert!(config("mongodb://h/shop", &[("prefix", Setting::Text(Secret::new("a$")))]).is_err());
    }
}
