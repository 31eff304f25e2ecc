//! The store's URL and settings.

use std::time::Duration;

use headwater_model::file::StoreSection;
use headwater_model::{Error, Result, Secret};

use crate::settings;

const REMEDY: &str = "write dynamodb://us-east-1/prefix_ (without a region: dynamodb:///prefix_, and AWS's usual configuration \
                      names it)";

/// Requests under way at a time, for writing as for reading.
const REQUESTS: i64 = 32;

#[derive(Clone, Debug)]
pub(super) struct Config {
    /// `None`: as the environment or the profile says.
    pub(super) region: Option<String>,
    /// Before the name of every table.
    pub(super) prefix: String,
    /// Another address than the region's: DynamoDB Local, a VPC endpoint.
    pub(super) endpoint: Option<String>,
    pub(super) profile: Option<String>,
    /// `None`: the usual chain (environment, profile, web identity, container, instance).
    pub(super) keys: Option<Keys>,
    /// Whether tables that are missing are created.
    pub(super) create: bool,
    /// How long one request may take, its repetitions included.
    pub(super) request_within: Duration,
    pub(super) requests: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Keys {
    pub(super) id: String,
    pub(super) secret: Secret,
    pub(super) session_token: Option<Secret>,
}

impl Config {
    pub(super) fn new(section: &StoreSection) -> Result<Config> {
        let mut settings =
            settings::Reader::new(format!("the store \"{}\"", section.name), &section.settings);
        let config = Config::read(&format!("store {:?}", section.name), &section.url, &mut settings)?;
        settings.finish()?;
        Ok(config)
    }

    /// What a store and a source have in common: where to, as whom. `whose` says for messages whose it is.
    pub(super) fn read(whose: &str, url: &Secret, settings: &mut settings::Reader<'_>) -> Result<Config> {
        let wrong = |what: &str| Error::misconfigured(format!("{whose}: {what}")).with_remedy(REMEDY);
        let rest = (url.reveal().strip_prefix("dynamodb://"))
            .ok_or_else(|| wrong("the URL does not begin with dynamodb://"))?;
        let (region, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if !region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
            return Err(wrong("the URL's host is not the name of a region"));
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if !prefix.bytes().all(allowed) {
            return Err(wrong("the prefix has other characters than letters, digits, - and _"));
        }
        if prefix.len() > 100 {
            return Err(wrong("the prefix has more than 100 characters"));
        }
        let endpoint = settings.text("endpoint")?.map(str::to_owned);
        let profile = settings.text("profile")?.map(str::to_owned);
        let id = settings.text("access_key_id")?;
        let secret = settings.text("secret_access_key")?;
        let session_token = settings.text("session_token")?.map(Secret::new);
        let create = settings.flag("create")?.unwrap_or(false);
        let seconds = settings.number("timeout_seconds", 1..=3600)?.unwrap_or(30);
        let requests = settings.number("requests_max", 1..=1000)?.unwrap_or(REQUESTS);
        let keys = match (id, secret) {
            (None, None) if session_token.is_none() => None,
            (Some(id), Some(secret)) => {
                Some(Keys { id: id.to_owned(), secret: Secret::new(secret), session_token })
            }
            _ => {
                return Err(Error::misconfigured(format!(
                    "{whose} has only a part of its credentials"
                ))
                .with_remedy(
                    "give access_key_id and secret_access_key, or neither: then AWS's usual chain is asked",
                ));
            }
        };
        if endpoint.as_ref().is_some_and(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
            return Err(Error::misconfigured(format!("{whose}: endpoint is no URL"))
                .with_remedy("write endpoint = \"http://127.0.0.1:8000\""));
        }
        Ok(Config {
            region: (!region.is_empty()).then(|| region.to_owned()),
            prefix: prefix.to_owned(),
            endpoint,
            profile,
            keys,
            create,
            request_within: Duration::from_secs(seconds.unsigned_abs()),
            requests: usize::try_from(requests).unwrap_or(1),
        })
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

    fn text(text: &str) -> Setting {
        Setting::Text(Secret::new(text))
    }

    #[test]
    fn a_url_names_region_and_prefix() {
        let read = |url: &str| config(url, &[]).map(|config| (config.region, config.prefix)).unwrap();
        assert_eq!(read("dynamodb://us-east-1/shop_"), (Some("us-east-1".into()), "shop_".into()));
        assert_eq!(read("dynamodb://eu-west-3"), (Some("eu-west-3".into()), String::new()));
        assert_eq!(read("dynamodb:///shop-"), (None, "shop-".into()));
        for wrong in ["dynamodb:us-east-1", "dynamodb://key:secret@us-east-1/", "dynamodb://us-east-1/a/b"] {
            let error = config(wrong, &[]).unwrap_err();
            assert!(error.remedy().is_some(), "{wrong}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn credentials_come_whole_or_not_at_all() {
        let url = "dynamodb://us-east-1/";
        assert!(config(url, &[]).unwrap().keys.is_none());
        let both = [("access_key_id", text("id")), ("secret_access_key", text("hush"))];
        let keys = config(url, &both).unwrap().keys.unwrap();
        assert_eq!((&*keys.id, keys.secret.reveal()), ("id", "hush"));
        assert!(!format!("{keys:?}").contains("hush"));
        for half in [&both[..1], &both[1..], &[("session_token", text("t"))]] {
            assert!(config(url, half).is_err());
        }
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        let error = config("dynamodb://us-east-1/", &[("creat", Setting::Bool(true))]).unwrap_err();
        assert_eq!(error.remedy(), Some("did you mean \"create\"?"));
    }
}
