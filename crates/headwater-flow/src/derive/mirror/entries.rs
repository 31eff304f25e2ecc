//! The mirror's indexes against its rows: entries that a row lacks, and entries that no row has.
//!
//! Rows and indexes move in one transaction, so either is damage. Lists and the rows that a change reaches are found by the
//! indexes: what one lacks is missing in the mirror's documents and in every store alike, and no comparison of stores tells.

use std::collections::{BTreeMap, BTreeSet};

use headwater_model::{Key, Result, Value};
use rusqlite::params;

use super::super::encoding::{join_bytes, read_key};
use super::super::plan::StoredTable;
use super::{Mirror, MirrorIndex, MirrorTable, Stored, blob, sql_error};

/// How far a pass over a table's indexes is: first its rows, each of which has its entries, then the entries of each index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    Rows { after: Vec<u8> },
    Entries { index: usize, k: Vec<u8>, sort: Vec<u8> },
}

/// What is wrong in the indexes of one table.
#[derive(Debug, Default)]
pub(crate) struct Misplaced {
    /// Primary keys of rows that lack an entry, each with the index.
    lacks: Vec<(Vec<u8>, i64)>,
    strays: Vec<Stray>,
    /// How to name the indexes.
    names: BTreeMap<i64, String>,
}

/// An entry that is none of the row which it names.
#[derive(Debug)]
struct Stray {
    index: i64,
    k: Vec<u8>,
    sort: Vec<u8>,
    pk: Vec<u8>,
}

/// A row that is misplaced: by which index, and whether it lacks an entry there or has one too many.
pub(crate) struct Place<'a> {
    pub key: Key,
    pub index: &'a str,
    pub lacks: bool,
}

impl Passed {
    pub const NOTHING: Passed = Passed::Rows { after: Vec::new() };
}

impl Misplaced {
    pub fn len(&self) -> usize {
        self.lacks.len() + self.strays.len()
    }

    pub fn add(&mut self, more: Misplaced) {
        self.lacks.extend(more.lacks);
        self.strays.extend(more.strays);
        self.names.extend(more.names);
    }

    /// All of them, those of one row in one place.
    pub fn rows(&self) -> BTreeMap<&[u8], Vec<Place<'_>>> {
        let lacks = self.lacks.iter().map(|(pk, index)| (pk, index, true));
        let strays = self.strays.iter().map(|stray| (&stray.pk, &stray.index, false));
        let mut rows: BTreeMap<&[u8], Vec<Place<'_>>> = BTreeMap::new();
        for (pk, index, lacks) in lacks.chain(strays) {
            // An entry may name what is no key of any row.
            let key = read_key(pk).unwrap_or_else(|_| Key(vec![Value::Bytes(pk.clone().into())]));
            let index = self.names.get(index).map_or("", |name| &**name);
            rows.entry(pk).or_default().push(Place { key, index, lacks });
        }
        rows
    }
}

impl Mirror {
    /// Looks at about `limit` more rows or entries; `None` with the last of them.
    pub fn misplaced(
        &self,
        table: usize,
        stored: &StoredTable,
        passed: &Passed,
        limit: usize,
    ) -> Result<(Misplaced, Option<Passed>)> {
        let entry = &self.tables[table];
        let name = |index: &MirrorIndex| {
            let columns: Vec<&str> = index.index.columns.iter().map(|c| &*stored.columns[*c]).collect();
            (index.id, format!("(index by {})", columns.join(", ")))
        };
        let mut found = Misplaced { names: entry.indexes.iter().map(name).collect(), ..Misplaced::default() };
        let first_of = |index: usize| {
            let first = Passed::Entries { index, k: Vec::new(), sort: Vec::new() };
            entry.indexes.get(index).map(|_| first)
        };
        let next = match passed {
            Passed::Rows { after } => match self.rows_that_lack(table, after, limit, &mut found)? {
                Some(after) => Some(Passed::Rows { after }),
                None => first_of(0),
            },
            Passed::Entries { index, k, sort } => match entry.indexes.get(*index) {
                None => None,
                Some(of) => match self.strays(table, of, (k, sort), limit, &mut found)? {
                    Some((k, sort)) => Some(Passed::Entries { index: *index, k, sort }),
                    None => first_of(index + 1),
                },
            },
        };
        Ok((found, next))
    }

    fn rows_that_lack(
        &self,
        table: usize,
        after: &[u8],
        limit: usize,
        found: &mut Misplaced,
    ) -> Result<Option<Vec<u8>>> {
        let entry = &self.tables[table];
        let (mut seen, mut next) = (0, None);
        self.each_row_after(table, after, |pk, row| {
            for index in &entry.indexes {
                if !self.has_entry(entry, index, pk, &row)? {
                    found.lacks.push((pk.to_vec(), index.id));
                }
            }
            seen += 1;
            if seen == limit {
                next = Some(pk.to_vec());
            }
            Ok(seen < limit)
        })?;
        Ok(next)
    }

    fn has_entry(&self, entry: &MirrorTable, index: &MirrorIndex, pk: &[u8], row: &Stored) -> Result<bool> {
        let Some((k, sort)) = index.place(&entry.key, &row.cells) else { return Ok(true) };
        let mut statement = sql!("read an index of the mirror", self.conn.prepare_cached(&index.at))?;
        let mut rows = sql!("read an index of the mirror", statement.query(params![k, sort]))?;
        let Some(at) = sql!("read an index of the mirror", rows.next())? else { return Ok(false) };
        if blob(at, 0)? != pk {
            return Ok(false);
        }
        // The row may have been written there with an older layout: what counts is what it reads as.
        let same = |held: &[u8]| -> Result<bool> {
            Ok(entry.write(&entry.read(held)?.cells) == entry.write(&row.cells))
        };
        if index.index.covering { same(blob(at, 1)?) } else { Ok(true) }
    }

    fn strays(
        &self,
        table: usize,
        index: &MirrorIndex,
        (k, sort): (&[u8], &[u8]),
        limit: usize,
        found: &mut Misplaced,
    ) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        let entry = &self.tables[table];
        let mut statement = sql!("read an index of the mirror", self.conn.prepare_cached(&index.scan))?;
        let mut rows = sql!("read an index of the mirror", statement.query(params![k, sort]))?;
        let mut seen = 0;
        while let Some(at) = sql!("read an index of the mirror", rows.next())? {
            let (k, sort, pk) = (blob(at, 0)?, blob(at, 1)?, blob(at, 2)?);
            if !self.is_place_of(table, entry, index, pk, (k, sort))? {
                let (k, sort, pk) = (k.to_vec(), sort.to_vec(), pk.to_vec());
                found.strays.push(Stray { index: index.id, k, sort, pk });
            }
            seen += 1;
            if seen == limit {
                return Ok(Some((k.to_vec(), sort.to_vec())));
            }
        }
        Ok(None)
    }

    /// Whether a row is there, and has its entry there.
    fn is_place_of(
        &self,
        table: usize,
        entry: &MirrorTable,
        index: &MirrorIndex,
        pk: &[u8],
        (k, sort): (&[u8], &[u8]),
    ) -> Result<bool> {
        let place = self.get(table, pk)?.and_then(|row| index.place(&entry.key, &row.cells));
        Ok(place.is_some_and(|(own, order)| own == k && order == sort))
    }

    /// Removes what is none of a row's, and writes the entries of all rows concerned once more.
    pub fn place_again(&self, table: usize, misplaced: &Misplaced) -> Result<()> {
        let entry = &self.tables[table];
        for stray in &misplaced.strays {
            let Stray { k, sort, pk, .. } = stray;
            let Some(index) = entry.indexes.iter().find(|index| index.id == stray.index) else { continue };
            // Its row may have come there meanwhile.
            if !self.is_place_of(table, entry, index, pk, (k, sort))? {
                let mut statement =
                    sql!("write an index of the mirror", self.conn.prepare_cached(&index.remove))?;
                sql!("write an index of the mirror", statement.execute(params![k, sort, pk]))?;
            }
        }
        let strays = misplaced.strays.iter().map(|stray| &stray.pk);
        let pks: BTreeSet<&Vec<u8>> = misplaced.lacks.iter().map(|(pk, _)| pk).chain(strays).collect();
        for pk in pks {
            let Some(row) = self.get(table, pk)? else { continue };
            let bytes = entry.write(&row.cells);
            for index in &entry.indexes {
                self.add_entry(index, &entry.key, pk, &row.cells, &bytes)?;
            }
        }
        Ok(())
    }
}

impl MirrorIndex {
    /// Where a row has its entry; `None` if it has none.
    fn place(&self, key: &[usize], cells: &[Value]) -> Option<(Vec<u8>, Vec<u8>)> {
        Some((join_bytes(cells, &self.index.columns)?, self.sort(key, cells)))
    }
}
