//! What a view's documents depend on, and its text form in the state file.
//!
//! Owns the text and reading what earlier releases wrote. Does not own the judgement of two tables: that is
//! [`Catalogued::since`].

use std::sync::Arc;

use headwater_model::{Catalogued, Column, Error, Reshaped, Result, Revision, Table, TableName};
use serde::{Deserialize, Serialize};

/// A view's definition, and its tables as they were when it was filled.
#[derive(Clone, Debug, PartialEq)]
pub struct Fingerprint {
    pub definition: String,
    pub tables: Vec<Catalogued>,
}

impl Fingerprint {
    pub fn tables_text(&self) -> Result<String> {
        write(&self.tables)
    }

    /// What has become of the rows since the tables were as `then` says. What cannot be read is read again.
    pub fn since(&self, then: &str) -> Reshaped {
        let Some(then) = read(then) else { return Reshaped::Rows };
        if then.len() != self.tables.len() {
            return Reshaped::Rows;
        }
        let each = self.tables.iter().zip(then).map(|(now, then)| match then.comparable(now) {
            Some(then) => now.since(&then),
            None => Reshaped::Rows,
        });
        each.max().unwrap_or(Reshaped::No)
    }
}

pub(crate) fn write(tables: &[Catalogued]) -> Result<String> {
    let written: Vec<WriteNow<'_>> =
        tables.iter().map(|now| WriteNow { table: &now.table, revision: now.revision.as_ref() }).collect();
    serde_json::to_string(&written).map_err(|e| Error::bug("tables cannot be described").with_cause(e))
}

/// Tables as [`write`] wrote them; those of earlier releases are not among them.
pub(crate) fn read_now(text: &str) -> Vec<Catalogued> {
    let known = read(text).into_iter().flatten().filter_map(|then| match then {
        Then::Now { table, revision } => Some(Catalogued { table: Arc::new(table), revision }),
        Then::Before(..) => None,
    });
    known.collect()
}

/// The text with `now` in place of the table of that name, if its rows are the same and something else moved.
pub(crate) fn same_rows(text: &str, now: &Catalogued) -> Result<Option<String>> {
    let mut tables = read_now(text);
    let mut moved = false;
    for then in tables.iter_mut().filter(|then| then.table.name == now.table.name) {
        if then.revision != now.revision && now.since(then) == Reshaped::No {
            *then = now.clone();
            moved = true;
        }
    }
    moved.then(|| write(&tables)).transpose()
}

fn read(text: &str) -> Option<Vec<Then>> {
    serde_json::from_str(text).ok()
}

#[derive(Serialize)]
struct WriteNow<'a> {
    table: &'a Table,
    revision: Option<&'a Revision>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Then {
    Now {
        table: Table,
        revision: Option<Revision>,
    },
    /// Before there were revisions: columns and key.
    Before(TableName, Option<(Vec<Column>, Vec<usize>)>),
}

impl Then {
    /// As a table that can be compared with `now`, if it is that one.
    fn comparable(self, now: &Catalogued) -> Option<Catalogued> {
        match self {
            Then::Now { table, revision } if table.name == now.table.name => {
                Some(Catalogued { table: Arc::new(table), revision })
            }
            Then::Before(name, Some((columns, key))) if name == now.table.name => {
                let table = Table { id: now.table.id, version: 0, name, columns, key };
                Some(Catalogued { table: Arc::new(table), revision: None })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use headwater_model::{ColumnRevision, ColumnType};

    use super::*;

    /// A table of a key and one more column, as if it had been altered `times`.
    pub(crate) fn altered(times: u64) -> Catalogued {
        let column = |name: &str| Column { name: name.into(), kind: ColumnType::Int };
        let table = Table {
            id: 7,
            version: 1,
            name: TableName::new(Some("public"), "books"),
            columns: vec![column("id"), column("pages")],
            key: vec![0],
        };
        let revision = Revision {
            storage: times,
            columns: vec![
                ColumnRevision { id: 1, definition: 0 },
                ColumnRevision { id: 2, definition: times },
            ],
        };
        Catalogued { table: Arc::new(table), revision: Some(revision) }
    }

    fn of(tables: Vec<Catalogued>) -> Fingerprint {
        Fingerprint { definition: "d".into(), tables }
    }

    #[test]
    fn what_was_written_compares_as_what_it_was() {
        let written = of(vec![altered(1)]).tables_text().expect("it is written");
        assert_eq!(of(vec![altered(1)]).since(&written), Reshaped::No);
        assert_eq!(of(vec![altered(2)]).since(&written), Reshaped::Rows);
        assert_eq!(read_now(&written), [altered(1)]);
        assert_eq!(of(vec![altered(1), altered(1)]).since(&written), Reshaped::Rows);
        assert_eq!(of(vec![altered(1)]).since(""), Reshaped::Rows);
    }

    #[test]
    fn what_an_earlier_release_wrote_says_nothing_of_revisions() {
        let before = r#"[[{"schema":"public","name":"books"},[[{"name":"id","kind":"Int"},{"name":"pages","kind":"Int"}],[0]]]]"#;
        assert_eq!(of(vec![altered(5)]).since(before), Reshaped::No);
        let fewer = r#"[[{"schema":"public","name":"books"},[[{"name":"id","kind":"Int"}],[0]]]]"#;
        assert_eq!(of(vec![altered(5)]).since(fewer), Reshaped::Rows);
        assert_eq!(
            of(vec![altered(5)]).since(r#"[[{"schema":"public","name":"books"},null]]"#),
            Reshaped::Rows
        );
    }
}
