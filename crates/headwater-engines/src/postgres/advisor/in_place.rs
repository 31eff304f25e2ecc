//! The planner of the database that is advised, asked where it is: with indexes that its extension `hypopg` makes, which are there for
//! this session's EXPLAINs alone.
//!
//! The session only reads, takes no lock but a reader's, waits for no other one and gives up soon. Nothing is made there but what the
//! session's own memory holds: the extension is somebody else's to create.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use headwater_model::{Error, ErrorKind, Result};
use serde::Deserialize;

use super::candidates::Candidate;
use super::origin::{ColumnStatistics, Origin, Schema};
use super::what_if::{Question, WhatIf};
use super::{plan, reading};
use crate::advice::configs::{Ask, Planned, Planner};
use crate::postgres::config::Config;
use crate::postgres::connection::{Connection, Purpose};
use crate::postgres::error::ServerError;
use crate::postgres::sql::{identifier, literal};

/// For one question. Planning a join of very many tables takes a part of a second.
const PLAN_WITHIN: Duration = Duration::from_secs(2);
const LOCK_WITHIN: Duration = Duration::from_millis(100);

/// Older ones take the numbers of their indexes from the catalog, for which they lock it and write.
const OLDEST: (u32, u32) = (1, 2);

/// There are about 2500 numbers for hypothetical indexes, and used ones are free again only when all are.
const MADE_MAX: usize = 2_000;

pub(super) struct InPlace {
    connection: Connection,
    extension: Extension,
    calls: usize,
    calls_max: usize,
    /// What makes each candidate, by its name.
    candidates: BTreeMap<String, String>,
    /// Indexes of today, as the server reads their names.
    today: BTreeMap<String, String>,
    /// Candidates that the questions are about.
    about: BTreeSet<String>,
    /// Candidates that the session has now.
    shown: BTreeMap<String, Hypothetical>,
    /// Indexes of today that it does not see now.
    hidden: BTreeSet<String>,
    /// Since numbers began anew.
    made: usize,
}

/// An index that the session's planner believes in.
struct Hypothetical {
    number: String,
    /// What plans call it.
    name: String,
}

#[derive(Deserialize)]
struct Extension {
    /// `None`: it is not in this database.
    version: Option<String>,
    #[serde(default)]
    schema: Option<String>,
    role: String,
    /// Whether its files are on the server.
    available: bool,
    allowed: bool,
    /// Whether it can make the planner not see an index of today: from 1.4 on.
    hides: bool,
    standby: bool,
}

const EXTENSION: &str = "SELECT e.extversion AS version, quote_ident(n.nspname) AS schema, quote_ident(current_user) AS role,
       EXISTS (SELECT FROM pg_available_extensions WHERE name = 'hypopg') AS available,
       coalesce(has_schema_privilege(n.oid, 'USAGE') AND f.allowed, false) AS allowed, coalesce(f.hides, false) AS hides,
       pg_is_in_recovery() AS standby
FROM (SELECT) here
LEFT JOIN pg_extension e ON e.extname = 'hypopg'
LEFT JOIN pg_namespace n ON n.oid = e.extnamespace
LEFT JOIN LATERAL (
  SELECT bool_and(has_function_privilege(p.oid, 'EXECUTE')) AS allowed, bool_or(p.proname = 'hypopg_hide_index') AS hides
  FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid
  WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid) f ON true";

impl InPlace {
    pub async fn open(
        config: &Config,
        origin: &mut Origin,
        schema: &Schema,
        calls_max: usize,
    ) -> Result<InPlace> {
        let found: Vec<Extension> = origin.ask(EXTENSION).await?;
        let Some(extension) = found.into_iter().next() else { return Err(Error::bug("nobody asks")) };
        extension.can_be_used(origin.major())?;
        let mut connection = Connection::open(config, Purpose::Sql).await?;
        let path: Vec<String> = schema.search_path.iter().map(|name| identifier(name)).collect();
        let path = if path.is_empty() { "public".to_owned() } else { path.join(", ") };
        connection
            .query(&format!(
                "SET default_transaction_read_only = on; SET statement_timeout = {}; SET lock_timeout = {};
                 SET plan_cache_mode = force_generic_plan; SET search_path = {path};
                 SELECT {}.hypopg_reset(); SET hypopg.enabled = on; SET hypopg.use_real_oids = off",
                PLAN_WITHIN.as_millis(),
                LOCK_WITHIN.as_millis(),
                extension.schema(),
            ))
            .await?;
        let today = schema.indexes.iter().map(|index| {
            (index.name.clone(), format!("{}.{}", identifier(&index.schema), identifier(&index.name)))
        });
        Ok(InPlace {
            connection,
            extension,
            calls: 0,
            calls_max,
            candidates: BTreeMap::new(),
            today: today.collect(),
            about: BTreeSet::new(),
            shown: BTreeMap::new(),
            hidden: BTreeSet::new(),
            made: 0,
        })
    }

    /// What was asked how, and what that leaves open.
    pub fn told(&self) -> Vec<String> {
        let version = self.extension.version.as_deref().unwrap_or_default();
        let (calls, max) = (self.calls, self.calls_max);
        let mut notes = vec![format!(
            "asked in place, with hypopg {version}: {calls} calls of the planner, of {max} at most"
        )];
        if !self.extension.hides {
            notes.push(format!(
                "hypopg {version} cannot hide an index (1.4 can): whether one of today could go was not asked"
            ));
        }
        notes
    }

    /// Lets the planner see of the candidates those that it is asked about and that are not hidden, and of the indexes of today all
    /// but the hidden ones. If the server refuses to, it sees what is there.
    async fn show(&mut self, hidden: &BTreeSet<String>) -> Result<Result<(), ServerError>> {
        let schema = self.extension.schema().to_owned();
        let is_wanted = |name: &&String| self.candidates.contains_key(*name) && !hidden.contains(*name);
        let wanted: BTreeSet<String> = self.about.iter().filter(is_wanted).cloned().collect();
        if self.made + wanted.len() > MADE_MAX {
            self.begin_anew().await?;
        }
        let mut sql = String::new();
        self.shown.retain(|name, index| {
            let stays = wanted.contains(name);
            if !stays {
                sql.push_str(&format!("SELECT {schema}.hypopg_drop_index({});", index.number));
            }
            stays
        });
        for (names, function) in [
            (hidden.difference(&self.hidden).collect::<Vec<_>>(), "hypopg_hide_index"),
            (self.hidden.difference(hidden).collect(), "hypopg_unhide_index"),
        ] {
            for ident in names.into_iter().filter_map(|name| self.today.get(name)) {
                sql.push_str(&format!("SELECT {schema}.{function}({}::regclass);", literal(ident)));
            }
        }
        self.hidden.clone_from(hidden);
        let missing: Vec<String> = wanted.into_iter().filter(|name| !self.shown.contains_key(name)).collect();
        for name in &missing {
            sql.push_str(&self.creates(&self.candidates[name]));
        }
        if sql.is_empty() {
            return Ok(Ok(()));
        }
        match self.connection.attempt(&sql).await? {
            Ok(rows) => self.note(&missing, rows).map(Ok),
            Err(refused) => {
                self.begin_anew().await?;
                Ok(Err(refused))
            }
        }
    }

    /// The session has no hypothetical indexes, and sees all others.
    async fn begin_anew(&mut self) -> Result<()> {
        let schema = self.extension.schema();
        let mut sql = format!("SELECT {schema}.hypopg_reset();");
        if self.extension.hides {
            sql.push_str(&format!("SELECT {schema}.hypopg_unhide_all_indexes()"));
        }
        self.connection.query(&sql).await?;
        self.shown.clear();
        self.hidden.clear();
        self.made = 0;
        Ok(())
    }

    fn creates(&self, statement: &str) -> String {
        let schema = self.extension.schema();
        format!("SELECT indexrelid, indexname FROM {schema}.hypopg_create_index({});", literal(statement))
    }

    /// What the server made of these candidates: of the rows that came back, those with a number and a name.
    fn note(&mut self, names: &[String], rows: Vec<Vec<Option<String>>>) -> Result<()> {
        let made: Vec<Hypothetical> = rows
            .into_iter()
            .filter_map(|row| match <[Option<String>; 2]>::try_from(row) {
                Ok([Some(number), Some(name)]) => Some(Hypothetical { number, name }),
                _ => None,
            })
            .collect();
        if made.len() != names.len() {
            return Err(Error::bug(format!("hypopg made {} indexes of {}", made.len(), names.len())));
        }
        self.made += made.len();
        self.shown.extend(names.iter().cloned().zip(made));
        Ok(())
    }
}

impl Extension {
    fn schema(&self) -> &str {
        self.schema.as_deref().unwrap_or("public")
    }

    /// Whether we may ask with it, and can.
    fn can_be_used(&self, server: u32) -> Result<()> {
        let without = "or leave --in-place out: then the planner of a copy without rows is asked";
        if self.standby {
            return Err(Error::misconfigured(
                "the server is a standby, which does not count what is written: what an index costs would not be known",
            )
            .with_remedy(format!("name the primary, {without}")));
        }
        let Some(version) = &self.version else {
            let install = match self.available {
                true => String::new(),
                false => format!(
                    "install it on the server (Debian, Ubuntu: apt-get install postgresql-{server}-hypopg), then "
                ),
            };
            return Err(Error::misconfigured("the database has no extension hypopg").with_remedy(format!(
                "{install}let the owner of the database run CREATE EXTENSION hypopg; {without}"
            )));
        };
        let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < OLDEST {
            return Err(Error::misconfigured(format!(
                "hypopg {version} is too old: before {}.{} it writes to the catalog",
                OLDEST.0, OLDEST.1
            ))
            .with_remedy(format!(
                "install a newer one on the server, then ALTER EXTENSION hypopg UPDATE; {without}"
            )));
        }
        if !self.allowed {
            let (role, schema) = (&self.role, self.schema());
            return Err(Error::new(ErrorKind::Denied, format!("the role {role} may not use hypopg"))
                .with_remedy(format!(
                    "GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {role}; {without}"
                )));
        }
        Ok(())
    }
}

#[async_trait]
impl Planner for InPlace {
    type Refused = ServerError;

    async fn plan(&mut self, ask: &Ask, hidden: &BTreeSet<String>) -> Result<Result<Planned, ServerError>> {
        if let Err(refused) = self.show(hidden).await? {
            return Ok(Err(refused));
        }
        self.calls += 1;
        let mut planned = match plan::ask(&mut self.connection, ask, "FORMAT JSON").await? {
            Ok(planned) => planned,
            Err(refused) => return Ok(Err(refused)),
        };
        for (name, index) in &self.shown {
            if planned.uses.remove(&index.name) {
                planned.uses.insert(name.clone());
            }
        }
        Ok(Ok(planned))
    }
}

#[async_trait]
impl WhatIf for InPlace {
    fn question(&self, statement: &str, parameters: usize, schema: &Schema) -> Result<Question, String> {
        reading::of(statement, parameters, schema)
    }

    async fn make(
        &mut self,
        name: &str,
        candidate: &Candidate,
        schema: &Schema,
    ) -> Result<Result<(), String>> {
        let table = &schema.tables[candidate.table].ident;
        let statement = format!("CREATE INDEX ON {table} {}", candidate.definition(schema));
        match self.connection.attempt(&self.creates(&statement)).await? {
            Ok(rows) => {
                self.note(&[name.to_owned()], rows)?;
                self.candidates.insert(name.to_owned(), statement);
                Ok(Ok(()))
            }
            Err(refused) => Ok(Err(format!("in place, it cannot be asked about: {}", refused.message))),
        }
    }

    /// It is the original, and hypopg knows its tables.
    async fn furnish(
        &mut self,
        _: &Schema,
        _: &[usize],
        _: &[ColumnStatistics],
        _: &[(String, &Candidate)],
    ) -> Result<()> {
        Ok(())
    }

    fn about(&mut self, open: &BTreeSet<String>) {
        self.about.clone_from(open);
    }

    fn hides(&self) -> bool {
        self.extension.hides
    }

    fn left(&self) -> usize {
        self.calls_max.saturating_sub(self.calls)
    }
}
