//! Connections to the server, queries, and what their replies hold.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use headwater_model::{Error, Result, Risk};
use tokio::time::Instant;

use super::config::Config;
use super::failure;
use crate::graph::{self, Bounds, Cell, Indexed, Row, Statement};
use crate::redis::connection::Connection;
use crate::redis::facts;
use crate::redis::resp::Reply;

/// Connections kept for the next queries.
const CONNECTIONS_MAX: usize = 8;

/// A connection that rested longer is tried before it is used.
const RESTED: Duration = Duration::from_secs(1);

pub(super) struct Database {
    config: Config,
    resting: Mutex<Vec<(Connection, Instant)>>,
}

impl Database {
    pub(super) fn new(config: Config) -> Database {
        Database { config, resting: Mutex::default() }
    }

    async fn connection(&self) -> Result<Connection> {
        loop {
            let resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some((mut connection, since)) = resting else {
                return Connection::open(&self.config.redis, &self.config.redis.address).await;
            };
            // One that rested may have died; nothing is lost by asking.
            if since.elapsed() < RESTED || connection.call(&[b"PING"]).await.is_ok() {
                return Ok(connection);
            }
        }
    }

    fn give_back(&self, connection: Connection) {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        if resting.len() < CONNECTIONS_MAX {
            resting.push((connection, Instant::now()));
        }
    }

    /// The rows of a query.
    async fn query(&self, command: &str, text: &str) -> Result<Vec<Vec<Reply>>> {
        let mut connection = self.connection().await?;
        let args = [command.as_bytes(), self.config.graph.as_bytes(), text.as_bytes()];
        let reply = connection.ask(&args).await?;
        self.give_back(connection);
        match reply {
            Reply::Error(text) if failure::is_no_graph(&text) => Ok(Vec::new()),
            Reply::Error(text) => Err(failure::from_reply(&text)),
            // Header, rows, statistics; an error that came while rows were made is the last of them.
            Reply::Array(parts) => match parts.into_iter().map(rows).collect::<Result<Vec<_>>>()? {
                mut parts if parts.len() == 3 => Ok(parts.swap_remove(1)),
                _ => Ok(Vec::new()),
            },
            _ => Err(failure::unexpected(command)),
        }
    }
}

/// One part of a reply as rows, whatever it is.
fn rows(part: Reply) -> Result<Vec<Vec<Reply>>> {
    match part {
        Reply::Error(text) => Err(failure::from_reply(&text)),
        Reply::Array(items) => items
            .into_iter()
            .map(|item| match item {
                Reply::Error(text) => Err(failure::from_reply(&text)),
                Reply::Array(cells) => Ok(cells),
                other => Ok(vec![other]),
            })
            .collect(),
        _ => Ok(Vec::new()),
    }
}

fn cell(reply: Reply) -> Result<Cell> {
    match reply {
        Reply::Nil => Ok(Cell::Null),
        Reply::Int(n) => Ok(Cell::Int(n)),
        Reply::Text(bytes) => String::from_utf8(bytes)
            .map(Cell::Text)
            .map_err(|_| Error::corrupt("a text in the graph is not UTF-8")),
        Reply::Error(text) => Err(failure::from_reply(&text)),
        Reply::Array(_) => Err(failure::unexpected("GRAPH.QUERY")),
    }
}

#[async_trait]
impl graph::Database for Database {
    fn bounds(&self) -> Bounds {
        self.config.bounds
    }

    async fn look(&self) -> Result<(String, Vec<Risk>)> {
        let mut connection = self.connection().await?;
        let info = connection.call(&[b"INFO"]).await?.lossy();
        let info: HashMap<&str, &str> = facts::parse(&info);
        let modules = connection.call(&[b"MODULE", b"LIST"]).await?;
        self.give_back(connection);
        let version = failure::module_version(&modules).ok_or_else(failure::no_module)?;
        let (major, rest) = (version / 10_000, version % 10_000);
        let redis = info.get("redis_version").copied().unwrap_or("?");
        let server = format!("FalkorDB {major}.{}.{} (Redis {redis})", rest / 100, rest % 100);
        Ok((server, facts::risks(&info)))
    }

    async fn run(&self, statement: Statement) -> Result<Vec<Row>> {
        let command = if statement.writes { "GRAPH.QUERY" } else { "GRAPH.RO_QUERY" };
        let rows = self.query(command, &statement.with_literals()).await?;
        if rows.iter().any(|row| row.len() != statement.columns.len()) {
            return Err(failure::unexpected(command));
        }
        rows.into_iter().map(|row| row.into_iter().map(cell).collect()).collect()
    }

    async fn index(&self, on: Indexed<'_>) -> Result<()> {
        let text = format!("CREATE INDEX FOR {} ON (x.{})", on.pattern()?, on.property);
        match self.query("GRAPH.QUERY", &text).await {
            Err(error) if error.to_string().contains("already indexed") => Ok(()),
            made => made.map(drop),
        }
    }
}
