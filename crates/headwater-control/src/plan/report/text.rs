//! A plan on a terminal.

use std::fmt::Write as _;

use super::words::{figure, money, per_second, percent, price, seconds, size};
use super::{Alternative, EnginePlan, PatternPlan, Plan, Rejected};

/// Lines of a bill below this are added up.
const LINE_MIN: f64 = 0.5;

pub fn text(plan: &Plan) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}", headline(plan));
    out.push_str("\nENGINES\n");
    for engine in &plan.engines {
        engine_text(engine, &mut out);
    }
    if !plan.in_step.is_empty() {
        let own: f64 = plan.in_step.iter().map(|line| line.monthly).sum();
        let _ = writeln!(out, "  {:<58} {:>10}", "Keeping stores in step", money(own));
        lines(&plan.in_step, &mut out);
    }
    out.push_str("\nACCESS PATTERNS\n");
    for pattern in &plan.patterns {
        pattern_text(pattern, &mut out);
    }
    let _ = writeln!(out, "\nONE DATABASE ALONE\n  {}", plan.alone);
    if !plan.alternatives.is_empty() {
        out.push_str("\nOTHER SCHEMAS\n");
        for other in &plan.alternatives {
            let _ = writeln!(
                out,
                "  {:<22} {}\n      now        {}\n      instead    {}",
                other.of,
                costs(other),
                other.now,
                other.instead
            );
        }
    }
    if !plan.grown.is_empty() {
        out.push_str("\nGROWTH\n");
        let _ = writeln!(out, "  now           {:>10}", money(plan.monthly));
        for grown in &plan.grown {
            let monthly = grown.monthly.map_or("nothing carries it".to_owned(), money);
            let _ =
                writeln!(out, "  in {} months  {monthly:>10}  {}", grown.months, grown.engines.join("; "));
        }
    }
    listed("OTHER REGIONS", &plan.regions, &mut out);
    listed("WARNINGS", &plan.warnings, &mut out);
    listed("TAKEN FOR GRANTED", &plan.assumptions, &mut out);
    listed("NOT PRICED", &plan.gaps, &mut out);
    out.push_str("\nWHERE PRICES COME FROM (A price list or documentation, B repository or page of the provider, C third party, D derived)\n");
    for (monthly, date, confidence, source) in plan.origins() {
        let _ = writeln!(out, "  {:>10}  {confidence}  {date:<10}  {source}", money(monthly));
    }
    out.push_str("  List prices in US dollars: no taxes, discounts, reservations or free tiers. Latencies and processor time are modelled (D): measure yours.\n");
    out
}

pub(super) fn headline(plan: &Plan) -> String {
    let proof = match plan.gap {
        gap if gap < 1e-5 => "no other choice is cheaper".to_owned(),
        gap if gap < 1e-3 => "no other choice is 0.1 % cheaper".to_owned(),
        gap => format!("another choice could be {:.1} % cheaper at most", gap * 100.0),
    };
    let engines = match plan.engines.len() {
        1 => "one database".to_owned(),
        n => format!("{n} engines"),
    };
    let mut out = format!(
        "{} per month in {}: {engines}; {proof}; prices of {}",
        money(plan.monthly),
        plan.region,
        plan.dates()
    );
    if plan.upkeep > 0.0 {
        let _ = write!(
            out,
            "\n{} of upkeep for the engines beside the database is not on the bill",
            money(plan.upkeep)
        );
    }
    if let Some(budget) = plan.budget {
        let _ = write!(out, "\n{} of the budget of {} is left", money(budget - plan.monthly), money(budget));
    }
    out
}

pub(super) fn costs(other: &Alternative) -> String {
    let costs = match other.difference {
        None => "nothing would carry it".to_owned(),
        Some(usd) if usd.abs() < 0.5 => "would cost the same".to_owned(),
        Some(usd) if usd < 0.0 => format!("would cost {} less per month", money(-usd)),
        Some(usd) => format!("would cost {} more per month", money(usd)),
    };
    match other.months {
        Some(months) => format!("{costs} in {months} months"),
        None => costs,
    }
}

fn engine_text(engine: &EnginePlan, out: &mut String) {
    let name = format!("{}: {}", engine.title, engine.setup);
    let _ = writeln!(out, "  {name:<58} {:>10}", money(engine.monthly));
    let _ = writeln!(out, "      {}", role(engine));
    lines(&engine.lines, out);
    let own: f64 = engine.lines.iter().map(|line| line.monthly).sum();
    if engine.monthly - own >= LINE_MIN {
        let _ =
            writeln!(out, "      {:<44} {:>10}", "answers, see the patterns", money(engine.monthly - own));
    }
    let _ = writeln!(out, "      {}", standing(engine));
    let _ = writeln!(out, "      without it: {}", engine.instead);
}

pub(in crate::plan) fn role(engine: &EnginePlan) -> String {
    let mut role = match engine.is_source {
        true => "what the application commits to".to_owned(),
        false => format!("keeps {}", engine.views.join(", ")),
    };
    if let Some(used) = engine.processors_used {
        let _ = write!(role, "; {} of its processors for reads in use", percent(used));
    }
    if let Some(used) = engine.memory_used {
        let _ = write!(role, ", {} of its memory", percent(used));
    }
    role
}

pub(in crate::plan) fn standing(engine: &EnginePlan) -> String {
    let mut recovery =
        format!("RTO {} ({} to switch", seconds(engine.rto_s), seconds(engine.recovery.switch_s));
    if engine.recovery.replay_s > 0.05 {
        let what = if engine.is_source { "to replay the log" } else { "to fill it again" };
        let _ = write!(recovery, ", {} {what}", seconds(engine.recovery.replay_s));
    }
    if engine.recovery.reconnect_s > 0.05 {
        let _ = write!(recovery, ", {} for clients to connect again", seconds(engine.recovery.reconnect_s));
    }
    let lost = match (engine.is_source, engine.rpo_s) {
        (false, _) => "nothing lost: it is filled from the database".to_owned(),
        (true, s) if s > 0.0 => format!("RPO {}", seconds(s)),
        (true, _) => "RPO 0 s".to_owned(),
    };
    format!(
        "{}% by contract ({:.1} min/month), {:.1} min/month expected; {recovery}; {}); {lost}",
        engine.sla, engine.minutes_allowed, engine.minutes_expected, engine.recovery.source
    )
}

fn lines(lines: &[super::Line], out: &mut String) {
    let mut rest = (0, 0.0);
    for line in lines {
        if line.monthly < LINE_MIN {
            rest = (rest.0 + 1, rest.1 + line.monthly);
            continue;
        }
        let amount = format!("{} {} at ${}", figure(line.amount), line.unit, price(line.usd));
        let _ = writeln!(
            out,
            "      {:<44} {:>10}  {amount} ({} {})",
            line.what,
            money(line.monthly),
            line.confidence,
            line.date
        );
    }
    if rest.0 > 0 {
        let _ = writeln!(out, "      {:<44} {:>10}", "smaller than $0.50 each", money(rest.1));
    }
}

fn pattern_text(pattern: &PatternPlan, out: &mut String) {
    let _ = writeln!(
        out,
        "  {:<20} {:>9} {:<6} {:<30} {:>9}",
        pattern.name,
        per_second(pattern.rate),
        pattern.kind,
        pattern.engine,
        money(pattern.monthly)
    );
    let _ = writeln!(out, "      {}", promises(pattern));
    let _ = writeln!(out, "      driven by  {}", pattern.driver);
    let _ = writeln!(out, "      why        {}", pattern.because);
    if let Some(next) = next(pattern) {
        let _ = writeln!(out, "      runner-up  {next}");
    }
    if !pattern.rejected.is_empty() {
        let _ = writeln!(out, "      rejected   {}", rejected(pattern));
    }
    if !pattern.flips.is_empty() {
        let _ = writeln!(out, "      flips      {}", pattern.flips.join("; "));
    }
}

pub(in crate::plan) fn promises(pattern: &PatternPlan) -> String {
    let asked = pattern.p99_ms_asked.map_or(String::new(), |ms| format!(" ({ms} asked)"));
    let old = match (pattern.age_s, pattern.age_s_asked) {
        (age, _) if age <= 0.0 => "always current".to_owned(),
        (age, Some(asked)) => format!("up to {} old ({} asked)", seconds(age), seconds(asked)),
        (age, None) => format!("up to {} old", seconds(age)),
    };
    format!(
        "p99 {:.1} ms{asked}, {old}, {} per answer, {}% by contract, {:.1} min/month expected, RTO {}, RPO {}",
        pattern.p99_ms,
        size(pattern.bytes),
        pattern.sla,
        pattern.minutes_expected,
        seconds(pattern.rto_s),
        seconds(pattern.rpo_s)
    )
}

pub(in crate::plan) fn next(pattern: &PatternPlan) -> Option<String> {
    let next = pattern.runner_up.as_ref()?;
    let extra = match next.extra {
        usd if usd < -0.005 => format!("{} less on the bill, more with upkeep", money(-usd)),
        usd if usd < LINE_MIN && next.at_least.is_none() => "at the same cost".to_owned(),
        usd => format!("+{}", money(usd)),
    };
    let mut said = format!("{} {extra}", next.engine);
    match next.at_least {
        Some(least) if least >= LINE_MIN => _ = write!(said, " (at least {})", money(least)),
        Some(_) => said.push_str(" at most"),
        None => {}
    }
    if !next.loses.is_empty() {
        let _ = write!(said, "; loses: {}", next.loses.join(", "));
    }
    if !next.gains.is_empty() {
        let _ = write!(said, "; gains: {}", next.gains.join(", "));
    }
    Some(said)
}

pub(in crate::plan) fn rejected(pattern: &PatternPlan) -> String {
    let all: usize = pattern.rejected.iter().map(|rejected| rejected.options).sum();
    let said = |rejected: &Rejected| format!("{} {}", figure(rejected.options as f64), rejected.reason);
    let reasons: Vec<String> = pattern.rejected.iter().map(said).collect();
    format!("{} set-ups: {}", figure(all as f64), reasons.join("; "))
}

fn listed(title: &str, items: &[String], out: &mut String) {
    if items.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{title}");
    for item in items {
        let _ = writeln!(out, "  - {item}");
    }
}
