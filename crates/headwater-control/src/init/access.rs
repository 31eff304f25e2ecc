//! Access patterns to start from, as comments: how an application reads is its own business, and `init` only looked at
//! the database.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use headwater_model::file::{toml_key, toml_string};
use headwater_model::{ColumnFacts, ColumnType, ForeignKey, TableFacts};

use super::choose::{Choice, NEWEST, What, newest};
use super::names;

/// One `get` per view, and a `range` where a foreign key says whose rows belong together.
pub(super) fn write(out: &mut String, choices: &[Choice<'_>]) -> std::fmt::Result {
    let mut taken = BTreeSet::new();
    let mut sections: Vec<String> = Vec::new();
    for (choice, view) in viewed(choices) {
        if choice.table.key.iter().all(|name| is_plain(choice.table, name)) {
            let name = names::entry(view, &mut taken);
            sections.push(format!("[access.{name}]\nget = {}\n", toml_string(view)));
        }
    }
    for (choice, view) in viewed(choices) {
        let mut seen: Vec<&[Box<str>]> = Vec::new();
        for key in &choice.table.foreign_keys {
            let asked = key.columns.iter().all(|name| is_plain(choice.table, name) && !is_param(name));
            if asked && !seen.contains(&&key.columns[..]) {
                seen.push(&key.columns);
                sections.push(range(choice.table, view, key, &mut taken));
            }
        }
    }
    if sections.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n# How applications read: each pattern is answered by the stores that hold its view, and by the source when\n\
         # none can. Keep those that yours need; add rate, p99 and stale to say what you expect of them."
    )?;
    for section in sections {
        writeln!(out, "#")?;
        for line in section.lines() {
            writeln!(out, "# {line}")?;
        }
    }
    Ok(())
}

pub(super) fn viewed<'c, 'f>(choices: &'c [Choice<'f>]) -> impl Iterator<Item = (&'c Choice<'f>, &'c str)> {
    choices.iter().filter_map(|choice| match &choice.what {
        What::View { name, .. } => Some((choice, name.as_str())),
        _ => None,
    })
}

fn range(table: &TableFacts, view: &str, key: &ForeignKey, taken: &mut BTreeSet<String>) -> String {
    let whose = names::pointed_at(&key.columns, &key.to.name);
    let name = names::entry(&format!("{}_of_{whose}", table.name.name), taken);
    let columns: Vec<String> = key.columns.iter().map(|column| toml_string(column)).collect();
    let by = match &columns[..] {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    };
    let mut section = format!("[access.{}]\nrange = {}\nby = {by}\n", toml_key(&name), toml_string(view));
    let order = newest(table).filter(|time| key.columns.iter().all(|column| **column != **time));
    if let Some(time) = order {
        let _ = writeln!(section, "order = {}\nlimit = {NEWEST}", toml_string(&format!("-{time}")));
    }
    section
}

/// Whether the column holds one value that can be asked for.
pub(super) fn is_plain(table: &TableFacts, name: &str) -> bool {
    let asked = |column: &&ColumnFacts| *column.name == *name && !column.absent_from_log;
    let column = table.columns.iter().find(asked);
    column.is_some_and(|column| !matches!(column.kind, ColumnType::Json | ColumnType::List(_)))
}

/// Whether every pattern has a parameter of that name.
pub(super) fn is_param(name: &str) -> bool {
    crate::check::OWN_PARAMS.contains(&name)
}
