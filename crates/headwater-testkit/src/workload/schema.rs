//! Tables in a tree: children that point at their parent, and lookups that a table points at.

use std::fmt::Write as _;

use headwater_model::{Embed, EmbedKind, Layout, Order, TableName, View};

use super::Dialect;
use crate::Chance;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Int,
    /// Few different values, so that filters split and orders tie.
    Small,
    Float,
    Text,
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
                columns.push((format!("c{i}"), *chance.pick(&[Kind::Int, Kind::Float, Kind::Text])));
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
        Schema { tables, embeds }
    }

    pub fn ddl(&self, dialect: Dialect) -> String {
        let mut sql = String::new();
        for table in &self.tables {
            let _ = write!(sql, "CREATE TABLE {} (id bigint PRIMARY KEY", table.quoted());
            for (name, kind) in &table.columns {
                let kind = match (kind, dialect) {
                    (Kind::Int | Kind::Small | Kind::Reference(_), _) => "bigint",
                    (Kind::Float, _) => "double precision",
                    (Kind::Text | Kind::Long, _) => "text",
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
        views
    }
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
