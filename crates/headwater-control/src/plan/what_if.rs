//! Another file for the sake of the question: `access.book_page.rate=10x`.

use std::time::Duration;

use headwater_model::file::{
    File, PlanSection, PlannedTable, parse_duration, parse_frequency, parse_growth, parse_money, parse_rate,
    parse_share, parse_size, parse_table_name, show_table_name,
};
use headwater_model::nearest;

use super::check::check;
use super::workload::Workload;
use crate::Finding;
use crate::catalog::Catalog;

const PATHS: &str = "access.NAME.rate, .p99, .stale; tables.NAME.rows, .row, .writes; budget, growth, availability, rto, rpo, average, hot, cross_zone, upkeep, connections, region, regions, residency";

/// Part of a change, and what is wrong with it.
struct Wrong<'c> {
    part: &'c str,
    what: String,
    remedy: String,
}

/// Changes the file as if it said so. `now`: what the figures are; a value such as `10x` multiplies them. What it finds wrong stands
/// in the change.
pub fn suppose(file: &mut File, now: &Workload, change: &str) -> Result<(), Finding> {
    changed(file, now, change)
        .map_err(|Wrong { part, what, remedy }| Finding::in_text(change, place(change, part), what, remedy))
}

/// What no file may say, of all changes together: which of them says it, and where. Nothing that the file says itself.
pub fn supposed_wrong(file: &File, catalog: &Catalog, changes: &[String]) -> Option<(usize, Finding)> {
    let wrong = check(file, catalog).into_iter().next()?;
    let mut said = changes.iter().enumerate().rev().filter_map(|(at, change)| {
        let (path, value) = parts(change)?;
        let names = matches!(path, "region" | "regions" | "residency").then(|| listed(value))?;
        let named = names.into_iter().find(|name| wrong.message.contains(*name));
        Some((at, change, value, named))
    });
    let first = said.next()?;
    let (at, change, value, named) = match first.3 {
        Some(_) => first,
        None => said.find(|said| said.3.is_some()).unwrap_or(first),
    };
    let remedy = wrong.remedy.unwrap_or_default();
    Some((at, Finding::in_text(change, place(change, named.unwrap_or(value)), wrong.message, remedy)))
}

/// Where a part of a text stands in it.
fn place(text: &str, part: &str) -> std::ops::Range<usize> {
    let from = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize).min(text.len());
    from..(from + part.len()).min(text.len())
}

/// The path without `plan.`, and the value.
fn parts(change: &str) -> Option<(&str, &str)> {
    let (path, value) = change.split_once('=')?;
    let path = path.trim();
    Some((path.strip_prefix("plan.").unwrap_or(path), value.trim()))
}

/// `["us-east-2", "us-west-2"]`, as the file has it, or without brackets and quotes; `none` and `[]` are none.
fn listed(value: &str) -> Vec<&str> {
    if value == "none" {
        return Vec::new();
    }
    let inside = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(value);
    let names = inside.split(',').map(|name| name.trim().trim_matches(['"', '\'']));
    names.filter(|name| !name.is_empty()).collect()
}

fn changed<'c>(file: &mut File, now: &Workload, change: &'c str) -> Result<(), Wrong<'c>> {
    let (path, value) = parts(change).ok_or_else(|| Wrong {
        part: change,
        what: format!("\"{change}\" changes nothing"),
        remedy: "write it as access.NAME.rate=10x".to_owned(),
    })?;
    let words: Vec<&str> = split(path);
    let cannot = || Wrong {
        part: value,
        what: format!("`{value}` cannot be read as a value of `{path}`"),
        remedy: "write it as in the file, as a factor (10x), or none".to_owned(),
    };
    let no_such = || Wrong {
        part: path,
        what: format!("`{path}` cannot be changed"),
        remedy: format!("what can be: {PATHS}"),
    };
    match words[..] {
        ["access", name, key] => {
            let place = now.patterns.iter().position(|pattern| *pattern.name == *name);
            let place = place
                .ok_or_else(|| unknown("access pattern", name, now.patterns.iter().map(|p| &*p.name)))?;
            let pattern = &now.patterns[place];
            let access = file.access.iter_mut().find(|access| *access.name == *name).ok_or_else(cannot)?;
            let ms = |ms: Option<f64>| {
                ms.ok_or_else(|| Wrong {
                    part: value,
                    what: format!("`{path}` is not in the file, so there is nothing to multiply"),
                    remedy: "write a value with its unit".to_owned(),
                })
            };
            match key {
                "rate" => {
                    let rate = times(value)
                        .map(|by| (pattern.rate * by).round() as u64)
                        .or_else(|| parse_rate(value));
                    access.rate_per_second = Some(rate.filter(|rate| *rate > 0).ok_or_else(cannot)?);
                }
                "p99" => {
                    access.p99 = match times(value) {
                        Some(by) => Some(Duration::from_secs_f64(ms(pattern.p99_ms)? * by / 1e3)),
                        None => optional(value, parse_duration).ok_or_else(cannot)?,
                    }
                }
                "stale" => {
                    access.stale = match times(value) {
                        Some(by) => Some(Duration::from_secs_f64(ms(pattern.stale_s)? * by)),
                        None => optional(value, parse_duration).ok_or_else(cannot)?,
                    }
                }
                _ => return Err(no_such()),
            }
        }
        ["tables", name, key] => {
            let table = now
                .tables
                .iter()
                .find(|table| table.name == *name || table.name.ends_with(&format!(".{name}")));
            let table = table.ok_or_else(|| unknown("table", name, now.tables.iter().map(|t| &*t.name)))?;
            let declared = declared(file, &table.name).map_err(|what| Wrong {
                part: name,
                what,
                remedy: String::new(),
            })?;
            let whole = |amount: f64| (amount.round() as u64).max(1);
            match key {
                "rows" => {
                    let rows = times(value)
                        .map(|by| table.rows * by)
                        .or_else(|| value.replace('_', "").parse().ok());
                    declared.rows = Some(whole(rows.filter(|rows: &f64| *rows >= 1.0).ok_or_else(cannot)?));
                }
                "row" => {
                    let bytes = times(value)
                        .map(|by| table.row_bytes * by)
                        .or_else(|| parse_size(value).map(|b| b as f64));
                    declared.row_bytes = Some(whole(bytes.ok_or_else(cannot)?));
                }
                "writes" => {
                    let writes = times(value).map(|by| table.writes * by).or_else(|| parse_frequency(value));
                    declared.writes_per_second = Some(writes.ok_or_else(cannot)?);
                }
                _ => return Err(no_such()),
            }
        }
        [key] => {
            let plan = file.plan.get_or_insert_with(PlanSection::default);
            let by = times(value);
            match key {
                "region" => plan.region = value.trim_matches('"').into(),
                "regions" => plan.regions = listed(value).into_iter().map(Into::into).collect(),
                "residency" => plan.residency = listed(value).into_iter().map(Into::into).collect(),
                "budget" => {
                    plan.budget_usd = match by {
                        Some(by) => plan.budget_usd.map(|usd| (usd as f64 * by) as u64),
                        None => optional(value, parse_money).ok_or_else(cannot)?,
                    }
                }
                "growth" => {
                    plan.growth =
                        by.map(|by| plan.growth * by).or_else(|| parse_growth(value)).ok_or_else(cannot)?
                }
                "availability" => plan.availability = optional(value, parse_share).ok_or_else(cannot)?,
                "rto" => plan.rto = optional(value, parse_duration).ok_or_else(cannot)?,
                "rpo" => plan.rpo = optional(value, parse_duration).ok_or_else(cannot)?,
                "average" => plan.average = parse_share(value).ok_or_else(cannot)?,
                "hot" => plan.hot = parse_share(value).ok_or_else(cannot)?,
                "cross_zone" => {
                    plan.cross_zone = if value == "0%" { 0 } else { parse_share(value).ok_or_else(cannot)? }
                }
                "upkeep" => plan.upkeep_usd = parse_money(value).ok_or_else(cannot)?,
                "connections" => {
                    plan.connections = Some(match by {
                        Some(by) => (now.connections.ok_or_else(cannot)? * by) as u64,
                        None => value.replace('_', "").parse().map_err(|_| cannot())?,
                    })
                }
                _ => return Err(no_such()),
            }
        }
        _ => return Err(no_such()),
    }
    Ok(())
}

/// What the file declares of a table, to be changed.
pub(super) fn declared<'f>(file: &'f mut File, name: &str) -> Result<&'f mut PlannedTable, String> {
    let table = parse_table_name(name).map_err(|(_, what)| what)?;
    let plan = file.plan.get_or_insert_with(PlanSection::default);
    let same = |known: &PlannedTable| {
        known.table.name == table.name
            && (known.table.schema == table.schema || known.table.schema.is_none() || table.schema.is_none())
    };
    let place = plan.tables.iter().position(same).unwrap_or_else(|| {
        plan.tables.push(PlannedTable {
            path: show_table_name(&table).into(),
            table: table.clone(),
            rows: None,
            row_bytes: None,
            writes_per_second: None,
        });
        plan.tables.len() - 1
    });
    Ok(&mut plan.tables[place])
}

/// At dots outside quotes.
fn split(path: &str) -> Vec<&str> {
    match path.split_once('"').and_then(|(before, rest)| Some((before, rest.split_once('"')?))) {
        Some((before, (name, after))) => {
            let mut words: Vec<&str> = before.trim_end_matches('.').split('.').collect();
            words.push(name);
            words.extend(after.trim_start_matches('.').split('.'));
            words
        }
        None => path.split('.').collect(),
    }
}

/// `10x`, `0.5x`.
fn times(value: &str) -> Option<f64> {
    let by: f64 = value.strip_suffix('x')?.parse().ok()?;
    (by.is_finite() && by > 0.0).then_some(by)
}

fn optional<T>(value: &str, parse: fn(&str) -> Option<T>) -> Option<Option<T>> {
    if value == "none" { Some(None) } else { parse(value).map(Some) }
}

fn unknown<'a, 'c>(what: &str, name: &'c str, known: impl Iterator<Item = &'a str> + Clone) -> Wrong<'c> {
    let remedy = match nearest(name, known.clone()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("they are {}", known.collect::<Vec<_>>().join(", ")),
    };
    Wrong { part: name, what: format!("there is no {what} `{name}`"), remedy }
}
