//! What `doctor` finds in a real PostgreSQL: every check is shown a problem that is really there, its remedy is applied as it
//! is printed, and then there is nothing to be found.

mod healthy;
mod server;
mod sessions;
mod tables;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use headwater_engines::registry;
use headwater_model::Secret;
use headwater_model::exam::{Diagnosis, ExamBudget, Examination, Examine};
use headwater_model::file::{SourceSection, StoreSection};
use headwater_testkit::{Postgres, eventually};

const PATIENCE: Duration = Duration::from_secs(30);

/// A database of its own in a server, and what is looked for in it.
struct Patient<'p> {
    postgres: &'p Postgres,
    database: String,
}

impl Patient<'_> {
    fn new<'p>(postgres: &'p Postgres, database: &str) -> Patient<'p> {
        postgres.psql(&format!("CREATE DATABASE {database}"));
        Patient { postgres, database: database.into() }
    }

    fn tool(&self, name: &str) -> Command {
        let mut command = self.postgres.tool(name);
        command.env("PGDATABASE", &self.database);
        command
    }

    fn try_psql(&self, sql: &str) -> Result<String, String> {
        let output =
            self.tool("psql").args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]).output();
        let output = output.expect("start psql");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    #[track_caller]
    fn psql(&self, sql: &str) -> String {
        self.try_psql(sql).unwrap_or_else(|error| panic!("{error}\n{sql}"))
    }

    /// A session of an application that stays in this statement until it is killed.
    fn session(&self, role: &str, sql: &str) -> Session {
        let child = self
            .tool("psql")
            .env("PGUSER", role)
            .env("PGAPPNAME", "shop")
            .args(["-X", "-q", "-c", sql])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start psql");
        Session(child)
    }

    async fn examine(&self, budget: &ExamBudget) -> Examination {
        examiner(&format!("postgres://postgres@127.0.0.1:{}/{}", self.postgres.port(), self.database))
            .examine(budget)
            .await
            .unwrap()
    }

    async fn look(&self, check: &str, limits: &[(&str, f64)]) -> Vec<Diagnosis> {
        let budget = ExamBudget {
            only: vec![check.into()],
            limits: limits.iter().map(|(name, value)| (format!("{check}.{name}"), *value)).collect(),
            ..ExamBudget::default()
        };
        let examination = self.examine(&budget).await;
        assert!(examination.skipped.is_empty(), "{:?}", examination.skipped);
        assert_eq!(examination.made, 1, "{check} was not made");
        examination.found
    }

    /// What is found about a subject, once it is: sessions take a moment to be seen.
    async fn finds(&self, check: &str, limits: &[(&str, f64)], subject: &str) -> Diagnosis {
        let found = async || {
            let found = self.look(check, limits).await;
            let seen = format!("{found:#?}");
            found.into_iter().find(|found| found.subject.contains(subject)).ok_or(seen)
        };
        eventually(PATIENCE, &format!("{check} about {subject}"), found).await
    }

    async fn is_gone(&self, check: &str, limits: &[(&str, f64)], subject: &str) {
        let gone = async || {
            let found = self.look(check, limits).await;
            let left: Vec<Diagnosis> =
                found.into_iter().filter(|found| found.subject.contains(subject)).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:#?}")) }
        };
        eventually(PATIENCE, &format!("{check} of {subject} to be gone"), gone).await;
    }

    /// The statements that a finding prints, one by one as a person would paste them.
    #[track_caller]
    fn paste(&self, statements: &[String]) {
        assert!(!statements.is_empty(), "the finding says nothing of what to do");
        for statement in statements {
            self.psql(statement);
        }
    }

    /// The problem is there, is found, is mended as printed, and is gone; what undoes it is understood by the server too.
    async fn heals(&self, check: &str, limits: &[(&str, f64)], subject: &str) -> Diagnosis {
        let found = self.finds(check, limits, subject).await;
        self.paste(&found.remedy);
        self.is_gone(check, limits, subject).await;
        for statement in &found.undo {
            self.psql(statement);
        }
        found
    }
}

/// Ends with the value.
struct Session(Child);

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn examiner(url: &str) -> Box<dyn Examine> {
    let section = SourceSection {
        name: None,
        url: Secret::new(url.to_owned()),
        hold_for: Duration::from_secs(600),
        retained_log_bytes_max: 1 << 30,
        settings: Default::default(),
    };
    registry::source_examiner(&section).unwrap().expect("PostgreSQL can be examined")
}
