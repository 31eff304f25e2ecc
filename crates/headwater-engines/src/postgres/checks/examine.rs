//! Asks one check after the other, each in a read-only transaction of its own that gives up soon: an examination holds no
//! lock that a writer waits for, and what one check may not see does not keep the others from looking.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use headwater_model::exam::{Check, Diagnosis, ExamBudget, Examination, Examine, Skipped};
use headwater_model::file::{SourceSection, StoreSection};
use headwater_model::{Error, ErrorKind, Result};

use super::{Ask, Need, all};
use crate::postgres::config::Config;
use crate::postgres::connection::{Connection, Purpose};

/// Examines one PostgreSQL database, with the role of its URL.
pub(crate) struct Examiner {
    config: Arc<Config>,
}

impl Examiner {
    pub(crate) fn of_source(section: &SourceSection) -> Result<Examiner> {
        Ok(Examiner { config: Arc::new(Config::new(section)?) })
    }

    pub(crate) fn of_store(section: &StoreSection) -> Result<Examiner> {
        Ok(Examiner { config: Arc::new(Config::of_store(section)?.0) })
    }
}

#[async_trait]
impl Examine for Examiner {
    async fn examine(&self, budget: &ExamBudget) -> Result<Examination> {
        let mut connection = Connection::open(&self.config, Purpose::Sql).await?;
        let mut examination = Examination {
            server: format!("PostgreSQL {}", connection.server_version()),
            ..Examination::default()
        };
        let sight = Sight::of(&mut connection).await?;
        let version = connection.version();
        for ask in all().filter(|ask| budget.wants(&ask.check) && ask.is_for(version)) {
            if let Some(skipped) = ask.hidden(&sight) {
                examination.skipped.push(skipped);
                continue;
            }
            if !connection.is_ready() {
                connection = Connection::open(&self.config, Purpose::Sql).await?;
            }
            match look(&mut connection, &ask.check, ask.within(budget, &sight), budget).await {
                Ok(found) => {
                    examination.made += 1;
                    examination.found.extend(found);
                }
                Err(error) if error.kind() == ErrorKind::Bug => return Err(error),
                Err(error) => examination.skipped.push(Skipped {
                    check: ask.check.id,
                    title: ask.check.title(),
                    remedy: ask.grants(&error, &sight).or_else(|| error.remedy().map(str::to_owned)),
                    why: error.to_string(),
                }),
            }
        }
        Ok(examination)
    }
}

/// What the role may see in the database.
struct Sight {
    role: String,
    all_statistics: bool,
    /// Their schemas by their names; there is always one, the procedural language.
    extensions: BTreeMap<String, String>,
}

impl Sight {
    async fn of(connection: &mut Connection) -> Result<Sight> {
        let rows = connection
            .query(
                "SELECT quote_ident(current_user), pg_has_role('pg_read_all_stats', 'usage'), extname,
                        quote_ident(nspname)
                 FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace",
            )
            .await?;
        let mut sight = Sight { role: String::new(), all_statistics: false, extensions: BTreeMap::new() };
        for row in rows {
            let mut texts = row.into_iter().map(Option::unwrap_or_default);
            let mut text = || texts.next().unwrap_or_default();
            sight.role = text();
            sight.all_statistics = text() == "t";
            sight.extensions.insert(text(), text());
        }
        Ok(sight)
    }
}

impl Ask {
    fn is_for(&self, version: u32) -> bool {
        self.needs.iter().all(|need| match need {
            Need::Since(first) => version >= *first,
            Need::Before(end) => version < *end,
            Need::Extension(_) | Need::AllStatistics | Need::Grants(_) => true,
        })
    }

    /// What is asked, with its limits and the schema of the extension it needs.
    fn within(&self, budget: &ExamBudget, sight: &Sight) -> String {
        let asks = self.check.asks_within(&budget.limits);
        let schema = self.needs.iter().find_map(|need| match need {
            Need::Extension(name) => sight.extensions.get(*name),
            _ => None,
        });
        schema.map_or(asks.clone(), |schema| asks.replace("{extension}", schema))
    }

    /// Why the check would not see what it looks for.
    fn hidden(&self, sight: &Sight) -> Option<Skipped> {
        let (why, remedy) = self.needs.iter().find_map(|need| match need {
            Need::Extension(name) if !sight.extensions.contains_key(*name) => {
                Some((format!("the database has no extension {name}"), install(name)))
            }
            Need::AllStatistics if !sight.all_statistics => Some((
                format!("the role {} sees only its own sessions and statements", sight.role),
                format!("GRANT pg_monitor TO {};", sight.role),
            )),
            _ => None,
        })?;
        Some(Skipped { check: self.check.id, title: self.check.title(), why, remedy: Some(remedy) })
    }

    /// What to grant if that is what the server refused.
    fn grants(&self, error: &Error, sight: &Sight) -> Option<String> {
        if error.kind() != ErrorKind::Denied {
            return None;
        }
        let more = self.needs.iter().find_map(|need| match need {
            Need::Grants(statements) => Some(statements.replace("{role}", &sight.role)),
            _ => None,
        });
        Some(more.unwrap_or_else(|| format!("GRANT pg_monitor TO {};", sight.role)))
    }
}

fn install(extension: &str) -> String {
    match extension {
        "pg_stat_statements" => {
            "add it to shared_preload_libraries, restart, then CREATE EXTENSION pg_stat_statements;".into()
        }
        other => format!("CREATE EXTENSION {other};"),
    }
}

async fn look(
    connection: &mut Connection,
    check: &Check,
    asked: String,
    budget: &ExamBudget,
) -> Result<Vec<Diagnosis>> {
    let begun = connection
        .query(&format!(
            "BEGIN READ ONLY; SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}; \
             SET LOCAL max_parallel_workers_per_gather = 0; \
             SELECT row_to_json(found)::text FROM (\n{asked}\n) found LIMIT {}",
            budget.each.as_millis(),
            budget.lock.as_millis(),
            budget.findings_max
        ))
        .await;
    let ended = match connection.is_ready() {
        true => connection.query("ROLLBACK").await.map(drop),
        false => Ok(()),
    };
    let rows = begun?;
    ended?;
    rows.iter().flatten().flatten().map(|row| diagnosis(check, &asked, row)).collect()
}

/// The finding that a row of a check's query is.
fn diagnosis(check: &Check, asked: &str, row: &str) -> Result<Diagnosis> {
    let row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(row)
        .map_err(|error| Error::bug(format!("check {}: {error} in {row}", check.id)))?;
    let answered: BTreeMap<String, String> = row
        .into_iter()
        .filter_map(|(name, value)| match value {
            serde_json::Value::Null => None,
            serde_json::Value::String(text) => Some((name, text)),
            other => Some((name, other.to_string())),
        })
        .collect();
    crate::checks::diagnosis(check, asked, answered)
}
