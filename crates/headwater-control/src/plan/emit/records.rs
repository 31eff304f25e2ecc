//! One decision record per engine: what was asked, what was chosen, what else there was, what would change it.

use std::fmt::Write as _;

use super::{Emitted, names};
use crate::plan::report::{figure, money, next, per_second, price, promises, rejected, role, standing};
use crate::plan::{EnginePlan, PatternPlan, Plan};

pub(super) fn all(plan: &Plan) -> Vec<Emitted> {
    let numbered = plan.engines.iter().enumerate();
    numbered
        .map(|(place, engine)| Emitted {
            path: format!("decisions/{:04}-{}.md", place + 1, names::slug(&names::id(&engine.name))),
            text: record(plan, engine, place + 1),
        })
        .collect()
}

fn record(plan: &Plan, engine: &EnginePlan, number: usize) -> String {
    let answered: Vec<&PatternPlan> =
        plan.patterns.iter().filter(|pattern| pattern.engine == engine.title).collect();
    let mut out = format!("# {number}. {}: {}\n\n", engine.title, engine.setup);
    let _ = writeln!(
        out,
        "Accepted for a workload in {} that costs {} per month in all; {} of it are this. Prices are of {}.\n",
        plan.region,
        money(plan.monthly),
        money(engine.monthly),
        plan.dates()
    );
    out.push_str("## What is asked of it\n\n");
    let _ = writeln!(out, "It is {}.\n", role(engine));
    for pattern in &answered {
        let _ = writeln!(
            out,
            "- **{}** ({}, {}): {}",
            pattern.name,
            pattern.kind,
            per_second(pattern.rate),
            promises(pattern)
        );
    }
    if answered.is_empty() {
        out.push_str("- no access pattern is answered from it\n");
    }
    out.push_str("\n## Why this\n\n");
    for pattern in &answered {
        let _ = writeln!(out, "- {}: {}", pattern.name, pattern.because);
    }
    let _ = writeln!(out, "- one database alone: {}", plan.alone);
    out.push_str("\n## What else there was\n\n");
    let _ = writeln!(out, "- without it: {}", engine.instead);
    for pattern in &answered {
        if let Some(next) = next(pattern) {
            let _ = writeln!(out, "- {}: {next}", pattern.name);
        }
        if !pattern.rejected.is_empty() {
            let _ = writeln!(out, "- {}: {}", pattern.name, rejected(pattern));
        }
    }
    out.push_str("\n## What follows\n\n");
    let _ = writeln!(out, "{}.\n", standing(engine));
    out.push_str("| what | amount | price | USD/month | confidence | date |\n|---|--:|--:|--:|---|---|\n");
    let answers = answered.iter().flat_map(|pattern| &pattern.lines);
    for line in engine.lines.iter().chain(answers).filter(|line| line.monthly > 0.0) {
        let _ = writeln!(
            out,
            "| {} | {} {} | {} | {} | {} | {} |",
            line.what,
            figure(line.amount),
            line.unit,
            price(line.usd),
            money(line.monthly),
            line.confidence,
            line.date
        );
    }
    let mine = plan.warnings.iter().filter(|warning| {
        warning.starts_with(&engine.title) || answered.iter().any(|p| warning.starts_with(&*p.name))
    });
    for (place, warning) in mine.enumerate() {
        out.push_str(if place == 0 { "\nTo watch:\n\n" } else { "" });
        let _ = writeln!(out, "- {warning}");
    }
    out.push_str("\n## When to think again\n\n");
    let mut any = false;
    for pattern in &answered {
        for flip in &pattern.flips {
            any = true;
            let _ = writeln!(out, "- {}: {flip}", pattern.name);
        }
    }
    if !any {
        out.push_str("- no rate of a single access pattern would change it\n");
    }
    out.push_str("- `headwater plan --diff` shows what has become of it since\n");
    out
}
