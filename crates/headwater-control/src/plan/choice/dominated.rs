//! Engines that another one is better than in everything. Nobody runs both side by side for the sake of more room.

use super::problem::{Load, Problem};

/// Nothing is answered any more by an engine that another one dominates.
pub(super) fn left_idle(problem: &mut Problem) {
    for at in 0..problem.engines.len() {
        if (0..problem.engines.len()).any(|other| other != at && dominates(problem, other, at)) {
            problem.patterns.iter_mut().for_each(|pattern| pattern.at[at] = None);
        }
    }
}

/// Whether one engine does everything as well as another, for no more.
pub fn dominates(problem: &Problem, better: usize, worse: usize) -> bool {
    let (a, b) = (&problem.engines[better], &problem.engines[worse]);
    let less = |a: &Load, b: &Load| a.iter().zip(b).all(|(a, b)| a <= b);
    a.is_source == b.is_source
        && a.monthly <= b.monthly
        && less(&a.load, &b.load)
        && b.deployments.iter().all(|b| {
            a.deployments.iter().any(|a| a.monthly <= b.monthly && less(&b.capacity, &a.capacity))
        })
        && problem.patterns.iter().all(|pattern| pattern.at[better].is_none_or(|a| a.deployments == u128::MAX))
        // Of two that are equal the first stays.
        && (better < worse || !dominates_equally(problem, worse, better))
        && problem.views.iter().all(|view| match (view.at[better], view.at[worse]) {
            (_, None) => true,
            (Some(a), Some(b)) => a.monthly <= b.monthly && less(&a.load, &b.load),
            (None, Some(_)) => false,
        })
        && problem.patterns.iter().all(|pattern| match (pattern.at[better], pattern.at[worse]) {
            (_, None) => true,
            (Some(a), Some(b)) => a.monthly <= b.monthly && less(&a.load, &b.load),
            (None, Some(_)) => false,
        })
}

fn dominates_equally(problem: &Problem, a: usize, b: usize) -> bool {
    let (a, b) = (&problem.engines[a], &problem.engines[b]);
    a.monthly == b.monthly
        && a.deployments.len() == b.deployments.len()
        && a.deployments.iter().zip(&b.deployments).all(|(a, b)| a.monthly == b.monthly)
}
