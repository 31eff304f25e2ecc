//! The choice against every choice there is.

#![allow(clippy::unwrap_used)]

use headwater_model::TableName;
use headwater_model::advice::{Config, InPlace, Index, IndexProblem, Query, TableWrites};
use proptest::prelude::*;

use super::effect::{fits, total};
use super::{Budget, advise, choose};

fn index(at: usize, bytes: f64, exists: bool, upkeep: f64, ends: bool) -> Index {
    Index {
        name: format!("i{at}"),
        table: TableName::new(Some("public"), "t"),
        definition: format!("(c{at})"),
        bytes,
        exists,
        statement: String::new(),
        undo: String::new(),
        build_ms: None,
        upkeep,
        ends: if ends { vec![0] } else { Vec::new() },
    }
}

prop_compose! {
    /// Up to six indexes of one table, up to four queries with up to five plans.
    fn problems()(
        indexes in prop::collection::vec((1.0..100.0, prop::bool::weighted(0.2), 0.0..60.0, any::<bool>()), 1..7),
        queries in prop::collection::vec((1.0..10.0, prop::collection::vec((1u32..64, 0.0..1.0, 0.0..1.0), 1..6)), 1..5),
        in_place in 0.0..30.0,
        measured in any::<bool>(),
    ) -> IndexProblem {
        let count = indexes.len();
        let indexes: Vec<Index> = (indexes.into_iter().enumerate())
            .map(|(at, (bytes, exists, upkeep, ends))| index(at, bytes, exists, upkeep, ends && !exists))
            .collect();
        let queries = queries.into_iter().enumerate().map(|(nth, (calls, plans))| {
            let mut configs = vec![Config { uses: Vec::new(), believed: 100.0, cost: 100.0, acceptable: true }];
            for (uses, believed, cost) in plans {
                let uses: Vec<usize> = (0..count).filter(|at| uses >> at & 1 == 1).collect();
                if configs.iter().any(|known| known.uses == uses) {
                    continue;
                }
                let believed = 1.0 + 98.0 * believed;
                // What is measured may be more than today's.
                let cost = if measured { 1.0 + 150.0 * cost } else { believed };
                configs.push(Config { uses, believed, cost, acceptable: cost <= 100.0 });
            }
            // Today's plan is the one that the planner takes with what is there.
            let today: Vec<usize> = (0..count).filter(|at| indexes[*at].exists).collect();
            let mut query = Query { name: format!("q{nth}"), sql: String::new(), calls, before: 0.0, configs };
            query.before = super::effect::taken(&query, &today).unwrap().cost;
            let before = query.before;
            query.configs.iter_mut().for_each(|config| config.acceptable = config.cost <= before);
            query
        }).collect();
        let writes = vec![TableWrites {
            table: TableName::new(Some("public"), "t"),
            cost: 100.0,
            in_place: vec![InPlace { standing: in_place, each: in_place / 3.0 }],
        }];
        IndexProblem { queries, indexes, writes, ..IndexProblem::default() }
    }
}

fn sets(count: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..1usize << count).map(move |set| (0..count).filter(|at| set >> at & 1 == 1).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_within_the_budget_is_better_than_what_is_chosen(
        problem in problems(), room in prop::option::of(10.0..200.0), most in prop::option::of(0.0..1.0),
    ) {
        let budget = Budget { bytes: room, writes: most, ..Budget::default() };
        let chosen = choose(&problem, &budget);
        prop_assert!(fits(&problem, &chosen, &budget), "{chosen:?} is not within the budget");
        let best = sets(problem.indexes.len())
            .filter(|set| fits(&problem, set, &budget))
            .map(|set| total(&problem, &set, &budget))
            .fold(f64::INFINITY, f64::min);
        let reached = total(&problem, &chosen, &budget);
        prop_assert!(reached <= best * 1.01 + 1e-6, "{chosen:?} costs {reached}, another set {best}");
    }

    #[test]
    fn advice_is_within_the_budget_makes_no_query_slower_and_says_what_it_saves(
        problem in problems(), room in prop::option::of(10.0..200.0),
    ) {
        let budget = Budget { bytes: room, ..Budget::default() };
        let advice = advise(&problem, &choose(&problem, &budget), &budget, false);
        prop_assert!(advice.bytes <= room.unwrap_or(f64::INFINITY));
        for query in &advice.queries {
            prop_assert!(query.after <= query.before * (1.0 + 1e-9), "{query:?}");
        }
        let sum: f64 = advice.queries.iter().map(|query| query.calls * query.after).sum();
        prop_assert!((sum - advice.after).abs() <= 1e-6 * advice.before);
    }
}
