//! Tables in a tree: children that point at their parent, and lookups that a table points at.

use std::fmt::Write as _;

use headwater_model::{
    Aggregate, Edge, Embed, EmbedKind, Layout, Order, Ranking, Series, TableName, View, ViewKind,
};

use super::Dialect;
use crate::Chance;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Int,
    /// Few different values, so that filters split and orders tie.
    Small,
    Float,
    Decimal,
    Text,
    /// A moment without a zone. Few different ones, at the ends of hours and days.
    Time,
    /// Text that PostgreSQL keeps outside the row.
    Long,
    /// The `id` of another table.
    Reference(usize),
}

#[derive(Clone, Debug)]
pub struct Table {
    pub name: String,
    /// After the key, which is `id`.
    pub columns: Vec<(String, Kind)>,
    /// How the table hangs in the tree: below whom, and whether it is a lookup.
    parent: Option<(usize, bool)>,
}

impl Table {
    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.name)
    }
}

#[derive(Clone, Debug)]
pub struct Schema {
    pub tables: Vec<Table>,
    embeds: Vec<Embed>,
    others: Vec<Other>,
}

impl Schema {
    pub fn random(chance: &mut Chance) -> Schema {
        let mut tables: Vec<Table> = Vec::new();
        let count = 2 + chance.below(6) as usize;
        for at in 0..count {
            // A name that needs its quotes now and then.
            let name = if chance.one_in(4) { format!("Tisch é {at}") } else { format!("t{at}") };
            let mut columns = vec![("rank".to_owned(), Kind::Small)];
            for i in 0..1 + chance.below(3) {
                columns.push((
                    format!("c{i}"),
                    *chance.pick(&[Kind::Int, Kind::Float, Kind::Decimal, Kind::Text]),
                ));
            }
            if chance.one_in(2) {
                columns.push(("at".into(), Kind::Time));
            }
            if chance.one_in(3) {
                columns.push(("long".into(), Kind::Long));
            }
            let parent = (at > 0).then(|| (chance.below(at as u64) as usize, chance.one_in(3)));
            match parent {
                Some((parent, true)) => {
                    tables[parent].columns.push((format!("ref{at}"), Kind::Reference(at)))
                }
                Some((parent, false)) => columns.push(("parent".into(), Kind::Reference(parent))),
                None => {}
            }
            tables.push(Table { name, columns, parent });
        }
        let embeds = embeds(&tables, 0, chance);
        let mut others = Vec::new();
        for _ in 0..2 {
            others.push(other(&tables, chance, ranking));
        }
        others.push(other(&tables, chance, series));
        others.push(other(&tables, chance, edge));
        Schema { tables, embeds, others }
    }

    pub fn ddl(&self, dialect: Dialect) -> String {
        let mut sql = String::new();
        for table in &self.tables {
            let _ = write!(sql, "CREATE TABLE {} (id bigint PRIMARY KEY", table.quoted());
            for (name, kind) in &table.columns {
                let kind = match (kind, dialect) {
                    (Kind::Int | Kind::Small | Kind::Reference(_), _) => "bigint",
                    (Kind::Float, _) => "double precision",
                    (Kind::Decimal, Dialect::MariaDb) => "decimal(20, 6)",
                    (Kind::Decimal, _) => "numeric",
                    (Kind::Time, Dialect::Postgres) => "timestamp",
                    (Kind::Time, Dialect::MariaDb) => "datetime(6)",
                    (Kind::Text | Kind::Long, _) | (Kind::Time, Dialect::Sqlite) => "text",
                };
                let _ = write!(sql, ", \"{name}\" {kind}");
            }
            sql.push_str(");\n");
        }
        sql.push_str("CREATE TABLE pair (id bigint PRIMARY KEY, amount bigint, version bigint);\n");
        sql.push_str("INSERT INTO pair VALUES (1, 0, 0), (2, 0, 0);\n");
        sql
    }

    pub fn views(&self, stores: &[&str]) -> Vec<View> {
        let view = |name: &str, from: &str| View {
            name: name.into(),
            from: TableName::new(None, from),
            columns: None,
            filter: None,
            embeds: Vec::new(),
            stores: stores.iter().map(|store| (*store).into()).collect(),
            parts: Vec::new(),
            layout: None,
            kind: headwater_model::ViewKind::Document,
            indexes: Vec::new(),
        };
        let root = &self.tables[0];
        let mut tree = view("tree", &root.name);
        tree.embeds.clone_from(&self.embeds);
        let mut some = view("some", &root.name);
        some.columns = Some(vec![("c0".into(), "value".into()), ("id".into(), "id".into())]);
        some.filter = Some("rank >= 2 AND id <> 4".into());
        some.layout = Some(Layout::Json);
        let mut views = vec![tree, some, view("pair", "pair")];
        for (at, table) in self.tables.iter().enumerate() {
            views.push(view(&format!("flat{at}"), &table.name));
        }
        for (at, (table, kind, filter)) in self.others.iter().enumerate() {
            let mut other = view(&format!("other{at}"), &self.tables[*table].name);
            other.kind = kind.clone();
            other.filter.clone_from(filter);
            views.push(other);
        }
        views
    }
}

/// A ranking, a series or edges: table, kind and filter.
type Other = (usize, ViewKind, Option<Box<str>>);

/// A view of another kind over some table.
fn other(tables: &[Table], chance: &mut Chance, kind: fn(&Table, &mut Chance) -> ViewKind) -> Other {
    let at = chance.below(tables.len() as u64) as usize;
    (at, kind(&tables[at], chance), chance.one_in(3).then(|| "rank < 4".into()))
}

fn names(table: &Table, wanted: fn(Kind) -> bool) -> Vec<Box<str>> {
    table.columns.iter().filter(|(_, kind)| wanted(*kind)).map(|(name, _)| name.as_str().into()).collect()
}

/// Groups by what prints alike in both dialects; scores by what both can compute.
fn ranking(table: &Table, chance: &mut Chance) -> ViewKind {
    let mut group = names(table, |kind| matches!(kind, Kind::Small | Kind::Text | Kind::Reference(_)));
    let by = vec![group.remove(chance.below(group.len() as u64) as usize)];
    let within = if chance.one_in(2) && !group.is_empty() { vec![group.remove(0)] } else { Vec::new() };
    let function =
        *chance.pick(&[Aggregate::Count, Aggregate::Sum, Aggregate::Sum, Aggregate::Min, Aggregate::Max]);
    let scored = match function {
        Aggregate::Sum => names(table, |kind| matches!(kind, Kind::Int | Kind::Small | Kind::Decimal)),
        _ => names(table, |kind| !matches!(kind, Kind::Long)),
    };
    let column = (function != Aggregate::Count || chance.one_in(2)).then(|| chance.pick(&scored).clone());
    ViewKind::Ranking(Ranking { by, within, function, column })
}

/// Points in time by the smallest numbers there are: many at the same time, and corrected often.
fn series(table: &Table, chance: &mut Chance) -> ViewKind {
    let mut others: Vec<Box<str>> = names(table, |kind| !matches!(kind, Kind::Small));
    let fields = others.split_off(chance.below(others.len() as u64) as usize);
    ViewKind::Series(Series { time: "rank".into(), tags: others, fields })
}

/// From a row to what it refers to, or to something that occurs often.
fn edge(table: &Table, chance: &mut Chance) -> ViewKind {
    let ends = names(table, |kind| matches!(kind, Kind::Small | Kind::Reference(_) | Kind::Text));
    let target = ends.last().cloned().unwrap_or_else(|| "rank".into());
    // An edge joins two columns.
    let source = if chance.one_in(2) || &*target == "rank" { "id".into() } else { "rank".into() };
    ViewKind::Edge(Edge { source, label: "KNOWS".into(), target })
}

fn embeds(tables: &[Table], parent: usize, chance: &mut Chance) -> Vec<Embed> {
    let mut out = Vec::new();
    for (at, table) in tables.iter().enumerate() {
        let Some((_, lookup)) = table.parent.filter(|(of, _)| *of == parent) else { continue };
        let kind = if lookup {
            EmbedKind::One { columns: vec![format!("ref{at}").into()], references: None }
        } else {
            EmbedKind::Many { columns: vec!["parent".into()], references: None }
        };
        let mut order = Vec::new();
        if !lookup {
            for column in ["rank", "c0"] {
                if chance.one_in(2) {
                    order.push(Order { column: column.into(), descending: chance.one_in(2) });
                }
            }
        }
        out.push(Embed {
            field: format!("e{at}").into(),
            from: TableName::new(None, &table.name),
            kind,
            columns: chance
                .one_in(3)
                .then(|| vec![("rank".into(), "place".into()), ("c0".into(), "c0".into())]),
            filter: chance.one_in(3).then(|| "rank < 4".into()),
            order,
            limit: (!lookup && chance.one_in(3)).then(|| 1 + chance.below(3) as usize),
            embeds: embeds(tables, at, chance),
        });
    }
    out
}
