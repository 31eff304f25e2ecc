//! Another file for the sake of the question: `access.book_page.rate=10x`.

use std::time::Duration;

use headwater_model::file::{
    File, PlanSection, PlannedTable, parse_duration, parse_frequency, parse_growth, parse_money, parse_rate,
    parse_share, parse_size, parse_table_name, show_table_name,
};
use headwater_model::nearest;

use super::workload::Workload;

const PATHS: &str = "access.NAME.rate, .p99, .stale; tables.NAME.rows, .row, .writes; budget, growth, availability, rto, rpo, average, hot, cross_zone, upkeep, connections, region";

/// Changes the file as if it said so. `now`: what the figures are; a value such as `10x` multiplies them.
pub fn suppose(file: &mut File, now: &Workload, change: &str) -> Result<(), String> {
    let (path, value) = change
        .split_once('=')
        .map(|(path, value)| (path.trim(), value.trim()))
        .ok_or_else(|| format!("\"{change}\" changes nothing: write it as access.NAME.rate=10x"))?;
    let path = path.strip_prefix("plan.").unwrap_or(path);
    let words: Vec<&str> = split(path);
    let cannot = || format!("`{value}` cannot be read as a value of `{path}`");
    match words[..] {
        ["access", name, key] => {
            let place = now.patterns.iter().position(|pattern| *pattern.name == *name);
            let place = place
                .ok_or_else(|| unknown("access pattern", name, now.patterns.iter().map(|p| &*p.name)))?;
            let pattern = &now.patterns[place];
            let access = file.access.iter_mut().find(|access| *access.name == *name).ok_or_else(cannot)?;
            let ms = |ms: Option<f64>| {
                ms.ok_or_else(|| format!("`{path}` is not in the file, so there is nothing to multiply"))
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
                _ => return Err(no_such(path)),
            }
        }
        ["tables", name, key] => {
            let table = now
                .tables
                .iter()
                .find(|table| table.name == *name || table.name.ends_with(&format!(".{name}")));
            let table = table.ok_or_else(|| unknown("table", name, now.tables.iter().map(|t| &*t.name)))?;
            let declared = declared(file, &table.name)?;
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
                _ => return Err(no_such(path)),
            }
        }
        [key] => {
            let plan = file.plan.get_or_insert_with(PlanSection::default);
            let by = times(value);
            match key {
                "region" => plan.region = value.into(),
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
                _ => return Err(no_such(path)),
            }
        }
        _ => return Err(no_such(path)),
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

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(name, known.clone()) {
        Some(meant) => format!("there is no {what} `{name}`: did you mean `{meant}`?"),
        None => format!("there is no {what} `{name}`: they are {}", known.collect::<Vec<_>>().join(", ")),
    }
}

fn no_such(path: &str) -> String {
    format!("`{path}` cannot be changed: {PATHS}")
}
