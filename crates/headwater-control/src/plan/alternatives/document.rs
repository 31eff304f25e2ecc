//! Documents without a list that makes them wide, which is read beside them.

use super::{Other, Then, readers};
use crate::plan::report::{per_second, size};
use crate::plan::workload::{EmbedLoad, PatternKind, PatternLoad, ViewLoad, ViewShape, Workload};

/// An embedded list that is less than this of its document is not what makes it wide.
const WIDE: f64 = 0.2;

pub(super) fn narrower(workload: &Workload) -> Vec<Other> {
    let mut others = Vec::new();
    for (place, view) in workload.views.iter().enumerate() {
        for embed in view.embeds.iter().filter(|embed| embed.bytes > WIDE * view.document_bytes) {
            let readers = readers(workload, place);
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
                then: Then::Today(Box::new(without(workload, place, embed, &readers))),
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
        shape: ViewShape::Document,
        table: String::new(),
        embeds: Vec::new(),
        part: None,
        held: None,
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
