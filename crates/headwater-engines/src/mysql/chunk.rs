//! Reading a chunk: a key range of a table in one short read transaction, and the position that it shows.

use headwater_model::{Chunk, ChunkRange, Error, Key, Moment, Position, Result, Row, Value};
use mysql_async::prelude::Queryable as _;
use std::collections::HashSet;
use std::sync::Arc;

use super::catalog::{self, Catalog, Shape};
use super::codec::Kind;
use super::config::ZeroDates;
use super::connection::{Connection, Pool, cells, literal};
use super::error::failed;
use super::{moment, zero};
use crate::sql::quoted;

pub(super) async fn read(
    pool: &Pool,
    catalog: &Catalog,
    zero_dates: ZeroDates,
    system: &Arc<str>,
    range: &ChunkRange,
) -> Result<Chunk> {
    let mut lease = pool.get().await?;
    let chunk = read_rows(&mut lease.connection, catalog, zero_dates, system, range).await;
    let (chunk, whole) =
        chunk.map_err(|error| error.while_doing(format!("read a chunk of table {}", range.table)))?;
    if whole {
        lease.connection.run("ROLLBACK").await?;
        lease.keep();
    }
    Ok(chunk)
}

async fn read_rows(
    connection: &mut Connection,
    catalog: &Catalog,
    zero_dates: ZeroDates,
    system: &Arc<str>,
    range: &ChunkRange,
) -> Result<(Chunk, bool)> {
    let sequence = moment::begin(connection).await?;
    let described = catalog::describe(connection, Some(std::slice::from_ref(&range.table))).await?;
    let described = described
        .get(&range.table)
        .ok_or_else(|| Error::misconfigured(format!("there is no table {}", range.table)))?;
    let shape = catalog.shape(described)?;
    let sql = select(&shape, range)?;
    let by_keys = !range.keys.is_empty();
    let mut chunk = Chunk {
        table: shape.table.clone(),
        rows: Vec::with_capacity(range.limit.min(100_000)),
        refused: Vec::new(),
        upto: None,
        moment: Moment::At(Position::new(system.clone(), sequence)),
        last: true,
    };
    let (mut read, mut bytes) = (0, 0);
    let mut result = connection.conn.query_iter(sql).await.map_err(altered)?;
    while let Some(row) = result.next().await.map_err(altered)? {
        let row = cells(row);
        bytes += row.iter().flatten().map(Vec::len).sum::<usize>();
        read += 1;
        let mut row = values(&shape, row)?;
        let key = row.key(&shape.table);
        match zero_dates.admit(&shape, &mut row) {
            true => chunk.rows.push(row),
            false => chunk.refused.push(zero::refused(&shape, key.clone(), 1)),
        }
        chunk.upto = Some(key);
        if !by_keys && bytes > range.bytes_max {
            chunk.last = false;
            break;
        }
    }
    // A result that is left in the middle is read to its end by nobody: the connection goes.
    let whole = chunk.last;
    drop(result);
    chunk.last = by_keys || (whole && read < range.limit.max(1));
    Ok((chunk, whole))
}

/// The table may have become another one since it was looked at.
fn altered(error: mysql_async::Error) -> Error {
    match super::error::code(&error) {
        Some(1054 | 1146 | 1412) => {
            Error::transient("the table was altered meanwhile").with_cause(failed(error))
        }
        _ => failed(error),
    }
}

fn values(shape: &Shape, row: Vec<Option<Vec<u8>>>) -> Result<Row> {
    let columns = shape.kinds.iter().zip(&shape.table.columns);
    let cells = row.into_iter().zip(columns).map(|(cell, (kind, column))| match cell {
        None => Ok(Value::Null),
        Some(text) => kind.value(&text).ok_or_else(|| {
            Error::corrupt(format!("a value of column \"{}\" cannot be read as {kind:?}", column.name))
        }),
    });
    Ok(Row(cells.collect::<Result<_>>()?))
}

/// A column so that its text is exact.
pub(super) fn exact(kind: Kind, data_type: &str, sql: &str) -> String {
    match (kind, data_type) {
        // Printed alone it has six digits.
        (Kind::Float, _) => format!("{sql} + 0e0"),
        (Kind::Int, "bit") => format!("{sql} + 0"),
        _ => sql.to_owned(),
    }
}

fn select(shape: &Shape, range: &ChunkRange) -> Result<String> {
    let table = &shape.table;
    let column = |place: &usize| quoted(&table.columns[*place].name);
    let columns: Vec<String> = (0..table.columns.len())
        .map(|place| match shape.kinds[place] {
            Kind::Float => format!("{} + 0e0", column(&place)),
            // BIT is no text; other integers do not mind.
            Kind::Int => format!("{} + 0", column(&place)),
            _ => column(&place),
        })
        .collect();
    let key: Vec<String> = table.key.iter().map(column).collect();
    let literals = |wanted: &Key| -> Result<Vec<String>> {
        if wanted.0.len() != key.len() {
            return Err(Error::out_of_step(format!(
                "the key has {} columns now, the wanted one has {}",
                key.len(),
                wanted.0.len()
            )));
        }
        Ok(wanted.0.iter().map(value).collect())
    };
    let (columns, from, order) = (columns.join(", "), quoted(&table.name.name), key.join(", "));
    if !range.keys.is_empty() {
        let mut seen = HashSet::new();
        let distinct = range.keys.iter().filter(|key| seen.insert(key.to_bytes()));
        let wanted: Vec<String> =
            distinct.map(|key| Ok(format!("({})", literals(key)?.join(", ")))).collect::<Result<_>>()?;
        return Ok(format!(
            "SELECT {columns} FROM {from} WHERE ({order}) IN ({}) ORDER BY {order}",
            wanted.join(", ")
        ));
    }
    let after = match &range.after {
        Some(after) => format!(" WHERE {}", behind(&key, &literals(after)?)),
        None => String::new(),
    };
    Ok(format!("SELECT {columns} FROM {from}{after} ORDER BY {order} LIMIT {}", range.limit.max(1)))
}

/// That a key comes behind another one. The server enters an index for a comparison of one column, not of several at once.
fn behind(key: &[String], after: &[String]) -> String {
    let mut ways = Vec::with_capacity(key.len());
    for place in 0..key.len() {
        let mut way: Vec<String> =
            (0..place).map(|same| format!("{} = {}", key[same], after[same])).collect();
        way.push(format!("{} > {}", key[place], after[place]));
        ways.push(format!("({})", way.join(" AND ")));
    }
    match key {
        [_] => ways.join(" OR "),
        _ => format!("{} >= {} AND ({})", key[0], after[0], ways.join(" OR ")),
    }
}

/// A key's part as a literal.
fn value(value: &Value) -> String {
    match value {
        Value::Null | Value::Unchanged => "NULL".into(),
        Value::Int(n) => n.to_string(),
        Value::Decimal(text) => text.to_string(),
        Value::Float(f) => format!("{f:e}"),
        Value::Bytes(bytes) => {
            format!("X'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
        Value::Timestamp(_) | Value::TimestampTz(_) => {
            let text = value.to_text().replace('T', " ");
            literal(text.trim_end_matches("+00:00"))
        }
        other => literal(&other.to_text()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use headwater_model::{Column, ColumnType, Table, TableName};

    #[test]
    fn a_range_is_read_in_key_order_with_exact_literals() {
        let column = |name: &str, kind| Column { name: name.into(), kind };
        let shape = Shape {
            table: Arc::new(Table {
                id: 1,
                version: 1,
                name: TableName::new(None, "t"),
                columns: vec![column("id", ColumnType::Int), column("a\"b", ColumnType::Text)],
                key: vec![1, 0],
            }),
            kinds: [Kind::Int, Kind::Text].into(),
        };
        let mut range = ChunkRange {
            table: TableName::new(None, "t"),
            after: Some(Key(vec![Value::text("it's \\"), Value::Int(7)])),
            limit: 10,
            bytes_max: 1 << 20,
            keys: Vec::new(),
        };
        assert_eq!(
            select(&shape, &range).unwrap(),
            "SELECT \"id\" + 0, \"a\"\"b\" FROM \"t\" WHERE \"a\"\"b\" >= 'it''s \\\\' AND ((\"a\"\"b\" > 'it''s \\\\') OR \
             (\"a\"\"b\" = 'it''s \\\\' AND \"id\" > 7)) ORDER BY \"a\"\"b\", \"id\" LIMIT 10"
        );
        range.after = Some(Key(vec![Value::Int(1)]));
        assert!(select(&shape, &range).is_err());
        let moment = Value::TimestampTz(1_500_000);
        assert_eq!(value(&moment), "'1970-01-01 00:00:01.5'");
    }
}
