//! Documents made from one row each, with nothing remembered.
//!
//! Rows are taken by value, so that texts move from the log into the document without a copy.

use std::sync::Arc;

use headwater_model::filter::Verdict;
use headwater_model::{Change, Error, Key, Record, Result, Row, Table, TableName, Value, View, ViewChange};

use super::projection::{Own, Projection, Shapes, project};
use super::{Broken, Tables, table_of};

/// Maps changes of tables to changes of the views made from them, one row at a time.
///
/// - a row that is there after the change gives a `Put`, or a `Delete` if the filter rejects it
/// - a changed key gives a `Delete` of the old key beside it; or, when cells are `Unchanged` and only the store has
///   them, a `Put` that moves the document
/// - cells that are `Unchanged` stay so: the store keeps what it has
///
/// The shape of a table may change from row to row; each row is read by the shape it comes with.
pub struct Stateless {
    views: Vec<Mapped>,
    shapes: Shapes<Arc<[Route]>>,
    broken: Vec<Broken>,
}

struct Mapped {
    view: Arc<View>,
    /// The table's full name.
    table: TableName,
    broken: bool,
}

/// One view fed by one shape of a table.
struct Route {
    place: usize,
    view: Arc<View>,
    projection: Projection,
}

impl Stateless {
    /// `Misconfigured`, naming view and column, if a view does not fit its table.
    pub fn new(views: &[Arc<View>], tables: &Tables) -> Result<Stateless> {
        let mut mapped = Vec::with_capacity(views.len());
        for view in views {
            let table = table_of(tables, &view.from, &place(view))?;
            compile(view, table)?;
            mapped.push(Mapped { view: view.clone(), table: table.name.clone(), broken: false });
        }
        Ok(Stateless { views: mapped, shapes: Shapes::new(), broken: Vec::new() })
    }

    /// Appends what the change does to the views.
    pub fn map(&mut self, change: Change, out: &mut Vec<ViewChange>) {
        match change {
            Change::Insert { table, row } | Change::Snapshot { table, row } => {
                self.put(&table, None, row, out)
            }
            Change::Update { table, old_key, row } => self.put(&table, old_key, row, out),
            Change::Delete { table, key } => {
                let shape = self.shape(&table);
                if let Some((last, others)) = self.shapes.get(shape).split_last() {
                    for route in others {
                        out.push(ViewChange::Delete { view: route.view.clone(), key: key.clone() });
                    }
                    out.push(ViewChange::Delete { view: last.view.clone(), key });
                }
            }
            Change::Truncate { tables } => {
                for table in tables {
                    let shape = self.shape(&table);
                    for route in self.shapes.get(shape).iter() {
                        out.push(ViewChange::Clear { view: route.view.clone() });
                    }
                }
            }
        }
    }

    /// The views that could not be derived since the last call. Whoever goes on must tell the operator, and must fill
    /// them again once they are mended.
    pub fn take_broken(&mut self) -> Vec<Broken> {
        std::mem::take(&mut self.broken)
    }

    fn put(&mut self, table: &Arc<Table>, old_key: Option<Key>, row: Row, out: &mut Vec<ViewChange>) {
        let shape = self.shape(table);
        let mut undecided = None;
        if let Some((last, others)) = self.shapes.get(shape).split_last() {
            let key = row.key(table);
            for route in others {
                if !route.put(key.clone(), old_key.clone(), row.clone(), out) {
                    undecided = Some(route.place);
                }
            }
            if !last.put(key, old_key, row, out) {
                undecided = Some(last.place);
            }
        }
        if let Some(place) = undecided {
            self.break_undecided(place);
        }
    }

    /// The place of the table's shape, compiled when it is met first.
    fn shape(&mut self, table: &Arc<Table>) -> usize {
        if let Some(known) = self.shapes.find(table) {
            return known;
        }
        if let Some(routes) = self.shapes.alike(table) {
            let routes = routes.clone();
            return self.shapes.add(table.clone(), routes);
        }
        let mut routes = Vec::new();
        for (place, mapped) in self.views.iter_mut().enumerate() {
            if mapped.table != table.name || mapped.broken {
                continue;
            }
            match compile(&mapped.view, table) {
                Ok(projection) => routes.push(Route { place, view: mapped.view.clone(), projection }),
                Err(error) => {
                    mapped.broken = true;
                    self.broken.push(Broken { view: mapped.view.name.clone(), error });
                }
            }
        }
        self.shapes.add(table.clone(), routes.into())
    }

    /// [`super::needs_state`] keeps such views away from here; the source's facts were not what they said.
    fn break_undecided(&mut self, place: usize) {
        let mapped = &mut self.views[place];
        mapped.broken = true;
        self.shapes.clear();
        let error = Error::unsupported(format!(
            "view \"{}\": a change of {} lacks a column that the filter needs",
            mapped.view.name, mapped.table
        ))
        .with_remedy(format!("ALTER TABLE {} REPLICA IDENTITY FULL, then start again", mapped.table));
        self.broken.push(Broken { view: mapped.view.name.clone(), error });
    }
}

fn place(view: &View) -> String {
    format!("view \"{}\"", view.name)
}

fn compile(view: &View, table: &Table) -> Result<Projection> {
    let own = Own::in_table(view, table);
    project(&place(view), table, own.columns.as_deref(), own.filter.as_deref())
}

impl Route {
    /// False if the filter cannot be decided; nothing is emitted then.
    fn put(&self, key: Key, old_key: Option<Key>, row: Row, out: &mut Vec<ViewChange>) -> bool {
        let verdict =
            self.projection.filter.as_ref().map_or(Verdict::Accepted, |filter| filter.accepts(&row));
        match verdict {
            Verdict::Undecided => return false,
            Verdict::Rejected => {
                if let Some(key) = old_key {
                    out.push(ViewChange::Delete { view: self.view.clone(), key });
                }
                out.push(ViewChange::Delete { view: self.view.clone(), key });
            }
            Verdict::Accepted => {
                let document = self.document(row);
                let mut moved_from = None;
                if let Some(old_key) = old_key {
                    if document.is_partial() {
                        moved_from = Some(old_key);
                    } else {
                        out.push(ViewChange::Delete { view: self.view.clone(), key: old_key });
                    }
                }
                out.push(ViewChange::Put { view: self.view.clone(), key, moved_from, document });
            }
        }
        true
    }

    fn document(&self, row: Row) -> Record {
        let names = self.projection.names.clone();
        let mut values = row.0;
        if let Some(cells) = &self.projection.cells {
            let mut chosen = Vec::with_capacity(cells.len());
            for &cell in cells {
                chosen.push(if self.projection.repeats {
                    values[cell].clone()
                } else {
                    std::mem::replace(&mut values[cell], Value::Null)
                });
            }
            values = chosen;
        }
        Record { names, values }
    }
}
