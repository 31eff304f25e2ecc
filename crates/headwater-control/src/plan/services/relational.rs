//! Relational databases: what the application commits to. Sized by processors, memory and connections; they answer everything,
//! as SQL.

use super::{
    Answered, CPU, GB, GIB, HOURS, Line, MEMORY, Market, Offer, PRIMARY, Recovery, SECONDS, Setup, Shape,
    Unable, baseline, load, unable,
};
use crate::catalog::{Class, Figure, InstanceOffer};
use crate::plan::choice::UNLIMITED;
use crate::plan::resilience;
use crate::plan::workload::PatternLoad;

/// How a service stores and stands in for itself.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// A machine with a volume.
    Volume,
    /// Machines over one shared storage that is in three zones.
    Shared,
}

const REPLICAS: [usize; 6] = [0, 1, 2, 3, 5, 8];
/// Volumes up to here have the small share of operations per second.
const SMALL_VOLUME_GB: f64 = 400.0;
const IOPS_SMALL: f64 = 3_000.0;
const IOPS_LARGE: f64 = 12_000.0;
/// Of a volume, and of the service's largest.
const IOPS_MAX: f64 = 64_000.0;
const VOLUME_GB_MIN: f64 = 20.0;

pub(super) fn offer(market: &mut Market<'_>, all: &mut Vec<Offer>) {
    let dialect = &*market.workload.dialect;
    let mysql = dialect.starts_with("mysql") || dialect.starts_with("mariadb");
    let services: &[(&str, Kind)] = if mysql {
        &[("rds-mysql", Kind::Volume), ("aurora-mysql", Kind::Shared)]
    } else {
        &[("rds-postgresql", Kind::Volume), ("aurora-postgresql", Kind::Shared)]
    };
    for (service, kind) in services {
        let Some(known) = market.catalog.service(service) else { continue };
        let mut offer = Offer {
            name: (*service).to_owned(),
            title: known.title.to_string(),
            is_source: true,
            scheme: if mysql { "mysql" } else { "postgres" },
            once: Vec::new(),
            setups: Vec::new(),
            keeps: Vec::new(),
            answers: Vec::new(),
            answer: std::sync::Arc::new(|market, pattern| Ok(answer(market, pattern))),
            too_small: Vec::new(),
        };
        let classes: Vec<(InstanceOffer, String, Figure)> =
            [InstanceOffer::Standard, InstanceOffer::IoOptimized]
                .into_iter()
                .flat_map(|paid| {
                    let classes = known.instances(&market.workload.region, paid);
                    classes.map(move |(class, usd)| (paid, class.to_owned(), usd.clone()))
                })
                .collect();
        if classes.is_empty() {
            market.gaps.push(format!("{}: no prices in {}", known.title, market.workload.region));
            continue;
        }
        for (paid, name, usd) in classes {
            let Some(class) = market.catalog.class(&name).cloned() else { continue };
            match carried(market, &name, &class, mysql) {
                Ok(room) => setups(market, *kind, paid, (&name, &class, &usd), room, &mut offer.setups),
                Err(why) => offer.too_small.push(why),
            }
        }
        offer.once = copied(market, *kind);
        let patterns = market.patterns().to_vec();
        offer.answers = patterns.iter().map(|pattern| Ok(answer(market, pattern))).collect();
        all.push(offer);
    }
}

/// Processors that are left for reads on the primary and on each replica, if the class carries writes, data and clients.
fn carried(market: &Market<'_>, name: &str, class: &Class, mysql: bool) -> Result<(f64, f64), Unable> {
    let (figures, workload) = (&market.figures, market.workload);
    let processors = class.vcpu * baseline(figures, name) * figures.processor_share;
    let writing = workload.writes() * figures.write_us / 1e6;
    if writing >= processors {
        return Err(unable(
            "processors",
            format!("{name}: writes alone need {writing:.1} of {processors:.1} processors"),
        ));
    }
    let hot = workload.bytes() * figures.storage_room * workload.hot / GIB;
    let room = class.memory_gib * figures.memory_share;
    if hot > room {
        return Err(unable(
            "memory",
            format!("{name}: {hot:.1} GiB are read often, {room:.1} GiB are there for them"),
        ));
    }
    let (per, most) = if mysql {
        (figures.mysql_connection_bytes, 16_000.0)
    } else {
        (figures.postgresql_connection_bytes, 5_000.0)
    };
    let connections = (class.memory_gib * GIB / per).min(most) * figures.connections_share;
    match workload.connections {
        Some(wanted) if wanted > connections => {
            Err(unable("connections", format!("{name}: {connections:.0} connections")))
        }
        _ => Ok((processors - writing, (processors - writing * figures.replica_apply).max(0.0))),
    }
}

fn setups(
    market: &mut Market<'_>,
    kind: Kind,
    paid: InstanceOffer,
    (name, class, usd): (&str, &Class, &Figure),
    (primary, replica): (f64, f64),
    to: &mut Vec<Setup>,
) {
    let standby: &[bool] = if kind == Kind::Volume { &[false, true] } else { &[false] };
    for standby in standby {
        for replicas in REPLICAS {
            let Some(storage) = (match kind {
                Kind::Volume => volume(market, *standby, replicas),
                Kind::Shared => shared(market, paid),
            }) else {
                return;
            };
            let machines = 1.0 + replicas as f64 + if *standby { 1.0 } else { 0.0 };
            let mut lines = vec![Line::new(
                format!("{machines} × {name}"),
                machines * HOURS,
                "hours",
                usd.value,
                &usd.origin,
            )];
            lines.extend(storage);
            let (sla, recovery, rpo_s) = standing(market, kind, *standby, replicas, class);
            let zones = match kind {
                Kind::Volume if *standby => 2,
                Kind::Volume => 1,
                Kind::Shared => (1 + replicas).min(3),
            };
            to.push(Setup {
                label: label(kind, paid, name, *standby, replicas),
                shape: shape(market, kind, paid, name, *standby, replicas),
                lines,
                capacity: load(&[
                    (CPU, primary + replicas as f64 * replica),
                    (PRIMARY, primary),
                    (MEMORY, UNLIMITED),
                ]),
                sla,
                recovery,
                rpo_s,
                zones,
            });
        }
    }
}

fn shape(
    market: &Market<'_>,
    kind: Kind,
    paid: InstanceOffer,
    name: &str,
    standby: bool,
    replicas: usize,
) -> Shape {
    let (storage_gb, iops) = (volume_gb(market), market.workload.writes() * market.figures.page_writes);
    Shape {
        class: Some(name.to_owned()),
        replicas,
        standby,
        storage_gb: if kind == Kind::Volume { storage_gb.ceil() } else { 0.0 },
        iops: (kind == Kind::Volume && iops > iops_included(storage_gb)).then_some(iops.ceil()),
        io_optimized: paid == InstanceOffer::IoOptimized,
        ..Shape::default()
    }
}

fn volume_gb(market: &Market<'_>) -> f64 {
    (market.workload.bytes() * market.figures.storage_room / GB).max(VOLUME_GB_MIN)
}

/// Of a volume of that size: operations per second without paying for more.
pub(in crate::plan) fn iops_included(gb: f64) -> f64 {
    if gb < SMALL_VOLUME_GB { IOPS_SMALL } else { IOPS_LARGE }
}

fn label(kind: Kind, paid: InstanceOffer, name: &str, standby: bool, replicas: usize) -> String {
    let mut label = name.to_owned();
    match kind {
        Kind::Volume if standby => label.push_str(", Multi-AZ"),
        Kind::Volume => label.push_str(", one zone"),
        Kind::Shared => {}
    }
    match replicas {
        0 => {}
        1 => label.push_str(" + 1 reader"),
        n => label.push_str(&format!(" + {n} readers")),
    }
    if paid == InstanceOffer::IoOptimized {
        label.push_str(", I/O-Optimized");
    }
    label
}

/// What is stored on a volume of each machine, and how quickly it must take writes.
fn volume(market: &mut Market<'_>, standby: bool, replicas: usize) -> Option<Vec<Line>> {
    let figures = market.figures.clone();
    let gb = volume_gb(market);
    let zones = if standby { "multi" } else { "single" };
    let (usd, origin) = market.price("rds", &format!("gp3-storage-{zones}-az"))?;
    let mut lines = vec![Line::new("storage", gb, "GB", usd, &origin)];
    if replicas > 0 {
        let (usd, origin) = market.price("rds", "gp3-storage-single-az")?;
        lines.push(Line::new("storage of readers", gb * replicas as f64, "GB", usd, &origin));
    }
    let included = iops_included(gb);
    let needed = market.workload.writes() * figures.page_writes;
    if needed > IOPS_MAX {
        return None;
    }
    if needed > included {
        let (usd, origin) = market.price("rds", &format!("gp3-extra-iops-{zones}-az"))?;
        lines.push(Line::new(
            "operations per second beyond what is included",
            needed - included,
            "IOPS",
            usd,
            &origin,
        ));
    }
    Some(lines)
}

fn shared(market: &mut Market<'_>, paid: InstanceOffer) -> Option<Vec<Line>> {
    let gb = (market.workload.bytes() * market.figures.storage_room / GB).max(10.0);
    let workload = market.workload;
    if paid == InstanceOffer::IoOptimized {
        let (usd, origin) = market.price("aurora", "storage-i-o-optimized")?;
        return Some(vec![Line::new("storage", gb, "GB", usd, &origin)]);
    }
    let (usd, origin) = market.price("aurora", "storage-standard")?;
    let mut lines = vec![Line::new("storage", gb, "GB", usd, &origin)];
    let writes = workload.writes() * market.figures.page_writes * workload.average * SECONDS / 1e6;
    if writes > 0.0 {
        let (usd, origin) = market.price("aurora", "i-o-requests")?;
        lines.push(Line::new("storage requests", writes, "million", usd, &origin));
    }
    Some(lines)
}

/// What goes to copies in other regions: the log, and where the storage itself is copied, each request to it.
fn copied(market: &mut Market<'_>, kind: Kind) -> Vec<Line> {
    let (workload, figures) = (market.workload, market.figures.clone());
    let mut lines = market.sent_to_regions("the log", workload.writes() * figures.wal_bytes);
    let requests = workload.writes() * figures.page_writes * workload.average * SECONDS / 1e6;
    if kind == Kind::Shared
        && requests > 0.0
        && !workload.regions.is_empty()
        && let Some((usd, origin)) = market.price("aurora", "global-database-replicated-write-i-o")
    {
        let amount = requests * workload.regions.len() as f64;
        lines.push(Line::new("storage requests in other regions", amount, "million", usd, &origin));
    }
    lines
}

/// Contract, recovery and what may be lost.
fn standing(
    market: &Market<'_>,
    kind: Kind,
    standby: bool,
    replicas: usize,
    class: &Class,
) -> (f64, Recovery, f64) {
    let figures = &market.figures;
    let reconnect_s = market.reconnect_s();
    let recovery = |switch: (f64, String), replay_s| Recovery {
        switch_s: switch.0,
        replay_s,
        reconnect_s,
        warm_s: 0.0,
        source: switch.1,
    };
    let own = |seconds: f64, why: &str| (seconds, why.to_owned());
    match kind {
        Kind::Volume if standby => {
            let switch = market.published("rds", "multi-az-instance-failover-typical");
            let switch = switch.unwrap_or_else(|| own(120.0, "not published"));
            let replay = resilience::replay_s(figures, market.workload, class.memory_gib);
            (market.sla("rds", "multi-az-instance-sla"), recovery(switch, replay), 0.0)
        }
        Kind::Volume => {
            let switch = own(figures.recreate_s, "the planner's model: restored from backup in another zone");
            (market.sla("rds", "single-az-instance-sla"), recovery(switch, 0.0), figures.backup_rpo_s)
        }
        Kind::Shared if replicas > 0 => {
            let switch = market.published("aurora", "failover-with-replica");
            (
                market.sla("aurora", "sla-multi-az"),
                recovery(switch.unwrap_or_else(|| own(60.0, "not published")), 0.0),
                0.0,
            )
        }
        Kind::Shared => {
            let switch = market.published("aurora", "failover-without-replica");
            (
                market.sla("aurora", "sla-single-az"),
                recovery(switch.unwrap_or_else(|| own(600.0, "not published")), 0.0),
                0.0,
            )
        }
    }
}

/// As SQL. An answer that must not be older than replicas are comes from the primary.
fn answer(market: &mut Market<'_>, pattern: &PatternLoad) -> Answered {
    let figures = market.figures.clone();
    let us = figures.statement_us
        + pattern.source_rows * figures.row_us
        + pattern.source_summed * figures.summed_row_us;
    let processors = pattern.rate * us / 1e6;
    let from_primary = pattern.strong || pattern.stale_s.is_some_and(|stale| stale < figures.replica_lag_s);
    let primary = if from_primary { processors } else { 0.0 };
    Answered {
        lines: market.transfer(pattern),
        units: 0.0,
        load: load(&[(CPU, processors), (PRIMARY, primary)]),
        p99_ms: figures.relational_p99_ms + 3.0 * us / 1e3,
        age_s: if from_primary { 0.0 } else { figures.replica_lag_s },
        extra: None,
    }
}
