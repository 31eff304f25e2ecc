//! Random schemas and random transactions, from a seed: what property tests feed to a source.
//!
//! The same seed gives the same statements, so a failing one can be played again. Statements never fail on an engine that
//! runs them alone and in order: the workload knows which keys are there. It does not know what documents should look
//! like; that is the checker's to say.

mod patterns;
mod reader;
mod schema;
mod values;

use std::collections::BTreeSet;

use headwater_model::View;

use crate::Chance;
pub use reader::{PairReader, PairStore};
use schema::{Kind, Schema};

/// Whose SQL is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Postgres,
    Sqlite,
    /// With names between double quotes and backslashes that are themselves. The statements are those of
    /// [`Dialect::Sqlite`], so that a twin in SQLite can say what should be there.
    MariaDb,
}

/// Statements of one transaction, with savepoints among them, but without BEGIN and its end.
#[derive(Clone, Debug)]
pub struct Transaction {
    pub statements: Vec<String>,
    pub commits: bool,
}

impl Transaction {
    /// As one text, with BEGIN and COMMIT or ROLLBACK.
    pub fn sql(&self) -> String {
        let end = if self.commits { "COMMIT" } else { "ROLLBACK" };
        format!("BEGIN;\n{};\n{end};", self.statements.join(";\n"))
    }
}

/// Which keys each table has.
type Keys = Vec<BTreeSet<i64>>;

#[derive(Clone, Debug)]
pub struct Workload {
    dialect: Dialect,
    chance: Chance,
    schema: Schema,
    keys: Keys,
    next_key: i64,
    pair_version: i64,
}

impl Workload {
    /// Up to seven tables in a tree, and `pair`: two rows whose amounts always add up to zero.
    pub fn new(seed: u64, dialect: Dialect) -> Workload {
        let mut chance = Chance::new(seed);
        let schema = Schema::random(&mut chance);
        let keys = vec![BTreeSet::new(); schema.tables.len()];
        Workload { dialect, chance, schema, keys, next_key: 1, pair_version: 0 }
    }

    /// Makes the tables; run it before anything else.
    pub fn ddl(&self) -> String {
        self.schema.ddl(self.dialect)
    }

    /// The whole tree as nested documents, each table as flat ones, a filtered one with renamed fields, `pair`, and rankings, a
    /// series and edges of some tables.
    pub fn views(&self, stores: &[&str]) -> Vec<View> {
        self.schema.views(stores)
    }

    /// The next transaction.
    pub fn transaction(&mut self) -> Transaction {
        let before = self.keys.clone();
        let mut statements = Vec::new();
        if self.chance.one_in(4) {
            statements.push(self.pair());
        }
        for _ in 0..1 + self.chance.below(8) {
            if self.chance.one_in(12) {
                self.savepoint(&mut statements);
            } else {
                let statement = self.change();
                statements.extend(statement);
            }
        }
        if statements.is_empty() {
            statements.push(self.pair());
        }
        let commits = !self.chance.one_in(8);
        if !commits {
            self.keys = before;
        }
        Transaction { statements, commits }
    }

    /// Some changes after a savepoint, half of the time undone.
    fn savepoint(&mut self, statements: &mut Vec<String>) {
        let before = self.keys.clone();
        statements.push("SAVEPOINT s".into());
        for _ in 0..1 + self.chance.below(3) {
            let statement = self.change();
            statements.extend(statement);
        }
        if self.chance.one_in(2) {
            self.keys = before;
            statements.push("ROLLBACK TO SAVEPOINT s".into());
        }
        statements.push("RELEASE SAVEPOINT s".into());
    }

    fn pair(&mut self) -> String {
        self.pair_version += 1;
        let amount = self.chance.below(1_000_000);
        format!(
            "UPDATE pair SET amount = CASE id WHEN 1 THEN {amount} ELSE -{amount} END, version = {}",
            self.pair_version
        )
    }

    /// One statement; none if it would have found no row.
    fn change(&mut self) -> Option<String> {
        let at = self.chance.below(self.keys.len() as u64) as usize;
        let table = self.schema.tables[at].quoted();
        let existing = self.pick_key(at);
        match (self.chance.below(100), existing) {
            (0..40, _) | (_, None) => Some(self.insert(at)),
            (40..75, Some(key)) => {
                let set = self.assignments(at)?;
                Some(format!("UPDATE {table} SET {set} WHERE id = {key}"))
            }
            (75..82, Some(key)) => {
                // A changed key: to a new one, or to one that was there before.
                let to = self.fresh_key();
                self.keys[at].remove(&key);
                self.keys[at].insert(to);
                Some(format!("UPDATE {table} SET id = {to} WHERE id = {key}"))
            }
            (82..98, Some(key)) => {
                self.keys[at].remove(&key);
                Some(format!("DELETE FROM {table} WHERE id = {key}"))
            }
            (98, Some(_)) => {
                // Several rows by one statement.
                let set = self.assignments(at)?;
                Some(format!("UPDATE {table} SET {set} WHERE id % 3 = 0"))
            }
            (_, Some(_)) => {
                self.keys[at].clear();
                Some(match self.dialect {
                    Dialect::Postgres => format!("TRUNCATE {table}"),
                    // To MariaDB, TRUNCATE is the end of a transaction.
                    Dialect::Sqlite | Dialect::MariaDb => format!("DELETE FROM {table}"),
                })
            }
        }
    }

    fn insert(&mut self, at: usize) -> String {
        let key = self.fresh_key();
        self.keys[at].insert(key);
        let kinds: Vec<Kind> = self.schema.tables[at].columns.iter().map(|(_, kind)| *kind).collect();
        let values: Vec<String> = kinds.into_iter().map(|kind| self.value(kind)).collect();
        format!("INSERT INTO {} VALUES ({key}, {})", self.schema.tables[at].quoted(), values.join(", "))
    }

    /// New values for some columns. A long text is mostly left as it is.
    fn assignments(&mut self, at: usize) -> Option<String> {
        let columns = self.schema.tables[at].columns.clone();
        let mut set = Vec::new();
        for (name, kind) in &columns {
            if self.chance.one_in(if *kind == Kind::Long { 8 } else { 2 }) {
                set.push(format!("\"{name}\" = {}", self.value(*kind)));
            }
        }
        (!set.is_empty()).then(|| set.join(", "))
    }

    fn value(&mut self, kind: Kind) -> String {
        match kind {
            // Parents and lookups mostly exist; rows move between them, and some hang in the air.
            Kind::Reference(to) => match self.pick_key(to) {
                Some(key) if !self.chance.one_in(6) => key.to_string(),
                _ if self.chance.one_in(2) => "NULL".into(),
                _ => (self.next_key + self.chance.below(3) as i64).to_string(),
            },
            other => values::literal(&mut self.chance, other),
        }
    }

    /// Mostly a new key, now and then one that was used before and is free again.
    fn fresh_key(&mut self) -> i64 {
        if self.chance.one_in(5) {
            let key = 1 + self.chance.below(self.next_key as u64) as i64;
            if self.keys.iter().all(|keys| !keys.contains(&key)) {
                return key;
            }
        }
        self.next_key += 1;
        self.next_key
    }

    fn pick_key(&mut self, table: usize) -> Option<i64> {
        let keys = &self.keys[table];
        keys.iter().nth(self.chance.below(keys.len() as u64) as usize).copied()
    }
}
