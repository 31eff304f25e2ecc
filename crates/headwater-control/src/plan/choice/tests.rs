//! The choice against all choices there are.

use proptest::prelude::*;

use super::*;

/// Every assignment of every pattern, with every source: the oracle.
fn enumerate(problem: &Problem) -> Option<f64> {
    let engines = problem.engines.len();
    let mut least: Option<f64> = None;
    for source in (0..engines).filter(|at| problem.engines[*at].is_source) {
        'assignments: for mut n in 0..engines.pow(problem.patterns.len() as u32) {
            let mut answered_by = Vec::new();
            for pattern in &problem.patterns {
                let at = n % engines;
                n /= engines;
                if (problem.engines[at].is_source && at != source) || pattern.at[at].is_none() {
                    continue 'assignments;
                }
                answered_by.push(at);
            }
            if let Some(monthly) = cost(problem, source, &answered_by) {
                least = Some(least.map_or(monthly, |least| least.min(monthly)));
            }
        }
    }
    least
}

/// Said once more, from the definition.
fn cost(problem: &Problem, source: usize, answered_by: &[usize]) -> Option<f64> {
    let beside = (0..problem.engines.len()).any(|at| at != source && answered_by.contains(&at));
    let mut total = if beside { problem.beside } else { 0.0 };
    for (at, engine) in problem.engines.iter().enumerate() {
        let mine: Vec<usize> = (0..answered_by.len()).filter(|p| answered_by[*p] == at).collect();
        if mine.is_empty() && at != source {
            continue;
        }
        let mut load = engine.load;
        let mut deployments = u128::MAX;
        total += engine.monthly;
        for pattern in &mine {
            let asked = problem.patterns[*pattern].at[at]?;
            total += asked.monthly;
            deployments &= asked.deployments;
            (0..RESOURCES).for_each(|kind| load[kind] += asked.load[kind]);
        }
        if !engine.is_source {
            for (view, kept) in problem.views.iter().enumerate() {
                if mine.iter().any(|pattern| problem.patterns[*pattern].views.contains(&view)) {
                    let keep = kept.at[at]?;
                    total += keep.monthly;
                    (0..RESOURCES).for_each(|kind| load[kind] += keep.load[kind]);
                }
            }
        }
        let enough = engine.deployments.iter().enumerate().filter(|(place, deployment)| {
            deployments >> place & 1 == 1
                && (0..RESOURCES).all(|kind| load[kind] <= deployment.capacity[kind] + 1e-9)
        });
        total += enough.map(|(_, deployment)| deployment.monthly).reduce(f64::min)?;
    }
    Some(total)
}

fn load(kinds: usize) -> impl Strategy<Value = Load> {
    proptest::collection::vec(0u8..10, kinds).prop_map(|amounts| {
        let mut load = LOAD_NONE;
        amounts.iter().zip(&mut load).for_each(|(amount, load)| *load = f64::from(*amount));
        load
    })
}

fn engine(is_source: bool) -> impl Strategy<Value = Engine> {
    let deployments =
        proptest::collection::vec((1u16..200, proptest::collection::vec(1u8..60, RESOURCES)), 1..4);
    (0u8..20, load(2), deployments).prop_map(move |(monthly, load, deployments)| {
        let mut deployments: Vec<Deployment> = deployments
            .into_iter()
            .map(|(monthly, capacity)| {
                let mut room = [0.0; RESOURCES];
                capacity.iter().zip(&mut room).for_each(|(from, to)| *to = f64::from(*from));
                Deployment { monthly: f64::from(monthly), capacity: room }
            })
            .collect();
        deployments.sort_by(|a, b| a.monthly.total_cmp(&b.monthly));
        Engine { is_source, monthly: f64::from(monthly), load, deployments }
    })
}

fn problem() -> impl Strategy<Value = Problem> {
    (1usize..3, 0usize..3, 1usize..4, 1usize..6).prop_flat_map(|(sources, others, views, patterns)| {
        let engines: Vec<_> = (0..sources + others).map(|at| engine(at < sources).boxed()).collect();
        let count = sources + others;
        let keep = proptest::option::weighted(0.8, (0u8..30, load(3)));
        let view = proptest::collection::vec(keep, count);
        let asked = proptest::option::weighted(0.8, (0u8..40, load(RESOURCES), 1u128..8));
        let pattern = (proptest::collection::vec(0..views, 1..3), proptest::collection::vec(asked, count));
        let patterns = proptest::collection::vec(pattern, patterns);
        (engines, proptest::collection::vec(view, views), patterns, 0u8..40).prop_map(
            |(engines, views, patterns, beside)| Problem {
                beside: f64::from(beside),
                engines,
                views: views
                    .into_iter()
                    .map(|at| View {
                        at: at
                            .into_iter()
                            .map(|keep| keep.map(|(m, load)| Keep { monthly: f64::from(m), load }))
                            .collect(),
                    })
                    .collect(),
                patterns: patterns
                    .into_iter()
                    .map(|(views, at)| Pattern {
                        views,
                        at: at
                            .into_iter()
                            .map(|asked| {
                                asked.map(|(m, load, deployments)| Use {
                                    monthly: f64::from(m),
                                    load,
                                    deployments,
                                })
                            })
                            .collect(),
                    })
                    .collect(),
            },
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_choice_is_cheaper(problem in problem()) {
        let least = enumerate(&problem);
        let choice = choose(&problem, Limits { gap: 1e-9, tried_max: 0, ..Limits::default() });
        prop_assert_eq!(choice.is_some(), least.is_some(), "{:?} {:?}", choice, least);
        if let (Some(choice), Some(least)) = (choice, least) {
            prop_assert!((choice.monthly - least).abs() < 1e-6 * least.max(1.0), "{:?}, {}", choice, least);
            prop_assert!(choice.bound <= least + 1e-6 * least.max(1.0));
            prop_assert!(choice.gap() < 1e-4, "{:?}", choice);
        }
    }

    #[test]
    fn trying_all_finds_the_same(problem in problem()) {
        let least = enumerate(&problem);
        let choice = choose(&problem, Limits::default());
        prop_assert_eq!(choice.is_some(), least.is_some(), "{:?} {:?}", choice, least);
        if let (Some(choice), Some(least)) = (choice, least) {
            prop_assert!((choice.monthly - least).abs() < 1e-6 * least.max(1.0), "{:?}, {}", choice, least);
        }
    }

    /// One pattern with less that it can be answered by, and asked for more or less often.
    #[test]
    fn a_question_asked_again_is_the_changed_problem_s(
        problem in problem(),
        pattern in 0usize..6,
        kept in 1u32..32,
        factor in prop_oneof![Just(0.0), Just(0.3), Just(1.0), Just(2.5)],
    ) {
        let pattern = pattern % problem.patterns.len();
        let mut changed = problem.clone();
        for (engine, asked) in changed.patterns[pattern].at.iter_mut().enumerate() {
            *asked = asked.filter(|_| kept >> engine & 1 == 1).map(|asked| Use {
                monthly: asked.monthly * factor,
                load: asked.load.map(|load| load * factor),
                ..asked
            });
        }
        let limits = Limits { gap: 1e-9, tried_max: 0, ..Limits::default() };
        let Some(explored) = Explored::new(&problem, None, limits) else { return Ok(()) };
        prop_assert!((explored.best().monthly - enumerate(&problem).unwrap_or(0.0)).abs() < 1e-6);
        let least = enumerate(&changed);
        let around = explored.around(pattern);
        let at = &changed.patterns[pattern].at;
        let varied = around.varied(at, limits);
        prop_assert_eq!(varied.best.is_some(), least.is_some(), "{:?} {:?}", varied, least);
        // Without any search it is a choice still, and what it says of its bound holds.
        let quick = around.varied(at, Limits { nodes_max: 0, ..limits });
        let near = |a: f64, b: f64| (a - b).abs() < 1e-6 * b.max(1.0);
        match (varied.best, least) {
            (Some(choice), Some(least)) => {
                prop_assert!(near(choice.monthly, least), "{:?}, {}", choice, least);
                prop_assert!(choice.bound <= least + 1e-6 * least.max(1.0));
                prop_assert!(quick.bound <= least + 1e-6 * least.max(1.0), "{:?}, {}", quick, least);
                if let Some(quick) = quick.best {
                    let source = (0..problem.engines.len())
                        .find(|at| problem.engines[*at].is_source && quick.deployed[*at].is_some()).unwrap_or(0);
                    let priced = cost(&changed, source, &quick.answered_by);
                    prop_assert!(priced.is_some_and(|priced| near(quick.monthly, priced)), "{:?}, {:?}", quick, priced);
                }
            }
            _ => prop_assert_eq!(varied.bound, f64::INFINITY),
        }
    }

    #[test]
    fn without_an_engine_it_is_the_problem_without_it(problem in problem(), engine in 0usize..6) {
        let engine = engine % problem.engines.len();
        let mut changed = problem.clone();
        changed.patterns.iter_mut().for_each(|pattern| pattern.at[engine] = None);
        changed.engines[engine].deployments.clear();
        let limits = Limits { gap: 1e-9, ..Limits::default() };
        let Some(explored) = Explored::new(&problem, None, limits) else { return Ok(()) };
        let least = enumerate(&changed);
        let varied = explored.only(|at| at != engine, limits);
        prop_assert_eq!(varied.best.is_some(), least.is_some(), "{:?} {:?}", varied, least);
        if let (Some(choice), Some(least)) = (varied.best, least) {
            prop_assert!((choice.monthly - least).abs() < 1e-6 * least.max(1.0), "{:?}, {}", choice, least);
        }
    }
}
