//! What the catalogue says of a table's stored rows: enough to tell, later, whether they may read otherwise although no
//! change of them was logged.
//!
//! DDL writes rows anew behind the log's back, and nothing in the catalogue says so by itself. What is there:
//!
//! - `attnum` is never used again, so a column that was dropped and added has another one.
//! - `ALTER TYPE … USING` writes the column's `pg_attribute` row, and the rows of the table into another file. Each also
//!   happens alone: `SET NOT NULL`, `SET STATISTICS` and a widened `varchar` leave the file, `VACUUM FULL`, `CLUSTER` and
//!   `TRUNCATE` leave the column. Only both together can have converted values.
//! - `VACUUM FULL` does write the column's row if the column was added with a default that the old rows had not stored
//!   (`atthasmissing`). Such a column has a default, whose own row stays the same then, and is made anew by `ALTER TYPE`:
//!   so a column with a default is known by that row's oid, and only one without by the row's `xmin`.
//!
//! Values of an enum and the constraints of a domain are elsewhere, and change no stored value.

use headwater_model::{ColumnRevision, Error, Result, Revision};

use super::connection::{Connection, Row};

/// Marks the oid of a default, which must not pass for an `xmin`.
const OF_DEFAULT: u64 = 1 << 32;

/// One row per column, each with the hash over the files of the table or of its partitions.
fn sql(table_oid: &str) -> String {
    format!(
        "SELECT (SELECT hashtextextended(string_agg(l.oid || ':' || l.relfilenode, ',' ORDER BY l.oid), 0)
                 FROM pg_catalog.pg_class l
                 WHERE l.oid = {table_oid} OR l.oid IN (
                   SELECT p.relid FROM pg_catalog.pg_class c, pg_catalog.pg_partition_tree(c.oid) p
                   WHERE c.oid = {table_oid} AND c.relkind = 'p' AND p.isleaf)),
                a.attnum, coalesce({OF_DEFAULT} + d.oid::int8, a.xmin::text::int8)
         FROM pg_catalog.pg_attribute a
         LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
         WHERE a.attrelid = {table_oid} AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
         ORDER BY a.attnum"
    )
}

/// The rows of `describe`, and the revision of the same moment.
pub(super) async fn read(
    connection: &mut Connection,
    describe: &str,
    table_oid: &str,
) -> Result<(Vec<Row>, Revision)> {
    let mut rows = connection
        .query(&format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {describe}; {}; COMMIT",
            sql(table_oid)
        ))
        .await?;
    let columns = rows.split_off(rows.iter().position(|row| row.len() == 3).unwrap_or(rows.len()));
    let mut revision = Revision { storage: 0, columns: Vec::with_capacity(columns.len()) };
    for column in &columns {
        revision.storage = number(&column[0])?;
        revision.columns.push(ColumnRevision { id: number(&column[1])?, definition: number(&column[2])? });
    }
    Ok((rows, revision))
}

fn number(cell: &Option<String>) -> Result<u64> {
    let parsed = cell.as_deref().and_then(|text| text.parse::<i64>().ok());
    parsed
        .map(i64::cast_unsigned)
        .ok_or_else(|| Error::bug(format!("the catalog gave {cell:?} for a number")))
}
