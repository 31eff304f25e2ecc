//! From views to one SQL statement per view that makes the documents in the source. What the two dialects
//! share; what they do differently is in [`Dialect`].

use std::collections::BTreeMap;

use headwater_model::{Aggregate, Embed, EmbedKind, Ranking, TableName, View, ViewKind};

/// What the catalog says of a table.
#[derive(Clone, Debug)]
pub struct Shape {
    pub columns: Vec<Column>,
    /// In key order.
    pub key: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub json: bool,
    /// How to sort by it: an expression with `{}` for the column.
    pub order: &'static str,
}

pub type Shapes = BTreeMap<String, Shape>;

pub trait Dialect {
    /// The JSON of a column's value.
    fn value(&self, column: &str) -> String;
    /// A JSON object of `(field, JSON)`.
    fn object(&self, fields: &[(String, String)]) -> String;
    /// A JSON array of JSON values.
    fn array(&self, values: &[String]) -> String;
    /// JSON of an aggregate over the rows of a group; without a column, of all rows. `order` is how to sort by the column.
    fn score(&self, function: Aggregate, column: Option<&str>, order: &str) -> String;
    /// JSON of the only row of `select`, which gives one JSON column; null if there is none.
    fn one(&self, select: &str) -> String;
    /// JSON array of the column `o` of `rows`, ordered by its column `n`.
    fn list(&self, rows: &str) -> String;
}

/// `name` as an identifier.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `text` as a literal.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

pub fn table(name: &TableName) -> String {
    match &name.schema {
        Some(schema) => format!("{}.{}", quote(schema), quote(&name.name)),
        None => quote(&name.name),
    }
}

/// Every table that `views` read.
pub fn tables(views: &[View]) -> Vec<TableName> {
    fn add(embeds: &[Embed], out: &mut Vec<TableName>) {
        for embed in embeds {
            out.push(embed.from.clone());
            add(&embed.embeds, out);
        }
    }
    let mut out = Vec::new();
    for view in views {
        out.push(view.from.clone());
        add(&view.embeds, &mut out);
    }
    out.sort();
    out.dedup();
    out
}

/// A statement with two columns: the key's parts as a JSON array, and the document. The row is called `a0`.
pub fn statement(dialect: &dyn Dialect, shapes: &Shapes, view: &View, more: &str) -> String {
    let shape = shape(shapes, &view.from);
    if let ViewKind::Ranking(ranking) = &view.kind {
        return groups(dialect, shape, view, ranking, more);
    }
    let key: Vec<String> =
        shape.key.iter().map(|column| dialect.value(&format!("a0.{}", quote(column)))).collect();
    let document = object(dialect, shapes, &view.from, &own_fields(shape, view), &view.embeds, 0);
    let rows = rows(&view.from, view.filter.as_deref());
    let whole = whole(view);
    format!("SELECT {}, {document}{more} FROM {rows} AS a0 WHERE {whole}", dialect.array(&key))
}

/// A statement with the document as `d`, and its place in `order` as `n`, of the rows of a view for which all conditions
/// hold.
pub fn in_order(
    dialect: &dyn Dialect,
    shapes: &Shapes,
    view: &View,
    conditions: &[String],
    order: &str,
) -> String {
    let shape = shape(shapes, &view.from);
    let document = object(dialect, shapes, &view.from, &own_fields(shape, view), &view.embeds, 0);
    let rows = rows(&view.from, view.filter.as_deref());
    let conditions: String = conditions.iter().map(|condition| format!(" AND {condition}")).collect();
    format!(
        "SELECT {document} AS d, row_number() OVER (ORDER BY {order}) AS n FROM {rows} AS a0 WHERE {}{conditions}",
        whole(view)
    )
}

/// Which rows of a view's table have a document, beyond its filter.
fn whole(view: &View) -> String {
    match &view.kind {
        ViewKind::Edge(edge) => {
            format!("a0.{} IS NOT NULL AND a0.{} IS NOT NULL", quote(&edge.source), quote(&edge.target))
        }
        _ => "TRUE".into(),
    }
}

/// The same for groups of rows: the key is what they are grouped by.
fn groups(dialect: &dyn Dialect, shape: &Shape, view: &View, ranking: &Ranking, more: &str) -> String {
    let columns: Vec<(&str, String)> = ranking
        .within
        .iter()
        .chain(&ranking.by)
        .map(|name| (&**name, format!("a0.{}", quote(name))))
        .collect();
    let key: Vec<String> = columns.iter().map(|(_, column)| dialect.value(column)).collect();
    let mut fields: Vec<(String, String)> =
        columns.iter().zip(&key).map(|((name, _), json)| ((*name).to_owned(), json.clone())).collect();
    let scored = ranking.column.as_deref();
    let order = shape.columns.iter().find(|c| Some(&*c.name) == scored).map_or("{}", |c| c.order);
    let scored = scored.map(|name| format!("a0.{}", quote(name)));
    fields.push(("score".into(), dialect.score(ranking.function, scored.as_deref(), order)));
    let known: Vec<String> = columns.iter().map(|(_, column)| format!("{column} IS NOT NULL")).collect();
    let by: Vec<&str> = columns.iter().map(|(_, column)| &**column).collect();
    format!(
        "SELECT {}, {}{more} FROM {} AS a0 WHERE {} GROUP BY {}",
        dialect.array(&key),
        dialect.object(&fields),
        rows(&view.from, view.filter.as_deref()),
        known.join(" AND "),
        by.join(", ")
    )
}

/// `(column, field)` of a view's own row.
pub fn own_fields(shape: &Shape, view: &View) -> Vec<(String, String)> {
    let mut given = fields(shape, view.columns.as_deref());
    match &view.kind {
        ViewKind::Document => {}
        // A group's fields are none of a row.
        ViewKind::Ranking(_) => given.clear(),
        ViewKind::Series(series) => {
            let wanted: Vec<&str> = std::iter::once(&series.time)
                .chain(&series.tags)
                .chain(&series.fields)
                .map(|name| &**name)
                .chain(shape.key.iter().map(String::as_str))
                .collect();
            given.retain(|(column, _)| view.columns.is_some() || wanted.contains(&&**column));
            // As the file has it, a series does not name its key; it is there all the same, and first.
            for key in shape.key.iter().rev() {
                if !given.iter().any(|(column, _)| column == key) {
                    given.insert(0, (key.clone(), key.clone()));
                }
            }
        }
        ViewKind::Edge(edge) => {
            for end in [&edge.source, &edge.target] {
                if !given.iter().any(|(_, field)| **field == **end) {
                    given.push((end.to_string(), end.to_string()));
                }
            }
        }
    }
    given
}

/// `(column, field)` of a view or an embed.
pub fn fields(shape: &Shape, columns: Option<&[(Box<str>, Box<str>)]>) -> Vec<(String, String)> {
    match columns {
        Some(pairs) => pairs.iter().map(|(column, field)| (column.to_string(), field.to_string())).collect(),
        None => shape.columns.iter().map(|column| (column.name.clone(), column.name.clone())).collect(),
    }
}

pub fn shape<'a>(shapes: &'a Shapes, name: &TableName) -> &'a Shape {
    shapes.get(&name.to_string()).unwrap_or_else(|| panic!("the source has no table {name}"))
}

/// The filter's names are those of the table alone, so it gets a scope of its own.
fn rows(from: &TableName, filter: Option<&str>) -> String {
    match filter {
        Some(filter) => format!("(SELECT * FROM {} WHERE {filter})", table(from)),
        None => table(from),
    }
}

fn object(
    dialect: &dyn Dialect,
    shapes: &Shapes,
    from: &TableName,
    fields: &[(String, String)],
    embeds: &[Embed],
    depth: usize,
) -> String {
    let shape = shape(shapes, from);
    let mut object: Vec<(String, String)> = fields
        .iter()
        .map(|(column, field)| (field.clone(), dialect.value(&format!("a{depth}.{}", quote(column)))))
        .collect();
    for embed in embeds {
        object.push((embed.field.to_string(), embedded(dialect, shapes, shape, embed, depth)));
    }
    dialect.object(&object)
}

fn embedded(dialect: &dyn Dialect, shapes: &Shapes, parent: &Shape, embed: &Embed, depth: usize) -> String {
    let child = shape(shapes, &embed.from);
    let fields = fields(child, embed.columns.as_deref());
    let document = object(dialect, shapes, &embed.from, &fields, &embed.embeds, depth + 1);
    let names = |columns: &[Box<str>]| columns.iter().map(|c| c.to_string()).collect::<Vec<_>>();
    let (of_parent, of_child, many) = match &embed.kind {
        EmbedKind::One { columns, references } => {
            (names(columns), references.as_deref().map_or_else(|| child.key.clone(), names), false)
        }
        EmbedKind::Many { columns, references } => {
            (references.as_deref().map_or_else(|| parent.key.clone(), names), names(columns), true)
        }
    };
    assert_eq!(
        of_parent.len(),
        of_child.len(),
        "{}: both sides of the join need as many columns",
        embed.field
    );
    let (outer, inner) = (format!("a{depth}"), format!("a{}", depth + 1));
    let join: Vec<String> = of_parent
        .iter()
        .zip(&of_child)
        .map(|(parent, child)| format!("{inner}.{} = {outer}.{}", quote(child), quote(parent)))
        .collect();
    let join = join.join(" AND ");
    let rows = rows(&embed.from, embed.filter.as_deref());
    if !many {
        return dialect.one(&format!("SELECT {document} FROM {rows} AS {inner} WHERE {join}"));
    }

    let sorted = |column: &str, descending: bool| {
        let order = child.columns.iter().find(|c| c.name == column).map_or("{}", |c| c.order);
        let expression = order.replace("{}", &format!("{inner}.{}", quote(column)));
        format!("{expression} {}", if descending { "DESC NULLS FIRST" } else { "ASC NULLS LAST" })
    };
    let mut order: Vec<String> = embed.order.iter().map(|o| sorted(&o.column, o.descending)).collect();
    order.extend(child.key.iter().map(|column| sorted(column, false)));
    let order = order.join(", ");
    let limit = embed.limit.map(|limit| format!(" LIMIT {limit}")).unwrap_or_default();
    dialect.list(&format!(
        "SELECT {document} AS o, row_number() OVER (ORDER BY {order}) AS n FROM {rows} AS {inner} \
         WHERE {join} ORDER BY {order}{limit}"
    ))
}
