//! How large an index becomes when it is built: a b-tree keeps equal keys once with a list of their rows, where the values allow
//! that, and hypothetical sizes that forget it are two to three times too large.

use super::candidates::{Candidate, Method};
use super::origin::{Column, Schema};
use crate::advice::heads::Key;

const PAGE: f64 = 8192.0;
/// Without the page's header and the b-tree's part of it.
const ROOM: f64 = PAGE - 24.0 - 16.0;
/// As the usual fill factor leaves it.
const FILLED: f64 = ROOM * 0.9;
const LINE: f64 = 4.0;
/// A list of rows is no longer than this when an index is built.
const LIST_MAX: f64 = 808.0;
const ROW: f64 = 6.0;

pub(super) struct Size {
    pub pages: f64,
    pub entries: f64,
}

impl Size {
    pub fn bytes(&self) -> f64 {
        self.pages * PAGE
    }
}

pub(super) fn of(candidate: &Candidate, schema: &Schema) -> Size {
    let table = &schema.tables[candidate.table];
    let entries = (table.rows() * candidate.share).max(0.0);
    let pages = match candidate.method {
        Method::Btree => btree(candidate, schema, entries),
        // Each row's words or elements, most of them known already: about a third of what they are in the table.
        Method::Gin => {
            let bytes: f64 = columns(candidate, schema).map(Column::bytes).sum();
            let elements = if candidate.trigram { (bytes + 1.0).min(200.0) } else { (bytes / 6.0).max(1.0) };
            (entries * elements * 2.2 / PAGE).ceil() + 30.0
        }
        // A summary for each 128 pages.
        Method::Brin => 2.0 + (table.pages / 128.0 * 32.0 / PAGE).ceil(),
    };
    Size { pages: pages + 1.0, entries }
}

fn columns<'a>(candidate: &'a Candidate, schema: &'a Schema) -> impl Iterator<Item = &'a Column> {
    let table = &schema.tables[candidate.table];
    candidate
        .keys
        .iter()
        .flat_map(|key| match key {
            Key::Column { column, .. } => std::slice::from_ref(column),
            Key::Expression(sought) => &sought.columns[..],
        })
        .chain(&candidate.include)
        .map(|column| &table.columns[*column])
}

fn btree(candidate: &Candidate, schema: &Schema, entries: f64) -> f64 {
    let table = &schema.tables[candidate.table];
    let mut data = 0.0;
    let mut nulls = false;
    for column in columns(candidate, schema) {
        let to = match (column.length > 0, &*column.align) {
            (false, _) | (_, "c") => 1.0,
            (_, "s") => 2.0,
            (_, "i") => 4.0,
            _ => 8.0,
        };
        data = aligned(data, to) + column.bytes() * (1.0 - column.null_frac);
        nulls |= column.null_frac > 0.001;
    }
    let tuple = aligned(if nulls { 16.0 } else { 8.0 } + data, 8.0);
    let distinct = candidate
        .keys
        .iter()
        .map(|key| match key {
            Key::Column { column, .. } => table.columns[*column].distinct(table.rows()),
            Key::Expression(sought) => sought
                .columns
                .iter()
                .map(|column| table.columns[*column].distinct(table.rows()))
                .fold(1.0, |all, one| all * one),
        })
        .fold(1.0, |all: f64, one| (all * one).min(entries.max(1.0)));
    let deduplicates =
        candidate.include.is_empty() && columns(candidate, schema).all(|column| column.deduplicates);
    let each = entries / distinct;
    let per_entry = if deduplicates && each > 1.5 {
        let per_list = ((LIST_MAX - tuple) / ROW).max(2.0);
        let lists = (each / per_list).ceil().max(1.0);
        // The last list of a key is as long as what is left.
        (lists * (tuple + LINE) + aligned(each * ROW, 8.0)) / each
    } else {
        tuple + LINE
    };
    let leaves = (entries * per_entry / FILLED).ceil().max(1.0);
    let inner = (leaves * (tuple + LINE) / (ROOM * 0.7)).ceil();
    leaves + if leaves > 1.0 { inner.max(1.0) } else { 0.0 }
}

fn aligned(bytes: f64, to: f64) -> f64 {
    (bytes / to).ceil() * to
}
