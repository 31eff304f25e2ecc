//! What indexes cost those who write: an entry for each row that comes, and two for each update of a column that an index holds. An
//! update of other columns leaves an index alone.

use headwater_model::advice::TableWrites;

use super::schema::Schema;
use crate::advice::asked::Write;

/// An entry of an index, in the unit of the plans: about every second one has to fetch its page, and to write it later.
const ENTRY: f64 = 0.5;

/// What is left to be removed behind a delete.
const DELETED: f64 = 0.5;

/// What a workload does to a table.
pub(super) struct Written {
    pub write: Write,
    /// Of all calls.
    pub rows: f64,
}

impl Written {
    fn table(&self) -> usize {
        match self.write {
            Write::Insert { table } | Write::Update { table, .. } | Write::Delete { table } => table,
        }
    }

    /// Of an index over these columns.
    fn costs(&self, columns: &[usize]) -> f64 {
        let entries = match &self.write {
            Write::Insert { .. } => 1.0,
            Write::Update { columns: changed, .. } => {
                if changed.iter().any(|column| columns.contains(column)) { 2.0 } else { 0.0 }
            }
            Write::Delete { .. } => DELETED,
        };
        self.rows * entries * ENTRY
    }
}

/// What keeping up an index over these columns costs.
pub(super) fn upkeep(written: &[Written], table: usize, columns: &[usize]) -> f64 {
    written.iter().filter(|written| written.table() == table).map(|written| written.costs(columns)).sum()
}

/// What the writes to a table cost today: the rows themselves with their log, and what is there of indexes.
pub(super) fn today(written: &[Written], table: usize, schema: &Schema) -> TableWrites {
    let known = &schema.tables[table];
    let rows: f64 =
        written.iter().filter(|written| written.table() == table).map(|written| written.rows).sum();
    let indexes: f64 = (known.indexes.iter())
        .filter(|index| index.name != "PRIMARY")
        .map(|index| upkeep(written, table, &index.keys))
        .sum();
    TableWrites { table: known.table_name(), cost: rows * 2.0 * ENTRY + indexes, in_place: Vec::new() }
}
