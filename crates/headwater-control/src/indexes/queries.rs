//! A file of queries with how often each is called: statements that end with `;`, each after comments that say so.
//!
//! ```sql
//! -- name: order page
//! -- calls: 12000
//! SELECT * FROM orders WHERE customer_id = $1;
//! ```

use std::ops::Range;

use headwater_model::Severity;
use headwater_model::advice::{Refusal, Statement, Workload};

use crate::Finding;

/// So many statements at most.
const STATEMENTS_MAX: usize = 2000;

/// The workload of a file, or everything that is wrong with it.
pub fn queries(text: &str) -> Result<Workload, Vec<Finding>> {
    let mut wrong = Vec::new();
    let mut workload = Workload::default();
    let mut said = Said::default();
    let mut at = 0;
    while let Some(part) = next(text, at) {
        at = part.span.end;
        match part.kind {
            Kind::Comment => said.read(text, part.span, &mut wrong),
            Kind::Statement => {
                let number = workload.statements.len() + 1;
                let Said { name, calls } = std::mem::take(&mut said);
                workload.statements.push(Statement {
                    name: name.unwrap_or_else(|| format!("query {number}")),
                    sql: text[part.span.clone()].to_owned(),
                    calls: calls.unwrap_or(1.0),
                    rows: None,
                    at: Some(part.span.start),
                });
            }
            Kind::Open(what) => wrong.push(finding(
                text,
                part.span.start..part.span.start + 1,
                format!("this {what} does not end"),
                "every statement ends with `;`, every quote is closed",
            )),
        }
    }
    if wrong.is_empty() && workload.statements.is_empty() {
        let remedy = "write statements that end with `;`, each after a line `-- calls: 100`";
        wrong.push(finding(text, 0..0, "the file has no query".into(), remedy));
    }
    if workload.statements.len() > STATEMENTS_MAX {
        let at = workload.statements[STATEMENTS_MAX].at.unwrap_or(0);
        wrong.push(finding(
            text,
            at..at + 1,
            format!("the file has more than {STATEMENTS_MAX} queries"),
            "leave those out that cost the least",
        ));
    }
    if wrong.is_empty() { Ok(workload) } else { Err(wrong) }
}

/// What an engine refuses, where it stands in the file.
pub fn refused(text: &str, refused: &[Refusal]) -> Vec<Finding> {
    refused
        .iter()
        .map(|refusal| {
            let end = text[refusal.at..]
                .find(|c: char| !(c.is_alphanumeric() || c == '_'))
                .unwrap_or(text.len() - refusal.at);
            finding(text, refusal.at..refusal.at + end.max(1), refusal.why.clone(), "")
        })
        .collect()
}

fn finding(text: &str, span: Range<usize>, message: String, remedy: &str) -> Finding {
    let before = &text[..span.start];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Finding {
        severity: Severity::Error,
        line: before.matches('\n').count() + 1,
        column: text[line_start..span.start].chars().count() + 1,
        span,
        message,
        remedy: Some(remedy.to_owned()).filter(|remedy| !remedy.is_empty()),
    }
}

/// What comments said of the next statement.
#[derive(Default)]
struct Said {
    name: Option<String>,
    calls: Option<f64>,
}

impl Said {
    fn read(&mut self, text: &str, span: Range<usize>, wrong: &mut Vec<Finding>) {
        let comment = text[span.clone()].trim_start_matches('-').trim();
        let Some((word, value)) = comment.split_once(':') else { return };
        match (word.trim(), value.trim()) {
            ("name", value) if !value.is_empty() => self.name = Some(value.to_owned()),
            ("calls", value) => match value.replace('_', "").parse::<f64>() {
                Ok(calls) if calls.is_finite() && calls > 0.0 => self.calls = Some(calls),
                _ => wrong.push(finding(
                    text,
                    span,
                    format!("`{value}` is not a number of calls"),
                    "write a number above 0: -- calls: 12000",
                )),
            },
            _ => {}
        }
    }
}

struct Part {
    kind: Kind,
    span: Range<usize>,
}

enum Kind {
    /// A line.
    Comment,
    /// Without the `;`, and without white space around it.
    Statement,
    /// Something that was begun.
    Open(&'static str),
}

/// The comment or statement that begins at or after a place.
fn next(text: &str, from: usize) -> Option<Part> {
    let bytes = text.as_bytes();
    let mut at = from;
    while bytes.get(at).is_some_and(|b| b.is_ascii_whitespace() || *b == b';') {
        at += 1;
    }
    let start = at;
    bytes.get(at)?;
    if text[at..].starts_with("--") {
        let end = text[at..].find('\n').map_or(text.len(), |end| at + end);
        return Some(Part { kind: Kind::Comment, span: start..end });
    }
    let open = |what| Some(Part { kind: Kind::Open(what), span: start..text.len() });
    while let Some(byte) = bytes.get(at) {
        let rest = &text[at..];
        let skip = match byte {
            b';' => {
                let end = start + text[start..at].trim_end().len();
                return Some(Part { kind: Kind::Statement, span: start..end });
            }
            b'\'' => quoted(rest, '\''),
            b'"' => quoted(rest, '"'),
            b'-' if rest.starts_with("--") => Some(rest.find('\n').unwrap_or(rest.len())),
            b'/' if rest.starts_with("/*") => rest.find("*/").map(|end| end + 2),
            b'$' => match dollar(rest) {
                Some(tag) => rest[tag.len()..].find(tag).map(|end| end + 2 * tag.len()),
                None => Some(1),
            },
            _ => Some(rest.chars().next().map_or(1, char::len_utf8)),
        };
        match skip {
            Some(skip) => at += skip,
            None => {
                let what = if rest.starts_with("/*") { "comment" } else { "quote" };
                return Some(Part { kind: Kind::Open(what), span: at..text.len() });
            }
        }
    }
    open("statement")
}

/// How long a quoted text is; a doubled quote is one of its letters.
fn quoted(rest: &str, quote: char) -> Option<usize> {
    let mut at = 1;
    loop {
        at += rest[at..].find(quote)? + 1;
        if !rest[at..].starts_with(quote) {
            return Some(at);
        }
        at += 1;
    }
}

/// `$$` or `$word$`, but not `$1`.
fn dollar(rest: &str) -> Option<&str> {
    let end = rest[1..].find('$')? + 1;
    let word = &rest[1..end];
    let is_word = word.chars().all(|c| c.is_alphanumeric() || c == '_')
        && !word.starts_with(|c: char| c.is_ascii_digit());
    is_word.then(|| &rest[..=end])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn statements_come_with_what_is_said_of_them() {
        let text = "-- a file\n-- name: one\n-- calls: 1_200\nSELECT ';' -- not ; here\nFROM t;\n\n\
                    SELECT $$ ; $$, $1, \"a;b\" /* ; */ FROM u ;";
        let workload = queries(text).unwrap();
        let all: Vec<_> = workload.statements.iter().map(|s| (&*s.name, s.calls, &*s.sql)).collect();
        assert_eq!(
            all,
            [
                ("one", 1200.0, "SELECT ';' -- not ; here\nFROM t"),
                ("query 2", 1.0, "SELECT $$ ; $$, $1, \"a;b\" /* ; */ FROM u"),
            ]
        );
        assert_eq!(&text[workload.statements[0].at.unwrap()..][..6], "SELECT");
    }

    #[test]
    fn everything_wrong_is_told_with_its_place() {
        let wrong = queries("-- calls: many\nSELECT 1;\nSELECT 'x").unwrap_err();
        let places: Vec<_> = wrong.iter().map(|f| (f.line, f.column, &*f.message)).collect();
        assert_eq!(places, [(1, 1, "`many` is not a number of calls"), (3, 8, "this quote does not end")]);
        assert_eq!(queries("SELECT 1").unwrap_err()[0].message, "this statement does not end");
        assert_eq!(queries("-- nothing\n").unwrap_err()[0].message, "the file has no query");
        let said = refused("SELECT 1;\nSELECT é, nothing", &[Refusal { at: 21, why: "no".into() }]);
        assert_eq!((said[0].line, said[0].column), (2, 11));
        assert_eq!(said[0].span.len(), 7);
    }
}
