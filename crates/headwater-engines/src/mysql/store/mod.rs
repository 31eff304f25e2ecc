//! MySQL and MariaDB as a store: read models as tables of the database that the URL names, which any client can query.
//!
//! - `column`: which columns a view's table may have, and what they hold · `sql`: values as SQL
//! - `schema`: the tables, and who owns the store · `grow`: columns that are added while documents come
//! - `step`: changes on their way into rows · `written`: a row as SQL, or as a line of a file · `load`: many new ones at once
//! - `answer`, `place`: reads, and places in indexes
//!
//! Data and position are one transaction, so every reader sees whole transactions of the source and the position that
//! belongs to them. A step holds a lock on the row that says what the store holds, and the server's named lock, by which
//! whoever takes the store over finds the session of a former owner, and ends it.
//!
//! A table cannot be altered inside a transaction here: what that means for columns is told in `grow`.

mod answer;
mod column;
mod grow;
mod load;
mod place;
mod schema;
mod sql;
mod step;
mod written;

use std::sync::Arc;
use std::time::Duration;

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
use super::connection::{Connection, Lease, Pool, Servers, ended_after, text};
use crate::reach::Reach;
use crate::sql::store::absent::Memory;
use crate::sql::store::held;

/// Why the store cannot hold a view, if so. Connects nowhere.
pub(crate) fn fits(view: &View) -> Result<()> {
    schema::fits(view)
}

pub(crate) fn reach(section: &StoreSection) -> Result<Reach> {
    Ok(Config::of_store(section)?.reach())
}

/// Connections that answer, and those that write: one for the open step, one for whatever comes beside it.
const READERS_MAX: usize = 8;
const WRITERS_MAX: usize = 2;

/// What every session of the store is told first, beside what all of them are: nothing is cut silently to fit a column, a lock is
/// waited for half a minute at most, and a list of keys is looked up, not joined.
const SETUP: &str = "SET SESSION sql_mode = 'ANSI_QUOTES,STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', \
                     innodb_lock_wait_timeout = 30, lock_wait_timeout = 30 \
                     /*M!100319 , in_predicate_conversion_threshold = 0 */";
/// A step never reads an older state than that of its moment: it reads what it has locked.
const WRITER: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
/// How long the server works on an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// A store in a database of a MySQL or MariaDB server. Nothing is opened or made before it is asked for.
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
        let config = Arc::new(Config::of_store(section)?);
        let schema = Arc::new(Schema::new(&config, section));
        let servers = Arc::new(Servers::new(config));
        let pool = |most, own: &str| Pool::new(servers.clone(), most, vec![SETUP.into(), own.into()]);
        let (readers, writers) = (pool(READERS_MAX, &ended_after(ANSWER_WITHIN)), pool(WRITERS_MAX, WRITER));
        let readers = Readers::new(readers, schema.clone());
        let memory = Arc::default();
        Ok(Store { shared: Arc::new(Shared { writers, readers, schema, memory }) })
    }

    async fn writer(&self) -> Result<Lease> {
        self.shared.writers.get().await.map_err(|error| self.shared.schema.explained(error))
    }
}

#[async_trait]
impl headwater_model::Store for Store {
    async fn inspect(&self) -> Result<StoreFacts> {
        let mut lease = self.shared.readers.get().await?;
        let connection = &mut lease.connection;
        let packet_max = check_server(connection).await?;
        let product = if connection.about.mariadb { "MariaDB" } else { "MySQL" };
        let version = connection.about.version.split('-').next().unwrap_or_default();
        let server = format!("{product} {version}");
        let risks = risks(connection, &self.shared.schema).await?;
        lease.keep();
        Ok(StoreFacts {
            server,
            promise: Promise::Transaction,
            partial_hash: true,
            partial_json: true,
            key_bytes_max: step::KEY_BYTES_MAX,
            // Where every byte stands for two.
            document_bytes_max: step::row_bytes_max(packet_max) / 2,
            risks,
        })
    }

    async fn claim(&self, epoch: Epoch) -> Result<Option<Held>> {
        let schema = &self.shared.schema;
        let mut lease = self.writer().await?;
        let connection = &mut lease.connection;
        check_server(connection).await?;
        if let Some(held) = schema::look(connection, schema).await? {
            held.fence(epoch)?;
            schema::end_open_step(connection, schema).await?;
        }
        let before = schema::claim(connection, schema, epoch).await?;
        lease.keep();
        Ok(before)
    }

    async fn prepare(&self, view: &View) -> Result<()> {
        let mut lease = self.writer().await?;
        schema::prepare(&mut lease.connection, &self.shared.schema, view).await?;
        lease.keep();
        Ok(())
    }

    async fn held(&self) -> Result<Option<Held>> {
        self.shared.readers.held().await
    }

    async fn begin(&self, epoch: Epoch, after: Offset) -> Result<Box<dyn headwater_model::Apply>> {
        let shared = self.shared.clone();
        let mut lease = self.writer().await?;
        let Shared { writers, schema, memory, .. } = &*shared;
        let step =
            Step::open(&mut lease.connection, writers, schema.clone(), memory.clone(), epoch, after).await?;
        Ok(Box::new(Apply { shared, epoch, open: Some((lease, step)) }))
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

    /// Nothing: a place is columns of its document's row, so there are no others.
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
        let (mut lease, mut step) = self.open.take().ok_or_else(held::no_step)?;
        match step.write(&mut lease.connection, &self.shared.writers, changes).await {
            Ok(refusals) => {
                self.open = Some((lease, step));
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
        let (mut lease, step) = self.open.take().ok_or_else(held::no_step)?;
        match step.commit(&mut lease.connection, held).await {
            Ok(is_late) => {
                if is_late {
                    let Shared { writers, schema, memory, .. } = &*self.shared;
                    grow::catch_up(&mut lease.connection, writers, (schema, memory), held).await;
                } else {
                    lease.keep();
                }
                Ok(())
            }
            Err(error) => Err(self.shared.explained(self.epoch, error).await),
        }
    }
}

/// Refuses a server that cannot keep what is promised. Returns how large a packet it takes.
async fn check_server(connection: &mut Connection) -> Result<usize> {
    let rows = connection
        .rows("SELECT @@innodb_page_size, @@max_allowed_packet, @@global.log_bin, @@binlog_format")
        .await?;
    let row = rows.first().ok_or_else(|| Error::bug("the server does not say what it is"))?;
    let number = |place: usize| text(row, place).parse::<usize>().unwrap_or(0);
    let mut version = connection.about.version.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (version.next().unwrap_or(0), version.next().unwrap_or(0));
    if version < if connection.about.mariadb { (10, 5) } else { (8, 0) } {
        return Err(Error::unsupported(format!(
            "the server's version {} is too old",
            connection.about.version
        ))
        .with_remedy("use MariaDB 10.5 or MySQL 8.0, or later"));
    }
    if number(0) < 16 << 10 {
        return Err(Error::unsupported(format!(
            "the server's pages of {} bytes have no room for the keys of documents",
            number(0)
        ))
        .with_remedy("use a server with the usual innodb_page_size of 16 KiB"));
    }
    if text(row, 2) == "1" && text(row, 3) == "STATEMENT" {
        return Err(Error::misconfigured("binlog_format is STATEMENT, which cannot log what a store writes")
            .with_remedy("SET GLOBAL binlog_format = 'ROW'"));
    }
    if number(1) < step::PACKET_BYTES_MIN {
        return Err(Error::misconfigured(format!(
            "max_allowed_packet is {} bytes, too few to write rows",
            number(1)
        ))
        .with_remedy("SET GLOBAL max_allowed_packet = 67108864"));
    }
    Ok(number(1))
}

async fn risks(connection: &mut Connection, schema: &Schema) -> Result<Vec<Risk>> {
    let mut risks = Vec::new();
    let rows = connection.rows("SELECT @@global.innodb_flush_log_at_trx_commit").await?;
    if rows.first().is_some_and(|row| text(row, 0) != "1") {
        risks.push(Risk {
            severity: Severity::Warning,
            what: "innodb_flush_log_at_trx_commit is not 1: a crash of the store's machine loses its newest steps, which are then \
                   done again"
                .into(),
            remedy: "SET GLOBAL innodb_flush_log_at_trx_commit = 1".into(),
        });
    }
    risks.extend(schema::missing_privileges(connection, schema).await?);
    Ok(risks)
}
