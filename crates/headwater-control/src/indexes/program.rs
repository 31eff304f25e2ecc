//! The integer program. A query takes one of its plans, a plan needs its indexes, an index takes room and makes writes dearer. The
//! planner takes the plan that it believes to be the cheapest of those that it can have; where measuring told otherwise, no plan
//! may be counted on that the planner would pass over.

use std::collections::BTreeMap;

use good_lp::{
    Expression, ProblemVariables, Solution, SolverModel, Variable, WithMipGap, WithTimeLimit, constraint,
    microlp, variable,
};
use headwater_model::advice::{Config, IndexProblem, Query};

use super::Budget;
use super::effect::{self, charge, fits};

/// The choice may be this much worse than the best there is, as a share of the whole: what is known of costs is not known better.
const GAP: f32 = 0.002;

/// And takes no longer than this to find.
const SECONDS_MAX: f64 = 20.0;

/// The indexes that should be there, by their places: those of today that stay, and new ones.
pub fn choose(problem: &IndexProblem, budget: &Budget) -> Vec<usize> {
    let total: f64 = problem.queries.iter().map(|query| query.calls * query.before).sum();
    let today: Vec<usize> = (0..problem.indexes.len()).filter(|at| problem.indexes[*at].exists).collect();
    if total <= 0.0 {
        return today;
    }
    let queries: Vec<Worthwhile<'_>> =
        problem.queries.iter().map(|query| Worthwhile::of(query, problem, budget)).collect();
    let mut variables = ProblemVariables::new();
    let used =
        |at: usize| queries.iter().any(|query| query.configs.iter().any(|config| config.uses.contains(&at)));
    let there: BTreeMap<usize, Variable> = (0..problem.indexes.len())
        .filter(|at| problem.indexes[*at].exists || used(*at))
        .map(|at| (at, variables.add(variable().binary())))
        .collect();
    // In shares of the whole, so that the solver's tolerances mean the same for every workload.
    let mut cost = Expression::from(0.0);
    let mut rules = Vec::new();
    for (query, asked) in queries.iter().zip(&problem.queries) {
        let share = asked.calls / total;
        let taken: Vec<(Variable, &Config)> = query
            .configs
            .iter()
            .map(|config| (variables.add(variable().min(0.0).max(1.0)), *config))
            .collect();
        rules.push(constraint!(taken.iter().map(|(taken, _)| *taken).sum::<Expression>() == 1.0));
        // An index serves whichever plan needs it: one rule for all of them is tighter than one for each.
        let mut needed: BTreeMap<usize, Expression> = BTreeMap::new();
        for (place, (taken, config)) in taken.iter().enumerate() {
            cost += share * config.cost * *taken;
            for index in config.uses.iter().filter(|index| there.contains_key(index)) {
                *needed.entry(*index).or_default() += *taken;
            }
            for other in query.in_the_way(place) {
                // One of its indexes has to be missing.
                let missing: Expression =
                    other.uses.iter().filter_map(|index| there.get(index)).map(|index| 1.0 - *index).sum();
                rules.push(constraint!(*taken <= missing));
            }
        }
        rules.extend(needed.into_iter().map(|(index, needed)| constraint!(needed <= there[&index])));
    }
    let mut room = Expression::from(0.0);
    let mut dearer: Vec<Expression> = problem.writes.iter().map(|_| Expression::from(0.0)).collect();
    let table_of =
        |at: usize| problem.writes.iter().position(|writes| writes.table == problem.indexes[at].table);
    for (at, chosen) in &there {
        let index = &problem.indexes[*at];
        if index.exists {
            // Dropping saves what keeping it costs, and a little for the room.
            cost += (index.upkeep / total + DROP_SAVES) * *chosen;
        } else {
            cost += (index.upkeep / total + charge(problem, *at, budget)) * *chosen;
            room += index.bytes * *chosen;
        }
        if let Some(table) = table_of(*at) {
            let share = index.upkeep / problem.writes[table].cost.max(1e-9);
            dearer[table] += share * *chosen;
            if index.exists {
                dearer[table] += -share;
            }
        }
    }
    for (table, writes) in problem.writes.iter().enumerate() {
        let of_it: Vec<(usize, Variable)> =
            there.iter().filter(|(at, _)| table_of(**at) == Some(table)).map(|(at, v)| (*at, *v)).collect();
        for (place, in_place) in
            writes.in_place.iter().enumerate().filter(|(_, in_place)| in_place.each > 0.0)
        {
            let ending: Vec<Variable> = (of_it.iter())
                .filter(|(at, _)| problem.indexes[*at].ends.contains(&place))
                .map(|(_, chosen)| *chosen)
                .collect();
            if ending.is_empty() {
                continue;
            }
            let ended = variables.add(variable().min(0.0).max(1.0));
            rules.extend(ending.iter().map(|chosen| constraint!(ended >= *chosen)));
            let mut charge = |to: Variable, amount: f64| {
                cost += amount / total * to;
                dearer[table] += amount / writes.cost.max(1e-9) * to;
            };
            charge(ended, in_place.standing);
            for (_, chosen) in of_it.iter().filter(|(at, _)| !problem.indexes[*at].exists) {
                let both = variables.add(variable().min(0.0).max(1.0));
                rules.push(constraint!(both >= *chosen + ended - 1.0));
                charge(both, in_place.each);
            }
        }
    }
    let mut model = variables.minimise(cost).using(microlp).with_time_limit(SECONDS_MAX);
    model = match model.with_mip_gap(GAP) {
        Ok(model) => model,
        Err(_) => return today,
    };
    for rule in rules {
        model = model.with(rule);
    }
    if let Some(bytes) = budget.bytes {
        let unit = 1.0 / bytes.max(1.0);
        model = model.with((room * unit).leq(1.0));
    }
    if let Some(most) = budget.writes {
        for dearer in dearer {
            model = model.with(dearer.leq(most));
        }
    }
    let found: Option<Vec<usize>> = model.solve().ok().map(|solution| {
        there.into_iter().filter(|(_, chosen)| solution.value(*chosen) > 0.5).map(|(at, _)| at).collect()
    });
    // Nothing within the budget, or nothing found in time: what is there is where to begin.
    climb(problem, budget, found.filter(|found| fits(problem, found, budget)).unwrap_or(today))
}

/// As long as taking one more plan, or doing without one index, makes it better: for what the solver's time was too short for.
fn climb(problem: &IndexProblem, budget: &Budget, from: Vec<usize>) -> Vec<usize> {
    let mut best = (effect::total(problem, &from, budget), from);
    loop {
        let with = problem.queries.iter().flat_map(|query| &query.configs).map(|config| {
            let more = config.uses.iter().copied().filter(|at| !best.1.contains(at));
            best.1.iter().copied().chain(more).collect::<Vec<_>>()
        });
        let without =
            best.1.iter().map(|at| best.1.iter().copied().filter(|other| other != at).collect::<Vec<_>>());
        let better = with
            .chain(without)
            .filter(|set| fits(problem, set, budget))
            .map(|set| (effect::total(problem, &set, budget), set))
            .min_by(|a, b| a.0.total_cmp(&b.0));
        match better {
            Some(better) if better.0 < best.0 * (1.0 - 1e-6) => best = better,
            _ => break,
        }
    }
    best.1.sort_unstable();
    best.1
}

/// As a share of the workload: an index that nobody reads is not kept for nothing.
const DROP_SAVES: f64 = 1e-6;

/// A query's plans without those that another one beats with fewer indexes.
struct Worthwhile<'p> {
    configs: Vec<&'p Config>,
    all: &'p [Config],
}

impl<'p> Worthwhile<'p> {
    fn of(query: &'p Query, problem: &IndexProblem, budget: &Budget) -> Worthwhile<'p> {
        let bound = query.before * (1.0 + budget.regression) * (1.0 + 1e-9);
        let fits = |config: &&Config| {
            let new: f64 = config
                .uses
                .iter()
                .map(|at| &problem.indexes[*at])
                .filter(|index| !index.exists)
                .map(|index| index.bytes)
                .sum();
            config.acceptable && config.cost <= bound && budget.bytes.is_none_or(|bytes| new <= bytes)
        };
        let fitting: Vec<&Config> = query.configs.iter().filter(fits).collect();
        let beats = |one: &Config, other: &Config| {
            one != other
                && one.cost <= other.cost
                && one.believed <= other.believed
                && one.uses.len() <= other.uses.len()
                && one.uses.iter().all(|at| other.uses.contains(at))
        };
        let configs = fitting
            .iter()
            .copied()
            .filter(|config| !fitting.iter().any(|other| beats(other, config)))
            .collect();
        Worthwhile { configs, all: &query.configs }
    }

    /// Plans that the planner would rather take than this one, and that are worse.
    fn in_the_way(&self, place: usize) -> impl Iterator<Item = &Config> {
        let wanted = self.configs[place];
        self.all.iter().filter(move |other| {
            other.believed < wanted.believed
                && (other.cost > wanted.cost * 1.02 || !other.acceptable)
                && !other.uses.is_empty()
                && !other.uses.iter().all(|at| wanted.uses.contains(at))
        })
    }
}
