//! What a range should find, said by the source: one plain statement with the conditions and the order written out, and
//! nothing cut off.

use headwater_model::View;
use serde_json::{Map, Value as Json};

use super::answer::Range;
use super::sql::{self, Dialect, Shapes, literal, quote};
use super::{Truth, postgres, sqlite};

/// The documents of a range of a view of rows, in order. Values are given to the database as literals without a type, which
/// it takes to be of their column's.
pub async fn page(truth: &Truth, view: &View, range: &Range<'_>) -> Vec<Map<String, Json>> {
    let statement = |dialect: &dyn Dialect, shapes: &Shapes| statement(dialect, shapes, view, range);
    let documents = match truth {
        Truth::Postgres(url) => postgres::query(url, view, &statement).await,
        Truth::Sqlite(path) => sqlite::query(path, view, &statement),
    };
    let object = |json| match json {
        Json::Object(fields) => fields,
        other => panic!("{other} is no document"),
    };
    documents.into_iter().map(object).collect()
}

fn statement(dialect: &dyn Dialect, shapes: &Shapes, view: &View, range: &Range<'_>) -> String {
    let shape = sql::shape(shapes, &view.from);
    let fields = sql::own_fields(shape, view);
    let sortable = |name: &str| {
        let column = shape.columns.iter().find(|column| column.name == name).expect("a column");
        column.order.replace("{}", &format!("a0.{}", quote(name)))
    };
    let column = |field: &str| {
        let named = fields.iter().find(|(_, name)| name == field);
        sortable(&named.unwrap_or_else(|| panic!("{} has no field {field}", view.name)).0)
    };
    let mut conditions: Vec<String> =
        range.by.iter().map(|(field, text)| format!("{} = {}", column(field), literal(text))).collect();
    if let Some(first) = range.order.first() {
        conditions.extend(range.from.map(|text| format!("{} >= {}", column(&first.column), literal(text))));
        conditions.extend(range.to.map(|text| format!("{} < {}", column(&first.column), literal(text))));
    }
    let direction = |descending: bool| {
        if descending != range.reverse { "DESC NULLS FIRST" } else { "ASC NULLS LAST" }
    };
    let mut order: Vec<String> = range
        .order
        .iter()
        .map(|order| format!("{} {}", column(&order.column), direction(order.descending)))
        .collect();
    order.extend(shape.key.iter().map(|key| format!("{} {}", sortable(key), direction(false))));
    let order = order.join(", ");
    sql::in_order(dialect, shapes, view, &conditions, &order)
}
