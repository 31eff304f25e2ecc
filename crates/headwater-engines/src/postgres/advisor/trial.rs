//! Candidates on a copy of the database with its rows: really built, and queries really run. Which plan a query takes without an
//! index is seen by dropping it inside a transaction that is undone, which needs no more than owning the table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use headwater_model::advice::{Index, IndexProblem, RestoredCopy};
use headwater_model::file::SourceSection;
use headwater_model::{Error, Result};

use super::origin::Origin;
use super::plan;
use crate::advice::asked::parameters;
use crate::advice::configs::{Ask, Planned, Planner};
use crate::advice::trial::{Copied, Trial};
use crate::postgres::config::Config;
use crate::postgres::connection::{Connection, Purpose};
use crate::postgres::error::ServerError;
use crate::postgres::sandbox::Cluster;
use crate::postgres::sql::{identifier, literal};
use crate::sandbox::{Folder, failed, output};

/// The connection to it.
pub(super) struct Copy {
    connection: Connection,
    schema_of: BTreeMap<String, String>,
    /// If it is a server of our own; the folder goes last.
    _own: Option<(Cluster, Folder)>,
}

impl Copy {
    async fn hidden(&mut self, hidden: &BTreeSet<String>) -> Result<()> {
        let names: Vec<String> = hidden
            .iter()
            .filter_map(|name| {
                Some(format!("{}.{}", identifier(self.schema_of.get(name)?), identifier(name)))
            })
            .collect();
        self.connection.query("BEGIN").await?;
        if !names.is_empty() {
            self.connection.query(&format!("DROP INDEX {}", names.join(", "))).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Planner for Copy {
    type Refused = ServerError;

    async fn plan(&mut self, ask: &Ask, hidden: &BTreeSet<String>) -> Result<Result<Planned, ServerError>> {
        self.hidden(hidden).await?;
        let outcome = plan::ask(&mut self.connection, ask, "FORMAT JSON").await;
        self.connection.query("ROLLBACK; DEALLOCATE ALL").await?;
        outcome
    }
}

#[async_trait]
impl Copied for Copy {
    fn id(&self, index: &Index) -> String {
        index.name.clone()
    }

    fn ask(&self, sql: &str) -> Result<Ask, String> {
        match parameters(sql) {
            0 => Ok(Ask { sql: sql.to_owned(), parameters: 0 }),
            _ => {
                Err("it has parameters, so it cannot be run on the copy: give it values in --queries".into())
            }
        }
    }

    async fn build(&mut self, index: &Index) -> Result<f64> {
        // On a copy nobody waits.
        let statement = index.statement.replace("CREATE INDEX CONCURRENTLY", "CREATE INDEX IF NOT EXISTS");
        self.connection.attempt(&statement).await??;
        let schema = identifier(index.table.schema.as_deref().unwrap_or("public"));
        let name = format!("{schema}.{}", identifier(&index.name));
        let asked = format!("SELECT pg_relation_size({}::regclass)", literal(&name));
        let rows = self.connection.query(&asked).await?;
        let bytes = rows.into_iter().flatten().flatten().next();
        Ok(bytes.and_then(|bytes| bytes.parse().ok()).unwrap_or(index.bytes))
    }

    async fn analyze(&mut self) -> Result<()> {
        // Pages are marked for scans of indexes alone.
        if self.connection.attempt("VACUUM ANALYZE").await?.is_err() {
            self.connection.query("ANALYZE").await?;
        }
        Ok(())
    }

    async fn there(&mut self) -> Result<BTreeSet<String>> {
        let rows = self.connection.query("SELECT relname FROM pg_class WHERE relkind = 'i'").await?;
        Ok(rows.into_iter().flatten().flatten().collect())
    }

    async fn run(
        &mut self,
        ask: &Ask,
        hidden: &BTreeSet<String>,
        within: Duration,
    ) -> Result<Option<Planned>> {
        self.hidden(hidden).await?;
        let limit = within.as_millis().max(1);
        self.connection.query(&format!("SET LOCAL statement_timeout = {limit}")).await?;
        let outcome = plan::ask(&mut self.connection, ask, "ANALYZE, TIMING OFF, FORMAT JSON").await?;
        self.connection.query("ROLLBACK; DEALLOCATE ALL").await?;
        match outcome {
            Ok(planned) => Ok(Some(planned)),
            Err(refused) if refused.code == "57014" => Ok(None),
            Err(refused) => Err(refused.into()),
        }
    }

    async fn restore(&mut self, built: &[Index]) -> Result<()> {
        for index in built {
            let drop = index.undo.replace("DROP INDEX CONCURRENTLY", "DROP INDEX IF EXISTS");
            self.connection.query(&drop).await?;
        }
        Ok(())
    }
}

/// Builds the pool there, and measures.
pub(super) async fn begin(
    config: &Config,
    problem: &IndexProblem,
    pool: &[usize],
    copy: &RestoredCopy,
) -> Result<Trial<Copy>> {
    let mut origin = Origin::open(config).await?;
    let schema = origin.schema().await?;
    let (url, own) = match copy {
        RestoredCopy::Server(url) => (url.reveal().to_owned(), None),
        RestoredCopy::Dump(path) => {
            let path = path.clone();
            let restored = tokio::task::spawn_blocking(move || restore(&path)).await;
            let (url, cluster, folder) =
                restored.map_err(|error| Error::bug("restoring failed").with_cause(error))??;
            (url, Some((cluster, folder)))
        }
    };
    let mut connection = open(&url).await?;
    if own.is_none() {
        is_not_the_original(&mut connection, &mut origin).await?;
    }
    for (name, value) in &schema.settings {
        let set = format!("SELECT set_config({}, {}, false)", literal(name), literal(value));
        let _ = connection.attempt(&set).await?;
    }
    let path: Vec<String> = schema.search_path.iter().map(|name| identifier(name)).collect();
    let path = if path.is_empty() { "public".to_owned() } else { path.join(", ") };
    connection
        .query(&format!(
            "SET search_path = {path}; SET plan_cache_mode = force_generic_plan; SET lock_timeout = '10s'"
        ))
        .await?;
    let schema_of = problem
        .indexes
        .iter()
        .map(|index| (index.name.clone(), index.table.schema.as_deref().unwrap_or("public").to_owned()))
        .collect();
    Trial::begin(Copy { connection, schema_of, _own: own }, problem, pool).await
}

async fn open(url: &str) -> Result<Connection> {
    Connection::open(&Config::new(&SourceSection::of_url(url))?, Purpose::Store).await
}

/// Asked before anything else is done: who names the wrong server learns it at once.
pub(super) async fn may_build_on(config: &Config, copy: &RestoredCopy) -> Result<()> {
    match copy {
        RestoredCopy::Server(url) => {
            let mut origin = Origin::open(config).await?;
            is_not_the_original(&mut open(url.reveal()).await?, &mut origin).await
        }
        RestoredCopy::Dump(path) => match std::fs::metadata(path) {
            Ok(_) => Ok(()),
            Err(error) => Err(failed(format_args!("read the dump {}", path.display()), error)),
        },
    }
}

/// A physical copy has the identity of its original; what it does not have is the original's server process.
async fn is_not_the_original(copy: &mut Connection, origin: &mut Origin) -> Result<()> {
    let rows = copy.query("SELECT pg_is_in_recovery()").await?;
    if rows.into_iter().flatten().flatten().next().as_deref() == Some("t") {
        return Err(Error::misconfigured("the copy of --verify is a standby: no index can be built there")
            .with_remedy("restore a backup into a server of its own and name that"));
    }
    let identity = "SELECT (SELECT system_identifier FROM pg_control_system())::text || ' ' || pg_postmaster_start_time()";
    let here = copy.attempt(identity).await?;
    let there = origin.identity(identity).await?;
    let same = match (here, there) {
        (Ok(rows), Some(there)) => rows.into_iter().flatten().flatten().next() == Some(there),
        // Who cannot tell has to be taken for the original.
        _ => true,
    };
    if same {
        return Err(Error::misconfigured(
            "--verify names the server that is advised: indexes would be built on it",
        )
        .with_remedy("restore a backup into a server of its own and name that"));
    }
    Ok(())
}

/// A dump in a server of our own. Blocks for as long as that takes.
fn restore(dump: &Path) -> Result<(String, Cluster, Folder)> {
    let mut head = [0u8; 5];
    {
        use std::io::Read as _;
        let mut file = std::fs::File::open(dump)
            .map_err(|error| failed(format_args!("read the dump {}", dump.display()), error))?;
        let _ = file.read(&mut head);
    }
    let folder = Folder::new()?;
    let cluster = Cluster::scratch(&folder, "shared_buffers = 512MB\n")?;
    let url = cluster.socket_url("postgres");
    let mut command = match &head == b"PGDMP" || dump.is_dir() {
        true => {
            let mut restore = cluster.client("pg_restore");
            restore.args(["--no-owner", "--no-privileges", "-d", &url]).arg(dump);
            restore
        }
        false => {
            let mut psql = cluster.client("psql");
            psql.args(["-X", "-q", "-d", &url, "-f"]).arg(dump).stdout(Stdio::null());
            psql
        }
    };
    let outcome = output(&mut command);
    if let Err(error) = outcome {
        // Roles and extensions that are not here: what matters is whether the tables are.
        let tables = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relpages >= 0 AND relnamespace = 'public'::regnamespace";
        let mut psql = cluster.client("psql");
        let found = output(psql.args(["-X", "-A", "-t", "-d", &url, "-c", tables]))?;
        if found.trim() == "0" {
            return Err(error.while_doing(format!("restore the dump {}", dump.display())));
        }
    }
    Ok((url, cluster, folder))
}
