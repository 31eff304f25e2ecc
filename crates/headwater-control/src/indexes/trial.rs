//! The choice by measured time: what is worth building on a copy, and choosing there until nothing new comes to light.

use std::collections::BTreeSet;

use headwater_model::Result;
use headwater_model::advice::{IndexProblem, IndexTrial};

use super::{Advice, Budget, advise, choose};

/// So many indexes are built on a copy at most.
const POOL_MAX: usize = 40;

/// So often the choice is made anew after measuring what it led to.
const ROUNDS_MAX: usize = 12;

/// What to build on a copy: what is chosen with more and with less room than there is, and what serves each query best, the
/// dearest queries first. Estimates err, so there has to be more to choose from than what they choose.
pub fn pool(problem: &IndexProblem, budget: &Budget) -> Vec<usize> {
    let mut pool = BTreeSet::new();
    let room = budget.bytes;
    for times in [1.0, 0.5, 2.0, f64::INFINITY] {
        let bytes = room.map(|bytes| bytes * times).filter(|bytes| bytes.is_finite());
        pool.extend(choose(problem, &Budget { bytes, ..*budget }).indexes);
    }
    let mut queries: Vec<_> = problem.queries.iter().collect();
    queries.sort_by(|a, b| (b.calls * b.before).total_cmp(&(a.calls * a.before)));
    for rank in 0..3 {
        for query in &queries {
            let mut configs: Vec<_> = query.configs.iter().filter(|c| c.cost < query.before * 0.98).collect();
            configs.sort_by(|a, b| a.cost.total_cmp(&b.cost));
            if let Some(config) = configs.get(rank)
                && pool.len() + config.uses.len() <= POOL_MAX
                && config.uses.iter().all(|at| room.is_none_or(|bytes| problem.indexes[*at].bytes <= bytes))
            {
                pool.extend(&config.uses);
            }
        }
    }
    pool.into_iter().filter(|at| !problem.indexes[*at].exists).collect()
}

/// Chooses by what is measured, and measures what is chosen.
pub async fn measured(trial: &mut dyn IndexTrial, budget: &Budget) -> Result<Advice> {
    let mut chosen = choose(trial.problem(), budget);
    for _ in 0..ROUNDS_MAX {
        if trial.settle(&chosen.indexes).await? {
            break;
        }
        chosen = choose(trial.problem(), budget);
    }
    Ok(advise(trial.problem(), &chosen, budget, true))
}
