//! Other schemas than the chosen one, priced: an index that is missing, a document that is not as wide, an index that carries
//! whole documents.
//!
//! Each is the workload as it would then be, chosen for anew: its difference is what the whole bill would change by, not a
//! share of it.

use super::decide::{bill, monthly};
use super::explain::{Explained, few};
use super::parallel;
use super::report::{Alternative, Plan, per_second, size};
use super::services::{self, Market};
use super::workload::{EmbedLoad, PatternKind, PatternLoad, ViewLoad, Workload};
use crate::catalog::Malformed;

/// Other documents take a choice of their own each: so many at most, those of the most reads first.
const OTHER_DOCUMENTS_MAX: usize = 24;

/// An embedded list that is less than this of its document is not what makes it wide.
const WIDE: f64 = 0.2;

pub(super) fn alternatives(this: &Explained<'_>, plan: &mut Plan) -> Result<(), Malformed> {
    let mut all = missing_indexes(this)?;
    let mut others = narrower(this.workload);
    others.sort_by(|a, b| b.reads.total_cmp(&a.reads));
    if others.len() > OTHER_DOCUMENTS_MAX {
        plan.assumptions.push(format!(
            "of {} lists that make documents wide, what another schema would cost is worked out for the {OTHER_DOCUMENTS_MAX} that are read the most",
            others.len()
        ));
        others.truncate(OTHER_DOCUMENTS_MAX);
    }
    let now = bill(this.workload, this.offers, this.chosen);
    let limits = few(this.workload.patterns.len(), this.limits);
    let costs = parallel::each(others.len(), |at| monthly(&others[at].workload, this.catalog, limits));
    for (other, then) in others.into_iter().zip(costs) {
        let difference = then?.map(|then| then - now);
        let (now, instead) = (other.now, other.instead);
        all.push((other.reads, Alternative { of: other.of, now, instead, difference }));
    }
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    plan.alternatives = all.into_iter().map(|(_, alternative)| alternative).collect();
    plan.alternatives.extend(whole_documents(this)?);
    Ok(())
}

struct Other {
    of: String,
    now: String,
    instead: String,
    reads: f64,
    workload: Workload,
}

/// Of answers that the database finds by an index, each with how often it is asked for.
fn missing_indexes(this: &Explained<'_>) -> Result<Vec<(f64, Alternative)>, Malformed> {
    let workload = this.workload;
    let now = bill(workload, this.offers, this.chosen);
    let found: Vec<(usize, &str, f64)> = (0..workload.patterns.len())
        .filter(|place| this.offers.all[this.chosen.answered_by[*place]].is_source)
        .filter_map(|place| {
            let pattern = &workload.patterns[place];
            let view = pattern.views.first().filter(|_| pattern.kind == PatternKind::Range)?;
            Some((place, pattern.index.as_deref()?, workload.views[*view].documents))
        })
        .collect();
    let priced = parallel::each_with(
        found.len(),
        || Market::of(this.catalog, workload),
        |market, at| {
            let (place, index, rows) = found[at];
            let market = market.as_mut().map_err(|malformed| malformed.clone())?;
            let mut without = workload.patterns[place].clone();
            without.source_summed += rows;
            let uses = this.assembled.uses(market, this.offers, place, &without);
            let then = this.bill_of(this.explored.around(place).varied(&uses, this.around_limits()));
            Ok((
                without.rate,
                Alternative {
                    of: without.name.to_string(),
                    now: format!("an index of the database on {index}"),
                    instead: format!(
                        "no index: each answer goes through {} rows",
                        super::report::figure(rows)
                    ),
                    difference: then.map(|then| then - now),
                },
            ))
        },
    );
    priced.into_iter().collect()
}

/// Documents without a list that makes them wide, which is read beside them.
fn narrower(workload: &Workload) -> Vec<Other> {
    let mut others = Vec::new();
    for (place, view) in workload.views.iter().enumerate() {
        for embed in view.embeds.iter().filter(|embed| embed.bytes > WIDE * view.document_bytes) {
            let readers: Vec<usize> = (0..workload.patterns.len())
                .filter(|p| workload.patterns[*p].views.contains(&place))
                .collect();
            let reads: f64 = readers.iter().map(|p| workload.patterns[*p].rate).sum();
            if readers.is_empty() {
                continue;
            }
            others.push(Other {
                of: format!("view {}", view.name),
                now: format!(
                    "{} inside each document: {} of {}",
                    embed.field,
                    size(embed.bytes),
                    size(view.document_bytes)
                ),
                instead: format!(
                    "{} in a view of their own, read beside it {}",
                    embed.field,
                    per_second(reads)
                ),
                reads,
                workload: without(workload, place, embed, &readers),
            });
        }
    }
    others
}

fn without(workload: &Workload, view: usize, embed: &EmbedLoad, readers: &[usize]) -> Workload {
    let mut other = workload.clone();
    let own = other.views.len();
    let width = (other.views[view].document_bytes - embed.bytes).max(1.0) / other.views[view].document_bytes;
    other.views[view].document_bytes *= width;
    other.views[view].changes = (other.views[view].changes - embed.changes).max(0.0);
    other.views.push(ViewLoad {
        name: embed.field.clone(),
        documents: embed.documents,
        document_bytes: embed.bytes / embed.rows.max(1.0),
        changes: embed.writes,
        is_ordered: true,
        embeds: Vec::new(),
    });
    for reader in readers {
        let wide = other.patterns[*reader].clone();
        // Of pages each document has a list of its own.
        let lists = wide.rows.max(1.0);
        let narrow = &mut other.patterns[*reader];
        narrow.bytes *= width;
        narrow.source_rows = (narrow.source_rows - lists * embed.rows).max(1.0);
        other.patterns.push(PatternLoad {
            name: format!("{} of {}", embed.field, wide.name).into(),
            kind: PatternKind::Range,
            views: vec![own],
            rows: lists * embed.rows,
            bytes: lists * embed.bytes,
            source_rows: lists * embed.rows,
            source_summed: 0.0,
            index: Some(format!("{}: by {}", embed.field, workload.views[view].name)),
            ..wide
        });
    }
    other
}

/// Of tables of items: what an index with whole documents costs beside one of places.
fn whole_documents(this: &Explained<'_>) -> Result<Vec<Alternative>, Malformed> {
    let mut all = Vec::new();
    for (place, pattern) in this.workload.patterns.iter().enumerate() {
        let offer = &this.offers.all[this.chosen.answered_by[place]];
        if offer.scheme != "dynamodb" || pattern.index.is_none() {
            continue;
        }
        if let Some((now, then)) = services::with_whole_documents(this.catalog, this.workload, pattern)? {
            all.push(Alternative {
                of: pattern.name.to_string(),
                now: "a table of places, and the documents that stand there, read strongly consistent".to_owned(),
                instead: "a global secondary index with whole documents: one request, a moment older; `run` does not keep one"
                    .to_owned(),
                difference: Some(then - now),
            });
        }
    }
    Ok(all)
}
