//! What stores share that keep each view as a table of typed columns; what is said to a server, and how, is the engine's own.
//!
//! - [`kind`] which type of column a field gets · [`shape`] the columns of a view's table, and documents out of its rows
//! - [`absent`] keys that surely have no row
//! - [`rest`] what no column holds · [`fold`] one change per key · [`row`] a change as the cells of a row
//! - [`held`] what the store holds, and for whom · [`known`] shapes remembered between reads
//! - [`read`] walks, and places that are not as they should
//!
//! Invariant: a document that went in comes out field by field as the same text ([`headwater_model::Value::to_text`]),
//! whatever its columns hold.

pub(crate) mod absent;
pub(crate) mod fold;
pub(crate) mod held;
pub(crate) mod kind;
pub(crate) mod known;
pub(crate) mod read;
pub(crate) mod rest;
pub(crate) mod row;
pub(crate) mod shape;
