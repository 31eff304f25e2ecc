//! How documents travel to a store, and where it stands, as far as its section of the file says: what rules about data are
//! checked against. Nothing is connected.

/// The way to a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The machines that it is on; none if it is in this process or a file of this machine.
    pub hosts: Vec<String>,
    /// Whether nobody on the way can read what is sent, whatever the server would agree to.
    pub encrypted: bool,
    /// The provider's region, as the settings or the name of a host say.
    region: Option<Region>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Region {
    /// `eu-central-1`
    Named(String),
    /// `euc1`: what the names of caches have.
    Short(String),
}

impl Reach {
    pub(crate) fn new(hosts: Vec<String>, encrypted: bool, region: Option<&str>) -> Reach {
        let said = region.map(|region| Region::Named(region.to_owned()));
        let region = said.or_else(|| hosts.iter().find_map(|host| of_host(host)));
        Reach { hosts, encrypted, region }
    }

    /// Whether what is sent passes a network.
    pub fn leaves_the_machine(&self) -> bool {
        self.hosts.iter().any(|host| !is_local(host))
    }

    /// The region, for people; `None` if nothing says.
    pub fn region(&self) -> Option<&str> {
        self.region.as_ref().map(|region| match region {
            Region::Named(name) | Region::Short(name) => &**name,
        })
    }

    /// Whether it is in one of these regions; `None` if nothing says where it is.
    pub fn is_in(&self, regions: &[Box<str>]) -> Option<bool> {
        let is = |name: &str| match self.region.as_ref()? {
            Region::Named(named) => Some(named == name),
            Region::Short(short) => Some(*short == shortened(name)),
        };
        regions.iter().map(|name| is(name)).try_fold(false, |any, is| Some(any || is?))
    }
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host == "::1" || host == "[::1]" || host.starts_with("127.")
}

/// Hosts of the provider are named for their regions: `db.x1y2.eu-central-1.rds.amazonaws.com`,
/// `cache.x1y2.ng.0001.euc1.cache.amazonaws.com` (docs.aws.amazon.com/general/latest/gr/rande.html).
fn of_host(host: &str) -> Option<Region> {
    let domains = [".amazonaws.com", ".amazonaws.com.cn", ".on.aws"];
    let labels: Vec<&str> = domains.iter().find_map(|domain| host.strip_suffix(domain))?.split('.').collect();
    if let Some(name) = labels.iter().find(|label| is_region(label)) {
        return Some(Region::Named((*name).to_owned()));
    }
    match labels[..] {
        [.., short, "cache"] => Some(Region::Short(short.to_owned())),
        _ => None,
    }
}

/// `eu-central-1`, `us-gov-west-1`
fn is_region(label: &str) -> bool {
    let parts: Vec<&str> = label.split('-').collect();
    let letters = |part: &&str| part.len() > 1 && part.bytes().all(|byte| byte.is_ascii_lowercase());
    matches!(parts[..], [_, _, .., number] if number.len() == 1 && number.as_bytes()[0].is_ascii_digit())
        && parts.len() <= 4
        && parts[0].len() == 2
        && parts[..parts.len() - 1].iter().all(letters)
}

/// `euc1` of `eu-central-1`, `apse2` of `ap-southeast-2`.
fn shortened(region: &str) -> String {
    let mut parts = region.split('-');
    let area = parts.next().unwrap_or_default().to_owned();
    parts.fold(area, |short, part| {
        let initials = match part {
            "northeast" => "ne",
            "northwest" => "nw",
            "southeast" => "se",
            "southwest" => "sw",
            "gov" => "g",
            part => part.get(..1).unwrap_or_default(),
        };
        short + initials
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str) -> Reach {
        let hosts = vec![host.to_owned()];
        let region = of_host(host);
        Reach { hosts, encrypted: false, region }
    }

    #[test]
    fn hosts_of_the_provider_say_their_region() {
        let allowed: [Box<str>; 2] = ["eu-central-1".into(), "ap-southeast-2".into()];
        for (host, inside) in [
            ("db.x1y2.eu-central-1.rds.amazonaws.com", Some(true)),
            ("db.x1y2.us-east-1.rds.amazonaws.com", Some(false)),
            ("cache.x1y2.ng.0001.euc1.cache.amazonaws.com", Some(true)),
            ("master.x1y2.apse2.cache.amazonaws.com", Some(true)),
            ("master.x1y2.use1.cache.amazonaws.com", Some(false)),
            ("x1-y2.timestream-influxdb.eu-central-1.on.aws", Some(true)),
            ("cache.example.org", None),
        ] {
            assert_eq!(at(host).is_in(&allowed), inside, "{host}");
        }
        assert_eq!(at("db.x1y2.eu-central-1.rds.amazonaws.com").region(), Some("eu-central-1"));
    }

    #[test]
    fn what_stays_on_the_machine_passes_no_network() {
        assert!(!at("127.0.0.1").leaves_the_machine() && !at("localhost").leaves_the_machine());
        assert!(!Reach::default().leaves_the_machine() && at("10.0.0.3").leaves_the_machine());
    }
}
