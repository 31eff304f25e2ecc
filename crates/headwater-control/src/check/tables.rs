//! Which table and which column a name in the file means.

use headwater_model::file::{show_table_name, toml_key, toml_string};
use headwater_model::{ColumnFacts, TableFacts, TableName, nearest};

use super::Look;

/// The schema that a table without one is looked for first.
const DEFAULT_SCHEMA: &str = "public";

impl<'a> Look<'a> {
    /// The table that `name`, written at `path`, means; a finding if there is none, several, or it cannot be followed.
    pub(super) fn table(&mut self, path: &str, name: &TableName) -> Option<&'a TableFacts> {
        let facts = self.facts;
        let alike: Vec<&TableFacts> = facts
            .tables
            .iter()
            .filter(|t| t.name.name == name.name && (name.schema.is_none() || t.name.schema == name.schema))
            .collect();
        let table = match alike[..] {
            [table] => table,
            [] => {
                self.no_table(path, name);
                return None;
            }
            [..] => match alike.iter().find(|t| t.name.schema.as_deref() == Some(DEFAULT_SCHEMA)) {
                Some(table) => table,
                None => {
                    let names: Vec<String> = alike.iter().map(|t| show_table_name(&t.name)).collect();
                    self.wrong(
                        path,
                        format!("several schemas have a table `{}`", name.name),
                        format!("name its schema: {}", names.join(" or ")),
                    );
                    return None;
                }
            },
        };
        if let Some(obstacle) = &table.obstacle {
            self.wrong(path, &obstacle.what, &obstacle.remedy);
        } else if table.key.is_empty() {
            self.wrong(
                path,
                format!("table `{}` has no primary key", table.name),
                format!("add one: ALTER TABLE {} ADD PRIMARY KEY (…)", table.name),
            );
        } else if facts.undeclared.contains(&table.name) {
            let columns: Vec<String> = table
                .columns
                .iter()
                .map(|column| format!("{} = {}", toml_key(&column.name), toml_string(&column.type_name)))
                .collect();
            self.wrong(
                path,
                format!(
                    "the file does not declare the columns of table `{}`, and the source does not know them",
                    table.name
                ),
                format!(
                    "add the attributes that views may have to [{}.columns]: {} = {{ {} }}",
                    self.file.source().path(),
                    toml_key(&table.name.name),
                    columns.join(", ")
                ),
            );
        }
        Some(table)
    }

    fn no_table(&mut self, path: &str, name: &TableName) {
        let tables = &self.facts.tables;
        // The same name in another schema beats a similar one in the same.
        let elsewhere: Vec<String> = tables
            .iter()
            .filter(|t| name.schema.is_some() && t.name.name == name.name)
            .map(|t| show_table_name(&t.name))
            .collect();
        let in_schema = tables.iter().filter(|t| name.schema.is_none() || t.name.schema == name.schema);
        let near = nearest(&name.name, in_schema.map(|t| &*t.name.name))
            .or_else(|| nearest(&name.name, tables.iter().map(|t| &*t.name.name)));
        let remedy = if !elsewhere.is_empty() {
            format!("did you mean `{}`?", elsewhere.join("` or `"))
        } else if let Some(near) = near {
            let mut meant: Vec<&TableFacts> = tables.iter().filter(|t| &*t.name.name == near).collect();
            if let Some(same) = meant.iter().find(|t| t.name.schema == name.schema).copied() {
                meant = vec![same];
            }
            meant.sort_by_key(|t| t.name.schema.as_deref() != Some(DEFAULT_SCHEMA));
            let names: Vec<String> = meant.iter().map(|t| short(&t.name, name.schema.is_some())).collect();
            format!("did you mean `{}`?", names.join("` or `"))
        } else if tables.is_empty() {
            "the source has no tables that this role may see".to_owned()
        } else {
            let mut names: Vec<String> = tables.iter().take(12).map(|t| short(&t.name, false)).collect();
            if tables.len() > names.len() {
                names.push("…".to_owned());
            }
            format!("the tables are {}", names.join(", "))
        };
        self.wrong(path, format!("there is no table `{}`", show_table_name(name)), remedy);
    }

    /// The column that `name` means in a table; a finding at `path` if there is none or the log does not carry it.
    pub(super) fn column(
        &mut self,
        path: &str,
        table: &'a TableFacts,
        name: &str,
    ) -> Option<&'a ColumnFacts> {
        match table.columns.iter().find(|column| *column.name == *name) {
            Some(column) => {
                if column.absent_from_log {
                    self.wrong(path, absent(table, name), ABSENT_REMEDY);
                }
                Some(column)
            }
            None => {
                self.wrong(path, no_column(table, name), meant_column(table, name));
                None
            }
        }
    }

    /// All of the columns, or nothing and findings.
    pub(super) fn columns(
        &mut self,
        path: &str,
        table: &'a TableFacts,
        names: &[Box<str>],
    ) -> Option<Vec<&'a ColumnFacts>> {
        let found: Vec<_> = names.iter().map(|name| self.column(path, table, name)).collect();
        found.into_iter().collect()
    }
}

pub(super) const ABSENT_REMEDY: &str =
    "make it an ordinary column, or compute it where the document is read; newer servers can publish it";

pub(super) fn absent(table: &TableFacts, name: &str) -> String {
    format!("column `{name}` of `{}` is generated and not in the source's log", table.name)
}

pub(super) fn no_column(table: &TableFacts, name: &str) -> String {
    format!("table `{}` has no column `{name}`", table.name)
}

pub(super) fn meant_column(table: &TableFacts, name: &str) -> String {
    match nearest(name, table.columns.iter().map(|c| &*c.name)) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => {
            let names: Vec<&str> = table.columns.iter().map(|c| &*c.name).collect();
            format!("its columns are {}", names.join(", "))
        }
    }
}

/// A table's name, without the schema where that goes without saying.
fn short(name: &TableName, with_schema: bool) -> String {
    match name.schema.as_deref() {
        Some(DEFAULT_SCHEMA) if !with_schema => {
            show_table_name(&TableName { schema: None, name: name.name.clone() })
        }
        _ => show_table_name(name),
    }
}
