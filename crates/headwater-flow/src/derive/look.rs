//! Looking at the mirror beside the deriver that moves it: documents and rows as of one offset.
//!
//! Owns a second connection, which only reads. What it shows is what the deriver has saved; every answer says as of which offset.

use std::path::Path;
use std::sync::Arc;

use headwater_model::wire::write_value;
use headwater_model::{Error, Key, Offset, Record, Result, Table, TableName, Value, View};

use super::encoding::{key_bytes, read_key};
use super::mirror::{Mirror, Misplaced, Passed};
use super::plan::{Plan, Root, compile_each};
use super::ranking::Miscounted;
use super::render::Renderer;
use super::{Tables, find_table, ranking};

/// A page of documents ends behind the one that passes this.
const PAGE_BYTES: usize = 4 << 20;

pub(crate) struct Look {
    mirror: Mirror,
    plan: Plan,
}

/// What was found, and the offset that it is as of.
pub(crate) struct Looked<T> {
    pub offset: Offset,
    pub found: T,
}

/// The groups of a ranking, after their rows were counted.
pub(crate) struct Recounted {
    pub count: u64,
    pub wrong: Vec<Miscounted>,
}

/// The names of the columns that differ; `None`: the row is not there.
pub(crate) type Differing = Option<Vec<Box<str>>>;

/// In the mirror's own order.
pub(crate) struct Page<T> {
    pub items: Vec<T>,
    /// Where to go on; `None` at the end.
    pub next: Option<Vec<u8>>,
}

impl Look {
    /// `Transient` if the deriver has not made its file fit these views yet.
    pub fn open(path: &Path, views: &[Arc<View>], tables: &Tables) -> Result<Look> {
        let (plan, _) = compile_each(views, tables);
        Ok(Look { mirror: Mirror::look(path, &plan)?, plan })
    }

    fn at<T>(&mut self, read: impl FnOnce(&Mirror, &Plan) -> Result<T>) -> Result<Looked<T>> {
        let plan = &self.plan;
        self.mirror.moment(|mirror| {
            let offset = mirror.cursor()?;
            let offset =
                offset.ok_or_else(|| Error::transient("the mirror has no place in the journal yet"))?;
            Ok(Looked { offset, found: read(mirror, plan)? })
        })
    }

    /// Documents of a view behind `after` (empty: from the start), about `limit` of them.
    pub fn documents(
        &mut self,
        view: &str,
        after: &[u8],
        limit: usize,
    ) -> Result<Looked<Page<(Key, Record)>>> {
        self.at(|mirror, plan| match root(plan, view)? {
            Root::Ranking(number) => {
                let keys = mirror.groups(*number).after(&mirror.conn, after, limit)?;
                let mut items = Vec::with_capacity(keys.len());
                for k in &keys {
                    items.extend(ranking::document(mirror, *number, &plan.rankings[*number], k)?);
                }
                let next = if keys.len() < limit { None } else { keys.last().cloned() };
                Ok(Page { items, next })
            }
            Root::Node(node) => {
                let (renderer, at) = (Renderer { plan, mirror }, &plan.nodes[*node]);
                let key = &plan.stored[at.stored].key;
                let (mut items, mut next, mut seen, mut bytes) = (Vec::new(), None, 0, 0);
                mirror.each_row_after(at.stored, after, |pk, row| {
                    seen += 1;
                    if renderer.shows(at, &row.cells) {
                        let key = Key(key.iter().map(|k| row.cells[*k].clone()).collect());
                        let document = renderer.document(*node, row.cells)?;
                        bytes += document.values.iter().map(super::deriver::size).sum::<usize>();
                        items.push((key, document));
                    }
                    let more = seen < limit && bytes < PAGE_BYTES;
                    if !more {
                        next = Some(pk.to_vec());
                    }
                    Ok(more)
                })?;
                Ok(Page { items, next })
            }
        })
    }

    /// The place of a document with this key, to go on behind it.
    pub fn place_of(&self, view: &str, key: &Key) -> Result<Vec<u8>> {
        Ok(match root(&self.plan, view)? {
            Root::Ranking(_) => ranking::group_bytes(key).unwrap_or_default(),
            Root::Node(_) => key_bytes(&key.0),
        })
    }

    /// The documents of keys, as many as were asked for.
    pub fn documents_of(&mut self, view: &str, keys: &[Key]) -> Result<Looked<Vec<Option<Record>>>> {
        self.at(|mirror, plan| {
            let root = root(plan, view)?;
            keys.iter().map(|key| document_of(mirror, plan, root, key)).collect()
        })
    }

    /// Whether the groups of a ranking are what the mirror's rows make of them; `None` if the view is none. Takes a pass over
    /// the rows, as of one moment.
    pub fn miscounted(&mut self, view: &str, limit: usize) -> Result<Looked<Option<Recounted>>> {
        self.at(|mirror, plan| {
            let Root::Ranking(number) = root(plan, view)? else { return Ok(None) };
            let count = mirror.groups(*number).count(&mirror.conn)?;
            let wrong = ranking::miscounted(mirror, *number, &plan.rankings[*number], limit)?;
            Ok(Some(Recounted { count, wrong }))
        })
    }

    /// What is wrong in the indexes of a table among about `limit` more of its rows or entries, and where to go on; `None` at
    /// the end.
    pub fn misplaced(
        &mut self,
        table: &TableName,
        passed: &Passed,
        limit: usize,
    ) -> Result<Looked<(Misplaced, Option<Passed>)>> {
        self.at(|mirror, plan| {
            let stored = stored(plan, table)?;
            mirror.misplaced(stored, &plan.stored[stored], passed, limit)
        })
    }

    /// Whether the mirror has each row as it is here, as far as it holds it. `table` is the rows' shape.
    pub fn compare(
        &mut self,
        table: &Table,
        rows: &[headwater_model::Row],
    ) -> Result<Looked<Vec<Differing>>> {
        self.at(|mirror, plan| {
            let stored = stored(plan, &table.name)?;
            let columns = &plan.stored[stored].columns;
            let cells: Vec<Option<usize>> = columns.iter().map(|name| table.column(name)).collect();
            let mut compared = Vec::with_capacity(rows.len());
            for row in rows {
                let Some(found) = mirror.get(stored, &key_bytes(&row.key(table).0))? else {
                    compared.push(None);
                    continue;
                };
                let mut differing = Vec::new();
                for ((name, cell), held) in columns.iter().zip(&cells).zip(&found.cells) {
                    let Some(given) = cell.map(|cell| &row.0[cell]) else { continue };
                    if !held.is_unchanged() && !same(held, given) {
                        differing.push(name.clone());
                    }
                }
                compared.push(Some(differing));
            }
            Ok(compared)
        })
    }

    /// The keys that the mirror has of a table behind `after` (empty: from the start).
    pub fn keys(&mut self, table: &TableName, after: &[u8], limit: usize) -> Result<Looked<Page<Key>>> {
        self.at(|mirror, plan| {
            let (mut items, mut next) = (Vec::new(), None);
            mirror.each_row_after(stored(plan, table)?, after, |pk, _| {
                items.push(read_key(pk)?);
                if items.len() == limit {
                    next = Some(pk.to_vec());
                }
                Ok(items.len() < limit)
            })?;
            Ok(Page { items, next })
        })
    }

    /// Which of the keys the mirror has.
    pub fn has(&mut self, table: &TableName, keys: &[Key]) -> Result<Looked<Vec<bool>>> {
        self.at(|mirror, plan| {
            let stored = stored(plan, table)?;
            keys.iter().map(|key| Ok(mirror.get(stored, &key_bytes(&key.0))?.is_some())).collect()
        })
    }
}

fn document_of(mirror: &Mirror, plan: &Plan, root: &Root, key: &Key) -> Result<Option<Record>> {
    match root {
        Root::Ranking(number) => {
            let Some(k) = ranking::group_bytes(key) else { return Ok(None) };
            let found = ranking::document(mirror, *number, &plan.rankings[*number], &k)?;
            // Of numbers that are equal and print differently, the group has one: the other one is no key.
            Ok(found.filter(|(own, _)| own.to_text() == key.to_text()).map(|(_, document)| document))
        }
        Root::Node(node) => {
            let (renderer, at) = (Renderer { plan, mirror }, &plan.nodes[*node]);
            match mirror.get(at.stored, &key_bytes(&key.0))? {
                Some(row) if renderer.shows(at, &row.cells) => renderer.document(*node, row.cells).map(Some),
                _ => Ok(None),
            }
        }
    }
}

fn same(a: &Value, b: &Value) -> bool {
    if a == b {
        return true;
    }
    let bytes = |value: &Value| {
        let mut out = Vec::new();
        write_value(value, &mut out);
        out
    };
    bytes(a) == bytes(b)
}

fn root<'p>(plan: &'p Plan, view: &str) -> Result<&'p Root> {
    let place = plan.views.iter().position(|known| *known.name == *view);
    place
        .and_then(|place| plan.roots[place].as_ref())
        .ok_or_else(|| Error::unsupported(format!("view \"{view}\" is not derived from the mirror")))
}

fn stored(plan: &Plan, table: &TableName) -> Result<usize> {
    find_table(&plan.tables, table)
        .and_then(|table| plan.stored.iter().position(|stored| stored.name == table.name))
        .ok_or_else(|| Error::unsupported(format!("table {table} is not mirrored")))
}
