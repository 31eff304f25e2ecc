//! How many rows each table has, how large they are, how often they are written.

use std::collections::BTreeMap;

use headwater_model::file::{PlannedTable, show_table_name, toml_key};
use headwater_model::{Embed, TableFacts, TableName, nearest};

use super::{Reading, TableLoad, listed};

/// By the name that the file uses.
#[derive(Default)]
pub(super) struct Tables<'a> {
    known: BTreeMap<TableName, (TableLoad, Option<&'a TableFacts>)>,
}

impl<'a> Tables<'a> {
    pub fn loads(&self) -> Vec<TableLoad> {
        self.known.values().map(|(load, _)| load.clone()).collect()
    }

    pub fn get(&self, name: &TableName) -> Option<&TableLoad> {
        self.find(name).map(|(load, _)| load)
    }

    pub fn facts(&self, name: &TableName) -> Option<&'a TableFacts> {
        self.find(name).and_then(|(_, facts)| *facts)
    }

    fn find(&self, name: &TableName) -> Option<&(TableLoad, Option<&'a TableFacts>)> {
        meant(self.known.keys(), name).and_then(|known| self.known.get(known))
    }
}

/// The schema that a table without one is looked for first, as in `check`.
const DEFAULT_SCHEMA: &str = "public";

/// Which of the known names a name means: a name without a schema means the default schema's, or else any.
fn meant<'n>(known: impl Iterator<Item = &'n TableName> + Clone, name: &TableName) -> Option<&'n TableName> {
    let of = |schema: Option<&str>| {
        known.clone().find(|known| known.name == name.name && known.schema.as_deref() == schema)
    };
    if name.schema.is_some() {
        return of(name.schema.as_deref()).or_else(|| of(None));
    }
    of(None)
        .or_else(|| of(Some(DEFAULT_SCHEMA)))
        .or_else(|| known.clone().find(|known| known.name == name.name))
}

impl<'a> Reading<'a> {
    /// Those that views read, those that are declared, and all others of a source that can be asked.
    pub(super) fn tables(&mut self) -> Tables<'a> {
        let mut wanted: Vec<(TableName, String)> = Vec::new();
        for view in &self.file.views {
            wanted.push((view.from.clone(), format!("views.{}.from", view.name)));
            embedded(&view.embeds, &format!("views.{}", view.name), &mut wanted);
        }
        for table in &self.plan.tables {
            wanted.push((table.table.clone(), format!("plan.tables.{}", table.path)));
        }
        if let Some(facts) = self.facts {
            wanted.extend(facts.tables.iter().map(|table| (table.name.clone(), String::new())));
        }
        let mut tables = Tables::default();
        let mut unknown: Vec<TableName> = Vec::new();
        let mut without_writes: Vec<String> = Vec::new();
        for (name, path) in wanted {
            let facts = self.facts.and_then(|facts| {
                let found = meant(facts.tables.iter().map(|table| &table.name), &name)?;
                facts.tables.iter().find(|table| table.name == *found)
            });
            let name = facts.map_or(name, |facts| facts.name.clone());
            if unknown.contains(&name)
                || tables.known.contains_key(&name)
                || (facts.is_none() && tables.find(&name).is_some())
            {
                continue;
            }
            let declared = self.declared(&name);
            // Nobody reads it, and nothing is known of it but that it is there.
            if path.is_empty() && facts.is_none_or(|facts| facts.rows_estimate == 0) && declared.is_none() {
                continue;
            }
            if !path.is_empty() && declared.is_none_or(|declared| declared.writes_per_second.is_none()) {
                without_writes.push(show_table_name(&name));
            }
            // What is declared in part is completed there.
            let path = declared.map_or(path, |declared| format!("plan.tables.{}", declared.path));
            match self.table(&name, &path, facts) {
                Some(load) => _ = tables.known.insert(name, (load, facts)),
                None => unknown.push(name),
            }
        }
        if !without_writes.is_empty() {
            self.assumptions.push(format!(
                "{} {} taken as never written: `writes` in [plan.tables.NAME] says otherwise",
                listed(&without_writes),
                if without_writes.len() == 1 { "is" } else { "are" }
            ));
        }
        tables
    }

    fn declared(&self, name: &TableName) -> Option<&'a PlannedTable> {
        let tables = self.plan.tables.iter();
        let fits = |declared: &&PlannedTable| {
            let declared = &declared.table;
            let default = name.schema.as_deref().is_none_or(|schema| schema == DEFAULT_SCHEMA);
            declared.name == name.name
                && (declared.schema == name.schema || (declared.schema.is_none() && default))
        };
        let by_name =
            |declared: &&PlannedTable| declared.table.schema.is_none() && declared.table.name == name.name;
        tables.clone().find(fits).or_else(|| {
            // Of several tables of one name, the one that views mean.
            let alike =
                self.facts.map_or(0, |f| f.tables.iter().filter(|t| t.name.name == name.name).count());
            tables.clone().find(by_name).filter(|_| alike <= 1)
        })
    }

    /// A declared name like this one, of a table that nothing reads and the source has not.
    fn misnamed(&self, shown: &str) -> Option<&'a str> {
        let mut read = Vec::new();
        for view in &self.file.views {
            read.push((view.from.clone(), String::new()));
            embedded(&view.embeds, "", &mut read);
        }
        let facts = self.facts.iter().flat_map(|facts| facts.tables.iter().map(|table| &table.name));
        let known: Vec<&TableName> = read.iter().map(|(name, _)| name).chain(facts).collect();
        let plan = self.plan;
        let idle = plan.tables.iter().filter(|one| known.iter().all(|name| name.name != one.table.name));
        nearest(shown, idle.map(|declared| &*declared.path))
    }

    fn table(&mut self, name: &TableName, path: &str, facts: Option<&TableFacts>) -> Option<TableLoad> {
        let declared = self.declared(name);
        let asked = facts.filter(|facts| facts.rows_estimate > 0);
        let rows = declared.and_then(|d| d.rows).or(asked.map(|facts| facts.rows_estimate));
        let of_facts = asked.filter(|facts| facts.bytes_estimate > 0);
        let row_bytes = declared
            .and_then(|d| d.row_bytes)
            .or(of_facts.map(|facts| (facts.bytes_estimate / facts.rows_estimate).max(1)));
        let shown = show_table_name(name);
        let (Some(rows), Some(row_bytes)) = (rows, row_bytes) else {
            let lacking = match (rows, row_bytes) {
                (None, None) => "how many rows it has and how large they are",
                (None, _) => "how many rows it has",
                _ => "how large its rows are",
            };
            let why = match (self.facts, facts) {
                (None, _) => "the source cannot be asked",
                (_, None) => "the source has no such table",
                _ => "the source's statistics do not say: ANALYZE it",
            };
            let lines = match (rows, row_bytes) {
                (None, None) => "rows = 1_000_000 and row = \"200B\"",
                (None, _) => "rows = 1_000_000",
                _ => "row = \"200B\"",
            };
            let section = toml_key(&shown);
            let meant = match (declared, self.misnamed(&shown)) {
                (None, Some(other)) => {
                    format!("did you mean it by [plan.tables.{}], which no view reads? Or ", toml_key(other))
                }
                _ => String::new(),
            };
            self.unknown(
                path,
                format!("table `{shown}`: it is not known {lacking} ({why})"),
                format!("{meant}declare it: [plan.tables.{section}] with {lines}"),
            );
            return None;
        };
        let by_file = declared.is_some_and(|d| d.rows.is_some() && d.row_bytes.is_some());
        let server = self.facts.map_or("", |facts| facts.server.as_str());
        Some(TableLoad {
            name: shown,
            rows: rows as f64,
            row_bytes: row_bytes as f64,
            writes: declared.and_then(|d| d.writes_per_second).unwrap_or(0.0),
            said_by: if by_file { "declared".to_owned() } else { server.to_owned() },
        })
    }
}

fn embedded(embeds: &[Embed], path: &str, wanted: &mut Vec<(TableName, String)>) {
    for embed in embeds {
        let path = format!("{path}.embed.{}", embed.field);
        wanted.push((embed.from.clone(), format!("{path}.from")));
        embedded(&embed.embeds, &path, wanted);
    }
}
