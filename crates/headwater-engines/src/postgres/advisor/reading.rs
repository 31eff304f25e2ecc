//! Statements as the database itself is asked about them: as ones that only read. To plan a write, or a read that locks its rows, takes the
//! lock of a writer and the rights of one; what finds the same rows in the same way takes neither.

use std::ops::ControlFlow;

use sqlparser::ast::{
    AssignmentTarget, Delete, Expr, FromTable, Ident, Insert, Query, Select, SelectItem, SetExpr, Statement,
    TableFactor, Update, Value, ValueWithSpan, Visit, VisitMut, Visitor, VisitorMut,
};
use sqlparser::parser::Parser;

use super::origin::Schema;
use super::what_if::Question;
use crate::advice::asked::{self, Tables as _};
use crate::advice::configs::Ask;

/// Several processes never find the rows of a write, and never call this: nobody else does here, EXPLAIN runs nothing.
const ALONE: &str = "pg_catalog.lastval()";

/// `Err` with the reason if there is no such question. `parameters` is the highest `$n` of the statement.
pub(super) fn of(sql: &str, parameters: usize, schema: &Schema) -> Result<Question, String> {
    let read = Parser::parse_sql(schema.dialect(), sql);
    let mut statements = read.map_err(|error| format!("its text is not understood: {error}"))?;
    let (Some(statement), true) = (statements.pop(), statements.is_empty()) else {
        return Err("it is not one statement".into());
    };
    match statement {
        Statement::Query(query) => of_query(*query, Ask { sql: sql.to_owned(), parameters }, schema),
        Statement::Update(update) => of_update(&update, schema),
        Statement::Delete(delete) => of_delete(&delete, schema),
        Statement::Insert(insert) => of_insert(&insert, schema),
        _ => Err("in place, only queries and plain writes can be asked about".into()),
    }
}

fn of_query(mut query: Query, ask: Ask, schema: &Schema) -> Result<Question, String> {
    let mut inside = Inside::default();
    let _ = VisitMut::visit(&mut query, &mut inside);
    if inside.writes {
        return Err("in place, a statement that writes inside of another cannot be asked about".into());
    }
    if !inside.locked {
        return Ok(Question { ask, rows: None });
    }
    // Rows that are locked are fetched: no index alone answers.
    if let SetExpr::Select(select) = &mut *query.body {
        let factors = select.from.iter().flat_map(|from| {
            std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation))
        });
        let rows: Vec<SelectItem> = factors.filter_map(|factor| Some(item(row(factor, schema)?))).collect();
        select.projection.extend(rows);
        let alone =
            Parser::new(schema.dialect()).try_with_sql(ALONE).and_then(|mut parser| parser.parse_expr());
        select.projection.push(item(alone.map_err(|error| error.to_string())?));
    }
    question(&query.to_string(), schema)
}

fn of_update(update: &Update, schema: &Schema) -> Result<Question, String> {
    let mut items = vec![ALONE.to_owned()];
    items.extend(row(&update.table.relation, schema).map(|row| row.to_string()));
    for assignment in &update.assignments {
        if !holds_query(&assignment.value) {
            continue;
        }
        if matches!(assignment.target, AssignmentTarget::Tuple(_)) {
            return Err("in place, several columns that one query gives cannot be asked about".into());
        }
        items.push(assignment.value.to_string());
    }
    let mut from = vec![update.table.to_string()];
    if let Some(more) = &update.from {
        use sqlparser::ast::UpdateTableFromKind::{AfterSet, BeforeSet};
        let (BeforeSet(tables) | AfterSet(tables)) = more;
        from.extend(tables.iter().map(ToString::to_string));
    }
    found(&items, &from, update.selection.as_ref(), schema)
}

fn of_delete(delete: &Delete, schema: &Schema) -> Result<Question, String> {
    let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
    let mut items = vec![ALONE.to_owned()];
    items.extend(tables.first().and_then(|table| row(&table.relation, schema)).map(|row| row.to_string()));
    let using = delete.using.iter().flatten();
    let from: Vec<String> = tables.iter().chain(using).map(ToString::to_string).collect();
    found(&items, &from, delete.selection.as_ref(), schema)
}

/// Rows that stand in the statement need no plan: whether the columns are there is asked.
fn of_insert(insert: &Insert, schema: &Schema) -> Result<Question, String> {
    let rows = match insert.source.as_ref().map(|source| &*source.body) {
        None => 1.0,
        Some(SetExpr::Values(values)) => values.rows.len() as f64,
        Some(_) => {
            let mut source = insert.source.clone().ok_or("it inserts nothing")?;
            let mut inside = Inside::default();
            let _ = VisitMut::visit(&mut source, &mut inside);
            return match inside.writes {
                true => {
                    Err("in place, a statement that writes inside of another cannot be asked about".into())
                }
                false => question(&format!("SELECT {ALONE}, source.* FROM ({source}) source"), schema),
            };
        }
    };
    let columns: Vec<String> = insert.columns.iter().map(ToString::to_string).collect();
    let asked = question(&format!("SELECT {} FROM {}", columns.join(", "), insert.table), schema)?;
    Ok(Question { rows: Some(rows), ..asked })
}

fn found(
    items: &[String],
    from: &[String],
    selection: Option<&Expr>,
    schema: &Schema,
) -> Result<Question, String> {
    let condition = selection.map(|condition| format!(" WHERE {condition}")).unwrap_or_default();
    question(&format!("SELECT {} FROM {}{condition}", items.join(", "), from.join(", ")), schema)
}

/// Parameters that were only written are gone: those that are left are numbered anew, since a server that finds no use of one
/// refuses the statement.
fn question(sql: &str, schema: &Schema) -> Result<Question, String> {
    let mut statements = Parser::parse_sql(schema.dialect(), sql).map_err(|error| error.to_string())?;
    let mut numbers = Numbers::default();
    let _ = VisitMut::visit(&mut statements, &mut numbers);
    let [statement] = &statements[..] else { return Err("it is not one statement".into()) };
    Ok(Question { ask: Ask { sql: statement.to_string(), parameters: numbers.0.len() }, rows: None })
}

fn item(expr: Expr) -> SelectItem {
    SelectItem::UnnamedExpr(expr)
}

/// Where a row lies, which no index holds; `None` of what has no rows of its own.
fn row(factor: &TableFactor, schema: &Schema) -> Option<Expr> {
    let TableFactor::Table { name, alias, args: None, .. } = factor else { return None };
    asked::find(name, schema)?;
    let called = match alias {
        Some(alias) => alias.name.clone(),
        None => name.0.last()?.as_ident()?.clone(),
    };
    Some(Expr::CompoundIdentifier(vec![called, Ident::new("ctid")]))
}

fn holds_query(expr: &Expr) -> bool {
    struct Queries;
    impl Visitor for Queries {
        type Break = ();

        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            ControlFlow::Break(())
        }
    }
    expr.visit(&mut Queries).is_break()
}

/// What is in a query beside reading. Locks are taken away.
#[derive(Default)]
struct Inside {
    writes: bool,
    locked: bool,
}

impl VisitorMut for Inside {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.locked |= !query.locks.is_empty();
        query.locks.clear();
        self.writes |= matches!(
            &*query.body,
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_)
        );
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        self.writes |= select.into.is_some();
        ControlFlow::Continue(())
    }
}

/// Numbers parameters by where they come first.
#[derive(Default)]
struct Numbers(Vec<String>);

impl VisitorMut for Numbers {
    type Break = ();

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<()> {
        if let Value::Placeholder(name) = &mut value.value {
            let place = self.0.iter().position(|known| known == name).unwrap_or_else(|| {
                self.0.push(name.clone());
                self.0.len() - 1
            });
            *name = format!("${}", place + 1);
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::postgres::advisor::origin::Table;

    fn schema() -> Schema {
        let table = |name: &str| Table {
            oid: 1,
            schema: "public".into(),
            name: name.into(),
            ident: format!("public.{name}"),
            kind: "r".into(),
            relpages: 0.0,
            reltuples: 0.0,
            relallvisible: 0.0,
            pages: 0.0,
            inserts: 0.0,
            updates: 0.0,
            hot_updates: 0.0,
            deletes: 0.0,
            columns: Vec::new(),
        };
        Schema {
            tables: vec![table("orders"), table("lines")],
            search_path: vec!["public".into()],
            ..Schema::default()
        }
    }

    #[track_caller]
    fn is_asked_as(sql: &str, wanted: &str, parameters: usize) {
        let question = of(sql, asked::parameters(sql), &schema()).unwrap();
        assert_eq!((question.ask.sql.as_str(), question.ask.parameters), (wanted, parameters), "{sql}");
    }

    #[test]
    fn what_only_reads_stays_as_it_is() {
        let sql = "SELECT  id FROM orders WHERE id = $2 AND total > $1";
        is_asked_as(sql, sql, 2);
    }

    #[test]
    fn a_write_is_asked_as_what_finds_its_rows() {
        is_asked_as(
            "UPDATE orders o SET state = $1, seen = seen + 1 WHERE id = $3",
            "SELECT pg_catalog.lastval(), o.ctid FROM orders o WHERE id = $1",
            1,
        );
        is_asked_as(
            "UPDATE orders SET total = (SELECT sum(price) FROM lines WHERE order_id = orders.id AND kind = $2) FROM lines WHERE lines.id = $1",
            "SELECT pg_catalog.lastval(), orders.ctid, (SELECT sum(price) FROM lines WHERE order_id = orders.id AND kind = $1) \
             FROM orders, lines WHERE lines.id = $2",
            2,
        );
        is_asked_as(
            "DELETE FROM orders USING lines l WHERE l.id = orders.id RETURNING *",
            "SELECT pg_catalog.lastval(), orders.ctid FROM orders, lines l WHERE l.id = orders.id",
            0,
        );
        is_asked_as("DELETE FROM nowhere", "SELECT pg_catalog.lastval() FROM nowhere", 0);
    }

    #[test]
    fn rows_that_stand_in_an_insert_are_counted() {
        let values = "INSERT INTO orders (id, total) VALUES ($1, $2), ($3, DEFAULT)";
        let question = of(values, 3, &schema()).unwrap();
        assert_eq!((question.ask.sql.as_str(), question.rows), ("SELECT id, total FROM orders", Some(2.0)));
        is_asked_as(
            "INSERT INTO orders SELECT * FROM lines WHERE id > $1 ON CONFLICT DO NOTHING",
            "SELECT pg_catalog.lastval(), source.* FROM (SELECT * FROM lines WHERE id > $1) source",
            1,
        );
    }

    #[test]
    fn a_read_that_locks_is_asked_without_the_lock_and_fetches_its_rows() {
        is_asked_as(
            "SELECT id FROM orders WHERE state = $1 ORDER BY id LIMIT 5 FOR UPDATE SKIP LOCKED",
            "SELECT id, orders.ctid, pg_catalog.lastval() FROM orders WHERE state = $1 ORDER BY id LIMIT 5",
            1,
        );
    }

    #[test]
    fn what_writes_otherwise_is_not_asked() {
        for sql in [
            "WITH gone AS (DELETE FROM orders RETURNING id) SELECT * FROM gone",
            "WITH l AS (SELECT 1) UPDATE orders SET total = 1",
            "SELECT * INTO copy FROM orders",
            "UPDATE orders SET (a, b) = (SELECT 1, 2)",
            "TRUNCATE orders",
            "SELECT 1; SELECT 2",
            "SELEC",
        ] {
            assert!(of(sql, 0, &schema()).is_err(), "{sql}");
        }
    }
}
