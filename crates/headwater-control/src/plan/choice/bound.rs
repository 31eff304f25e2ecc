//! How little the rest of the tree can cost: the Lagrangian dual of the capacities.
//!
//! Load gets a price per engine and kind. Then nothing is scarce, every group of views takes what is cheapest for it, and every
//! engine the deployment whose capacity is worth most: their sum is below the cost of every choice that carries its load,
//! whatever the prices. The best prices are looked for by subgradient steps (B. T. Polyak, 1969).

use super::group::{Group, Terms};
use super::problem::{Choice, LOAD_NONE, Load, Problem, RESOURCES, dot};

/// A part of the tree: which engines are in use, and which of their deployments are open.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub source: usize,
    /// Per engine: first and last open deployment; `None` if it is not in use.
    pub open: Vec<Option<(usize, usize)>>,
    /// Per pattern: the engines that may answer it, a bit each.
    pub allowed: Vec<u32>,
    /// Nothing in this part costs less.
    pub bound: f64,
    /// The prices that gave the bound: a start for the parts of this part.
    pub prices: Vec<Load>,
}

/// What looking at a node found.
pub(super) struct Look {
    pub bound: f64,
    pub prices: Vec<Load>,
    /// At these prices: the deployment of each engine, and what it would have to carry.
    pub deployments: Vec<usize>,
    pub loads: Vec<Load>,
    pub answered_by: Vec<usize>,
    /// The best whole choice that came up.
    pub found: Option<Choice>,
}

impl Node {
    pub fn terms<'p>(&self, problem: &'p Problem, prices: Vec<Load>) -> Terms<'p> {
        let bits = |(first, last): (usize, usize)| (u128::MAX >> (127 - (last - first))) << first;
        Terms {
            problem,
            used: (0..self.open.len()).filter(|at| self.open[*at].is_some()).collect(),
            open: self.open.iter().map(|open| open.map_or(0, bits)).collect(),
            prices,
            allowed: self.allowed.clone(),
            changed: None,
        }
    }

    /// The source, and the engines in use, a bit each.
    pub fn set(&self) -> (usize, u32) {
        let bits = self.open.iter().enumerate().filter(|(_, open)| open.is_some());
        (self.source, bits.fold(0, |set, (at, _)| set | 1 << at))
    }

    /// Whether every deployment is fixed.
    pub fn is_leaf(&self) -> bool {
        self.open.iter().flatten().all(|(first, last)| first == last)
    }
}

/// Looks at a node with `steps` sets of prices; `best` is what has been found so far. `None`: nothing in it carries the
/// patterns at all.
pub(super) fn look(
    problem: &Problem,
    groups: &[Group],
    node: &Node,
    steps: usize,
    best: f64,
) -> Option<Look> {
    let mut terms = node.terms(problem, node.prices.clone());
    let mut look = Look {
        bound: f64::NEG_INFINITY,
        prices: node.prices.clone(),
        deployments: vec![0; problem.engines.len()],
        loads: vec![LOAD_NONE; problem.engines.len()],
        answered_by: vec![node.source; problem.patterns.len()],
        found: None,
    };
    let scales = scales(problem);
    let mut stride = 1.0;
    let mut since_better = 0;
    for _ in 0..steps.max(1) {
        let (value, deployments, loads, answered_by) = at_prices(problem, groups, node, &terms)?;
        if let Some(choice) = problem.price(&answered_by, node.source)
            && look.found.as_ref().is_none_or(|found| choice.monthly < found.monthly)
        {
            look.found = Some(choice);
        }
        let target = look.found.as_ref().map_or(best, |found| found.monthly.min(best));
        let excess: Vec<Load> = (0..problem.engines.len())
            .map(|at| excess(&terms, at, deployments[at], &loads[at], &scales[at]))
            .collect();
        if value > look.bound {
            (look.bound, look.prices, look.deployments, look.loads) =
                (value, terms.prices.clone(), deployments, loads);
            look.answered_by = answered_by;
            since_better = 0;
        } else {
            since_better += 1;
            if since_better % 8 == 0 {
                stride /= 2.0;
                terms.prices.clone_from(&look.prices);
            }
        }
        let steepness: f64 = excess.iter().flatten().map(|over| over * over).sum();
        if look.bound >= best || steepness < 1e-18 {
            break;
        }
        let target = if target.is_finite() { target } else { value.abs() * 1.1 + 1.0 };
        let step = stride * (target - value).max(target.abs() * 1e-6) / steepness;
        for (at, prices) in terms.prices.iter_mut().enumerate() {
            for kind in 0..RESOURCES {
                prices[kind] = (prices[kind] + step * excess[at][kind] / scales[at][kind]).max(0.0);
            }
        }
    }
    Some(look)
}

type AtPrices = (f64, Vec<usize>, Vec<Load>, Vec<usize>);

/// What everything costs if each group and each engine does what is cheapest for it alone.
fn at_prices(problem: &Problem, groups: &[Group], node: &Node, terms: &Terms<'_>) -> Option<AtPrices> {
    let (mut value, deployments) = machines(problem, node, terms)?;
    let mut loads: Vec<Load> = problem.engines.iter().map(|engine| engine.load).collect();
    let mut answered_by = vec![node.source; problem.patterns.len()];
    for group in groups {
        let best = group.best(terms)?;
        value += best.value;
        group.add_loads(terms, &best.answered_by, &mut loads);
        best.answered_by.iter().for_each(|(pattern, engine)| answered_by[*pattern] = *engine);
    }
    Some((value, deployments, loads, answered_by))
}

/// What the engines in use cost beside what they answer and keep, each with the deployment that is worth most at these prices.
pub(super) fn machines(problem: &Problem, node: &Node, terms: &Terms<'_>) -> Option<(f64, Vec<usize>)> {
    let mut value = if terms.used.len() > 1 { problem.beside } else { 0.0 };
    let mut deployments = vec![0; problem.engines.len()];
    for at in &terms.used {
        let engine = &problem.engines[*at];
        let prices = &terms.prices[*at];
        let (first, last) = node.open[*at]?;
        let worth = |place: usize| {
            let deployment = &engine.deployments[place];
            deployment.monthly - dot(prices, &deployment.capacity)
        };
        let dearest = (first..=last).min_by(|a, b| worth(*a).total_cmp(&worth(*b)))?;
        deployments[*at] = dearest;
        value += engine.monthly + dot(prices, &engine.load) + worth(dearest);
    }
    Some((value, deployments))
}

/// By how much an engine's load exceeds its deployment, each kind in its own scale. What is plenty and costs nothing is no
/// reason to change a price.
fn excess(terms: &Terms<'_>, at: usize, deployment: usize, load: &Load, scale: &Load) -> Load {
    let mut excess = LOAD_NONE;
    if terms.open[at] != 0 {
        let capacity = &terms.problem.engines[at].deployments[deployment].capacity;
        for kind in 0..RESOURCES {
            let over = (load[kind] - capacity[kind]) / scale[kind];
            if over > 0.0 || terms.prices[at][kind] > 0.0 {
                excess[kind] = over;
            }
        }
    }
    excess
}

fn scales(problem: &Problem) -> Vec<Load> {
    let of = |engine: &super::Engine| {
        let mut scale = [1e-9; RESOURCES];
        for deployment in &engine.deployments {
            for (scale, capacity) in scale.iter_mut().zip(&deployment.capacity) {
                *scale = f64::max(*scale, *capacity);
            }
        }
        scale
    };
    problem.engines.iter().map(of).collect()
}
