//! What was measured, as access patterns with rates and as a first `[plan]`.
//!
//! Invariant: a figure in the file was counted or is an estimate of the source's; what is not known is a comment that says so.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use headwater_model::file::{show_size, toml_key, toml_string};
use headwater_model::{SourceFacts, SourceUsage, TableFacts, TableUsage};

use super::choose::{Choice, What};
use super::statements::{Asks, Understood, understand};
use super::{access, names, write};

/// Statements that stay comments are shown up to this many, and this long.
const LEFT_SHOWN: usize = 40;
const TEXT_SHOWN: usize = 160;

/// What is written less often than this is told of per day.
const DAY: f64 = 86_400.0;
const YEAR: f64 = 365.25 * DAY;

/// Over less time nothing is said of growth.
const GROWTH_AFTER: f64 = 7.0 * DAY;

pub(super) struct Measured<'u> {
    usage: Option<&'u SourceUsage>,
    pub patterns: Vec<Pattern<'u>>,
    /// With the reason why.
    pub left: Vec<(&'static str, Understood<'u>)>,
}

/// Statements that ask the same.
pub(super) struct Pattern<'u> {
    /// The place of the choice whose view answers.
    choice: usize,
    asks: Asks,
    reads: f64,
    rows: f64,
    took_ms: f64,
    calls: f64,
    statements: Vec<Understood<'u>>,
}

pub(super) fn read<'u>(
    facts: &SourceFacts,
    choices: &[Choice<'_>],
    usage: Option<&'u SourceUsage>,
) -> Measured<'u> {
    let tables: Vec<&TableFacts> = facts.tables.iter().collect();
    let statements = usage.and_then(|usage| usage.statements.as_deref()).unwrap_or_default();
    let mut measured = Measured { usage, patterns: Vec::new(), left: Vec::new() };
    for statement in understand(statements, &tables) {
        let (choice, asks) = match answerable(&statement, choices) {
            Ok(found) => found,
            Err(why) => {
                measured.left.push((why, statement));
                continue;
            }
        };
        let (calls, rows) = (statement.usage.calls as f64, statement.usage.rows as f64);
        // Of several keys at once each is a read of its own.
        let (reads, asks) = match asks {
            Asks::Key { many: true } => (rows.max(calls), Asks::Key { many: false }),
            asks => (calls, asks),
        };
        let same = measured.patterns.iter().position(|p| p.choice == choice && p.asks == asks);
        let at = same.unwrap_or_else(|| {
            let new = Pattern {
                choice,
                asks,
                reads: 0.0,
                rows: 0.0,
                took_ms: 0.0,
                calls: 0.0,
                statements: Vec::new(),
            };
            measured.patterns.push(new);
            measured.patterns.len() - 1
        });
        let pattern = &mut measured.patterns[at];
        pattern.reads += reads;
        pattern.rows += rows;
        pattern.calls += calls;
        pattern.took_ms += statement.usage.took_ms;
        pattern.statements.push(statement);
    }
    measured.patterns.sort_by(|a, b| b.reads.total_cmp(&a.reads));
    measured.left.sort_by_key(|(_, statement)| std::cmp::Reverse(statement.usage.calls));
    measured
}

/// Whether a view of the file answers it.
fn answerable(statement: &Understood<'_>, choices: &[Choice<'_>]) -> Result<(usize, Asks), &'static str> {
    let (table, asks) = statement.asks.clone()?;
    let choice = &choices[table];
    match &choice.what {
        What::View { .. } => {}
        What::Joins => return Err("reads a table that only joins others"),
        What::Left { .. } => return Err("reads a table that cannot be followed"),
    }
    let plain = |column: &str| access::is_plain(choice.table, column);
    let fits = match &asks {
        Asks::Key { .. } => choice.table.key.iter().all(|column| plain(column)),
        Asks::Equal { by, order, .. } => {
            by.iter().all(|column| plain(column) && !access::is_param(column))
                && order.iter().all(|(column, _)| plain(column))
        }
        Asks::Ranked { .. } => true,
    };
    if fits { Ok((table, asks)) } else { Err("asks by a column that no access pattern can ask by") }
}

pub(super) fn section(
    out: &mut String,
    facts: &SourceFacts,
    choices: &[Choice<'_>],
    measured: &Measured<'_>,
) -> std::fmt::Result {
    let seconds = measured.usage.and_then(|usage| usage.statements_for);
    let mut answers = Vec::new();
    match measured.usage {
        Some(usage) if usage.statements.is_some() => {
            writeln!(
                out,
                "\n# How applications read: what the database counted {}, each statement as the pattern that answers it.\n\
                 # Rates are means over that time: the busiest hour has more. Look in it with `headwater import --watch 1h`,\n\
                 # or let `headwater run` measure and ask `headwater plan --observed`.",
                over(seconds)
            )?;
            missing(out, usage)?;
            let mut taken = BTreeSet::new();
            for pattern in &measured.patterns {
                answers.extend(write_pattern(out, choices, pattern, seconds, &mut taken)?);
            }
            if measured.patterns.is_empty() {
                writeln!(
                    out,
                    "#\n# No statement was counted that asks for rows of these tables by given values."
                )?;
            }
            write_left(out, measured, seconds)?;
        }
        usage => {
            writeln!(out, "\n# How applications read is not known:")?;
            match usage {
                Some(usage) => missing(out, usage)?,
                None => writeln!(
                    out,
                    "# this kind of database does not count statements in a way that is read here."
                )?,
            }
            writeln!(out, "# So the access patterns below are guessed from keys, and have no rates.")?;
            access::write(out, choices)?;
        }
    }
    write_plan(out, facts, choices, measured.usage)?;
    if !answers.is_empty() {
        writeln!(out, "\n# Rows of an answer, on average.\n[plan.access]")?;
    }
    answers.iter().try_for_each(|(name, rows)| writeln!(out, "{name} = {{ rows = {rows} }}"))
}

/// What cannot be seen.
fn missing(out: &mut String, usage: &SourceUsage) -> std::fmt::Result {
    for risk in &usage.missing {
        writeln!(out, "# Missing: {}.\n#   {}", write::comment(&risk.what), write::comment(&risk.remedy))?;
    }
    Ok(())
}

fn over(seconds: Option<f64>) -> String {
    match seconds {
        None => "since a time that it does not say".to_owned(),
        Some(s) if s < 180.0 => format!("in {s:.0} s"),
        Some(s) if s < 3.0 * 3_600.0 => format!("in {:.0} min", s / 60.0),
        Some(s) if s < 3.0 * DAY => format!("in {:.0} h", s / 3_600.0),
        Some(s) => format!("in {:.0} days", s / DAY),
    }
}

/// What it is called and how many rows an answer has, if that is not said by the view.
fn write_pattern(
    out: &mut String,
    choices: &[Choice<'_>],
    pattern: &Pattern<'_>,
    seconds: Option<f64>,
    taken: &mut BTreeSet<String>,
) -> Result<Option<(String, f64)>, std::fmt::Error> {
    let choice = &choices[pattern.choice];
    let What::View { name: view, .. } = &choice.what else { return Ok(None) };
    writeln!(out)?;
    for statement in pattern.statements.iter().take(3) {
        writeln!(out, "# {}", shortened(&statement.text))?;
    }
    if pattern.statements.len() > 3 {
        writeln!(out, "# and {} more", pattern.statements.len() - 3)?;
    }
    let took = pattern.took_ms / pattern.calls.max(1.0);
    writeln!(
        out,
        "#   {}{} calls, {:.1} rows and {took:.2} ms each",
        seconds.map_or(String::new(), |s| format!("{}: ", frequency(pattern.reads / s.max(1.0)))),
        write::thousands(pattern.calls as u64),
        pattern.rows / pattern.calls.max(1.0)
    )?;
    let table = &choice.table.name.name;
    let rate =
        seconds.map(|seconds| format!("rate = {}", toml_string(&rate(pattern.reads / seconds.max(1.0)))));
    let rate = rate.unwrap_or_else(|| "# rate = \"100/s\"".to_owned());
    match &pattern.asks {
        Asks::Key { .. } => {
            let name = names::entry(view, taken);
            writeln!(out, "[access.{name}]\nget = {}\n{rate}", toml_string(view))?;
            Ok(None)
        }
        Asks::Equal { by, order, limited } => {
            let wanted = match &by[..] {
                [] => format!("{table}_first"),
                by => format!("{table}_by_{}", by.join("_")),
            };
            let name = names::entry(&wanted, taken);
            let rows = (pattern.rows / pattern.calls.max(1.0)).ceil().max(1.0);
            writeln!(out, "[access.{name}]\nrange = {}", toml_string(view))?;
            if !by.is_empty() {
                writeln!(out, "by = {}", write::list(by))?;
            }
            if !order.is_empty() {
                let order: Vec<Box<str>> = order
                    .iter()
                    .map(|(column, descending)| {
                        format!("{}{column}", if *descending { "-" } else { "" }).into()
                    })
                    .collect();
                writeln!(out, "order = {}", write::list(&order))?;
            }
            if *limited {
                writeln!(
                    out,
                    "limit = {rows}  # as many as were shown on average: the statement's own limit is not counted"
                )?;
            }
            writeln!(out, "{rate}")?;
            Ok(Some((name, rows)))
        }
        Asks::Ranked { by, within, score } => {
            let view = names::entry(&format!("top_{by}_of_{table}"), taken);
            let within = match within.is_empty() {
                true => String::new(),
                false => format!("within = {}, ", write::list(within)),
            };
            writeln!(
                out,
                "# A ranking that is kept would answer it:\n# [views.{view}]\n# from = {}\n# rank = {{ {within}by = {}, score = {} }}\n# [access.{view}]\n# top = {}\n# {}",
                write::from(&choice.table.name),
                toml_string(by),
                toml_string(score),
                toml_string(&view),
                rate.trim_start_matches("# ")
            )?;
            Ok(None)
        }
    }
}

fn write_left(out: &mut String, measured: &Measured<'_>, seconds: Option<f64>) -> std::fmt::Result {
    if measured.left.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n# Counted as well, and no pattern by themselves: the database goes on answering these, or a view of your own does."
    )?;
    for (why, statement) in measured.left.iter().take(LEFT_SHOWN) {
        let often = match seconds {
            Some(seconds) => frequency(statement.usage.calls as f64 / seconds.max(1.0)),
            None => format!("{} calls", write::thousands(statement.usage.calls)),
        };
        writeln!(out, "#   {often}: {why}: {}", shortened(&statement.text))?;
    }
    if measured.left.len() > LEFT_SHOWN {
        writeln!(out, "#   and {} more", measured.left.len() - LEFT_SHOWN)?;
    }
    Ok(())
}

fn write_plan(
    out: &mut String,
    facts: &SourceFacts,
    choices: &[Choice<'_>],
    usage: Option<&SourceUsage>,
) -> std::fmt::Result {
    writeln!(
        out,
        "\n# What `headwater plan` has to know: see docs/plan.md.\n[plan]\n\
         # region = \"us-east-1\"\n# budget = \"2500 USD\"\n# rto = \"2m\"\n# rpo = \"5m\"\n# availability = \"99.9%\""
    )?;
    if usage.is_some_and(|usage| usage.statements.is_some()) {
        writeln!(
            out,
            "# The month's average over the busiest hour: rates above are means, so they are their own average.\naverage = \"100%\""
        )?;
    }
    match usage.map(|usage| usage.sessions).filter(|sessions| *sessions > 0) {
        Some(sessions) => writeln!(
            out,
            "# Sessions of applications when it was looked at; more at other times?\nconnections = {sessions}"
        )?,
        None => writeln!(
            out,
            "# connections = 200  # how many clients are connected at once: nobody was when it was looked at"
        )?,
    }
    match usage.and_then(|usage| growth(facts, usage)) {
        Some(growth) => {
            writeln!(out, "# From rows that were inserted and deleted.\ngrowth = \"{growth:.0}%/year\"")?
        }
        None => writeln!(
            out,
            "# growth = \"20%/year\"  # not known: a week of counting, or a second look, would tell"
        )?,
    }
    let seconds = usage.and_then(|usage| usage.tables_for);
    if usage.is_some() && seconds.is_none() {
        writeln!(
            out,
            "# The database does not say since when it counts writes: `headwater import --watch 10m` counts them itself."
        )?;
    }
    writeln!(out, "\n[plan.tables]")?;
    for Choice { table, .. } in choices {
        // As the views name it.
        let name = toml_key(&headwater_model::file::show_table_name(&unqualified(table)));
        let counted = usage.and_then(|usage| usage.tables.iter().find(|counted| counted.name == table.name));
        let writes = counted.zip(seconds).map(|(counted, s)| counted.writes() as f64 / s.max(1.0));
        if table.rows_estimate == 0 || table.bytes_estimate == 0 {
            writeln!(
                out,
                "{name} = {{ rows = 1, row = \"200B\" }}  # empty, or never analysed: not known, say what you expect"
            )?;
            continue;
        }
        let row = (table.bytes_estimate / table.rows_estimate).max(1);
        let writes = match writes {
            Some(writes) if writes > 0.0 => format!(", writes = {}", toml_string(&frequency(writes))),
            Some(_) => ", writes = \"0/s\"".to_owned(),
            None => String::new(),
        };
        writeln!(
            out,
            "{name} = {{ rows = {}, row = {}{writes} }}",
            table.rows_estimate,
            toml_string(&show_size(row)),
        )?;
    }
    Ok(())
}

fn unqualified(table: &TableFacts) -> headwater_model::TableName {
    let schema = table.name.schema.clone().filter(|schema| &**schema != "public");
    headwater_model::TableName { schema, name: table.name.name.clone() }
}

/// Of all rows, by their size, in percent per year; only after enough time, and only if there is any.
fn growth(facts: &SourceFacts, usage: &SourceUsage) -> Option<f64> {
    let seconds = usage.tables_for.filter(|seconds| *seconds >= GROWTH_AFTER)?;
    let (mut bytes, mut more) = (0.0, 0.0);
    for table in facts.tables.iter().filter(|table| table.rows_estimate > 0) {
        let row = table.bytes_estimate as f64 / table.rows_estimate as f64;
        bytes += table.bytes_estimate as f64;
        let counted = usage.tables.iter().find(|counted| counted.name == table.name);
        more += counted
            .map_or(0.0, |TableUsage { inserted, deleted, .. }| *inserted as f64 - *deleted as f64)
            * row;
    }
    // What is there may all have come within that time: then it says how it was filled, not how it grows.
    let share = (bytes > 0.0).then_some(more / bytes)?;
    (share < 0.5).then(|| share * YEAR / seconds * 100.0).filter(|percent| *percent >= 1.0)
}

/// Whole reads per second, at least one: the file has no less.
fn rate(per_second: f64) -> String {
    format!("{}/s", (per_second.ceil() as u64).max(1))
}

/// In a unit of which there are one or more, to three digits.
fn frequency(per_second: f64) -> String {
    let units = [("s", 1.0), ("min", 60.0), ("h", 3_600.0), ("day", DAY)];
    let fits = units.into_iter().find(|(_, seconds)| per_second * seconds >= 1.0);
    let (unit, seconds) = fits.unwrap_or(("day", DAY));
    let amount = per_second * seconds;
    match amount {
        amount if amount >= 100.0 => format!("{amount:.0}/{unit}"),
        amount if amount >= 10.0 => format!("{amount:.1}/{unit}"),
        amount => format!("{amount:.2}/{unit}"),
    }
}

fn shortened(text: &str) -> String {
    let text = write::comment(text);
    match text.chars().count() > TEXT_SHOWN {
        true => text.chars().take(TEXT_SHOWN - 1).chain(['…']).collect(),
        false => text,
    }
}
