//! Candidates for indexes, from what statements ask of a table: what is compared with a value first, then what is joined, ranged
//! over or sorted by; the same with the columns that are read besides; the same for the rows that a constant condition leaves.

use std::collections::BTreeMap;

use super::origin::{Schema, Table};
use crate::advice::asked::{Constant, ConstantKind, Parsed, Sought, Use};
use crate::advice::heads::{self, Columns, Key};

/// Of one statement. More would make asking the planner slower, and what is cut off is the widest.
const STATEMENT_MAX: usize = 48;

const INCLUDED_MAX: usize = 6;
const INCLUDED_BYTES_MAX: f64 = 100.0;

/// A constant condition that leaves more rows than this share makes no index of its own.
const PARTIAL_SHARE_MAX: f64 = 0.4;

/// A column with more values than this holds no kinds of things.
const KINDS_MAX: f64 = 20.0;

/// Tables smaller than this are read whole anyway, in pages.
const TABLE_PAGES_MIN: f64 = 8.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Method {
    Btree,
    Gin,
    Brin,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Candidate {
    pub table: usize,
    pub method: Method,
    pub keys: Vec<Key>,
    pub include: Vec<usize>,
    pub predicate: Option<Constant>,
    /// How many of the table's rows are in it.
    pub share: f64,
    pub trigram: bool,
}

impl Candidate {
    fn btree(table: usize, keys: Vec<Key>) -> Candidate {
        Candidate {
            table,
            method: Method::Btree,
            keys,
            include: Vec::new(),
            predicate: None,
            share: 1.0,
            trigram: false,
        }
    }

    /// What it is on: `public.orders USING btree (customer_id) WHERE …`, without a name.
    pub fn definition(&self, schema: &Schema) -> String {
        let table = &schema.tables[self.table];
        let name = |column: usize| table.columns[column].ident.clone();
        let trigrams = schema.trigrams.as_deref().unwrap_or("public");
        let keys: Vec<String> = self
            .keys
            .iter()
            .map(|key| {
                let (mut text, descending, class) = match key {
                    Key::Column { column, descending, class } => (name(*column), *descending, *class),
                    Key::Expression(sought) => (format!("({})", sought.text), false, None),
                };
                if self.trigram {
                    text.push_str(&format!(" {trigrams}.gin_trgm_ops"));
                }
                if let Some(class) = class {
                    text.push_str(&format!(" {class}"));
                }
                if descending {
                    text.push_str(" DESC");
                }
                text
            })
            .collect();
        let method = match self.method {
            Method::Btree => "",
            Method::Gin => "USING gin ",
            Method::Brin => "USING brin ",
        };
        let mut text = format!("{method}({})", keys.join(", "));
        if !self.include.is_empty() {
            let include: Vec<String> = self.include.iter().map(|column| name(*column)).collect();
            text.push_str(&format!(" INCLUDE ({})", include.join(", ")));
        }
        if let Some(predicate) = &self.predicate {
            text.push_str(&format!(" WHERE {}", predicate.text));
        }
        text
    }

    /// A name that tells what is in it.
    pub fn name(&self, schema: &Schema) -> String {
        let table = &schema.tables[self.table];
        let mut parts = vec![table.name.clone()];
        for key in &self.keys {
            match key {
                Key::Column { column, .. } => parts.push(table.columns[*column].name.clone()),
                Key::Expression(sought) => {
                    parts.extend(sought.columns.iter().map(|column| table.columns[*column].name.clone()));
                    parts.push("expr".into());
                }
            }
        }
        if let Some(predicate) = &self.predicate {
            parts.push(format!("where_{}", table.columns[predicate.column].name));
        }
        if !self.include.is_empty() {
            parts.push("covering".into());
        }
        let word = match (self.method, self.trigram) {
            (Method::Btree, _) => "idx",
            (Method::Gin, true) => "trgm_idx",
            (Method::Gin, false) => "gin_idx",
            (Method::Brin, _) => "brin_idx",
        };
        let mut name: String = parts.join("_").to_lowercase();
        name.retain(|c| c.is_ascii_alphanumeric() || c == '_');
        name.truncate(50);
        format!("{}_{word}", name.trim_end_matches('_'))
    }

    /// Every column whose change changes the index.
    pub fn touches(&self) -> Vec<usize> {
        let mut columns: Vec<usize> = Vec::new();
        for key in &self.keys {
            match key {
                Key::Column { column, .. } => columns.push(*column),
                Key::Expression(sought) => columns.extend(&sought.columns),
            }
        }
        columns.extend(&self.include);
        columns.extend(self.predicate.as_ref().map(|predicate| predicate.column));
        columns
    }

    /// The column that it begins with.
    pub fn first(&self) -> Option<usize> {
        self.keys.first().and_then(Key::column)
    }
}

/// Of one statement, those that are likeliest to help first.
pub(super) fn of(parsed: &Parsed, schema: &Schema) -> Vec<Candidate> {
    let mut found = Vec::new();
    for used in &parsed.uses {
        let table = &schema.tables[used.table];
        // An index on a partitioned table is built partition by partition: for a person to plan.
        if table.kind == "p" || table.pages < TABLE_PAGES_MIN {
            continue;
        }
        let mut of_it = Of { used, table, schema, found: Vec::new() };
        of_it.btrees();
        of_it.others();
        found.push(of_it.found);
    }
    heads::in_turns(found, STATEMENT_MAX)
}

struct Of<'a> {
    used: &'a Use,
    table: &'a Table,
    schema: &'a Schema,
    found: Vec<Candidate>,
}

impl Of<'_> {
    fn add(&mut self, candidate: Candidate) {
        if !self.found.contains(&candidate) {
            self.found.push(candidate);
        }
    }

    fn distinct(&self, column: usize) -> f64 {
        self.table.columns[column].distinct(self.table.rows())
    }

    fn btrees(&mut self) {
        let heads = self.heads();
        for keys in &heads {
            self.add(Candidate::btree(self.used.table, keys.clone()));
        }
        for keys in &heads {
            if let Some(covering) = self.covering(keys) {
                self.add(covering);
            }
        }
        for constant in &self.used.constants {
            let share = share(constant, self.table);
            if share > PARTIAL_SHARE_MAX || !self.is_a_kind(constant, share) {
                continue;
            }
            let mut narrowed: Vec<Vec<Key>> = heads
                .iter()
                .map(|keys| {
                    keys.iter().filter(|key| key.column() != Some(constant.column)).cloned().collect()
                })
                .filter(|keys: &Vec<Key>| !keys.is_empty())
                .collect();
            // Nothing else is asked of it: any narrow column will do.
            if narrowed.is_empty()
                && let Some(column) = (0..self.table.columns.len()).find(|column| {
                    self.table.columns[*column].not_null && self.table.columns[*column].sortable
                })
            {
                narrowed.push(vec![Key::of(column)]);
            }
            for keys in narrowed {
                let whole = self.covering(&keys);
                let plain = Candidate::btree(self.used.table, keys);
                for candidate in [Some(plain), whole].into_iter().flatten() {
                    self.add(Candidate { predicate: Some(constant.clone()), share, ..candidate });
                }
            }
        }
    }

    /// A value of a query is a constant of the application (`state = 'waiting'`) or what somebody asked for this time. It is taken
    /// for the former where there are few values and this is a rare one.
    fn is_a_kind(&self, constant: &Constant, share: f64) -> bool {
        match constant.kind {
            ConstantKind::Null | ConstantKind::NotNull => true,
            ConstantKind::Equal(_) => {
                let distinct = self.distinct(constant.column);
                let is_bool = self.table.columns[constant.column].type_name == "bool";
                is_bool || distinct <= KINDS_MAX && share < 0.7 / distinct
            }
        }
    }

    /// Lists of columns to begin an index with.
    fn heads(&self) -> Vec<Vec<Key>> {
        let class = match self.schema.collate.as_str() {
            "C" | "POSIX" => None,
            _ => Some("text_pattern_ops"),
        };
        let prefix = |column: usize| {
            let bare = matches!(&*self.table.columns[column].type_name, "text" | "varchar");
            bare.then_some(Key::Column { column, descending: false, class })
        };
        let columns = Columns {
            sortable: &|column| self.table.columns[column].sortable,
            distinct: &|column| self.distinct(column),
            prefix: &prefix,
        };
        heads::of(self.used, &columns)
    }

    /// The same with everything else that is read of the table, if that is little.
    fn covering(&self, keys: &[Key]) -> Option<Candidate> {
        if self.used.all || keys.iter().any(|key| key.column().is_none()) {
            return None;
        }
        let include: Vec<usize> = (self.used.read.iter().copied())
            .filter(|column| keys.iter().all(|key| key.column() != Some(*column)))
            .collect();
        let bytes: f64 = include.iter().map(|column| self.table.columns[*column].bytes()).sum();
        if include.is_empty() || include.len() > INCLUDED_MAX || bytes > INCLUDED_BYTES_MAX {
            return None;
        }
        Some(Candidate { include, ..Candidate::btree(self.used.table, keys.to_vec()) })
    }

    fn others(&mut self) {
        let gin = |keys: Vec<Key>, trigram: bool| Candidate {
            method: Method::Gin,
            trigram,
            ..Candidate::btree(self.used.table, keys)
        };
        let key = |sought: &Sought| match self
            .table
            .columns
            .iter()
            .position(|column| sought.columns.len() == 1 && column.ident == sought.text)
        {
            Some(column) => Key::of(column),
            None => Key::Expression(sought.clone()),
        };
        let mut found = Vec::new();
        if self.schema.trigrams.is_some() || self.schema.trigrams_to_be_had {
            found.extend(self.used.parts.iter().map(|sought| gin(vec![key(sought)], true)));
        }
        found.extend(self.used.contained.iter().map(|sought| gin(vec![key(sought)], false)));
        for column in &self.used.range {
            let known = &self.table.columns[*column];
            if known.correlation.is_some_and(|order| order > 0.9)
                && self.table.pages > 1000.0
                && self.table.is_append_only()
            {
                found.push(Candidate {
                    method: Method::Brin,
                    ..Candidate::btree(self.used.table, vec![Key::of(*column)])
                });
            }
        }
        // Few, and nothing else does what they do.
        found.extend(std::mem::take(&mut self.found));
        self.found = found;
    }
}

/// How many of the rows a condition leaves, by the statistics.
fn share(constant: &Constant, table: &Table) -> f64 {
    let column = &table.columns[constant.column];
    match &constant.kind {
        ConstantKind::Null => column.null_frac,
        ConstantKind::NotNull => 1.0 - column.null_frac,
        ConstantKind::Equal(value) => {
            let common = column.common.as_deref().unwrap_or_default();
            let freqs = column.common_freqs.as_deref().unwrap_or_default();
            let same = |known: &String| {
                known == value
                    || column.type_name == "bool"
                        && known.chars().next() == value.to_lowercase().chars().next()
                    || column.type_name == "bpchar" && known.trim_end() == value.trim_end()
            };
            match common.iter().position(same).and_then(|at| freqs.get(at)) {
                Some(freq) => *freq,
                None => {
                    let rest = (1.0 - column.null_frac - freqs.iter().sum::<f64>()).max(0.0);
                    let others = (column.distinct(table.rows()) - common.len() as f64).max(1.0);
                    rest / others
                }
            }
        }
    }
}

/// The candidates of all statements, each once, with the statements that brought it up.
#[derive(Default)]
pub(super) struct Pool {
    pub all: Vec<Candidate>,
    known: BTreeMap<(usize, String), usize>,
}

impl Pool {
    pub fn add(&mut self, candidate: Candidate, schema: &Schema) -> usize {
        let key = (candidate.table, candidate.definition(schema));
        *self.known.entry(key).or_insert_with(|| {
            self.all.push(candidate);
            self.all.len() - 1
        })
    }
}
