//! Asks one check after the other, each in a read-only transaction that gives up soon.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use headwater_model::exam::{Diagnosis, ExamBudget, Examination, Examine, Skipped};
use headwater_model::file::SourceSection;
use headwater_model::{ErrorKind, Result};
use mysql_async::prelude::Queryable as _;

use super::{Ask, Of, all};
use crate::checks::diagnosis;
use crate::mysql::config::Config;
use crate::mysql::connection::{Connection, Servers, cells, ended_after};
use crate::mysql::error::failed;

/// Examines one server, with the user of its URL.
pub(crate) struct Examiner {
    config: Arc<Config>,
}

impl Examiner {
    pub(crate) fn of_source(section: &SourceSection) -> Result<Examiner> {
        Ok(Examiner { config: Arc::new(Config::new(section)?) })
    }
}

#[async_trait]
impl Examine for Examiner {
    async fn examine(&self, budget: &ExamBudget) -> Result<Examination> {
        let servers = Servers::new(Arc::clone(&self.config));
        let mut connection = servers.open(&[]).await?;
        for statement in bounds(budget) {
            connection.run(&statement).await?;
        }
        let product = if connection.about.mariadb { "MariaDB" } else { "MySQL" };
        let version = connection.about.version.split('-').next().unwrap_or_default().to_owned();
        let mut examination =
            Examination { server: format!("{product} {version}"), ..Examination::default() };
        let mariadb = connection.about.mariadb;
        let is_for = |of: Of| of == Of::Both || (of == Of::MariaDb) == mariadb;
        for ask in all().filter(|ask| budget.wants(&ask.check) && is_for(ask.of)) {
            match look(&mut connection, ask, budget).await {
                Ok(found) => {
                    examination.made += 1;
                    examination.found.extend(found);
                }
                Err(error) if error.kind() == ErrorKind::Bug => return Err(error),
                Err(error) => examination.skipped.push(Skipped {
                    check: ask.check.id,
                    title: ask.check.title(),
                    remedy: (error.kind() == ErrorKind::Denied)
                        .then(|| format!("GRANT PROCESS, SELECT ON *.* TO '{}'@'%';", self.config.user)),
                    why: error.to_string(),
                }),
            }
        }
        Ok(examination)
    }
}

/// What the server may spend on one check. The shortest time that it waits for a lock on a table's definition is a second.
fn bounds(budget: &ExamBudget) -> [String; 2] {
    let lock = budget.lock.as_secs().max(1);
    let locks = format!("SET SESSION lock_wait_timeout = {lock}, innodb_lock_wait_timeout = {lock}");
    [locks, ended_after(budget.each)]
}

async fn look(connection: &mut Connection, ask: &Ask, budget: &ExamBudget) -> Result<Vec<Diagnosis>> {
    let status = match connection.about.mariadb {
        true => "information_schema.global_status",
        false => "performance_schema.global_status",
    };
    let asked = ask.check.asks_within(&budget.limits).replace("{status}", status);
    connection.run("START TRANSACTION READ ONLY").await?;
    let answer = connection
        .conn
        .query::<mysql_async::Row, _>(format!("{asked}\nLIMIT {}", budget.findings_max))
        .await
        .map_err(failed);
    connection.run("ROLLBACK").await?;
    answer?.into_iter().map(|row| diagnosis(&ask.check, &asked, named(row))).collect()
}

/// Cells by the names of their columns, without those that are NULL.
fn named(row: mysql_async::Row) -> BTreeMap<String, String> {
    let names: Vec<String> = row.columns_ref().iter().map(|column| column.name_str().into_owned()).collect();
    let texts = cells(row).into_iter().map(|cell| Some(String::from_utf8_lossy(&cell?).into_owned()));
    names.into_iter().zip(texts).filter_map(|(name, text)| Some((name, text?))).collect()
}
