//! Answers in SQL, each in one short read transaction that also says how far the change table goes, so that an answer and its
//! position are of one moment. Connections of their own, read-only and few; a statement that takes too long, or whose
//! caller is gone, is interrupted.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use headwater_model::{Answer, AnswerMoment, Error, Moment, Read, Result, TableName};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode};

use super::dialect::{self, Native, Sqlite};
use super::{Shared, captured, log, tables};
use crate::sql::{self, Column, Shapes, Table, quoted};

use crate::sqlite::connection::failed;
use crate::sqlite::readers::Readers;

/// Answers at once; others wait for their turn.
const ANSWERS_MAX: usize = 4;

/// What one answer may take in memory.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Steps of SQLite's machine between two looks at the clock: some tens of microseconds.
const STEPS: i32 = 1000;

pub(super) struct Answers {
    readers: Arc<Readers>,
    pub(super) within: Duration,
}

/// Interrupts the work of a caller that went away.
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Answers {
    pub(super) fn new(path: PathBuf) -> Answers {
        let readers = Arc::new(Readers::with(path, ANSWERS_MAX, dialect::add_functions));
        Answers { readers, within: crate::settings::ANSWER_WITHIN }
    }

    /// `None` if there is no database.
    pub(super) async fn answer(&self, shared: &Arc<Shared>, read: &Read) -> Result<Option<Answer>> {
        let (shared, read, within) = (shared.clone(), read.clone(), self.within);
        let gone = Gone(Arc::default());
        let seen = gone.0.clone();
        let work = move |connection: &mut Connection| {
            let end = Instant::now() + within;
            let setting = |e| failed(e, "set up a connection for answers");
            let stop = move || seen.load(Ordering::Relaxed) || Instant::now() >= end;
            connection.progress_handler(STEPS, Some(stop)).map_err(setting)?;
            let answer = answer_on(connection, &shared, &read, within)
                .map_err(|error| error.while_doing("answer from the source"))?;
            connection.progress_handler(STEPS, None::<fn() -> bool>).map_err(setting)?;
            Ok(answer)
        };
        self.readers.read_with(work).await
    }
}

fn answer_on(connection: &Connection, shared: &Shared, read: &Read, within: Duration) -> Result<Answer> {
    let moment = connection.unchecked_transaction().map_err(|e| failed(e, "begin to read"))?;
    let registry = shared.registry(&moment)?;
    let mut shapes = Shapes::new();
    for name in sql::tables(read) {
        // As it is called now: it may have been renamed.
        let now = &captured(&registry, &name)?.shape.name;
        shapes.insert(name, Arc::new(table(&moment, now)?));
    }
    let statement = sql::statement(&Sqlite, &shapes, read)?;
    let rows = run(&moment, &statement.sql, &statement.params, within)?;
    let at = log::position(&registry.system, log::newest(&moment)?);
    let at = AnswerMoment::Now { all_to: at.clone(), none_past: at.clone(), sees: Moment::At(at) };
    Ok(Answer { at, found: statement.found(&Sqlite, rows)? })
}

fn table(connection: &Connection, name: &TableName) -> Result<Table<Native>> {
    let described =
        tables::describe(connection, &name.name).map_err(|e| failed(e, format!("look at table {name}")))?;
    let described = described.ok_or_else(|| Error::misconfigured(format!("there is no table {name}")))?;
    let columns = described.columns.into_iter().map(|column| Column {
        name: column.column.name,
        kind: column.column.kind,
        nullable: column.nullable,
        native: Native::Of(column.affinity),
    });
    Ok(Table { from: quoted(&described.name), columns: columns.collect(), key: described.key })
}

fn run(
    connection: &Connection,
    sql: &str,
    params: &[headwater_model::Value],
    within: Duration,
) -> Result<Vec<Vec<Option<String>>>> {
    let reading = |error: rusqlite::Error| {
        match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => {
            Error::transient(format!("the source worked on it for more than {within:?}")).with_remedy(
                "make the index that the access pattern needs at the source (see docs/engines/sqlite.md), or give it \
                 more time with answer_timeout",
            )
        }
        _ if error.to_string().contains("integer overflow") => {
            Error::unsupported("the walk has more ways than SQLite can count").with_cause(error)
        }
        _ => failed(error, "run the statement"),
    }
    };
    let mut statement = connection.prepare_cached(sql).map_err(reading)?;
    let columns = statement.column_count();
    let mut found =
        statement.query(rusqlite::params_from_iter(params.iter().map(dialect::param))).map_err(reading)?;
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(row) = found.next().map_err(reading)? {
        let mut cells = Vec::with_capacity(columns);
        for column in 0..columns {
            cells.push(match row.get_ref(column).map_err(reading)? {
                ValueRef::Null => None,
                ValueRef::Integer(n) => Some(n.to_string()),
                ValueRef::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
                ValueRef::Real(_) | ValueRef::Blob(_) => {
                    return Err(Error::bug("the source's answer is no text"));
                }
            });
        }
        bytes += cells.iter().flatten().map(String::len).sum::<usize>();
        if bytes > ANSWER_BYTES_MAX {
            return Err(Error::unsupported(format!("the answer has more than {ANSWER_BYTES_MAX} bytes"))
                .with_remedy("ask for fewer documents at once"));
        }
        rows.push(cells);
    }
    Ok(rows)
}
