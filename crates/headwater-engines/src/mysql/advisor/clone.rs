//! A copy of the tables' definitions with samples of their rows, in a server of our own: its planner answers what an index would change.
//!
//! Without rows it could not: InnoDB looks into an index to know how many rows are in a range of it, whatever its statistics say, and
//! in an empty one it finds none. What it does take from statistics, how many rows a join finds for each, would be too few in a
//! sample, and is made that of the original.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use headwater_model::{Error, Result};
use mysql_async::ServerError;
use mysql_async::prelude::Queryable as _;

use super::candidates::Candidate;
use super::origin::{Origin, number, quoted};
use super::plan::{self, Eyes, id};
use super::sample;
use super::schema::Schema;
use crate::advice::asked::Parsed;
use crate::advice::configs::{Ask, Planned, Planner};
use crate::mysql::connection::{Connection, literal, text};
use crate::mysql::error::failed;
use crate::mysql::sandbox::{Server, as_known_here};
use crate::sandbox::Folder;

/// An index that queries do not see came with this version.
const AT_LEAST: (u32, u32) = (10, 6);

pub(super) struct Clone {
    pub connection: Connection,
    schema: Arc<Schema>,
    /// Indexes that the planner does not see at the moment.
    hidden: BTreeSet<String>,
    bytes: BTreeMap<String, f64>,
    tables: BTreeMap<String, usize>,
    limit: Option<f64>,
    // Last: the folder is removed after the server has ended.
    _server: Server,
    _folder: Folder,
}

/// Starts the server. Blocks.
pub(super) fn server() -> Result<(Folder, Server)> {
    let folder = Folder::new()?;
    let server = Server::scratch(&folder, "128M")
        .map_err(|error| error.while_doing("start a MariaDB of our own to ask its planner"))?;
    Ok((folder, server))
}

impl Clone {
    /// The tables' definitions, without rows yet.
    pub async fn of(
        origin: &mut Origin,
        schema: &Schema,
        tables: &BTreeSet<usize>,
        (folder, server): (Folder, Server),
    ) -> Result<Clone> {
        let mut connection = server.connect().await?;
        can_ignore(&connection.about.version)?;
        connection
            .run("SET SESSION sql_mode = '', foreign_key_checks = 0, check_constraint_checks = 0, time_zone = '+00:00'")
            .await?;
        let databases: BTreeSet<&str> = (tables.iter())
            .map(|table| schema.tables[*table].schema.as_str())
            .chain([schema.database.as_str()])
            .collect();
        for database in databases {
            connection.run(&format!("CREATE DATABASE {}", quoted(database))).await?;
        }
        for table in tables {
            let table = &schema.tables[*table];
            let definition = origin.definition(&table.table_name(), &table.ident()).await?;
            connection.run(&format!("USE {}", quoted(&table.schema))).await?;
            let doing = || format!("make {} in a MariaDB of our own", table.table_name());
            connection.run(&as_known_here(&definition)).await.map_err(|error| error.while_doing(doing()))?;
        }
        connection.run(&format!("USE {}", quoted(&schema.database))).await?;
        Ok(Clone {
            connection,
            schema: Arc::default(),
            hidden: BTreeSet::new(),
            bytes: BTreeMap::new(),
            tables: BTreeMap::new(),
            limit: None,
            _server: server,
            _folder: folder,
        })
    }

    /// Whether the server takes a statement, before there are rows.
    pub async fn takes(&mut self, sql: &str) -> Result<Result<(), ServerError>> {
        Ok(explain(&mut self.connection, sql).await?.map(drop))
    }

    /// Samples of the tables' rows, with the rows that statements name by a key. What limits the advice is the answer.
    pub async fn furnish(
        &mut self,
        origin: &mut Origin,
        schema: &mut Schema,
        asked: &[&Parsed],
    ) -> Result<Vec<String>> {
        let mut notes = Vec::new();
        let mut wanted: BTreeMap<usize, (BTreeSet<usize>, BTreeSet<String>)> = BTreeMap::new();
        for used in asked.iter().flat_map(|parsed| &parsed.uses) {
            let (columns, named) = wanted.entry(used.table).or_default();
            columns.extend(used.read.iter().chain(&used.equal).chain(&used.joined).chain(&used.range));
            columns.extend(used.orders.iter().flatten().map(|(column, _)| column));
            columns.extend(used.groups.iter().flatten());
            named.extend(schema.tables[used.table].named_by(used));
        }
        for (table, (columns, named)) in wanted {
            notes.extend(sample::take(origin, &mut self.connection, schema, table, &columns, &named).await?);
        }
        Ok(notes)
    }

    /// Makes the candidates. Which of them the server takes is the answer.
    pub async fn make(
        &mut self,
        schema: &Arc<Schema>,
        candidates: &[(String, Candidate)],
    ) -> Result<BTreeSet<usize>> {
        self.schema = Arc::clone(schema);
        let mut of_table: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (place, (_, candidate)) in candidates.iter().enumerate() {
            of_table.entry(candidate.table).or_default().push(place);
        }
        let mut made = BTreeSet::new();
        for (table, places) in of_table {
            let add = |place: &usize| {
                let (name, candidate) = &candidates[*place];
                format!("ADD INDEX {} {}", quoted(name), candidate.keys(schema))
            };
            let alter = format!("ALTER TABLE {} ", schema.tables[table].ident());
            let all: Vec<String> = places.iter().map(add).collect();
            if self.connection.run(&format!("{alter}{}", all.join(", "))).await.is_ok() {
                made.extend(places);
                continue;
            }
            // One of them is not possible: a column that no index can hold, more bytes than one has.
            for place in places {
                if self.connection.run(&format!("{alter}{}", add(&place))).await.is_ok() {
                    made.insert(place);
                }
            }
        }
        for place in &made {
            let (name, candidate) = &candidates[*place];
            self.bytes.insert(id(candidate.table, name), candidate.bytes(schema));
        }
        self.bytes.extend(schema.bytes());
        self.count(schema, candidates).await?;
        Ok(made)
    }

    /// Statistics of the samples, with as many rows for each value as there are in the original.
    async fn count(&mut self, schema: &Schema, candidates: &[(String, Candidate)]) -> Result<()> {
        for (place, table) in schema.tables.iter().enumerate().filter(|(_, table)| table.sampled > 0.0) {
            self.connection.rows(&format!("ANALYZE TABLE {} PERSISTENT FOR ALL", table.ident())).await?;
            if table.scale() < 1.01 {
                continue;
            }
            let of_it =
                format!("db_name = {} AND table_name = {}", literal(&table.schema), literal(&table.name));
            let rows = self
                .connection
                .rows(&format!(
                    "SELECT index_name, prefix_arity, avg_frequency FROM mysql.index_stats WHERE {of_it}"
                ))
                .await?;
            let mut counted = Vec::new();
            for row in rows {
                let (name, arity) = (text(&row, 0), number(&row, 1));
                let columns = match table.indexes.iter().find(|index| index.name == name) {
                    Some(index) => &index.keys,
                    None => match candidates.iter().find(|(other, of)| *other == name && of.table == place) {
                        Some((_, candidate)) => &candidate.columns,
                        None => continue,
                    },
                };
                let first = columns.get(..arity as usize).unwrap_or(columns);
                let values = table.counted(first).unwrap_or_else(|| {
                    let here = table.sampled / number(&row, 2).max(1.0);
                    sample::distinct(here, table.sampled, table.rows)
                });
                let each = (table.rows / values.max(1.0)).clamp(1.0, table.sampled);
                counted.push(format!(
                    "({}, {}, {}, {arity}, {each:.4})",
                    literal(&table.schema),
                    literal(&table.name),
                    literal(&name)
                ));
            }
            if !counted.is_empty() {
                self.connection
                    .run(&format!(
                        "REPLACE INTO mysql.index_stats (db_name, table_name, index_name, prefix_arity, avg_frequency) VALUES {}",
                        counted.join(", ")
                    ))
                    .await?;
            }
        }
        self.connection.run("SET SESSION use_stat_tables = PREFERABLY").await?;
        self.connection.run("FLUSH TABLES").await
    }

    /// The statement that is asked about next.
    pub fn look_at(&mut self, parsed: &Parsed) {
        self.tables = parsed.uses.iter().map(|used| (used.alias.clone(), used.table)).collect();
        self.limit = parsed.limit;
    }
}

#[async_trait]
impl Planner for Clone {
    type Refused = ServerError;

    async fn plan(&mut self, ask: &Ask, hidden: &BTreeSet<String>) -> Result<Result<Planned, ServerError>> {
        hide(&mut self.connection, &self.schema, &mut self.hidden, hidden).await?;
        let text = match explain(&mut self.connection, &ask.sql).await? {
            Ok(text) => text,
            Err(refused) => return Ok(Err(refused)),
        };
        let eyes = Eyes { schema: &self.schema, tables: &self.tables, bytes: &self.bytes, limit: self.limit };
        plan::read(&text, &eyes).map(Ok)
    }
}

/// Makes a session one of an application of the advised server; what this server does not know stays as it is.
pub(super) async fn plan_as(connection: &mut Connection, settings: &[(String, String)]) {
    for (name, value) in settings {
        let value = if value.parse::<f64>().is_ok() { value.clone() } else { literal(value) };
        let _ = connection.run(&format!("SET SESSION {name} = {value}")).await;
    }
}

/// Whether a server can make queries ignore an index.
pub(super) fn can_ignore(version: &str) -> Result<()> {
    let mut parts = version.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    let found = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if !version.contains("MariaDB") || found < AT_LEAST {
        let (major, minor) = AT_LEAST;
        return Err(Error::unsupported(format!(
            "plans are asked of MariaDB {major}.{minor} or later, and this is {version}"
        ))
        .with_remedy("install a newer MariaDB for it"));
    }
    Ok(())
}

/// Lets the planner see all indexes but these, instead of all but those that it did not see `before`.
pub(super) async fn hide(
    connection: &mut Connection,
    schema: &Schema,
    before: &mut BTreeSet<String>,
    hidden: &BTreeSet<String>,
) -> Result<()> {
    for alter in ignoring(schema, before, hidden) {
        connection.run(&alter).await?;
    }
    before.clone_from(hidden);
    Ok(())
}

/// Statements after which these indexes are ignored instead of those.
fn ignoring(schema: &Schema, before: &BTreeSet<String>, after: &BTreeSet<String>) -> Vec<String> {
    let mut changes: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    let (less, more) = (before.difference(after), after.difference(before));
    for (id, word) in more.map(|id| (id, "IGNORED")).chain(less.map(|id| (id, "NOT IGNORED"))) {
        if let Some((table, name)) = id.split_once('.') {
            let change = format!("ALTER INDEX {} {word}", quoted(name));
            changes.entry(table.parse().unwrap_or(0)).or_default().push(change);
        }
    }
    let alter = |(table, changes): (usize, Vec<String>)| {
        format!("ALTER TABLE {} {}", schema.tables[table].ident(), changes.join(", "))
    };
    changes.into_iter().map(alter).collect()
}

/// A plan as the server tells it; what it refuses is the inner error.
pub(super) async fn explain(connection: &mut Connection, sql: &str) -> Result<Result<String, ServerError>> {
    let asked: Result<Option<String>, mysql_async::Error> =
        connection.conn.query_first(format!("EXPLAIN FORMAT=JSON {sql}")).await;
    match asked {
        Ok(text) => Ok(Ok(text.unwrap_or_default())),
        Err(mysql_async::Error::Server(refused)) => Ok(Err(refused)),
        Err(error) => Err(failed(error)),
    }
}
