//! Tables of items that are paid by request or by provisioned units, without machines.
//!
//! Priced as `run` keeps and reads them: documents in one table, their places in the orders that they are read in in another, every
//! read strongly consistent, and with each answer the position that it shows.

use super::{
    Answered, Extra, GB, HOURS, Kept, Line, Market, Offer, Recovery, SECONDS, Setup, Shape, Unable, load,
    unable,
};
use crate::plan::choice::{RESOURCES, UNLIMITED};
use crate::plan::workload::{PatternKind, PatternLoad, ViewLoad};

const ITEM_BYTES_MAX: f64 = 400_000.0;
const READ_UNIT_BYTES: f64 = 4096.0;
const WRITE_UNIT_BYTES: f64 = 1024.0;
/// Beside an item's own attributes.
const ITEM_OVERHEAD_BYTES: f64 = 100.0;
/// A place in an order: what it is sorted by, and the document's key.
const PLACE_BYTES: f64 = 150.0;
/// Reading the position that an answer shows.
const POSITION_UNITS: f64 = 1.0;
/// Units that one partition, and so one key, takes per second.
pub(in crate::plan) const PARTITION_READS: f64 = 3_000.0;
pub(in crate::plan) const PARTITION_WRITES: f64 = 1_000.0;

#[derive(Clone, Copy, PartialEq)]
enum Paid {
    OnDemand,
    Provisioned,
}

pub(super) fn offer(market: &mut Market<'_>, all: &mut Vec<Offer>) {
    for paid in [Paid::OnDemand, Paid::Provisioned] {
        let Some(tariff) = tariff(market, paid) else { return };
        let (name, title) = match paid {
            Paid::OnDemand => ("dynamodb-on-demand", "DynamoDB on demand"),
            Paid::Provisioned => ("dynamodb-provisioned", "DynamoDB provisioned"),
        };
        let setups = vec![Setup {
            label: match paid {
                Paid::OnDemand => "paid per request".to_owned(),
                Paid::Provisioned => "provisioned for the busiest hour".to_owned(),
            },
            shape: Shape::default(),
            lines: Vec::new(),
            capacity: [UNLIMITED; RESOURCES],
            sla: market.sla("dynamodb", "sla-single-region"),
            recovery: Recovery {
                switch_s: 0.0,
                replay_s: 0.0,
                reconnect_s: 0.0,
                warm_s: 0.0,
                source: "published: no failover step within a region".to_owned(),
            },
            rpo_s: 0.0,
            zones: 3,
        }];
        let asked = tariff.clone();
        all.extend(market.store(
            (name, title, "dynamodb"),
            setups,
            |market, view| Some(keep(market, &tariff, view, view.document_bytes)),
            move |market, pattern| answer(market, &asked, pattern),
        ));
    }
}

type Priced = (f64, std::sync::Arc<crate::catalog::Origin>);

#[derive(Clone)]
struct Tariff {
    paid: Paid,
    read: Priced,
    write: Priced,
    stored: Priced,
    /// Writes of tables that other regions have as well.
    replicated: Option<Priced>,
}

impl Tariff {
    /// So many that what is asked for fills its share of them; none where requests are paid.
    fn provisioned(&self, market: &Market<'_>, per_second: f64) -> f64 {
        match self.paid {
            Paid::OnDemand => 0.0,
            // A share of exactly so many units is not one more.
            Paid::Provisioned => (per_second / market.figures.provisioned_share - 1e-6).ceil().max(0.0),
        }
    }

    fn units(&self, market: &Market<'_>, what: &str, per_second: f64, (usd, origin): &Priced) -> Line {
        match self.paid {
            Paid::OnDemand => {
                let millions = per_second * market.workload.average * SECONDS / 1e6;
                Line::new(what, millions, "million units", *usd, origin)
            }
            Paid::Provisioned => {
                let units = self.provisioned(market, per_second);
                Line::new(format!("{what}: {units} units"), units * HOURS, "unit-hours", *usd, origin)
            }
        }
    }
}

fn keep(market: &mut Market<'_>, tariff: &Tariff, view: &ViewLoad, bytes: f64) -> Result<Kept, Unable> {
    if bytes > ITEM_BYTES_MAX {
        return Err(unable(
            "item too large",
            format!("a document of {} is {:.0} kB, an item holds 400", view.name, bytes / 1e3),
        ));
    }
    let units = view.changes * (bytes / WRITE_UNIT_BYTES).ceil().max(1.0);
    let gb = view.documents * (bytes + ITEM_OVERHEAD_BYTES) / GB;
    let mut lines = vec![
        tariff.units(market, "writing what changes", units, &tariff.write),
        Line::new("storage", gb, "GB", tariff.stored.0, &tariff.stored.1),
    ];
    if let Some(replicated) = &tariff.replicated {
        for region in &market.workload.regions {
            lines.push(tariff.units(market, &format!("writing it to {region}"), units, replicated));
        }
    }
    lines.extend(market.sent_to_regions("changes", view.changes * bytes));
    let units = tariff.provisioned(market, units);
    Ok(Kept { lines, load: load(&[]), units })
}

fn answer(market: &mut Market<'_>, tariff: &Tariff, pattern: &PatternLoad) -> Result<Answered, Unable> {
    match pattern.kind {
        PatternKind::Walk { .. } => return Err(unable("cannot answer it", "tables of items have no walks")),
        PatternKind::Window { summed: true } => {
            return Err(unable("cannot answer it", "tables of items add nothing up"));
        }
        _ => {}
    }
    // A ranking is one order over all documents: one key takes all of its changes.
    let view = pattern.views.first().map(|place| market.views()[*place].clone());
    if let (PatternKind::Top, Some(view)) = (&pattern.kind, &view)
        && view.changes > PARTITION_WRITES * pattern.shards
    {
        return Err(unable(
            "one key is too hot",
            format!("one partition takes 1,000 writes per second, {} has {:.0}", view.name, view.changes),
        ));
    }
    let units = units_read(pattern) + POSITION_UNITS;
    let lines = vec![tariff.units(market, "reading", pattern.rate * units, &tariff.read)];
    let extra = match (&pattern.index, &view) {
        (Some(index), Some(view)) => {
            let mut kept = keep(market, tariff, view, PLACE_BYTES)?;
            for line in &mut kept.lines {
                line.what = format!("index: {}", line.what);
            }
            Some(Extra { index: index.clone(), kept })
        }
        _ => None,
    };
    let figures = &market.figures;
    // Places first, then the documents that stand there.
    let pages = (pattern.bytes / 1e6).ceil().max(1.0) + if by_place(pattern) { 1.0 } else { 0.0 };
    Ok(Answered {
        lines,
        load: load(&[]),
        units: tariff.provisioned(market, pattern.rate * units),
        p99_ms: figures.key_value_p99_ms * pages,
        age_s: figures.derived_lag_s,
        extra,
    })
}

/// Whether the documents of an answer are found by their places.
fn by_place(pattern: &PatternLoad) -> bool {
    !matches!(pattern.kind, PatternKind::Get)
}

/// Of documents, and of the places that lead to them: each item by itself, rounded up. An order in shards is asked for in each.
pub(in crate::plan) fn units_read(pattern: &PatternLoad) -> f64 {
    let rows = pattern.rows.max(1.0);
    let documents = rows * (pattern.bytes / rows / READ_UNIT_BYTES).ceil().max(1.0);
    let places = if by_place(pattern) { (rows * PLACE_BYTES / READ_UNIT_BYTES).ceil() } else { 0.0 };
    documents + places * pattern.shards
}

/// What another schema would cost than the one that is kept: an index that carries whole documents, so that one request of
/// half the price answers, a moment later. US dollars per month: as it is, and so.
pub(super) fn with_whole_documents(market: &mut Market<'_>, pattern: &PatternLoad) -> Option<(f64, f64)> {
    let index = pattern.index.as_ref()?;
    let view = market.views()[*pattern.views.first()?].clone();
    let tariff = tariff(market, Paid::OnDemand)?;
    let cost = |kept: &Kept, read: Line| super::total(&kept.lines) + read.monthly;
    let now = answer(market, &tariff, pattern).ok()?;
    let kept = now.extra.as_ref().filter(|extra| extra.index == *index)?;
    let now = cost(&kept.kept, now.lines.first()?.clone());
    let kept = keep(market, &tariff, &view, view.document_bytes).ok()?;
    let units = (pattern.bytes / READ_UNIT_BYTES).ceil().max(1.0) * 0.5 + POSITION_UNITS;
    Some((now, cost(&kept, tariff.units(market, "reading", pattern.rate * units, &tariff.read))))
}

fn tariff(market: &mut Market<'_>, paid: Paid) -> Option<Tariff> {
    let (read, write, replicated) = match paid {
        Paid::OnDemand => (
            "on-demand-read-request-unit",
            "on-demand-write-request-unit",
            "global-table-replicated-write-request-unit",
        ),
        Paid::Provisioned => {
            ("provisioned-rcu", "provisioned-wcu", "global-table-replicated-write-capacity-unit")
        }
    };
    // A service whose copies have no price for writing is no choice where copies are asked for.
    let replicated = match market.workload.regions.is_empty() {
        true => None,
        false => Some(market.price("dynamodb", replicated)?),
    };
    Some(Tariff {
        paid,
        read: market.price("dynamodb", read)?,
        write: market.price("dynamodb", write)?,
        stored: market.price("dynamodb", "table-index-storage-standard")?,
        replicated,
    })
}
