//! The seam: what engines say differently. A dialect is small on purpose; everything else is standard SQL.
//!
//! All methods give SQL text. `sql` is the column as an expression, `a0."name"`.

use headwater_model::filter::Comparison;
use headwater_model::{Aggregate, Error, Order, Result, Value};

use super::shape::Column;

pub(crate) trait Dialect {
    /// What the engine knows of a column: its type, how it is read, how it compares.
    type Column: Clone + std::fmt::Debug;

    /// A value as the engine's own text, NULL as NULL: what [`Dialect::value`] reads.
    fn text(&self, column: &Column<Self::Column>, sql: &str) -> String;

    /// Reads what [`Dialect::text`] gave. `None` if it is no such value.
    fn value(&self, column: &Column<Self::Column>, text: &str) -> Option<Value>;

    /// A JSON array of texts, each a string or null.
    fn texts(&self, texts: &[String]) -> String;

    /// A JSON array of JSON values; one that is NULL is null.
    fn array(&self, items: &[String]) -> String;

    /// A JSON array of `item` of every row behind `from`, in an order, which is never empty.
    fn list(&self, item: &str, from: &str, order: &str, limit: Option<usize>) -> String;

    /// Sorts and groups as [`Value::compare`] orders: text by bytes.
    fn sortable(&self, column: &Column<Self::Column>, sql: &str) -> String;

    /// A column compared with a value that is not NULL, as [`Value::compare`] orders them.
    fn compare(
        &self,
        column: &Column<Self::Column>,
        sql: &str,
        comparison: Comparison,
        value: &Value,
        params: &mut Params,
    ) -> String;

    /// Two columns compared in the same way.
    fn compare_columns(
        &self,
        left: (&Column<Self::Column>, &str),
        comparison: Comparison,
        right: (&Column<Self::Column>, &str),
    ) -> String;

    /// A column of a row filter compared with a value that is not NULL, as [`headwater_model::filter`] says.
    fn filter(
        &self,
        column: &Column<Self::Column>,
        sql: &str,
        comparison: Comparison,
        value: &Value,
        params: &mut Params,
    ) -> String;

    /// Two columns of a row filter.
    fn filter_columns(
        &self,
        left: (&Column<Self::Column>, &str),
        comparison: Comparison,
        right: (&Column<Self::Column>, &str),
    ) -> String;

    /// A value of a filter that stands alone.
    fn literal(&self, value: &Value, params: &mut Params) -> String;

    /// The aggregate of a column, or of the rows, and what is known of the outcome. `Unsupported` if the column's values
    /// cannot be summed or have no order.
    fn aggregate(
        &self,
        function: Aggregate,
        column: Option<(&Column<Self::Column>, &str)>,
    ) -> Result<(String, Column<Self::Column>)>;

    /// What groups rows by a column: to select, to group by, and what is known of the outcome.
    fn grouped(&self, column: &Column<Self::Column>, sql: &str) -> Grouped<Self::Column>;

    /// A term of ORDER BY that has NULL last ascending and first descending, of what [`Dialect::sortable`] gave.
    fn order(&self, sortable: &str, nullable: bool, descending: bool) -> String;

    /// A common table expression that is made once: what stands between its name and its parentheses.
    fn materialized(&self) -> &'static str;
}

/// A column that rows are grouped by.
pub(crate) struct Grouped<C> {
    pub select: String,
    pub by: String,
    pub column: Column<C>,
}

/// The values of a statement, in the order of their places.
#[derive(Default)]
pub(crate) struct Params {
    values: Vec<Value>,
}

impl Params {
    /// The place of a value, from 1.
    pub fn add(&mut self, value: &Value) -> usize {
        self.values.push(value.clone());
        self.values.len()
    }

    pub fn into_values(self) -> Vec<Value> {
        self.values
    }
}

/// One term of ORDER BY.
pub(super) fn order_by<D: Dialect>(
    dialect: &D,
    column: &Column<D::Column>,
    sql: &str,
    descending: bool,
) -> String {
    dialect.order(&dialect.sortable(column, sql), column.nullable, descending)
}

/// ORDER BY of an embedded list: its order, then the key.
pub(super) fn embedded_order<D: Dialect>(
    dialect: &D,
    table: &super::Table<D::Column>,
    alias: &str,
    order: &[Order],
) -> Result<String> {
    let mut terms = Vec::with_capacity(order.len() + table.key.len());
    let named = order.iter().map(|order| Ok::<_, Error>((table.column(&order.column)?, order.descending)));
    let key = table.key.iter().map(|place| Ok((*place, false)));
    for term in named.chain(key) {
        let (place, descending) = term?;
        let column = &table.columns[place];
        terms.push(order_by(
            dialect,
            column,
            &format!("{alias}.{}", super::quoted(&column.name)),
            descending,
        ));
    }
    Ok(terms.join(", "))
}

/// Conditions that all have to hold.
pub(super) fn all(conditions: &[String]) -> String {
    if conditions.is_empty() { "TRUE".into() } else { conditions.join(" AND ") }
}

/// Conditions of which one has to hold, nested evenly: engines bound the depth of expressions.
pub(super) fn any(conditions: &[String]) -> String {
    match conditions {
        [] => "FALSE".into(),
        [one] => format!("({one})"),
        _ => {
            let (left, right) = conditions.split_at(conditions.len() / 2);
            format!("({} OR {})", any(left), any(right))
        }
    }
}
