//! Row filters: the `where` of views and embeds.
//!
//! A subset of SQL's boolean expressions over one table's columns, with SQL's three-valued logic: a row is taken iff
//! the expression is TRUE, so NULL rejects.
//!
//! - columns, `"quoted"` or bare; literals: `7`, `-1.5`, `'text'`, `TRUE`, `FALSE`, `NULL`, `DATE '2026-01-31'`
//! - `=` `<>` `!=` `<` `<=` `>` `>=`, `AND`, `OR`, `NOT`, parentheses
//! - `IS [NOT] NULL`, `IS [NOT] TRUE`, `IS [NOT] FALSE`, `[NOT] IN (…)`, `[NOT] BETWEEN … AND …`
//!
//! **Names.** A name means the column spelt exactly so. Only if there is none, a bare name also finds the one column
//! that differs in nothing but ASCII case; a quoted name never does.
//!
//! **Kinds.** A text literal beside a date, time, boolean or number column is read as that kind when the filter is
//! bound, and refused if it cannot be. Times without a zone are UTC. Text compares by bytes, and kinds that travel as
//! text (enums, uuids, ranges) compare as printed. Columns whose values each have a kind of their own follow SQLite: a
//! number beside a text that reads as a number compares as numbers, a number literal beside a text value compares as
//! text, and otherwise numbers sort before text.
//!
//! Parsing knows no table; [`Filter::bind`] resolves names and kinds once, so that a row costs no look-ups.

mod bind;
pub(crate) mod literal;
mod parse;
mod sql;
#[cfg(test)]
mod tests;

use std::fmt;

pub use bind::{BoundFilter, Verdict};
pub use sql::{SqlCell, SqlWriter};

/// A parsed filter.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    root: Expr,
    columns: Vec<ColumnName>,
}

/// A column as a filter names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnName {
    pub name: Box<str>,
    pub quoted: bool,
    /// Where in the filter's text it is first named, in bytes.
    pub offset: usize,
}

/// What is wrong with a filter's text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// In bytes from the start of the text; at most its length.
    pub offset: usize,
    /// Lowercase, without a full stop, remedy included.
    pub message: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Expr {
    /// A column or a literal where a condition stands.
    Operand(Operand),
    Compare(Operand, Comparison, Operand),
    IsNull(Box<Expr>),
    Is(Box<Expr>, bool),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
}

#[derive(Clone, Debug, PartialEq)]
struct Operand {
    what: Term,
    offset: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Term {
    /// An index into [`Filter::columns`].
    Column(usize),
    Null,
    Bool(bool),
    /// Digits with an optional sign, fraction and exponent.
    Number(Box<str>),
    Text(Box<str>),
}

/// A comparison between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl Filter {
    pub fn parse(text: &str) -> Result<Filter, FilterError> {
        parse::parse(text)
    }

    /// The columns that the filter names, each once, in order of appearance.
    pub fn columns(&self) -> &[ColumnName] {
        &self.columns
    }
}

impl ColumnName {
    /// Finds the column among a table's names.
    pub fn find<'a, I>(&self, names: I) -> Option<usize>
    where
        I: IntoIterator<Item = &'a str>,
        I::IntoIter: Clone,
    {
        let names = names.into_iter();
        if let Some(exact) = names.clone().position(|name| *name == *self.name) {
            return Some(exact);
        }
        if self.quoted {
            return None;
        }
        let mut alike = names.enumerate().filter(|(_, name)| name.eq_ignore_ascii_case(&self.name));
        match (alike.next(), alike.next()) {
            (Some((index, _)), None) => Some(index),
            _ => None,
        }
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {})", self.message, self.offset)
    }
}

impl std::error::Error for FilterError {}
