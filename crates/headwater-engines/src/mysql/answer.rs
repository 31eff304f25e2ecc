//! Answers in SQL, on connections of their own: a few, so that reads never starve following and backfill, in read-only
//! transactions, and with a timeout that the server keeps, so that nothing goes on there after the caller has gone.
//!
//! What is promised of the moment: the transaction shows everything up to the position that it begins with, and that is where
//! the log ended but for commits that are on their way and acknowledged to nobody. Where the log ends afterwards is read
//! again: no commit that shows lies behind that.

use std::sync::Arc;
use std::time::Duration;

use headwater_model::{Answer, AnswerMoment, Error, Moment, Position, Read, Result};
use mysql_async::prelude::Queryable as _;

use super::catalog::{self, Described};
use super::codec::Kind;
use super::connection::{Connection, Pool, Servers, ended_after};
use super::dialect::{MySql, Type, bound};
use super::error::{TIMED_OUT, code, failed};
use super::moment;
use crate::sql::{Column, Shapes, Statement, Table, quoted, statement, tables};

/// Answers at once; others wait for their turn.
const ANSWERS_MAX: usize = 4;

/// What one answer may take in memory.
const ANSWER_BYTES_MAX: usize = 64 << 20;

pub(super) struct Answers {
    pool: Pool,
    servers: Arc<Servers>,
}

impl Answers {
    pub fn new(servers: Arc<Servers>) -> Answers {
        let within = ended_after(servers.config.answer_within);
        Answers { pool: Pool::new(servers.clone(), ANSWERS_MAX, vec![within]), servers }
    }

    pub async fn answer(&self, system: &Arc<str>, read: &Read) -> Result<Answer> {
        let mut lease = self.pool.get().await?;
        let answer = self.answer_on(&mut lease.connection, system, read).await;
        match &answer {
            Ok(_) => {
                lease.connection.run("ROLLBACK").await?;
                lease.keep();
            }
            // The session is in the middle of something, or gone.
            Err(_) => drop(lease),
        }
        answer.map_err(|error| error.while_doing("answer from the source"))
    }

    async fn answer_on(&self, connection: &mut Connection, system: &Arc<str>, read: &Read) -> Result<Answer> {
        let config = &self.servers.config;
        let sequence = moment::begin(connection).await?;
        let names = tables(read);
        let described = catalog::describe(connection, Some(&names)).await?;
        let mut shapes = Shapes::new();
        for name in &names {
            let described = described
                .get(name)
                .ok_or_else(|| Error::misconfigured(format!("there is no table {name}")))?;
            shapes.insert(name.clone(), Arc::new(table(described)?));
        }
        let dialect = MySql { mariadb: connection.about.mariadb, zero_dates: config.zero_dates };
        let statement = statement(&dialect, &shapes, read)?;
        let rows = run(connection, &statement, config.answer_within).await?;
        let found = statement.found(&dialect, rows)?;
        let none_past = Position::new(system.clone(), moment::newest(connection).await?);
        let all_to = Position::new(system.clone(), sequence);
        let at = AnswerMoment::Now { all_to: all_to.clone(), none_past, sees: Moment::At(all_to) };
        Ok(Answer { at, found })
    }
}

fn table(described: &Described) -> Result<Table<Type>> {
    if let Some((what, remedy)) = described.obstacle() {
        return Err(Error::misconfigured(format!("table {}: {what}", described.name)).with_remedy(remedy));
    }
    let column = |column: &catalog::DescribedColumn| {
        let kind = column.kind.unwrap_or(Kind::Text);
        Column {
            name: column.name.clone(),
            kind: kind.column_type(),
            nullable: column.nullable,
            native: Type::new(kind, column),
        }
    };
    Ok(Table {
        from: quoted(&described.name.name),
        columns: described.columns.iter().map(column).collect(),
        key: described.key.clone(),
    })
}

async fn run(
    connection: &mut Connection,
    statement: &Statement<MySql>,
    within: Duration,
) -> Result<Vec<Vec<Option<String>>>> {
    let (sql, params) = bound(&statement.sql, &statement.params)?;
    let explained = |error: mysql_async::Error| {
        match code(&error) {
        Some(number) if TIMED_OUT.contains(&number) => {
            Error::transient(format!("the source worked on it for more than {within:?}"))
                .with_cause(failed(error))
                .with_remedy(
                    "make the index that the access pattern needs at the source (see docs/engines/mysql.md), or give it \
                     more time with answer_timeout",
                )
        }
        Some(1054 | 1146 | 1412) => Error::transient("the table was altered meanwhile").with_cause(failed(error)),
        _ => failed(error),
    }
    };
    let mut result = connection.conn.exec_iter(sql, params).await.map_err(explained)?;
    let (mut rows, mut size) = (Vec::new(), 0);
    while let Some(row) = result.next().await.map_err(explained)? {
        let cell = |value: mysql_async::Value| match value {
            mysql_async::Value::NULL => Ok(None),
            mysql_async::Value::Bytes(bytes) => {
                String::from_utf8(bytes).map(Some).map_err(|_| Error::bug("the source's answer is no text"))
            }
            mysql_async::Value::Int(n) => Ok(Some(n.to_string())),
            mysql_async::Value::UInt(n) => Ok(Some(n.to_string())),
            other => Err(Error::bug(format!("the source's answer is no text: {other:?}"))),
        };
        let row: Vec<Option<String>> = row.unwrap().into_iter().map(cell).collect::<Result<_>>()?;
        size += row.iter().flatten().map(String::len).sum::<usize>();
        if size > ANSWER_BYTES_MAX {
            return Err(too_large());
        }
        rows.push(row);
    }
    // The server cuts a list that is too long, and only warns.
    if result.warnings() > 0 {
        drop(result);
        let warnings = connection.rows("SHOW WARNINGS").await?;
        let is_cut = |row: &super::connection::Cells| {
            ["1260", "1301"].contains(&super::connection::text(row, 1).as_str())
        };
        if warnings.iter().any(is_cut) {
            return Err(too_large());
        }
    }
    Ok(rows)
}

fn too_large() -> Error {
    Error::unsupported(format!(
        "the answer has more than {ANSWER_BYTES_MAX} bytes, or than the server's max_allowed_packet"
    ))
    .with_remedy("ask for fewer documents at once")
}
