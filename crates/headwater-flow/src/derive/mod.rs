//! Derive: turns row changes into view changes.
//!
//! - [`Stateless`] maps rows of one table to documents one by one and keeps nothing. [`collapse`] then leaves one
//!   change per document and transaction.
//! - [`needs_state`] says which views cannot be derived that way: documents that embed rows of other tables, rankings,
//!   and views whose rows may arrive with cells missing that the filter or the store needs.
//! - [`Deriver`] derives those: a [`Plan`] says which rows each document has, a local mirror holds them; and beside them
//!   the groups of rankings, which move with the rows.
//!
//! Not here: reading the source, the journals, writing to stores. Derive never asks the source: a query would read
//! another moment than the change it answers.
//!
//! The invariant: after a transaction's changes, a store that applied everything emitted so far holds exactly the
//! documents that the views' SQL gives on the source at that transaction.

mod climb;
mod collapse;
mod deriver;
mod dirty;
mod encoding;
mod groups;
mod held;
mod look;
mod mirror;
mod plan;
mod projection;
mod ranking;
mod render;
mod showing;
mod stateless;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_model::filter::Filter;
use headwater_model::{Error, Index, Result, Table, TableFacts, TableName, View, ViewId, ViewKind};

pub use collapse::collapse;
pub use deriver::Deriver;
pub(crate) use held::HeldKeys;
pub(crate) use look::{Look, Recounted};
pub(crate) use mirror::{Misplaced, Passed, Place};
pub use plan::{Plan, compile, compile_each};
use projection::Own;
pub(crate) use ranking::{Miscounted, Tally};
pub(crate) use showing::{Showing, showing};
pub use stateless::Stateless;

/// The shapes of the source's tables as last seen.
pub type Tables = BTreeMap<TableName, Arc<Table>>;

/// A view that can no longer be derived, because the source changed under it. It is derived no further; the rest is.
#[derive(Debug)]
pub struct Broken {
    pub view: ViewId,
    /// `Misconfigured` (the file must follow the source's change) or `Unsupported`, with the remedy.
    pub error: Error,
}

/// Whether a view must be derived from local state. `facts` describes the view's table; `partial_puts` says that each
/// store of the view can put a document some of whose fields stay as they are.
pub fn needs_state(view: &View, facts: &TableFacts, partial_puts: bool) -> bool {
    if !view.embeds.is_empty() || matches!(view.kind, ViewKind::Ranking(_)) {
        return true;
    }
    let names = || facts.columns.iter().map(|column| &*column.name);
    let own = Own::of(view, names(), facts.key.iter().map(|name| &**name));
    let in_document = |name: &str| match own.columns.as_deref() {
        Some(columns) => columns.iter().any(|(column, _)| &**column == name),
        None => true,
    };
    // A store places a document by the values of indexed fields, so each put must carry them.
    let shows = |column: &str, field: &str| match own.columns.as_deref() {
        Some(columns) => columns.iter().any(|(own, name)| &**own == column && &**name == field),
        None => column == field,
    };
    let indexed = |column: &str| {
        let names = |index: &Index| {
            let order = index.order.iter().map(|order| &*order.column);
            index.by.iter().map(|name| &**name).chain(order).any(|field| shows(column, field))
        };
        view.indexes.iter().any(names)
    };
    if facts.columns.iter().any(|column| column.may_be_unchanged && indexed(&column.name)) {
        return true;
    }
    let filtered = own.filter.as_deref().and_then(|text| Filter::parse(text).ok());
    let filter_may_lack = filtered.is_some_and(|filter| {
        filter
            .columns()
            .iter()
            .any(|column| column.find(names()).is_some_and(|place| facts.columns[place].may_be_unchanged))
    });
    // A row that comes into the view has no document whose values could stay.
    let may_come = match &view.kind {
        ViewKind::Edge(edge) => {
            let may_be_null = |end: &str| {
                let column = facts.columns.iter().find(|column| *column.name == *end);
                column.is_some_and(|c| c.nullable) && !facts.key.iter().any(|key| **key == *end)
            };
            view.filter.is_some() || may_be_null(&edge.source) || may_be_null(&edge.target)
        }
        _ => view.filter.is_some(),
    };
    filter_may_lack
        || ((!partial_puts || may_come)
            && facts.columns.iter().any(|c| c.may_be_unchanged && in_document(&c.name)))
}

/// The table of that name. A name without a schema also finds the table of that name in `public`, or else the only one
/// in any schema.
fn find_table<'a>(tables: &'a Tables, name: &TableName) -> Option<&'a Arc<Table>> {
    if let Some(table) = tables.get(name) {
        return Some(table);
    }
    if name.schema.is_some() {
        return None;
    }
    if let Some(table) = tables.get(&TableName::new(Some("public"), &name.name)) {
        return Some(table);
    }
    let mut alike = tables.iter().filter(|(known, _)| known.name == name.name);
    match (alike.next(), alike.next()) {
        (Some((_, table)), None) => Some(table),
        _ => None,
    }
}

fn table_of<'a>(tables: &'a Tables, name: &TableName, place: &str) -> Result<&'a Arc<Table>> {
    find_table(tables, name).ok_or_else(|| {
        Error::misconfigured(format!("{place}: the source has no table {name}")).with_remedy(
            "name a table of the source, with its schema if several schemas have one of that name",
        )
    })
}
