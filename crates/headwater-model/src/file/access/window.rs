//! `window`: a part of a series, as points or as figures per bucket of time.

use std::time::Duration;

use toml::de::DeValue;

use super::{DAY, limit, view};
use crate::file::Named;
use crate::file::kinds::function;
use crate::file::read::{Entry, Reader, Section, Value, join, kind};
use crate::file::sections::duration;
use crate::{Figure, FigureFunction, Pattern, View, ViewKind, nearest};

const FIGURE_REMEDY: &str =
    "write count(*), count, sum, min, max, avg, first, last or p1 to p99 of a field, as in \"max(price)\"";

pub(super) fn window(
    reader: &mut Reader<'_>,
    section: &mut Section<'_>,
    value: &Value<'_>,
    views: &[Named<View>],
) -> Option<Pattern> {
    let min = Duration::from_secs(1);
    let every_said = section.take(reader, "every");
    let every = duration(reader, section, "every", min, 366 * DAY);
    let figures_value = section.take(reader, "figures");
    let limit = limit(reader, section);
    let view = view(reader, value, "window", views)?;
    let figures = match figures_value {
        Some(value) => figures(reader, section, value, views, &view)?,
        None => Vec::new(),
    };
    match (every_said, figures_value) {
        (Some(every), None) => reader.wrong(
            every.span(),
            "`every` makes buckets, and nothing says what to show of them",
            "add figures = { high = \"max(price)\" }",
        ),
        (None, Some(figures)) => reader.wrong(
            figures.span(),
            "`figures` are per bucket of time, and nothing says how long one is",
            "add every = \"1d\"",
        ),
        _ => return Some(Pattern::Window { view, every, figures, limit: limit? }),
    }
    None
}

fn figures(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    value: &Value<'_>,
    views: &[Named<View>],
    view: &str,
) -> Option<Vec<Figure>> {
    let DeValue::Table(table) = value.get_ref() else {
        reader.wrong(
            value.span(),
            format!("`figures` is {}, not a table", kind(value.get_ref())),
            "write figures = { high = \"max(price)\", low = \"min(price)\" }",
        );
        return None;
    };
    let series = match views.iter().find(|(name, _)| **name == *view)?.1.as_ref()?.kind {
        ViewKind::Series(ref series) => series,
        _ => return None,
    };
    let path = join(&section.path, "figures");
    let (mut figures, mut fine) = (Vec::new(), true);
    for Entry { name, key, value, .. } in Section::new(path.clone(), value.span(), table).rest() {
        reader.places.put(&join(&path, name), key.span(), value.span());
        if name == &*series.time {
            reader.wrong(
                key.span(),
                format!("the field `{name}` of a bucket is its time"),
                "give the figure another name",
            );
            fine = false;
        }
        match figure(reader, value, name, &series.fields) {
            Some(figure) => figures.push(figure),
            None => fine = false,
        }
    }
    if fine && figures.is_empty() {
        reader.wrong(value.span(), "`figures` has no figure", "name one: { high = \"max(price)\" }");
        fine = false;
    }
    fine.then_some(figures)
}

fn figure(reader: &mut Reader<'_>, value: &Value<'_>, name: &str, fields: &[Box<str>]) -> Option<Figure> {
    let (called, column) = function(reader, value, name, FIGURE_REMEDY)?;
    let Some(function) = FigureFunction::read(&called) else {
        let known = FigureFunction::PLAIN.map(FigureFunction::name);
        let remedy = match nearest(&called, known.iter().map(|name| &**name)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => FIGURE_REMEDY.to_owned(),
        };
        reader.wrong(value.span(), format!("there is no figure `{called}`"), remedy);
        return None;
    };
    match &column {
        None if function != FigureFunction::Count => {
            reader.wrong(value.span(), format!("`{called}(*)` names no field"), FIGURE_REMEDY);
            return None;
        }
        Some(column) if !fields.contains(column) => {
            let remedy = match nearest(column, fields.iter().map(|field| &**field)) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("add it to the `fields` of the series; they are {}", fields.join(", ")),
            };
            reader.wrong(value.span(), format!("the series has no field `{column}`"), remedy);
            return None;
        }
        _ => {}
    }
    Some(Figure { name: name.into(), function, column })
}
