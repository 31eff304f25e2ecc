//! Access patterns as SQL on the source itself: the fallback when no store can answer, and it gives what the stores give.
//!
//! - [`shape`] tables and columns as an engine describes them · [`dialect`] what engines say differently
//! - [`document`] nested documents as one expression · [`filter`] row filters · [`rows`] what a view's documents are
//!   made of
//! - [`get`], [`range`], [`walk`] one statement per kind of read
//! - [`cells`] what comes back, read as values and documents
//!
//! What stores of SQL share is apart from that, in [`store`].
//!
//! SQL gives every value as the engine's own text, in JSON arrays that nest as the document does; names, kinds and the
//! document's JSON are put together here, from the same [`headwater_model::Value`]s that the log gives. So an answer
//! cannot differ from a stored document in how a value is written.
//!
//! Invariant: values are parameters and never part of the SQL; names are quoted. Nothing here does I/O.

mod cells;
pub(crate) mod dialect;
mod document;
mod filter;
mod get;
mod range;
mod rows;
pub(crate) mod shape;
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) mod store;
mod walk;

use headwater_model::{Found, Read, Result, TableName, Value, View};

pub(crate) use dialect::{Dialect, Grouped, Params};
pub(crate) use shape::{Column, Shapes, Table, quoted};

/// Keys that one read may ask for: each is a condition of one statement.
const KEYS_MAX: usize = 1000;

/// A statement, its parameters in order, and how its rows become an answer.
pub(crate) struct Statement<D: Dialect> {
    pub sql: String,
    pub params: Vec<Value>,
    reader: Reader<D>,
}

enum Reader<D: Dialect> {
    Get(get::Reader<D>),
    Range(range::Reader<D>),
    Walk(walk::Reader<D>),
}

/// The tables whose shapes the read's statement needs, each once.
pub(crate) fn tables(read: &Read) -> Vec<TableName> {
    fn add(view: &View, out: &mut Vec<TableName>) {
        fn embedded(embeds: &[headwater_model::Embed], out: &mut Vec<TableName>) {
            for embed in embeds {
                out.push(embed.from.clone());
                embedded(&embed.embeds, out);
            }
        }
        out.push(view.from.clone());
        embedded(&view.embeds, out);
    }
    let mut out = Vec::new();
    match read {
        Read::Get { view, .. } => add(view, &mut out),
        Read::Range(range) => add(&range.view, &mut out),
        Read::Walk(walk) => walk.hops.iter().flat_map(|hop| &hop.views).for_each(|view| add(view, &mut out)),
    }
    out.sort();
    out.dedup();
    out
}

/// Makes the statement. `Misconfigured` if the view does not fit the tables, `Unsupported` if the read asks for what SQL
/// here cannot give.
pub(crate) fn statement<D: Dialect>(
    dialect: &D,
    shapes: &Shapes<D::Column>,
    read: &Read,
) -> Result<Statement<D>> {
    let mut params = Params::default();
    let (sql, reader) = match read {
        Read::Get { view, keys } => {
            let (sql, reader) = get::statement(dialect, shapes, view, keys, &mut params)?;
            (sql, Reader::Get(reader))
        }
        Read::Range(range) => {
            let (sql, reader) = range::statement(dialect, shapes, range, &mut params)?;
            (sql, Reader::Range(reader))
        }
        Read::Walk(walk) => {
            let (sql, reader) = walk::statement(dialect, shapes, walk, &mut params)?;
            (sql, Reader::Walk(reader))
        }
    };
    Ok(Statement { sql, params: params.into_values(), reader })
}

impl<D: Dialect> Statement<D> {
    /// The answer in the statement's rows. Each row has the texts of its columns.
    pub fn found(&self, dialect: &D, rows: Vec<Vec<Option<String>>>) -> Result<Found> {
        match &self.reader {
            Reader::Get(reader) => reader.found(dialect, rows),
            Reader::Range(reader) => reader.found(dialect, rows),
            Reader::Walk(reader) => reader.found(dialect, rows),
        }
    }
}
