//! Answers in SQL, on connections of their own: a few, so that reads never starve following and backfill, read-only, and
//! with a timeout that the server keeps, so that nothing goes on there after the caller has gone.
//!
//! What is promised of the moment: the position is read from the log *before* the statement takes its snapshot. Every
//! transaction whose commit was acknowledged to its client before the call is visible then, and its commit lies at or
//! before that position. Commits between the two are visible too, so where the log ends is read again *after* the snapshot:
//! no commit that is visible lies behind that. A commit that still waits for a synchronous standby may lie before the
//! position and not be visible, while whoever follows the log knows it already. So what was visible is asked for too, before the
//! statement: what can be seen once stays visible.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use headwater_model::{Answer, AnswerMoment, Error, Moment, Position, Read, Result, TableName};

use super::catalog::{self, Catalog};
use super::config::Config;
use super::connection::{Bound, Connection, Row};
use super::dialect::{self, Postgres, Type};
use super::pool::Pool;
use super::{chunk, lsn, sql};
use crate::sql::{Column, Shapes, Statement, Table, statement, tables};

/// Answers at once; others wait for their turn.
const ANSWERS_MAX: usize = 4;

/// What one answer may take in memory.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Sets of tables whose shapes are remembered: about one for each view.
const SHAPES_MAX: usize = 512;

pub(super) struct Answers {
    pool: Pool,
    within: Duration,
    shapes: Mutex<HashMap<Vec<TableName>, Arc<Known>>>,
}

/// Shapes of tables, and what the catalog says while they are so.
struct Known {
    print: String,
    shapes: Shapes<Type>,
}

impl Answers {
    pub fn new(config: Arc<Config>) -> Answers {
        // Each statement has a snapshot of its own only at this level, whatever the role's default is. Parallel workers would
        // be processor time beyond the connections counted here.
        let setup = format!(
            "SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = on; \
             SET statement_timeout = {}; SET lock_timeout = 0; \
             SET max_parallel_workers_per_gather = 0; SET application_name = {}",
            config.answer_within.as_millis().max(1),
            sql::literal(&format!("{} answers", config.application_name)),
        );
        let within = config.answer_within;
        Answers { pool: Pool::with_setup(config, ANSWERS_MAX, setup), within, shapes: Mutex::default() }
    }

    pub async fn answer(&self, catalog: &Catalog, read: &Read) -> Result<Answer> {
        let mut connection = self.pool.get().await?;
        let answer = self.answer_on(&mut connection, catalog, read).await;
        if connection.is_ready() {
            connection.keep();
        }
        answer.map_err(|error| error.while_doing("answer from the source"))
    }

    async fn answer_on(&self, connection: &mut Connection, catalog: &Catalog, read: &Read) -> Result<Answer> {
        let tables = tables(read);
        // The tables may change while they are looked at, but not for ever.
        for _ in 0..3 {
            let remembered = self.lock().get(&tables).cloned();
            let is_fresh = remembered.is_none();
            let known = match remembered {
                Some(known) => known,
                None => self.look(connection, catalog, &tables).await?,
            };
            let results = self.run(connection, &tables, &known, read).await;
            let (statement, mut results) = match results {
                Ok(done) => done,
                // The statement may have been made for tables as they were.
                Err(_)
                    if !is_fresh
                        && connection.is_ready()
                        && !self.is_current(connection, &tables, &known).await? =>
                {
                    self.lock().remove(&tables);
                    continue;
                }
                Err(error) => return Err(self.explained(error)),
            };
            let (Some(end), Some(rows), Some(moment)) = (results.pop(), results.pop(), results.pop()) else {
                return Err(Error::bug("the server left out a result"));
            };
            let Seen { all_to, sees, print } = seen(&moment)?;
            if print != known.print {
                self.lock().remove(&tables);
                continue;
            }
            let none_past = Position::new(all_to.system.clone(), end_of_log(&end)?);
            let at = AnswerMoment::Now { all_to, none_past, sees };
            return Ok(Answer { at, found: statement.found(&Postgres, rows)? });
        }
        Err(Error::transient("the tables change faster than they can be read"))
    }

    /// Asks for the moment, runs the statement after it, and asks for the end of the log then. Returns the results of all three.
    async fn run(
        &self,
        connection: &mut Connection,
        tables: &[TableName],
        known: &Known,
        read: &Read,
    ) -> Result<(Statement<Postgres>, Vec<Vec<Row>>)> {
        let statement = statement(&Postgres, &known.shapes, read)?;
        let params: Vec<Option<String>> = statement.params.iter().map(dialect::param).collect();
        let moment = moment_sql(tables);
        let all = [
            Bound { sql: &moment, params: &[] },
            Bound { sql: &statement.sql, params: &params },
            Bound { sql: END_OF_LOG, params: &[] },
        ];
        let results = connection.run_bound(&all, ANSWER_BYTES_MAX).await?;
        Ok((statement, results))
    }

    /// Whether the tables still are as they are remembered.
    async fn is_current(
        &self,
        connection: &mut Connection,
        tables: &[TableName],
        known: &Known,
    ) -> Result<bool> {
        let rows = connection.query(&moment_sql(tables)).await?;
        Ok(seen(&rows)?.print == known.print)
    }

    /// Asks the catalog for the shapes of tables, and remembers them.
    async fn look(
        &self,
        connection: &mut Connection,
        catalog: &Catalog,
        tables: &[TableName],
    ) -> Result<Arc<Known>> {
        // First: what changes meanwhile shows at the next look.
        let print = seen(&connection.query(&moment_sql(tables)).await?)?.print;
        let mut shapes = Shapes::new();
        for name in tables {
            let rows = connection.query(&catalog::describe_sql(&catalog::oid_of(name))).await?;
            if rows.is_empty() {
                return Err(Error::misconfigured(format!("there is no table {name}")));
            }
            shapes.insert(name.clone(), Arc::new(table(connection, catalog, &rows).await?));
        }
        let known = Arc::new(Known { print, shapes });
        let mut remembered = self.lock();
        if remembered.len() >= SHAPES_MAX {
            remembered.clear();
        }
        remembered.insert(tables.to_vec(), known.clone());
        Ok(known)
    }

    fn explained(&self, error: Error) -> Error {
        if error.is_retryable() && error.to_string().contains("57014") {
            return Error::transient(format!("the source worked on it for more than {:?}", self.within))
                .with_cause(error)
                .with_remedy(
                    "make the index that the access pattern needs at the source (see docs/engines/postgresql.md), or \
                     give it more time with answer_timeout",
                );
        }
        error
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Vec<TableName>, Arc<Known>>> {
        self.shapes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn table(connection: &mut Connection, catalog: &Catalog, rows: &[Row]) -> Result<Table<Type>> {
    let described = catalog::described(rows)?;
    let decode = catalog.decoders(&described.columns, connection).await?;
    let mut columns = Vec::with_capacity(rows.len());
    for (row, decode) in rows.iter().zip(decode) {
        let yes = |i: usize| row.get(i).is_some_and(|cell| cell.as_deref() == Some("t"));
        let base = catalog::number(&row[10])?;
        let type_name = row[7].clone().unwrap_or_default();
        columns.push(Column {
            name: row[4].clone().unwrap_or_default().into(),
            kind: decode.kind(),
            nullable: !yes(9),
            native: Type::new(decode, base, &type_name, yes(11), yes(12)),
        });
    }
    // As chunks do: without ONLY, a table would show the rows of tables that inherit from it.
    let partitioned = rows[0].get(8).is_some_and(|kind| kind.as_deref() == Some("p"));
    let only = if partitioned { "" } else { "ONLY " };
    Ok(Table { from: format!("{only}{}", sql::table(&described.name)), columns, key: described.key })
}

/// The end of the log, the system, the log file it lies in, and what the catalog says of the tables.
fn moment_sql(tables: &[TableName]) -> String {
    let mut prints = String::new();
    for name in tables {
        let _ = write!(
            prints,
            ", (SELECT concat_ws('/', c.oid, c.relreplident, c.relkind,
                  (SELECT string_agg(concat_ws(' ', a.attnum, a.atttypid, a.atttypmod, a.attcollation, a.attnotnull,
                                               a.attisdropped, a.attname), ',' ORDER BY a.attnum)
                   FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0),
                  (SELECT string_agg(concat_ws(' ', i.indexrelid, i.indisprimary, i.indisreplident, i.indisvalid), ','
                                     ORDER BY i.indexrelid)
                   FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND (i.indisprimary OR i.indisreplident)))
                FROM pg_catalog.pg_class c WHERE c.oid = {})",
            catalog::oid_of(name)
        );
    }
    format!(
        "SELECT l.lsn, s.system_identifier, pg_walfile_name(l.lsn),
                pg_current_snapshot(){prints}
         FROM (SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_insert_lsn() END AS lsn) AS l,
              pg_control_system() AS s"
    )
}

const END_OF_LOG: &str = "SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_insert_lsn() END";

fn end_of_log(rows: &[Row]) -> Result<u64> {
    match rows.first().and_then(|row| row.first()) {
        Some(Some(lsn)) => lsn::parse(lsn),
        _ => Err(Error::bug("the server has no end of the log")),
    }
}

/// The moment before a statement.
struct Seen {
    /// Where the log ended.
    all_to: Position,
    sees: Moment,
    /// What the catalog said of the tables.
    print: String,
}

/// Reads what [`moment_sql`] gives.
fn seen(rows: &[Row]) -> Result<Seen> {
    let row = rows.first().map(Vec::as_slice).unwrap_or_default();
    let [at, system, file, snapshot, prints @ ..] = row else {
        return Err(Error::bug("the server has no position"));
    };
    let (Some(at), Some(system), Some(file)) = (at, system, file) else {
        return Err(Error::transient("the server is a standby").with_remedy("connect to the primary"));
    };
    let timeline = file.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let timeline = timeline.ok_or_else(|| Error::bug(format!("\"{file}\" is no file of the log")))?;
    let all_to = Position::new(format!("{system}/{timeline}"), lsn::parse(at)?);
    let sees = chunk::snapshot(snapshot.as_deref().unwrap_or_default())?;
    let print = prints.iter().map(|print| print.as_deref().unwrap_or("-")).collect::<Vec<_>>().join("|");
    Ok(Seen { all_to, sees, print })
}
