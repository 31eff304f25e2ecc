//! What the database's catalog knows and the log does not say: how types are read, which columns make the key.
//!
//! Owns the numbering of table shapes, shared by the log and by chunks, so that both name one shape alike. Asked once
//! per shape, never per row.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use headwater_model::{Column, Error, Result, Table, TableId, TableName};

use super::codec::Decode;
use super::connection::{Connection, Row};
use super::sql;

/// A table and how its columns are read.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub table: Arc<Table>,
    pub decode: Arc<[Decode]>,
}

/// A table before it has a version.
pub(super) struct Described {
    pub id: TableId,
    pub name: TableName,
    /// Name and type oid.
    pub columns: Vec<(Box<str>, u32)>,
    pub key: Vec<usize>,
}

/// The columns that the catalog says identify a row, now.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Identity {
    /// Names in key order, and their places among the columns that the log has.
    pub columns: Vec<(Box<str>, usize)>,
    pub columns_of_table: usize,
}

#[derive(Default)]
pub(super) struct Catalog {
    types: Mutex<HashMap<u32, Decode>>,
    shapes: Mutex<HashMap<TableId, Known>>,
}

/// The shapes of one table; the last has the highest version.
#[derive(Default)]
struct Known {
    shapes: Vec<Arc<Table>>,
    /// The version that the log is at.
    log_version: u32,
}

/// Who describes a shape: the log goes forward only, a chunk may be ahead of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    InLog,
    InChunk,
}

impl Catalog {
    /// Numbers the shape and finds out how its columns are read.
    pub async fn shape(
        &self,
        described: Described,
        seen: Seen,
        connection: &mut Connection,
    ) -> Result<Shape> {
        let decode = self.decoders(&described.columns, connection).await?;
        Ok(Shape { table: self.number(described, &decode, seen), decode: decode.into() })
    }

    fn number(&self, described: Described, decode: &[Decode], seen: Seen) -> Arc<Table> {
        let columns: Vec<Column> = described
            .columns
            .into_iter()
            .zip(decode)
            .map(|((name, _), decode)| Column { name, kind: decode.kind() })
            .collect();
        let mut shapes = lock(&self.shapes);
        let known = shapes.entry(described.id).or_default();
        // An equal shape that the log has already left is not reused: versions in the log only grow.
        let same = known.shapes.iter().find(|table| {
            table.version >= known.log_version
                && table.name == described.name
                && table.columns == columns
                && table.key == described.key
        });
        let table = match same {
            Some(table) => table.clone(),
            None => {
                let table = Arc::new(Table {
                    id: described.id,
                    version: known.shapes.last().map_or(1, |table| table.version + 1),
                    name: described.name,
                    columns,
                    key: described.key,
                });
                known.shapes.push(table.clone());
                table
            }
        };
        if seen == Seen::InLog {
            known.log_version = table.version;
        }
        table
    }

    pub async fn decoders(
        &self,
        columns: &[(Box<str>, u32)],
        connection: &mut Connection,
    ) -> Result<Vec<Decode>> {
        let unknown: Vec<u32> = {
            let types = lock(&self.types);
            let unknown = |oid: &u32| Decode::of_builtin(*oid).is_none() && !types.contains_key(oid);
            columns.iter().map(|(_, oid)| *oid).filter(unknown).collect()
        };
        if !unknown.is_empty() {
            self.learn_types(&unknown, connection).await?;
        }
        let types = lock(&self.types);
        let decode =
            |oid: u32| Decode::of_builtin(oid).or_else(|| types.get(&oid).cloned()).unwrap_or(Decode::Text);
        Ok(columns.iter().map(|(_, oid)| decode(*oid)).collect())
    }

    async fn learn_types(&self, oids: &[u32], connection: &mut Connection) -> Result<()> {
        let list: Vec<String> = oids.iter().map(u32::to_string).collect();
        let rows = connection
            .query(&format!(
                "WITH RECURSIVE t AS (
                   SELECT oid, typtype, typbasetype, typelem, typdelim, typsubscript
                   FROM pg_catalog.pg_type WHERE oid IN ({})
                   UNION
                   SELECT n.oid, n.typtype, n.typbasetype, n.typelem, n.typdelim, n.typsubscript
                   FROM pg_catalog.pg_type n JOIN t
                     ON n.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.typelem END)
                 SELECT oid, typtype, typbasetype,
                        CASE WHEN typsubscript = 'pg_catalog.array_subscript_handler'::regproc
                             THEN typelem ELSE 0 END,
                        typdelim
                 FROM t",
                list.join(",")
            ))
            .await?;
        let rows: HashMap<u32, TypeRow> = rows.iter().map(type_row).collect::<Result<_>>()?;
        let mut types = lock(&self.types);
        for oid in oids {
            // A type that is gone belonged to a column that is gone: its text is all there is.
            types.insert(*oid, decode_of(*oid, &rows));
        }
        Ok(())
    }

    /// The key columns that `name` had in the last shape known of table `id`.
    pub fn last_key(&self, id: TableId) -> Vec<Box<str>> {
        lock(&self.shapes)
            .get(&id)
            .and_then(|known| known.shapes.last())
            .map(|table| table.key.iter().map(|i| table.columns[*i].name.clone()).collect())
            .unwrap_or_default()
    }
}

struct TypeRow {
    is_domain: bool,
    base: u32,
    element: u32,
    delimiter: u8,
}

fn type_row(row: &Row) -> Result<(u32, TypeRow)> {
    let [oid, kind, base, element, delimiter] = &row[..] else {
        return Err(Error::bug("pg_type rows have five columns"));
    };
    let row = TypeRow {
        is_domain: kind.as_deref() == Some("d"),
        base: number(base)?,
        element: number(element)?,
        delimiter: delimiter.as_ref().and_then(|d| d.bytes().next()).unwrap_or(b','),
    };
    Ok((number(oid)?, row))
}

fn decode_of(oid: u32, rows: &HashMap<u32, TypeRow>) -> Decode {
    if let Some(decode) = Decode::of_builtin(oid) {
        return decode;
    }
    match rows.get(&oid) {
        Some(row) if row.is_domain => decode_of(row.base, rows),
        Some(row) if row.element != 0 => Decode::List {
            element: Box::new(decode_of(row.element, rows)),
            delimiter: rows.get(&row.element).map_or(b',', |element| element.delimiter),
        },
        _ => Decode::Text,
    }
}

/// Columns: oid, schema, table, identity letter, column, type oid, place in the key or null, the type's SQL name,
/// kind of relation, whether never null, the oid of the type without domains, whether text is equal only byte by byte,
/// whether there is a collation.
pub(super) fn describe_sql(table_oid: &str) -> String {
    format!(
        "SELECT c.oid, n.nspname, c.relname, c.relreplident, a.attname, a.atttypid,
                array_position(k.columns, a.attnum), format_type(a.atttypid, a.atttypmod), c.relkind, a.attnotnull,
                (WITH RECURSIVE b AS (
                   SELECT t.oid, t.typtype, t.typbasetype FROM pg_catalog.pg_type t WHERE t.oid = a.atttypid
                   UNION ALL
                   SELECT t.oid, t.typtype, t.typbasetype FROM pg_catalog.pg_type t JOIN b
                     ON b.typtype = 'd' AND t.oid = b.typbasetype)
                 SELECT b.oid FROM b WHERE b.typtype <> 'd'),
                coalesce((SELECT l.collisdeterministic FROM pg_catalog.pg_collation l WHERE l.oid = a.attcollation), true),
                a.attcollation <> 0
         FROM pg_catalog.pg_class c
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         JOIN pg_catalog.pg_attribute a
           ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
         LEFT JOIN LATERAL (
           SELECT (string_to_array(i.indkey::text, ' ')::int2[])[1:i.indnkeyatts] AS columns
           FROM pg_catalog.pg_index i
           WHERE i.indrelid = c.oid AND i.indisvalid
             AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END
         ) k ON true
         WHERE c.oid = {table_oid}
         ORDER BY a.attnum"
    )
}

pub(super) fn described(rows: &[Row]) -> Result<Described> {
    let Some(first) = rows.first() else {
        return Err(Error::misconfigured("the table does not exist or has no columns"));
    };
    let cell = |row: &Row, i: usize| row.get(i).cloned().flatten().unwrap_or_default();
    let mut columns = Vec::with_capacity(rows.len());
    let mut key = Vec::new();
    for (place, row) in rows.iter().enumerate() {
        columns.push((cell(row, 4).into(), number(&row[5])?));
        if let Some(Some(position)) = row.get(6) {
            let position: usize = position.parse().map_err(|_| Error::bug("a key position is a number"))?;
            key.push((position, place));
        }
    }
    key.sort_unstable();
    let described = Described {
        id: number(&first[0])?,
        name: TableName::new(Some(&cell(first, 1)), &cell(first, 2)),
        columns,
        key: key.into_iter().map(|(_, place)| place).collect(),
    };
    Ok(described)
}

/// What identifies a row of the table with this oid, now.
pub(super) async fn identity(connection: &mut Connection, id: TableId) -> Result<Identity> {
    let rows = connection.query(&describe_sql(&id.to_string())).await?;
    if rows.is_empty() {
        return Ok(Identity::default());
    }
    let described = described(&rows)?;
    let columns = described.key.iter().map(|i| (described.columns[*i].0.clone(), *i)).collect();
    Ok(Identity { columns, columns_of_table: described.columns.len() })
}

/// SQL that gives a table's oid from its name.
pub(super) fn oid_of(name: &TableName) -> String {
    format!("pg_catalog.to_regclass({})::oid", sql::literal(&sql::table(name)))
}

pub(super) fn number(cell: &Option<String>) -> Result<u32> {
    cell.as_deref()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Error::bug(format!("the catalog gave {cell:?} for a number")))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while holding these; and if so, the maps are whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(columns: &[&str]) -> Described {
        Described {
            id: 1,
            name: TableName::new(Some("public"), "t"),
            columns: columns.iter().map(|name| ((*name).into(), 23)).collect(),
            key: vec![0],
        }
    }

    #[test]
    fn versions_in_the_log_only_grow_and_a_chunk_may_be_ahead() {
        let catalog = Catalog::default();
        let number = |columns: &[&str], seen| {
            catalog.number(described(columns), &vec![Decode::Int; columns.len()], seen).version
        };
        assert_eq!(number(&["a"], Seen::InLog), 1);
        assert_eq!(number(&["a"], Seen::InLog), 1);
        assert_eq!(number(&["a", "b"], Seen::InChunk), 2);
        assert_eq!(number(&["a"], Seen::InChunk), 1);
        assert_eq!(number(&["a"], Seen::InLog), 1);
        assert_eq!(number(&["a", "b"], Seen::InLog), 2);
        assert_eq!(number(&["a"], Seen::InLog), 3);
    }
}
