//! Reading a chunk: a key range of a table, and the snapshot that decides which transactions it shows.
//!
//! The table is locked against being rewritten before the snapshot is taken, because a rewriting ALTER TABLE is not
//! transaction safe: a snapshot from before it would see an empty table. Shape, snapshot and rows are of one moment.

use std::collections::HashSet;

use headwater_model::{Catalogued, Chunk, ChunkRange, Error, Key, Moment, Result, Row, TableName, Value};

use super::catalog::{self, Catalog, Seen, Shape};
use super::connection::Connection;
use super::pool::Pool;
use super::{pgoutput, revision, sql};

pub(super) async fn read(pool: &Pool, catalog: &Catalog, range: &ChunkRange) -> Result<Chunk> {
    let chunk = read_rows(pool, catalog, range).await;
    chunk.map_err(|error| error.while_doing(format!("read a chunk of table {}", range.table)))
}

async fn read_rows(pool: &Pool, catalog: &Catalog, range: &ChunkRange) -> Result<Chunk> {
    let mut connection = pool.get().await?;
    let table = sql::table(&range.table);
    let mut rows = connection
        .query(&format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; LOCK TABLE {table} IN ACCESS SHARE MODE; \
             SELECT pg_current_snapshot()::text; {}",
            catalog::describe_sql(&catalog::oid_of(&range.table))
        ))
        .await?;
    if rows.len() < 2 {
        return Err(Error::misconfigured("the table does not exist or has no columns"));
    }
    let moment = snapshot(rows.remove(0)[0].as_deref().unwrap_or_default())?;
    let partitioned = rows[0].get(8).is_some_and(|kind| kind.as_deref() == Some("p"));
    let key_types = key_types(&rows)?;
    let described = catalog::described(&rows)?;
    if described.key.is_empty() {
        return Err(no_key(&range.table));
    }
    let shape = catalog.shape(described, Seen::InChunk, &mut connection).await?;
    let select = select(&shape, range, &key_types, partitioned)?;

    let mut parsed = Vec::with_capacity(range.limit.min(100_000));
    let mut unescaped = Vec::new();
    let may_be_refused = pgoutput::may_be_refused(&shape);
    // Of the last row read, if it was refused.
    let (mut refused, mut upto) = (Vec::new(), None);
    let (mut read, mut bytes) = (0, 0);
    let by_keys = !range.keys.is_empty();
    let finished = connection
        .run(&format!("COPY ({select}) TO STDOUT; COMMIT"), &mut Vec::new(), |line| {
            let row = row(line, &shape, &mut unescaped)?;
            read += 1;
            bytes += line.len();
            let key = may_be_refused.then(|| row.key(&shape.table));
            match key.filter(|key| !pgoutput::names_a_row(&shape, key)) {
                Some(key) => {
                    refused.push(pgoutput::refused(&shape, key.clone(), 1));
                    upto = Some(key);
                }
                None => {
                    parsed.push(row);
                    upto = None;
                }
            }
            Ok(by_keys || bytes <= range.bytes_max)
        })
        .await?;
    if finished {
        // Otherwise the server still has rows to send: closing the connection is how to stop it.
        connection.keep();
    }
    if let (false, Some(after), Some(first)) = (by_keys, &range.after, parsed.first())
        && first.key(&shape.table) == *after
    {
        // Bounds are not part of a value, so the literal was another, smaller key. Reading on would never end.
        return Err(Error::unsupported("a key is an array with bounds of its own, which cannot be followed"));
    }
    let last = by_keys || (finished && read < range.limit.max(1));
    let upto = upto.or_else(|| parsed.last().map(|row| row.key(&shape.table)));
    Ok(Chunk { table: shape.table, rows: parsed, refused, upto, moment, last })
}

/// The table as it is now.
pub(super) async fn shape(
    connection: &mut Connection,
    catalog: &Catalog,
    name: &TableName,
) -> Result<Catalogued> {
    let oid = catalog::oid_of(name);
    let describe = catalog::describe_sql(&oid);
    let (rows, revision) = revision::read(connection, &describe, &oid).await?;
    if rows.is_empty() {
        return Err(Error::misconfigured(format!("there is no table {name}")));
    }
    let described = catalog::described(&rows)?;
    if described.key.is_empty() {
        return Err(no_key(name));
    }
    let table = catalog.shape(described, Seen::InChunk, connection).await?.table;
    let revision = Some(revision).filter(|revision| revision.columns.len() == table.columns.len());
    Ok(Catalogued { table, revision })
}

fn no_key(name: &TableName) -> Error {
    Error::misconfigured(format!("table {name} has nothing that identifies a row"))
        .with_remedy(format!("ALTER TABLE {} ADD PRIMARY KEY (…)", sql::table(name)))
}

/// `xmin:xmax:xip,xip`
pub(super) fn snapshot(text: &str) -> Result<Moment> {
    let read = || {
        let mut parts = text.splitn(3, ':');
        let xmin = parts.next()?.parse().ok()?;
        let xmax = parts.next()?.parse().ok()?;
        let list = parts.next()?.split(',').filter(|xid| !xid.is_empty());
        let in_progress = list.map(|xid| xid.parse().ok()).collect::<Option<_>>()?;
        Some(Moment::Snapshot { xmin, xmax, in_progress })
    };
    read().ok_or_else(|| Error::bug(format!("the server sent \"{text}\" for a snapshot")))
}

/// The SQL type names of the key's columns, in key order.
fn key_types(rows: &[super::connection::Row]) -> Result<Vec<String>> {
    let mut types: Vec<(u32, String)> = Vec::new();
    for row in rows {
        if row[6].is_some() {
            types.push((catalog::number(&row[6])?, row[7].clone().unwrap_or_default()));
        }
    }
    types.sort();
    Ok(types.into_iter().map(|(_, name)| name).collect())
}

fn select(shape: &Shape, range: &ChunkRange, key_types: &[String], partitioned: bool) -> Result<String> {
    let table = &shape.table;
    let column = |i: &usize| format!("t.{}", sql::identifier(&table.columns[*i].name));
    let columns: Vec<String> = (0..table.columns.len()).map(|i| column(&i)).collect();
    let key: Vec<String> = table.key.iter().map(column).collect();
    // Without ONLY, a table would show the rows of tables that inherit from it, which the log counts as theirs.
    let only = if partitioned { "" } else { "ONLY " };
    let from = format!("{only}{} t", sql::table(&range.table));
    let literals = |wanted: &Key| {
        if wanted.0.len() != key.len() {
            return Err(Error::out_of_step(format!(
                "the key has {} columns now, the wanted one has {}",
                key.len(),
                wanted.0.len()
            )));
        }
        let values =
            table.key.iter().zip(&wanted.0).zip(key_types).map(|((column, value), name)| match value {
                // A text that is not UTF-8, of a database that takes anything.
                Value::Bytes(bytes) if !shape.decode[*column].identifies(value) => {
                    let escaped: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
                    format!("E'{escaped}'::{name}")
                }
                value => sql::value(value, name),
            });
        Ok(values.collect::<Vec<_>>().join(", "))
    };
    let columns = columns.join(", ");
    let order = key.join(", ");
    if !range.keys.is_empty() {
        let mut seen = HashSet::new();
        let distinct = range.keys.iter().filter(|key| seen.insert(key.to_bytes()));
        let wanted: Vec<String> =
            distinct.map(|key| Ok(format!("({})", literals(key)?))).collect::<Result<_>>()?;
        let names: Vec<String> = (0..key.len()).map(|i| format!("k{i}")).collect();
        let on: Vec<String> = key.iter().zip(&names).map(|(key, name)| format!("{key} = w.{name}")).collect();
        return Ok(format!(
            "SELECT {columns} FROM {from} JOIN (VALUES {}) w({}) ON {} ORDER BY {order}",
            wanted.join(", "),
            names.join(", "),
            on.join(" AND "),
        ));
    }
    let after = match &range.after {
        Some(after) => format!("WHERE ({order}) > ({}) ", literals(after)?),
        None => String::new(),
    };
    Ok(format!("SELECT {columns} FROM {from} {after}ORDER BY {order} LIMIT {}", range.limit.max(1)))
}

/// One line of COPY's text format: values between tabs, `\N` for NULL, backslash escapes, a newline at the end.
fn row(line: &[u8], shape: &Shape, unescaped: &mut Vec<u8>) -> Result<Row> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut values = Vec::with_capacity(shape.decode.len());
    for cell in line.split(|b| *b == b'\t') {
        let column = values.len();
        let Some(decode) = shape.decode.get(column) else { return Err(misfit(shape)) };
        let value = match cell {
            b"\\N" => Value::Null,
            cell if cell.contains(&b'\\') => {
                unescape(cell, unescaped);
                decode.value_or_text(unescaped)
            }
            cell => decode.value_or_text(cell),
        };
        values.push(value);
    }
    if values.len() != shape.decode.len() {
        return Err(misfit(shape));
    }
    Ok(Row(values))
}

fn misfit(shape: &Shape) -> Error {
    Error::bug(format!("a row of table {} does not fit its shape", shape.table.name))
}

fn unescape(cell: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut rest = cell;
    while let Some(stop) = rest.iter().position(|b| *b == b'\\') {
        out.extend_from_slice(&rest[..stop]);
        let escaped = rest.get(stop + 1).copied().unwrap_or(b'\\');
        out.push(match escaped {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            other => other,
        });
        rest = rest.get(stop + 2..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::postgres::codec::Decode;
    use headwater_model::{Column, ColumnType, Table};
    use std::sync::Arc;

    fn shape() -> Shape {
        let column = |name: &str, kind| Column { name: name.into(), kind };
        Shape {
            table: Arc::new(Table {
                id: 1,
                version: 1,
                name: TableName::new(Some("public"), "t"),
                columns: vec![column("id", ColumnType::Int), column("a\"b", ColumnType::Text)],
                key: vec![1, 0],
            }),
            decode: [Decode::Int, Decode::Text].into(),
        }
    }

    #[test]
    fn copy_text_is_unescaped_and_null_is_not_empty() {
        let mut buffer = Vec::new();
        let mut read = |line: &[u8]| row(line, &shape(), &mut buffer).unwrap().0;
        assert_eq!(read(b"1\ta\\tb\\\\N\\n\n"), [Value::Int(1), Value::text("a\tb\\N\n")]);
        assert_eq!(read(b"-2\t\\N\n"), [Value::Int(-2), Value::Null]);
        assert_eq!(read(b"3\t\n"), [Value::Int(3), Value::text("")]);
        assert!(row(b"3\n", &shape(), &mut Vec::new()).is_err());
        assert!(row(b"3\ta\tb\n", &shape(), &mut Vec::new()).is_err());
    }

    #[test]
    fn a_range_is_read_in_key_order_with_exact_literals() {
        let mut range = ChunkRange {
            table: TableName::new(None, "t"),
            after: Some(Key(vec![Value::text("it's"), Value::Int(7)])),
            limit: 10,
            bytes_max: 1 << 20,
            keys: Vec::new(),
        };
        let types = ["text".to_owned(), "bigint".to_owned()];
        assert_eq!(
            select(&shape(), &range, &types, false).unwrap(),
            "SELECT t.\"id\", t.\"a\"\"b\" FROM ONLY \"public\".\"t\" t WHERE (t.\"a\"\"b\", t.\"id\") > \
             ('it''s'::text, '7'::bigint) ORDER BY t.\"a\"\"b\", t.\"id\" LIMIT 10"
        );
        range.after = Some(Key(vec![Value::Int(1)]));
        assert!(select(&shape(), &range, &types, false).is_err());
    }

    #[test]
    fn a_snapshot_reads() {
        assert!(matches!(
            snapshot("10:20:10,14").unwrap(),
            Moment::Snapshot { xmin: 10, xmax: 20, in_progress } if in_progress == [10, 14]
        ));
        assert!(snapshot("1:").is_err());
    }
}
