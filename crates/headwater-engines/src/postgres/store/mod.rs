//! PostgreSQL as a store: read models as tables that any client can query.
//!
//! - `shape`, `column`: which columns a view's table may have, and what they hold
//! - `schema`: the tables, and who owns the store
//! - `cells`, `step`: changes on their way into rows
//! - `answer`: reads
//!
//! Data and position are one SQL transaction, so every reader sees whole transactions of the source and the position that
//! belongs to them. A step holds a lock on the row that says what the store holds; whoever takes the store over ends the
//! session of a former owner that still holds it, so a process that stands still cannot keep its successor out.

mod answer;
mod cells;
mod column;
mod schema;
mod shape;
mod step;

use std::sync::Arc;

use async_trait::async_trait;
use headwater_model::file::StoreSection;
use headwater_model::{
    Answer, AnswerMoment, Astray, Consumed, Epoch, Error, Held, Listed, Offset, Promise, Read, Refusal,
    Result, Risk, Severity, Standing, StoreFacts, Stored, View, ViewChange,
};

use self::answer::Readers;
use self::schema::Schema;
use self::step::Step;
use super::config::Config;
use super::connection::Connection;
use super::pool::{Lease, Pool};
use super::sql;
use crate::sql::store::absent::Memory;
use crate::sql::store::held;

/// Why the store cannot hold a view, if so. Connects nowhere.
pub fn fits(view: &View) -> Result<()> {
    schema::fits(view)
}

/// Connections that answer, and those that write: one for the open step, one for whatever comes beside it.
const READERS_MAX: usize = 8;
const WRITERS_MAX: usize = 2;

/// A store in a schema of a PostgreSQL database. Nothing is opened or made before it is asked for.
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    writers: Pool,
    readers: Readers,
    schema: Arc<Schema>,
    memory: Arc<Memory>,
}

impl Store {
    pub fn new(section: &StoreSection) -> Result<Store> {
        let (config, schema) = Config::of_store(section)?;
        let (config, schema) = (Arc::new(config), Arc::new(Schema::new(schema, section)));
        let readers = Pool::of_store(config.clone(), READERS_MAX, answer::SETUP);
        let writers = Pool::of_store(config, WRITERS_MAX, step::SETUP);
        let readers = Readers::new(readers, schema.clone());
        let memory = Arc::default();
        Ok(Store { shared: Arc::new(Shared { writers, readers, schema, memory }) })
    }
}

#[async_trait]
impl headwater_model::Store for Store {
    async fn inspect(&self) -> Result<StoreFacts> {
        let mut connection = self.shared.readers.get().await?;
        check_server(&connection)?;
        let risks = risks(&mut connection, &self.shared.schema).await?;
        let server = format!("PostgreSQL {}", connection.server_version());
        connection.keep();
        Ok(StoreFacts {
            server,
            promise: Promise::Transaction,
            partial_hash: true,
            partial_json: true,
            key_bytes_max: step::KEY_BYTES_MAX,
            document_bytes_max: step::DOCUMENT_BYTES_MAX,
            risks,
        })
    }

    async fn claim(&self, epoch: Epoch) -> Result<Option<Held>> {
        let shared = &self.shared;
        let mut connection = shared.writers.get().await?;
        check_server(&connection)?;
        if let Some(held) = schema::look(&mut connection, &shared.schema).await? {
            held.fence(epoch)?;
            end_open_steps(&mut connection, &shared.schema).await?;
        }
        let before = schema::claim(&mut connection, &shared.schema, epoch).await?;
        connection.keep();
        Ok(before)
    }

    async fn prepare(&self, view: &View) -> Result<()> {
        let mut connection = self.shared.writers.get().await?;
        schema::prepare(&mut connection, &self.shared.schema, view).await?;
        connection.keep();
        Ok(())
    }

    async fn held(&self) -> Result<Option<Held>> {
        self.shared.readers.held().await
    }

    async fn begin(&self, epoch: Epoch, after: Offset) -> Result<Box<dyn headwater_model::Apply>> {
        let mut connection = self.shared.writers.get().await?;
        let Shared { schema, memory, .. } = &*self.shared;
        let step = Step::open(&mut connection, schema.clone(), memory.clone(), epoch, after).await?;
        Ok(Box::new(Apply { shared: self.shared.clone(), epoch, open: Some((connection, step)) }))
    }

    async fn answer(&self, read: &Read) -> Result<Answer> {
        self.shared.readers.answer(read).await
    }

    async fn scan(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Stored>, Option<String>)> {
        self.shared.readers.scan(view, cursor, limit.max(1)).await
    }

    async fn keys(
        &self,
        view: &View,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<(Vec<String>, Option<String>)> {
        self.shared.readers.keys(view, cursor, limit.max(1)).await
    }

    /// Nothing: a place is a column of its document's row, so there are no others.
    async fn entries(&self, _: &View, _: Option<String>, _: usize) -> Result<(Vec<Listed>, Option<String>)> {
        Ok((Vec::new(), None))
    }

    async fn astray(&self, view: &View, asked: &[Standing]) -> Result<(AnswerMoment, Vec<Astray>)> {
        self.shared.readers.astray(view, asked).await
    }

    async fn rows(&self, view: &View) -> Result<u64> {
        self.shared.readers.rows(view).await
    }

    fn consumed(&self) -> Vec<Consumed> {
        Vec::new()
    }
}

/// The open step: its transaction ends with its connection, unless it is committed.
struct Apply {
    shared: Arc<Shared>,
    epoch: Epoch,
    open: Option<(Lease, Step)>,
}

impl Shared {
    async fn explained(&self, epoch: Epoch, error: Error) -> Error {
        let error = if schema::is_taken(&error) { self.memory.doubt(error) } else { error };
        held::explained(epoch, error, self.readers.held()).await
    }
}

#[async_trait]
impl headwater_model::Apply for Apply {
    async fn write(&mut self, changes: Vec<ViewChange>) -> Result<Vec<Refusal>> {
        // Taken out while it works: a caller who gives up in the middle leaves no half of it to go on with.
        let (mut connection, mut step) = self.open.take().ok_or_else(held::no_step)?;
        match step.write(&mut connection, changes).await {
            Ok(refusals) => {
                self.open = Some((connection, step));
                Ok(refusals)
            }
            Err(error) => Err(self.shared.explained(self.epoch, error).await),
        }
    }

    /// There are none: a place goes with its row, which is written anew as a whole.
    async fn unplace(&mut self, _: &Arc<View>, _: &[Listed]) -> Result<()> {
        Ok(())
    }

    async fn commit(mut self: Box<Self>, held: &Held) -> Result<()> {
        let (mut connection, step) = self.open.take().ok_or_else(held::no_step)?;
        match step.commit(&mut connection, held).await {
            Ok(()) => {
                connection.keep();
                Ok(())
            }
            Err(error) => Err(self.shared.explained(self.epoch, error).await),
        }
    }
}

fn check_server(connection: &Connection) -> Result<()> {
    if connection.version() < 150_000 {
        let version = connection.server_version();
        return Err(Error::unsupported(format!("PostgreSQL {version} is too old"))
            .with_remedy("use PostgreSQL 15 or later"));
    }
    if connection.server_encoding() != "UTF8" {
        return Err(Error::misconfigured(format!(
            "the store's database has the encoding {}, which cannot hold every text",
            connection.server_encoding()
        ))
        .with_remedy("CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, and name it in the URL"));
    }
    Ok(())
}

/// Ends the sessions of our own role that hold the row of what the store holds. Where they are another role's, the claim
/// waits for them instead.
async fn end_open_steps(connection: &mut Connection, schema: &Schema) -> Result<()> {
    connection
        .query(&format!(
            "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
             WHERE l.relation = to_regclass({}) AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND l.mode = 'RowShareLock' AND a.usename = current_user AND l.pid <> pg_backend_pid()",
            sql::literal(&schema.held)
        ))
        .await
        .map_err(|error| error.while_doing("end the step of a former owner"))?;
    Ok(())
}

async fn risks(connection: &mut Connection, schema: &Schema) -> Result<Vec<Risk>> {
    let mut risks = Vec::new();
    let rows = connection
        .query(&format!(
            "SELECT current_setting('fsync'), pg_is_in_recovery(),
                    (SELECT string_agg(DISTINCT quote_ident(p.pubname), ', ')
                     FROM pg_publication_tables p WHERE p.schemaname = {})",
            sql::literal(&schema.name)
        ))
        .await?;
    let cell = |place: usize| rows.first().and_then(|row| row.get(place).cloned().flatten());
    if cell(0).as_deref() == Some("off") {
        risks.push(Risk {
            severity: Severity::Warning,
            what: "fsync is off: a crash of the store's machine may leave a database that cannot be read"
                .into(),
            remedy: "ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf()".into(),
        });
    }
    if cell(1).as_deref() == Some("t") {
        risks.push(Risk {
            severity: Severity::Error,
            what: "the store's server is a standby, which takes no writes".into(),
            remedy: "name the primary in the URL, or all servers with target_session_attrs=read-write".into(),
        });
    }
    if let Some(publications) = cell(2) {
        risks.push(Risk {
            severity: Severity::Warning,
            what: format!(
                "the read models are published ({publications}): whoever follows that gets each change twice, and Headwater \
                 refuses to follow them"
            ),
            remedy: "publish the source's tables by name, not FOR ALL TABLES".into(),
        });
    }
    Ok(risks)
}
