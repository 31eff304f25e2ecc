//! A database as its catalog tells it, and what a sample of rows adds to that.

use std::collections::{BTreeMap, BTreeSet};

use headwater_model::TableName;
use sqlparser::ast::Ident;
use sqlparser::dialect::{Dialect, MySqlDialect};

use super::origin::quoted;
use super::plan::id;
use crate::advice::asked::{Constant, ConstantKind, Tables, Use};

/// InnoDB's page.
pub(super) const PAGE: f64 = 16_384.0;

/// How full a page is that an index was built into.
const FILLED: f64 = (PAGE - 200.0) * 0.93;

/// A text with more bytes than this is held by its beginning: an index of several columns has 3072 for all of them.
const INDEXED_MAX: f64 = 1024.0;

/// What an entry takes besides its columns: its header and lengths.
const ENTRY: f64 = 7.0;

#[derive(Default)]
pub(super) struct Schema {
    /// The database that statements mean without saying so.
    pub database: String,
    pub tables: Vec<Table>,
    pub foreign_keys: Vec<ForeignKey>,
    /// Names of views: what reads them is not understood.
    pub views: BTreeSet<String>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub schema: String,
    pub name: String,
    /// Kept by InnoDB.
    pub transactional: bool,
    pub partitioned: bool,
    pub rows: f64,
    /// Of the rows themselves.
    pub bytes: f64,
    pub columns: Vec<Column>,
    pub indexes: Vec<Existing>,
    /// Rows in the sample; 0: there is none.
    pub sampled: f64,
}

#[derive(Clone, Debug)]
pub(super) struct Column {
    pub name: String,
    /// Between backticks.
    pub ident: String,
    pub kind: Kind,
    /// Bytes of a value at most, and as the sample has them on average.
    pub most: f64,
    pub mean: Option<f64>,
    /// It has values of its own in so many different forms, by the sample.
    pub distinct: Option<f64>,
    /// An index of a text holds so many characters of it, where it cannot or need not hold all.
    pub prefix: Option<u32>,
    pub generated: bool,
    pub is_truth: bool,
    pub nullable: bool,
    /// Its values are characters, also as it is told them: not bytes.
    pub is_characters: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Number,
    Other,
    /// `CHAR` and `VARCHAR`, and their binary sisters.
    Text,
    /// `TEXT` and `BLOB`: an index holds the beginning at most.
    Long,
    /// What no b-tree sorts.
    Unsortable,
}

impl Column {
    pub fn new(
        name: String,
        data_type: &str,
        column_type: &str,
        octets: f64,
        nullable: bool,
        generated: bool,
    ) -> Column {
        let (kind, most) = match data_type {
            "tinyint" => (Kind::Number, 1.0),
            "smallint" | "year" => (Kind::Number, 2.0),
            "mediumint" => (Kind::Number, 3.0),
            "int" | "float" => (Kind::Number, 4.0),
            "bigint" | "double" => (Kind::Number, 8.0),
            "decimal" => (Kind::Number, 8.0),
            "date" | "time" => (Kind::Other, 3.0),
            "datetime" | "timestamp" => (Kind::Other, 6.0),
            "char" | "varchar" | "binary" | "varbinary" => (Kind::Text, octets.max(1.0)),
            "enum" | "set" => (Kind::Other, 2.0),
            "tinytext" | "text" | "mediumtext" | "longtext" | "tinyblob" | "blob" | "mediumblob"
            | "longblob" => (Kind::Long, octets.max(255.0)),
            "json" | "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
            | "multipolygon" | "geometrycollection" | "vector" => (Kind::Unsortable, 255.0),
            _ => (Kind::Other, 8.0),
        };
        let is_bytes = ["binary", "varbinary", "bit"].contains(&data_type) || data_type.ends_with("blob");
        Column {
            is_characters: !is_bytes,
            ident: quoted(&name),
            name,
            kind,
            most,
            mean: None,
            distinct: None,
            prefix: None,
            generated,
            is_truth: column_type.eq_ignore_ascii_case("tinyint(1)"),
            nullable,
        }
    }

    /// Whether an index holds no more than its beginning.
    pub fn needs_prefix(&self) -> bool {
        self.kind == Kind::Long || self.kind == Kind::Text && self.most > INDEXED_MAX
    }

    /// Of a value in a row.
    pub fn bytes(&self) -> f64 {
        match self.kind {
            Kind::Text | Kind::Long => self.mean.unwrap_or((self.most / 4.0).min(32.0)).min(self.most),
            _ => self.most,
        }
    }

    /// Of what an index holds of it.
    fn indexed_bytes(&self, prefix: u32) -> f64 {
        let held = if prefix > 0 { self.bytes().min(f64::from(prefix)) } else { self.bytes() };
        held + f64::from(u8::from(self.nullable))
    }
}

/// An index of the database.
#[derive(Clone, Debug)]
pub(super) struct Existing {
    pub name: String,
    pub unique: bool,
    /// A b-tree over columns.
    pub plain: bool,
    pub keys: Vec<usize>,
    /// How many characters of each; 0: all.
    pub prefixes: Vec<u32>,
    /// How many different values the first so many columns have, by the server.
    pub cardinality: Vec<f64>,
}

impl Existing {
    fn is_whole(&self) -> bool {
        self.plain && self.prefixes.iter().all(|prefix| *prefix == 0)
    }

    fn begins(&self, columns: &[usize]) -> bool {
        self.is_whole() && self.keys.starts_with(columns)
    }
}

#[derive(Clone, Debug)]
pub(super) struct ForeignKey {
    pub name: String,
    pub child: usize,
    pub columns: Vec<usize>,
    pub parent: usize,
    pub referenced: Vec<usize>,
}

impl Table {
    pub fn table_name(&self) -> TableName {
        TableName::new(Some(&self.schema), &self.name)
    }

    /// As it may stand in a statement.
    pub fn ident(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))
    }

    pub fn primary_key(&self) -> &[usize] {
        let key = self.indexes.iter().find(|index| index.name == "PRIMARY");
        key.map_or(&[], |key| &key.keys)
    }

    /// Conditions of a statement that leave one row at most, each by a unique key.
    pub fn named_by(&self, used: &Use) -> Vec<String> {
        let value = |column: &usize| {
            let is_value = |constant: &&Constant| {
                constant.column == *column && matches!(constant.kind, ConstantKind::Equal(_))
            };
            used.constants.iter().find(is_value).map(|constant| constant.text.clone())
        };
        (self.indexes.iter())
            .filter(|index| index.unique && !index.keys.is_empty())
            .filter_map(|index| index.keys.iter().map(value).collect::<Option<Vec<String>>>())
            .map(|values| values.join(" AND "))
            .collect()
    }

    /// How many rows stand for one of the sample.
    pub fn scale(&self) -> f64 {
        if self.sampled > 0.0 { (self.rows / self.sampled).max(1.0) } else { 1.0 }
    }

    pub fn pages(&self) -> f64 {
        (self.bytes / PAGE).max(1.0)
    }

    /// Whether an index on it could be of use, and can be advised.
    pub fn is_advised(&self) -> bool {
        self.transactional && !self.partitioned
    }

    /// How many different values these columns have together, if the server has counted that.
    pub fn counted(&self, columns: &[usize]) -> Option<f64> {
        let of = |index: &&Existing| index.begins(columns);
        let index = self.indexes.iter().find(of)?;
        index.cardinality.get(columns.len().checked_sub(1)?).copied().filter(|counted| *counted > 0.0)
    }

    pub fn distinct(&self, column: usize) -> f64 {
        let known = self.counted(&[column]).or(self.columns[column].distinct);
        known.unwrap_or(200.0).clamp(1.0, self.rows.max(1.0))
    }

    /// Of an index over these columns, with so many characters of each.
    pub fn index_bytes(&self, keys: &[usize], prefixes: &[u32]) -> f64 {
        let of_keys =
            keys.iter().zip(prefixes).map(|(column, prefix)| self.columns[*column].indexed_bytes(*prefix));
        let of_primary = self
            .primary_key()
            .iter()
            .filter(|column| !keys.contains(column))
            .map(|column| self.columns[*column].bytes());
        let entry = ENTRY + of_keys.sum::<f64>() + of_primary.sum::<f64>();
        (self.rows * entry / FILLED).ceil().max(1.0) * PAGE
    }

    /// Whether some index begins with these columns: another one would do nothing that this one does not.
    pub fn is_served(&self, columns: &[usize]) -> bool {
        self.indexes.iter().any(|index| {
            // The primary key lies behind the columns of each index.
            let all: Vec<usize> = index.keys.iter().chain(self.primary_key()).copied().collect();
            index.is_whole() && all.starts_with(columns)
        })
    }
}

impl Schema {
    /// How large the indexes of today are, by what plans call them.
    pub fn bytes(&self) -> BTreeMap<String, f64> {
        let tables = self.tables.iter().enumerate();
        let indexes =
            tables.flat_map(|(place, table)| table.indexes.iter().map(move |index| (place, table, index)));
        indexes
            .filter(|(_, _, index)| index.name != "PRIMARY")
            .map(|(place, table, index)| {
                (id(place, &index.name), table.index_bytes(&index.keys, &index.prefixes))
            })
            .collect()
    }

    /// Those that nothing but queries needs, by their places in the table: not what is unique, and of those that serve a foreign key
    /// not the last one.
    pub fn droppable(&self, table: usize) -> Vec<usize> {
        let indexes = &self.tables[table].indexes;
        let mut kept: BTreeSet<usize> = indexes
            .iter()
            .enumerate()
            .filter(|(_, index)| index.unique || !index.plain)
            .map(|(place, _)| place)
            .collect();
        let of_children = self.foreign_keys.iter().filter(|key| key.child == table).map(|key| &key.columns);
        let of_parents =
            self.foreign_keys.iter().filter(|key| key.parent == table).map(|key| &key.referenced);
        for columns in of_children.chain(of_parents) {
            let serves = |place: &usize| indexes[*place].begins(columns);
            if kept.iter().any(serves) {
                continue;
            }
            // The widest does what the others do.
            kept.extend((0..indexes.len()).filter(serves).max_by_key(|place| indexes[*place].keys.len()));
        }
        (0..indexes.len()).filter(|place| !kept.contains(place)).collect()
    }
}

impl Tables for Schema {
    fn dialect(&self) -> &dyn Dialect {
        &MySqlDialect {}
    }

    fn name(&self, ident: &Ident) -> String {
        ident.value.clone()
    }

    fn table(&self, schema: Option<&str>, name: &str) -> Option<usize> {
        let of = schema.unwrap_or(&self.database);
        let named = |same: fn(&str, &str) -> bool| {
            self.tables.iter().position(|table| same(&table.name, name) && same(&table.schema, of))
        };
        // Whether case counts is the server's own business: who writes it as it is means that one.
        named(|a, b| a == b).or_else(|| named(str::eq_ignore_ascii_case))
    }

    fn column(&self, table: usize, name: &str) -> Option<usize> {
        self.tables[table].column(name)
    }

    fn ident(&self, table: usize, column: usize) -> &str {
        &self.tables[table].columns[column].ident
    }

    fn is_truth(&self, table: usize, column: usize) -> bool {
        self.tables[table].columns[column].is_truth
    }

    fn is_text(&self, table: usize, column: usize) -> bool {
        matches!(self.tables[table].columns[column].kind, Kind::Text | Kind::Long)
    }
}
