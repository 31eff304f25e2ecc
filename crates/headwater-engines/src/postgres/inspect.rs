//! A look at the database: its tables, its settings, and what stands in the way. Reads only.

use std::collections::HashMap;

use headwater_model::{
    ColumnFacts, ForeignKey, IndexFacts, IndexedColumn, Result, RetainedLog, Risk, Severity, SourceFacts,
    TableFacts, TableName, Value,
};

use super::catalog::{self, Catalog};
use super::codec::Decode;
use super::config::Config;
use super::connection::{Connection, Row};
use super::{dialect, slot, sql, tables};

pub(super) async fn inspect(
    connection: &mut Connection,
    catalog: &Catalog,
    config: &Config,
) -> Result<SourceFacts> {
    let mut risks = risks(connection, config).await?;
    let states = tables::states(connection, None).await?;
    if let Some(partitioned) = states.iter().find(|state| state.kind == 'p') {
        risks.push(Risk {
            severity: Severity::Note,
            what: format!(
                "the log does not say when one partition is truncated, attached, detached or dropped ({} is partitioned)",
                partitioned.name
            ),
            remedy: "delete the partition's rows first, or truncate the whole table".into(),
        });
    }
    let mut columns = columns(connection, catalog).await?;
    let mut unique = unique(connection).await?;
    let mut foreign_keys = foreign_keys(connection).await?;
    let mut indexes = indexes(connection).await?;
    let tables = states
        .iter()
        .map(|state| {
            let unique = unique.remove(&state.oid).unwrap_or_default();
            TableFacts {
                name: state.name.clone(),
                columns: columns.remove(&state.oid).unwrap_or_default(),
                key: unique.iter().find(|index| index.is_key).map_or(Vec::new(), |i| i.columns.clone()),
                unique: unique.into_iter().map(|index| index.columns).collect(),
                foreign_keys: foreign_keys.remove(&state.oid).unwrap_or_default(),
                indexes: indexes.remove(&state.oid).unwrap_or_default(),
                // The server makes indexes of partitioned tables only while their writers wait.
                create_index: if state.kind == 'p' { "CREATE INDEX" } else { "CREATE INDEX CONCURRENTLY" },
                rows_estimate: state.rows,
                bytes_estimate: state.bytes,
                obstacle: state.obstacle(&config.user).map(|(_, risk)| risk),
            }
        })
        .collect();
    let retained = slot::state(connection, config).await.ok().flatten();
    let bound_bytes = retained_bound(connection).await?;
    Ok(SourceFacts {
        server: format!("PostgreSQL {}", connection.server_version()),
        tables,
        retained: retained.map(|slot| RetainedLog { bytes: slot.retained_bytes, bound_bytes }),
        risks,
        ..SourceFacts::default()
    })
}

/// `max_slot_wal_keep_size` in bytes, if it bounds anything.
pub(super) async fn retained_bound(connection: &mut Connection) -> Result<Option<u64>> {
    let rows = connection
        .query("SELECT setting::int8 * 1024 * 1024 FROM pg_settings WHERE name = 'max_slot_wal_keep_size'")
        .await?;
    Ok(rows.first().and_then(|row| row[0].as_ref()).and_then(|bytes| bytes.parse().ok()))
}

async fn columns(connection: &mut Connection, catalog: &Catalog) -> Result<HashMap<u32, Vec<ColumnFacts>>> {
    let rows = connection
        .query(&format!(
            "SELECT a.attrelid, a.attname, a.atttypid, format_type(a.atttypid, a.atttypmod), a.attnotnull,
                    a.attstorage <> 'p', a.attgenerated <> '',
                    (WITH RECURSIVE b AS (
                       SELECT t.oid, t.typtype, t.typbasetype FROM pg_type t WHERE t.oid = a.atttypid
                       UNION ALL
                       SELECT t.oid, t.typtype, t.typbasetype FROM pg_type t JOIN b
                         ON b.typtype = 'd' AND t.oid = b.typbasetype)
                     SELECT b.oid FROM b WHERE b.typtype <> 'd'),
                    a.attcollation <> 0, a.attcollation = 0 OR a.attcollation = ANY(bytes.collations)
             FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
             JOIN pg_namespace n ON n.oid = c.relnamespace, {BYTE_COLLATIONS}
             WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'p')
               AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped
             ORDER BY a.attrelid, a.attnum"
        ))
        .await?;
    let mut typed: Vec<(Box<str>, u32)> = Vec::with_capacity(rows.len());
    for row in &rows {
        typed.push((text(row, 1).into(), catalog::number(&row[2])?));
    }
    let decoders = catalog.decoders(&typed, connection).await?;
    let mut columns: HashMap<u32, Vec<ColumnFacts>> = HashMap::new();
    for (row, decode) in rows.iter().zip(decoders) {
        let kind = decode.kind();
        let native = dialect::Type::new(decode, catalog::number(&row[7])?, &text(row, 3), true, yes(row, 8));
        columns.entry(catalog::number(&row[0])?).or_default().push(ColumnFacts {
            name: text(row, 1).into(),
            kind,
            type_name: text(row, 3).into(),
            nullable: !yes(row, 4),
            may_be_unchanged: yes(row, 5),
            absent_from_log: yes(row, 6),
            indexable: native.indexable(yes(row, 9)),
        });
    }
    Ok(columns)
}

/// The collations that sort by bytes.
const BYTE_COLLATIONS: &str = "(SELECT array_agg(l.oid) AS collations FROM pg_collation l JOIN pg_database d ON d.datname = current_database()
      WHERE l.collname IN ('C', 'POSIX', 'ucs_basic', 'pg_c_utf8')
         OR l.collname = 'default'
            AND (d.datlocprovider = 'b' OR d.datlocprovider = 'c' AND d.datcollate IN ('C', 'POSIX'))) bytes";

/// Valid indexes over whole columns of all rows, per table.
async fn indexes(connection: &mut Connection) -> Result<HashMap<u32, Vec<IndexFacts>>> {
    let rows = connection
        .query(&format!(
            "SELECT i.indrelid, i.indexrelid, a.attname, o.flags & 1 = 1,
                    (o.flags IN (0, 3) OR a.attnotnull) AND (k.coll = 0 OR k.coll = ANY(bytes.collations))
             FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
             JOIN pg_namespace n ON n.oid = c.relnamespace
             JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_am am ON am.oid = ic.relam
             CROSS JOIN {BYTE_COLLATIONS}
             CROSS JOIN LATERAL unnest(string_to_array(i.indkey::text, ' ')::int2[], string_to_array(i.indcollation::text, ' ')::oid[])
               WITH ORDINALITY k(attnum, coll, place)
             JOIN LATERAL unnest(string_to_array(i.indoption::text, ' ')::int2[]) WITH ORDINALITY o(flags, place)
               ON o.place = k.place
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
             WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'p')
               AND NOT c.relispartition AND am.amname = 'btree' AND i.indisvalid
               AND i.indpred IS NULL AND i.indexprs IS NULL AND k.place <= i.indnkeyatts
             ORDER BY i.indrelid, i.indexrelid, k.place"
        ))
        .await?;
    let mut indexes: HashMap<u32, Vec<IndexFacts>> = HashMap::new();
    let mut last = None;
    for row in &rows {
        let known = indexes.entry(catalog::number(&row[0])?).or_default();
        if last.replace(text(row, 1)) != Some(text(row, 1)) {
            known.push(IndexFacts { columns: Vec::new() });
        }
        let column =
            IndexedColumn { name: text(row, 2).into(), descending: yes(row, 3), as_stores: yes(row, 4) };
        known.last_mut().into_iter().for_each(|index| index.columns.push(column.clone()));
    }
    Ok(indexes)
}

struct Unique {
    columns: Vec<Box<str>>,
    /// The log identifies rows by it.
    is_key: bool,
}

/// Unique indexes over columns that are never null, per table.
async fn unique(connection: &mut Connection) -> Result<HashMap<u32, Vec<Unique>>> {
    let rows = connection
        .query(
            "SELECT i.indrelid,
                    CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END,
                    (SELECT array_agg(a.attname::text ORDER BY k.place)
                     FROM unnest((string_to_array(i.indkey::text, ' ')::int2[])[1:i.indnkeyatts])
                          WITH ORDINALITY k(attnum, place)
                     JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum)
             FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
             JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'p')
               AND NOT c.relispartition AND i.indisunique AND i.indisvalid
               AND i.indpred IS NULL AND i.indexprs IS NULL
               AND NOT EXISTS (SELECT FROM unnest((string_to_array(i.indkey::text, ' ')::int2[])[1:i.indnkeyatts]) k
                               JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k
                               WHERE NOT a.attnotnull)
             ORDER BY i.indrelid, i.indisprimary DESC, i.indexrelid",
        )
        .await?;
    let mut unique: HashMap<u32, Vec<Unique>> = HashMap::new();
    for row in &rows {
        unique
            .entry(catalog::number(&row[0])?)
            .or_default()
            .push(Unique { columns: names(row, 2), is_key: yes(row, 1) });
    }
    Ok(unique)
}

async fn foreign_keys(connection: &mut Connection) -> Result<HashMap<u32, Vec<ForeignKey>>> {
    let rows = connection
        .query(
            "SELECT f.conrelid, n.nspname, c.relname,
                    (SELECT array_agg(a.attname::text ORDER BY k.place)
                     FROM unnest(f.conkey) WITH ORDINALITY k(attnum, place)
                     JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.attnum),
                    (SELECT array_agg(a.attname::text ORDER BY k.place)
                     FROM unnest(f.confkey) WITH ORDINALITY k(attnum, place)
                     JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = k.attnum)
             FROM pg_constraint f JOIN pg_class c ON c.oid = f.confrelid
             JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE f.contype = 'f' AND f.conparentid = 0
             ORDER BY f.conrelid, f.conname",
        )
        .await?;
    let mut foreign_keys: HashMap<u32, Vec<ForeignKey>> = HashMap::new();
    for row in &rows {
        foreign_keys.entry(catalog::number(&row[0])?).or_default().push(ForeignKey {
            columns: names(row, 3),
            to: TableName::new(Some(&text(row, 1)), &text(row, 2)),
            to_columns: names(row, 4),
        });
    }
    Ok(foreign_keys)
}

/// Settings and privileges of the server, as far as they concern following.
async fn risks(connection: &mut Connection, config: &Config) -> Result<Vec<Risk>> {
    let rows = connection
        .query(&format!(
            "SELECT current_setting('wal_level'), pg_is_in_recovery(),
                    (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user)
                      OR EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_replication'
                                 AND pg_has_role(current_user, oid, 'member')),
                    (SELECT count(*) FROM pg_replication_slots WHERE slot_name <> {slot})
                      >= current_setting('max_replication_slots')::int,
                    (SELECT count(*) FROM pg_replication_slots WHERE slot_name <> {slot} AND active)
                      >= current_setting('max_wal_senders')::int,
                    current_setting('max_slot_wal_keep_size') = '-1',
                    (SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit'),
                    has_database_privilege(current_database(), 'CREATE')
                      OR EXISTS (SELECT FROM pg_publication WHERE pubname = {publication})",
            slot = sql::literal(&config.slot),
            publication = sql::literal(&config.publication),
        ))
        .await?;
    let Some(row) = rows.first() else { return Ok(Vec::new()) };
    let mut risks = Vec::new();
    let mut risk = |severity, what: &str, remedy: &str| {
        risks.push(Risk { severity, what: what.into(), remedy: remedy.into() });
    };
    if connection.version() < 150_000 {
        risk(Severity::Error, "the server is older than PostgreSQL 15", "use PostgreSQL 15 or later");
    }
    if text(row, 0) != "logical" {
        risk(
            Severity::Error,
            &format!("wal_level is {}, so the log holds no rows to follow", text(row, 0)),
            "ALTER SYSTEM SET wal_level = logical; then restart the server",
        );
    }
    if yes(row, 1) {
        risk(Severity::Error, "the server is a standby", "connect to the primary");
    }
    if !yes(row, 2) {
        risk(
            Severity::Error,
            &format!("the role {} has no REPLICATION", sql::identifier(&config.user)),
            &format!("ALTER ROLE {} REPLICATION", sql::identifier(&config.user)),
        );
    }
    if yes(row, 3) {
        risk(
            Severity::Error,
            "all replication slots are taken",
            "ALTER SYSTEM SET max_replication_slots = …; then restart, or drop a slot that nobody uses",
        );
    }
    if yes(row, 4) {
        risk(
            Severity::Error,
            "all WAL senders are taken",
            "ALTER SYSTEM SET max_wal_senders = …; then restart the server",
        );
    }
    if yes(row, 5) {
        risk(
            Severity::Warning,
            "max_slot_wal_keep_size is unlimited: a slot that nobody reads can fill the server's disk",
            "ALTER SYSTEM SET max_slot_wal_keep_size = '10GB'; SELECT pg_reload_conf()",
        );
    }
    if text(row, 6) == "off" {
        risk(
            Severity::Note,
            "synchronous_commit is off: a commit reaches the log, and so every store, up to about 200 ms later",
            "nothing, or ALTER SYSTEM SET synchronous_commit = on where freshness matters",
        );
    }
    if !yes(row, 7) {
        risk(
            Severity::Warning,
            &format!("the role {} cannot create the publication", sql::identifier(&config.user)),
            &format!(
                "GRANT CREATE ON DATABASE {} TO {}, or create the publication as the owner of the tables",
                sql::identifier(&config.database),
                sql::identifier(&config.user)
            ),
        );
    }
    Ok(risks)
}

fn text(row: &Row, i: usize) -> String {
    row.get(i).cloned().flatten().unwrap_or_default()
}

fn yes(row: &Row, i: usize) -> bool {
    row.get(i).is_some_and(|cell| cell.as_deref() == Some("t"))
}

/// An array of names.
fn names(row: &Row, i: usize) -> Vec<Box<str>> {
    let list = Decode::List { element: Box::new(Decode::Text), delimiter: b',' };
    match list.value(text(row, i).as_bytes()) {
        Some(Value::List(items)) => items
            .into_iter()
            .filter_map(|item| match item {
                Value::Text(name) => Some(name),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}
