//! A filter written back as SQL: the same predicate for the source's own engine, which serves as the oracle; as text, or
//! term by term through an engine's [`SqlWriter`].

use super::bind::{BoundFilter, Cell, Node};
use super::{Comparison, Expr, Filter, Operand, Term};
use crate::{Table, Value};

/// A term of a bound filter.
#[derive(Clone, Copy, Debug)]
pub enum SqlCell<'a> {
    /// The place of a column in the table that the filter is bound to.
    Column(usize),
    /// A value of the kind of the column it is compared with; or NULL.
    Literal(&'a Value),
}

/// How an engine says the terms of a filter, so that they compare as [`Value::compare`] orders.
pub trait SqlWriter {
    /// A term where a condition or the operand of IS NULL stands.
    fn cell(&mut self, cell: SqlCell<'_>) -> String;

    /// `left comparison right`
    fn compare(&mut self, left: SqlCell<'_>, comparison: Comparison, right: SqlCell<'_>) -> String;
}

impl BoundFilter {
    /// The predicate, in parentheses, with its terms as `writer` says them.
    pub fn write_sql(&self, writer: &mut dyn SqlWriter) -> String {
        write_node(&self.root, writer)
    }
}

fn write_node(node: &Node, writer: &mut dyn SqlWriter) -> String {
    fn cell(cell: &Cell) -> SqlCell<'_> {
        match cell {
            Cell::Column(place) => SqlCell::Column(*place),
            Cell::Literal(value) => SqlCell::Literal(value),
        }
    }
    let mut joined = |parts: &[Node], word: &str| {
        let parts: Vec<String> = parts.iter().map(|part| write_node(part, writer)).collect();
        format!("({})", parts.join(word))
    };
    match node {
        Node::And(parts) => joined(parts, " AND "),
        Node::Or(parts) => joined(parts, " OR "),
        Node::Truth(term) => format!("({})", writer.cell(cell(term))),
        Node::Compare(left, comparison, right) => {
            format!("({})", writer.compare(cell(left), *comparison, cell(right)))
        }
        Node::IsNull(term) => format!("({} IS NULL)", writer.cell(cell(term))),
        Node::IsUnknown(inner) => format!("({} IS NULL)", write_node(inner, writer)),
        Node::Is(inner, wanted) => {
            format!("({} IS {})", write_node(inner, writer), if *wanted { "TRUE" } else { "FALSE" })
        }
        Node::Not(inner) => format!("(NOT {})", write_node(inner, writer)),
    }
}

impl Comparison {
    /// The operator in SQL.
    pub fn sql(self) -> &'static str {
        match self {
            Comparison::Equal => "=",
            Comparison::Unequal => "<>",
            Comparison::Less => "<",
            Comparison::AtMost => "<=",
            Comparison::Greater => ">",
            Comparison::AtLeast => ">=",
        }
    }

    /// The same comparison with its sides exchanged.
    pub fn mirrored(self) -> Comparison {
        match self {
            Comparison::Less => Comparison::Greater,
            Comparison::AtMost => Comparison::AtLeast,
            Comparison::Greater => Comparison::Less,
            Comparison::AtLeast => Comparison::AtMost,
            same => same,
        }
    }
}

impl Filter {
    /// The predicate with quoted names and every operation in parentheses.
    pub fn to_sql(&self) -> String {
        self.write(&|column| self.columns[column].name.to_string())
    }

    /// [`Filter::to_sql`] with names as `table` spells them, where a bare name differs from it in case.
    pub fn to_sql_for(&self, table: &Table) -> String {
        self.write(&|column| {
            let named = &self.columns[column];
            let found = named.find(table.columns.iter().map(|c| &*c.name));
            found.map_or_else(|| named.name.to_string(), |i| table.columns[i].name.to_string())
        })
    }

    fn write(&self, name: &dyn Fn(usize) -> String) -> String {
        let mut out = String::new();
        write_expr(&self.root, name, &mut out);
        out
    }
}

fn write_expr(expr: &Expr, name: &dyn Fn(usize) -> String, out: &mut String) {
    match expr {
        Expr::Operand(operand) => write_operand(operand, name, out),
        Expr::Compare(left, comparison, right) => {
            out.push('(');
            write_operand(left, name, out);
            out.push(' ');
            out.push_str(comparison.sql());
            out.push(' ');
            write_operand(right, name, out);
            out.push(')');
        }
        Expr::IsNull(inner) => {
            out.push('(');
            write_expr(inner, name, out);
            out.push_str(" IS NULL)");
        }
        Expr::Is(inner, wanted) => {
            out.push('(');
            write_expr(inner, name, out);
            out.push_str(if *wanted { " IS TRUE)" } else { " IS FALSE)" });
        }
        Expr::And(parts) => write_joined(parts, " AND ", name, out),
        Expr::Or(parts) => write_joined(parts, " OR ", name, out),
        Expr::Not(inner) => {
            out.push_str("(NOT ");
            write_expr(inner, name, out);
            out.push(')');
        }
    }
}

fn write_joined(parts: &[Expr], word: &str, name: &dyn Fn(usize) -> String, out: &mut String) {
    out.push('(');
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            out.push_str(word);
        }
        write_expr(part, name, out);
    }
    out.push(')');
}

fn write_operand(operand: &Operand, name: &dyn Fn(usize) -> String, out: &mut String) {
    match &operand.what {
        Term::Column(column) => write_quoted(&name(*column), '"', out),
        Term::Null => out.push_str("NULL"),
        Term::Bool(b) => out.push_str(if *b { "TRUE" } else { "FALSE" }),
        Term::Number(number) => out.push_str(number),
        Term::Text(text) => write_quoted(text, '\'', out),
    }
}

fn write_quoted(text: &str, quote: char, out: &mut String) {
    out.push(quote);
    for c in text.chars() {
        out.push(c);
        if c == quote {
            out.push(quote);
        }
    }
    out.push(quote);
}
