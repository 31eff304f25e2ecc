//! Redis Cluster: which node owns our slot.
//!
//! With a hash tag in the prefix all keys lie in one slot, so that one node holds data and position, and MULTI covers
//! both. We connect to that node; a redirection says which it is.

use headwater_model::{Error, Result};

use super::config::{Address, Config};
use super::connection::Connection;
use super::resp::Reply;
use super::{failure, keys};

/// More redirections than any cluster in order gives.
const HOPS_MAX: usize = 5;

/// Connects, and follows redirections to the node that owns the meta key.
pub(super) async fn open_home(config: &Config, start: Address) -> Result<(Connection, Address)> {
    let meta = keys::meta(&config.prefix);
    let mut address = start;
    for _ in 0..HOPS_MAX {
        let mut connection = Connection::open(config, &address).await?;
        match connection.ask(&[b"EXISTS", &meta]).await? {
            Reply::Error(text) if text.starts_with("MOVED ") => address = moved(&text, &address)?,
            Reply::Error(text) => return Err(failure::from_reply(&text)),
            _ => return Ok((connection, address)),
        }
    }
    Err(Error::transient("the cluster's nodes do not agree on who owns the prefix's slot"))
}

/// `MOVED 3999 host:port`; an empty host is the one that answered.
fn moved(text: &str, from: &Address) -> Result<Address> {
    let target = text.split(' ').nth(2).and_then(|target| target.rsplit_once(':'));
    match (target, from) {
        (Some((host, port)), Address::Tcp { host: same, .. }) if let Ok(port) = port.parse() => {
            let host = if host.is_empty() { same.as_str() } else { host };
            Ok(Address::Tcp { host: host.trim_matches(['[', ']']).to_owned(), port })
        }
        _ => Err(failure::from_reply(text)),
    }
}

/// Refuses what only a hash tag makes possible.
pub(super) fn needs_tag(prefix: &str) -> Option<Error> {
    keys::hash_tag(prefix).is_none().then(|| {
        Error::unsupported(format!(
            "this is a Redis Cluster and the prefix {prefix:?} has no hash tag, so that its keys lie in many slots"
        ))
        .with_remedy(failure::SLOT_REMEDY)
    })
}
