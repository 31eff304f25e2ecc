//! `rank`, `series` and `edge`: views that are no documents per row.

use super::call;
use super::read::{Reader, Section, Value};
use super::views::{Columns, names};
use crate::{Aggregate, Edge, Ranking, Series, ViewKind, nearest};

const KINDS: [&str; 3] = ["rank", "series", "edge"];
const SCORE_REMEDY: &str = "write \"count(*)\", \"sum(column)\", \"min(column)\" or \"max(column)\"";

/// The kind of a view. `None` if it cannot be read, which has been reported.
pub(super) fn kind(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Option<ViewKind> {
    let mut said: Vec<(&'static str, Section<'_>)> = Vec::new();
    let mut fine = true;
    for name in KINDS {
        let there = section.has(name);
        match section.take_section(reader, name) {
            Some(inner) => said.push((name, inner)),
            None => fine &= !there,
        }
    }
    if let [(first, _), (second, section), ..] = &said[..] {
        reader.wrong(
            section.at.clone(),
            format!("`{first}` and `{second}` are both there"),
            "a view is of one kind: make another view for the other",
        );
        return None;
    }
    let Some((name, inner)) = said.pop() else { return fine.then_some(ViewKind::Document) };
    Some(match name {
        "rank" => ViewKind::Ranking(ranking(reader, inner)?),
        "series" => ViewKind::Series(series(reader, inner)?),
        _ => ViewKind::Edge(edge(reader, inner)?),
    })
}

/// The columns of a document of that kind that come from the row, given what `columns` says and where. Rankings and
/// series say themselves what they show; the key of a series is put in when the table is known.
pub(super) fn columns(
    reader: &mut Reader<'_>,
    kind: &ViewKind,
    said: Option<&Value<'_>>,
    columns: Option<Columns>,
) -> Option<Columns> {
    let own =
        |names: Vec<&Box<str>>| Some(names.into_iter().map(|name| (name.clone(), name.clone())).collect());
    match kind {
        ViewKind::Document => columns,
        ViewKind::Ranking(ranking) => {
            refuse(reader, said, "columns", "a ranking shows `within`, `by` and its score: drop `columns`");
            own(ranking.within.iter().chain(&ranking.by).collect())
        }
        ViewKind::Series(series) => {
            refuse(reader, said, "columns", "name what a point shows in the `fields` of the series");
            own([&series.time].into_iter().chain(&series.tags).chain(&series.fields).collect())
        }
        ViewKind::Edge(edge) if said.is_none() => own(vec![&edge.source, &edge.target]),
        ViewKind::Edge(edge) => Some(with_ends(reader, edge, said, columns?)),
    }
}

/// The properties that an edge shows, its ends first.
fn with_ends(
    reader: &mut Reader<'_>,
    edge: &Edge,
    said: Option<&Value<'_>>,
    mut columns: Columns,
) -> Columns {
    for (place, end) in [&edge.source, &edge.target].into_iter().enumerate() {
        if columns.iter().any(|(column, field)| column == end && field == end) {
            continue;
        }
        if columns.iter().any(|(_, field)| field == end) {
            let at = said.map_or(0..0, |said| said.span());
            reader.wrong(
                at,
                format!("the field `{end}` is an end of the edge and another column"),
                "give the other column another field: columns = { other_name = \"column\" }",
            );
        } else {
            columns.insert(place.min(columns.len()), (end.clone(), end.clone()));
        }
    }
    columns
}

/// `name` has no place in this view.
pub(super) fn refuse(reader: &mut Reader<'_>, said: Option<&Value<'_>>, name: &str, remedy: &str) {
    if let Some(said) = said {
        reader.wrong(said.span(), format!("`{name}` has no place here"), remedy);
    }
}

fn ranking(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<Ranking> {
    let by = columns_of(reader, &mut section, "by", "name what is ranked: by = \"book_id\"");
    let within =
        section.take(reader, "within").map_or(Some(Vec::new()), |value| names(reader, value, "within"));
    let score = section.take(reader, "score");
    if score.is_none() && !section.misspells("score") {
        reader.missing(section.at.clone(), format!("[{}] has no `score`", section.path), SCORE_REMEDY);
    }
    let score = score.and_then(|value| aggregate(reader, value));
    let at = section.at.clone();
    section.finish(reader);
    let (by, within, (function, column)) = (by?, within?, score?);
    if let Some(twice) = within.iter().find(|name| by.contains(name)) {
        reader.wrong(
            at,
            format!("`{twice}` is in `by` and in `within`"),
            "name it in `within` alone for a ranking per value, in `by` alone to rank by it",
        );
        return None;
    }
    if within.iter().chain(&by).any(|name| **name == *Ranking::SCORE) {
        reader.wrong(
            at,
            format!("a column `{}` would stand where the score stands", Ranking::SCORE),
            "rank by another column: the field of that name is the score",
        );
        return None;
    }
    Some(Ranking { by, within, function, column })
}

fn aggregate(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<(Aggregate, Option<Box<str>>)> {
    let (name, column) = function(reader, value, "score", SCORE_REMEDY)?;
    let function = match &*name {
        "count" => Aggregate::Count,
        "sum" => Aggregate::Sum,
        "min" => Aggregate::Min,
        "max" => Aggregate::Max,
        _ => {
            let remedy = match (nearest(&name, ["count", "sum", "min", "max"]), &*name) {
                (_, "avg") => {
                    "an average of whole numbers is no exact score: rank by sum or count".to_owned()
                }
                (Some(meant), _) => format!("did you mean `{meant}`?"),
                (None, _) => SCORE_REMEDY.to_owned(),
            };
            reader.wrong(value.span(), format!("there is no score `{name}`"), remedy);
            return None;
        }
    };
    if column.is_none() && function != Aggregate::Count {
        reader.wrong(
            value.span(),
            format!("`{name}(*)` names no column"),
            format!("write \"{name}(column)\""),
        );
        return None;
    }
    Some((function, column))
}

/// A function of a column.
pub(super) fn function(
    reader: &mut Reader<'_>,
    value: &Value<'_>,
    name: &str,
    remedy: &str,
) -> Option<call::Call> {
    let text = reader.plain(value, name)?;
    match call::parse(text) {
        Ok(call) => Some(call),
        Err((at, what)) => {
            let span = reader.within(value, at.start, at.len());
            reader.wrong(span, what, remedy);
            None
        }
    }
}

fn series(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<Series> {
    let time = one(reader, &mut section, "time", "name the column that says when: time = \"changed_at\"");
    let tags = section.take(reader, "tags").map_or(Some(Vec::new()), |value| names(reader, value, "tags"));
    let fields = columns_of(reader, &mut section, "fields", "name what is measured: fields = [\"price\"]");
    let at = section.at.clone();
    section.finish(reader);
    let series = Series { time: time?, tags: tags?, fields: fields? };
    let mut seen = vec![&series.time];
    for name in series.tags.iter().chain(&series.fields) {
        if seen.contains(&name) {
            reader.wrong(
                at,
                format!("`{name}` stands twice in the series"),
                "a column is the time, a tag or a field: name it once",
            );
            return None;
        }
        seen.push(name);
    }
    Some(series)
}

fn edge(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<Edge> {
    let source = one(reader, &mut section, "source", "name the column of the edge's start");
    let target = one(reader, &mut section, "target", "name the column of the edge's end");
    let label = label(reader, &mut section);
    let at = section.at.clone();
    section.finish(reader);
    let edge = Edge { source: source?, label: label?, target: target? };
    if edge.source == edge.target {
        reader.wrong(at, "source and target are one column", "an edge joins two values: name two columns");
        return None;
    }
    Some(edge)
}

fn label(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Option<Box<str>> {
    const REMEDY: &str =
        "name the edges with up to 48 letters, digits and _, the first a letter: label = \"BOUGHT\"";
    let Some(value) = section.take(reader, "label") else {
        if !section.misspells("label") {
            reader.missing(section.at.clone(), format!("[{}] has no `label`", section.path), REMEDY);
        }
        return None;
    };
    let label = reader.plain(value, "label")?;
    let well = label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && label.starts_with(|c: char| c.is_ascii_alphabetic())
        && label.len() <= 48;
    if !well {
        reader.wrong(value.span(), format!("`{label}` cannot be a label"), REMEDY);
        return None;
    }
    Some(label.into())
}

/// A required column.
fn one(
    reader: &mut Reader<'_>,
    section: &mut Section<'_>,
    name: &'static str,
    remedy: &str,
) -> Option<Box<str>> {
    let value = required(reader, section, name, remedy)?;
    let column = reader.plain(value, name)?;
    if column.is_empty() {
        reader.wrong(value.span(), format!("`{name}` names no column"), "name a column");
        return None;
    }
    Some(column.into())
}

/// Required columns, one or several.
fn columns_of(
    reader: &mut Reader<'_>,
    section: &mut Section<'_>,
    name: &'static str,
    remedy: &str,
) -> Option<Vec<Box<str>>> {
    let value = required(reader, section, name, remedy)?;
    names(reader, value, name)
}

fn required<'v>(
    reader: &mut Reader<'_>,
    section: &mut Section<'v>,
    name: &'static str,
    remedy: &str,
) -> Option<&'v Value<'v>> {
    let value = section.take(reader, name);
    if value.is_none() && !section.misspells(name) {
        reader.missing(section.at.clone(), format!("[{}] has no `{name}`", section.path), remedy);
    }
    value
}
