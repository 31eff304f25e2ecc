//! How cheap it could get at best, with some indexes decided and the others open: a Lagrangian relaxation. Each query picks the plan
//! that it likes best and pays a price for every index that the plan reads; an index is had if its prices pay for it. What is
//! wrong with such an answer (a plan whose index is not there, a budget that is overspent) is what the prices are moved by. No
//! choice that keeps all rules costs less than any of these answers, so the dearest of them is a bound.
//!
//! Items are the indexes, by their places in the problem, and after them the updates that stay in their page today: an index that
//! ends those needs that item, which costs what the other indexes of the table are then charged.

use headwater_model::advice::{Config, IndexProblem, Query};

use super::Budget;
use super::effect::{charge, dropping_saves};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Open,
    Chosen,
    Refused,
}

/// What each query pays for each item that a plan of it needs, and what a share of each budget costs.
pub(super) type Prices = Vec<f32>;

pub(super) struct Relaxation {
    queries: Vec<Asking>,
    /// A query with an item that a plan of it needs: the item.
    slots: Vec<usize>,
    items: Vec<Item>,
    /// So many of the items are indexes.
    indexes: usize,
    rows: Vec<Row>,
    /// What is paid whatever is chosen.
    fixed: f64,
}

struct Asking {
    /// Plans that the query may be left with, without those that another one makes needless.
    plans: Vec<Plan>,
    /// What the planner believes of every plan, with the indexes that it reads: it takes none that it believes to be dearer than
    /// one that it can have for certain.
    beliefs: Vec<(f64, Vec<usize>)>,
}

struct Plan {
    believed: f64,
    /// Of all calls.
    cost: f64,
    slots: Vec<usize>,
}

#[derive(Default)]
struct Item {
    cost: f64,
    /// Of an index: the items that it needs.
    ends: Vec<usize>,
    /// Of updates in place: what another index is charged once they are ended, and which ones those are.
    each: f64,
    others: Vec<usize>,
}

/// A budget.
struct Row {
    weights: Vec<(usize, f64)>,
    most: f64,
}

pub(super) struct Bounded {
    pub bound: f64,
    pub prices: Prices,
    /// The indexes of the plans that were picked where the bound was found.
    pub picked: Vec<usize>,
    /// Of each open index, what choosing it adds to the bound; refusing it adds the opposite.
    pub reduced: Vec<f64>,
    /// The index to decide next, if any that is open makes a difference.
    pub next: Option<usize>,
}

impl Relaxation {
    pub fn of(problem: &IndexProblem, budget: &Budget) -> Relaxation {
        let before: f64 = problem.queries.iter().map(|query| query.calls * query.before).sum();
        let mut relaxation = Relaxation {
            queries: Vec::new(),
            slots: Vec::new(),
            items: Vec::new(),
            indexes: problem.indexes.len(),
            rows: Vec::new(),
            fixed: 0.0,
        };
        for (at, index) in problem.indexes.iter().enumerate() {
            let cost =
                if index.exists { dropping_saves(before) } else { charge(problem, at, budget) * before };
            relaxation.items.push(Item { cost, ..Item::default() });
        }
        for table in 0..problem.writes.len() {
            relaxation.write_to(problem, table, budget);
        }
        if let Some(bytes) = budget.bytes {
            let new = problem.indexes.iter().enumerate().filter(|(_, index)| !index.exists);
            let weights = new.map(|(at, index)| (at, index.bytes / bytes.max(1.0))).collect();
            relaxation.rows.push(Row { weights, most: 1.0 });
        }
        for query in &problem.queries {
            relaxation.asking(query, problem, budget);
        }
        relaxation
    }

    fn write_to(&mut self, problem: &IndexProblem, table: usize, budget: &Budget) {
        let writes = &problem.writes[table];
        let of_it = || problem.indexes.iter().enumerate().filter(|(_, index)| index.table == writes.table);
        let today: f64 = of_it().filter(|(_, index)| index.exists).map(|(_, index)| index.upkeep).sum();
        self.fixed -= today;
        let mut weights: Vec<(usize, f64)> = of_it().map(|(at, index)| (at, index.upkeep)).collect();
        for (place, updates) in writes.in_place.iter().enumerate().filter(|(_, updates)| updates.each > 0.0) {
            let item = self.items.len();
            let (ending, others): (Vec<usize>, Vec<usize>) = of_it()
                .filter(|(_, index)| !index.exists)
                .map(|(at, _)| at)
                .partition(|at| problem.indexes[*at].ends.contains(&place));
            for (at, weight) in weights.iter_mut().filter(|(at, _)| ending.contains(at)) {
                self.items[*at].ends.push(item);
                *weight += updates.each;
            }
            weights.push((item, updates.standing));
            self.items.push(Item { each: updates.each, others, ..Item::default() });
        }
        for (item, weight) in &weights {
            self.items[*item].cost += weight;
        }
        if let Some(most) = budget.writes {
            let most = most * writes.cost + today;
            let scale = weights.iter().map(|(_, weight)| *weight).fold(most, f64::max).max(1e-12);
            weights.iter_mut().for_each(|(_, weight)| *weight /= scale);
            self.rows.push(Row { weights, most: most / scale });
        }
    }

    fn asking(&mut self, query: &Query, problem: &IndexProblem, budget: &Budget) {
        let beliefs = query.configs.iter().map(|config| (config.believed, config.uses.clone())).collect();
        let mut asking = Asking { plans: Vec::new(), beliefs };
        let first = self.slots.len();
        for config in worthwhile(query, problem, budget) {
            let ended = config.uses.iter().flat_map(|at| self.items[*at].ends.clone());
            let needs: Vec<usize> = config.uses.iter().copied().chain(ended).collect();
            let mut slots = Vec::new();
            for item in needs {
                let known = (first..self.slots.len()).find(|slot| self.slots[*slot] == item);
                let slot = known.unwrap_or(self.slots.len());
                if slot == self.slots.len() {
                    self.slots.push(item);
                }
                if !slots.contains(&slot) {
                    slots.push(slot);
                }
            }
            asking.plans.push(Plan { believed: config.believed, cost: query.calls * config.cost, slots });
        }
        self.queries.push(asking);
    }

    /// To begin with: nothing is paid for anything.
    pub fn prices(&self) -> Prices {
        vec![0.0; self.slots.len() + self.rows.len()]
    }

    /// How much work one move of the prices is.
    pub fn work(&self) -> usize {
        let plans = self.queries.iter().flat_map(|asking| &asking.plans);
        2 * self.slots.len() + plans.map(|plan| plan.slots.len() + 1).sum::<usize>()
    }

    /// `None` if no choice with these decisions keeps all rules. Prices are moved so often at most, and no longer than until the
    /// bound reaches `goal`.
    pub fn bound(&self, decided: &[Fate], from: &Prices, goal: f64, moves: usize) -> Option<Bounded> {
        let open = Open::of(self, decided)?;
        let mut prices: Vec<f64> = from.iter().map(|price| f64::from(*price)).collect();
        let mut best = Answer { bound: f64::NEG_INFINITY, ..Answer::default() };
        let mut at_best = prices.clone();
        let mut wanted = vec![0u32; self.slots.len()];
        let (mut pace, mut stale, mut made) = (1.0, 0, 0);
        while made < moves.max(1) {
            made += 1;
            let answer = open.answer(&prices);
            let slope = open.slope(&answer, &mut wanted);
            let steep: f64 = slope.iter().map(|slope| slope * slope).sum();
            let step = pace * 1.05 * (goal - answer.bound) / steep;
            if answer.bound > best.bound {
                stale = 0;
                at_best.clone_from(&prices);
                best = answer;
            } else {
                stale += 1;
            }
            if stale == PATIENCE {
                (pace, stale) = (pace * 0.5, 0);
            }
            if best.bound >= goal || steep == 0.0 {
                break;
            }
            for (price, slope) in prices.iter_mut().zip(&slope) {
                *price = (*price + step * slope).max(0.0);
            }
        }
        let prices: Prices = at_best.into_iter().map(|price| price as f32).collect();
        let mut picked: Vec<usize> = (best.picked.iter().zip(&self.queries))
            .flat_map(|(pick, asking)| &asking.plans[*pick].slots)
            .map(|slot| self.slots[*slot])
            .filter(|item| *item < self.indexes)
            .collect();
        picked.sort_unstable();
        picked.dedup();
        Some(Bounded {
            bound: best.bound,
            next: open.next(&wanted, made),
            picked,
            prices,
            reduced: best.reduced,
        })
    }
}

/// So often the bound may fail to rise before the steps become half as long.
const PATIENCE: usize = 5;

/// The relaxation with some indexes decided.
struct Open<'r> {
    relaxation: &'r Relaxation,
    /// Of all items.
    fates: Vec<Fate>,
    costs: Vec<f64>,
    /// Of each query, the plans that it can still have.
    plans: Vec<Vec<usize>>,
}

/// What comes out at some prices.
#[derive(Default)]
struct Answer {
    bound: f64,
    /// A plan of each query.
    picked: Vec<usize>,
    /// What each item costs beyond what is paid for it.
    reduced: Vec<f64>,
}

impl<'r> Open<'r> {
    fn of(relaxation: &'r Relaxation, decided: &[Fate]) -> Option<Open<'r>> {
        let items = &relaxation.items;
        let mut fates = decided.to_vec();
        fates.resize(items.len(), Fate::Refused);
        for (index, fate) in decided.iter().enumerate() {
            for ended in &items[index].ends {
                if *fate == Fate::Chosen || fates[*ended] == Fate::Refused {
                    fates[*ended] = *fate;
                }
            }
        }
        let chosen = |item: &usize| fates[*item] == Fate::Chosen;
        for row in &relaxation.rows {
            let used: f64 =
                row.weights.iter().filter(|(item, _)| chosen(item)).map(|(_, weight)| weight).sum();
            if used > row.most + 1e-9 {
                return None;
            }
        }
        let mut costs: Vec<f64> = items.iter().map(|item| item.cost).collect();
        for (_, ended) in items.iter().enumerate().filter(|(item, _)| chosen(item)) {
            for other in &ended.others {
                costs[*other] += ended.each;
            }
        }
        let mut plans = Vec::with_capacity(relaxation.queries.len());
        for asking in &relaxation.queries {
            let certain = asking.beliefs.iter().filter(|(_, uses)| uses.iter().all(chosen));
            let ceiling = certain.map(|(believed, _)| *believed).fold(f64::INFINITY, f64::min);
            let can = |place: &usize| {
                let plan = &asking.plans[*place];
                plan.believed <= ceiling
                    && plan.slots.iter().all(|slot| fates[relaxation.slots[*slot]] != Fate::Refused)
            };
            let left: Vec<usize> = (0..asking.plans.len()).filter(can).collect();
            if left.is_empty() {
                return None;
            }
            plans.push(left);
        }
        Some(Open { relaxation, fates, costs, plans })
    }

    fn answer(&self, prices: &[f64]) -> Answer {
        let relaxation = self.relaxation;
        let (prices, of_rows) = prices.split_at(relaxation.slots.len());
        // What is decided is paid for, or nobody's.
        let price = |slot: &usize| match self.fates[relaxation.slots[*slot]] {
            Fate::Open => prices[*slot],
            Fate::Chosen | Fate::Refused => 0.0,
        };
        let mut bound = relaxation.fixed;
        let mut picked = Vec::with_capacity(self.plans.len());
        for (asking, left) in relaxation.queries.iter().zip(&self.plans) {
            let mut least = (f64::INFINITY, 0);
            for place in left {
                let plan = &asking.plans[*place];
                let cost = plan.cost + plan.slots.iter().map(price).sum::<f64>();
                if cost < least.0 {
                    least = (cost, *place);
                }
            }
            bound += least.0;
            picked.push(least.1);
        }
        let mut reduced = self.costs.clone();
        for (slot, item) in relaxation.slots.iter().enumerate() {
            reduced[*item] -= price(&slot);
        }
        for (row, price) in relaxation.rows.iter().zip(of_rows) {
            bound -= price * row.most;
            for (item, weight) in &row.weights {
                reduced[*item] += price * weight;
            }
        }
        for (fate, reduced) in self.fates.iter().zip(&reduced) {
            bound += match fate {
                Fate::Chosen => *reduced,
                Fate::Open => reduced.min(0.0),
                Fate::Refused => 0.0,
            };
        }
        Answer { bound, picked, reduced }
    }

    /// Which way the prices have to go for the bound to rise, and counted for each query what it wants.
    fn slope(&self, answer: &Answer, wanted: &mut [u32]) -> Vec<f64> {
        let relaxation = self.relaxation;
        let had = |item: usize| match self.fates[item] {
            Fate::Chosen => true,
            Fate::Open => answer.reduced[item] < 0.0,
            Fate::Refused => false,
        };
        let mut slope: Vec<f64> =
            relaxation.slots.iter().map(|item| if had(*item) { -1.0 } else { 0.0 }).collect();
        for (pick, asking) in answer.picked.iter().zip(&relaxation.queries) {
            for slot in &asking.plans[*pick].slots {
                slope[*slot] += 1.0;
                wanted[*slot] += 1;
            }
        }
        for (slot, item) in relaxation.slots.iter().enumerate() {
            if self.fates[*item] != Fate::Open {
                slope[slot] = 0.0;
            }
        }
        slope.extend(relaxation.rows.iter().map(|row| {
            let used: f64 = row.weights.iter().filter(|(item, _)| had(*item)).map(|(_, weight)| weight).sum();
            used - row.most
        }));
        slope
    }

    /// The open index about which a query with much at stake was the least decided.
    fn next(&self, wanted: &[u32], moves: usize) -> Option<usize> {
        let relaxation = self.relaxation;
        let mut most: Option<(f64, usize)> = None;
        for (asking, left) in relaxation.queries.iter().zip(&self.plans) {
            let plans = || left.iter().map(|place| &asking.plans[*place]);
            let least = plans().map(|plan| plan.cost).fold(f64::INFINITY, f64::min);
            let stake = plans().map(|plan| plan.cost).fold(least, f64::max) - least;
            for slot in plans().flat_map(|plan| &plan.slots) {
                let item = relaxation.slots[*slot];
                if item < relaxation.indexes && self.fates[item] == Fate::Open {
                    let share = f64::from(wanted[*slot]) / moves as f64;
                    let undecided = (0.01 + share.min(1.0 - share)) * (stake + 1e-9);
                    if most.is_none_or(|(known, _)| undecided > known) {
                        most = Some((undecided, item));
                    }
                }
            }
        }
        most.map(|(_, item)| item)
    }
}

/// A query's plans that it may be left with, without those that another one beats with fewer indexes.
fn worthwhile<'p>(query: &'p Query, problem: &IndexProblem, budget: &Budget) -> Vec<&'p Config> {
    let bound = query.before * (1.0 + budget.regression) * (1.0 + 1e-9);
    let new = |config: &Config| -> f64 {
        let uses = config.uses.iter().map(|at| &problem.indexes[*at]);
        uses.filter(|index| !index.exists).map(|index| index.bytes).sum()
    };
    let fits = |config: &&Config| {
        config.acceptable && config.cost <= bound && budget.bytes.is_none_or(|bytes| new(config) <= bytes)
    };
    let fitting: Vec<&Config> = query.configs.iter().filter(fits).collect();
    let beats = |one: &Config, other: &Config| {
        one != other
            && one.cost <= other.cost
            && one.believed <= other.believed
            && one.uses.len() <= other.uses.len()
            && one.uses.iter().all(|at| other.uses.contains(at))
    };
    let kept = fitting.iter().filter(|config| !fitting.iter().any(|other| beats(other, config)));
    kept.copied().collect()
}
