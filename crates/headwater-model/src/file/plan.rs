//! `[plan]`: what the planner has to know and cannot see, and what the plan has to keep to.

use std::time::Duration;

use toml::de::DeValue;

use super::read::{Entry, Reader, Section, Value, join};
use super::sections::{amount, duration};
use super::unit::{self, SIZE_REMEDY};
use super::{Named, PlanSection, PlannedAccess, PlannedTable, PlannedView, parse_table_name};
use crate::{Access, View, nearest};

const ROWS_MAX: i64 = 1_000_000_000_000;
const CONNECTIONS_MAX: i64 = 1_000_000;
const MONEY_REMEDY: &str = "write US dollars per month, as in \"2500 USD\"";
const GROWTH_REMEDY: &str = "write a share per year, as in \"40%/year\"";
const SHARE_REMEDY: &str = "write a share of more than 0% and at most 100%, as in \"20%\"";
const FREQUENCY_REMEDY: &str = "write an amount per s, min, h or day, as in \"200/s\" or \"30/min\"";
const SIZE_MAX: u64 = 1 << 30;
const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn plan(
    reader: &mut Reader<'_>,
    section: Option<Section<'_>>,
    views: &[Named<View>],
    access: &[Access],
) -> Option<PlanSection> {
    let mut section = section?;
    let mut plan = PlanSection::default();
    let region = section.take(reader, "region");
    plan.region =
        region.and_then(|value| reader.plain(value, "region").map(Into::into)).unwrap_or(plan.region);
    plan.regions = names(reader, &mut section, "regions");
    plan.residency = names(reader, &mut section, "residency");
    plan.budget_usd = of(reader, &mut section, "budget", unit::parse_money, MONEY_REMEDY);
    plan.growth =
        of(reader, &mut section, "growth", unit::parse_growth, GROWTH_REMEDY).unwrap_or(plan.growth);
    plan.availability = of(reader, &mut section, "availability", unit::parse_share, SHARE_REMEDY);
    plan.rto = duration(reader, &mut section, "rto", Duration::from_secs(1), DAY);
    plan.rpo = duration(reader, &mut section, "rpo", Duration::ZERO, DAY);
    plan.average =
        of(reader, &mut section, "average", unit::parse_share, SHARE_REMEDY).unwrap_or(plan.average);
    plan.hot = of(reader, &mut section, "hot", unit::parse_share, SHARE_REMEDY).unwrap_or(plan.hot);
    plan.cross_zone =
        of(reader, &mut section, "cross_zone", share_or_none, SHARE_REMEDY).unwrap_or(plan.cross_zone);
    plan.upkeep_usd =
        of(reader, &mut section, "upkeep", unit::parse_money, MONEY_REMEDY).unwrap_or(plan.upkeep_usd);
    plan.connections = whole(reader, &mut section, "connections", CONNECTIONS_MAX);
    plan.without = names(reader, &mut section, "without");
    if let Some(inner) = section.take_section(reader, "tables") {
        plan.tables = tables(reader, inner);
    }
    if let Some(inner) = section.take_section(reader, "views") {
        let known: Vec<&str> = views.iter().map(|(name, _)| &**name).collect();
        plan.views = each(reader, inner, "view", &known, |reader, name, mut section| {
            let documents = whole(reader, &mut section, "documents", ROWS_MAX);
            let document_bytes = bytes(reader, &mut section, "document");
            section.finish(reader);
            PlannedView { view: name.into(), documents, document_bytes }
        });
    }
    if let Some(inner) = section.take_section(reader, "access") {
        let known: Vec<&str> = access.iter().map(|access| &*access.name).collect();
        plan.access = each(reader, inner, "access pattern", &known, |reader, name, mut section| {
            let rows = whole(reader, &mut section, "rows", ROWS_MAX);
            let hottest = of(reader, &mut section, "hottest", unit::parse_share, SHARE_REMEDY);
            let strong = section.take(reader, "consistency").is_some_and(|value| strong(reader, value));
            section.finish(reader);
            PlannedAccess { access: name.into(), rows, hottest, strong }
        });
    }
    section.finish(reader);
    Some(plan)
}

fn names(reader: &mut Reader<'_>, section: &mut Section<'_>, key: &'static str) -> Vec<Box<str>> {
    let names = section.take(reader, key).and_then(|value| reader.strings(value, key));
    names.unwrap_or_default().into_iter().map(|(name, _)| name.into()).collect()
}

fn share_or_none(text: &str) -> Option<u32> {
    if text.trim() == "0%" { Some(0) } else { unit::parse_share(text) }
}

fn tables(reader: &mut Reader<'_>, mut section: Section<'_>) -> Vec<PlannedTable> {
    let mut tables: Vec<PlannedTable> = Vec::new();
    for Entry { name, key, value, .. } in section.rest() {
        let table = match parse_table_name(name) {
            Ok(table) => table,
            Err((_, what)) => {
                reader.wrong(
                    key.span(),
                    what,
                    "write it as a view's `from` has it: [plan.tables.\"sales.orders\"]",
                );
                continue;
            }
        };
        let Some(mut inner) = Section::of(reader, join(&section.path, name), key.span(), value) else {
            continue;
        };
        let rows = whole(reader, &mut inner, "rows", ROWS_MAX);
        let row_bytes = bytes(reader, &mut inner, "row");
        let writes = of(reader, &mut inner, "writes", unit::parse_frequency, FREQUENCY_REMEDY);
        inner.finish(reader);
        if tables.iter().any(|other| other.table == table) {
            reader.wrong(key.span(), format!("table `{name}` is there twice"), "put the two together");
            continue;
        }
        tables.push(PlannedTable { table, path: name.into(), rows, row_bytes, writes_per_second: writes });
    }
    tables
}

/// Every entry of a section whose names are those of something else in the file.
fn each<T>(
    reader: &mut Reader<'_>,
    mut section: Section<'_>,
    what: &str,
    known: &[&str],
    mut read: impl FnMut(&mut Reader<'_>, &str, Section<'_>) -> T,
) -> Vec<T> {
    let mut all = Vec::new();
    for Entry { name, key, value, .. } in section.rest() {
        if !known.contains(&name) {
            let remedy = match nearest(name, known.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("the names here are those of the file: {}", known.join(", ")),
            };
            reader.missing(key.span(), format!("there is no {what} `{name}`"), remedy);
            continue;
        }
        let path = join(&section.path, name);
        if let Some(inner) = Section::of(reader, path, key.span(), value) {
            all.push(read(reader, name, inner));
        }
    }
    all
}

fn of<T>(
    reader: &mut Reader<'_>,
    section: &mut Section<'_>,
    name: &'static str,
    parse: fn(&str) -> Option<T>,
    remedy: &str,
) -> Option<T> {
    let value = section.take(reader, name)?;
    amount(reader, value, name, parse, remedy)
}

fn whole(reader: &mut Reader<'_>, section: &mut Section<'_>, name: &'static str, max: i64) -> Option<u64> {
    let value = section.take(reader, name)?;
    reader.integer(value, name, 1..=max).map(|number| number as u64)
}

/// Of one row or document.
fn bytes(reader: &mut Reader<'_>, section: &mut Section<'_>, name: &'static str) -> Option<u64> {
    let value = section.take(reader, name)?;
    let bytes = amount(reader, value, name, unit::parse_size, SIZE_REMEDY)?;
    if !(1..=SIZE_MAX).contains(&bytes) {
        reader.wrong(
            value.span(),
            format!("`{name}` is out of range"),
            format!("write \"1B\" to \"{}\": it is the average of one", unit::show_size(SIZE_MAX)),
        );
        return None;
    }
    Some(bytes)
}

fn strong(reader: &mut Reader<'_>, value: &Value<'_>) -> bool {
    match value.get_ref() {
        DeValue::String(text) if *text == "strong" => true,
        DeValue::String(text) if *text == "eventual" => false,
        _ => {
            reader.wrong(
                value.span(),
                "`consistency` is neither \"strong\" nor \"eventual\"",
                "\"strong\": every answer shows everything committed before it was asked for; \"eventual\": `stale` says how old it may be",
            );
            false
        }
    }
}
