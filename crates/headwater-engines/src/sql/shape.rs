//! Tables and columns, as far as statements need them.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_model::{ColumnType, Error, Result, TableName, filter::BoundFilter, filter::Filter};

/// A table; `C` is what the engine knows of a column beyond its name.
#[derive(Clone, Debug)]
pub(crate) struct Table<C> {
    /// What stands behind FROM: quoted, with the schema.
    pub from: String,
    pub columns: Vec<Column<C>>,
    /// Places of the key's columns, in key order.
    pub key: Vec<usize>,
}

#[derive(Clone, Debug)]
pub(crate) struct Column<C> {
    pub name: Box<str>,
    pub kind: ColumnType,
    pub nullable: bool,
    pub native: C,
}

/// Shapes by the name that views use.
pub(crate) type Shapes<C> = BTreeMap<TableName, Arc<Table<C>>>;

impl<C> Table<C> {
    /// The place of a column that the view names.
    pub fn column(&self, name: &str) -> Result<usize> {
        self.columns.iter().position(|column| &*column.name == name).ok_or_else(|| {
            Error::misconfigured(format!("{} has no column \"{name}\"", self.from)).with_remedy(format!(
                "if the column was renamed or dropped, change \"{name}\" in the file to match"
            ))
        })
    }

    /// Reads a filter as it is meant for this table.
    pub fn bind(&self, filter: &str) -> Result<BoundFilter> {
        let parsed = Filter::parse(filter).map_err(|e| {
            Error::misconfigured(format!("the filter `{filter}` cannot be read")).with_cause(e)
        })?;
        let columns = self.columns.iter();
        parsed.bind(&headwater_model::Table {
            id: 0,
            version: 0,
            name: TableName::new(None, &self.from),
            columns: columns
                .map(|c| headwater_model::Column { name: c.name.clone(), kind: c.kind.clone() })
                .collect(),
            key: self.key.clone(),
        })
    }
}

/// The shape of a table that a view names.
pub(crate) fn shape<'a, C>(shapes: &'a Shapes<C>, name: &TableName) -> Result<&'a Arc<Table<C>>> {
    shapes.get(name).ok_or_else(|| Error::misconfigured(format!("there is no table {name}")))
}

/// A name between double quotes.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
