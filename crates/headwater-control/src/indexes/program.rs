//! The choice, as an integer program. A query takes one of its plans, a plan needs its indexes, an index takes room and makes writes
//! dearer. The planner takes the plan that it believes to be the cheapest of those that it can have; where measuring told
//! otherwise, no plan may be counted on that the planner would pass over.
//!
//! Solved by branch and bound: one index after the other is chosen and refused, and what cannot become better than what is known is
//! left aside. What remains of that when it is stopped tells how far from the best the choice can be.

use std::cmp::Ordering;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

use headwater_model::advice::IndexProblem;

use super::Budget;
use super::bound::{Bounded, Fate, Prices, Relaxation};
use super::effect::{fits, total};

/// What is known of costs is not known better than this share of the whole: who comes so near to the best has found it.
const NEAR: f64 = 0.0005;

/// So much is done to find it, in plans looked at: some seconds.
const WORK_MAX: usize = 300_000_000;

/// How often prices are moved for the first bound, and for each later one, which goes on from those of the bound before.
const FIRST_MOVES: usize = 400;
const MOVES: usize = 30;

/// Mending a set that takes too much is dear: one of so many.
const MENDED_EACH: usize = 64;

/// The indexes that should be there, by their places: those of today that stay, and new ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    pub indexes: Vec<usize>,
    /// How much of what the workload costs today another choice could save beyond this one, at most: proven.
    pub gap: f64,
}

pub fn choose(problem: &IndexProblem, budget: &Budget) -> Choice {
    choose_within(problem, budget, WORK_MAX)
}

pub(super) fn choose_within(problem: &IndexProblem, budget: &Budget, work: usize) -> Choice {
    let before: f64 = problem.queries.iter().map(|query| query.calls * query.before).sum();
    let today: Vec<usize> = (0..problem.indexes.len()).filter(|at| problem.indexes[*at].exists).collect();
    if before <= 0.0 {
        return Choice { indexes: today, gap: 0.0 };
    }
    let relaxation = Relaxation::of(problem, budget);
    let mut search = Search {
        problem,
        budget,
        near: NEAR * before,
        least: total(problem, &today, budget),
        best: today,
        open: BinaryHeap::new(),
        left: work / relaxation.work().max(1),
        looked: 0,
        relaxation,
    };
    search.climb();
    search.begin();
    let gap = search.run() / before;
    search.best.sort_unstable();
    Choice { indexes: search.best, gap }
}

struct Search<'p> {
    problem: &'p IndexProblem,
    budget: &'p Budget,
    relaxation: Relaxation,
    near: f64,
    /// The best choice that is known, and what it comes to.
    best: Vec<usize>,
    least: f64,
    open: BinaryHeap<Node>,
    /// So often the prices may still be moved.
    left: usize,
    looked: usize,
}

/// Some decisions, and how cheap it can get with them.
struct Node {
    bound: f64,
    fates: Vec<Fate>,
    prices: Arc<Prices>,
    next: usize,
}

impl Search<'_> {
    /// Everything is open.
    fn begin(&mut self) {
        let fates = vec![Fate::Open; self.problem.indexes.len()];
        let moves = FIRST_MOVES.min(self.left);
        self.look(fates, &self.relaxation.prices(), moves);
    }

    /// How much cheaper than the best any choice can be at most.
    fn run(&mut self) -> f64 {
        // The one that could become the cheapest comes first, so none of the others can be cheaper either.
        while let Some(node) = self.open.pop().filter(|node| node.bound < self.least - self.near) {
            if self.left == 0 {
                return self.least - node.bound;
            }
            for fate in [Fate::Chosen, Fate::Refused] {
                let mut fates = node.fates.clone();
                fates[node.next] = fate;
                self.look(fates, &node.prices, MOVES);
            }
        }
        self.near
    }

    /// Finds out how cheap it can get with these decisions, and keeps them if that is of interest.
    fn look(&mut self, mut fates: Vec<Fate>, from: &Prices, moves: usize) {
        self.left = self.left.saturating_sub(moves);
        self.looked += 1;
        let goal = self.least - self.near;
        let Some(bounded) = self.relaxation.bound(&fates, from, goal, moves) else { return };
        let Bounded { bound, prices, picked, reduced, next } = bounded;
        let chosen = (0..fates.len()).filter(|at| fates[*at] == Fate::Chosen);
        let mut set: Vec<usize> = picked.into_iter().chain(chosen).collect();
        set.sort_unstable();
        set.dedup();
        self.try_out(set, self.looked % MENDED_EACH == 1);
        let goal = self.least - self.near;
        let Some(next) = next.filter(|_| bound < goal) else { return };
        // What would lift the bound too far if it were decided otherwise is decided.
        for (fate, reduced) in fates.iter_mut().zip(reduced).filter(|(fate, _)| **fate == Fate::Open) {
            if bound + reduced >= goal {
                *fate = Fate::Refused;
            } else if bound - reduced >= goal {
                *fate = Fate::Chosen;
            }
        }
        self.open.push(Node { bound, fates, prices: Arc::new(prices), next });
    }

    /// Takes a set if it is better than the best. One that takes too much first loses what it loses the least by, if it is to be
    /// mended.
    fn try_out(&mut self, mut set: Vec<usize>, mended: bool) {
        while !fits(self.problem, &set, self.budget) {
            if !mended {
                return;
            }
            let without = |at: &usize| set.iter().copied().filter(|other| other != at).collect::<Vec<_>>();
            let droppable = set.iter().filter(|at| !self.problem.indexes[**at].exists);
            let fewer = droppable.map(without).min_by(|a, b| self.cost(a).total_cmp(&self.cost(b)));
            let Some(fewer) = fewer else { return };
            set = fewer;
        }
        let cost = self.cost(&set);
        if cost < self.least {
            (self.best, self.least) = (set, cost);
            self.climb();
        }
    }

    fn cost(&self, set: &[usize]) -> f64 {
        total(self.problem, set, self.budget)
    }

    /// As long as taking one more plan, or doing without one index, makes it better.
    fn climb(&mut self) {
        loop {
            let best = &self.best;
            let configs = self.problem.queries.iter().flat_map(|query| &query.configs);
            let with = configs.map(|config| best.iter().chain(&config.uses).copied().collect());
            let without = best.iter().map(|at| best.iter().copied().filter(|other| other != at).collect());
            let near: BTreeSet<BTreeSet<usize>> = with.chain(without).collect();
            let better = near
                .into_iter()
                .map(|set| set.into_iter().collect::<Vec<usize>>())
                .map(|set| (self.cost(&set), set))
                .filter(|(cost, set)| *cost < self.least && fits(self.problem, set, self.budget))
                .min_by(|a, b| a.0.total_cmp(&b.0));
            match better {
                Some((cost, set)) if cost < self.least - 1e-9 * self.least.abs() => {
                    (self.least, self.best) = (cost, set);
                }
                _ => return,
            }
        }
    }
}

// A heap gives the greatest first: that is the one that can become the cheapest.
impl Ord for Node {
    fn cmp(&self, other: &Node) -> Ordering {
        other.bound.total_cmp(&self.bound)
    }
}

impl PartialOrd for Node {
    fn partial_cmp(&self, other: &Node) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Node) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Node {}
