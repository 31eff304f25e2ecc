//! A plan as a part of a design document.

use std::fmt::Write as _;

use super::Plan;
use super::text::{costs, headline, next, promises, rejected, role, standing};
use super::words::{figure, money, per_second, price, seconds};

pub fn markdown(plan: &Plan) -> String {
    let mut out = String::from("# Plan\n\n");
    let _ = writeln!(out, "{}\n", headline(plan).replace('\n', "  \n"));
    out.push_str("## Engines\n\n| engine | set-up | USD/month | by contract | expected lost | RTO | RPO |\n|---|---|--:|--:|--:|--:|--:|\n");
    for engine in &plan.engines {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {}% | {:.1} min/month | {} | {} |",
            engine.title,
            engine.setup,
            money(engine.monthly),
            engine.sla,
            engine.minutes_expected,
            seconds(engine.rto_s),
            seconds(engine.rpo_s)
        );
    }
    let own: f64 = plan.in_step.iter().map(|line| line.monthly).sum();
    if own > 0.0 {
        let _ = writeln!(out, "| Headwater | {} | {} | | | | |", plan.in_step[0].what, money(own));
    }
    for engine in &plan.engines {
        let _ = writeln!(
            out,
            "\n**{}**: {}.  \n{}.  \nWithout it: {}.",
            engine.title,
            role(engine),
            standing(engine),
            engine.instead
        );
    }
    out.push_str("\n## Access patterns\n\n| pattern | rate | answered by | USD/month | driven by |\n|---|--:|---|--:|---|\n");
    for pattern in &plan.patterns {
        let _ = writeln!(
            out,
            "| {} ({}) | {} | {} | {} | {} |",
            pattern.name,
            pattern.kind,
            per_second(pattern.rate),
            pattern.engine,
            money(pattern.monthly),
            pattern.driver
        );
    }
    for pattern in &plan.patterns {
        let _ = writeln!(out, "\n### {}\n\n{}: {}.", pattern.name, pattern.engine, pattern.because);
        let _ = writeln!(out, "\n- {}", promises(pattern));
        if let Some(next) = next(pattern) {
            let _ = writeln!(out, "- runner-up: {next}");
        }
        if !pattern.rejected.is_empty() {
            let _ = writeln!(out, "- rejected: {}", rejected(pattern));
        }
        for flip in &pattern.flips {
            let _ = writeln!(out, "- flips {flip}");
        }
    }
    let _ = writeln!(out, "\n## One database alone\n\n{}", plan.alone);
    if !plan.alternatives.is_empty() {
        out.push_str("\n## Other schemas\n\n| of | now | instead | whole bill |\n|---|---|---|---|\n");
        for other in &plan.alternatives {
            let _ = writeln!(out, "| {} | {} | {} | {} |", other.of, other.now, other.instead, costs(other));
        }
    }
    if !plan.grown.is_empty() {
        out.push_str("\n## Growth\n\n| months | USD/month | engines |\n|--:|--:|---|\n");
        let _ = writeln!(out, "| 0 | {} | as above |", money(plan.monthly));
        for grown in &plan.grown {
            let monthly = grown.monthly.map_or("nothing carries it".to_owned(), money);
            let _ = writeln!(out, "| {} | {monthly} | {} |", grown.months, grown.engines.join("; "));
        }
    }
    let lists = [
        ("Other regions", &plan.regions),
        ("Warnings", &plan.warnings),
        ("Taken for granted", &plan.assumptions),
        ("Not priced", &plan.gaps),
    ];
    for (title, items) in lists {
        if !items.is_empty() {
            let _ = writeln!(out, "\n## {title}\n");
            items.iter().for_each(|item| _ = writeln!(out, "- {item}"));
        }
    }
    out.push_str("\n## The bill\n\n| what | amount | price | USD/month | confidence | date | source |\n|---|--:|--:|--:|---|---|---|\n");
    for engine in &plan.engines {
        engine.lines.iter().for_each(|line| bill(&engine.title, line, &mut out));
    }
    for pattern in &plan.patterns {
        pattern.lines.iter().for_each(|line| bill(&pattern.name, line, &mut out));
    }
    plan.in_step.iter().for_each(|line| bill("Headwater", line, &mut out));
    out.push_str("\nList prices in US dollars: no taxes, discounts, reservations or free tiers. Latencies and processor time are modelled (D): measure yours.\n");
    out
}

fn bill(of: &str, line: &super::Line, out: &mut String) {
    let _ = writeln!(
        out,
        "| {of}: {} | {} {} | {} | {} | {} | {} | {} |",
        line.what,
        figure(line.amount),
        line.unit,
        price(line.usd),
        money(line.monthly),
        line.confidence,
        line.date,
        line.source.replace('|', "\\|")
    );
}
