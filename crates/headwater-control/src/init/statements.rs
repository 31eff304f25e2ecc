//! Which access patterns the statements are that a database counted.
//!
//! Owns: reading a statement's grammar and saying which view, asked how, would answer it. Not: how often that is worth anything.
//! Invariant: what is called a pattern asks for nothing that the statement did not; everything else keeps its text and the reason.

use std::ops::ControlFlow;

use headwater_model::{StatementUsage, TableFacts};
use sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, ObjectName,
    OrderByKind, OrderBySort, Query, Select, SelectItem, SetExpr, Statement, TableFactor, Value,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

/// What a statement asks of one table.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Asks {
    /// Rows by their key; `many`: of several keys at once.
    Key { many: bool },
    /// Rows with equal values in some columns, in an order.
    Equal { by: Vec<Box<str>>, order: Vec<(Box<str>, bool)>, limited: bool },
    /// Rows added up by a column, the first by the result.
    Ranked { by: Box<str>, within: Vec<Box<str>>, score: String },
}

/// A statement, as far as it could be understood.
#[derive(Clone, Debug)]
pub(super) struct Understood<'u> {
    pub usage: &'u StatementUsage,
    /// Written anew, on one line: without comments, which may hold anything.
    pub text: String,
    /// The place of the table, and what is asked of it; or why that cannot be said.
    pub asks: Result<(usize, Asks), &'static str>,
}

/// Of statements that read tables of `tables`; others, such as those about the catalogue, are left out.
pub(super) fn understand<'u>(
    statements: &'u [StatementUsage],
    tables: &[&TableFacts],
) -> Vec<Understood<'u>> {
    let one = |usage: &'u StatementUsage| {
        // A text that was cut, or that has a grammar of its own, is no pattern; its table is not known either.
        let parsed = Parser::parse_sql(&PostgreSqlDialect {}, &usage.text).ok()?;
        let [Statement::Query(query)] = &parsed[..] else { return None };
        let mut scope = Scope { tables, known: Vec::new() };
        if !scope.reads_any(query) {
            return None;
        }
        Some(Understood { usage, text: query.to_string(), asks: scope.asks(query) })
    };
    statements.iter().filter_map(one).collect()
}

/// The tables that a statement reads, by what it calls them.
struct Scope<'t> {
    tables: &'t [&'t TableFacts],
    known: Vec<(String, usize)>,
}

/// One condition of a WHERE.
enum Condition {
    Equal(usize, Box<str>, bool),
    /// A bound on a column: where a page begins.
    From(usize, Box<str>),
    /// Between columns.
    Join,
}

impl Scope<'_> {
    fn table(&self, name: &ObjectName) -> Option<usize> {
        let parts: Vec<&Ident> = name.0.iter().filter_map(|part| part.as_ident()).collect();
        let (schema, name) = match parts[..] {
            [name] => (None, folded(name)),
            [schema, name] => (Some(folded(schema)), folded(name)),
            _ => return None,
        };
        let fits = |table: &&&TableFacts| {
            *table.name.name == *name
                && schema.as_deref().is_none_or(|schema| table.name.schema.as_deref() == Some(schema))
        };
        // A name without a schema means the usual one.
        let usual = |table: &&&TableFacts| fits(table) && table.name.schema.as_deref() == Some("public");
        let found = self.tables.iter().find(usual).or_else(|| self.tables.iter().find(fits))?;
        self.tables.iter().position(|table| table.name == found.name)
    }

    /// Whether any relation of the statement, however deep, is one of the tables.
    fn reads_any(&self, query: &Query) -> bool {
        let found = sqlparser::ast::visit_relations(query, |name| match self.table(name) {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        });
        found.is_break()
    }

    fn asks(&mut self, query: &Query) -> Result<(usize, Asks), &'static str> {
        if !query.locks.is_empty() {
            return Err("locks what it reads: part of a write");
        }
        let SetExpr::Select(select) = &*query.body else { return Err("puts several results together") };
        if query.with.is_some() || select.distinct.is_some() || select.having.is_some() {
            return Err("works on what it reads");
        }
        self.relations(select)?;
        let mut conditions = Vec::new();
        if let Some(selection) = &select.selection {
            self.conditions(selection, &mut conditions)?;
        }
        let mut table = None;
        let (mut equal, mut from) = (Vec::new(), Vec::new());
        let mut many = false;
        for condition in conditions {
            let place = match condition {
                Condition::Join => continue,
                Condition::Equal(place, column, several) => {
                    many |= several;
                    equal.push(column);
                    place
                }
                Condition::From(place, column) => {
                    from.push(column);
                    place
                }
            };
            if table.replace(place).is_some_and(|other| other != place) {
                return Err("compares columns of several tables");
            }
        }
        let place = match (table, &self.known[..]) {
            (Some(place), _) => place,
            (None, [(_, place)]) => *place,
            (None, _) => return Err("reads whole tables"),
        };
        equal.sort_unstable();
        equal.dedup();
        let order = self.order(query, place);
        let limited = query.limit_clause.is_some() || query.fetch.is_some();
        if let GroupByExpr::Expressions(columns, _) = &select.group_by
            && !columns.is_empty()
        {
            return self.ranked(select, columns, place, equal, limited);
        }
        if select.projection.iter().any(adds_up) {
            return Err("adds rows up");
        }
        let facts = self.tables[place];
        let is_key = !facts.key.is_empty()
            && equal.len() == facts.key.len()
            && facts.key.iter().all(|column| equal.contains(column));
        if is_key && from.is_empty() {
            return Ok((place, Asks::Key { many }));
        }
        let order = order.ok_or("is in an order of something that is no column")?;
        if many {
            return Err("asks for several values of a column that is not the key");
        }
        if from.iter().any(|column| order.first().is_none_or(|(first, _)| first != column)) {
            return Err("asks for a part of a column's values");
        }
        if equal.is_empty() && (order.is_empty() || !limited) {
            return Err("reads the whole table");
        }
        Ok((place, Asks::Equal { by: equal, order, limited }))
    }

    fn relations(&mut self, select: &Select) -> Result<(), &'static str> {
        let joined = select.from.iter().flat_map(|from| {
            std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation))
        });
        for relation in joined {
            let TableFactor::Table { name, alias, args: None, .. } = relation else {
                return Err("reads from something that is no table");
            };
            let place = self.table(name).ok_or("reads a table that is not followed here")?;
            let last = name.0.last().and_then(|part| part.as_ident()).map(folded).unwrap_or_default();
            let called = alias.as_ref().map_or(last, |alias| folded(&alias.name));
            self.known.push((called, place));
        }
        Ok(())
    }

    /// The conditions that all have to hold.
    fn conditions(&self, expr: &Expr, all: &mut Vec<Condition>) -> Result<(), &'static str> {
        const OTHER: &str = "compares with more than given values";
        match expr {
            Expr::Nested(inner) => self.conditions(inner, all),
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                self.conditions(left, all)?;
                self.conditions(right, all)
            }
            Expr::BinaryOp { left, op, right } => {
                let (a, b) = (self.column(left), self.column(right));
                let (place, column) = match (a, b) {
                    (Some(_), Some(_)) => {
                        all.push(Condition::Join);
                        return Ok(());
                    }
                    (Some(column), None) if is_given(right) => column,
                    (None, Some(column)) if is_given(left) => column,
                    _ => return Err(OTHER),
                };
                all.push(match op {
                    BinaryOperator::Eq => Condition::Equal(place, column, false),
                    BinaryOperator::Lt | BinaryOperator::LtEq | BinaryOperator::Gt | BinaryOperator::GtEq => {
                        Condition::From(place, column)
                    }
                    _ => return Err(OTHER),
                });
                Ok(())
            }
            Expr::InList { expr, list, negated: false } if list.iter().all(is_given) => {
                let (place, column) = self.column(expr).ok_or(OTHER)?;
                all.push(Condition::Equal(place, column, true));
                Ok(())
            }
            Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } if is_given(right) => {
                let (place, column) = self.column(left).ok_or(OTHER)?;
                all.push(Condition::Equal(place, column, true));
                Ok(())
            }
            _ => Err(OTHER),
        }
    }

    /// A column of a known table.
    fn column(&self, expr: &Expr) -> Option<(usize, Box<str>)> {
        let has = |place: usize, name: &str| {
            self.tables[place].columns.iter().find(|column| *column.name == *name).map(|c| c.name.clone())
        };
        match expr {
            Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => self.column(inner),
            Expr::Identifier(name) => {
                let name = folded(name);
                let mut found =
                    self.known.iter().filter_map(|(_, place)| Some((*place, has(*place, &name)?)));
                let first = found.next()?;
                // A name that two tables have would be an error, unless it is the same table twice.
                found.all(|other| other == first).then_some(first)
            }
            Expr::CompoundIdentifier(names) => {
                let [.., table, column] = &names[..] else { return None };
                let table = folded(table);
                let (_, place) = self.known.iter().find(|(called, _)| *called == table)?;
                Some((*place, has(*place, &folded(column))?))
            }
            _ => None,
        }
    }

    /// By which columns of the table; `None` if by anything else as well.
    fn order(&self, query: &Query, place: usize) -> Option<Vec<(Box<str>, bool)>> {
        let Some(order) = &query.order_by else { return Some(Vec::new()) };
        let OrderByKind::Expressions(by) = &order.kind else { return None };
        by.iter()
            .map(|by| {
                let (at, column) = self.column(&by.expr)?;
                let descending = by.options.sort == Some(OrderBySort::Desc);
                (at == place && !matches!(by.options.sort, Some(OrderBySort::Using(_))))
                    .then_some((column, descending))
            })
            .collect()
    }

    fn ranked(
        &self,
        select: &Select,
        columns: &[Expr],
        place: usize,
        within: Vec<Box<str>>,
        limited: bool,
    ) -> Result<(usize, Asks), &'static str> {
        const WHY: &str = "adds rows up";
        let grouped: Vec<Box<str>> = columns
            .iter()
            .filter_map(|expr| self.column(expr).filter(|(at, _)| *at == place).map(|(_, column)| column))
            .filter(|column| !within.contains(column))
            .collect();
        let scores: Vec<String> =
            select.projection.iter().filter_map(|item| self.score(item, place)).collect();
        match (&grouped[..], &scores[..]) {
            ([by], [score]) if limited && grouped.len() + within.len() >= columns.len() => {
                Ok((place, Asks::Ranked { by: by.clone(), within, score: score.clone() }))
            }
            _ => Err(WHY),
        }
    }

    /// `sum(quantity)`, if that is what is shown.
    fn score(&self, item: &SelectItem, place: usize) -> Option<String> {
        let Expr::Function(function) = shown(item)? else { return None };
        let name = function.name.to_string().to_lowercase();
        let FunctionArguments::List(list) = &function.args else { return None };
        match (name.as_str(), &list.args[..]) {
            ("count", [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)]) => Some("count(*)".to_owned()),
            ("sum" | "min" | "max", [FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))]) => {
                let (at, column) = self.column(expr)?;
                (at == place && list.duplicate_treatment.is_none()).then(|| format!("{name}({column})"))
            }
            _ => None,
        }
    }
}

fn shown(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    }
}

/// Whether one value is made of many rows.
fn adds_up(item: &SelectItem) -> bool {
    let Some(Expr::Function(function)) = shown(item) else { return false };
    let name = function.name.to_string().to_lowercase();
    [
        "count",
        "sum",
        "min",
        "max",
        "avg",
        "array_agg",
        "json_agg",
        "jsonb_agg",
        "string_agg",
        "bool_or",
        "bool_and",
    ]
    .contains(&name.as_str())
}

/// A value that the application gives, or that stands in the statement.
fn is_given(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => is_given(inner),
        Expr::Value(value) => !matches!(value.value, Value::Null),
        _ => false,
    }
}

/// A name as the database folds it.
fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}
