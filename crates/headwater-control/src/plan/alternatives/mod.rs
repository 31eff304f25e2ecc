//! Other schemas than the chosen one, priced: an index that is missing, a document that is not as wide, a cache that holds less, points
//! that are not kept for ever, keys and labels that are spread or shared.
//!
//! - `pattern`: what one access pattern would be answered by or from otherwise
//! - `document`, `part`, `retention`: what a view would be otherwise
//!
//! Invariant: each is the workload as it would then be, chosen for anew; its difference is what the whole bill would change by, not
//! a share of it. What the workload does not say is not guessed: then there is no such alternative.

mod document;
mod part;
mod pattern;
mod retention;

use super::decide::{bill, monthly};
use super::explain::{Explained, few};
use super::parallel;
use super::report::{Alternative, Plan};
use super::workload::Workload;
use crate::catalog::Malformed;

/// Other views take a choice of their own each: so many at most, those of the most reads first.
const OTHER_VIEWS_MAX: usize = 24;

/// A view as it is not.
struct Other {
    of: String,
    now: String,
    instead: String,
    reads: f64,
    then: Then,
}

enum Then {
    /// What is asked for would not be met.
    Unmet,
    /// Beside today's bill.
    Today(Box<Workload>),
    /// Both after so many months.
    Later { kept: Box<Workload>, other: Box<Workload>, months: u32 },
}

pub(super) fn alternatives(this: &Explained<'_>, plan: &mut Plan) -> Result<(), Malformed> {
    let mut all = pattern::alternatives(this)?;
    let mut others = document::narrower(this.workload);
    others.extend(part::parts(this)?);
    others.extend(retention::retentions(this.workload));
    others.sort_by(|a, b| b.reads.total_cmp(&a.reads));
    if others.len() > OTHER_VIEWS_MAX {
        plan.assumptions.push(format!(
            "of {} ways to keep a view otherwise (a list of its own, part of it, for a time), what they would cost is worked out for the {OTHER_VIEWS_MAX} of the most reads",
            others.len()
        ));
        others.truncate(OTHER_VIEWS_MAX);
    }
    let now = bill(this.workload, this.offers, this.chosen);
    let limits = few(this.workload.patterns.len(), this.limits);
    let cost = |workload: &Workload| monthly(workload, this.catalog, limits);
    let costs = parallel::each(others.len(), |at| match &others[at].then {
        Then::Unmet => Ok((None, None)),
        Then::Today(other) => Ok((cost(other)?.map(|then| then - now), None)),
        Then::Later { kept, other, months } => {
            let difference = cost(other)?.zip(cost(kept)?).map(|(other, kept)| other - kept);
            Ok((difference, Some(*months)))
        }
    });
    for (other, costs) in others.into_iter().zip(costs) {
        let (difference, months) = costs?;
        let Other { of, now, instead, reads, .. } = other;
        all.push((reads, Alternative { of, now, instead, difference, months }));
    }
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    plan.alternatives = all.into_iter().map(|(_, alternative)| alternative).collect();
    Ok(())
}

/// The access patterns that read a view, by their places.
fn readers(workload: &Workload, view: usize) -> Vec<usize> {
    (0..workload.patterns.len()).filter(|place| workload.patterns[*place].views.contains(&view)).collect()
}
