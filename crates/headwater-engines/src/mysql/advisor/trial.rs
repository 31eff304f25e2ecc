//! A copy of the database with its rows, where candidates are really built and queries really run. Which plan a query takes without an
//! index is seen by making queries ignore it, which changes nothing but the table's definition.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use headwater_model::advice::{Index, IndexProblem, RestoredCopy};
use headwater_model::file::SourceSection;
use headwater_model::{Error, Result};
use mysql_async::prelude::Queryable as _;

use super::clone::{can_ignore, explain, hide, plan_as};
use super::origin::{Origin, number, quoted};
use super::plan::{self, Eyes, id};
use super::schema::Schema;
use crate::advice::asked;
use crate::advice::configs::{Ask, Planned, Planner};
use crate::advice::trial::{Copied, Trial};
use crate::mysql::config::Config;
use crate::mysql::connection::{Connection, Servers, literal};
use crate::mysql::error::{Refused, TIMED_OUT, code, failed};
use crate::mysql::sandbox::Server;
use crate::sandbox::{Folder, failed as failed_to};

/// Of a server of our own that a dump is restored into.
const BUFFER_POOL: &str = "512M";

pub(super) struct Copy {
    origin: Origin,
    /// Of the copy; a table there has all of its rows.
    schema: Schema,
    /// The advised database, which is another one here.
    advised: String,
    hidden: BTreeSet<String>,
    /// If it is a server of our own; the folder goes last.
    _own: Option<(Server, Folder)>,
}

/// Builds the pool there, and measures.
pub(super) async fn begin(
    config: &Arc<Config>,
    problem: &IndexProblem,
    pool: &[usize],
    copy: &RestoredCopy,
) -> Result<Trial<Copy>> {
    let mut advised = Origin::open(config).await?;
    let settings = advised.settings().await?;
    let (mut connection, database, own) = match copy {
        RestoredCopy::Server(url) => {
            let (mut connection, database) = open(url.reveal()).await?;
            is_not_the_original(&mut connection, &mut advised).await?;
            (connection, database, None)
        }
        RestoredCopy::Dump(path) => {
            let (path, database) = (path.clone(), config.database.clone());
            let restored = tokio::task::spawn_blocking(move || restore(&path, &database)).await;
            let (server, folder) =
                restored.map_err(|error| Error::bug("restoring failed").with_cause(error))??;
            (server.connect().await?, config.database.clone(), Some((server, folder)))
        }
    };
    can_ignore(&connection.about.version)?;
    connection.run(&format!("USE {}", quoted(&database))).await?;
    connection.run("SET SESSION lock_wait_timeout = 10").await?;
    plan_as(&mut connection, &settings).await;
    let mut origin = Origin { connection, server: String::new() };
    let schema = origin.schema(&database).await?;
    let advised = config.database.clone();
    Trial::begin(Copy { origin, schema, advised, hidden: BTreeSet::new(), _own: own }, problem, pool).await
}

impl Copy {
    /// A table of the advised database, by its place here.
    fn place(&self, index: &Index) -> Option<usize> {
        let schema = match index.table.schema.as_deref() {
            Some(of) if of != self.advised => of,
            _ => &self.schema.database,
        };
        let is_it = |table: &super::schema::Table| table.schema == schema && table.name == *index.table.name;
        self.schema.tables.iter().position(is_it)
    }

    /// What the catalog says now. Nothing here is a sample.
    async fn look(&mut self) -> Result<()> {
        let database = self.schema.database.clone();
        self.schema = self.origin.schema(&database).await?;
        for table in &mut self.schema.tables {
            table.sampled = table.rows;
        }
        Ok(())
    }
}

#[async_trait]
impl Planner for Copy {
    type Refused = Refused;

    async fn plan(&mut self, ask: &Ask, hidden: &BTreeSet<String>) -> Result<Result<Planned, Refused>> {
        hide(&mut self.origin.connection, &self.schema, &mut self.hidden, hidden).await?;
        let text = match explain(&mut self.origin.connection, &ask.sql).await? {
            Ok(text) => text,
            Err(refused) => return Ok(Err(Refused(refused))),
        };
        let parsed = asked::parse(&ask.sql, &self.schema).unwrap_or_default();
        let tables = parsed.uses.iter().map(|used| (used.alias.clone(), used.table)).collect();
        let bytes = self.schema.bytes();
        let eyes = Eyes { schema: &self.schema, tables: &tables, bytes: &bytes, limit: parsed.limit };
        plan::read(&text, &eyes).map(Ok)
    }
}

#[async_trait]
impl Copied for Copy {
    fn id(&self, index: &Index) -> String {
        // One whose table is not here is called what no plan calls an index.
        self.place(index).map_or_else(String::new, |place| id(place, &index.name))
    }

    fn ask(&self, sql: &str) -> Result<Ask, String> {
        Ok(Ask { sql: sql.to_owned(), parameters: 0 })
    }

    async fn build(&mut self, index: &Index) -> Result<f64> {
        let connection = &mut self.origin.connection;
        connection.run(&here(&index.statement, &self.advised, &self.schema.database)).await?;
        // Who may not read the statistics keeps to the estimate.
        let asked = format!(
            "SELECT stat_value * @@innodb_page_size FROM mysql.innodb_index_stats
             WHERE database_name = {} AND table_name = {} AND index_name = {} AND stat_name = 'size'",
            literal(&self.schema.database),
            literal(&index.table.name),
            literal(&index.name)
        );
        let rows = connection.rows(&asked).await.unwrap_or_default();
        Ok(rows.first().map(|row| number(row, 0)).filter(|bytes| *bytes > 0.0).unwrap_or(index.bytes))
    }

    async fn analyze(&mut self) -> Result<()> {
        self.look().await?;
        let tables = self.schema.tables.iter().filter(|table| table.schema == self.schema.database);
        for ident in tables.map(|table| table.ident()).collect::<Vec<String>>() {
            self.origin.connection.rows(&format!("ANALYZE TABLE {ident}")).await?;
        }
        self.look().await
    }

    async fn there(&mut self) -> Result<BTreeSet<String>> {
        Ok(self.schema.bytes().into_keys().collect())
    }

    async fn run(
        &mut self,
        ask: &Ask,
        hidden: &BTreeSet<String>,
        within: Duration,
    ) -> Result<Option<Planned>> {
        let mut planned = match self.plan(ask, hidden).await? {
            Ok(planned) => planned,
            Err(refused) => return Err(refused.into()),
        };
        let connection = &mut self.origin.connection;
        connection.run("START TRANSACTION").await?;
        connection.run(&format!("SET SESSION max_statement_time = {}", within.as_secs_f64())).await?;
        let begun = Instant::now();
        let outcome = connection.conn.query_drop(&ask.sql).await;
        planned.execution_ms = Some(begun.elapsed().as_secs_f64() * 1000.0);
        connection.run("SET SESSION max_statement_time = 0").await?;
        connection.run("ROLLBACK").await?;
        match outcome {
            Ok(()) => Ok(Some(planned)),
            Err(error) if code(&error).is_some_and(|code| TIMED_OUT.contains(&code)) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    async fn restore(&mut self, built: &[Index]) -> Result<()> {
        hide(&mut self.origin.connection, &self.schema, &mut self.hidden, &BTreeSet::new()).await?;
        for index in built {
            let drop = here(&index.undo, &self.advised, &self.schema.database);
            self.origin.connection.run(&drop).await?;
        }
        Ok(())
    }
}

/// A statement about a table of one database, in another one.
fn here(statement: &str, advised: &str, copy: &str) -> String {
    let named = |database: &str| format!("ALTER TABLE {}.", quoted(database));
    statement.replacen(&named(advised), &named(copy), 1)
}

/// And the database that it names.
async fn open(url: &str) -> Result<(Connection, String)> {
    let config = Arc::new(Config::new(&SourceSection::of_url(url))?);
    let database = config.database.clone();
    Ok((Servers::new(config).open(&[]).await?, database))
}

/// Asked before anything else is done: who names the wrong server learns it at once.
pub(super) async fn may_build_on(config: &Arc<Config>, copy: &RestoredCopy) -> Result<()> {
    match copy {
        RestoredCopy::Server(url) => {
            let mut origin = Origin::open(config).await?;
            let (mut connection, _) = open(url.reveal()).await?;
            is_not_the_original(&mut connection, &mut origin).await?;
            can_ignore(&connection.about.version)
        }
        RestoredCopy::Dump(path) => match std::fs::metadata(path) {
            Ok(_) => Ok(()),
            Err(error) => Err(failed_to(format_args!("read the dump {}", path.display()), error)),
        },
    }
}

/// By where it runs and where its files are: a physical copy has every other mark of its original.
async fn is_not_the_original(copy: &mut Connection, origin: &mut Origin) -> Result<()> {
    let identity = "SELECT @@hostname, @@port, @@datadir, @@socket";
    let (here, there) = (copy.rows(identity).await?, origin.connection.rows(identity).await?);
    let restore = "restore a backup into a server of its own and name that";
    if here == there {
        return Err(Error::misconfigured(
            "--verify names the server that is advised: indexes would be built on it",
        )
        .with_remedy(restore));
    }
    // Who may not ask has no replica to fear for.
    let followed = copy.rows("SHOW SLAVE STATUS").await.unwrap_or_default();
    if !followed.is_empty() {
        return Err(Error::misconfigured("the copy of --verify is a replica: it follows another server")
            .with_remedy(restore));
    }
    Ok(())
}

/// A dump in a server of our own. Blocks for as long as that takes.
fn restore(dump: &Path, database: &str) -> Result<(Server, Folder)> {
    let folder = Folder::new()?;
    let server = Server::scratch(&folder, BUFFER_POOL)?;
    server.load(dump, database).map_err(|e| e.while_doing(format!("restore the dump {}", dump.display())))?;
    Ok((server, folder))
}
