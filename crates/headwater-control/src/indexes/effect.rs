//! What a set of indexes does to queries and to writes: the one place that says it, for the choice and for what is told of it.

use headwater_model::advice::{Config, Index, IndexProblem, Query};

use super::Budget;

/// The plan that the planner takes when these indexes are there.
pub(super) fn taken<'q>(query: &'q Query, there: &[usize]) -> Option<&'q Config> {
    let can = |config: &&Config| config.uses.iter().all(|at| there.contains(at));
    query.configs.iter().filter(can).min_by(|a, b| a.believed.total_cmp(&b.believed))
}

pub(super) fn after(query: &Query, there: &[usize]) -> f64 {
    taken(query, there).map_or(query.before, |config| config.cost)
}

pub(super) fn workload(problem: &IndexProblem, there: &[usize]) -> f64 {
    problem.queries.iter().map(|query| query.calls * after(query, there)).sum()
}

/// What writes to a table cost more with these indexes than today, in the problem's unit.
pub(super) fn dearer(problem: &IndexProblem, table: usize, there: &[usize]) -> f64 {
    let writes = &problem.writes[table];
    let of_it = |at: &usize| problem.indexes[*at].table == writes.table;
    let new: Vec<&Index> = there
        .iter()
        .filter(|at| of_it(at))
        .map(|at| &problem.indexes[*at])
        .filter(|index| !index.exists)
        .collect();
    let dropped = (0..problem.indexes.len())
        .filter(|at| of_it(at) && problem.indexes[*at].exists && !there.contains(at))
        .map(|at| problem.indexes[at].upkeep);
    let mut more: f64 = new.iter().map(|index| index.upkeep).sum::<f64>() - dropped.sum::<f64>();
    for (place, in_place) in writes.in_place.iter().enumerate() {
        if new.iter().any(|index| index.ends.contains(&place)) {
            more += in_place.standing + in_place.each * new.len() as f64;
        }
    }
    more
}

/// Whether a query costs more with these than it may.
pub(super) fn slower(problem: &IndexProblem, there: &[usize], budget: &Budget) -> bool {
    problem.queries.iter().any(|query| {
        taken(query, there).is_some_and(|config| {
            !config.acceptable || config.cost > query.before * (1.0 + budget.regression) * (1.0 + 1e-9)
        })
    })
}

/// Whether a set of indexes keeps within the budget.
pub(super) fn fits(problem: &IndexProblem, there: &[usize], budget: &Budget) -> bool {
    let new = there.iter().map(|at| &problem.indexes[*at]).filter(|index| !index.exists);
    let bytes: f64 = new.map(|index| index.bytes).sum();
    budget.bytes.is_none_or(|room| bytes <= room)
        && budget.writes.is_none_or(|most| {
            (0..problem.writes.len())
                .all(|table| dearer(problem, table, there) <= most * problem.writes[table].cost + 1e-9)
        })
        && !slower(problem, there, budget)
}

/// What a new index is charged beside its upkeep, as a share of the workload: of two that save the same, the smaller one.
pub(super) fn charge(problem: &IndexProblem, at: usize, budget: &Budget) -> f64 {
    let largest = problem.indexes.iter().map(|index| index.bytes).fold(1.0, f64::max);
    budget.worth + LARGEST_SHARE * problem.indexes[at].bytes / largest
}

/// What the largest candidate is charged for its room.
const LARGEST_SHARE: f64 = 0.003;

/// What every index that could be dropped is charged, as a share of the workload: one that nobody reads is not kept for nothing.
pub(super) fn dropping_saves(before: f64) -> f64 {
    1e-6 * before
}

/// What is to be made small: queries, writes, and what is charged for indexes.
pub(super) fn total(problem: &IndexProblem, there: &[usize], budget: &Budget) -> f64 {
    let before: f64 = problem.queries.iter().map(|query| query.calls * query.before).sum();
    let charged = there.iter().map(|at| match problem.indexes[*at].exists {
        true => dropping_saves(before),
        false => charge(problem, *at, budget) * before,
    });
    let writes: f64 = (0..problem.writes.len()).map(|table| dearer(problem, table, there)).sum();
    workload(problem, there) + writes + charged.sum::<f64>()
}
