//! Other schemas than the chosen one, priced: an index that is missing, a document that is not as wide, an index that carries
//! whole documents.
//!
//! Each is the workload as it would then be, chosen for anew: its difference is what the whole bill would change by, not a
//! share of it.

use super::decide::monthly;
use super::explain::{Explained, few};
use super::report::{Alternative, per_second, size};
use super::services;
use super::workload::{EmbedLoad, PatternKind, PatternLoad, ViewLoad, Workload};
use crate::catalog::Malformed;

/// Each takes a choice of its own: so many at most, those of the most reads first.
const PRICED_MAX: usize = 24;

/// An embedded list that is less than this of its document is not what makes it wide.
const WIDE: f64 = 0.2;

pub(super) fn alternatives(this: &Explained<'_>) -> Result<Vec<Alternative>, Malformed> {
    let workload = this.workload;
    let limits = few(workload.patterns.len(), this.limits);
    let Some(now) = monthly(workload, this.catalog, limits)? else { return Ok(Vec::new()) };
    let mut others = missing_indexes(this);
    others.extend(narrower(workload));
    others.sort_by(|a, b| b.reads.total_cmp(&a.reads));
    others.truncate(PRICED_MAX);
    let mut all = Vec::new();
    for other in others {
        let then = monthly(&other.workload, this.catalog, limits)?;
        all.push(Alternative {
            of: other.of,
            now: other.now,
            instead: other.instead,
            difference: then.map(|then| then - now),
        });
    }
    all.extend(whole_documents(this)?);
    Ok(all)
}

struct Other {
    of: String,
    now: String,
    instead: String,
    reads: f64,
    workload: Workload,
}

/// Of answers that the database finds by an index.
fn missing_indexes(this: &Explained<'_>) -> Vec<Other> {
    let workload = this.workload;
    let by_source = |place: &usize| this.offers.all[this.chosen.answered_by[*place]].is_source;
    let mut others = Vec::new();
    for place in (0..workload.patterns.len()).filter(by_source) {
        let pattern = &workload.patterns[place];
        let (Some(index), Some(view)) = (&pattern.index, pattern.views.first()) else { continue };
        if pattern.kind != PatternKind::Range {
            continue;
        }
        let rows = workload.views[*view].documents;
        let mut without = workload.clone();
        without.patterns[place].source_summed += rows;
        others.push(Other {
            of: pattern.name.to_string(),
            now: format!("an index of the database on {index}"),
            instead: format!("no index: each answer goes through {} rows", super::report::figure(rows)),
            reads: pattern.rate,
            workload: without,
        });
    }
    others
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
