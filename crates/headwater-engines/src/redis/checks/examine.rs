//! Asks the commands of one check after the other. Nothing that is asked walks all keys, or takes longer than the budget.

use std::time::Instant;

use async_trait::async_trait;
use headwater_model::exam::{Check, Diagnosis, ExamBudget, Examination, Examine, Skipped};
use headwater_model::file::StoreSection;
use headwater_model::{Error, ErrorKind, Result};

use super::judge::Seen;
use super::{Ask, CHECKS};
use crate::checks::Limits;
use crate::redis::config::Config;
use crate::redis::connection::Connection;
use crate::redis::resp::Reply;
use crate::redis::{facts, failure};

/// How many keys are asked for at once.
const SCAN_COUNT: &[u8] = b"200";

/// Examines one server, with the user of the store's URL.
pub(crate) struct Examiner {
    config: Config,
}

impl Examiner {
    pub(crate) fn of_store(section: &StoreSection) -> Result<Examiner> {
        Ok(Examiner { config: Config::new(section)? })
    }
}

#[async_trait]
impl Examine for Examiner {
    async fn examine(&self, budget: &ExamBudget) -> Result<Examination> {
        let mut connection = Connection::open(&self.config, &self.config.address).await?;
        let server = facts::inspect(&mut connection).await?.server;
        let mut examination = Examination { server, ..Examination::default() };
        examine_server(&mut connection, &self.config, budget, &[], &mut examination).await?;
        Ok(examination)
    }
}

/// Makes the checks that `budget` wants, without some, of a server that speaks as Redis does.
pub(crate) async fn examine_server(
    connection: &mut Connection,
    config: &Config,
    budget: &ExamBudget,
    without: &[&str],
    examination: &mut Examination,
) -> Result<()> {
    let user = config.user.as_deref().unwrap_or("default");
    let wanted = |ask: &&Ask| budget.wants(&ask.check) && !without.contains(&ask.check.id);
    for ask in CHECKS.iter().filter(wanted) {
        match look(connection, ask, budget).await {
            Ok(found) => {
                examination.made += 1;
                examination.found.extend(found);
            }
            // A user that may not, or a service that hides the command.
            Err(error)
                if matches!(error.kind(), ErrorKind::Denied | ErrorKind::Unsupported | ErrorKind::Bug) =>
            {
                examination.skipped.push(Skipped {
                    check: ask.check.id,
                    title: ask.check.title(),
                    why: error.to_string(),
                    remedy: Some(format!("ACL SETUSER {user} {}", allowed(&ask.check))),
                });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The rights that a check's commands need.
fn allowed(check: &Check) -> String {
    let mut rights: Vec<String> = check
        .asks
        .lines()
        .flat_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
            ["SAMPLE", ..] => vec!["+scan".to_owned(), "+memory|usage".to_owned()],
            [command @ ("CONFIG" | "ACL" | "SLOWLOG"), part, ..] => {
                vec![format!("+{}|{}", command.to_lowercase(), part.to_lowercase())]
            }
            [command, ..] => vec![format!("+{}", command.to_lowercase())],
            [] => Vec::new(),
        })
        .collect();
    rights.dedup();
    rights.join(" ")
}

async fn look(connection: &mut Connection, ask: &Ask, budget: &ExamBudget) -> Result<Vec<Diagnosis>> {
    let asked = ask.check.asks_within(&budget.limits);
    let limits = Limits { check: &ask.check, set: &budget.limits };
    let mut seen = Seen::default();
    for line in asked.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["SAMPLE", keys] => sample(connection, keys.parse().unwrap_or(0.0), budget, &mut seen).await?,
            ["INFO", _] => {
                let text = call(connection, &words).await?.lossy();
                let fields = facts::parse(&text);
                seen.fields
                    .extend(fields.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
            }
            ["CONFIG", "GET", _] => {
                if let Reply::Array(pair) = call(connection, &words).await?
                    && let [name, value] = &pair[..]
                {
                    seen.fields.insert(name.lossy(), value.lossy());
                }
            }
            _ => seen.lists.push(call(connection, &words).await?),
        }
    }
    let symptoms = (ask.judge)(&seen, &limits);
    // Only what a judgement may have been made of: all of INFO helps nobody.
    let answered =
        seen.fields.into_iter().filter(|(name, _)| TOLD.contains(&name.as_str())).collect::<Vec<_>>();
    Ok(symptoms
        .into_iter()
        .take(budget.findings_max)
        .map(|symptom| symptom.diagnosis(&ask.check, &asked, answered.iter().cloned().collect()))
        .collect())
}

/// Fields that are shown as evidence. No password is among what is asked.
const TOLD: &[&str] = &[
    "aof_enabled",
    "aof_last_write_status",
    "bind",
    "cmdstat_keys",
    "connected_clients",
    "connected_slaves",
    "evicted_keys",
    "master_link_status",
    "maxclients",
    "maxmemory",
    "maxmemory_policy",
    "port",
    "protected-mode",
    "rdb_last_bgsave_status",
    "rdb_last_save_time",
    "rejected_connections",
    "repl_backlog_size",
    "role",
    "save",
    "tls-port",
    "total_system_memory",
    "used_memory",
    "used_memory_peak",
];

async fn call(connection: &mut Connection, words: &[&str]) -> Result<Reply> {
    let args: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    match connection.ask(&args).await? {
        Reply::Error(text) if text.contains("unknown command") || text.contains("unknown subcommand") => {
            Err(Error::unsupported(format!("the server does not let {} be asked", words[0])))
        }
        Reply::Error(text) => Err(failure::from_reply(&text)),
        reply => Ok(reply),
    }
}

/// The sizes of some keys: as many as there is time for, as the server lists them.
async fn sample(connection: &mut Connection, keys: f64, budget: &ExamBudget, seen: &mut Seen) -> Result<()> {
    let until = Instant::now() + budget.each;
    let mut cursor = b"0".to_vec();
    loop {
        let listed = match connection.call(&[b"SCAN", &cursor, b"COUNT", SCAN_COUNT]).await? {
            Reply::Array(parts) if parts.len() == 2 => parts,
            _ => return Err(Error::transient("the server's answer to SCAN is none")),
        };
        let mut parts = listed.into_iter();
        if let (Some(Reply::Text(next)), Some(Reply::Array(names))) = (parts.next(), parts.next()) {
            cursor = next;
            for name in names {
                let Reply::Text(name) = name else { continue };
                // Of collections a few members are looked at.
                if let Reply::Int(bytes) =
                    connection.call(&[b"MEMORY", b"USAGE", &name, b"SAMPLES", b"5"]).await?
                {
                    seen.keys.push((
                        String::from_utf8_lossy(&name).into_owned(),
                        u64::try_from(bytes).unwrap_or(0),
                    ));
                }
            }
        }
        if cursor == b"0" || seen.keys.len() as f64 >= keys || Instant::now() >= until {
            break;
        }
    }
    seen.keys.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    Ok(())
}
