//! The search: sets of engines in use, then ever narrower ranges of their deployments, then who answers which pattern, the most
//! promising part first.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};

use super::bound::{Look, Node, look};
use super::group::{Group, USED_MAX};
use super::improve::improved;
use super::problem::{Choice, DEPLOYMENTS_MAX, LOAD_NONE, Problem};
use super::small;
use super::{leaf, repair};
use crate::plan::parallel;

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
    /// Sets of prices tried per part.
    pub steps: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { nodes_max: 5_000, work_max: 120_000, gap: 1e-3, tried_max: 200_000, steps: 60 }
    }
}

/// The cheapest choice, or the best that came up within the limits with the bound that says how good it is. `None` if
/// nothing carries the patterns.
pub fn choose(problem: &Problem, limits: Limits) -> Option<Choice> {
    if small::combinations(problem, limits.tried_max).is_some() {
        return small::best(problem, None);
    }
    let groups = Group::all(problem);
    search_all(problem, &groups, None, limits).best
}

/// What a search came to.
pub(super) struct Searched {
    /// With its bound.
    pub best: Option<Choice>,
    /// Nothing costs less; infinite if nothing carries the patterns, and that is proven.
    pub bound: f64,
    /// What the search divided the problem into, as far as it went, without what carries nothing.
    pub parts: Vec<Node>,
    /// The best choice that came up with each source and set of engines.
    pub found: BTreeMap<(usize, u32), Choice>,
}

/// Searches everything; `best` is what is known already.
pub(super) fn search_all(
    problem: &Problem,
    groups: &[Group],
    best: Option<Choice>,
    limits: Limits,
) -> Searched {
    let mut open = Vec::new();
    let mut found = Vec::new();
    for root in roots(problem) {
        let Some(seen) = look(problem, groups, &root, 1, f64::INFINITY) else { continue };
        found.extend(seen.found.map(|choice| (root.set(), choice)));
        open.push(Node { bound: seen.bound, ..root });
    }
    let mut kept = Kept::of(best);
    found.into_iter().for_each(|(set, choice)| kept.keep(set, Some(choice)));
    search(problem, groups, open, kept, limits)
}

/// Searches the parts that are open.
pub(super) fn search(
    problem: &Problem,
    groups: &[Group],
    open: Vec<Node>,
    mut kept: Kept,
    limits: Limits,
) -> Searched {
    let mut open: BinaryHeap<Ranked> = open.into_iter().map(Ranked).collect();
    let mut parts = Vec::new();
    kept.improve(problem);
    let mut nodes = 0;
    let nodes_max = limits.nodes_max.min(limits.work_max / problem.patterns.len().max(1));
    // However many processors there are: the same problem has the same choice.
    let at_once = if problem.patterns.len() < TOGETHER_PATTERNS_MIN { 1 } else { TOGETHER };
    // Of what is not looked at any further.
    let mut proven = f64::INFINITY;
    loop {
        let cost = kept.cost();
        let mut together = Vec::new();
        while together.len() < at_once
            && let Some(Ranked(node)) = open.pop()
        {
            if node.bound >= cost * (1.0 - limits.gap) || nodes >= nodes_max {
                open.push(Ranked(node));
                break;
            }
            nodes += 1;
            together.push(node);
        }
        if together.is_empty() {
            // The most promising of what is left is not promising enough.
            proven = open.peek().map_or(proven, |Ranked(node)| proven.min(node.bound));
            break;
        }
        let looked_at =
            parallel::each(together.len(), |at| expanded(problem, groups, &together[at], cost, limits));
        for Expanded { node, found, parts: into, bound } in looked_at.into_iter().flatten() {
            found.into_iter().for_each(|found| kept.keep(node.set(), Some(found)));
            proven = proven.min(bound);
            if into.is_empty() {
                parts.push(node);
            }
            open.extend(into.into_iter().map(Ranked));
        }
        if kept.cost() < cost {
            kept.improve(problem);
        }
    }
    parts.extend(open.into_iter().map(|Ranked(node)| node));
    let bound = proven.min(kept.cost());
    Searched { best: kept.best.map(|best| Choice { bound, ..best }), bound, parts, found: kept.found }
}

/// With fewer patterns than this, one part after the other is looked at: it takes no time.
const TOGETHER_PATTERNS_MIN: usize = 48;
const TOGETHER: usize = 8;

/// A part that was looked at.
struct Expanded {
    node: Node,
    /// Choices that came up.
    found: Vec<Choice>,
    /// What it was divided into; nothing if that is not worth it any more.
    parts: Vec<Node>,
    /// Nothing in it costs less, if it was not divided; infinite if the best of it was found.
    bound: f64,
}

/// Looks at a part, where `cost` is the best that is known. `None`: nothing in it carries the patterns.
fn expanded(problem: &Problem, groups: &[Group], node: &Node, cost: f64, limits: Limits) -> Option<Expanded> {
    let seen = look(problem, groups, node, limits.steps, cost)?;
    let mut found: Vec<Choice> = seen.found.clone().into_iter().collect();
    found.extend(repair::fitted(problem, node, &seen));
    let cost = found.iter().map(|found| found.monthly).fold(cost, f64::min);
    let bound = seen.bound.max(node.bound);
    let node = Node { bound, prices: seen.prices.clone(), ..node.clone() };
    if bound >= cost * (1.0 - limits.gap) {
        return Some(Expanded { node, found, parts: Vec::new(), bound });
    }
    let mut parts = Vec::new();
    if !node.is_leaf() {
        parts = split(problem, &node, &seen);
    } else {
        match leaf::solve(problem, groups, &node, cost * (1.0 - limits.gap)) {
            leaf::Solved::Done(best) => found.extend(best),
            leaf::Solved::TooLarge { pattern, engine } => {
                for allowed in [1 << engine, node.allowed[pattern] & !(1 << engine)] {
                    let mut part = node.clone();
                    part.allowed[pattern] = allowed;
                    parts.push(part);
                }
            }
        }
    }
    Some(Expanded { node, found, parts, bound: f64::INFINITY })
}

/// What came up so far.
pub(super) struct Kept {
    best: Option<Choice>,
    /// By source and set of engines.
    found: BTreeMap<(usize, u32), Choice>,
}

impl Kept {
    pub fn of(best: Option<Choice>) -> Kept {
        Kept { best, found: BTreeMap::new() }
    }

    fn cost(&self) -> f64 {
        self.best.as_ref().map_or(f64::INFINITY, |best| best.monthly)
    }

    fn improve(&mut self, problem: &Problem) {
        self.best = self.best.take().map(|best| improved(problem, best));
    }

    fn keep(&mut self, set: (usize, u32), found: Option<Choice>) {
        let Some(found) = found else { return };
        if found.monthly < self.cost() {
            self.best = Some(found.clone());
        }
        let known = self.found.entry(set).or_insert_with(|| found.clone());
        if found.monthly < known.monthly {
            *known = found;
        }
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
