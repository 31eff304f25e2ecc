//! How the database is used: what its statistics counted. Reads only, bounded in time; what it may not see it says.

use headwater_model::file::SourceSection;
use headwater_model::{
    Error, ErrorKind, Result, Risk, Severity, SourceUsage, StatementUsage, TableName, TableUsage,
};

use super::config::Config;
use super::connection::{Connection, Purpose, Row};

/// Of the statements that are called most.
const STATEMENTS_MAX: usize = 1_000;
const TEXT_MAX: usize = 20_000;

const BEGIN: &str = "BEGIN READ ONLY; SET LOCAL statement_timeout = '30s'; SET LOCAL lock_timeout = '1s';";

pub(crate) async fn usage(section: &SourceSection) -> Result<SourceUsage> {
    let mut connection = Connection::open(&Config::new(section)?, Purpose::Sql).await?;
    let mut usage = SourceUsage::default();
    let rows = asked(&mut connection, "SELECT extract(epoch FROM now() - stats_reset)::float8,
            (SELECT count(*) FROM pg_stat_activity
             WHERE backend_type = 'client backend' AND datname = current_database() AND pid <> pg_backend_pid())
         FROM pg_stat_database WHERE datname = current_database()").await?;
    if let Some(row) = rows.first() {
        usage.tables_for = number(row, 0);
        usage.sessions = number(row, 1).unwrap_or(0);
    }
    let rows = asked(
        &mut connection,
        "SELECT n.nspname, c.relname, sum(s.n_tup_ins)::int8, sum(s.n_tup_upd)::int8, sum(s.n_tup_del)::int8
         FROM pg_stat_user_tables s
         JOIN pg_class c ON c.oid = coalesce(pg_partition_root(s.relid), s.relid)
         JOIN pg_namespace n ON n.oid = c.relnamespace GROUP BY 1, 2 ORDER BY 1, 2",
    )
    .await?;
    usage.tables = rows
        .iter()
        .map(|row| TableUsage {
            name: TableName::new(Some(text(row, 0)), text(row, 1)),
            inserted: number(row, 2).unwrap_or(0),
            updated: number(row, 3).unwrap_or(0),
            deleted: number(row, 4).unwrap_or(0),
        })
        .collect();
    statements(&mut connection, &mut usage).await?;
    Ok(usage)
}

async fn statements(connection: &mut Connection, usage: &mut SourceUsage) -> Result<()> {
    let rows = asked(
        connection,
        "SELECT quote_ident(n.nspname)
         FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'pg_stat_statements'",
    )
    .await?;
    let missing = |what: &str, remedy: &str| Risk {
        severity: Severity::Warning,
        what: what.to_owned(),
        remedy: remedy.to_owned(),
    };
    let Some(row) = rows.first() else {
        usage.missing.push(missing(
            "the database has no extension pg_stat_statements, so it does not count which statements read, and how often",
            "add it to shared_preload_libraries, restart, CREATE EXTENSION pg_stat_statements, and look again after a busy day",
        ));
        return Ok(());
    };
    let schema = text(row, 0).to_owned();
    let counted = asked(
        connection,
        &format!(
            "SELECT left(query, {TEXT_MAX}), sum(calls)::int8, sum(rows)::int8, sum(total_exec_time)::float8
             FROM {schema}.pg_stat_statements
             WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND (query = '<insufficient privilege>' OR query ~* '^\\s*(/\\*.*?\\*/\\s*)*(select|with)\\y')
             GROUP BY 1 ORDER BY 2 DESC LIMIT {STATEMENTS_MAX}"
        ),
    )
    .await;
    let rows = match counted {
        Ok(rows) => rows,
        Err(error) if error.is_retryable() || error.kind() == ErrorKind::Bug => return Err(error),
        Err(error) => {
            usage.missing.push(missing(
                &format!("pg_stat_statements does not answer: {error}"),
                "add it to shared_preload_libraries and restart; the role needs pg_read_all_stats",
            ));
            return Ok(());
        }
    };
    let (hidden, seen): (Vec<&Row>, Vec<&Row>) =
        rows.iter().partition(|row| text(row, 0) == "<insufficient privilege>");
    if let Some(hidden) = hidden.first() {
        usage.missing.push(missing(
            &format!("the role may not see statements of others: {} calls are not known", text(hidden, 1)),
            "GRANT pg_read_all_stats TO the role of the URL",
        ));
    }
    let statement = |row: &&Row| StatementUsage {
        text: text(row, 0).to_owned(),
        calls: number(row, 1).unwrap_or(0),
        rows: number(row, 2).unwrap_or(0),
        took_ms: number(row, 3).unwrap_or(0.0),
    };
    usage.statements = Some(seen.iter().map(statement).collect());
    // Before version 1.9 of the extension it is not known.
    let since = format!(
        "SELECT extract(epoch FROM now() - stats_reset)::float8 FROM {schema}.pg_stat_statements_info"
    );
    usage.statements_for = asked(connection, &since).await.ok().and_then(|rows| number(rows.first()?, 0));
    Ok(())
}

/// One statement, in a transaction of its own that gives up soon.
async fn asked(connection: &mut Connection, sql: &str) -> Result<Vec<Row>> {
    let rows = connection.query(&format!("{BEGIN} {sql}")).await;
    if !connection.is_ready() {
        return Err(rows.err().unwrap_or_else(|| Error::transient("the connection broke off")));
    }
    connection.query("ROLLBACK").await?;
    rows
}

fn text(row: &Row, at: usize) -> &str {
    row.get(at).and_then(|cell| cell.as_deref()).unwrap_or_default()
}

fn number<T: std::str::FromStr>(row: &Row, at: usize) -> Option<T> {
    text(row, at).parse().ok()
}
