//! What the server says about itself, and what of that may hurt.

use std::collections::HashMap;

use headwater_model::{Error, Promise, Result, Risk, Severity, StoreFacts};

use super::connection::Connection;
use super::resp::Reply;
use super::{codec, failure};

pub(crate) async fn inspect(connection: &mut Connection) -> Result<StoreFacts> {
    let info = connection.call(&[b"INFO"]).await?.lossy();
    let info = parse(&info);
    let server = server(&info)?;
    Ok(StoreFacts {
        server,
        promise: Promise::Transaction,
        partial_hash: true,
        partial_json: false,
        key_bytes_max: codec::BYTES_MAX,
        document_bytes_max: codec::BYTES_MAX,
        risks: risks(&info),
    })
}

/// Whether the server is a cluster's node, as far as the user may ask.
pub(super) async fn is_cluster(connection: &mut Connection) -> Result<bool> {
    match connection.ask(&[b"INFO", b"cluster"]).await? {
        Reply::Error(text) if text.starts_with("NOPERM") => Ok(false),
        Reply::Error(text) => Err(failure::from_reply(&text)),
        info => Ok(parse(&info.lossy()).get("cluster_enabled") == Some(&"1")),
    }
}

pub(crate) fn parse(info: &str) -> HashMap<&str, &str> {
    info.lines().filter_map(|line| line.trim_end().split_once(':')).collect()
}

fn server(info: &HashMap<&str, &str>) -> Result<String> {
    let (product, version) = match (info.get("valkey_version"), info.get("redis_version")) {
        (Some(version), _) => ("Valkey", *version),
        (None, Some(version)) => ("Redis", *version),
        _ => return Err(Error::unsupported("the server does not say which Redis it is")),
    };
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0u32));
    let (major, minor) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if (major, minor) < (6, 2) {
        return Err(Error::unsupported(format!("{product} {version} is too old: COPY came with 6.2"))
            .with_remedy("use Redis 6.2 or newer, or Valkey"));
    }
    Ok(format!("{product} {version}"))
}

pub(crate) fn risks(info: &HashMap<&str, &str>) -> Vec<Risk> {
    let is = |name: &str, value: &str| info.get(name) == Some(&value);
    let mut risks = Vec::new();
    let mut add =
        |severity, what: String, remedy: &str| risks.push(Risk { severity, what, remedy: remedy.into() });
    if let Some(policy) = info.get("maxmemory_policy").filter(|policy| **policy != "noeviction") {
        let bounded = !is("maxmemory", "0");
        add(
            if bounded { Severity::Error } else { Severity::Warning },
            format!(
                "maxmemory-policy is {policy}: at the memory limit the server deletes documents, or our own position"
            ),
            "CONFIG SET maxmemory-policy noeviction (managed services: the parameter group)",
        );
    }
    if is("role", "slave") {
        add(
            Severity::Error,
            "this is a read-only replica".into(),
            "put the primary's address into the store's URL (managed services: the primary endpoint)",
        );
    }
    if is("aof_enabled", "0") {
        add(
            Severity::Note,
            "the server has no append-only file: after a crash the store goes back to its last snapshot, or is empty, \
             and is filled again from there"
                .into(),
            "CONFIG SET appendonly yes, if that would take too long",
        );
    }
    if is("rdb_last_bgsave_status", "err") {
        add(
            Severity::Warning,
            "the server's last snapshot failed: it may refuse writes until one succeeds".into(),
            "free disk space and see the server's log; then BGSAVE",
        );
    }
    risks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eviction_is_an_error_where_memory_is_bounded() {
        let risk = |text: &str| risks(&parse(text)).into_iter().map(|risk| risk.severity).collect::<Vec<_>>();
        assert_eq!(risk("maxmemory:1000\r\nmaxmemory_policy:allkeys-lru\r\n"), [Severity::Error]);
        assert_eq!(risk("maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n"), [Severity::Warning]);
        assert_eq!(risk("maxmemory:1000\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\n"), []);
    }

    #[test]
    fn old_servers_are_refused() {
        assert!(server(&parse("redis_version:6.0.16\r\n")).is_err());
        assert_eq!(server(&parse("redis_version:7.0.15\r\n")).expect("new enough"), "Redis 7.0.15");
        let valkey = parse("redis_version:7.2.4\r\nvalkey_version:8.0.1\r\n");
        assert_eq!(server(&valkey).expect("new enough"), "Valkey 8.0.1");
    }
}
