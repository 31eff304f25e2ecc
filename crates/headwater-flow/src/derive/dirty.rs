//! The documents that the transaction in hand has touched: each once, in bounded memory.

use std::collections::{BTreeMap, HashSet};

use headwater_model::Result;
use rusqlite::{Connection, params};

use super::mirror::sql_error;

/// Past this many documents in memory they go to a temporary table.
const IN_MEMORY_MAX: usize = 50_000;

/// A document by its view's number and its root row's key.
pub(super) struct Dirty {
    /// With whether the root row itself changed, so that its absence means a delete.
    documents: BTreeMap<(u32, Vec<u8>), bool>,
    spilled: bool,
    in_memory_max: usize,
    /// Places whose documents are known to be in already.
    visited: HashSet<(u32, Vec<u8>)>,
}

macro_rules! sql {
    ($expr:expr) => {
        $expr.map_err(|error| sql_error("keep track of touched documents", error))
    };
}

impl Dirty {
    pub fn new(conn: &Connection) -> Result<Dirty> {
        sql!(conn.execute_batch(
            "CREATE TEMP TABLE IF NOT EXISTS dirty (
                 view INTEGER, pk BLOB, own INTEGER, PRIMARY KEY (view, pk)) WITHOUT ROWID;"
        ))?;
        Ok(Dirty {
            documents: BTreeMap::new(),
            spilled: false,
            in_memory_max: IN_MEMORY_MAX,
            visited: HashSet::new(),
        })
    }

    pub fn set_in_memory_max(&mut self, max: usize) {
        self.in_memory_max = max;
    }

    /// `own`: the root row itself changed.
    pub fn add(&mut self, conn: &Connection, view: usize, pk: &[u8], own: bool) -> Result<()> {
        *self.documents.entry((view as u32, pk.to_vec())).or_default() |= own;
        if self.documents.len() >= self.in_memory_max { self.spill(conn) } else { Ok(()) }
    }

    /// Whether this place of the tree is met for the first time in this transaction. Seen once is enough: when a link
    /// above it changes later, that change itself leads to the documents on both of its sides.
    pub fn first_visit(&mut self, node: usize, pk: &[u8]) -> bool {
        self.visited.len() >= self.in_memory_max || self.visited.insert((node as u32, pk.to_vec()))
    }

    fn spill(&mut self, conn: &Connection) -> Result<()> {
        self.spilled = true;
        let mut insert = sql!(conn.prepare_cached(
            "INSERT INTO dirty VALUES (?1, ?2, ?3) ON CONFLICT (view, pk) DO UPDATE SET own = own | excluded.own"
        ))?;
        for ((view, pk), own) in std::mem::take(&mut self.documents) {
            sql!(insert.execute(params![view, pk, own]))?;
        }
        Ok(())
    }

    /// The view was emptied: what was touched before is gone.
    pub fn forget_view(&mut self, conn: &Connection, view: usize) -> Result<()> {
        self.documents.retain(|(v, _), _| *v != view as u32);
        // A document may have to be found again after this.
        self.visited.clear();
        if self.spilled {
            sql!(conn.execute("DELETE FROM dirty WHERE view = ?1", [view as u32]))?;
        }
        Ok(())
    }

    /// Forgets where it has been, because the tree changed.
    pub fn forget_visits(&mut self) {
        self.visited.clear();
    }

    /// Calls `each(view, key, own)` for every document, then forgets them all.
    pub fn drain(
        &mut self,
        conn: &Connection,
        mut each: impl FnMut(usize, &[u8], bool) -> Result<()>,
    ) -> Result<()> {
        self.visited.clear();
        if !self.spilled {
            for ((view, pk), own) in std::mem::take(&mut self.documents) {
                each(view as usize, &pk, own)?;
            }
            return Ok(());
        }
        self.spill(conn)?;
        let mut select = sql!(conn.prepare_cached("SELECT view, pk, own FROM dirty ORDER BY view, pk"))?;
        let mut rows = sql!(select.query([]))?;
        while let Some(row) = sql!(rows.next())? {
            let view: u32 = sql!(row.get(0))?;
            let own: bool = sql!(row.get(2))?;
            let pk: Vec<u8> = sql!(row.get(1))?;
            each(view as usize, &pk, own)?;
        }
        drop(rows);
        sql!(conn.execute("DELETE FROM dirty", []))?;
        self.spilled = false;
        Ok(())
    }
}
