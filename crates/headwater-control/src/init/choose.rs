//! Which tables become views, and which rows are proposed inside their documents.

use std::collections::BTreeSet;

use headwater_model::{ColumnFacts, ColumnType, ForeignKey, SourceFacts, TableFacts};

use super::{Looked, names};

/// Lists are cut to this many where a time column says which rows are the newest.
pub(super) const NEWEST: u64 = 20;
/// Past this many rows of a list per document on average, a list with `limit` is left for people to decide: each change
/// moves a window over that many rows.
const FAN_OUT_MAX: u64 = 1_000;
/// Past this, a list without an order that says what to keep is left for people to decide.
const WHOLE_LIST_MAX: u64 = 50;

/// What becomes of one table.
pub(super) struct Choice<'f> {
    /// What its source is called, where there are several.
    pub source: Option<&'f str>,
    pub table: &'f TableFacts,
    pub what: What<'f>,
}

pub(super) enum What<'f> {
    View {
        name: String,
        embeds: Vec<Proposal<'f>>,
    },
    /// Nothing but keys of other tables: no document of its own.
    Joins,
    /// It cannot be followed.
    Left {
        why: String,
        remedy: String,
    },
}

/// Rows proposed inside a document.
pub(super) struct Proposal<'f> {
    pub field: String,
    pub from: &'f TableFacts,
    pub key: &'f ForeignKey,
    pub many: bool,
    /// What the key points at, if not the primary key.
    pub references: Option<&'f [Box<str>]>,
    pub order: Option<&'f str>,
    pub limit: Option<u64>,
    /// Of a join table's rows: the row at the other end.
    pub through: Option<(String, &'f TableFacts, &'f ForeignKey)>,
    /// Why it is only a comment.
    pub doubt: Option<String>,
}

/// One choice per table, in the order of the facts.
pub(super) fn views<'f>(databases: &'f [Looked<'_>]) -> Vec<Choice<'f>> {
    let mut taken = BTreeSet::new();
    let mut choices = Vec::new();
    for Looked { name: source, facts, .. } in databases {
        let elsewhere = taken.clone();
        for table in &facts.tables {
            let what = what(source.as_deref(), facts, table, &elsewhere, &mut taken);
            choices.push(Choice { source: source.as_deref(), table, what });
        }
    }
    choices
}

/// Names of views that are `taken`, and `elsewhere` by other sources, are not given again.
fn what<'f>(
    source: Option<&str>,
    facts: &'f SourceFacts,
    table: &'f TableFacts,
    elsewhere: &BTreeSet<String>,
    taken: &mut BTreeSet<String>,
) -> What<'f> {
    if let Some(obstacle) = &table.obstacle {
        return What::Left { why: obstacle.what.clone(), remedy: obstacle.remedy.clone() };
    }
    if table.key.is_empty() {
        return What::Left {
            why: format!("table `{}` has no primary key", table.name),
            remedy: format!("add one: ALTER TABLE {} ADD PRIMARY KEY (…)", table.name),
        };
    }
    if is_join(table) {
        return What::Joins;
    }
    let mut wanted = names::singular(&table.name.name);
    let shared = facts.tables.iter().filter(|t| t.name.name == table.name.name).count() > 1;
    if let (true, Some(schema)) = (shared, table.name.schema.as_deref())
        && schema != "public"
    {
        wanted = format!("{schema}_{wanted}");
    }
    if let Some(source) = source
        && elsewhere.contains(&wanted.to_lowercase())
    {
        wanted = format!("{source}_{wanted}");
    }
    What::View { name: names::entry(&wanted, taken), embeds: embeds(facts, table) }
}

fn embeds<'f>(facts: &'f SourceFacts, table: &'f TableFacts) -> Vec<Proposal<'f>> {
    let mut fields: BTreeSet<String> =
        table.columns.iter().filter(|c| !c.absent_from_log).map(|c| c.name.to_string()).collect();
    let mut embeds = Vec::new();
    for key in &table.foreign_keys {
        let Some(parent) = followed(facts, &key.to) else { continue };
        let Some(references) = join(table, key, parent) else { continue };
        let mut wanted = names::pointed_at(&key.columns, &parent.name.name);
        if fields.contains(&wanted) {
            wanted = format!("{}_{}", key.columns.join("_"), names::singular(&parent.name.name));
        }
        let field = names::free(&wanted, |name| !fields.contains(name));
        fields.insert(field.clone());
        embeds.push(Proposal {
            field,
            from: parent,
            key,
            many: false,
            references,
            order: None,
            limit: None,
            through: None,
            doubt: None,
        });
    }
    for child in facts.tables.iter().filter(|child| child.name != table.name) {
        if followed(facts, &child.name).is_none() {
            continue;
        }
        let pointing: Vec<&ForeignKey> =
            child.foreign_keys.iter().filter(|key| key.to == table.name).collect();
        for key in &pointing {
            let Some(references) = join(child, key, table) else { continue };
            let mut wanted = child.name.name.to_string();
            if pointing.len() > 1 {
                wanted = format!("{wanted}_by_{}", names::pointed_at(&key.columns, &key.columns.join("_")));
            }
            let field = names::free(&wanted, |name| !fields.contains(name));
            fields.insert(field.clone());
            let order = newest(child);
            let doubt = doubt(table, child, order.is_some());
            embeds.push(Proposal {
                field,
                from: child,
                key,
                many: true,
                references,
                order,
                limit: order.map(|_| NEWEST),
                through: through(facts, child, key),
                doubt,
            });
        }
    }
    embeds
}

/// A table that can be followed.
fn followed<'f>(facts: &'f SourceFacts, name: &headwater_model::TableName) -> Option<&'f TableFacts> {
    facts.tables.iter().find(|t| t.name == *name && t.obstacle.is_none() && !t.key.is_empty())
}

/// How a foreign key joins, if `check` would accept it: what it references, `None` for the primary key.
#[allow(clippy::option_option)]
fn join<'f>(from: &TableFacts, key: &'f ForeignKey, to: &TableFacts) -> Option<Option<&'f [Box<str>]>> {
    let pairs = key.columns.iter().zip(&key.to_columns);
    for (a, b) in pairs {
        let (a, b) = (column(from, a)?, column(to, b)?);
        let one_kind = a.kind == b.kind || a.kind == ColumnType::Dynamic || b.kind == ColumnType::Dynamic;
        if !one_kind || a.absent_from_log || b.absent_from_log {
            return None;
        }
    }
    if key.to_columns == to.key {
        return Some(None);
    }
    let same = |unique: &Vec<Box<str>>| {
        unique.len() == key.to_columns.len() && unique.iter().all(|name| key.to_columns.contains(name))
    };
    (same(&to.key) || to.unique.iter().any(same)).then_some(Some(&key.to_columns))
}

/// Whether all a table says is which rows belong together.
fn is_join(table: &TableFacts) -> bool {
    let in_keys = |name: &str| table.foreign_keys.iter().any(|key| key.columns.iter().any(|c| **c == *name));
    table.foreign_keys.len() >= 2
        && table.columns.iter().all(|column| {
            in_keys(&column.name) || (table.key.len() == 1 && table.key[0] == column.name) || is_time(column)
        })
}

/// From a join table's row to the row at its other end.
fn through<'f>(
    facts: &'f SourceFacts,
    table: &'f TableFacts,
    from: &ForeignKey,
) -> Option<(String, &'f TableFacts, &'f ForeignKey)> {
    if !is_join(table) {
        return None;
    }
    let other = table.foreign_keys.iter().find(|key| *key != from)?;
    let target = followed(facts, &other.to)?;
    // The short form below has no place for `references`.
    if join(table, other, target)?.is_some() {
        return None;
    }
    let wanted = names::pointed_at(&other.columns, &target.name.name);
    let field = names::free(&wanted, |name| table.columns.iter().all(|c| *c.name != *name));
    Some((field, target, other))
}

/// Why embedding the child's rows should be somebody's decision.
fn doubt(parent: &TableFacts, child: &TableFacts, newest_only: bool) -> Option<String> {
    let each = child.rows_estimate / parent.rows_estimate.max(1);
    let max = if newest_only { FAN_OUT_MAX } else { WHOLE_LIST_MAX };
    // Estimates of an empty or never analysed table say nothing.
    let known = parent.rows_estimate > 0 && child.rows_estimate > 0;
    (known && each > max).then(|| format!("about {each} rows in each document"))
}

/// The time column that says which rows are the newest.
pub(super) fn newest(table: &TableFacts) -> Option<&str> {
    let times: Vec<&ColumnFacts> =
        table.columns.iter().filter(|column| is_time(column) && !column.absent_from_log).collect();
    let created = |c: &&&ColumnFacts| {
        c.name.to_lowercase().contains("creat") || c.name.to_lowercase().contains("insert")
    };
    let changed = |c: &&&ColumnFacts| {
        let name = c.name.to_lowercase();
        ["updat", "modif", "delet", "expire", "until", "birth", "end"].iter().any(|word| name.contains(word))
    };
    times
        .iter()
        .find(created)
        .or_else(|| times.iter().filter(|c| !c.nullable).find(|c| !changed(c)))
        .or_else(|| times.iter().find(|c| !changed(c)))
        .map(|column| &*column.name)
}

/// A point in time, by its kind, or by its name where kinds say nothing.
fn is_time(column: &ColumnFacts) -> bool {
    match column.kind {
        ColumnType::Timestamp | ColumnType::TimestampTz => true,
        ColumnType::Date | ColumnType::Dynamic | ColumnType::Text | ColumnType::Int => {
            let name = column.name.to_lowercase();
            name.ends_with("_at") || name.ends_with("_on") || name == "created" || name.ends_with("_time")
        }
        _ => false,
    }
}

fn column<'t>(table: &'t TableFacts, name: &str) -> Option<&'t ColumnFacts> {
    table.columns.iter().find(|column| *column.name == *name)
}
