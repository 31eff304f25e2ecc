//! From what the dual takes, which may not fit, to a choice that does: patterns move from engines that are too full to the next
//! best, those first that cost the least for the room they give.

use super::bound::{Look, Node};
use super::problem::{Choice, Load, Problem, RESOURCES};

/// A whole choice near the dual's; `None` if none was found.
pub(super) fn fitted(problem: &Problem, node: &Node, seen: &Look) -> Option<Choice> {
    let mut answered_by = seen.answered_by.clone();
    for _ in 0..problem.patterns.len() {
        let loads = problem.loads(&answered_by, node.source);
        let over = |at: usize| loads[at].is_some_and(|load| excess(problem, seen, at, &load) > 1e-9);
        let Some(full) = (0..problem.engines.len()).find(|at| over(*at)) else { break };
        let (pattern, engine) = cheapest_move(problem, node, seen, &answered_by, &loads, full)?;
        answered_by[pattern] = engine;
    }
    problem.price(&answered_by, node.source)
}

/// By how much a load exceeds what the dual deploys, all kinds together.
fn excess(problem: &Problem, seen: &Look, at: usize, load: &Load) -> f64 {
    let capacity = &problem.engines[at].deployments[seen.deployments[at]].capacity;
    (0..RESOURCES).map(|kind| ((load[kind] - capacity[kind]) / capacity[kind].max(1e-9)).max(0.0)).sum()
}

fn cheapest_move(
    problem: &Problem,
    node: &Node,
    seen: &Look,
    answered_by: &[usize],
    loads: &[Option<Load>],
    full: usize,
) -> Option<(usize, usize)> {
    let before = loads[full].map_or(0.0, |load| excess(problem, seen, full, &load));
    let mut best: Option<(f64, usize, usize)> = None;
    for (place, pattern) in
        problem.patterns.iter().enumerate().filter(|(place, _)| answered_by[*place] == full)
    {
        let (Some(mine), Some(load)) = (pattern.at[full], loads[full]) else { continue };
        let mut less = load;
        (0..RESOURCES).for_each(|kind| less[kind] -= mine.load[kind]);
        let relief = before - excess(problem, seen, full, &less);
        if relief <= 1e-12 {
            continue;
        }
        for (to, other) in pattern.at.iter().enumerate() {
            let engine = &problem.engines[to];
            let usable = node.open[to].is_some() && node.allowed[place] >> to & 1 == 1 && to != full;
            let Some(other) = other.filter(|_| usable && (!engine.is_source || to == node.source)) else {
                continue;
            };
            let mut more = loads[to].unwrap_or(engine.load);
            let mut extra = other.monthly - mine.monthly;
            (0..RESOURCES).for_each(|kind| more[kind] += other.load[kind]);
            let kept = |view: usize| {
                let reads = |(p, by): (&super::Pattern, &usize)| *by == to && p.views.contains(&view);
                engine.is_source || problem.patterns.iter().zip(answered_by).any(reads)
            };
            let mut keepable = true;
            for view in pattern.views.iter().filter(|view| !kept(**view)) {
                match problem.views[*view].at[to] {
                    Some(keep) => {
                        extra += keep.monthly;
                        (0..RESOURCES).for_each(|kind| more[kind] += keep.load[kind]);
                    }
                    None => keepable = false,
                }
            }
            if !keepable || excess(problem, seen, to, &more) > 1e-9 {
                continue;
            }
            let price = extra / relief;
            if best.is_none_or(|(least, ..)| price < least) {
                best = Some((price, place, to));
            }
        }
    }
    best.map(|(_, pattern, engine)| (pattern, engine))
}
