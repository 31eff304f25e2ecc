//! What erodes the engines, as the newest examination found it.

use headwater_control::doctor::Standing;
use headwater_model::exam::Urgency;
use maud::{Markup, html};

use super::tables::table;
use super::{FINDINGS_SHOWN, Scene};
use crate::figures::{counted, utc};

pub fn findings(scene: &Scene) -> Markup {
    let ledger = &scene.findings;
    let Some(at) = ledger.at_micros else {
        return html! {
            p.none { "Nothing was examined yet. " code { "headwater doctor" } " does it now." }
        };
    };
    let open: Vec<&Standing> = ledger.open().collect();
    let accepted = ledger.standing.len() - open.len();
    html! {
        p {
            "Examined at " time { (utc(at)) } " (UTC): " (counted(open.len(), "finding"))
            @if accepted > 0 { ", and " (accepted) " accepted" } "."
            @if open.len() > FINDINGS_SHOWN { " The " (FINDINGS_SHOWN) " most urgent are shown; " code { "headwater doctor" } " tells all." }
        }
        @if !ledger.failed.is_empty() {
            ul.errors { @for (engine, why) in &ledger.failed { li { strong { (engine) ": " } "could not be examined: " (why) } } }
        }
        @if !open.is_empty() { (list(&open)) }
    }
}

fn list(open: &[&Standing]) -> Markup {
    let columns = ["Finding", "Where", "What", "What to do", "Since (UTC)"];
    let rows = open.iter().take(FINDINGS_SHOWN).map(|standing| {
        let cells = vec![
            html! {
                span.(class(standing.urgency)) { (standing.urgency.name()) } " " (standing.check)
                div.cause { (standing.title) }
            },
            html! { (standing.engine) ": " (standing.subject) },
            html! { (standing.what) },
            html! { @for line in &standing.remedy { code { (line) } br; } },
            html! { (utc(standing.first_seen_micros)) },
        ];
        (None, cells)
    });
    table("Findings, the most urgent first", &columns, rows.collect())
}

fn class(urgency: Urgency) -> &'static str {
    match urgency {
        Urgency::Critical | Urgency::High => "bad",
        Urgency::Medium => "busy",
        Urgency::Low => "idle",
    }
}
