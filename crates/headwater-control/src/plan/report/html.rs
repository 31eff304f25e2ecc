//! A plan as one page that loads nothing: figures, reasons, charts. Texts of others are escaped.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::super::charts::{Charts, FACTORS};
use super::drawing;
use super::text::{costs, headline, next, promises, rejected, role, standing};
use super::words::{figure, money, per_second, price, seconds};
use super::{Line, Plan};

const STYLE: &str = include_str!("html.css");

pub fn html(plan: &Plan, charts: &Charts) -> String {
    let kinds = drawing::kinds(charts);
    let headline = headline(plan);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                title { "Plan: " (money(plan.monthly)) " per month in " (plan.region) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header { h1 { "Plan" } @for line in headline.lines() { p { (line) } } }
                main {
                    (engines(plan))
                    section id="costs" {
                        h2 { "Cost by access pattern" }
                        p.soft { "US dollars per month: its answers, and its share of the engine that gives them." }
                        div.drawing tabindex="0" role="region" aria-label="Cost by access pattern, drawn" { (drawing::costs(plan)) }
                    }
                    (growth(charts))
                    (map(charts, &kinds))
                    (patterns(plan))
                    section { h2 { "One database alone" } p { (plan.alone) } }
                    (schemas(plan))
                    (listed("Other regions", &plan.regions))
                    (listed("Warnings", &plan.warnings))
                    (listed("Taken for granted", &plan.assumptions))
                    (listed("Not priced", &plan.gaps))
                    (bill(plan))
                }
            }
        }
    }
    .into_string()
}

fn schemas(plan: &Plan) -> Markup {
    html! {
        @if !plan.alternatives.is_empty() {
            section {
                h2 { "Other schemas" }
                ul {
                    @for other in &plan.alternatives {
                        li { strong { (other.of) } ": " (other.now) ". Instead " (other.instead) ": " (costs(other)) "." }
                    }
                }
            }
        }
    }
}

fn engines(plan: &Plan) -> Markup {
    html! {
        section {
            h2 { "Engines" }
            div.scroll tabindex="0" role="region" aria-label="Engines" {
                table {
                    thead { tr { th scope="col" { "engine" } th scope="col" { "set-up" } th.n scope="col" { "USD/month" }
                        th.n scope="col" { "by contract" } th.n scope="col" { "expected lost" } th.n scope="col" { "RTO" } th.n scope="col" { "RPO" } } }
                    tbody {
                        @for engine in &plan.engines {
                            tr { td { (engine.title) } td { (engine.setup) } td.n { (money(engine.monthly)) } td.n { (engine.sla) "%" }
                                td.n { (format!("{:.1} min/month", engine.minutes_expected)) } td.n { (seconds(engine.rto_s)) }
                                td.n { (seconds(engine.rpo_s)) } }
                        }
                        @for line in &plan.in_step {
                            tr { td { "Headwater" } td { (line.what) } td.n { (money(line.monthly)) } td {} td {} td {} td {} }
                        }
                    }
                }
            }
            @for engine in &plan.engines {
                h3 { (engine.title) }
                p { (role(engine)) ". " (standing(engine)) ". Without it: " (engine.instead) "." }
            }
        }
    }
}

fn growth(charts: &Charts) -> Markup {
    html! {
        section {
            h2 { "Growth" }
            @if charts.growth.len() < 2 {
                p { "The file declares no " code { "growth" } " in [plan]: over 24 months it costs what it costs now." }
            } @else {
                p.soft { "The cheapest plan of each month, chosen anew. An open dot: other engines or set-ups than before it." }
                div.drawing tabindex="0" role="region" aria-label="Growth, drawn" { (drawing::growth(charts)) }
                details {
                    summary { "Figures" }
                    div.scroll tabindex="0" role="region" aria-label="Growth" {
                        table {
                            thead { tr { th.n scope="col" { "month" } th.n scope="col" { "USD/month" } th scope="col" { "engines" } } }
                            tbody { @for grown in &charts.growth {
                                tr { td.n { (grown.months) } td.n { (grown.monthly.map_or("nothing carries it".to_owned(), money)) }
                                    td { (grown.engines.join("; ")) } }
                            } }
                        }
                    }
                }
            }
        }
    }
}

fn map(charts: &Charts, kinds: &[Vec<String>]) -> Markup {
    html! {
        section {
            h2 { "Decision map" }
            p.soft { "Each field is the whole workload chosen for anew, with all rates of reads and all rows multiplied. The framed one is what is declared." }
            div.drawing tabindex="0" role="region" aria-label="Decision map, drawn" { (drawing::map(charts, kinds)) }
            ul.legend {
                @for (place, engines) in kinds.iter().enumerate() {
                    li {
                        svg viewBox="0 0 32 24" aria-hidden="true" {
                            rect class=(format!("c{}", place.min(drawing::COLOURS - 1))) width="32" height="24" rx="3" {}
                            text.middle.on x="16" y="17" { (drawing::letter(place)) }
                        }
                        span { (engines.join(" + ")) }
                    }
                }
            }
            details {
                summary { "Figures" }
                div.scroll tabindex="0" role="region" aria-label="Decision map" {
                    table {
                        thead { tr { th scope="col" { "rows" } th scope="col" { "rates" } th scope="col" { "cheapest" } } }
                        tbody { @for (row, cells) in charts.map.iter().enumerate() { @for (column, cell) in cells.iter().enumerate() {
                            tr { td { (drawing::times(FACTORS[row])) } td { (drawing::times(FACTORS[column])) }
                                td { (drawing::kind(cell, kinds).map_or(String::new(), drawing::letter)) " " (drawing::said(cell)) } }
                        } } }
                    }
                }
            }
        }
    }
}

fn patterns(plan: &Plan) -> Markup {
    html! {
        section {
            h2 { "Access patterns" }
            div.scroll tabindex="0" role="region" aria-label="Access patterns" {
                table {
                    thead { tr { th scope="col" { "pattern" } th.n scope="col" { "rate" } th scope="col" { "answered by" }
                        th.n scope="col" { "USD/month" } th scope="col" { "driven by" } } }
                    tbody { @for pattern in &plan.patterns {
                        tr { td { (pattern.name) " " span.soft { (pattern.kind) } } td.n { (per_second(pattern.rate)) }
                            td { (pattern.engine) } td.n { (money(pattern.monthly)) } td { (pattern.driver) } }
                    } }
                }
            }
            @for pattern in &plan.patterns {
                h3 { (pattern.name) }
                p { (pattern.engine) ": " (pattern.because) "." }
                ul {
                    li { (promises(pattern)) }
                    @if let Some(next) = next(pattern) { li { "runner-up: " (next) } }
                    @if !pattern.rejected.is_empty() { li { "rejected: " (rejected(pattern)) } }
                    @for flip in &pattern.flips { li { "flips " (flip) } }
                }
            }
        }
    }
}

fn listed(title: &str, items: &[String]) -> Markup {
    html! {
        @if !items.is_empty() { section { h2 { (title) } ul { @for item in items { li { (item) } } } } }
    }
}

fn bill(plan: &Plan) -> Markup {
    let line = |of: &str, line: &Line| {
        html! {
            tr { td { (of) ": " (line.what) } td.n { (figure(line.amount)) " " (line.unit) } td.n { (price(line.usd)) }
                td.n { (money(line.monthly)) } td { (line.confidence) } td { (line.date) } td { (line.source) } }
        }
    };
    html! {
        section {
            h2 { "The bill" }
            div.scroll tabindex="0" role="region" aria-label="The bill" {
                table {
                    thead { tr { th scope="col" { "what" } th.n scope="col" { "amount" } th.n scope="col" { "price" } th.n scope="col" { "USD/month" }
                        th scope="col" { "confidence" } th scope="col" { "date" } th scope="col" { "source" } } }
                    tbody {
                        @for engine in &plan.engines { @for one in &engine.lines { (line(&engine.title, one)) } }
                        @for pattern in &plan.patterns { @for one in &pattern.lines { (line(&pattern.name, one)) } }
                        @for one in &plan.in_step { (line("Headwater", one)) }
                    }
                }
            }
            p.soft { "List prices in US dollars: no taxes, discounts, reservations or free tiers. Latencies and processor time are modelled (D): measure yours." }
        }
    }
}
