//! Stateful views compiled against the tables they read: which rows each document has, how to find them, and the way
//! back from a row to the documents that show it.
//!
//! Pure: names in, numbers out. A view is a tree of nodes, one per place where a table occurs; a table may occur at
//! several places of one tree. A ranking is not a tree: see `ranking.rs`. The mirror stores each table once, with the columns that
//! some node or ranking needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headwater_model::filter::BoundFilter;
use headwater_model::{
    Column, ColumnType, Embed, EmbedKind, Error, Names, Order, Result, Table, TableName, View, ViewKind,
};

use super::projection::{Own, bind, column_of, parse_filter, project};
use super::ranking::{self, Ranked};
use super::{Broken, Tables, table_of};

/// What the deriver does for a set of views. Made again when a table's shape changes.
#[derive(Debug)]
pub struct Plan {
    pub(super) views: Vec<Arc<View>>,
    pub(super) tables: Tables,
    /// Where each view begins, `None` for a broken one.
    pub(super) roots: Vec<Option<Root>>,
    pub(super) nodes: Vec<Node>,
    pub(super) rankings: Vec<Ranked>,
    pub(super) stored: Vec<StoredTable>,
}

/// How a view's documents are made.
#[derive(Clone, Copy, Debug)]
pub(super) enum Root {
    /// From a row and what hangs on it, this node at the root.
    Node(usize),
    /// From groups of rows: a place in [`Plan::rankings`].
    Ranking(usize),
}

/// A table as the mirror holds it.
#[derive(Debug)]
pub(super) struct StoredTable {
    pub name: TableName,
    /// The columns some node or ranking needs, the key's among them, in the table's order.
    pub columns: Vec<Box<str>>,
    /// Which of `columns` are the key, in key order.
    pub key: Vec<usize>,
    pub indexes: Vec<Index>,
    /// The nodes at which the table occurs.
    pub nodes: Vec<usize>,
    /// The rankings of its rows.
    pub rankings: Vec<usize>,
    /// How far from the root the table occurs at most.
    pub depth: usize,
}

/// Finds a stored table's rows by the values of columns, in an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Index {
    pub columns: Vec<usize>,
    /// `(column, descending)`; the key, ascending, follows.
    pub order: Vec<(usize, bool)>,
    /// Whether the rows lie in the index itself: a list is then read in one go instead of row by row.
    pub covering: bool,
}

/// One place where a table occurs in a view.
#[derive(Debug)]
pub(super) struct Node {
    pub view: usize,
    pub stored: usize,
    pub parent: Option<(usize, Link)>,
    /// The document's fields: columns, then embedded rows.
    pub names: Names,
    pub cells: Vec<usize>,
    pub cells_repeat: bool,
    pub filter: Option<BoundFilter>,
    pub limit: Option<usize>,
    pub embeds: Vec<usize>,
    /// Cells that the documents depend on; a change of others is none of theirs.
    pub relevant: Vec<usize>,
    /// Cells that decide which parent shows the row, or whether one does.
    pub linking: Vec<usize>,
}

/// How a node's rows hang on its parent's.
#[derive(Debug)]
pub(super) struct Link {
    pub many: bool,
    pub parent_columns: Vec<usize>,
    pub child_columns: Vec<usize>,
    /// From a parent row to its children.
    pub down: Find,
    /// From a child row to its parents.
    pub up: Find,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Find {
    /// The other side's columns are the row's primary key.
    ByKey,
    /// An index of the table that is looked for.
    ByIndex(usize),
}

/// Compiles the views. `Misconfigured`, naming view and column, if one does not fit its tables.
pub fn compile(views: &[Arc<View>], tables: &Tables) -> Result<Plan> {
    let (plan, broken) = compile_each(views, tables);
    match broken.into_iter().next() {
        Some(broken) => Err(broken.error),
        None => Ok(plan),
    }
}

/// Compiles the views that fit, and says why the others do not.
pub fn compile_each(views: &[Arc<View>], tables: &Tables) -> (Plan, Vec<Broken>) {
    let mut needed = Needed::new();
    let mut broken = Vec::new();
    let mut fits = Vec::with_capacity(views.len());
    for view in views {
        let place = format!("view \"{}\"", view.name);
        let mut own = Needed::new();
        match need_view(&place, view, tables, &mut own) {
            Ok(()) => {
                own.into_iter().for_each(|(table, columns)| needed.entry(table).or_default().extend(columns));
                fits.push(true);
            }
            Err(error) => {
                broken.push(Broken { view: view.name.clone(), error });
                fits.push(false);
            }
        }
    }
    let mut compiler =
        Compiler { tables, stored: store(&needed, tables), nodes: Vec::new(), rankings: Vec::new() };
    let mut roots = Vec::with_capacity(views.len());
    for (i, view) in views.iter().enumerate() {
        let mut root = None;
        if fits[i] {
            let place = format!("view \"{}\"", view.name);
            match compiler.view(&place, i, view) {
                Ok(found) => root = Some(found),
                Err(error) => broken.push(Broken { view: view.name.clone(), error }),
            }
        }
        roots.push(root);
    }
    let Compiler { stored, nodes, rankings, .. } = compiler;
    (Plan { views: views.to_vec(), tables: tables.clone(), roots, nodes, rankings, stored }, broken)
}

impl Plan {
    /// The tables whose rows the views need, deepest first: filled in this order, a document finds its embedded rows in
    /// place and is emitted once.
    pub fn tables(&self) -> Vec<TableName> {
        let mut stored: Vec<&StoredTable> = self.stored.iter().collect();
        stored.sort_by_key(|table| std::cmp::Reverse(table.depth));
        stored.into_iter().map(|table| table.name.clone()).collect()
    }

    pub fn views(&self) -> &[Arc<View>] {
        &self.views
    }
}

/// What a view and an embed have in common.
struct Part<'a> {
    from: &'a TableName,
    columns: Option<&'a [(Box<str>, Box<str>)]>,
    filter: Option<&'a str>,
    order: &'a [Order],
    limit: Option<usize>,
    embeds: &'a [Embed],
}

impl<'a> Part<'a> {
    fn of_view(view: &'a View, own: &'a Own<'a>) -> Part<'a> {
        Part {
            from: &view.from,
            columns: own.columns.as_deref(),
            filter: own.filter.as_deref(),
            order: &[],
            limit: None,
            embeds: &view.embeds,
        }
    }

    fn of_embed(embed: &'a Embed) -> Part<'a> {
        Part {
            from: &embed.from,
            columns: embed.columns.as_deref(),
            filter: embed.filter.as_deref(),
            order: &embed.order,
            limit: embed.limit,
            embeds: &embed.embeds,
        }
    }
}

/// Columns needed of each table.
type Needed = BTreeMap<TableName, BTreeSet<usize>>;

fn inner_place(place: &str, field: &str) -> String {
    match place.strip_suffix('"') {
        Some(inner) if place.contains(", field \"") => format!("{inner}.{field}\""),
        _ => format!("{place}, field \"{field}\""),
    }
}

/// Collects the columns that a view needs, and finds everything that can be wrong with it.
fn need_view(place: &str, view: &View, tables: &Tables, needed: &mut Needed) -> Result<()> {
    if let ViewKind::Ranking(ranking) = &view.kind {
        let (table, columns) = ranking::need(place, view, ranking, tables)?;
        needed.entry(table).or_default().extend(columns);
        return Ok(());
    }
    let own = Own::in_table(view, table_of(tables, &view.from, place)?);
    need(place, &Part::of_view(view, &own), None, tables, needed)
}

/// Walks a part of a view, collects the columns it needs and finds everything that can be wrong with it.
fn need(
    place: &str,
    part: &Part<'_>,
    parent: Option<(&Table, &EmbedKind)>,
    tables: &Tables,
    needed: &mut Needed,
) -> Result<()> {
    let table = table_of(tables, part.from, place)?;
    let projection = project(place, table, part.columns, part.filter)?;
    let mut columns: BTreeSet<usize> = table.key.iter().copied().collect();
    columns.extend(projection.cells.unwrap_or_else(|| (0..table.columns.len()).collect()));
    if let Some(text) = part.filter {
        for column in parse_filter(place, text)?.columns() {
            columns.extend(column.find(table.columns.iter().map(|c| &*c.name)));
        }
    }
    for order in part.order {
        columns.insert(column_of(place, table, &order.column)?);
    }
    if let Some((parent, kind)) = parent {
        let (parent_columns, child_columns) = joined(place, parent, table, kind)?;
        columns.extend(child_columns);
        needed.entry(parent.name.clone()).or_default().extend(parent_columns);
    }
    needed.entry(table.name.clone()).or_default().extend(columns);
    for (i, embed) in part.embeds.iter().enumerate() {
        let taken = projection.names.contains(&embed.field)
            || part.embeds[..i].iter().any(|e| e.field == embed.field);
        if taken {
            return Err(Error::misconfigured(format!("{place}: two fields are named \"{}\"", embed.field))
                .with_remedy("give each column and each embedded row a name of its own"));
        }
        let place = inner_place(place, &embed.field);
        need(&place, &Part::of_embed(embed), Some((table, &embed.kind)), tables, needed)?;
    }
    Ok(())
}

/// The columns on both sides of an embed, parent's first.
fn joined(place: &str, parent: &Table, child: &Table, kind: &EmbedKind) -> Result<(Vec<usize>, Vec<usize>)> {
    let resolve = |table: &Table, columns: &[Box<str>]| -> Result<Vec<usize>> {
        columns.iter().map(|column| column_of(place, table, column)).collect()
    };
    let (pointing, pointed, columns, references) = match kind {
        EmbedKind::One { columns, references } => (parent, child, columns, references),
        EmbedKind::Many { columns, references } => (child, parent, columns, references),
    };
    let from = resolve(pointing, columns)?;
    let to = match references {
        Some(references) => resolve(pointed, references)?,
        None => pointed.key.clone(),
    };
    if from.len() != to.len() || from.is_empty() {
        return Err(Error::misconfigured(format!(
            "{place}: {} columns of {} cannot point at {} columns of {}",
            from.len(),
            pointing.name,
            to.len(),
            pointed.name
        ))
        .with_remedy(format!(
            "name one column for each key column of {}, in the key's order",
            pointed.name
        )));
    }
    Ok(match kind {
        EmbedKind::One { .. } => (from, to),
        EmbedKind::Many { .. } => (to, from),
    })
}

fn store(needed: &Needed, tables: &Tables) -> Vec<StoredTable> {
    let mut stored = Vec::with_capacity(needed.len());
    for (name, columns) in needed {
        let Some(table) = tables.get(name) else { continue };
        let columns: Vec<usize> = columns.iter().copied().collect();
        stored.push(StoredTable {
            name: name.clone(),
            key: places(&columns, &table.key),
            columns: columns.iter().map(|c| table.columns[*c].name.clone()).collect(),
            indexes: Vec::new(),
            nodes: Vec::new(),
            rankings: Vec::new(),
            depth: 0,
        });
    }
    stored
}

/// Where `wanted` columns of the table are among the stored ones, all of which [`need`] has asked for.
fn places(stored: &[usize], wanted: &[usize]) -> Vec<usize> {
    wanted.iter().filter_map(|column| stored.iter().position(|s| s == column)).collect()
}

struct Compiler<'a> {
    tables: &'a Tables,
    stored: Vec<StoredTable>,
    nodes: Vec<Node>,
    rankings: Vec<Ranked>,
}

impl Compiler<'_> {
    fn view(&mut self, place: &str, number: usize, view: &View) -> Result<Root> {
        let table = table_of(self.tables, &view.from, place)?.clone();
        let ViewKind::Ranking(ranking) = &view.kind else {
            let own = Own::in_table(view, &table);
            return self.node(place, number, &Part::of_view(view, &own), None, 0).map(Root::Node);
        };
        let stored = self.stored_place(place, &table.name)?;
        let shape = self.shape(stored, &table);
        self.rankings.push(Ranked::compile(place, number, view, ranking, stored, &shape)?);
        self.stored[stored].rankings.push(self.rankings.len() - 1);
        Ok(Root::Ranking(self.rankings.len() - 1))
    }

    fn node(
        &mut self,
        place: &str,
        view: usize,
        part: &Part<'_>,
        parent: Option<(usize, &EmbedKind)>,
        depth: usize,
    ) -> Result<usize> {
        let table = table_of(self.tables, part.from, place)?.clone();
        let stored = self.stored_place(place, &table.name)?;
        let shape = self.shape(stored, &table);
        let projection = project(place, &table, part.columns, None)?;
        let own = projection.cells.unwrap_or_else(|| (0..table.columns.len()).collect());
        let cells = self.cells(stored, &table, &own);
        let order: Vec<(usize, bool)> = part
            .order
            .iter()
            .map(|order| Ok((column_of(place, &shape, &order.column)?, order.descending)))
            .collect::<Result<_>>()?;
        let mut filter_cells = Vec::new();
        let filter = match part.filter {
            Some(text) => {
                for column in parse_filter(place, text)?.columns() {
                    filter_cells.extend(column.find(shape.columns.iter().map(|c| &*c.name)));
                }
                Some(bind(place, &shape, text)?)
            }
            None => None,
        };
        let id = self.nodes.len();
        let mut linking = filter_cells;
        let link = match parent {
            Some((parent, kind)) => {
                let link = self.link(place, parent, stored, &table, kind, &order)?;
                linking.extend(&link.child_columns);
                Some((parent, link))
            }
            None => None,
        };
        let mut relevant: BTreeSet<usize> = cells.iter().chain(&linking).copied().collect();
        relevant.extend(order.iter().map(|(column, _)| *column));
        let mut names = projection.names.to_vec();
        names.extend(part.embeds.iter().map(|embed| embed.field.clone()));
        self.nodes.push(Node {
            view,
            stored,
            parent: link,
            names: names.into(),
            cells,
            cells_repeat: projection.repeats,
            filter,
            limit: part.limit,
            embeds: Vec::new(),
            relevant: Vec::new(),
            linking,
        });
        let entry = &mut self.stored[stored];
        entry.nodes.push(id);
        entry.depth = entry.depth.max(depth);
        for embed in part.embeds {
            let place = inner_place(place, &embed.field);
            let child =
                self.node(&place, view, &Part::of_embed(embed), Some((id, &embed.kind)), depth + 1)?;
            if let Some((_, link)) = &self.nodes[child].parent {
                relevant.extend(&link.parent_columns);
            }
            self.nodes[id].embeds.push(child);
        }
        self.nodes[id].relevant = relevant.into_iter().collect();
        Ok(id)
    }

    fn link(
        &mut self,
        place: &str,
        parent: usize,
        child_stored: usize,
        child: &Table,
        kind: &EmbedKind,
        order: &[(usize, bool)],
    ) -> Result<Link> {
        let parent_stored = self.nodes[parent].stored;
        let parent_name = self.stored[parent_stored].name.clone();
        let parent_table = table_of(self.tables, &parent_name, place)?.clone();
        let (parent_columns, child_columns) = joined(place, &parent_table, child, kind)?;
        // Decimals are equal across scales (1.0 and 1.00), which the bytes of a key are not.
        let is_decimal = |table: &Table, columns: &[usize]| {
            columns.iter().any(|c| table.columns[*c].kind == ColumnType::Decimal)
        };
        let exact = !is_decimal(&parent_table, &parent_columns) && !is_decimal(child, &child_columns);
        let child_is_key = exact && child_columns == child.key;
        let parent_is_key = exact && parent_columns == parent_table.key;
        let parent_columns = self.cells(parent_stored, &parent_table, &parent_columns);
        let child_columns = self.cells(child_stored, child, &child_columns);
        let many = matches!(kind, EmbedKind::Many { .. });
        let down = match child_is_key {
            true => Find::ByKey,
            false => self.index(child_stored, &child_columns, Some(if many { order } else { &[] }), many),
        };
        let up = match parent_is_key {
            true => Find::ByKey,
            false => self.index(parent_stored, &parent_columns, None, false),
        };
        Ok(Link { many, parent_columns, child_columns, down, up })
    }

    /// The index over these columns, in this order; `None` takes any.
    fn index(
        &mut self,
        stored: usize,
        columns: &[usize],
        order: Option<&[(usize, bool)]>,
        covering: bool,
    ) -> Find {
        let indexes = &mut self.stored[stored].indexes;
        let fits = |index: &Index| index.columns == columns && order.is_none_or(|order| index.order == order);
        let place = indexes.iter().position(fits).unwrap_or_else(|| {
            let order = order.unwrap_or_default().to_vec();
            indexes.push(Index { columns: columns.to_vec(), order, covering: false });
            indexes.len() - 1
        });
        indexes[place].covering |= covering;
        Find::ByIndex(place)
    }

    fn stored_place(&self, place: &str, name: &TableName) -> Result<usize> {
        let found = self.stored.iter().position(|stored| stored.name == *name);
        found.ok_or_else(|| Error::bug(format!("{place}: table {name} was not asked for")))
    }

    fn cells(&self, stored: usize, table: &Table, columns: &[usize]) -> Vec<usize> {
        let stored = &self.stored[stored].columns;
        columns
            .iter()
            .filter_map(|column| stored.iter().position(|name| *name == table.columns[*column].name))
            .collect()
    }

    /// The stored columns as a table, for binding filters to them.
    fn shape(&self, stored: usize, table: &Table) -> Table {
        let stored = &self.stored[stored];
        let kind =
            |name: &str| table.column(name).map_or(ColumnType::Dynamic, |c| table.columns[c].kind.clone());
        Table {
            id: table.id,
            version: table.version,
            name: table.name.clone(),
            columns: stored
                .columns
                .iter()
                .map(|name| Column { name: name.clone(), kind: kind(name) })
                .collect(),
            key: stored.key.clone(),
        }
    }
}
