//! `[views.NAME]` and the rows embedded in them.

use std::collections::{BTreeMap, BTreeSet};

use toml::de::DeValue;

use super::access::boolean;
use super::holders::Holders;
use super::kinds;
use super::name::{parse_table_name, unquote};
use super::read::{Entry, Reader, Section, Value, join, kind};
use super::sections::check_name;
use super::sources::{self, Source};
use super::{Named, Owners};
use crate::filter::{Filter, FilterError};
use crate::{Embed, EmbedKind, Layout, Order, TableName, View, ViewId, ViewKind};

/// Rows nest at most this deep in a document.
const DEPTH_MAX: usize = 16;

/// `(column, field)` pairs.
pub(super) type Columns = Vec<(Box<str>, Box<str>)>;

/// What the file says of views that is no part of what they show.
#[derive(Default)]
pub(super) struct Marks {
    pub owners: Owners,
    /// Those that hold data about people.
    pub pii: BTreeSet<ViewId>,
}

/// Every view that has a name, in the order of the file, and what it is if that can be read: who names a view that is
/// wrong is not wrong for that. And what is said of views beside. `stores`: the names of all stores.
pub(super) fn views(
    reader: &mut Reader<'_>,
    section: Option<Section<'_>>,
    stores: &[&str],
    sources: &[Source],
) -> (Vec<Named<View>>, Marks) {
    let (mut views, mut marks) = (Vec::new(), Marks::default());
    let Some(mut section) = section else { return (views, marks) };
    let mut folded: BTreeMap<String, &str> = BTreeMap::new();
    for Entry { name, key, value, .. } in section.rest() {
        check_name(reader, key.span(), "view", name);
        if let Some(other) = folded.insert(name.to_ascii_lowercase(), name) {
            reader.wrong(
                key.span(),
                format!("views `{other}` and `{name}` differ only in case"),
                "rename one of them: some engines keep names in one case",
            );
        }
        let mut section = Section::of(reader, join("views", name), key.span(), value);
        if let Some(section) = &mut section {
            let owner = sources::of_view(reader, section, name, sources);
            marks.owners.extend(owner.map(|owner| (ViewId::from(name), owner)));
            if section.take(reader, "pii").and_then(|value| boolean(reader, value, "pii")) == Some(true) {
                marks.pii.insert(name.into());
            }
        }
        views.push((name.into(), section.and_then(|section| view(reader, section, name, stores))));
    }
    (views, marks)
}

fn view(reader: &mut Reader<'_>, mut section: Section<'_>, name: &str, stores: &[&str]) -> Option<View> {
    let from = from(reader, &mut section);
    let kind = kinds::kind(reader, &mut section);
    let shape = Shape::read(reader, &mut section, 0);
    let documents = kind.as_ref().is_none_or(ViewKind::is_document);
    let Holders { stores, parts } = Holders::read(reader, &mut section, name, stores, documents);
    let layout = layout(reader, &mut section);
    let columns_said = section.take(reader, "columns");
    let (embed_said, layout_said) = (section.take(reader, "embed"), section.take(reader, "layout"));
    section.finish(reader);
    let kind = kind?;
    if !kind.is_document() {
        kinds::refuse(
            reader,
            embed_said,
            "embed",
            "rows are embedded in documents: make a view of its own for them",
        );
        if layout == Some(Layout::Hash) {
            kinds::refuse(
                reader,
                layout_said,
                "layout",
                "only documents of rows can be hashes: drop `layout`",
            );
        }
    }
    Some(View {
        name: name.into(),
        from: from?,
        columns: kinds::columns(reader, &kind, columns_said, shape.columns),
        filter: shape.filter,
        embeds: shape.embeds,
        stores,
        parts,
        layout,
        kind,
        indexes: Vec::new(),
    })
}

fn layout(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Option<Layout> {
    let value = section.take(reader, "layout")?;
    match reader.plain(value, "layout")? {
        "hash" => Some(Layout::Hash),
        "json" => Some(Layout::Json),
        _ => {
            reader.wrong(value.span(), "`layout` is neither \"hash\" nor \"json\"", "write one of them");
            None
        }
    }
}

/// What a view and an embed have in common.
struct Shape {
    columns: Option<Columns>,
    filter: Option<Box<str>>,
    embeds: Vec<Embed>,
}

impl Shape {
    fn read(reader: &mut Reader<'_>, section: &mut Section<'_>, depth: usize) -> Shape {
        let columns = section.take(reader, "columns").and_then(|value| columns(reader, section, value));
        let filter = section.take(reader, "where").and_then(|value| filter(reader, value));
        let mut embeds = Vec::new();
        if let Some(mut fields) = section.take_section(reader, "embed") {
            for Entry { name, key, value, .. } in fields.rest() {
                let path = join(&fields.path, name);
                if name.is_empty() {
                    reader.wrong(key.span(), "an embedded field has no name", "name it: embed.FIELD = { … }");
                }
                if depth == DEPTH_MAX {
                    reader.wrong(key.span(), format!("rows nest deeper than {DEPTH_MAX}"), "nest less");
                    break;
                }
                if let Some(inner) = Section::of(reader, path, key.span(), value)
                    && let Some(embed) = embed(reader, inner, name, depth + 1)
                {
                    embeds.push(embed);
                }
                let clash = columns.iter().flatten().any(|(_, field)| **field == *name);
                if clash {
                    reader.wrong(
                        key.span(),
                        format!("`{name}` is a column and an embedded field of one document"),
                        "rename one: columns = { other_name = \"column\" }",
                    );
                }
            }
        }
        Shape { columns, filter, embeds }
    }
}

fn embed(reader: &mut Reader<'_>, mut section: Section<'_>, field: &str, depth: usize) -> Option<Embed> {
    let from = from(reader, &mut section);
    let kind = embed_kind(reader, &mut section);
    let shape = Shape::read(reader, &mut section, depth);
    let many = matches!(kind, Some(EmbedKind::Many { .. }) | None);
    let order_value = section.take(reader, "order");
    let order = order_value.and_then(|value| order(reader, value)).unwrap_or_default();
    let limit_value = section.take(reader, "limit");
    let limit = limit_value.and_then(|value| reader.integer(value, "limit", 1..=1_000_000));
    if !many {
        for (name, value) in [("order", order_value), ("limit", limit_value)] {
            if let Some(value) = value {
                reader.wrong(
                    value.span(),
                    format!("`{name}` has nothing to work on: `key` embeds one row"),
                    format!("drop `{name}`, or embed a list with `many`"),
                );
            }
        }
    }
    section.finish(reader);
    Some(Embed {
        field: field.into(),
        from: from?,
        kind: kind?,
        columns: shape.columns,
        filter: shape.filter,
        order,
        limit: limit.map(|limit| limit as usize),
        embeds: shape.embeds,
    })
}

fn embed_kind(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Option<EmbedKind> {
    let key = section.take(reader, "key");
    let many = section.take(reader, "many");
    let references = section
        .take(reader, "references")
        .and_then(|value| Some((names(reader, value, "references")?, value)));
    let (name, value) = match (key, many) {
        (Some(key), None) => ("key", key),
        (None, Some(many)) => ("many", many),
        (Some(_), Some(many)) => {
            reader.wrong(
                many.span(),
                "`key` and `many` are both there",
                "keep `key` for the one row this row points at, `many` for the rows that point at this one",
            );
            return None;
        }
        (None, None) if section.misspells("key") || section.misspells("many") => return None,
        (None, None) => {
            reader.missing(
                section.at.clone(),
                format!("[{}] does not say how its rows belong here", section.path),
                "add key = \"column of this row that points there\", or many = \"column there that points here\"",
            );
            return None;
        }
    };
    let columns = names(reader, value, name)?;
    if let Some((references, at)) = &references
        && references.len() != columns.len()
    {
        reader.wrong(
            at.span(),
            format!("`references` has {}, `{name}` has {}", count(references.len()), count(columns.len())),
            "name as many columns in both, in the same order",
        );
    }
    let references = references.map(|(columns, _)| columns);
    Some(match name {
        "key" => EmbedKind::One { columns, references },
        _ => EmbedKind::Many { columns, references },
    })
}

fn from(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Option<TableName> {
    let Some(value) = section.take(reader, "from") else {
        if !section.misspells("from") {
            reader.missing(
                section.at.clone(),
                format!("[{}] has no `from`", section.path),
                "name its table: from = \"table\" or from = \"schema.table\"",
            );
        }
        return None;
    };
    let text = reader.plain(value, "from")?;
    match parse_table_name(text) {
        Ok(name) => Some(name),
        Err((at, what)) => {
            let span = reader.within(value, at, text.len() - at);
            reader.wrong(
                span,
                what,
                "write from = \"table\", \"schema.table\", or '\"Odd.Schema\".\"Odd Table\"'",
            );
            None
        }
    }
}

/// `"*"`, a list of names, or a table of `field = "column"`.
fn columns(reader: &mut Reader<'_>, section: &Section<'_>, value: &Value<'_>) -> Option<Columns> {
    match value.get_ref() {
        DeValue::String(text) if text == "*" => None,
        DeValue::Array(items) => {
            let (mut columns, mut fine): (Columns, bool) = (Vec::new(), true);
            for item in items.iter() {
                let Some(name) = reader.plain(item, "columns") else {
                    fine = false;
                    continue;
                };
                if name == "*" {
                    reader.wrong(
                        item.span(),
                        "`*` stands for all columns and is no name in a list",
                        "write columns = \"*\", or leave it out",
                    );
                    fine = false;
                } else if columns.iter().any(|(column, _)| **column == *name) {
                    reader.wrong(item.span(), format!("column `{name}` is named twice"), "name it once");
                } else {
                    let path = join(&join(&section.path, "columns"), name);
                    reader.places.put(&path, item.span(), item.span());
                    columns.push((name.into(), name.into()));
                }
            }
            if fine && columns.is_empty() && !section.has("embed") {
                reader.wrong(value.span(), "a document without a field", "name a column, or write \"*\"");
            }
            fine.then_some(columns)
        }
        DeValue::Table(table) => {
            let fields = Section::new(join(&section.path, "columns"), value.span(), table).rest();
            let (mut columns, mut fine): (Columns, bool) = (Vec::new(), true);
            for Entry { name: field, key, value, .. } in fields {
                let path = join(&join(&section.path, "columns"), field);
                reader.places.put(&path, key.span(), value.span());
                match reader.plain(value, field) {
                    Some(column) => columns.push((column.into(), field.into())),
                    None => fine = false,
                }
            }
            if fine && columns.is_empty() && !section.has("embed") {
                reader.wrong(value.span(), "a document without a field", "name a column, or write \"*\"");
            }
            fine.then_some(columns)
        }
        other => {
            reader.wrong(
                value.span(),
                format!("`columns` is {}", kind(other)),
                "write \"*\", a list of columns [\"id\", \"name\"], or a table { field = \"column\" }",
            );
            None
        }
    }
}

pub(super) fn filter(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<Box<str>> {
    let text = reader.plain(value, "where")?;
    if text.trim().is_empty() {
        reader.wrong(
            value.span(),
            "`where` is empty",
            "write a condition, as in \"price > 10\", or leave it out",
        );
        return None;
    }
    if let Err(FilterError { offset, message }) = Filter::parse(text) {
        // At the end of the text there is nothing to point at but the end.
        let len = text[offset..].split_whitespace().next().map_or(1, str::len);
        let span = reader.within(value, offset, len);
        reader.wrong(span, message, "");
        return None;
    }
    Some(text.into())
}

/// `"-created_at"` or a list of such.
pub(super) fn order(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<Vec<Order>> {
    let mut order: Vec<Order> = Vec::new();
    for (text, item) in reader.strings(value, "order")? {
        let (descending, name) = match text.strip_prefix('-') {
            Some(name) => (true, name),
            None => (false, text),
        };
        // A column whose name begins with a minus stands in quotes.
        let column = match name.strip_prefix('"').and_then(unquote) {
            Some((name, "")) => name,
            _ => name.to_owned(),
        };
        if column.is_empty() {
            reader.wrong(
                item.span(),
                "`order` names no column",
                "write \"column\", or \"-column\" for descending",
            );
        } else if order.iter().any(|o| *o.column == *column) {
            reader.wrong(item.span(), format!("`order` names `{column}` twice"), "name it once");
        } else {
            order.push(Order { column: column.into(), descending });
        }
    }
    Some(order)
}

/// One column or several.
pub(super) fn names(reader: &mut Reader<'_>, value: &Value<'_>, name: &str) -> Option<Vec<Box<str>>> {
    let mut columns: Vec<Box<str>> = Vec::new();
    for (column, item) in reader.strings(value, name)? {
        if column.is_empty() {
            reader.wrong(item.span(), format!("`{name}` names no column"), "name a column");
        } else if columns.iter().any(|c| **c == *column) {
            reader.wrong(item.span(), format!("`{name}` names `{column}` twice"), "name it once");
        } else {
            columns.push(column.into());
        }
    }
    (!columns.is_empty()).then_some(columns)
}

fn count(columns: usize) -> String {
    if columns == 1 { "1 column".to_owned() } else { format!("{columns} columns") }
}
