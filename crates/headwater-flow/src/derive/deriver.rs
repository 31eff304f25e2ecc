//! Documents made from rows of several tables, or from groups of rows: the mirror moved forward transaction by transaction,
//! and every document a transaction affects emitted once, whole.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use headwater_model::{
    Change, Error, ErrorKind, Key, Offset, Result, Row, Table, TableName, Value, ViewChange,
};

use super::climb::{Climber, may_accept};
use super::dirty::Dirty;
use super::encoding::{key_bytes, read_key};
use super::mirror::{Mirror, Misplaced, Stored};
use super::plan::{Node, Plan, Root, compile_each};
use super::projection::Shapes;
use super::ranking::{self, Move, Touched};
use super::render::Renderer;
use super::{Broken, find_table};

/// Documents are handed out in pieces of at most this many, or of about [`PIECE_BYTES`].
const PIECE_DOCUMENTS: usize = 1024;
const PIECE_BYTES: usize = 1 << 20;

/// Derives views from local state. One thread owns it.
///
/// Use: `begin(offset)`, `change(…)` for each change, `commit(sink)`; now and then `save`, after what the sinks were
/// given is safe. A crash loses what was not saved: the same transactions come again and give the same documents at
/// the same offsets. After an error the deriver is of no use; drop it and open it again, which goes back to the last
/// `save`.
pub struct Deriver {
    mirror: Mirror,
    plan: Plan,
    dirty: Dirty,
    shapes: Shapes<Option<Arc<Fit>>>,
    /// Views emptied by the transaction in hand.
    cleared: Vec<bool>,
    /// Of the newest transaction derived, saved or not.
    cursor: Offset,
    saved: Offset,
    durable: Offset,
    in_hand: Option<Offset>,
    emit_unchanged: bool,
    /// The change in hand emits its groups even if nothing differs.
    groups_again: bool,
    broken: Vec<Broken>,
}

/// How rows of one shape of a table become stored rows.
struct Fit {
    stored: usize,
    /// For each stored cell, the row's cell; `None` if this shape lacks it.
    take: Vec<Option<usize>>,
}

/// A change as the mirror sees it: the row that was there, the row that is there now.
struct Step {
    stored: usize,
    old: Option<(Vec<u8>, Stored)>,
    new: Option<(Vec<u8>, Vec<Value>)>,
    /// Emit the row's own document even if nothing differs.
    again: bool,
}

impl Deriver {
    /// Opens or makes the state at `path` and fits it to the plan. [`Deriver::incomplete`] then says what to fill.
    pub fn open(path: &Path, plan: Plan) -> Result<Deriver> {
        Deriver::with(Mirror::open(path, &plan, false)?, plan)
    }

    /// Like [`Deriver::open`], but passes over all that happens to tables that are new to the state, until
    /// [`Deriver::let_in`]: what comes by first may be from a time before they were followed.
    pub fn open_holding(path: &Path, plan: Plan) -> Result<Deriver> {
        Deriver::with(Mirror::open(path, &plan, true)?, plan)
    }

    /// Forgets what the state at `path` has of every table but these: nobody will tell it what happens to them.
    pub fn keep_only(path: &Path, tables: &[TableName]) -> Result<()> {
        Mirror::keep_only(path, tables)
    }

    fn with(mirror: Mirror, plan: Plan) -> Result<Deriver> {
        let cursor = mirror.cursor()?.unwrap_or(Offset::ZERO);
        let dirty = Dirty::new(&mirror.conn)?;
        Ok(Deriver {
            cleared: vec![false; plan.views.len()],
            mirror,
            plan,
            dirty,
            shapes: Shapes::new(),
            cursor,
            saved: cursor,
            durable: cursor,
            in_hand: None,
            emit_unchanged: false,
            groups_again: false,
            broken: Vec::new(),
        })
    }

    /// Where a kept mirror goes on; `None` for one that has never been given a place.
    pub fn began(&self) -> Option<Offset> {
        self.mirror.cursor().ok().flatten()
    }

    /// Gives a new mirror its place: it goes on behind `offset`.
    pub fn begin_after(&mut self, offset: Offset) -> Result<()> {
        self.mirror.begin()?;
        self.mirror.set_cursor(offset)?;
        self.mirror.commit_durably()?;
        (self.cursor, self.saved, self.durable) = (offset, offset, offset);
        Ok(())
    }

    /// Of the newest transaction derived. After opening: of the last one saved.
    pub fn cursor(&self) -> Offset {
        self.cursor
    }

    /// Up to here nothing is lost when the process dies.
    pub fn saved(&self) -> Offset {
        self.saved
    }

    /// Up to here nothing is lost when the machine dies: the journal before it is no longer needed.
    pub fn durable(&self) -> Offset {
        self.durable
    }

    /// How many touched documents of a transaction are remembered in memory before they go to disk.
    pub fn set_touched_in_memory_max(&mut self, documents: usize) {
        self.dirty.set_in_memory_max(documents.max(1));
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The views that could not be derived since the last call. Whoever goes on must tell the operator, and must fill
    /// them again once they are mended.
    pub fn take_broken(&mut self) -> Vec<Broken> {
        std::mem::take(&mut self.broken)
    }

    // ---- filling

    /// Tables that must be read (again) in full as `Snapshot` changes, because they are new to the mirror or because the
    /// views want other columns of them than it has; deepest first. May grow when a table's shape changes.
    pub fn incomplete(&self) -> Vec<TableName> {
        self.plan.tables().into_iter().filter(|name| !self.is_complete(name)).collect()
    }

    pub fn is_complete(&self, table: &TableName) -> bool {
        self.stored(table).is_some_and(|stored| self.mirror.is_complete(stored))
    }

    /// The table has been read in full. Takes effect with the next `save`.
    pub fn mark_complete(&mut self, table: &TableName) -> Result<()> {
        let stored = self.known(table)?;
        self.mirror.begin()?;
        self.mirror.set_complete(stored, true)
    }

    /// The rows of these tables, where the mirror has them, are to be read in full once more. Durable.
    pub fn read_again(&mut self, tables: &BTreeSet<TableName>) -> Result<()> {
        self.mirror.begin()?;
        let known: Vec<usize> = tables.iter().filter_map(|table| self.stored(table)).collect();
        for stored in known {
            self.mirror.set_complete(stored, false)?;
        }
        self.mirror.commit_durably()
    }

    /// Tables that are held back, since this opening or an earlier one. All of them are incomplete.
    pub fn held(&self) -> Vec<TableName> {
        let is_held = |name: &TableName| self.stored(name).is_some_and(|stored| self.mirror.is_held(stored));
        self.plan.tables().into_iter().filter(is_held).collect()
    }

    /// From the next transaction on, tables that were held back are not any more.
    pub fn let_in(&mut self) -> Result<()> {
        self.mirror.begin()?;
        self.mirror.let_in()
    }

    /// Forgets a table's rows without emitting anything, because they are about to be read again from nothing.
    pub fn reset(&mut self, table: &TableName) -> Result<()> {
        let stored = self.known(table)?;
        self.mirror.begin()?;
        self.mirror.truncate(stored)?;
        self.mirror.set_complete(stored, false)
    }

    /// Emits every document of a view with the transaction in hand: for a store that lost them, without asking the
    /// source. Documents that the store has and the mirror has not are not deleted: clear the store's view first.
    pub fn emit_all(&mut self, view: &str) -> Result<()> {
        let place = self.plan.views.iter().position(|v| &*v.name == view);
        let root = place.and_then(|place| self.plan.roots[place]);
        let (mirror, dirty) = (&self.mirror, &mut self.dirty);
        match (place, root) {
            (Some(place), Some(Root::Node(root))) => {
                mirror.each_row(self.plan.nodes[root].stored, |pk, _| {
                    dirty.add(&mirror.conn, place, pk, true)?;
                    Ok(true)
                })
            }
            (Some(place), Some(Root::Ranking(ranking))) => {
                mirror.groups(ranking).each_key(&mirror.conn, |key| dirty.add(&mirror.conn, place, key, true))
            }
            _ => Err(Error::bug(format!("view \"{view}\" is not derived here"))),
        }
    }

    /// Counts groups of a ranking again from the mirror's rows, and emits them with the transaction in hand. `ks`: what they
    /// are found by, as [`super::Look::miscounted`] told.
    pub fn count_again(&mut self, view: &str, ks: &BTreeSet<Vec<u8>>) -> Result<()> {
        let place = self.plan.views.iter().position(|v| &*v.name == view);
        match place.and_then(|place| self.plan.roots[place]) {
            Some(Root::Ranking(number)) => {
                ranking::count_again(&self.mirror, &mut self.dirty, number, &self.plan.rankings[number], ks)
            }
            // It broke meanwhile: nothing is shown of it.
            _ => Ok(()),
        }
    }

    /// Writes entries in the indexes of a table again, as [`super::Look::misplaced`] told that they are wrong. Only within a
    /// transaction.
    pub(crate) fn place_again(&mut self, table: &TableName, misplaced: &Misplaced) -> Result<()> {
        match self.stored(table) {
            Some(stored) => self.mirror.place_again(stored, misplaced),
            // No view needs it any more.
            None => Ok(()),
        }
    }

    // ---- transactions

    /// Whether a change emits its row's own document, and its groups, even if nothing differs. While a store is being filled it must: what
    /// was read of a row leaves the row to the stream if the stream touched it meanwhile.
    pub fn emit_unchanged(&mut self, emit: bool) {
        self.emit_unchanged = emit;
    }

    /// Starts the transaction at `offset`, which must be after the cursor.
    pub fn begin(&mut self, offset: Offset) -> Result<()> {
        if self.in_hand.is_some() || offset <= self.cursor {
            return Err(Error::bug(format!("offset {offset} does not follow {}", self.cursor)));
        }
        self.mirror.begin()?;
        self.in_hand = Some(offset);
        Ok(())
    }

    /// Takes one change of the transaction in hand into the mirror.
    pub fn change(&mut self, change: Change) -> Result<()> {
        self.groups_again = self.emit_unchanged || matches!(change, Change::Snapshot { .. });
        match change {
            Change::Insert { table, row } | Change::Snapshot { table, row } => {
                self.upsert(&table, None, row, true)
            }
            Change::Update { table, old_key, row } => self.upsert(&table, old_key, row, self.emit_unchanged),
            Change::Delete { table, key } => self.delete(&table, &key),
            Change::Truncate { tables } => tables.iter().try_for_each(|table| self.truncate(table)),
        }
    }

    /// Ends the transaction in hand: hands out what it did to the documents, in pieces, clears first. The mirror is not
    /// saved yet.
    pub fn commit(&mut self, sink: &mut dyn FnMut(Vec<ViewChange>) -> Result<()>) -> Result<()> {
        let Some(offset) = self.in_hand else { return Err(Error::bug("no transaction is in hand")) };
        let mut piece = Vec::new();
        for (place, cleared) in self.cleared.iter().enumerate() {
            if *cleared {
                piece.push(ViewChange::Clear { view: self.plan.views[place].clone() });
            }
        }
        let (plan, mirror, cleared) = (&self.plan, &self.mirror, &self.cleared);
        let renderer = Renderer { plan, mirror };
        let mut bytes = 0;
        self.dirty.drain(&mirror.conn, |place, pk, own| {
            let change = match plan.roots[place] {
                None => return Ok(()),
                Some(Root::Node(root)) => view_change(&renderer, place, root, pk, own, cleared[place])?,
                Some(Root::Ranking(ranking)) => {
                    let touched = Touched { key: pk, again: own, cleared: cleared[place] };
                    let (ranked, view) = (&plan.rankings[ranking], &plan.views[place]);
                    ranking::view_change(mirror, ranking, ranked, view, touched)?
                }
            };
            let Some(change) = change else { return Ok(()) };
            if let ViewChange::Put { document, .. } = &change {
                bytes += document.values.iter().map(size).sum::<usize>();
            }
            piece.push(change);
            if piece.len() >= PIECE_DOCUMENTS || bytes >= PIECE_BYTES {
                bytes = 0;
                sink(std::mem::take(&mut piece))?;
            }
            Ok(())
        })?;
        if !piece.is_empty() {
            sink(piece)?;
        }
        self.cleared.fill(false);
        self.cursor = offset;
        self.in_hand = None;
        Ok(())
    }

    /// Keeps what was derived, together with the cursor, across a crash of the process. Only between transactions, and
    /// only when what the sinks were given is kept as well.
    pub fn save(&mut self) -> Result<()> {
        self.write_cursor()?;
        self.mirror.commit()?;
        self.saved = self.cursor;
        Ok(())
    }

    /// [`Deriver::save`], and safe from a power loss.
    pub fn persist(&mut self) -> Result<()> {
        self.write_cursor()?;
        self.mirror.commit_durably()?;
        (self.saved, self.durable) = (self.cursor, self.cursor);
        Ok(())
    }

    fn write_cursor(&mut self) -> Result<()> {
        if self.in_hand.is_some() {
            return Err(Error::bug("a transaction is in hand"));
        }
        if self.cursor != self.saved {
            self.mirror.begin()?;
            self.mirror.set_cursor(self.cursor)?;
        }
        Ok(())
    }

    // ---- changes

    fn upsert(&mut self, table: &Arc<Table>, old_key: Option<Key>, row: Row, again: bool) -> Result<()> {
        let Some(fit) = self.wanted(table)? else { return Ok(()) };
        let stored = fit.stored;
        let mut cells = fit.cells(row);
        let pk = key_bytes(self.plan.stored[stored].key.iter().map(|k| &cells[*k]));
        let here = self.mirror.get(stored, &pk)?;
        let old_pk = old_key.map(|key| key_bytes(&key.0)).filter(|old| *old != pk);
        let Some(old_pk) = old_pk else {
            fill(&mut cells, here.as_ref());
            let old = here.map(|row| (pk.clone(), row));
            return self.apply(Step { stored, old, new: Some((pk, cells)), again });
        };
        if let Some(row) = here {
            // Only after a gap: the source's keys are unique, so a row that is in the way is one that has gone.
            self.apply(Step { stored, old: Some((pk.clone(), row)), new: None, again: false })?;
        }
        let moved = self.mirror.get(stored, &old_pk)?;
        fill(&mut cells, moved.as_ref());
        match moved {
            Some(row) => self.apply(Step { stored, old: Some((old_pk, row)), new: Some((pk, cells)), again }),
            None => {
                // The mirror never had the row, but the store may: its document goes as well.
                self.mark_own(stored, &old_pk)?;
                self.apply(Step { stored, old: None, new: Some((pk, cells)), again })
            }
        }
    }

    fn delete(&mut self, table: &Arc<Table>, key: &Key) -> Result<()> {
        let Some(fit) = self.wanted(table)? else { return Ok(()) };
        let pk = key_bytes(&key.0);
        match self.mirror.get(fit.stored, &pk)? {
            Some(row) => {
                self.apply(Step { stored: fit.stored, old: Some((pk, row)), new: None, again: false })
            }
            None => self.mark_own(fit.stored, &pk),
        }
    }

    fn truncate(&mut self, table: &Arc<Table>) -> Result<()> {
        let Some(fit) = self.wanted(table)? else { return Ok(()) };
        let nodes = &self.plan.stored[fit.stored].nodes;
        let inner: Vec<usize> =
            nodes.iter().copied().filter(|n| self.plan.nodes[*n].parent.is_some()).collect();
        if !inner.is_empty() {
            let (plan, mirror) = (&self.plan, &self.mirror);
            let mut climber = Climber { plan, mirror, dirty: &mut self.dirty };
            mirror.each_row(fit.stored, |pk, row| {
                for &node in &inner {
                    climber.climb(node, pk, &row.cells, false)?;
                }
                Ok(true)
            })?;
        }
        let roots = nodes.iter().map(|node| &self.plan.nodes[*node]).filter(|at| at.parent.is_none());
        let rankings = self.plan.stored[fit.stored].rankings.iter();
        let views = roots.map(|at| at.view).chain(rankings.map(|ranking| self.plan.rankings[*ranking].view));
        for view in views {
            self.cleared[view] = true;
            self.dirty.forget_view(&self.mirror.conn, view)?;
        }
        self.mirror.truncate(fit.stored)
    }

    /// Marks the documents of a root row that the mirror does not have.
    fn mark_own(&mut self, stored: usize, pk: &[u8]) -> Result<()> {
        for &node in &self.plan.stored[stored].nodes {
            let at = &self.plan.nodes[node];
            if at.parent.is_none() {
                self.dirty.add(&self.mirror.conn, at.view, pk, true)?;
            }
        }
        Ok(())
    }

    /// Moves the mirror by one row and marks the documents that showed the old one or show the new one.
    fn apply(&mut self, step: Step) -> Result<()> {
        let (plan, mirror) = (&self.plan, &self.mirror);
        let row = Move {
            old: step.old.as_ref().map(|(_, row)| &*row.cells),
            new: step.new.as_ref().map(|(_, cells)| &**cells),
            again: self.groups_again,
        };
        for &ranking in &plan.stored[step.stored].rankings {
            ranking::step(mirror, &mut self.dirty, ranking, &plan.rankings[ranking], &row)?;
        }
        let mut climber = Climber { plan, mirror, dirty: &mut self.dirty };
        let nodes = &plan.stored[step.stored].nodes;
        // Before: the documents that showed the row as it was.
        let mut after = Vec::with_capacity(nodes.len());
        for &node in nodes {
            let at = &plan.nodes[node];
            let effect = effect(at, &step);
            if at.parent.is_none() {
                mark_root(&mut climber, at, &step, &effect)?;
                continue;
            }
            if let (true, Some((pk, row))) = (effect.moved, &step.old) {
                climber.climb(node, pk, &row.cells, false)?;
            }
            if effect.changed {
                after.push(node);
            }
        }
        match (&step.old, &step.new) {
            (Some((old_pk, old)), Some((pk, cells))) if old_pk == pk => {
                if !old.current || old.cells != *cells {
                    mirror.put(step.stored, pk, Some(&old.cells), cells)?;
                }
            }
            (old, new) => {
                if let Some((pk, row)) = old {
                    mirror.delete(step.stored, pk, &row.cells)?;
                }
                if let Some((pk, cells)) = new {
                    mirror.put(step.stored, pk, None, cells)?;
                }
            }
        }
        if let Some((pk, cells)) = &step.new {
            for node in after {
                climber.climb(node, pk, cells, false)?;
            }
        }
        Ok(())
    }

    // ---- shapes

    /// How the table's rows are stored, unless nothing of it is wanted, or not yet.
    fn wanted(&mut self, table: &Arc<Table>) -> Result<Option<Arc<Fit>>> {
        let fit = self.fit(table)?;
        Ok(fit.filter(|fit| !self.mirror.is_held(fit.stored)))
    }

    fn fit(&mut self, table: &Arc<Table>) -> Result<Option<Arc<Fit>>> {
        if let Some(place) = self.shapes.find(table) {
            return Ok(self.shapes.get(place).clone());
        }
        if let Some(fit) = self.shapes.alike(table) {
            let fit = fit.clone();
            self.shapes.add(table.clone(), fit.clone());
            return Ok(fit);
        }
        self.adopt(table)?;
        let fit = match self.stored(&table.name) {
            None => None,
            Some(stored) => {
                let entry = &self.plan.stored[stored];
                let take: Vec<Option<usize>> = entry.columns.iter().map(|name| table.column(name)).collect();
                if entry.key.iter().any(|k| take[*k].is_none()) {
                    return Err(Error::out_of_step(format!(
                        "a row of {} lacks a column of its key",
                        table.name
                    )));
                }
                Some(Arc::new(Fit { stored, take }))
            }
        };
        self.shapes.add(table.clone(), fit.clone());
        Ok(fit)
    }

    /// Takes a table's new shape over: views that show every column show the new ones, views that name a column that
    /// is gone break.
    fn adopt(&mut self, table: &Arc<Table>) -> Result<()> {
        let Some(known) = find_table(&self.plan.tables, &table.name) else { return Ok(()) };
        let same = known.columns == table.columns && known.key == table.key;
        let older = known.id == table.id && table.version < known.version;
        if same || older || self.stored(&table.name).is_none() {
            return Ok(());
        }
        let mut tables = self.plan.tables.clone();
        tables.insert(table.name.clone(), table.clone());
        let was: Vec<bool> = self.plan.roots.iter().map(Option::is_some).collect();
        let (plan, broken) = compile_each(&self.plan.views, &tables);
        self.mirror.begin()?;
        self.mirror.fit(&plan)?;
        let newly_broken = |b: &Broken| plan.views.iter().zip(&was).any(|(v, was)| *was && v.name == b.view);
        self.broken.extend(broken.into_iter().filter(newly_broken));
        self.plan = plan;
        self.shapes.clear();
        self.dirty.forget_visits();
        Ok(())
    }

    fn stored(&self, table: &TableName) -> Option<usize> {
        let table = find_table(&self.plan.tables, table)?;
        self.plan.stored.iter().position(|stored| stored.name == table.name)
    }

    fn known(&self, table: &TableName) -> Result<usize> {
        self.stored(table).ok_or_else(|| Error::new(ErrorKind::Bug, format!("no view needs table {table}")))
    }
}

impl Fit {
    fn cells(&self, row: Row) -> Vec<Value> {
        let mut values = row.0;
        let take = |place: &Option<usize>| match place.and_then(|place| values.get_mut(place)) {
            Some(value) => std::mem::replace(value, Value::Null),
            None => Value::Unchanged,
        };
        self.take.iter().map(take).collect()
    }
}

/// Cells that the change did not bring are as they were.
fn fill(cells: &mut [Value], base: Option<&Stored>) {
    let Some(base) = base else { return };
    for (cell, was) in cells.iter_mut().zip(&base.cells) {
        if cell.is_unchanged() {
            *cell = was.clone();
        }
    }
}

/// What a step does at one node.
struct Effect {
    /// Some cell that the documents depend on differs.
    changed: bool,
    /// The row hangs elsewhere, or is shown where it was not, or the other way round.
    moved: bool,
}

fn effect(at: &Node, step: &Step) -> Effect {
    match (&step.old, &step.new) {
        (Some((old_pk, old)), Some((pk, new))) if old_pk == pk && old.current => {
            let differs = |columns: &[usize]| columns.iter().any(|c| old.cells[*c] != new[*c]);
            Effect { changed: differs(&at.relevant), moved: differs(&at.linking) }
        }
        _ => Effect { changed: true, moved: true },
    }
}

fn mark_root(climber: &mut Climber<'_>, at: &Node, step: &Step, effect: &Effect) -> Result<()> {
    if !effect.changed && !step.again {
        return Ok(());
    }
    let conn = &climber.mirror.conn;
    if let (Some((old_pk, old)), Some((pk, new)), false) = (&step.old, &step.new, step.again)
        && old_pk == pk
        && !may_accept(at, &old.cells)
        && !may_accept(at, new)
    {
        return Ok(());
    }
    let (old, new) = (step.old.as_ref().map(|(pk, _)| pk), step.new.as_ref().map(|(pk, _)| pk));
    if let Some(pk) = old {
        climber.dirty.add(conn, at.view, pk, true)?;
    }
    match new {
        Some(pk) if old != Some(pk) => climber.dirty.add(conn, at.view, pk, true),
        _ => Ok(()),
    }
}

fn view_change(
    renderer: &Renderer<'_>,
    place: usize,
    root: usize,
    pk: &[u8],
    own: bool,
    cleared: bool,
) -> Result<Option<ViewChange>> {
    let (view, at) = (&renderer.plan.views[place], &renderer.plan.nodes[root]);
    if let Some(row) = renderer.mirror.get(at.stored, pk)?
        && renderer.shows(at, &row.cells)
    {
        let key = renderer.plan.stored[at.stored].key.iter().map(|k| row.cells[*k].clone()).collect();
        let document = renderer.document(root, row.cells)?;
        return Ok(Some(ViewChange::Put { view: view.clone(), key: Key(key), moved_from: None, document }));
    }
    // Without a row of its own that changed, nothing was ever shown under this key; after a clear nothing is.
    if !own || cleared {
        return Ok(None);
    }
    Ok(Some(ViewChange::Delete { view: view.clone(), key: read_key(pk)? }))
}

/// About how many bytes a value takes.
pub(super) fn size(value: &Value) -> usize {
    match value {
        Value::Text(text) | Value::Decimal(text) | Value::Json(text) => 16 + text.len(),
        Value::Bytes(bytes) => 16 + bytes.len(),
        Value::List(items) => 16 + items.iter().map(size).sum::<usize>(),
        Value::Record(record) => 16 + record.values.iter().map(size).sum::<usize>(),
        _ => 16,
    }
}
