//! Caches in memory: nodes by the hour in shards with replicas, or paid by what is stored and asked.

use super::{
    Answered, CPU, GB, GIB, HOURS, Kept, Line, MEMORY, Market, Offer, Recovery, SECONDS, Setup, Shape,
    baseline, load, unable,
};
use crate::catalog::InstanceOffer;
use crate::plan::choice::UNLIMITED;
use crate::plan::workload::{PatternLoad, ViewLoad};

const SHARDS: [usize; 10] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32];
const REPLICAS: [usize; 3] = [0, 1, 2];
/// Commands of one shard are run one after the other, whatever else its machine has.
const PROCESSORS_MAX: f64 = 1.0;
/// The service bills at least this much, in GB.
const SERVERLESS_GB_MIN: f64 = 0.1;

pub(super) fn offer(market: &mut Market<'_>, all: &mut Vec<Offer>) {
    for service in ["elasticache-valkey", "elasticache-redis"] {
        nodes(market, service, all);
    }
    serverless(market, "elasticache-valkey", all);
}

fn nodes(market: &mut Market<'_>, service: &str, all: &mut Vec<Offer>) {
    let Some(known) = market.catalog.service(service) else { return };
    let region = market.workload.region.clone();
    let figures = market.figures.clone();
    let classes: Vec<_> = known
        .instances(&region, InstanceOffer::Standard)
        .map(|(name, usd)| (name.to_owned(), usd.clone()))
        .collect();
    if classes.is_empty() {
        market.gaps.push(format!("{}: no prices in {region}", known.title));
        return;
    }
    let mut setups = Vec::new();
    for (name, usd) in classes {
        let Some(class) = market.catalog.class(&name) else { continue };
        let processors =
            (class.vcpu * baseline(&figures, &name)).min(PROCESSORS_MAX) * figures.processor_share;
        // Burstable nodes are for what one of them carries: nobody runs shards of them.
        let burstable = baseline(&figures, &name) < 1.0;
        for shards in SHARDS.into_iter().filter(|shards| !burstable || *shards == 1) {
            for replicas in REPLICAS {
                let count = (shards * (1 + replicas)) as f64;
                let recovery = recovery(market, replicas > 0);
                setups.push(Setup {
                    label: match (shards, replicas) {
                        (1, 0) => format!("{name}, one node"),
                        (1, n) => format!("{name}, 1 shard + {n} replica{}", if n == 1 { "" } else { "s" }),
                        (s, n) => format!("{name}, {s} shards × {} nodes", n + 1),
                    },
                    shape: Shape { class: Some(name.clone()), shards, replicas, ..Shape::default() },
                    lines: vec![Line::new(
                        format!("{count} × {name}"),
                        count * HOURS,
                        "hours",
                        usd.value,
                        &usd.origin,
                    )],
                    capacity: load(&[
                        (CPU, processors * shards as f64),
                        (MEMORY, class.memory_gib * figures.cache_memory_share * shards as f64),
                    ]),
                    sla: market
                        .sla("elasticache", if replicas > 0 { "sla-multi-az" } else { "sla-single-az" }),
                    recovery,
                    rpo_s: 0.0,
                    zones: (1 + replicas).min(3),
                });
            }
        }
    }
    all.extend(market.store(
        (service, &known.title, "redis"),
        setups,
        |market, view| {
            let view = &held(view);
            let load = load(&kept(market, view));
            Some(Ok(Kept { lines: market.feed(view), load, units: 0.0 }))
        },
        |market, pattern| Ok(answer(market, pattern, true)),
    ));
}

/// A store that lost its data is filled again by Headwater: nothing is lost but time.
fn recovery(market: &Market<'_>, replica: bool) -> Recovery {
    let figures = &market.figures;
    if replica {
        return Recovery {
            switch_s: figures.cache_failover_s,
            replay_s: 0.0,
            reconnect_s: 0.0,
            warm_s: 0.0,
            source: "published as seconds; the planner's model says how many".to_owned(),
        };
    }
    Recovery {
        switch_s: figures.cache_recreate_s,
        replay_s: market.refill_s(),
        reconnect_s: 0.0,
        warm_s: 0.0,
        source: "the planner's model: a new node, filled again".to_owned(),
    }
}

/// What is here of a view: of a part its share, and what readers bring in beside what changes.
fn held(view: &ViewLoad) -> ViewLoad {
    let Some(held) = view.held else { return view.clone() };
    ViewLoad {
        documents: view.documents * held.share,
        changes: view.changes * held.share + held.fills,
        ..view.clone()
    }
}

/// Bytes of one document in memory, its places in orders included.
pub(in crate::plan) fn document_bytes(market: &Market<'_>, view: &ViewLoad) -> f64 {
    let indexes =
        market.patterns().iter().filter(|p| p.index.is_some() && p.reads(market.views(), &view.name));
    let mut orders: Vec<&str> = indexes.filter_map(|pattern| pattern.index.as_deref()).collect();
    orders.sort_unstable();
    orders.dedup();
    let figures = &market.figures;
    let entries = orders.len() as f64 * figures.cache_entry_bytes;
    view.document_bytes + figures.cache_document_bytes + entries
}

fn bytes(market: &Market<'_>, view: &ViewLoad) -> f64 {
    view.documents * document_bytes(market, view)
}

fn kept(market: &Market<'_>, view: &ViewLoad) -> Vec<(usize, f64)> {
    let figures = &market.figures;
    vec![(CPU, view.changes * figures.cache_command_us / 1e6), (MEMORY, bytes(market, view) / GIB)]
}

fn answer(market: &mut Market<'_>, pattern: &PatternLoad, nodes: bool) -> Answered {
    let figures = market.figures.clone();
    let kilobytes = pattern.bytes / 1e3;
    // Large values are copied: about a microsecond per kilobyte.
    let us = figures.cache_command_us + (pattern.rows - 1.0).max(0.0) * figures.cache_entry_us + kilobytes;
    Answered {
        lines: market.transfer(pattern),
        units: 0.0,
        load: if nodes { load(&[(CPU, pattern.rate * us / 1e6)]) } else { load(&[]) },
        p99_ms: figures.cache_p99_ms + 3.0 * us / 1e3,
        age_s: figures.derived_lag_s,
        extra: None,
    }
}

fn serverless(market: &mut Market<'_>, service: &str, all: &mut Vec<Offer>) {
    let (Some((stored, stored_origin)), Some((unit, unit_origin))) =
        (market.price(service, "serverless-data-stored"), market.price(service, "serverless-ecpu"))
    else {
        return;
    };
    let title = market.catalog.service(service).map_or(service, |known| &known.title).to_owned();
    let month = market.workload.average * SECONDS / 1e6;
    let setups = vec![Setup {
        label: "serverless".to_owned(),
        shape: Shape::default(),
        lines: Vec::new(),
        capacity: [UNLIMITED; crate::plan::choice::RESOURCES],
        sla: market.sla("elasticache", "sla-multi-az"),
        recovery: recovery(market, true),
        rpo_s: 0.0,
        zones: 3,
    }];
    let keep = |market: &mut Market<'_>, view: &ViewLoad| {
        let view = &held(view);
        let gb = bytes(market, view) / GB;
        let writes = view.changes * (view.document_bytes / 1e3).max(1.0) * month;
        let mut lines = vec![
            Line::new("data stored", gb * HOURS, "GB-hours", stored, &stored_origin),
            Line::new("writing what changes", writes, "million ECPU", unit, &unit_origin),
        ];
        lines.extend(market.feed(view));
        Some(Ok(Kept { lines, load: load(&[]), units: 0.0 }))
    };
    let asked_origin = unit_origin.clone();
    let ask = move |market: &mut Market<'_>, pattern: &PatternLoad| {
        if matches!(pattern.kind, crate::plan::workload::PatternKind::Walk { .. }) && pattern.rows > 1e5 {
            return Err(unable("cannot answer it", "a walk of so many edges is not one request"));
        }
        let units = pattern.rate * (pattern.bytes / 1e3).max(pattern.rows.min(1e5) / 10.0).max(1.0) * month;
        let mut answered = answer(market, pattern, false);
        answered.lines.insert(0, Line::new("reading", units, "million ECPU", unit, &asked_origin));
        Ok(answered)
    };
    let (name, title) = (format!("{service}-serverless"), format!("{title} Serverless"));
    let Some(mut offer) = market.store((&name, &title, "redis"), setups, keep, ask) else { return };
    // What is stored is billed in full beside it: at most so much too high, never too low.
    offer.once.push(Line::new(
        "the least that is billed",
        SERVERLESS_GB_MIN * HOURS,
        "GB-hours",
        stored,
        &stored_origin,
    ));
    all.push(offer);
}
