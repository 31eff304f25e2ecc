//! What indexes cost those who write: an entry for each row that comes, and for each update that cannot stay in its page because an
//! index holds a column that it changes (PostgreSQL calls the others HOT, heap-only tuples).

use headwater_model::advice::{InPlace, TableWrites};

use super::candidates::{Candidate, Method};
use super::origin::Schema;
use crate::advice::asked::Write;

/// What a workload does to a table.
pub(super) struct Written {
    pub write: Write,
    /// Of all calls.
    pub rows: f64,
}

pub(super) struct Upkeep<'a> {
    pub schema: &'a Schema,
    pub written: &'a [Written],
    /// Of one entry of a b-tree, in the planner's units: half of the time its page has to be fetched, and later written.
    pub entry: f64,
}

impl Upkeep<'_> {
    fn of(&self, table: usize) -> impl Iterator<Item = &Written> {
        self.written.iter().filter(move |written| match &written.write {
            Write::Insert { table: of } | Write::Update { table: of, .. } | Write::Delete { table: of } => {
                *of == table
            }
        })
    }

    /// How many of the updates of these columns stay in their page today.
    fn in_place(&self, table: usize, columns: &[usize]) -> f64 {
        let known = &self.schema.tables[table];
        let numbers: Vec<i32> = columns.iter().map(|column| known.columns[*column].number).collect();
        let mut indexes = self.schema.indexes.iter().filter(|index| index.table == known.oid);
        if indexes.any(|index| index.touches.iter().any(|column| numbers.contains(column))) {
            return 0.0;
        }
        // What was counted is of all updates, these and those that change an indexed column.
        if known.updates >= 1000.0 { (known.hot_updates / known.updates).max(0.5) } else { 0.95 }
    }

    /// What an index is charged for each row that comes, whatever else is there.
    fn each(&self, method: Method, share: f64) -> f64 {
        share
            * self.entry
            * match method {
                Method::Btree => 1.0,
                // Many entries, put in together later on.
                Method::Gin => 8.0,
                Method::Brin => 0.05,
            }
    }

    fn rows_that_come(&self, table: usize) -> f64 {
        self.of(table)
            .map(|written| match &written.write {
                Write::Insert { .. } => written.rows,
                Write::Update { columns, .. } => written.rows * (1.0 - self.in_place(table, columns)),
                // What vacuum does later.
                Write::Delete { .. } => 0.3 * written.rows,
            })
            .sum()
    }

    pub fn candidate(&self, candidate: &Candidate) -> f64 {
        self.each(candidate.method, candidate.share) * self.rows_that_come(candidate.table)
    }

    pub fn existing(&self, table: usize) -> f64 {
        self.each(Method::Btree, 1.0) * self.rows_that_come(table)
    }

    /// Which of a table's updates in place end with an index that holds these columns, by their places in
    /// [`TableWrites::in_place`].
    pub fn ends(&self, candidate: &Candidate) -> Vec<usize> {
        let touches = candidate.touches();
        let updates = self.of(candidate.table).filter_map(|written| match &written.write {
            Write::Update { columns, .. } => Some(columns),
            _ => None,
        });
        updates
            .enumerate()
            .filter(|(_, columns)| columns.iter().any(|column| touches.contains(column)))
            .map(|(place, _)| place)
            .collect()
    }

    pub fn table(&self, table: usize) -> TableWrites {
        let known = &self.schema.tables[table];
        let indexes = self.schema.indexes.iter().filter(|index| index.table == known.oid).count() as f64;
        // The row itself, and what the log holds of it, is about two entries.
        let rows: f64 = self.of(table).map(|written| written.rows).sum();
        let cost = rows * 2.0 * self.entry + self.rows_that_come(table) * indexes * self.entry;
        let in_place = self
            .of(table)
            .filter_map(|written| match &written.write {
                Write::Update { columns, .. } => {
                    let each = written.rows * self.in_place(table, columns) * self.entry;
                    Some(InPlace { standing: each * indexes, each })
                }
                _ => None,
            })
            .collect();
        TableWrites { table: known.table_name(), cost, in_place }
    }
}
