//! A problem that was searched, asked again with one pattern changed or with fewer engines.
//!
//! The parts that a search divided a problem into divide the changed problem as well, and at the prices of each part only the group
//! of the changed pattern counts differently. So each part's bound is known at once, and only those that could still be
//! better than the best known choice with the pattern moved are searched any further.
//!
//! Invariant: as of the choice: what is found carries everything, and nothing costs less than the bound. A changed pattern is
//! answered by no engine that could not answer it before.

use super::base::{Base, Without, cheapest};
use super::bound::{Node, machines};
use super::branch::{Kept, Limits, Searched, search, search_all};
use super::dominated::left_idle;
use super::group::{Group, Terms};
use super::problem::{Choice, Problem, Use, add};
use super::small;

/// A problem, and what a search of it left behind.
pub struct Explored<'p> {
    problem: &'p Problem,
    groups: Vec<Group>,
    /// Per pattern: the place of its group.
    group_of: Vec<usize>,
    parts: Vec<Part<'p>>,
    /// Choices to start from, the cheapest first.
    bases: Vec<Base>,
}

/// A part of the search, with its bound taken apart.
struct Part<'p> {
    node: Node,
    terms: Terms<'p>,
    bound: f64,
    of_groups: Vec<f64>,
}

/// What a question came to.
#[derive(Clone, Debug)]
pub struct Varied {
    /// With its bound.
    pub best: Option<Choice>,
    /// Nothing costs less; infinite if nothing carries the patterns, and that is proven.
    pub bound: f64,
}

impl Varied {
    fn of(best: Option<Choice>, bound: f64) -> Varied {
        let bound = best.as_ref().map_or(bound, |best| bound.min(best.monthly));
        Varied { best: best.map(|best| Choice { bound, ..best }), bound }
    }

    /// Whether nothing else is cheaper by more than the search's gap.
    pub fn is_proven(&self, limits: Limits) -> bool {
        match &self.best {
            Some(best) => best.gap() <= limits.gap * 1.001,
            None => self.bound == f64::INFINITY,
        }
    }
}

impl<'p> Explored<'p> {
    /// Searches the problem from a choice that is known: who answers each pattern, and the source. `None`: nothing carries it.
    pub fn new(
        problem: &'p Problem,
        known: Option<(&[usize], usize)>,
        limits: Limits,
    ) -> Option<Explored<'p>> {
        let groups = Group::all(problem);
        let known = known.and_then(|(answered_by, source)| problem.price(answered_by, source));
        let Searched { best, parts, found, .. } = search_all(problem, &groups, known, limits);
        let mut choices: Vec<Choice> = best.into_iter().chain(found.into_values()).collect();
        choices.sort_by(|a, b| a.monthly.total_cmp(&b.monthly));
        choices.first()?;
        let mut group_of = vec![0; problem.patterns.len()];
        for (place, group) in groups.iter().enumerate() {
            group.patterns().for_each(|pattern| group_of[pattern] = place);
        }
        let parts = parts.into_iter().filter_map(|node| Part::of(problem, &groups, node)).collect();
        let bases = choices.into_iter().map(|choice| Base::of(problem, choice)).collect();
        Some(Explored { problem, groups, group_of, parts, bases })
    }

    /// The cheapest choice that came up.
    pub fn best(&self) -> &Choice {
        // `new` has one.
        &self.bases[0].choice
    }

    /// What may be asked of one pattern, each question cheaper than the first.
    pub fn around(&self, pattern: usize) -> Around<'_, 'p> {
        let group = self.group_of[pattern];
        let rest = |(at, part): (usize, &Part<'_>)| (part.bound - part.of_groups[group], at);
        let mut parts: Vec<(f64, usize)> = self.parts.iter().enumerate().map(rest).collect();
        parts.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut without: Vec<(usize, Without)> = Vec::new();
        for base in 0..self.bases.len() {
            without.extend(self.bases[base].without(self.problem, pattern).map(|without| (base, without)));
        }
        without.sort_by(|a, b| a.1.monthly.total_cmp(&b.1.monthly));
        Around { explored: self, pattern, parts, without }
    }

    /// The cheapest choice with some of the engines only.
    pub fn only(&self, allowed: impl Fn(usize) -> bool, limits: Limits) -> Varied {
        let uses =
            |base: &&Base| base.choice.deployed.iter().enumerate().all(|(at, d)| d.is_none() || allowed(at));
        let best = self.bases.iter().find(uses).map(|base| base.choice.clone());
        let fits = |node: &Node| node.open.iter().enumerate().all(|(at, open)| open.is_none() || allowed(at));
        let open = self.parts.iter().filter(|part| fits(&part.node));
        let open = open.map(|part| Node { bound: part.bound.max(part.node.bound), ..part.node.clone() });
        let mut fewer = self.problem.clone();
        for pattern in &mut fewer.patterns {
            let barred = pattern.at.iter_mut().enumerate().filter(|(at, _)| !allowed(*at));
            barred.for_each(|(_, asked)| *asked = None);
        }
        let Searched { best, bound, .. } =
            search(&fewer, &self.groups, open.collect(), Kept::of(best), limits);
        Varied::of(best, bound)
    }
}

impl<'p> Part<'p> {
    fn of(problem: &'p Problem, groups: &[Group], node: Node) -> Option<Part<'p>> {
        let terms = node.terms(problem, node.prices.clone());
        let of_groups: Vec<f64> =
            groups.iter().map(|group| Some(group.best(&terms)?.value)).collect::<Option<_>>()?;
        let (machines, _) = machines(problem, &node, &terms)?;
        Some(Part { bound: machines + of_groups.iter().sum::<f64>(), node, terms, of_groups })
    }
}

/// Everything but one pattern.
pub struct Around<'e, 'p> {
    explored: &'e Explored<'p>,
    pattern: usize,
    /// What each part's bound is without the pattern's group, the lowest first.
    parts: Vec<(f64, usize)>,
    /// Each base without the pattern, the cheapest first.
    without: Vec<(usize, Without)>,
}

impl Around<'_, '_> {
    /// The cheapest choice if the pattern were asked for like this, per engine. Parts that leave a doubt are searched within
    /// `limits`.
    pub fn varied(&self, at: &[Option<Use>], limits: Limits) -> Varied {
        let Explored { problem, groups, .. } = self.explored;
        let carried = |engine: usize, asked: &Use| {
            let mut alone = problem.engines[engine].load;
            add(&mut alone, &asked.load);
            cheapest(problem, engine, &alone, asked.deployments).is_some()
        };
        let able = at.iter().enumerate().map(|(engine, asked)| asked.filter(|asked| carried(engine, asked)));
        let at = &able.collect::<Vec<_>>()[..];
        let mut best: Option<(f64, &(usize, Without), usize)> = None;
        for of in &self.without {
            let (base, without) = of;
            let cost = best.map_or(f64::INFINITY, |(cost, ..)| cost);
            if without.monthly >= cost {
                break;
            }
            let base = &self.explored.bases[*base];
            if let Some((monthly, engine)) = base.cheapest_with(problem, without, self.pattern, at)
                && monthly < cost
            {
                best = Some((monthly, of, engine));
            }
        }
        let best = best.and_then(|(_, (base, without), engine)| {
            let base = &self.explored.bases[*base];
            base.choice_with(problem, without, self.pattern, engine, at[engine].as_ref()?)
        });
        let (open, closed) = self.in_doubt(at, best.as_ref(), limits.gap);
        if open.is_empty() {
            return Varied::of(best, closed);
        }
        if limits.nodes_max == 0 {
            let lowest = open.iter().map(|node| node.bound).fold(closed, f64::min);
            return Varied::of(best, lowest);
        }
        let mut changed = (*problem).clone();
        changed.patterns[self.pattern].at = at.to_vec();
        let mut few = changed.clone();
        left_idle(&mut few);
        if small::combinations(&few, limits.tried_max).is_some() {
            let best = small::best(&few, best);
            let bound = best.as_ref().map_or(f64::INFINITY, |best| best.monthly);
            return Varied::of(best, bound);
        }
        let Searched { best, bound, .. } = search(&changed, groups, open, Kept::of(best), limits);
        Varied::of(best, bound.min(closed))
    }

    /// The parts in which something cheaper may be, with their bounds, and the bound of all others.
    fn in_doubt(&self, at: &[Option<Use>], best: Option<&Choice>, gap: f64) -> (Vec<Node>, f64) {
        let enough = best.map_or(f64::INFINITY, |best| best.monthly * (1.0 - gap));
        let group = &self.explored.groups[self.explored.group_of[self.pattern]];
        let mut open = Vec::new();
        let mut closed = f64::INFINITY;
        for (rest, place) in &self.parts {
            if *rest >= enough {
                // Nor are those that follow.
                closed = closed.min(*rest);
                break;
            }
            let part = &self.explored.parts[*place];
            let terms = Terms { changed: Some((self.pattern, at)), ..part.terms.clone() };
            let Some(changed) = group.best(&terms) else { continue };
            let bound = rest + changed.value;
            if bound >= enough {
                closed = closed.min(bound);
            } else {
                open.push(Node { bound, ..part.node.clone() });
            }
        }
        (open, closed)
    }
}
