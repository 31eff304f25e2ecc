//! `[access.NAME]`: the named ways in which applications read.

mod walk;
mod window;

use std::collections::BTreeMap;
use std::time::Duration;

use toml::de::DeValue;

use super::read::{Entry, Reader, Section, Value, join, kind};
use super::sections::{amount, check_name, duration};
use super::unit::{self, READS_REMEDY};
use super::views::{names, order};
use super::{Named, default};
use crate::{Access, Pattern, View, ViewId, ViewKind, nearest};
use walk::hops;
use window::window;

const PATTERNS: [&str; 5] = ["get", "range", "top", "walk", "window"];
/// What some patterns take and others do not, with those that do.
const OPTIONS: [(&str, &[&str]); 7] = [
    ("by", &["range"]),
    ("order", &["range"]),
    ("limit", &["range", "top", "walk", "window"]),
    ("every", &["window"]),
    ("zone", &["window"]),
    ("gaps", &["window"]),
    ("figures", &["window"]),
];
const LIMIT_MAX: i64 = 10_000;
const DAY: Duration = Duration::from_secs(86_400);

/// All access patterns, in the order of the file. `views`: every view, and what it is if it could be read.
pub(super) fn access(
    reader: &mut Reader<'_>,
    section: Option<Section<'_>>,
    views: &[Named<View>],
    stores: &[&str],
) -> Vec<Access> {
    let Some(mut section) = section else { return Vec::new() };
    let mut patterns = Vec::new();
    let mut folded: BTreeMap<String, &str> = BTreeMap::new();
    for Entry { name, key, value, .. } in section.rest() {
        check_name(reader, key.span(), "access pattern", name);
        if let Some(other) = folded.insert(name.to_ascii_lowercase(), name) {
            reader.wrong(
                key.span(),
                format!("access patterns `{other}` and `{name}` differ only in case"),
                "rename one of them: people will mix them up",
            );
        }
        if let Some(section) = Section::of(reader, join("access", name), key.span(), value) {
            patterns.extend(one(reader, section, name, views, stores));
        }
    }
    patterns
}

fn one(
    reader: &mut Reader<'_>,
    mut section: Section<'_>,
    name: &str,
    views: &[Named<View>],
    stores: &[&str],
) -> Option<Access> {
    let pattern = pattern(reader, &mut section, views);
    let stores = access_stores(reader, &mut section, pattern.as_ref(), views, stores);
    let source = section.take(reader, "source").map_or(Some(true), |value| boolean(reader, value, "source"));
    let stale = duration(reader, &mut section, "stale", Duration::from_millis(1), DAY);
    let p99 = duration(reader, &mut section, "p99", Duration::from_micros(1), Duration::from_secs(60));
    let rate = section.take(reader, "rate").and_then(|value| rate(reader, value, "rate"));
    section.finish(reader);
    Some(Access {
        name: name.into(),
        pattern: pattern?,
        stores,
        source: source?,
        stale,
        rate_per_second: rate,
        p99,
    })
}

fn pattern(reader: &mut Reader<'_>, section: &mut Section<'_>, views: &[Named<View>]) -> Option<Pattern> {
    let mut said = Vec::new();
    for name in PATTERNS {
        said.extend(section.take(reader, name).map(|value| (name, value)));
    }
    if let [(first, _), (second, value), ..] = said[..] {
        reader.wrong(
            value.span(),
            format!("`{first}` and `{second}` are both there"),
            "an access pattern is one of them: make another for the other",
        );
    }
    if said.is_empty() && !PATTERNS.iter().any(|name| section.misspells(name)) {
        reader.missing(
            section.at.clone(),
            format!("[{}] does not say what it reads", section.path),
            "add get = \"view\", range = \"view\", top = \"ranking\", walk = [\"LABEL>\"] or window = \"series\"",
        );
    }
    let only = match said[..] {
        [(name, value)] => Some((name, value)),
        _ => None,
    };
    for (option, of) in OPTIONS {
        if let Some(value) = section.take(reader, option)
            && let Some((name, _)) = only.filter(|(name, _)| !of.contains(name))
        {
            reader.wrong(
                value.span(),
                format!("`{option}` has nothing to work on in a `{name}`"),
                format!("drop it: it belongs to `{}`", of.join("`, `")),
            );
        }
    }
    let (name, value) = only?;
    match name {
        "get" => Some(Pattern::Get { view: view(reader, value, name, views)? }),
        "range" => range(reader, section, value, views),
        "top" => {
            let limit = limit(reader, section);
            Some(Pattern::Top { view: view(reader, value, name, views)?, limit: limit? })
        }
        "walk" => {
            let limit = limit(reader, section);
            Some(Pattern::Walk { hops: hops(reader, value, views)?, limit: limit? })
        }
        _ => window(reader, section, value, views),
    }
}

fn range(
    reader: &mut Reader<'_>,
    section: &mut Section<'_>,
    value: &Value<'_>,
    views: &[Named<View>],
) -> Option<Pattern> {
    let by = section.take(reader, "by").map_or(Some(Vec::new()), |value| names(reader, value, "by"));
    let order_value = section.take(reader, "order");
    let order = order_value.map_or(Some(Vec::new()), |value| order(reader, value));
    let limit = limit(reader, section);
    let view = view(reader, value, "range", views);
    let (by, order) = (by?, order?);
    if let Some(idle) = order.iter().find(|order| by.contains(&order.column)) {
        reader.wrong(
            order_value.map_or(section.at.clone(), |value| value.span()),
            format!("`{}` is in `by` and in `order`", idle.column),
            "drop it from `order`: all documents of one answer have the same value there",
        );
        return None;
    }
    Some(Pattern::Range { view: view?, by, order, limit: limit? })
}

/// The view that `pattern` reads; one that could not be read is no mistake of the pattern.
fn view(reader: &mut Reader<'_>, value: &Value<'_>, pattern: &str, views: &[Named<View>]) -> Option<ViewId> {
    let name = reader.plain(value, pattern)?;
    let Some((_, known)) = views.iter().find(|(view, _)| **view == *name) else {
        let remedy = match nearest(name, views.iter().map(|(view, _)| &**view)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if views.is_empty() => {
                format!("add it: [views.{}] with from = \"table\"", super::toml_key(name))
            }
            None => format!("the views are {}", list(views.iter().map(|(view, _)| &**view))),
        };
        reader.missing(value.span(), format!("there is no view `{name}`"), remedy);
        return None;
    };
    let known = known.as_ref()?;
    let (fits, wanted, how): (fn(&ViewKind) -> bool, _, _) = match pattern {
        "top" => (
            |kind| matches!(kind, ViewKind::Ranking(_)),
            "ranking",
            "rank = { by = \"column\", score = \"count(*)\" }",
        ),
        "window" => (
            |kind| matches!(kind, ViewKind::Series(_)),
            "series",
            "series = { time = \"column\", fields = [\"column\"] }",
        ),
        _ => (|_| true, "", ""),
    };
    if !fits(&known.kind) {
        let others: Vec<&str> = views
            .iter()
            .filter(|(_, view)| view.as_ref().is_some_and(|view| fits(&view.kind)))
            .map(|(name, _)| &**name)
            .collect();
        let remedy = match others[..] {
            [] => format!("a view becomes a {wanted} by {how}"),
            _ => format!("name a {wanted}: {}", list(others)),
        };
        reader.wrong(
            value.span(),
            format!("`{pattern}` reads a {wanted}, and view `{name}` is none"),
            remedy,
        );
        return None;
    }
    Some(name.into())
}

/// The stores that the file names for a pattern; each must hold every view that the pattern reads.
fn access_stores(
    reader: &mut Reader<'_>,
    section: &mut Section<'_>,
    pattern: Option<&Pattern>,
    views: &[Named<View>],
    known: &[&str],
) -> Vec<Box<str>> {
    let said = section.take(reader, "store");
    let read: Vec<&View> = pattern
        .map(|pattern| pattern.reads(views.iter().filter_map(|(_, v)| v.as_ref())))
        .unwrap_or_default();
    // What is not in a part may be elsewhere: only the document of a key can be looked for there.
    let gets = matches!(pattern, Some(Pattern::Get { .. }));
    let part = |view: &View, store: &str| gets && view.part(store).is_some();
    let lacking = |store: &str| {
        read.iter().find(|view| !view.stores.iter().any(|s| **s == *store) && !part(view, store))
    };
    let holding: Vec<&str> = known.iter().copied().filter(|store| lacking(store).is_none()).collect();
    let Some(value) = said else {
        // A view that names no store has been reported.
        if holding.is_empty() && read.len() > 1 && read.iter().all(|view| !view.stores.is_empty()) {
            reader.wrong(
                section.at.clone(),
                format!("no store holds all of {}", list(read.iter().map(|view| &*view.name))),
                "a walk stays in one store: give these views one in common",
            );
        }
        return Vec::new();
    };
    let mut stores: Vec<Box<str>> = Vec::new();
    for (store, item) in reader.strings(value, "store").unwrap_or_default() {
        if stores.iter().any(|s| **s == *store) {
            reader.wrong(item.span(), format!("`store` names `{store}` twice"), "name it once");
        } else if !known.contains(&store) {
            if !known.is_empty() {
                let remedy = match nearest(store, known.iter().copied()) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("the stores are {}", known.join(", ")),
                };
                reader.missing(item.span(), format!("there is no store `{store}`"), remedy);
            }
        } else if let Some(view) = read.iter().find(|view| !gets && view.part(store).is_some()) {
            reader.wrong(
                item.span(),
                format!(
                    "store `{store}` holds part of view `{}`, and only `get` reads from a part",
                    view.name
                ),
                "name a store that holds all of it",
            );
        } else if let Some(view) = lacking(store) {
            let others = match holding[..] {
                [] => String::new(),
                _ => format!(", or name one that does: {}", holding.join(", ")),
            };
            reader.missing(
                item.span(),
                format!("store `{store}` does not hold view `{}`", view.name),
                format!("add it to the `store` of [views.{}]{others}", super::toml_key(&view.name)),
            );
        } else {
            stores.push(store.into());
        }
    }
    if let [view] = read[..]
        && !stores.is_empty()
        && stores.iter().all(|store| part(view, store))
    {
        reader.wrong(
            value.span(),
            "every store named here holds part of the view: there is none that parts are filled from",
            format!("name one that holds all of it as well: {}", list(view.stores.iter().map(|s| &**s))),
        );
    }
    stores
}

fn limit(reader: &mut Reader<'_>, section: &mut Section<'_>) -> Option<usize> {
    match section.take(reader, "limit") {
        Some(value) => reader.integer(value, "limit", 1..=LIMIT_MAX).map(|limit| limit as usize),
        None => Some(default::ACCESS_LIMIT),
    }
}

pub(super) fn rate(reader: &mut Reader<'_>, value: &Value<'_>, name: &str) -> Option<u64> {
    let rate = amount(reader, value, name, unit::parse_rate, READS_REMEDY)?;
    if rate == 0 {
        reader.wrong(
            value.span(),
            format!("`{name}` is out of range"),
            "write at least \"1/s\", or leave it out",
        );
        return None;
    }
    Some(rate)
}

pub(super) fn boolean(reader: &mut Reader<'_>, value: &Value<'_>, name: &str) -> Option<bool> {
    match value.get_ref() {
        DeValue::Boolean(b) => Some(*b),
        other => {
            reader.wrong(
                value.span(),
                format!("`{name}` is {}, not true or false", kind(other)),
                "write true or false, without quotes",
            );
            None
        }
    }
}

fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}
