//! What a view's documents are made of: rows of a table, or groups of rows.

use std::sync::Arc;

use headwater_model::{Ranking, Result, View, ViewKind};

use super::Params;
use super::dialect::{Dialect, all};
use super::document::{Part, Template, document, fields};
use super::filter;
use super::shape::{Column, Shapes, Table, quoted, shape};

/// The documents of a view, as parts of a statement.
pub(super) struct Rows<D: Dialect> {
    /// Behind FROM; what stands there is called `a0`.
    pub from: String,
    pub conditions: Vec<String>,
    /// Fields of the document that hold one value of the view's own.
    pub fields: Vec<(Box<str>, Expression<D>)>,
    pub key: Vec<Expression<D>>,
    pub document: String,
    pub template: Template<D>,
}

/// A column as an expression.
pub(super) struct Expression<D: Dialect> {
    pub column: Column<D::Column>,
    pub sql: String,
}

impl<D: Dialect> Clone for Expression<D> {
    fn clone(&self) -> Self {
        Expression { column: self.column.clone(), sql: self.sql.clone() }
    }
}

impl<D: Dialect> Expression<D> {
    pub fn of(column: &Column<D::Column>, alias: &str) -> Expression<D> {
        Expression { column: column.clone(), sql: format!("{alias}.{}", quoted(&column.name)) }
    }
}

impl<D: Dialect> Rows<D> {
    /// The field that an index names.
    pub fn field(&self, name: &str) -> Result<&Expression<D>> {
        let found = self.fields.iter().find(|(field, _)| **field == *name);
        found.map(|(_, expression)| expression).ok_or_else(|| {
            headwater_model::Error::misconfigured(format!(
                "a document has no field \"{name}\" to be ordered by"
            ))
        })
    }
}

pub(super) fn rows<D: Dialect>(
    dialect: &D,
    shapes: &Shapes<D::Column>,
    view: &View,
    params: &mut Params,
) -> Result<Rows<D>> {
    let rows = match &view.kind {
        ViewKind::Ranking(ranking) => groups(dialect, shapes, view, ranking, params),
        ViewKind::Document | ViewKind::Series(_) | ViewKind::Edge(_) => single(dialect, shapes, view, params),
    };
    rows.map_err(|error| error.while_doing(format!("view \"{}\"", view.name)))
}

/// The conditions under which a row of the view's table, called `alias`, is part of the view.
pub(super) fn conditions<D: Dialect>(
    dialect: &D,
    table: &Table<D::Column>,
    view: &View,
    alias: &str,
    params: &mut Params,
) -> Result<Vec<String>> {
    let mut conditions = Vec::new();
    if let Some(text) = &view.filter {
        conditions.push(filter::condition(dialect, table, alias, text, params)?);
    }
    let never_null: Vec<&Box<str>> = match &view.kind {
        ViewKind::Document | ViewKind::Series(_) => Vec::new(),
        ViewKind::Edge(edge) => vec![&edge.source, &edge.target],
        ViewKind::Ranking(ranking) => ranking.within.iter().chain(&ranking.by).collect(),
    };
    for name in never_null {
        let column = &table.columns[table.column(name)?];
        if column.nullable {
            conditions.push(format!("{alias}.{} IS NOT NULL", quoted(&column.name)));
        }
    }
    Ok(conditions)
}

/// A document per row.
fn single<D: Dialect>(
    dialect: &D,
    shapes: &Shapes<D::Column>,
    view: &View,
    params: &mut Params,
) -> Result<Rows<D>> {
    let table: &Arc<Table<D::Column>> = shape(shapes, &view.from)?;
    let part = Part { columns: view.columns.as_deref(), embeds: &view.embeds };
    let (document, template) = document(dialect, shapes, table, &part, 0, params)?;
    let expression = |place: &usize| Expression::of(&table.columns[*place], "a0");
    let fields = fields(table, view.columns.as_deref())?;
    Ok(Rows {
        from: format!("{} AS a0", table.from),
        conditions: conditions(dialect, table, view, "a0", params)?,
        fields: fields.into_iter().map(|(place, field)| (field, expression(&place))).collect(),
        key: table.key.iter().map(expression).collect(),
        document,
        template,
    })
}

/// A document per group.
fn groups<D: Dialect>(
    dialect: &D,
    shapes: &Shapes<D::Column>,
    view: &View,
    ranking: &Ranking,
    params: &mut Params,
) -> Result<Rows<D>> {
    let table = shape(shapes, &view.from)?;
    let (mut selected, mut grouped) = (Vec::new(), Vec::new());
    let mut fields: Vec<(Box<str>, Expression<D>)> = Vec::new();
    let mut add = |name: &str, column: Column<D::Column>, select: &str| {
        let sql = format!("g{}", fields.len());
        selected.push(format!("{select} AS {sql}"));
        fields.push((name.into(), Expression { column, sql: format!("a0.{sql}") }));
    };
    for name in ranking.within.iter().chain(&ranking.by) {
        let column = &table.columns[table.column(name)?];
        let group = dialect.grouped(column, &format!("r.{}", quoted(&column.name)));
        add(name, Column { nullable: false, ..group.column }, &group.select);
        grouped.push(group.by);
    }
    let column = ranking.column.as_ref().map(|name| table.column(name)).transpose()?;
    let column = column.map(|place| &table.columns[place]);
    let of = column.map(|column| (column, format!("r.{}", quoted(&column.name))));
    let (score, outcome) =
        dialect.aggregate(ranking.function, of.as_ref().map(|(column, sql)| (*column, sql.as_str())))?;
    add(Ranking::SCORE, outcome, &score);
    let conditions = conditions(dialect, table, view, "r", params)?;
    let from = format!(
        "(SELECT {} FROM {} AS r WHERE {} GROUP BY {}) AS a0",
        selected.join(", "),
        table.from,
        all(&conditions),
        grouped.join(", ")
    );
    let texts: Vec<String> = fields.iter().map(|(_, e)| dialect.text(&e.column, &e.sql)).collect();
    Ok(Rows {
        from,
        conditions: Vec::new(),
        key: fields[..grouped.len()].iter().map(|(_, expression)| expression.clone()).collect(),
        document: dialect.array(&[dialect.texts(&texts)]),
        template: Template {
            names: fields.iter().map(|(name, _)| name.clone()).collect(),
            cells: fields.iter().map(|(_, e)| e.column.clone()).collect(),
            embeds: Vec::new(),
        },
        fields,
    })
}
