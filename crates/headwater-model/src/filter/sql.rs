//! A filter written back as SQL: the same predicate for the source's own engine, which serves as the oracle.

use super::{Comparison, Expr, Filter, Operand, Term};
use crate::Table;

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
            out.push_str(match comparison {
                Comparison::Equal => " = ",
                Comparison::Unequal => " <> ",
                Comparison::Less => " < ",
                Comparison::AtMost => " <= ",
                Comparison::Greater => " > ",
                Comparison::AtLeast => " >= ",
            });
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
