//! A row on its way into its table.

use super::sql::Datum;
use crate::sql::store::row::Cell;

/// What its columns get, in their order: the key, what lies beside it, two of each place, a field each.
pub(super) struct Written(pub Vec<Cell<Datum>>);

impl Written {
    /// What each column gets, without those that are kept. What a partial document leaves as it is comes as NULL where there was no
    /// row.
    fn cells<'a>(&'a self, kept: &'a [bool]) -> impl Iterator<Item = Option<&'a Datum>> {
        let written = self.0.iter().enumerate().filter(|(place, _)| kept.get(*place) != Some(&true));
        written.map(|(_, cell)| match cell {
            Cell::Set(datum) => datum.as_ref(),
            Cell::Kept => None,
        })
    }

    /// Which columns stay as a row has them that is there.
    pub fn kept(&self) -> Vec<bool> {
        self.0.iter().map(|cell| matches!(cell, Cell::Kept)).collect()
    }

    /// The row in parentheses, as SQL.
    pub fn values(&self, kept: &[bool]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len() + 2);
        for datum in self.cells(kept) {
            out.push(if out.is_empty() { b'(' } else { b',' });
            match datum {
                Some(datum) => datum.push(&mut out),
                None => out.extend_from_slice(b"NULL"),
            }
        }
        out.push(b')');
        out
    }

    /// The row as a line of a file.
    pub fn push_line(&self, out: &mut Vec<u8>) {
        for (place, datum) in self.cells(&[]).enumerate() {
            if place > 0 {
                out.push(b'\t');
            }
            match datum {
                Some(datum) => datum.push_field(out),
                None => out.extend_from_slice(b"\\N"),
            }
        }
        out.push(b'\n');
    }

    /// Of the row as SQL, in bytes.
    pub fn len(&self) -> usize {
        self.cells(&[]).map(|datum| 1 + datum.map_or(4, Datum::len)).sum()
    }
}
