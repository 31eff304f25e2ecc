//! Points of a series that are not kept for ever: what each month adds, and what it costs a year from now.

use super::{Other, Then, readers};
use crate::plan::report::{figure, seconds};
use crate::plan::services::SECONDS;
use crate::plan::workload::{ViewLoad, ViewShape, Workload};

const MONTHS: u32 = 12;

/// As long as there are points today, a year at most: then there are no more of them than that, for as long as writes are what they
/// are.
pub(super) fn retentions(workload: &Workload) -> Vec<Other> {
    let mut others = Vec::new();
    for (place, view) in workload.views.iter().enumerate() {
        let added = view.changes * workload.average * SECONDS;
        if view.shape != ViewShape::Series || added <= 0.0 || view.documents < 1.0 {
            continue;
        }
        let year = f64::from(MONTHS);
        let months = (view.documents / added).min(year);
        let stay =
            if months < year { "as many as there are today".to_owned() } else { figure(months * added) };
        others.push(Other {
            of: format!("view {}", view.name),
            now: format!(
                "kept for ever: {} points, {} more each month if each write is a new one",
                figure(view.documents),
                figure(added)
            ),
            instead: format!("a retention of {}, in the database as well: {stay}", seconds(months * SECONDS)),
            reads: readers(workload, place).iter().map(|reader| workload.patterns[*reader].rate).sum(),
            then: Then::Later {
                kept: with(workload, view, view.documents + year * added),
                other: with(workload, view, months * added),
                months: MONTHS,
            },
        });
    }
    others
}

/// With so many points, and as many rows of their table.
fn with(workload: &Workload, view: &ViewLoad, points: f64) -> Box<Workload> {
    let mut other = Box::new(workload.clone());
    let more = points - view.documents;
    for table in other.tables.iter_mut().filter(|table| table.name == view.table) {
        table.rows = (table.rows + more).max(1.0);
    }
    for same in other.views.iter_mut().filter(|same| same.name == view.name) {
        same.documents = points;
    }
    other
}
