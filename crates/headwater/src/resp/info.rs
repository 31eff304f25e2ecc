//! What a server says about itself: INFO, COMMAND, CONFIG, TIME, DBSIZE.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use headwater_flow::status::Status;

use super::client::REDIS_VERSION;
use super::command::{COMMANDS, Command, Meant, find};
use super::execute::Request;
use super::reply::{self, Protocol};
use super::shared::{Flow, Reading, Shared};

/// How old a count of documents may be, and how long a new one may take.
const COUNT_AGE_MAX: Duration = Duration::from_secs(5);
const COUNT_WITHIN: Duration = Duration::from_millis(500);

/// Documents of all views: an estimate while writes go on.
pub async fn count(reading: &Reading) -> i64 {
    let mut all = 0;
    for flow in &reading.flows {
        all += rows(reading, flow, &flow.handle.status_with_rows(COUNT_AGE_MAX, COUNT_WITHIN).await);
    }
    all
}

/// Documents of the views of a source.
fn rows(reading: &Reading, flow: &Flow, status: &Status) -> i64 {
    let rows = |name: &str| {
        let views = status.stores.iter().flat_map(|store| &store.views);
        views.filter(|view| *view.name == *name).filter_map(|view| view.rows).max().unwrap_or(0)
    };
    let all: u64 = reading
        .views
        .iter()
        .filter(|served| served.source == flow.name)
        .map(|served| rows(&served.view.name))
        .sum();
    i64::try_from(all).unwrap_or(i64::MAX)
}

/// `INFO [section…]`
pub fn info(request: Request<'_>, shared: &Shared, reading: &Reading, protocol: Protocol, out: &mut Vec<u8>) {
    let wanted = |section: &str| {
        request.len() == 1
            || request.from(1).any(|arg| {
                [section, "all", "default", "everything"]
                    .iter()
                    .any(|s| arg.eq_ignore_ascii_case(s.as_bytes()))
            })
    };
    let mut text = String::new();
    let mut section = |title: &str, lines: &[(&str, String)]| {
        if wanted(title) {
            let gap = if text.is_empty() { "" } else { "\r\n" };
            let _ = write!(text, "{gap}# {title}\r\n");
            lines.iter().for_each(|(name, value)| {
                let _ = write!(text, "{name}:{value}\r\n");
            });
        }
    };
    section(
        "Server",
        &[
            // The version whose commands and replies these are.
            ("redis_version", REDIS_VERSION.to_owned()),
            ("redis_mode", "standalone".to_owned()),
            ("headwater_version", env!("CARGO_PKG_VERSION").to_owned()),
            ("process_id", std::process::id().to_string()),
            ("uptime_in_seconds", shared.began.elapsed().as_secs().to_string()),
        ],
    );
    section("Clients", &[("connected_clients", shared.connections.load(Ordering::Relaxed).to_string())]);
    section("Persistence", &[("loading", "0".to_owned())]);
    section(
        "Stats",
        &[
            ("total_connections_received", shared.connections_total.load(Ordering::Relaxed).to_string()),
            ("total_commands_processed", shared.commands.load(Ordering::Relaxed).to_string()),
            ("rejected_connections", shared.refused_total.load(Ordering::Relaxed).to_string()),
        ],
    );
    section(
        "Replication",
        &[
            ("role", "master".to_owned()),
            ("connected_slaves", "0".to_owned()),
            ("headwater_source", reading.servers()),
        ],
    );
    section("Cluster", &[("cluster_enabled", "0".to_owned())]);
    if wanted("Keyspace") {
        let of = |flow: &Flow| rows(reading, flow, &flow.handle.status());
        let all: i64 = reading.flows.iter().map(of).sum();
        section("Keyspace", &[("db0", format!("keys={all},expires=0,avg_ttl=0"))]);
    }
    reply::verbatim(&text, protocol, out);
}

/// `CONFIG GET …`: there is nothing to be had, and nothing to be set.
pub fn config(request: Request<'_>, protocol: Protocol, out: &mut Vec<u8>) {
    if request.is(1, "GET") && request.len() > 2 {
        return reply::map(0, protocol, out);
    }
    if request.is(1, "RESETSTAT") {
        return reply::simple("OK", out);
    }
    reply::error("ERR there is nothing to configure here: edit headwater.toml and start again", out);
}

pub fn time(out: &mut Vec<u8>) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    reply::array(2, out);
    reply::bulk(now.as_secs().to_string().as_bytes(), out);
    reply::bulk(now.subsec_micros().to_string().as_bytes(), out);
}

/// `COMMAND [COUNT|INFO …|DOCS …|LIST]`
pub fn commands(request: Request<'_>, protocol: Protocol, out: &mut Vec<u8>) {
    let named = || {
        request.from(2).map(|name| match find(name) {
            Meant::Answered(command) => Some(command),
            Meant::Write | Meant::Unknown => None,
        })
    };
    if request.len() == 1 {
        reply::array(COMMANDS.len(), out);
        COMMANDS.iter().for_each(|command| describe(command, out));
    } else if request.is(1, "COUNT") {
        reply::integer(COMMANDS.len() as i64, out);
    } else if request.is(1, "LIST") {
        reply::array(COMMANDS.len(), out);
        COMMANDS.iter().for_each(|command| reply::bulk(lower(command).as_bytes(), out));
    } else if request.is(1, "INFO") {
        let asked: Vec<_> =
            if request.len() == 2 { COMMANDS.iter().map(Some).collect() } else { named().collect() };
        reply::array(asked.len(), out);
        for command in asked {
            match command {
                Some(command) => describe(command, out),
                None => reply::null_array(protocol, out),
            }
        }
    } else if request.is(1, "DOCS") {
        let asked: Vec<_> =
            if request.len() == 2 { COMMANDS.iter().collect() } else { named().flatten().collect() };
        reply::map(asked.len(), protocol, out);
        for command in asked {
            reply::bulk(lower(command).as_bytes(), out);
            reply::map(2, protocol, out);
            for (name, value) in [("summary", command.summary), ("group", command.group)] {
                reply::bulk(name.as_bytes(), out);
                reply::bulk(value.as_bytes(), out);
            }
        }
    } else {
        reply::error("ERR unknown subcommand. Try COMMAND COUNT, INFO, DOCS or LIST.", out);
    }
}

/// Name, arity, flags, keys; then categories, tips, key specifications and subcommands, of which there are none.
fn describe(command: &Command, out: &mut Vec<u8>) {
    reply::array(10, out);
    reply::bulk(lower(command).as_bytes(), out);
    reply::integer(i64::from(command.arity), out);
    reply::array(1, out);
    reply::simple("readonly", out);
    let (first, last, step) = command.keys;
    [first, last, step].iter().for_each(|place| reply::integer(i64::from(*place), out));
    (0..4).for_each(|_| reply::array(0, out));
}

fn lower(command: &Command) -> String {
    command.name.to_ascii_lowercase()
}
