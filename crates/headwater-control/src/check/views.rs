//! Views against the tables they are made of: columns, filters, names in the document.

use headwater_model::filter::Filter;
use headwater_model::{Column, ColumnFacts, Embed, Severity, Table, TableFacts, View, ViewKind, nearest};

use super::Look;
use super::tables::{ABSENT_REMEDY, absent, meant_column, no_column};
use crate::Finding;

/// What the checks of a view and of an embed have in common.
pub(super) struct Shape<'v> {
    pub columns: &'v Option<Vec<(Box<str>, Box<str>)>>,
    pub filter: &'v Option<Box<str>>,
    pub embeds: &'v [Embed],
}

impl<'a> Look<'a> {
    /// Checks a view and fills in the schemas.
    pub(super) fn view(&mut self, view: &View) -> View {
        let path = format!("views.{}", view.name);
        let mut resolved = view.clone();
        let table = self.table(&format!("{path}.from"), &view.from);
        if let Some(table) = table {
            resolved.from = table.name.clone();
            self.kind(&path, table, view);
            if let (ViewKind::Series(_), Some(columns)) = (&view.kind, &mut resolved.columns) {
                let key = table.key.iter().filter(|name| columns.iter().all(|(column, _)| column != *name));
                let key: Vec<_> = key.map(|name| (name.clone(), name.clone())).collect();
                columns.splice(0..0, key);
            }
        }
        resolved.indexes = view.kind.indexes();
        let columns = chosen(view);
        let shape = Shape { columns: &columns, filter: &view.filter, embeds: &view.embeds };
        resolved.embeds = self.shape(&path, table, shape);
        if let Some(table) = table {
            self.parts(&path, table, view);
        }
        resolved
    }

    /// The `where` of a part is over the document: its fields stand in for the table's columns.
    fn parts(&mut self, path: &str, table: &TableFacts, view: &View) {
        let mut document = table.clone();
        if let Some(chosen) = &view.columns {
            let field = |(column, field): &(Box<str>, Box<str>)| {
                let found = table.columns.iter().find(|facts| facts.name == *column)?;
                Some(ColumnFacts { name: field.clone(), ..found.clone() })
            };
            document.columns = chosen.iter().filter_map(field).collect();
        }
        for part in &view.parts {
            let Some(text) = &part.filter else { continue };
            let at = format!("{path}.store.{}.where", part.store);
            if self.names_fields(&at, view, &document, text) {
                self.filter(&at, &document, text);
            }
        }
    }

    /// Whether a filter names only what the document has.
    fn names_fields(&mut self, path: &str, view: &View, document: &TableFacts, text: &str) -> bool {
        let Ok(filter) = Filter::parse(text) else { return false };
        let fields = || document.columns.iter().map(|column| &*column.name);
        let unknown: Vec<_> = filter.columns().iter().filter(|name| name.find(fields()).is_none()).collect();
        for name in &unknown {
            let part = name.offset..name.offset + name.name.len() + if name.quoted { 2 } else { 0 };
            let remedy = match nearest(&name.name, fields()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => {
                    format!("of the view's own row they have {}", fields().collect::<Vec<_>>().join(", "))
                }
            };
            let message = format!("the documents of view `{}` have no field `{}`", view.name, name.name);
            self.findings.push(Finding::within(self.file, path, text, part, message, remedy));
        }
        unknown.is_empty()
    }

    /// Checks the document of one table and what it embeds; returns the embeds with schemas filled in. Without a table
    /// there is nothing to compare columns with, but tables further down are still looked for.
    pub(super) fn shape(
        &mut self,
        path: &str,
        table: Option<&'a TableFacts>,
        shape: Shape<'_>,
    ) -> Vec<Embed> {
        if let Some(table) = table {
            self.output(path, table, &shape);
            if let Some(text) = shape.filter {
                self.filter(&format!("{path}.where"), table, text);
            }
        }
        shape.embeds.iter().map(|embed| self.embed(path, table, embed)).collect()
    }

    fn output(&mut self, path: &str, table: &'a TableFacts, shape: &Shape<'_>) {
        let Some(columns) = shape.columns else {
            for column in table.columns.iter().filter(|column| column.absent_from_log) {
                self.warn(
                    &format!("{path}.from"),
                    Severity::Warning,
                    format!("{}: documents will be without it", absent(table, &column.name)),
                    ABSENT_REMEDY,
                );
            }
            for embed in shape.embeds {
                if table.columns.iter().any(|column| column.name == embed.field && !column.absent_from_log) {
                    let embed_path = format!("{path}.embed.{}", embed.field);
                    self.wrong(
                        &embed_path,
                        format!("`{}` is a column of `{}` and an embedded field", embed.field, table.name),
                        "give the embedded field another name, or choose the columns with `columns`",
                    );
                }
            }
            return;
        };
        for (column, field) in columns {
            let at = format!("{path}.columns.{field}");
            // In a list the names have places of their own only as part of the list.
            self.column(&at, table, column);
        }
    }

    fn filter(&mut self, path: &str, table: &TableFacts, text: &str) {
        // The file was read, so this parses.
        let Ok(filter) = Filter::parse(text) else { return };
        let mut fine = true;
        for name in filter.columns() {
            let quotes = if name.quoted { 2 } else { 0 };
            let part = name.offset..name.offset + name.name.len() + quotes;
            let (message, remedy) = match name.find(table.columns.iter().map(|c| &*c.name)) {
                None => (no_column(table, &name.name), meant_column(table, &name.name)),
                Some(i) if table.columns[i].absent_from_log => {
                    (absent(table, &name.name), ABSENT_REMEDY.to_owned())
                }
                Some(_) => continue,
            };
            fine = false;
            self.findings.push(Finding::within(self.file, path, text, part, message, remedy));
        }
        if !fine {
            return;
        }
        let columns =
            table.columns.iter().map(|c| Column { name: c.name.clone(), kind: c.kind.clone() }).collect();
        let shape = Table { id: 0, version: 0, name: table.name.clone(), columns, key: vec![0] };
        if let Err(error) = filter.bind(&shape) {
            let message = error.to_string();
            let remedy = error.remedy().unwrap_or_default();
            let finding = match byte_of(&message) {
                Some((message, at)) if at < text.len() => {
                    let end = text[at..].find([' ', ')', ',']).map_or(text.len(), |i| at + i);
                    Finding::within(self.file, path, text, at..end, message, remedy)
                }
                _ => Finding::at(self.file, path, message, remedy),
            };
            self.findings.push(finding);
        }
    }
}

/// The columns that `columns` names, without those that the view has for being of its kind.
fn chosen(view: &View) -> Option<Vec<(Box<str>, Box<str>)>> {
    match &view.kind {
        ViewKind::Document => view.columns.clone(),
        ViewKind::Ranking(_) | ViewKind::Series(_) => Some(Vec::new()),
        ViewKind::Edge(edge) => view.columns.as_ref().map(|columns| {
            let end = |column: &str| *column == *edge.source || *column == *edge.target;
            columns.iter().filter(|(column, _)| !end(column)).cloned().collect()
        }),
    }
}

/// A filter says in words at which byte it is wrong: here the place itself is shown.
fn byte_of(message: &str) -> Option<(String, usize)> {
    let (before, rest) = message.split_once(" (at byte ")?;
    let (digits, after) = rest.split_once(')')?;
    Some((format!("{before}{after}"), digits.parse().ok()?))
}
