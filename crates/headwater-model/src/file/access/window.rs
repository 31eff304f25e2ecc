//! `window`: a part of a series, as points or as figures per bucket of time.

use std::time::Duration;

use jiff::tz::TimeZone;
use toml::de::DeValue;

use super::{DAY, limit, view};
use crate::file::Named;
use crate::file::kinds::function;
use crate::file::read::{Entry, Reader, Section, Value, join, kind};
use crate::file::sections::duration;
use crate::{Buckets, Figure, FigureFunction, Gaps, Pattern, View, ViewKind, nearest};

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
    let zone_said = section.take(reader, "zone");
    let zone = match zone_said {
        Some(value) => Some(zone(reader, value, every)?),
        None => None,
    };
    let gaps_said = section.take(reader, "gaps");
    let gaps = match gaps_said {
        Some(value) => gaps(reader, value)?,
        None => Gaps::default(),
    };
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
        (None, None) if zone_said.or(gaps_said).is_some() => reader.wrong(
            zone_said.or(gaps_said).map_or(section.at.clone(), |value| value.span()),
            "`zone` and `gaps` are of buckets of time, and there are none",
            "add every = \"1d\" and figures = { high = \"max(price)\" }",
        ),
        _ => {
            let buckets = every.map(|every| Buckets { every, zone, gaps });
            return Some(Pattern::Window { view, buckets, figures, limit: limit? });
        }
    }
    None
}

/// By whose clocks there are days; `every` has to fit into them.
fn zone(reader: &mut Reader<'_>, value: &Value<'_>, every: Option<Duration>) -> Option<TimeZone> {
    let name = reader.plain(value, "zone")?;
    let Ok(zone) = TimeZone::get(name) else {
        let known: Vec<String> = jiff::tz::db().available().map(|known| known.to_string()).collect();
        let remedy = match nearest(name, known.iter().map(|known| &**known)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "write a zone of the IANA database, as in \"Europe/Vienna\"".to_owned(),
        };
        reader.wrong(value.span(), format!("there is no time zone `{name}`"), remedy);
        return None;
    };
    if every.is_some_and(|every| !Buckets::divides_days(every)) {
        reader.wrong(
            value.span(),
            "`every` does not fit into days, and days are what a zone has of its own",
            "write an `every` of whole days, or one that divides a day, as in \"6h\"; or drop `zone`",
        );
        return None;
    }
    Some(zone)
}

fn gaps(reader: &mut Reader<'_>, value: &Value<'_>) -> Option<Gaps> {
    let word = reader.plain(value, "gaps")?;
    let known = Gaps::ALL.into_iter().find(|gaps| gaps.name() == word);
    if known.is_none() {
        let words: Vec<String> = Gaps::ALL.iter().map(|gaps| format!("\"{}\"", gaps.name())).collect();
        let what = format!("`gaps` is `{word}`");
        reader.wrong(value.span(), what, format!("write one of {}", words.join(", ")));
    }
    known
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
