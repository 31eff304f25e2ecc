//! A database of documents on machines over shared storage.

use super::{
    Answered, CPU, GB, GIB, HOURS, Kept, Line, MEMORY, Market, Offer, Recovery, SECONDS, Setup, Shape,
    Unable, baseline, load, unable,
};
use crate::catalog::InstanceOffer;
use crate::plan::workload::{PatternKind, PatternLoad, ViewLoad};

const SERVICE: &str = "documentdb";
const DOCUMENT_BYTES_MAX: f64 = 16e6;
/// A document is written to the log and to its page.
const REQUESTS_PER_WRITE: f64 = 2.0;

pub(super) fn offer(market: &mut Market<'_>, all: &mut Vec<Offer>) {
    let Some(known) = market.catalog.service(SERVICE) else { return };
    let figures = market.figures.clone();
    let region = market.workload.region.clone();
    let classes: Vec<_> = known
        .instances(&region, InstanceOffer::Standard)
        .map(|(name, usd)| (name.to_owned(), usd.clone()))
        .collect();
    if classes.is_empty() {
        market.gaps.push(format!("{}: no prices in {region}", known.title));
        return;
    }
    if let Some(gap) = known.gaps.first() {
        market
            .gaps
            .push(format!("{}: sized with the classes whose price is known; missing: {gap}", known.title));
    }
    let mut setups = Vec::new();
    for (name, usd) in classes {
        let Some(class) = market.catalog.class(&name) else { continue };
        let processors = class.vcpu * baseline(&figures, &name) * figures.processor_share;
        for instances in 1..=3usize {
            let several = instances > 1;
            setups.push(Setup {
                label: format!("{instances} × {name}"),
                shape: Shape { class: Some(name.clone()), replicas: instances - 1, ..Shape::default() },
                lines: vec![Line::new(
                    format!("{instances} × {name}"),
                    instances as f64 * HOURS,
                    "hours",
                    usd.value,
                    &usd.origin,
                )],
                capacity: load(&[(CPU, processors), (MEMORY, class.memory_gib * figures.memory_share)]),
                sla: market.sla(SERVICE, if several { "sla" } else { "sla-single-az" }),
                recovery: Recovery {
                    switch_s: if several { figures.document_failover_s } else { figures.recreate_s },
                    replay_s: 0.0,
                    reconnect_s: 0.0,
                    warm_s: 0.0,
                    source: "the planner's model: the provider publishes none".to_owned(),
                },
                rpo_s: 0.0,
                zones: instances,
            });
        }
    }
    all.extend(market.store((SERVICE, &known.title, "mongodb"), setups, keep, answer));
}

/// `None`: a price is missing.
fn keep(market: &mut Market<'_>, view: &ViewLoad) -> Option<Result<Kept, Unable>> {
    if view.document_bytes > DOCUMENT_BYTES_MAX {
        return Some(Err(unable("item too large", format!("a document of {} is over 16 MB", view.name))));
    }
    let (stored, stored_origin) = market.price(SERVICE, "storage-standard")?;
    let (request, request_origin) = market.price(SERVICE, "i-o-requests")?;
    let gb = view.documents * view.document_bytes / GB;
    let written = view.changes * REQUESTS_PER_WRITE * market.workload.average * SECONDS / 1e6;
    let mut lines = vec![
        Line::new("storage", gb, "GB", stored, &stored_origin),
        Line::new("storage requests", written, "million", request, &request_origin),
    ];
    lines.extend(market.feed(view));
    let figures = &market.figures;
    Some(Ok(Kept {
        lines,
        units: 0.0,
        load: load(&[
            (CPU, view.changes * figures.document_command_us / 1e6),
            (MEMORY, view.documents * view.document_bytes * market.workload.hot / GIB),
        ]),
    }))
}

fn answer(market: &mut Market<'_>, pattern: &PatternLoad) -> Result<Answered, Unable> {
    match pattern.kind {
        PatternKind::Walk { .. } => return Err(unable("cannot answer it", "documents have no walks")),
        PatternKind::Window { summed: true } => {
            return Err(unable("cannot answer it", "not a store for figures per bucket of time"));
        }
        _ => {}
    }
    let figures = market.figures.clone();
    let us = figures.document_command_us + (pattern.rows - 1.0).max(0.0) * figures.row_us;
    Ok(Answered {
        lines: market.transfer(pattern),
        units: 0.0,
        load: load(&[(CPU, pattern.rate * us / 1e6)]),
        p99_ms: figures.document_p99_ms + 3.0 * us / 1e3,
        age_s: figures.derived_lag_s,
        extra: None,
    })
}
