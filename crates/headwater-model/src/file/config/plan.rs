//! `[plan]` as the effective file has it.

use std::fmt::Write as _;

use super::{key, string};
use crate::file::{PlanSection, show_duration, show_frequency, show_share, show_size};

pub(super) fn plan(plan: &PlanSection, out: &mut String) {
    let _ = writeln!(out, "\n[plan]\nregion = {}", string(&plan.region));
    names("regions", &plan.regions, out);
    names("residency", &plan.residency, out);
    if let Some(budget) = plan.budget_usd {
        let _ = writeln!(out, "budget = \"{budget} USD\"");
    }
    let _ = writeln!(out, "growth = \"{}%/year\"", (plan.growth * 1e6).round() / 1e4);
    if let Some(availability) = plan.availability {
        let _ = writeln!(out, "availability = {}", string(&show_share(availability)));
    }
    for (name, objective) in [("rto", plan.rto), ("rpo", plan.rpo)] {
        if let Some(objective) = objective {
            let _ = writeln!(out, "{name} = {}", string(&show_duration(objective)));
        }
    }
    let _ = writeln!(
        out,
        "average = {}\nhot = {}\ncross_zone = {}\nupkeep = \"{} USD\"",
        string(&show_share(plan.average)),
        string(&show_share(plan.hot)),
        string(&show_share(plan.cross_zone)),
        plan.upkeep_usd
    );
    if let Some(connections) = plan.connections {
        let _ = writeln!(out, "connections = {connections}");
    }
    names("without", &plan.without, out);
    for table in &plan.tables {
        let _ = writeln!(out, "[plan.tables.{}]", key(&table.path));
        number("rows", table.rows, out);
        size("row", table.row_bytes, out);
        if let Some(writes) = table.writes_per_second {
            let _ = writeln!(out, "writes = {}", string(&show_frequency(writes)));
        }
    }
    for view in &plan.views {
        let _ = writeln!(out, "[plan.views.{}]", key(&view.view));
        number("documents", view.documents, out);
        size("document", view.document_bytes, out);
    }
    for access in &plan.access {
        let _ = writeln!(out, "[plan.access.{}]", key(&access.access));
        number("rows", access.rows, out);
        if let Some(hottest) = access.hottest {
            let _ = writeln!(out, "hottest = {}", string(&show_share(hottest)));
        }
        if access.strong {
            out.push_str("consistency = \"strong\"\n");
        }
    }
}

fn names(name: &str, names: &[Box<str>], out: &mut String) {
    if !names.is_empty() {
        let names: Vec<String> = names.iter().map(|name| string(name)).collect();
        let _ = writeln!(out, "{name} = [{}]", names.join(", "));
    }
}

fn number(name: &str, number: Option<u64>, out: &mut String) {
    if let Some(number) = number {
        let _ = writeln!(out, "{name} = {number}");
    }
}

fn size(name: &str, bytes: Option<u64>, out: &mut String) {
    if let Some(bytes) = bytes {
        let _ = writeln!(out, "{name} = {}", string(&show_size(bytes)));
    }
}
