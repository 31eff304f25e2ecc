//! Row filters as conditions of a statement, with their literals as parameters.

use headwater_model::filter::{Comparison, SqlCell, SqlWriter};
use headwater_model::{Error, Result};

use super::Params;
use super::dialect::Dialect;
use super::shape::{Table, quoted};

/// The condition that a row of `table`, called `alias`, is taken.
pub(super) fn condition<D: Dialect>(
    dialect: &D,
    table: &Table<D::Column>,
    alias: &str,
    text: &str,
    params: &mut Params,
) -> Result<String> {
    let bound = table.bind(text).map_err(|e: Error| e.while_doing(format!("bind the filter `{text}`")))?;
    Ok(bound.write_sql(&mut Writer { dialect, table, alias, params }))
}

struct Writer<'a, D: Dialect> {
    dialect: &'a D,
    table: &'a Table<D::Column>,
    alias: &'a str,
    params: &'a mut Params,
}

impl<D: Dialect> SqlWriter for Writer<'_, D> {
    fn cell(&mut self, cell: SqlCell<'_>) -> String {
        match cell {
            SqlCell::Column(place) => format!("{}.{}", self.alias, quoted(&self.table.columns[place].name)),
            SqlCell::Literal(value) if value.is_null() => "NULL".into(),
            SqlCell::Literal(value) => self.dialect.literal(value, self.params),
        }
    }

    fn compare(&mut self, left: SqlCell<'_>, comparison: Comparison, right: SqlCell<'_>) -> String {
        match (left, right) {
            (SqlCell::Literal(value), _) | (_, SqlCell::Literal(value)) if value.is_null() => "NULL".into(),
            (SqlCell::Column(left), SqlCell::Column(right)) => {
                let (a, b) = (self.cell(SqlCell::Column(left)), self.cell(SqlCell::Column(right)));
                let columns = &self.table.columns;
                self.dialect.filter_columns((&columns[left], &a), comparison, (&columns[right], &b))
            }
            (SqlCell::Column(column), SqlCell::Literal(value)) => {
                let sql = self.cell(SqlCell::Column(column));
                self.dialect.filter(&self.table.columns[column], &sql, comparison, value, self.params)
            }
            (SqlCell::Literal(value), SqlCell::Column(column)) => {
                let sql = self.cell(SqlCell::Column(column));
                let column = &self.table.columns[column];
                self.dialect.filter(column, &sql, comparison.mirrored(), value, self.params)
            }
            (SqlCell::Literal(left), SqlCell::Literal(right)) => {
                if comparison.holds(left.compare(right)) {
                    "TRUE".into()
                } else {
                    "FALSE".into()
                }
            }
        }
    }
}
