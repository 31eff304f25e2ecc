//! Whether the source can answer the access patterns without going through whole tables.
//!
//! Owns: which index each pattern needs at the source, and what to say where it is not there. Not: which index serves what, in
//! which order, which the engine has said as facts.

use std::collections::BTreeSet;

use headwater_model::{
    AccessPlan, Embed, EmbedKind, IndexFacts, Indexable, Order, PlannedRead, Severity, TableFacts, View,
    ViewKind,
};

use super::Look;

/// Smaller tables are gone through in about a millisecond.
const SMALL_ROWS: u64 = 10_000;

/// What one read looks for in a table.
struct Wanted<'a> {
    /// Where in the file it is asked for.
    path: String,
    table: &'a TableFacts,
    /// Found by these values.
    equal: Vec<Box<str>>,
    /// In this order, which many rows may make dear.
    order: Vec<Order>,
    /// What an index had better have too, behind the rest.
    more: Vec<Order>,
}

/// How far the indexes of a table help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Help {
    None,
    /// Rows are found, and then sorted.
    Found,
    Whole,
}

impl<'a> Look<'a> {
    /// Warns of patterns that the source answers by going through a table.
    pub(super) fn source_indexes(&mut self, plans: &[AccessPlan]) {
        let mut told = BTreeSet::new();
        for plan in plans.iter().filter(|plan| plan.access.source) {
            for wanted in self.wanted(plan) {
                let is_answered = !wanted.table.create_index.is_empty();
                if is_answered && wanted.table.rows_estimate >= SMALL_ROWS {
                    self.missing(&plan.access.name, &wanted, &mut told);
                }
            }
        }
    }

    fn wanted(&self, plan: &AccessPlan) -> Vec<Wanted<'a>> {
        let path = format!("access.{}.{}", plan.access.name, plan.access.pattern.name());
        let mut all = Vec::new();
        match &plan.read {
            PlannedRead::Get { view } => {
                let equal = match &view.kind {
                    ViewKind::Ranking(ranking) => ranking.within.iter().chain(&ranking.by).cloned().collect(),
                    _ => self.table_of(&view.from).map_or(Vec::new(), |table| table.key.clone()),
                };
                all.extend(self.table_of(&view.from).map(|table| Wanted {
                    path,
                    table,
                    equal,
                    order: Vec::new(),
                    more: Vec::new(),
                }));
                self.wanted_lists(view, &mut all);
            }
            PlannedRead::Range { view, index, .. } | PlannedRead::Window { view, index, .. } => {
                all.extend(self.wanted_range(path, view, *index, true));
                self.wanted_lists(view, &mut all);
            }
            PlannedRead::Walk { hops, .. } => {
                for hop in hops {
                    let along = hop.views.iter();
                    all.extend(
                        along.filter_map(|view| self.wanted_range(path.clone(), view, hop.index(), false)),
                    );
                }
            }
        }
        all
    }

    /// `sorted`: also in the order of the index.
    fn wanted_range(&self, path: String, view: &View, index: usize, sorted: bool) -> Option<Wanted<'a>> {
        let table = self.table_of(&view.from)?;
        let index = view.indexes.get(index)?;
        let column = |field: &str| column_of(view, field);
        let equal: Vec<Box<str>> = index.by.iter().map(|field| column(field)).collect();
        if let ViewKind::Ranking(ranking) = &view.kind {
            // No index has scores: the rows of all groups that are asked for are gone through.
            let more = ranking.by.iter().map(|column| ascending(column)).collect();
            return Some(Wanted { path, table, equal, order: Vec::new(), more });
        }
        let key = || table.key.iter().map(|column| ascending(column));
        let mut order: Vec<Order> = index
            .order
            .iter()
            .map(|order| Order { column: column(&order.column), descending: order.descending })
            .collect();
        let mut more = Vec::new();
        if !sorted {
            more.append(&mut order);
        } else if order.is_empty() && equal.is_empty() {
            order.extend(key());
        } else {
            more.extend(key());
        }
        Some(Wanted { path, table, equal, order, more })
    }

    /// The rows that lists in the view's documents are made of.
    fn wanted_lists(&self, view: &View, all: &mut Vec<Wanted<'a>>) {
        let mut open: Vec<(String, &Embed)> = Vec::new();
        let inside = |path: &str, embed: &Embed| format!("{path}.embed.{}", embed.field);
        open.extend(view.embeds.iter().map(|e| (inside(&format!("views.{}", view.name), e), e)));
        while let Some((path, embed)) = open.pop() {
            open.extend(embed.embeds.iter().map(|e| (inside(&path, e), e)));
            let EmbedKind::Many { columns, .. } = &embed.kind else { continue };
            let Some(table) = self.table_of(&embed.from) else { continue };
            let key = table.key.iter().map(|column| ascending(column));
            all.push(Wanted {
                path: format!("{path}.many"),
                table,
                equal: columns.clone(),
                // The list of one document is short, or cut short by its limit: it may be sorted.
                order: Vec::new(),
                more: embed.order.iter().cloned().chain(key).collect(),
            });
        }
    }

    fn missing(&mut self, access: &str, wanted: &Wanted<'_>, told: &mut BTreeSet<String>) {
        let table = wanted.table;
        let help = table.indexes.iter().map(|index| wanted.helped_by(index)).max().unwrap_or(Help::None);
        if help == Help::Whole {
            return;
        }
        let create = wanted.create();
        let size = size(table);
        let message = match (help, &create) {
            (Help::Found, None) => return,
            (Help::Found, Some(_)) => format!(
                "when the source answers `{access}`, it sorts what it finds in `{}` ({size}): no index has {} in this order",
                table.name,
                wanted.named()
            ),
            (_, Some(_)) => format!(
                "when the source answers `{access}`, it goes through all of `{}` ({size}): no index begins with {}",
                table.name,
                wanted.named()
            ),
            (_, None) => format!(
                "when the source answers `{access}`, it goes through all of `{}` ({size}), and no index can help",
                table.name
            ),
        };
        let only_stores = "set source = false in the access pattern, so that only stores answer";
        let severity =
            if help == Help::None && create.is_some() { Severity::Warning } else { Severity::Note };
        let (told_as, remedy) = match create {
            Some(create) => (create.clone(), format!("{create}; or {only_stores}")),
            None => (message.clone(), only_stores.to_owned()),
        };
        // One index may be missed by several patterns.
        if told.insert(told_as) {
            self.warn(&wanted.path, severity, message, &remedy);
        }
    }
}

impl Wanted<'_> {
    fn indexable(&self, column: &str) -> Indexable {
        let found = self.table.columns.iter().find(|known| *known.name == *column);
        found.map_or(Indexable::Never, |column| column.indexable)
    }

    fn helped_by(&self, index: &IndexFacts) -> Help {
        let usable = |column: &str| self.indexable(column) != Indexable::Never;
        let leading = index.columns.iter().take_while(|column| self.equal.contains(&column.name)).count();
        // One row at most is found by a key, whatever else is equal.
        let one = self.table.unique.iter().any(|set| {
            set.len() == leading && index.columns[..leading].iter().all(|c| set.contains(&c.name))
        });
        if !self.equal.iter().all(|column| usable(column)) {
            return Help::None;
        }
        if one && leading > 0 {
            return Help::Whole;
        }
        if leading < self.equal.len() {
            return Help::None;
        }
        let mut rest = index.columns[leading..].iter();
        let mut reversed = None;
        for order in &self.order {
            let fits = rest.next().is_some_and(|column| {
                let against = column.descending != order.descending;
                column.name == order.column && column.as_stores && *reversed.get_or_insert(against) == against
            });
            if !fits {
                return if self.equal.is_empty() { Help::None } else { Help::Found };
            }
        }
        // Without anything to find or to sort by, everything is wanted.
        if self.equal.is_empty() && self.order.is_empty() { Help::None } else { Help::Whole }
    }

    /// The statement that makes the index; `None` if none would help.
    fn create(&self) -> Option<String> {
        let mut columns: Vec<String> = Vec::new();
        let mut named: Vec<&str> = Vec::new();
        for column in &self.equal {
            if self.indexable(column) == Indexable::Never {
                return None;
            }
            columns.push(quoted(column));
            named.push(column);
        }
        if columns.is_empty() && self.order.is_empty() {
            return None;
        }
        for order in self.order.iter().chain(&self.more) {
            let Indexable::InOrder(like) = self.indexable(&order.column) else { break };
            if named.contains(&&*order.column) {
                continue;
            }
            let direction = if order.descending { " DESC" } else { "" };
            columns.push(format!("{}{like}{direction}", quoted(&order.column)));
            named.push(&order.column);
        }
        if columns.is_empty() {
            return None;
        }
        let table = &self.table.name;
        let schema = table.schema.as_ref().map_or(String::new(), |schema| format!("{}.", quoted(schema)));
        Some(format!(
            "{} {} ON {schema}{} ({})",
            self.table.create_index,
            quoted(&index_name(&table.name, &named)),
            quoted(&table.name),
            columns.join(", ")
        ))
    }

    /// What the index begins with, for people.
    fn named(&self) -> String {
        let columns = self.equal.iter().chain(self.order.iter().map(|order| &order.column));
        columns.map(|column| format!("`{column}`")).collect::<Vec<_>>().join(", then ")
    }
}

fn ascending(column: &str) -> Order {
    Order { column: column.into(), descending: false }
}

/// The column that a field of the view's own row shows.
fn column_of(view: &View, field: &str) -> Box<str> {
    let renamed = view.columns.iter().flatten().find(|(_, shown)| **shown == *field);
    renamed.map_or(field, |(column, _)| column).into()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// As engines take it: at most 63 bytes.
fn index_name(table: &str, columns: &[&str]) -> String {
    let mut name = format!("{table}_{}", columns.join("_"));
    let mut end = name.len().min(59);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.truncate(end);
    name + "_idx"
}

fn size(table: &TableFacts) -> String {
    let rows = format!("about {} rows", table.rows_estimate);
    match table.bytes_estimate {
        0 => rows,
        bytes if bytes < 1 << 30 => format!("{rows}, {} MiB", bytes.div_ceil(1 << 20)),
        bytes => format!("{rows}, {:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}
