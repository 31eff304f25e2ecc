//! The figures as tables. On a narrow screen each row becomes a card, with the column's name beside each cell; roles are
//! said outright, for a table that is laid out as something else is no table to a screen reader.

use std::time::Duration;

use headwater_flow::serve::stats::HistogramSample;
use headwater_flow::status::{Incident, PartState, PartStatus};
use maud::{Markup, html};

use super::history::WINDOW;
use super::parts::{short, state};
use super::{PatternScene, QUARANTINE_SHOWN, Scene};
use crate::figures::{bytes, count, counted, counted_64, duration_ms, rate, share, took, units, utc};

/// A table; each row is its cells, the first of which names it. `id` of a row keeps its place across updates.
pub(super) fn table(caption: &str, columns: &[&str], rows: Vec<(Option<String>, Vec<Markup>)>) -> Markup {
    html! {
        table role="table" {
            caption { (caption) }
            thead role="rowgroup" {
                tr role="row" { @for column in columns { th role="columnheader" scope="col" { (column) } } }
            }
            tbody role="rowgroup" {
                @for (id, cells) in &rows {
                    tr role="row" id=[id.as_deref()] {
                        @for (i, (cell, column)) in cells.iter().zip(columns).enumerate() {
                            @if i == 0 {
                                th role="rowheader" scope="row" { (cell) }
                            } @else {
                                td role="cell" data-label=(column) { span { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Every part of the flow.
pub fn parts(scene: &Scene) -> Markup {
    let (status, source) = (&scene.status, &scene.status.source);
    let mut rows = vec![
        (
            None,
            vec![
                html! { "Source" },
                state(source.state),
                html! { (rate(source.changes_per_second)) },
                html! { "–" },
                html! { (source.position.as_deref().unwrap_or("–")) },
                html! { @match source.retained_log_bytes {
                    Some(kept) => { (bytes(kept)) " of log kept, at most " (bytes(source.retained_log_bytes_max)) }
                    None => "–",
                } },
            ],
        ),
        (
            None,
            vec![
                html! { "Journal" },
                html! { "–" },
                html! { "–" },
                html! { "–" },
                html! { "offset " (count(status.journal.durable_offset)) },
                html! { (bytes(status.journal.bytes)) ", at most " (bytes(status.journal.bytes_max)) },
            ],
        ),
    ];
    if let Some(mirror) = &status.mirror {
        rows.push((
            None,
            vec![
                html! { "Mirror" },
                html! { "–" },
                html! { "–" },
                html! { (count(mirror.lag_transactions)) " tx" },
                html! { "offset " (count(mirror.offset)) },
                html! { "–" },
            ],
        ));
    }
    for store in &status.stores {
        rows.push((
            None,
            vec![
                html! { "Store " (store.name) },
                state(store.state),
                html! { (rate(store.changes_per_second)) },
                html! { (duration_ms(store.lag_ms)) ", " (count(store.lag_transactions)) " tx" },
                html! { (store.position.as_deref().unwrap_or("–")) },
                html! { @match store.promise.as_deref() {
                    Some("transaction") => "shows whole transactions",
                    Some("key") => "shows key by key",
                    _ => "–",
                } },
            ],
        ));
        for view in &store.views {
            rows.push((
                None,
                vec![
                    html! { span.of { (store.name) " / " } (view.name) },
                    state(view.state),
                    html! { (rate(view.changes_per_second)) },
                    html! { "–" },
                    html! { "–" },
                    html! { @match (&view.error, &view.part, view.rows) {
                        (Some(error), _, _) => (error),
                        (None, Some(part), _) => (part_of_view(part)),
                        (None, None, Some(rows)) => { (count(rows)) " rows" }
                        (None, None, None) => "–",
                    } @if let Some(consumed) = &view.consumed { ", used " (units(consumed)) } },
                ],
            ));
        }
    }
    table("Parts of the flow", &["Part", "State", "Changes/s", "Lag", "Position", "Holds"], rows)
}

/// Of a store that holds part of a view: how full it is, and what it is good for.
fn part_of_view(part: &PartStatus) -> String {
    let reads = part.hits + part.misses;
    let mut said = vec![format!("{} of at most {} rows", count(part.documents), count(part.documents_max))];
    said.push(match share(part.hits, reads) {
        Some(share) => format!("answered {share} of {} reads", count(reads)),
        None => "not read yet".to_owned(),
    });
    let figures = [
        (part.joined, "waited for another reader's load"),
        (part.fills_dropped, "loaded and not taken"),
        (part.evicted, "left to make room"),
        (part.expired, "left for their age"),
    ];
    said.extend(figures.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", count(*n))));
    said.join("; ")
}

/// What is wrong with parts, in their own words.
pub fn errors(scene: &Scene) -> Markup {
    let stores = scene
        .status
        .stores
        .iter()
        .filter_map(|store| Some((format!("Store {}", store.name), store.error.as_ref()?)));
    let standby = scene.status.source.state == PartState::Standby;
    let source =
        scene.status.source.error.as_ref().filter(|_| !standby).map(|error| ("Source".to_owned(), error));
    let errors: Vec<_> = source.into_iter().chain(stores).collect();
    html! {
        @if !errors.is_empty() {
            ul.errors { @for (part, error) in &errors { li { strong { (part) ": " } (error) } } }
        }
    }
}

pub fn patterns(scene: &Scene) -> Markup {
    if scene.patterns.is_empty() {
        return html! { p.none { "The file declares no access pattern." } };
    }
    let rows = scene.patterns.iter().map(|pattern| (None, pattern_row(pattern))).collect();
    let caption = format!("The last {} seconds, against the file's objectives", WINDOW.as_secs());
    table(&caption, &["Pattern", "Reads/s", "p50", "p99", "Age, p99", "Answered by", "Refused"], rows)
}

fn pattern_row(pattern: &PatternScene) -> Vec<Markup> {
    let lately = &pattern.lately;
    let quantile = |of: &HistogramSample, q| of.quantile(q).map_or_else(|| "–".to_owned(), short);
    vec![
        html! { (pattern.name) " " span.kind { (pattern.kind) } },
        html! {
            (rate(lately.reads_per_second)) (curve(&lately.trend))
            @if let Some(wanted) = pattern.rate_per_second {
                @let over = lately.reads_per_second > wanted as f64;
                span.objective.(if over { "missed" } else { "met" }) {
                    @if over { "more than the " } @else { "of " } (count(wanted)) " expected"
                }
            }
        },
        html! { (quantile(&lately.latency, 0.5)) },
        html! { (quantile(&lately.latency, 0.99)) (objective(&lately.latency, pattern.p99)) },
        html! { (quantile(&lately.age, 0.99)) (objective(&lately.age, pattern.stale)) },
        html! {
            @let answering: Vec<_> = lately.by.iter().filter(|(_, per_second)| *per_second > 0.0).collect();
            @if answering.is_empty() { "–" }
            @for (i, (who, per_second)) in answering.into_iter().enumerate() {
                @if i > 0 { ", " }
                (who.as_deref().unwrap_or("the source")) " " (rate(*per_second)) "/s"
            }
        },
        html! {
            @if lately.refused.is_empty() { "none" }
            @for (i, (reason, n)) in lately.refused.iter().enumerate() {
                @if i > 0 { ", " }
                span.missed { (count(*n)) " " (reason) }
            }
        },
    ]
}

/// Whether 99 of 100 keep the objective, as far as buckets tell: missed only if it is certain.
fn objective(of: &HistogramSample, wanted: Option<Duration>) -> Markup {
    let Some(wanted) = wanted else { return html! {} };
    if of.count() == 0 {
        return html! { span.objective { "wanted " (short(wanted)) } };
    }
    let missed = of.surely_above(wanted) * 100 > of.count();
    html! {
        span.objective.(if missed { "missed" } else { "met" }) {
            @if missed { "✕ misses " } @else { "✓ within " } (short(wanted))
        }
    }
}

/// A small curve of the last minute; the figure beside it says what it says.
fn curve(trend: &[f64]) -> Markup {
    const WIDTH: f64 = 72.0;
    const HEIGHT: f64 = 18.0;
    let most = trend.iter().copied().fold(0.0, f64::max);
    if trend.len() < 2 || most <= 0.0 {
        return html! {};
    }
    let step = WIDTH / (trend.len() - 1) as f64;
    let point = |(i, value): (usize, &f64)| {
        format!("{:.1},{:.1}", i as f64 * step, 1.0 + (HEIGHT - 2.0) * (1.0 - value / most))
    };
    let points: Vec<String> = trend.iter().enumerate().map(point).collect();
    html! {
        svg.curve aria-hidden="true" viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } { polyline points=(points.join(" ")) {} }
    }
}

pub fn backfills(scene: &Scene) -> Markup {
    let backfills = &scene.status.backfills;
    if backfills.is_empty() {
        return html! { p.none { "No view is being filled." } };
    }
    let rows = backfills.iter().map(|backfill| {
        let percent = backfill.rows as f64 / backfill.rows_estimate.max(1) as f64 * 100.0;
        (None, vec![
            html! { (backfill.table) },
            html! {
                progress max="100" value={ (format!("{percent:.0}")) } aria-label={ (backfill.table) " read" } {}
                " " (format!("{:.0} %", percent.min(100.0)))
            },
            html! { (count(backfill.rows)) " of about " (count(backfill.rows_estimate)) },
            html! { (rate(backfill.rows_per_second)) },
            html! { (backfill.eta_seconds.map_or_else(|| "–".to_owned(), |s| duration_ms(s * 1000))) },
            html! { (backfill.views.join(", ")) },
        ])
    });
    table(
        "Tables that are read to fill views",
        &["Table", "Read", "Rows", "Rows/s", "Time left", "For"],
        rows.collect(),
    )
}

/// What was compared with the source, and when.
pub fn verification(scene: &Scene) -> Markup {
    let status = &scene.status;
    let views = || status.stores.iter().flat_map(|store| store.views.iter().map(move |view| (store, view)));
    if views().next().is_none() {
        return html! { p.none { "No store holds a view." } };
    }
    let age = |at: i64| took(status.verification.at_micros.saturating_sub(at));
    let rows = views().map(|(store, view)| {
        let mut cells = vec![html! { span.of { (store.name) " / " } (view.name) }];
        match &view.verified {
            None => cells.extend([html! { "never" }, html! { "–" }, html! { "–" }]),
            Some(verified) => cells.extend([
                html! { (age(verified.at_micros)) " ago" },
                html! { (count(verified.rows)) },
                html! { (count(verified.drifted)) },
            ]),
        }
        (Some(format!("verified-{}-{}", store.name, view.name)), cells)
    });
    let verification = &status.verification;
    html! {
        p {
            @match verification.oldest_ms {
                Some(oldest) => { "Every document was compared with the source, none longer ago than " (duration_ms(oldest)) "." }
                None => {
                    (format!("{:.0} %", verification.covered * 100.0)) " of the documents were compared with the source; "
                    (counted_64(verification.never_compared, "view")) " never."
                }
            }
            @if let Some(running) = &verification.running {
                " Now: " (running.subject) ", " (running.doing) ", " (count(running.rows)) " of about "
                (count(running.rows_estimate.max(running.rows))) " rows."
            }
        }
        @for (store, canary) in &verification.canaries {
            p id={ "canary-" (store) } {
                @match (canary.newest_ms, canary.longest_ms, &canary.why_not) {
                    (_, _, Some(why)) => { "Store " (store) " holds no canary: " (why) "." }
                    (Some(newest), Some(longest), _) => {
                        "In store " (store) " a document that was made wrong on purpose was found " (count(canary.detections))
                        @if canary.detections == 1 { " time" } @else { " times" } ", the last time after " (duration_ms(newest))
                        ", after " (duration_ms(longest)) " at most."
                    }
                    _ => { "In store " (store) " no document that was made wrong on purpose was found yet." }
                }
                @if let Some(at) = canary.altered_at_micros { " It is wrong now, since " (age(at)) "." }
            }
        }
        (table("The newest whole comparison of each view", &["View", "Begun", "Rows", "Drifted and left"], rows.collect()))
    }
}

pub fn quarantine(scene: &Scene) -> Markup {
    if scene.quarantine.is_empty() {
        return html! { p.none { "No row is in quarantine." } };
    }
    let refused: u64 = scene.status.stores.iter().map(|store| store.quarantined_rows).sum();
    let total = refused + scene.status.source.quarantined_rows;
    let mut columns = vec!["Key", "Refused by", "View or table", "Reason", "Offset"];
    if scene.operator {
        columns.push("Action");
    }
    let rows = scene.quarantine.iter().map(|row| {
        let place = row.store.as_deref().unwrap_or("the source");
        let mut cells = vec![
            html! { code { (row.key) } },
            html! { (place) },
            html! { (row.view) },
            html! { (row.reason) },
            html! { (count(row.offset)) },
        ];
        if scene.operator {
            cells.push(html! {
                form method="post" action=(scene.at(&format!("/dashboard/quarantine/{}/discard", row.id))) {
                    button type="submit" aria-label={ "Discard " (row.key) " of " (row.view) " in " (place) } {
                        "Discard"
                    }
                }
                @if row.store.is_some() {
                    form method="post" action=(scene.at(&format!("/dashboard/quarantine/{}/retry", row.id))) {
                        button type="submit" aria-label={ "Try again: " (row.key) " of " (row.view) " in " (place) } {
                            "Try again"
                        }
                    }
                }
            });
        }
        (Some(format!("quarantined-{}", row.id)), cells)
    });
    html! {
        p {
            "A store refused these rows: of each it holds an older version, or none; or they have no key that a store could \
             keep them under. All others flow on. Mend a row at the source: it is tried again when it is written there, or \
             when you say so, and leaves this list once it is taken, or deleted. Discarding an entry only takes it off this list."
        }
        (table("Rows in quarantine, the newest first", &columns, rows.collect()))
        @if scene.quarantine.len() >= QUARANTINE_SHOWN && total > QUARANTINE_SHOWN as u64 {
            p { "The newest " (QUARANTINE_SHOWN) " of " (counted_64(total, "row")) "." }
        }
    }
}

/// Entries that are shown at once; the others are behind a button.
const INCIDENTS_OPEN: usize = 12;

/// What waits for somebody, and what is left alone.
pub fn healing(scene: &Scene) -> Markup {
    let heal = &scene.status.heal;
    html! {
        @if heal.safe { p { "Safe mode: nothing is cleared, filled again or repaired without approval." } }
        @for pause in &heal.pauses {
            p { "Healing of " (pause.part) " is paused by " (pause.by)
                @if let Some(until) = pause.until_micros { " until " (utc(until)) } "." }
        }
        @for held in &heal.held {
            div.held id={ "held-" (held.id) } {
                p { strong { (held.part) } " " (held.cause) ". To " (held.action.what()) " waits for "
                    @if held.missing() == 0 { "the end of a pause" } @else { (counted(held.missing(), "approval")) } "." }
                @if let Some(evidence) = &held.evidence { p.cause { (evidence) } }
                @for approval in &held.approvals { p { "Approved by " (approval.name) "." } }
                @if scene.operator && held.missing() > 0 {
                    form method="post" action=(scene.at(&format!("/dashboard/heal/{}/approve", held.id))) {
                        button type="submit" aria-label={ "Approve " (held.action.name()) " of " (held.part) } { "Approve" }
                    }
                }
            }
        }
    }
}

pub fn incidents(scene: &Scene) -> Markup {
    if scene.incidents.is_empty() {
        return html! { p.none { "Nothing has happened yet." } };
    }
    let (open, more) = scene.incidents.split_at(scene.incidents.len().min(INCIDENTS_OPEN));
    html! {
        (timeline(open))
        @if !more.is_empty() {
            details { summary { "Earlier (" (more.len()) ")" } (timeline(more)) }
        }
        p.note { "The newest of the log in the data folder; " code { "headwater incidents" } " shows all of it. Times are UTC." }
    }
}

/// What was broken on purpose lately, and how well it was survived.
pub fn drills(scene: &Scene) -> Markup {
    if scene.drills.is_empty() {
        return html! { p.none { "No drill was run yet: " code { "headwater drill list" } " says which there are." } };
    }
    let columns = ["Drill", "When (UTC)", "Result", "Detected", "Whole again", "Lost", "Where"];
    let rows = scene.drills.iter().map(|report| {
        let measured = &report.measured;
        let ms = |ms: Option<u64>, none: &str| ms.map_or(none.to_owned(), duration_ms);
        let cells = vec![
            html! { (report.drill) },
            html! { (report.at) },
            html! {
                @if report.passed { span.good { "passed" } } @else { span.bad { "failed" } }
                @for failure in &report.failures { div.cause { (failure) } }
            },
            html! { (ms(measured.detected_ms, "nothing to notice")) },
            html! { (ms(measured.rto_ms, "never")) },
            html! { @if report.sandbox { (count(measured.lost_by_source + measured.lost_transactions)) " of " (count(measured.committed)) } @else { "not compared" } },
            html! { @if report.sandbox { "sandbox" } @else { "live" } },
        ];
        (None, cells)
    });
    table("Drills, the newest first", &columns, rows.collect())
}

fn timeline(incidents: &[Incident]) -> Markup {
    html! {
        ol.timeline {
            @for incident in incidents {
                li.(if incident.kind.is_bad() { "bad" } else { "fine" }) {
                    time datetime={ (utc(incident.last_at_micros).replace(' ', "T")) "Z" } { (utc(incident.last_at_micros)) }
                    " " strong { (incident.part) ": " (incident.kind.as_str()) }
                    @if incident.times > 1 { " " span.times { (incident.times) " times since " (utc(incident.at_micros)) } }
                    @if let Some(began) = incident.began_micros { " after " (took(incident.at_micros - began)) }
                    @if !incident.cause.is_empty() { div.cause { (incident.cause) } }
                    @for (name, detail) in [("Seen", &incident.evidence), ("Step", &incident.step), ("Approved by", &incident.approved_by), ("Result", &incident.result)] {
                        @if let Some(detail) = detail { div.cause { (name) ": " (detail) } }
                    }
                }
            }
        }
    }
}
