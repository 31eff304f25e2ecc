//! The store's URL and settings.

use std::time::Duration;

use headwater_model::file::StoreSection;
use headwater_model::{Error, Result};

use crate::graph::Bounds;
use crate::settings;

const REMEDY: &str =
    "write neptune://shop.cluster-abc123.us-east-1.neptune.amazonaws.com:8182, the cluster's writer endpoint";

/// A request of more than 150 MB is refused by the service.
const STEP_BYTES_MAX: u64 = 64 << 20;
const STEP_BYTES_MOST: u64 = 100 << 20;

const DOCUMENT_BYTES_MAX: usize = 4 << 20;

#[derive(Debug)]
pub(super) struct Config {
    pub(super) host: String,
    pub(super) port: u16,
    /// Whether requests are signed.
    pub(super) iam: bool,
    pub(super) tls: bool,
    pub(super) tls_ca: Option<String>,
    pub(super) region: Option<String>,
    pub(super) profile: Option<String>,
    pub(super) request_within: Duration,
    pub(super) bounds: Bounds,
}

impl Config {
    pub(super) fn new(section: &StoreSection) -> Result<Config> {
        let wrong = |what: &str| {
            Error::misconfigured(format!("store {:?}: {what}", section.name)).with_remedy(REMEDY)
        };
        let address = (section.url.reveal().strip_prefix("neptune://"))
            .ok_or_else(|| wrong("the URL does not begin with neptune://"))?;
        let (host, port) = match address.trim_end_matches('/').rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| wrong("the URL's port is not a number"))?),
            None => (address.trim_end_matches('/'), 8182),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if host.is_empty() || !host.bytes().all(plain) {
            return Err(wrong("the URL has more than a host and a port, or no host"));
        }
        let mut settings =
            settings::Reader::new(format!("the store \"{}\"", section.name), &section.settings);
        let region = settings.text("region")?.map(str::to_owned).or_else(|| region_of(host));
        let profile = settings.text("profile")?.map(str::to_owned);
        let iam = settings.flag("iam")?.unwrap_or(true);
        let tls = settings.flag("tls")?.unwrap_or(true);
        let tls_ca = settings.text("tls_ca")?.map(str::to_owned);
        let seconds = settings.number("timeout_seconds", 1..=3600)?.unwrap_or(120);
        let step_bytes_max = settings.bytes("step_bytes_max")?.unwrap_or(STEP_BYTES_MAX);
        settings.finish()?;
        if !((1 << 20)..=STEP_BYTES_MOST).contains(&step_bytes_max) {
            return Err(Error::misconfigured(format!(
                "store {:?}: step_bytes_max is {step_bytes_max} bytes",
                section.name
            ))
            .with_remedy("give 1MiB to 100MiB: the service takes 150 MB as one request"));
        }
        Ok(Config {
            host: host.to_owned(),
            port,
            iam,
            tls,
            tls_ca,
            region,
            profile,
            request_within: Duration::from_secs(seconds.unsigned_abs()),
            bounds: Bounds {
                step_bytes_max: usize::try_from(step_bytes_max).unwrap_or(usize::MAX),
                document_bytes_max: DOCUMENT_BYTES_MAX,
            },
        })
    }
}

/// Endpoints are `NAME.cluster-ID.REGION.neptune.amazonaws.com`.
fn region_of(host: &str) -> Option<String> {
    let (before, _) = host.split_once(".neptune.amazonaws.com")?;
    before.rsplit_once('.').map(|(_, region)| region.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use headwater_model::Secret;
    use headwater_model::file::Setting;

    use super::*;

    fn config(url: &str, settings: &[(&str, Setting)]) -> Result<Config> {
        Config::new(&StoreSection {
            name: "social".into(),
            url: Secret::new(url),
            settings: settings.iter().map(|(name, value)| (Box::from(*name), value.clone())).collect(),
            source: None,
        })
    }

    #[test]
    fn a_url_names_the_cluster_and_its_region() {
        let full = config("neptune://shop.cluster-abc.eu-west-3.neptune.amazonaws.com:9000", &[]).unwrap();
        assert_eq!((full.port, full.region.as_deref(), full.iam), (9000, Some("eu-west-3"), true));
        let china = config("neptune://s.cluster-a.cn-north-1.neptune.amazonaws.com.cn/", &[]).unwrap();
        assert_eq!((china.port, china.region.as_deref()), (8182, Some("cn-north-1")));
        let own = [("region", Setting::Text(Secret::new("us-east-1"))), ("iam", Setting::Bool(false))];
        let tunnel = config("neptune://localhost:8182", &own).unwrap();
        assert_eq!((tunnel.region.as_deref(), tunnel.iam), (Some("us-east-1"), false));
        assert_eq!(config("neptune://localhost", &[]).unwrap().region, None);
    }

    #[test]
    fn mistakes_have_remedies() {
        for url in [
            "neptune:host",
            "neptune://",
            "neptune://user:pw@host",
            "neptune://host/graph",
            "neptune://host:x",
        ] {
            let error = config(url, &[]).unwrap_err();
            assert!(error.remedy().is_some() && !error.to_string().contains("pw"), "{error:?}");
        }
        let error = config("neptune://host", &[("profil", Setting::Bool(true))]).unwrap_err();
        assert_eq!(error.remedy(), Some("did you mean \"profile\"?"));
    }
}
