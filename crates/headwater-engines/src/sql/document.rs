//! A document with its embedded rows as one SQL expression, and the template that reads it.
//!
//! The expression gives `[[texts of the cells], embedded, embedded, …]`; an embedded row is such an array or null, a
//! list is an array of them.

use std::sync::Arc;

use headwater_model::filter::Comparison;
use headwater_model::{Embed, EmbedKind, Error, Names, Result};

use super::Params;
use super::dialect::{Dialect, all, embedded_order};
use super::filter;
use super::shape::{Column, Shapes, Table, quoted, shape};

/// What the arrays mean.
pub(super) struct Template<D: Dialect> {
    /// The document's fields: cells, then embedded rows.
    pub names: Names,
    pub cells: Vec<Column<D::Column>>,
    pub embeds: Vec<Embedded<D>>,
}

pub(super) struct Embedded<D: Dialect> {
    pub many: bool,
    pub template: Template<D>,
}

/// What is told of the same place in a view and in an embed.
pub(super) struct Part<'a> {
    pub columns: Option<&'a [(Box<str>, Box<str>)]>,
    pub embeds: &'a [Embed],
}

/// Columns of a table and the fields they become, in the document's order.
pub(super) fn fields<C>(
    table: &Table<C>,
    columns: Option<&[(Box<str>, Box<str>)]>,
) -> Result<Vec<(usize, Box<str>)>> {
    match columns {
        Some(pairs) => {
            pairs.iter().map(|(column, field)| Ok((table.column(column)?, field.clone()))).collect()
        }
        None => Ok(table.columns.iter().enumerate().map(|(i, column)| (i, column.name.clone())).collect()),
    }
}

/// The document of the row that is called `a{depth}`.
pub(super) fn document<D: Dialect>(
    dialect: &D,
    shapes: &Shapes<D::Column>,
    table: &Arc<Table<D::Column>>,
    part: &Part<'_>,
    depth: usize,
    params: &mut Params,
) -> Result<(String, Template<D>)> {
    let fields = fields(table, part.columns)?;
    let mut names: Vec<Box<str>> = Vec::with_capacity(fields.len() + part.embeds.len());
    let mut cells = Vec::with_capacity(fields.len());
    let mut texts = Vec::with_capacity(fields.len());
    for (place, field) in fields {
        let column = &table.columns[place];
        texts.push(dialect.text(column, &format!("a{depth}.{}", quoted(&column.name))));
        names.push(field);
        cells.push(column.clone());
    }
    let mut items = vec![dialect.texts(&texts)];
    let mut embeds = Vec::with_capacity(part.embeds.len());
    for embed in part.embeds {
        let (item, template) = embedded(dialect, shapes, table, embed, depth, params)?;
        items.push(item);
        names.push(embed.field.clone());
        embeds.push(Embedded { many: matches!(embed.kind, EmbedKind::Many { .. }), template });
    }
    Ok((dialect.array(&items), Template { names: names.into(), cells, embeds }))
}

fn embedded<D: Dialect>(
    dialect: &D,
    shapes: &Shapes<D::Column>,
    parent: &Table<D::Column>,
    embed: &Embed,
    depth: usize,
    params: &mut Params,
) -> Result<(String, Template<D>)> {
    let child = shape(shapes, &embed.from)?;
    let part = Part { columns: embed.columns.as_deref(), embeds: &embed.embeds };
    let (item, template) = document(dialect, shapes, child, &part, depth + 1, params)?;
    let (outer, inner) = (format!("a{depth}"), format!("a{}", depth + 1));
    let mut conditions = Vec::new();
    for (of_parent, of_child) in joined(parent, child, embed)? {
        let (of_parent, of_child) = (&parent.columns[of_parent], &child.columns[of_child]);
        conditions.push(dialect.compare_columns(
            (of_child, &format!("{inner}.{}", quoted(&of_child.name))),
            Comparison::Equal,
            (of_parent, &format!("{outer}.{}", quoted(&of_parent.name))),
        ));
    }
    if let Some(text) = &embed.filter {
        conditions.push(filter::condition(dialect, child, &inner, text, params)?);
    }
    let from = format!("{} AS {inner} WHERE {}", child.from, all(&conditions));
    let sql = match embed.kind {
        EmbedKind::One { .. } => format!("(SELECT {item} FROM {from} LIMIT 1)"),
        EmbedKind::Many { .. } => {
            let order = embedded_order(dialect, child, &inner, &embed.order)?;
            dialect.list(&item, &from, &order, embed.limit)
        }
    };
    Ok((sql, template))
}

/// Pairs of columns that have to be equal: the parent's, the child's.
fn joined<C>(parent: &Table<C>, child: &Table<C>, embed: &Embed) -> Result<Vec<(usize, usize)>> {
    let places = |table: &Table<C>, names: &[Box<str>]| -> Result<Vec<usize>> {
        names.iter().map(|name| table.column(name)).collect()
    };
    let referred = |table: &Table<C>, names: &Option<Vec<Box<str>>>| match names {
        Some(names) => places(table, names),
        None => Ok(table.key.clone()),
    };
    let (of_parent, of_child) = match &embed.kind {
        EmbedKind::One { columns, references } => (places(parent, columns)?, referred(child, references)?),
        EmbedKind::Many { columns, references } => (referred(parent, references)?, places(child, columns)?),
    };
    if of_parent.len() != of_child.len() || of_parent.is_empty() {
        return Err(Error::misconfigured(format!(
            "field \"{}\": {} columns of {} cannot meet {} columns of {}",
            embed.field,
            of_parent.len(),
            parent.from,
            of_child.len(),
            child.from
        )));
    }
    Ok(of_parent.into_iter().zip(of_child).collect())
}
