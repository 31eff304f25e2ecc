//! A graph database on machines over shared storage: walks.

use super::{
    Answered, CPU, GB, GIB, HOURS, Kept, Line, MEMORY, Market, Offer, Recovery, SECONDS, Setup, Shape,
    Unable, load, unable,
};
use crate::catalog::InstanceOffer;
use crate::plan::workload::{PatternKind, PatternLoad, ViewLoad};

const SERVICE: &str = "neptune";
/// One capacity unit is about this much memory, and the processor that goes with it.
const UNIT_GIB: f64 = 2.0;
const UNIT_PROCESSORS: f64 = 0.25;
const UNITS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];
const REQUESTS_PER_WRITE: f64 = 2.0;

pub(super) fn offer(market: &mut Market<'_>, all: &mut Vec<Offer>) {
    let walks = market.patterns().iter().any(|p| matches!(p.kind, PatternKind::Walk { .. }));
    if !walks {
        return;
    }
    let Some(known) = market.catalog.service(SERVICE) else { return };
    let Some((unit, origin)) = market.price(SERVICE, "serverless-ncu") else { return };
    let figures = market.figures.clone();
    let region = market.workload.region.clone();
    if let Some(gap) = known.gaps.first() {
        market.gaps.push(format!("{}: sized with what has a price; missing: {gap}", known.title));
    }
    let mut setups = Vec::new();
    for instances in 1..=2usize {
        let several = instances > 1;
        let switch = market
            .published(SERVICE, if several { "failover-with-replica" } else { "failover-without-replica" });
        let (switch_s, source) = switch.unwrap_or((600.0, "not published".to_owned()));
        let recovery = Recovery { switch_s, replay_s: 0.0, reconnect_s: 0.0, warm_s: 0.0, source };
        let sla = market.sla(SERVICE, if several { "sla" } else { "sla-single-az" });
        let count = instances as f64;
        for units in UNITS {
            setups.push(Setup {
                label: format!("{instances} × serverless, {units} NCU"),
                shape: Shape { replicas: instances - 1, units: Some(units), ..Shape::default() },
                lines: vec![Line::new(
                    format!("{instances} × {units} NCU"),
                    count * units * HOURS,
                    "NCU-hours",
                    unit,
                    &origin,
                )],
                capacity: load(&[
                    (CPU, units * UNIT_PROCESSORS * figures.processor_share),
                    (MEMORY, units * UNIT_GIB * figures.memory_share),
                ]),
                sla,
                recovery: recovery.clone(),
                rpo_s: 0.0,
                zones: instances,
            });
        }
        for (name, usd) in known.instances(&region, InstanceOffer::Standard) {
            let Some(class) = market.catalog.class(name) else { continue };
            let processors = class.vcpu * super::baseline(&figures, name) * figures.processor_share;
            setups.push(Setup {
                label: format!("{instances} × {name}"),
                shape: Shape { class: Some(name.to_owned()), replicas: instances - 1, ..Shape::default() },
                lines: vec![Line::new(
                    format!("{instances} × {name}"),
                    count * HOURS,
                    "hours",
                    usd.value,
                    &usd.origin,
                )],
                capacity: load(&[(CPU, processors), (MEMORY, class.memory_gib * figures.memory_share)]),
                sla,
                recovery: recovery.clone(),
                rpo_s: 0.0,
                zones: instances,
            });
        }
    }
    all.extend(market.store((SERVICE, &known.title, "neptune"), setups, keep, answer));
}

fn keep(market: &mut Market<'_>, view: &ViewLoad) -> Option<Result<Kept, Unable>> {
    let (stored, stored_origin) = market.price(SERVICE, "storage-standard")?;
    let (request, request_origin) = market.price(SERVICE, "i-o-requests")?;
    let gb = view.documents * view.document_bytes / GB;
    let written = view.changes * REQUESTS_PER_WRITE * market.workload.average * SECONDS / 1e6;
    let mut lines = vec![
        Line::new("storage", gb, "GB", stored, &stored_origin),
        Line::new("storage requests", written, "million", request, &request_origin),
    ];
    lines.extend(market.feed(view));
    Some(Ok(Kept {
        lines,
        units: 0.0,
        load: load(&[
            (CPU, view.changes * market.figures.write_us / 1e6),
            (MEMORY, view.documents * view.document_bytes * market.workload.hot / GIB),
        ]),
    }))
}

fn answer(market: &mut Market<'_>, pattern: &PatternLoad) -> Result<Answered, Unable> {
    if !matches!(pattern.kind, PatternKind::Walk { .. }) {
        return Err(unable("cannot answer it", "a graph database is for walks"));
    }
    let figures = market.figures.clone();
    let us = figures.statement_us + pattern.rows * figures.graph_edge_us;
    Ok(Answered {
        lines: market.transfer(pattern),
        units: 0.0,
        load: load(&[(CPU, pattern.rate * us / 1e6)]),
        p99_ms: figures.graph_p99_ms + 3.0 * us / 1e3,
        age_s: figures.derived_lag_s,
        extra: None,
    })
}
