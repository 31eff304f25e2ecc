//! Candidates for indexes, from what statements ask of a table: lists of columns, and the same with the columns that are read
//! besides. A text that an index cannot hold whole is held by its beginning.

use std::collections::BTreeMap;

use super::origin::quoted;
use super::schema::{Kind, Schema, Table};
use crate::advice::asked::{Parsed, Use};
use crate::advice::heads::{self, Columns, Key};

/// Of one statement. More would make asking the planner slower, and what is cut off is the widest.
const STATEMENT_MAX: usize = 40;

const READ_BESIDES_MAX: usize = 6;
const READ_BESIDES_BYTES_MAX: f64 = 100.0;

/// Tables smaller than this are read whole anyway.
const TABLE_PAGES_MIN: f64 = 4.0;

/// An index has so many columns at most.
const COLUMNS_MAX: usize = 16;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Candidate {
    pub table: usize,
    pub columns: Vec<usize>,
}

impl Candidate {
    fn prefixes(&self, table: &Table) -> Vec<u32> {
        self.columns.iter().map(|column| table.columns[*column].prefix.unwrap_or(0)).collect()
    }

    pub fn bytes(&self, schema: &Schema) -> f64 {
        let table = &schema.tables[self.table];
        table.index_bytes(&self.columns, &self.prefixes(table))
    }

    /// What it is on: `(customer_id, placed)`.
    pub fn definition(&self, schema: &Schema) -> String {
        let table = &schema.tables[self.table];
        listed(table, &self.columns, &self.prefixes(table), plainly)
    }

    /// The same as a statement has it.
    pub fn keys(&self, schema: &Schema) -> String {
        let table = &schema.tables[self.table];
        listed(table, &self.columns, &self.prefixes(table), quoted)
    }

    /// A name that tells what is in it.
    pub fn name(&self, schema: &Schema) -> String {
        let table = &schema.tables[self.table];
        let mut parts = vec![table.name.as_str()];
        parts.extend(self.columns.iter().map(|column| table.columns[*column].name.as_str()));
        let mut name = parts.join("_").to_lowercase();
        name.retain(|c| c.is_ascii_alphanumeric() || c == '_');
        name.truncate(50);
        format!("{}_idx", name.trim_end_matches('_'))
    }
}

/// Columns of an index.
pub(super) fn listed(table: &Table, columns: &[usize], prefixes: &[u32], name: fn(&str) -> String) -> String {
    let column = |(column, prefix): (&usize, &u32)| {
        let name = name(&table.columns[*column].name);
        if *prefix > 0 { format!("{name}({prefix})") } else { name }
    };
    format!("({})", columns.iter().zip(prefixes).map(column).collect::<Vec<_>>().join(", "))
}

/// Between backticks only if it has to be.
pub(super) fn plainly(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    if plain { name.to_owned() } else { quoted(name) }
}

/// Of one statement, those that are likeliest to help first.
pub(super) fn of(parsed: &Parsed, schema: &Schema) -> Vec<Candidate> {
    let found = parsed.uses.iter().map(|used| of_use(used, schema)).collect();
    heads::in_turns(found, STATEMENT_MAX)
}

fn of_use(used: &Use, schema: &Schema) -> Vec<Candidate> {
    let table = &schema.tables[used.table];
    if !table.is_advised() || table.pages() < TABLE_PAGES_MIN {
        return Vec::new();
    }
    let columns = Columns {
        sortable: &|column| table.columns[column].kind != Kind::Unsortable,
        distinct: &|column| table.distinct(column),
        prefix: &|column| (table.columns[column].kind != Kind::Unsortable).then(|| Key::of(column)),
    };
    let mut lists: Vec<Vec<usize>> = Vec::new();
    for keys in heads::of(used, &columns) {
        // Expressions need a column of their own here, and columns that descend beside others that do not are not weighed.
        let plain = |key: &Key| match key {
            Key::Column { column, descending: false, .. } => Some(*column),
            _ => None,
        };
        if let Some(columns) = keys.iter().map(plain).collect::<Option<Vec<usize>>>() {
            lists.push(columns);
        }
    }
    let covering: Vec<Vec<usize>> = lists.iter().filter_map(|keys| covering(keys, used, table)).collect();
    let mut found = Vec::new();
    for columns in lists.into_iter().chain(covering) {
        let columns = without_key(columns, table);
        let candidate = Candidate { table: used.table, columns };
        if !candidate.columns.is_empty()
            && !table.is_served(&candidate.columns)
            && !found.contains(&candidate)
        {
            found.push(candidate);
        }
    }
    found
}

/// The primary key lies behind the columns of each index anyway.
fn without_key(mut columns: Vec<usize>, table: &Table) -> Vec<usize> {
    let key = table.primary_key();
    for length in (1..=key.len().min(columns.len())).rev() {
        if columns.ends_with(&key[..length]) {
            columns.truncate(columns.len() - length);
            break;
        }
    }
    columns
}

/// The same with everything else that is read of the table, if that is little.
fn covering(keys: &[usize], used: &Use, table: &Table) -> Option<Vec<usize>> {
    let whole = |column: &usize| {
        table.columns[*column].prefix.is_none() && table.columns[*column].kind != Kind::Unsortable
    };
    if used.all || !keys.iter().chain(&used.read).all(whole) {
        return None;
    }
    let besides: Vec<usize> = (used.read.iter().copied())
        .filter(|column| !keys.contains(column) && !table.primary_key().contains(column))
        .collect();
    let bytes: f64 = besides.iter().map(|column| table.columns[*column].bytes()).sum();
    let fits = besides.len() <= READ_BESIDES_MAX
        && bytes <= READ_BESIDES_BYTES_MAX
        && keys.len() + besides.len() <= COLUMNS_MAX;
    (fits && !besides.is_empty()).then(|| [keys, &besides].concat())
}

/// The candidates of all statements, each once: no more of a table than it can have indexes, the first of each statement first.
pub(super) fn pool(of_statements: &[Vec<Candidate>], schema: &Schema) -> Vec<Candidate> {
    let all = heads::in_turns(of_statements.to_vec(), usize::MAX);
    let mut room: BTreeMap<usize, usize> = BTreeMap::new();
    let mut kept = Vec::new();
    for candidate in all {
        let there = schema.tables[candidate.table].indexes.len();
        let left = room.entry(candidate.table).or_insert(INDEXES_MAX.saturating_sub(there));
        if *left > 0 && kept.len() < CANDIDATES_MAX {
            *left -= 1;
            kept.push(candidate);
        }
    }
    kept
}

/// InnoDB's limit of 64, with the primary key and one to spare.
const INDEXES_MAX: usize = 62;

/// In all: each is an index over a sample.
const CANDIDATES_MAX: usize = 300;
