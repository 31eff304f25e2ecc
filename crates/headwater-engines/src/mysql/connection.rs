//! Connections, and which server they may lead to: one that takes writes, and while one is followed, only that one.
//!
//! Every session speaks UTF-8 and UTC, quotes names as the SQL standard does, and leaves values as they are.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use headwater_model::{Error, ErrorKind, Result};
use mysql_async::prelude::{AsQuery, Queryable as _};
use mysql_async::{Conn, InfileData, LocalInfileError, OptsBuilder, SslOpts};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::config::{Config, Host, TlsMode};
use super::course::History;
use super::error::{failed, unconnected};
use super::gtid::{Gtid, GtidSet, uuid};

/// One row of an answer: cells as the server prints them.
pub(super) type Cells = Vec<Option<Vec<u8>>>;

/// What every session is told first. MySQL would tell the sizes of tables as they were up to a day ago.
const SESSION: &str = "SET SESSION sql_mode = 'ANSI_QUOTES', time_zone = '+00:00', autocommit = 1, \
                       group_concat_max_len = 67108864, max_sort_length = 32768, net_write_timeout = 3600 \
                       /*!80003 , information_schema_stats_expiry = 0 */";

/// Has the server end what a session's statements take longer for, in whichever of the two it is.
pub(super) fn ended_after(within: Duration) -> String {
    format!(
        "SET SESSION /*M!100100 max_statement_time = {:.3} */ /*!50708 max_execution_time = {} */",
        within.as_secs_f64(),
        within.as_millis()
    )
}

pub(super) struct Servers {
    pub config: Arc<Config>,
    /// The host that answered last, by its place in the URL.
    usual: AtomicUsize,
    /// Who is followed: no other server is spoken to.
    followed: Mutex<Option<Box<str>>>,
}

/// What is known of a server.
#[derive(Clone, Debug)]
pub(super) struct About {
    pub version: String,
    pub mariadb: bool,
    pub member: Box<str>,
}

pub(super) struct Connection {
    pub conn: Conn,
    pub about: About,
}

impl Servers {
    pub fn new(config: Arc<Config>) -> Servers {
        Servers { config, usual: AtomicUsize::new(0), followed: Mutex::default() }
    }

    fn followed(&self) -> MutexGuard<'_, Option<Box<str>>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on only this server is spoken to; `None`: any that takes writes.
    pub fn follow(&self, member: Option<&str>) {
        *self.followed() = member.map(Into::into);
    }

    pub async fn open(&self, setup: &[String]) -> Result<Connection> {
        let hosts = &self.config.hosts;
        let usual = self.usual.load(Ordering::Relaxed);
        let mut last = None;
        for step in 0..hosts.len() {
            let place = (usual + step) % hosts.len();
            match self.open_at(&hosts[place], setup).await {
                Ok(connection) => {
                    self.usual.store(place, Ordering::Relaxed);
                    return Ok(connection);
                }
                Err(error) => {
                    let error = error.while_doing(format!("connect to {}", hosts[place]));
                    // What is wrong at one server is worth more than that another does not answer.
                    let keeps = last.as_ref().is_some_and(|last: &Error| !last.is_retryable());
                    if !keeps {
                        last = Some(error);
                    }
                }
            }
        }
        Err(last.unwrap_or_else(|| Error::misconfigured("the URL names no host")))
    }

    async fn open_at(&self, host: &Host, setup: &[String]) -> Result<Connection> {
        let within = self.config.connect_within;
        let opening = async {
            let conn = Conn::new(self.options(host)?).await.map_err(unconnected)?;
            let mut connection = Connection {
                conn,
                about: About { version: String::new(), mariadb: false, member: "".into() },
            };
            connection.run(SESSION).await?;
            connection.run("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await?;
            let rows = connection.rows("SELECT @@global.read_only, VERSION(), @@global.server_id").await?;
            let row = rows.first().ok_or_else(|| Error::bug("the server does not say what it is"))?;
            let version = text(row, 1);
            let mariadb = version.contains("MariaDB");
            let member = match mariadb {
                true => text(row, 2),
                false => mysql_member(&mut connection).await?,
            };
            if !takes_writes(row) {
                return Err(Error::transient(
                    "the server is read-only: a replica, or a primary that steps down",
                )
                .with_remedy("connect to the primary"));
            }
            let followed = self.followed().clone();
            if let Some(followed) = followed.filter(|followed| **followed != *member) {
                return Err(Error::transient(format!(
                    "it is server {member}, and server {followed} is followed: following has to begin anew there first"
                )));
            }
            connection.about = About { version, mariadb, member: member.into() };
            for statement in setup {
                connection.run(statement).await?;
            }
            Ok(connection)
        };
        timeout(within, opening)
            .await
            .unwrap_or_else(|_| Err(Error::transient(format!("no answer within {within:?}"))))
    }

    fn options(&self, host: &Host) -> Result<OptsBuilder> {
        let config = &self.config;
        let ssl = match config.tls.mode_for(host) {
            TlsMode::Disable => None,
            TlsMode::Require => Some(SslOpts::default().with_danger_accept_invalid_certs(true)),
            TlsMode::VerifyFull => {
                let roots = self.root_certs()?.into_iter().map(Into::into).collect();
                Some(SslOpts::default().with_root_certs(roots))
            }
        };
        let options = OptsBuilder::default()
            .ip_or_hostname(&host.name)
            .tcp_port(host.port)
            .user(Some(&config.user))
            .pass(config.password.as_ref().map(|password| password.reveal()))
            .db_name(Some(&config.database))
            .prefer_socket(false)
            .tcp_keepalive(Some(Duration::from_secs(30)))
            .ssl_opts(ssl);
        Ok(options)
    }

    /// What holds beside the usual authorities: PEM.
    fn root_certs(&self) -> Result<Vec<Vec<u8>>> {
        let read = |path: &PathBuf| {
            let unreadable =
                |cause| Error::misconfigured(format!("cannot read {}", path.display())).with_cause(cause);
            std::fs::read(path).map_err(unreadable)
        };
        self.config.tls.root_cert.iter().map(read).collect()
    }
}

/// By `read_only`, which a row begins with.
fn takes_writes(row: &Cells) -> bool {
    matches!(text(row, 0).as_str(), "0" | "OFF")
}

/// Whose name transactions have that are committed here: the server's own, or its group's.
async fn mysql_member(connection: &mut Connection) -> Result<String> {
    let rows = connection
        .rows("SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uuid', 'group_replication_group_name')")
        .await?;
    let of = |name: &str| rows.iter().find(|row| text(row, 0) == name).map(|row| text(row, 1));
    let member = of("group_replication_group_name").filter(|name| uuid(name).is_some()).or(of("server_uuid"));
    Ok(member.unwrap_or_default().replace('-', "").to_lowercase())
}

pub(super) fn text(row: &Cells, place: usize) -> String {
    let cell = row.get(place).and_then(Option::as_ref);
    cell.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
}

pub(super) fn cells(row: mysql_async::Row) -> Cells {
    let cell = |value: mysql_async::Value| match value {
        mysql_async::Value::NULL => None,
        mysql_async::Value::Bytes(bytes) => Some(bytes),
        other => Some(other.as_sql(true).trim_matches('\'').as_bytes().to_vec()),
    };
    row.unwrap().into_iter().map(cell).collect()
}

/// `text` as a literal; sessions read backslashes.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

impl Connection {
    pub async fn run(&mut self, sql: &str) -> Result<()> {
        self.conn.query_drop(sql).await.map_err(failed)
    }

    pub async fn rows(&mut self, sql: &str) -> Result<Vec<Cells>> {
        let rows: Vec<mysql_async::Row> = self.conn.query(sql).await.map_err(failed)?;
        Ok(rows.into_iter().map(cells).collect())
    }

    /// Several statements in one round trip, and the rows of each; of those at the end that give none there is nothing.
    pub async fn results(&mut self, sql: impl AsQuery, bytes_max: usize) -> Result<Vec<Vec<Cells>>> {
        let mut result = self.conn.query_iter(sql).await.map_err(failed)?;
        let (mut results, mut size) = (Vec::new(), 0);
        while !result.is_empty() {
            let mut rows = Vec::new();
            while let Some(row) = result.next().await.map_err(failed)? {
                let row = cells(row);
                size += row.iter().flatten().map(Vec::len).sum::<usize>();
                if size > bytes_max {
                    return Err(Error::unsupported(format!("the answer has more than {bytes_max} bytes"))
                        .with_remedy("ask for fewer documents at once"));
                }
                rows.push(row);
            }
            results.push(rows);
        }
        // A statement behind a result that failed says so only now.
        result.drop_result().await.map_err(failed)?;
        Ok(results)
    }

    /// Runs statements the last of which is LOAD DATA LOCAL, whatever file it names: `file` is what the server gets, and a server
    /// that asks for one at another time gets none. Returns how many rows were added, if the server had no objection to any.
    pub async fn load<F>(&mut self, sql: &str, file: F) -> Result<Option<u64>>
    where
        F: Iterator<Item = Bytes> + Send + Sync + 'static,
    {
        self.conn.set_infile_handler(async { Ok(stream::iter(file.map(Ok)).boxed()) });
        let loaded = self.conn.query_drop(sql).await;
        // It may not have been asked for.
        self.conn.set_infile_handler(async { Err::<InfileData, _>(LocalInfileError::NoHandler.into()) });
        loaded.map_err(failed)?;
        Ok((self.conn.get_warnings() == 0).then(|| self.conn.affected_rows()))
    }

    /// What the server says of what it has committed.
    pub async fn history(&mut self) -> Result<History> {
        let unread = || Error::unsupported("the server's global transaction ids cannot be read");
        if self.about.mariadb {
            let rows = self.rows("SELECT @@global.gtid_binlog_state, @@global.gtid_domain_id").await?;
            let row = rows.first().ok_or_else(unread)?;
            let domain = text(row, 1).parse().map_err(|_| unread())?;
            let member = self.about.member.parse().map_err(|_| unread())?;
            let mut last = Gtid::list(&text(row, 0)).ok_or_else(unread)?;
            last.retain(|gtid| gtid.domain == domain);
            return Ok(History::MariaDb { domain, member, last });
        }
        let rows = self.rows("SELECT @@global.gtid_executed").await?;
        let executed = rows.first().and_then(|row| GtidSet::parse(&text(row, 0))).ok_or_else(unread)?;
        Ok(History::MySql { member: uuid(&self.about.member).ok_or_else(unread)?, executed })
    }
}

/// A few connections that are used again.
pub(super) struct Pool {
    servers: Arc<Servers>,
    setup: Vec<String>,
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

/// One connection, until it is dropped or kept.
pub(super) struct Lease {
    pub connection: Connection,
    idle: Arc<Mutex<Vec<Connection>>>,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    pub fn new(servers: Arc<Servers>, most: usize, setup: Vec<String>) -> Pool {
        Pool { servers, setup, idle: Arc::default(), permits: Arc::new(Semaphore::new(most)) }
    }

    pub async fn get(&self) -> Result<Lease> {
        let permit = self.permits.clone().acquire_owned().await;
        let permit = permit.map_err(|_| Error::new(ErrorKind::Bug, "the pool of connections was closed"))?;
        let connection = match self.usable().await {
            Some(connection) => connection,
            None => self.servers.open(&self.setup).await?,
        };
        Ok(Lease { connection, idle: self.idle.clone(), _permit: permit })
    }

    async fn usable(&self) -> Option<Connection> {
        loop {
            let mut connection = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            let followed = self.servers.followed().clone();
            if followed.is_some_and(|followed| followed != connection.about.member) {
                continue;
            }
            // The server may have ended it, have crashed and started again, or have become a replica.
            let asked = connection.rows("SELECT @@global.read_only").await;
            if asked.is_ok_and(|rows| rows.first().is_some_and(takes_writes)) {
                return Some(connection);
            }
        }
    }
}

impl Lease {
    /// It is as it was: the next one may have it.
    pub fn keep(self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(self.connection);
    }
}
