//! The search: sets of engines in use, then ever narrower ranges of their deployments, then who answers which pattern, the most
//! promising part first.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::bound::{Look, Node, look};
use super::group::{Group, USED_MAX};
use super::problem::{Choice, DEPLOYMENTS_MAX, LOAD_NONE, Problem};
use super::small;
use super::{leaf, repair};

/// How long the search goes on.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Parts of the tree that are looked at.
    pub nodes_max: usize,
    /// Parts times patterns: what bounds the time that a large problem takes.
    pub work_max: usize,
    /// A choice that no other can undercut by more than this share is good enough.
    pub gap: f64,
    /// With no more assignments than this, all are tried.
    pub tried_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { nodes_max: 5_000, work_max: 300_000, gap: 1e-3, tried_max: 200_000 }
    }
}

/// Sets of prices tried per node.
const STEPS: usize = 60;

/// The cheapest choice, or the best that came up within the limits with the bound that says how good it is. `None` if
/// nothing carries the patterns.
pub fn choose(problem: &Problem, limits: Limits) -> Option<Choice> {
    if small::combinations(problem, limits.tried_max).is_some() {
        return small::best(problem);
    }
    let groups = Group::all(problem);
    let mut open: BinaryHeap<Ranked> = BinaryHeap::new();
    let mut best: Option<Choice> = None;
    for root in roots(problem) {
        let Some(seen) = look(problem, &groups, &root, 1, f64::INFINITY) else { continue };
        keep_better(&mut best, seen.found);
        open.push(Ranked(Node { bound: seen.bound, ..root }));
    }
    let mut nodes = 0;
    let nodes_max = limits.nodes_max.min(limits.work_max / problem.patterns.len().max(1));
    // Of what is not looked at any further.
    let mut proven = f64::INFINITY;
    while let Some(Ranked(node)) = open.pop() {
        let cost = best.as_ref().map_or(f64::INFINITY, |best| best.monthly);
        if node.bound >= cost * (1.0 - limits.gap) || nodes >= nodes_max {
            // The others are no more promising than this one.
            proven = proven.min(node.bound);
            break;
        }
        nodes += 1;
        let Some(seen) = look(problem, &groups, &node, STEPS, cost) else { continue };
        let (found, bound) = (seen.found.clone(), seen.bound.max(node.bound));
        keep_better(&mut best, found);
        keep_better(&mut best, repair::fitted(problem, &node, &seen));
        let cost = best.as_ref().map_or(f64::INFINITY, |best| best.monthly);
        if bound >= cost * (1.0 - limits.gap) {
            proven = proven.min(bound);
            continue;
        }
        let node = Node { bound, prices: seen.prices.clone(), ..node };
        if node.is_leaf() {
            match leaf::solve(problem, &groups, &node, cost * (1.0 - limits.gap)) {
                leaf::Solved::Done(found) => keep_better(&mut best, found),
                leaf::Solved::TooLarge { pattern, engine } => {
                    for allowed in [1 << engine, node.allowed[pattern] & !(1 << engine)] {
                        let mut part = node.clone();
                        part.allowed[pattern] = allowed;
                        open.push(Ranked(part));
                    }
                }
            }
            continue;
        }
        for part in split(problem, &node, &seen) {
            open.push(Ranked(part));
        }
    }
    best.map(|best| Choice { bound: proven.min(best.monthly), ..best })
}

fn keep_better(best: &mut Option<Choice>, found: Option<Choice>) {
    if let Some(found) = found
        && best.as_ref().is_none_or(|best| found.monthly < best.monthly)
    {
        *best = Some(found);
    }
}

/// Every source with every set of other engines, as many as are in use at once.
fn roots(problem: &Problem) -> Vec<Node> {
    let engines = problem.engines.iter().enumerate();
    let (sources, others): (Vec<_>, Vec<_>) = engines.partition(|(_, engine)| engine.is_source);
    let whole = |at: usize| {
        let deployments = problem.engines[at].deployments.len().min(DEPLOYMENTS_MAX);
        Some((0, deployments.checked_sub(1)?))
    };
    let mut roots = Vec::new();
    for (source, _) in &sources {
        for set in (0u32..1 << others.len()).filter(|set| (set.count_ones() as usize) < USED_MAX) {
            let mut open = vec![None; problem.engines.len()];
            open[*source] = whole(*source);
            let used = others.iter().enumerate().filter(|(place, _)| set >> place & 1 == 1);
            used.for_each(|(_, (at, _))| open[*at] = whole(*at));
            let prices = vec![LOAD_NONE; problem.engines.len()];
            if open[*source].is_some() {
                let allowed = vec![u32::MAX; problem.patterns.len()];
                roots.push(Node { source: *source, open, allowed, bound: f64::NEG_INFINITY, prices });
            }
        }
    }
    roots
}

/// Two parts of a node: where what the bound takes and what the load needs are the furthest apart.
fn split(problem: &Problem, node: &Node, seen: &Look) -> Vec<Node> {
    let mut widest: Option<(f64, usize, usize)> = None;
    for (at, open) in node.open.iter().enumerate() {
        let Some((first, last)) = *open else { continue };
        if first == last {
            continue;
        }
        let deployments = &problem.engines[at].deployments;
        let taken = seen.deployments[at];
        let needed = (first..=last)
            .find(|place| super::problem::carries(&deployments[*place].capacity, &seen.loads[at]))
            .unwrap_or(last);
        let apart = (deployments[needed].monthly - deployments[taken].monthly).abs();
        // Both sides must be smaller than the whole.
        let below = taken.min(needed).clamp(first, last - 1);
        if widest.is_none_or(|(before, ..)| apart > before) {
            widest = Some((apart, at, below));
        }
    }
    let Some((_, at, below)) = widest else { return Vec::new() };
    let Some((first, last)) = node.open[at] else { return Vec::new() };
    [(first, below), (below + 1, last)]
        .into_iter()
        .map(|range| {
            let mut open = node.open.clone();
            open[at] = Some(range);
            Node { open, ..node.clone() }
        })
        .collect()
}

/// The lowest bound first.
struct Ranked(Node);

impl Ord for Ranked {
    fn cmp(&self, other: &Ranked) -> Ordering {
        other.0.bound.total_cmp(&self.0.bound)
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Ranked) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Ranked) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}
