//! What the answers of a server mean. Pure: no check asks anything here.

use std::collections::BTreeMap;

use headwater_model::exam::Urgency;

use crate::checks::{Limits, Symptom};
use crate::redis::resp::Reply;

/// What came back, as names and values, and the replies that are neither.
#[derive(Default)]
pub(super) struct Seen {
    pub fields: BTreeMap<String, String>,
    pub lists: Vec<Reply>,
    /// Keys that were sampled, with the bytes they take, the largest first.
    pub keys: Vec<(String, u64)>,
}

impl Seen {
    fn text(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }

    /// Whether other machines reach the server, as far as its settings say.
    fn is_reached(&self) -> bool {
        let local = |address: &str| {
            let address = address.trim_start_matches('-');
            address.starts_with("127.") || address == "::1" || address == "localhost"
        };
        let bind = self.text("bind");
        self.text("port") != "0" && (bind.is_empty() || !bind.split_ascii_whitespace().all(local))
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

pub(super) fn unbounded(seen: &Seen, _: &Limits<'_>) -> Vec<Symptom> {
    let (most, machine) = (seen.number("maxmemory"), seen.number("total_system_memory"));
    if most != 0 || machine == 0 {
        return Vec::new();
    }
    let what = format!(
        "nothing bounds its memory; the machine has {}: at the end the kernel kills the server",
        mib(machine)
    );
    let remedy = format!("CONFIG SET maxmemory {}", machine / 4 * 3);
    vec![
        Symptom::new("maxmemory", Urgency::High, what, &[&remedy, "CONFIG REWRITE"])
            .undo("CONFIG SET maxmemory 0".into()),
    ]
}

pub(super) fn evicting(seen: &Seen, _: &Limits<'_>) -> Vec<Symptom> {
    let policy = seen.text("maxmemory_policy");
    if policy == "noeviction" {
        return Vec::new();
    }
    let evicted = seen.number("evicted_keys");
    let (urgency, what) = match evicted {
        0 => (
            Urgency::High,
            format!("{policy}: at the memory limit it deletes documents, and readers miss them"),
        ),
        n => (
            Urgency::Critical,
            format!("{policy}: it has deleted {n} keys since it started; readers miss them"),
        ),
    };
    let remedy = ["CONFIG SET maxmemory-policy noeviction", "CONFIG REWRITE"];
    vec![
        Symptom::new("maxmemory-policy", urgency, what, &remedy)
            .undo(format!("CONFIG SET maxmemory-policy {policy}")),
    ]
}

pub(super) fn full(seen: &Seen, limits: &Limits<'_>) -> Vec<Symptom> {
    let (used, most) = (seen.number("used_memory"), seen.number("maxmemory"));
    if most == 0 || (used as f64) < limits.of("share") * most as f64 {
        return Vec::new();
    }
    let urgency = if used as f64 >= 0.95 * most as f64 { Urgency::Critical } else { Urgency::High };
    let what = format!("{} of {} are used: at the limit every write is refused", mib(used), mib(most));
    let remedy = format!("CONFIG SET maxmemory {}", used / 2 * 3);
    vec![
        Symptom::new("used_memory", urgency, what, &[&remedy, "CONFIG REWRITE"])
            .undo(format!("CONFIG SET maxmemory {most}")),
    ]
}

pub(super) fn big(seen: &Seen, limits: &Limits<'_>) -> Vec<Symptom> {
    let bytes = limits.of("bytes");
    seen.keys
        .iter()
        .take_while(|(_, size)| *size as f64 >= bytes)
        .map(|(key, size)| {
            let what =
                format!("takes {}: whoever reads it whole, or deletes it, holds all others up", mib(*size));
            Symptom::new(format!("key {key}"), Urgency::Medium, what, &[&format!("UNLINK {}", argument(key))])
        })
        .collect()
}

/// A key as `redis-cli` takes it.
fn argument(key: &str) -> String {
    match key.contains([' ', '"', '\'', '\\']) {
        true => format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\"")),
        false => key.to_owned(),
    }
}

pub(super) fn not_saved(seen: &Seen, _: &Limits<'_>) -> Vec<Symptom> {
    let failed = |name: &str, what: &str, remedy: &str| {
        (seen.text(name) == "err").then(|| Symptom::new(name, Urgency::Critical, what, &[remedy]))
    };
    let snapshot = failed(
        "rdb_last_bgsave_status",
        "the last snapshot failed: what is in memory is on no disk, and writes may be refused",
        "BGSAVE  # after making room: the server's log says what it lacks",
    );
    let log = failed(
        "aof_last_write_status",
        "the append-only file could not be written: writes are refused",
        "CONFIG SET appendonly yes  # after making room: the server's log says what it lacks",
    );
    snapshot.into_iter().chain(log).collect()
}

pub(super) fn never_saved(seen: &Seen, _: &Limits<'_>) -> Vec<Symptom> {
    if seen.text("aof_enabled") == "1" || !seen.text("save").is_empty() {
        return Vec::new();
    }
    let what = "neither snapshots nor an append-only file: after a restart it is empty, and is filled again from the source";
    let remedy = ["CONFIG SET appendonly yes", "CONFIG REWRITE"];
    vec![Symptom::new("appendonly", Urgency::Low, what, &remedy).undo("CONFIG SET appendonly no".into())]
}

pub(super) fn open(seen: &Seen, _: &Limits<'_>) -> Vec<Symptom> {
    let user = seen.lists.first();
    let flags = match user {
        Some(Reply::Array(parts)) => parts
            .chunks(2)
            .find(|pair| pair[0].lossy() == "flags")
            .and_then(|pair| match &pair[1] {
                Reply::Array(flags) => Some(flags.iter().map(Reply::lossy).collect::<Vec<_>>()),
                _ => None,
            })
            .unwrap_or_default(),
        _ => Vec::new(),
    };
    let has = |flag: &str| flags.iter().any(|one| one == flag);
    if !has("on") || !has("nopass") {
        return Vec::new();
    }
    // Protected mode lets nobody from elsewhere in without a password.
    let reached = seen.is_reached() && seen.text("protected-mode") != "yes";
    let (urgency, what) = match reached {
        true => (
            Urgency::Critical,
            "anyone who reaches it reads and deletes everything, and can take the machine over",
        ),
        false => {
            (Urgency::Low, "needs no password: every program of this machine reads and deletes everything")
        }
    };
    let remedy = [
        "ACL SETUSER headwater on '>SECRET' ~PREFIX:* resetchannels +@all -@dangerous +info  # and what applications need",
        "ACL SETUSER default off",
    ];
    vec![Symptom::new("user default", urgency, what, &remedy).undo("ACL SETUSER default on nopass".into())]
}

pub(super) fn in_the_clear(seen: &Seen, _: &Limits<'_>) -> Vec<Symptom> {
    let guarded = seen.text("protected-mode") == "yes";
    if !seen.is_reached() || guarded || !matches!(seen.text("tls-port"), "" | "0") {
        return Vec::new();
    }
    let what =
        format!("listens on {} without TLS: passwords and rows can be read on the way", seen.text("bind"));
    let remedy =
        ["tls-port 6380  # with tls-cert-file, tls-key-file and tls-ca-cert-file in redis.conf; then port 0"];
    vec![Symptom::new("tls-port", Urgency::High, what, &remedy)]
}

pub(super) fn slow(seen: &Seen, limits: &Limits<'_>) -> Vec<Symptom> {
    let mut by_command: BTreeMap<String, (u64, u64, String)> = BTreeMap::new();
    let Some(Reply::Array(entries)) = seen.lists.first() else { return Vec::new() };
    for entry in entries {
        // Number, time, microseconds, arguments.
        let Reply::Array(parts) = entry else { continue };
        let (Some(Reply::Int(micros)), Some(Reply::Array(args))) = (parts.get(2), parts.get(3)) else {
            continue;
        };
        let micros = u64::try_from(*micros).unwrap_or(0);
        if (micros as f64) < limits.of("milliseconds") * 1000.0 {
            continue;
        }
        let words: Vec<String> = args.iter().take(4).map(Reply::lossy).collect();
        let name = words.first().cloned().unwrap_or_default().to_uppercase();
        let (times, longest, example) = by_command.entry(name).or_default();
        *times += 1;
        if micros >= *longest {
            (*longest, *example) = (micros, words.join(" ").chars().take(120).collect());
        }
    }
    let mut found: Vec<Symptom> = by_command
        .into_iter()
        .filter(|(_, (times, _, _))| *times as f64 >= limits.of("times"))
        .map(|(name, (times, micros, example))| {
            let urgency = if micros >= 100_000 { Urgency::High } else { Urgency::Medium };
            let what = format!(
                "took up to {:.1} ms, {times} times of late, and everybody else waited: {example}",
                micros as f64 / 1000.0
            );
            Symptom::new(
                format!("command {name}"),
                urgency,
                what,
                &["SLOWLOG RESET  # then see whether it comes back"],
            )
        })
        .collect();
    found.sort_by_key(|symptom| std::cmp::Reverse(symptom.urgency));
    found
}

pub(super) fn walks_all_keys(seen: &Seen, limits: &Limits<'_>) -> Vec<Symptom> {
    let value = |text: &str, name: &str| -> u64 {
        let found = text.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        found.and_then(|number| number.parse::<f64>().ok()).map_or(0, |number| number as u64)
    };
    let keys: u64 = seen
        .fields
        .iter()
        .filter(|(name, _)| name.starts_with("db"))
        .map(|(_, text)| value(text, "keys"))
        .sum();
    let calls = value(seen.text("cmdstat_keys"), "calls");
    if calls == 0 || (keys as f64) < limits.of("keys") {
        return Vec::new();
    }
    let what =
        format!("was called {calls} times; each time the server reads all {keys} keys while everybody waits");
    let remedy = ["ACL SETUSER APPLICATION -keys  # and SCAN in its place", "CONFIG RESETSTAT"];
    vec![Symptom::new("command KEYS", Urgency::Medium, what, &remedy)]
}

pub(super) fn crowded(seen: &Seen, limits: &Limits<'_>) -> Vec<Symptom> {
    let (here, most) = (seen.number("connected_clients"), seen.number("maxclients"));
    let rejected = seen.number("rejected_connections");
    let many = most > 0 && here as f64 >= limits.of("share") * most as f64;
    if !many && rejected == 0 {
        return Vec::new();
    }
    let urgency = if rejected > 0 { Urgency::Critical } else { Urgency::High };
    let what = match rejected {
        0 => format!("{here} of {most} connections are taken: at the end nobody gets in"),
        n => format!("{n} connections were refused since it started; {here} of {most} are taken now"),
    };
    let remedy = [&*format!("CONFIG SET maxclients {}", most * 2), "CONFIG RESETSTAT", "CONFIG REWRITE"];
    vec![Symptom::new("maxclients", urgency, what, &remedy).undo(format!("CONFIG SET maxclients {most}"))]
}

pub(super) fn replication(seen: &Seen, limits: &Limits<'_>) -> Vec<Symptom> {
    if seen.text("role") == "slave" {
        let down = seen.text("master_link_status") == "down";
        let what = format!(
            "has not heard of its primary for {} s: what it answers grows old",
            seen.number("master_link_down_since_seconds")
        );
        let remedy =
            ["INFO replication  # on both; then the network, and the primary's requirepass and masterauth"];
        return down.then(|| Symptom::new("replica", Urgency::High, what, &remedy)).into_iter().collect();
    }
    let backlog = seen.number("repl_backlog_size");
    if seen.number("connected_slaves") == 0 || backlog as f64 >= limits.of("backlog_bytes") {
        return Vec::new();
    }
    let what = format!(
        "{} of changes are kept for replicas: one that is away for longer is sent the whole data anew, and the primary forks for it",
        mib(backlog)
    );
    let remedy = ["CONFIG SET repl-backlog-size 64mb", "CONFIG REWRITE"];
    vec![
        Symptom::new("repl-backlog-size", Urgency::Medium, what, &remedy)
            .undo(format!("CONFIG SET repl-backlog-size {backlog}")),
    ]
}
