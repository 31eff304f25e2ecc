//! Statements and their parameters.
//!
//! Invariant: a name in a statement went through [`quoted`] or is one of ours; a value is never in a statement's text.

use std::fmt::Write as _;
use std::sync::Arc;

use headwater_model::{Error, Result};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Param {
    Null,
    Bool(bool),
    Int(i64),
    /// Finite.
    Float(f64),
    Text(String),
    List(Vec<Param>),
    Map(Vec<(Arc<str>, Param)>),
}

/// A statement with its parameters and the columns it returns.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) text: String,
    pub(crate) params: Vec<(String, Param)>,
    /// In the order of the text's RETURN.
    pub(crate) columns: &'static [&'static str],
    pub(crate) writes: bool,
}

/// One value of a result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Int(i64),
    Text(String),
}

/// In the order of [`Statement::columns`].
pub(crate) type Row = Vec<Cell>;

impl Statement {
    pub(crate) fn read(text: impl Into<String>, columns: &'static [&'static str]) -> Statement {
        Statement { text: text.into(), params: Vec::new(), columns, writes: false }
    }

    pub(crate) fn write(text: impl Into<String>, columns: &'static [&'static str]) -> Statement {
        Statement { writes: true, ..Statement::read(text, columns) }
    }

    pub(crate) fn with(mut self, name: impl Into<String>, value: Param) -> Statement {
        self.params.push((name.into(), value));
        self
    }

    /// The parameters and the text as one text: `CYPHER a=1 MATCH …`.
    #[cfg(feature = "falkordb")]
    pub(crate) fn with_literals(&self) -> String {
        let mut out = String::with_capacity(self.text.len() + 64);
        if !self.params.is_empty() {
            out.push_str("CYPHER ");
        }
        for (name, value) in &self.params {
            out.push_str(name);
            out.push('=');
            literal(value, &mut out);
            out.push(' ');
        }
        out.push_str(&self.text);
        out
    }

    /// The parameters as a JSON object.
    #[cfg(feature = "neptune")]
    pub(crate) fn json_params(&self) -> String {
        let map = self.params.iter().map(|(name, value)| (Arc::from(name.as_str()), value.clone()));
        let mut out = String::new();
        json(&Param::Map(map.collect()), &mut out);
        out
    }
}

impl Param {
    pub(crate) fn text(text: impl Into<String>) -> Param {
        Param::Text(text.into())
    }
}

/// A label, an edge's type or a property's name, as a statement has it.
pub(crate) fn quoted(name: &str) -> Result<String> {
    if !can_quote(name) {
        return Err(Error::misconfigured(format!(
            "{name:?} cannot be a name in a graph: it is empty, or has a backtick or a control character"
        ))
        .with_remedy("rename the view, or the edge's label"));
    }
    Ok(format!("`{name}`"))
}

/// Whether [`quoted`] takes the name.
pub(crate) fn can_quote(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c == '`' || c.is_control())
}

fn literal(value: &Param, out: &mut String) {
    match value {
        Param::Null => out.push_str("null"),
        Param::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Param::Int(n) => drop(write!(out, "{n}")),
        // Always with a point or an exponent: otherwise it would be an integer.
        Param::Float(f) => drop(write!(out, "{f:?}")),
        Param::Text(text) => {
            out.push('"');
            // Between what must be escaped, whole pieces.
            let mut rest = &**text;
            while let Some(at) = rest.find(['"', '\\']) {
                out.push_str(&rest[..at]);
                out.push('\\');
                out.push_str(&rest[at..=at]);
                rest = &rest[at + 1..];
            }
            out.push_str(rest);
            out.push('"');
        }
        Param::List(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                literal(item, out);
            }
            out.push(']');
        }
        Param::Map(fields) => {
            out.push('{');
            for (n, (name, value)) in fields.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                out.push('`');
                out.push_str(name);
                out.push_str("`:");
                literal(value, out);
            }
            out.push('}');
        }
    }
}

#[cfg(feature = "neptune")]
fn json(value: &Param, out: &mut String) {
    let text = |text: &str, out: &mut String| {
        let mut bytes = Vec::with_capacity(text.len() + 2);
        headwater_model::Value::text(text).write_json(&mut bytes);
        out.push_str(&String::from_utf8_lossy(&bytes));
    };
    match value {
        Param::Text(value) => text(value, out),
        Param::List(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                json(item, out);
            }
            out.push(']');
        }
        Param::Map(fields) => {
            out.push('{');
            for (n, (name, value)) in fields.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                text(name, out);
                out.push(':');
                json(value, out);
            }
            out.push('}');
        }
        scalar => literal(scalar, out),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_value_cannot_leave_its_literal() {
        let text = "\" RETURN 1 //\\\" `$x` \n é";
        let mut out = String::new();
        literal(&Param::text(text), &mut out);
        assert_eq!(out, "\"\\\" RETURN 1 //\\\\\\\" `$x` \n é\"");
        out.clear();
        let map = [("a b".into(), Param::Float(3.0)), ("n".into(), Param::Int(i64::MIN))];
        literal(&Param::List(vec![Param::Map(map.into()), Param::Null, Param::Bool(true)]), &mut out);
        assert_eq!(out, "[{`a b`:3.0,`n`:-9223372036854775808},null,true]");
    }

    #[test]
    fn a_name_cannot_leave_its_quotes() {
        assert_eq!(quoted("a \"b\" \\ [x]").unwrap(), "`a \"b\" \\ [x]`");
        for wrong in ["", "a`b", "a\0", "a\n"] {
            assert!(quoted(wrong).unwrap_err().remedy().is_some(), "{wrong:?}");
        }
    }

    #[cfg(feature = "neptune")]
    #[test]
    fn parameters_as_json_keep_their_types() {
        let map = Param::Map([("a \"b\"".into(), Param::Float(3.0))].into());
        let statement = Statement::read("RETURN 1", &[])
            .with("rows", Param::List(vec![map, Param::Int(i64::MAX), Param::Null]))
            .with("t", Param::text("\"\n"));
        assert_eq!(
            statement.json_params(),
            r#"{"rows":[{"a \"b\"":3.0},9223372036854775807,null],"t":"\"\n"}"#
        );
    }
}
