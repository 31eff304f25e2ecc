//! Embedded rows: that they join by columns that exist, are of one kind, and are unique where one row is meant.

use std::collections::BTreeSet;

use headwater_model::{ColumnFacts, ColumnType, Embed, EmbedKind, TableFacts};

use super::Look;
use super::views::Shape;

impl<'a> Look<'a> {
    /// Checks the rows that `embed` puts into a document of `parent`, and fills in schemas.
    pub(super) fn embed(
        &mut self,
        parent_path: &str,
        parent: Option<&'a TableFacts>,
        embed: &Embed,
    ) -> Embed {
        let path = format!("{parent_path}.embed.{}", embed.field);
        let mut resolved = embed.clone();
        let child = self.table(&format!("{path}.from"), &embed.from);
        if let Some(child) = child {
            resolved.from = child.name.clone();
            for order in &embed.order {
                self.column(&format!("{path}.order"), child, &order.column);
            }
        }
        if let (Some(parent), Some(child)) = (parent, child) {
            match &embed.kind {
                EmbedKind::One { columns, references } => {
                    self.join(&path, ("key", parent, columns), child, references.as_deref());
                }
                EmbedKind::Many { columns, references } => {
                    self.join(&path, ("many", child, columns), parent, references.as_deref());
                }
            }
        }
        let shape = Shape { columns: &embed.columns, filter: &embed.filter, embeds: &embed.embeds };
        resolved.embeds = self.shape(&path, child, shape);
        resolved
    }

    /// `columns` of the pointing table point at `references` of the other, or at its key.
    fn join(
        &mut self,
        path: &str,
        (setting, pointing, columns): (&str, &'a TableFacts, &[Box<str>]),
        target: &'a TableFacts,
        references: Option<&[Box<str>]>,
    ) {
        let at = format!("{path}.{setting}");
        if let Some(swapped) = self.swapped(setting, pointing, columns, target) {
            self.wrong(&at, swapped.0, swapped.1);
            return;
        }
        let from = self.columns(&at, pointing, columns);
        let (to_names, to) = match references {
            Some(names) => {
                let at = format!("{path}.references");
                let Some(to) = self.columns(&at, target, names) else { return };
                if !is_unique(target, names) {
                    self.wrong(
                        &at,
                        format!(
                            "{} of `{}` may hold the same value in several rows",
                            quoted(names),
                            target.name
                        ),
                        not_unique_remedy(setting, target, names),
                    );
                }
                (names, to)
            }
            // A table without a key has been reported.
            None if target.key.is_empty() => return,
            None => {
                let key = target.key.iter().filter_map(|name| column(target, name)).collect();
                (&target.key[..], key)
            }
        };
        let Some(from) = from else { return };
        if from.len() != to.len() {
            self.wrong(
                &at,
                format!(
                    "`{setting}` has {}, the primary key of `{}` has {}: {}",
                    count(from.len()),
                    target.name,
                    count(to.len()),
                    to_names.join(", ")
                ),
                "name as many columns, in the order of the key, or say with `references` what they point at",
            );
            return;
        }
        for (a, b) in from.iter().zip(&to) {
            if !comparable(&a.kind, &b.kind) {
                self.wrong(
                    &at,
                    format!(
                        "`{}.{}` is {}, `{}.{}` is {}: their values are never equal",
                        pointing.name, a.name, a.type_name, target.name, b.name, b.type_name
                    ),
                    match points_elsewhere(target, columns, references) {
                        true => format!("say what it points at: references = {columns:?}"),
                        false => "join columns of one type".to_owned(),
                    },
                );
            }
        }
    }

    /// `key` and `many` mixed up: the columns are not here, but in the other table.
    fn swapped(
        &self,
        setting: &str,
        pointing: &TableFacts,
        columns: &[Box<str>],
        other: &TableFacts,
    ) -> Option<(String, String)> {
        let all = |table: &TableFacts| columns.iter().all(|name| column(table, name).is_some());
        let any = columns.iter().any(|name| column(pointing, name).is_some());
        if any || !all(other) {
            return None;
        }
        let value = if columns.len() == 1 { format!("\"{}\"", columns[0]) } else { format!("{columns:?}") };
        let (right, means) = match setting {
            "key" => ("many", "the rows that point at this one"),
            _ => ("key", "the one row that this row points at"),
        };
        Some((
            format!("{} is in `{}`, not in `{}`", quoted(columns), other.name, pointing.name),
            format!("write {right} = {value} for {means}"),
        ))
    }
}

fn column<'t>(table: &'t TableFacts, name: &str) -> Option<&'t ColumnFacts> {
    table.columns.iter().find(|column| *column.name == *name)
}

/// Whether at most one row has the same values in these columns.
fn is_unique(table: &TableFacts, names: &[Box<str>]) -> bool {
    let names: BTreeSet<&str> = names.iter().map(|name| &**name).collect();
    let within =
        |unique: &[Box<str>]| !unique.is_empty() && unique.iter().all(|name| names.contains(&**name));
    within(&table.key) || table.unique.iter().any(|unique| within(unique))
}

/// Whether the other table has unique columns of the same names, which were probably meant.
fn points_elsewhere(target: &TableFacts, columns: &[Box<str>], references: Option<&[Box<str>]>) -> bool {
    references.is_none() && columns != target.key && target.unique.iter().any(|unique| unique == columns)
}

fn not_unique_remedy(setting: &str, table: &TableFacts, names: &[Box<str>]) -> String {
    let mut choices: Vec<String> = Vec::new();
    for unique in [&table.key].into_iter().chain(&table.unique) {
        let choice = quoted(unique);
        if !unique.is_empty() && !choices.contains(&choice) {
            choices.push(choice);
        }
    }
    let mut remedy = format!("point at {}", choices.join(" or "));
    if setting == "key" {
        remedy.push_str(", or embed all of the rows with `many`");
    }
    let nullable = names.iter().any(|name| column(table, name).is_some_and(|c| c.nullable));
    remedy.push_str(&format!(
        ", or make it so: ALTER TABLE {} ADD UNIQUE ({})",
        table.name,
        names.join(", ")
    ));
    if nullable {
        remedy.push_str(", every column NOT NULL");
    }
    remedy
}

/// Rows join when their values are the same value of the same kind.
pub(super) fn comparable(a: &ColumnType, b: &ColumnType) -> bool {
    a == b || matches!(a, ColumnType::Dynamic) || matches!(b, ColumnType::Dynamic)
}

fn quoted(names: &[Box<str>]) -> String {
    match names {
        [one] => format!("`{one}`"),
        names => format!("({})", names.join(", ")),
    }
}

fn count(columns: usize) -> String {
    if columns == 1 { "1 column".to_owned() } else { format!("{columns} columns") }
}
