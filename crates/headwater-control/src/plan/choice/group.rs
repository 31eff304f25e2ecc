//! Views that patterns tie together, and the best that can be done with each group when load has a price.

use super::problem::{LOAD_NONE, Load, Problem, Use, add, dot};

/// Patterns that read several views at once are tried out together up to so many combinations.
const COMBINATIONS_MAX: usize = 4096;

/// So many engines are in use at once, at most: nobody wants to run more.
pub(super) const USED_MAX: usize = 8;

/// One per engine in use.
type Costs = [f64; USED_MAX];

/// Views that no pattern ties to others.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    /// Each with the patterns that read it alone.
    views: Vec<(usize, Vec<usize>)>,
    /// Patterns that read several views, and which of `views`.
    shared: Vec<(usize, Vec<usize>)>,
}

/// What may be used, and what load costs there.
#[derive(Clone)]
pub(super) struct Terms<'p> {
    pub problem: &'p Problem,
    /// Engines that are in use, at most [`USED_MAX`].
    pub used: Vec<usize>,
    /// Per engine: the deployments that are still open, a bit each; zero: not in use.
    pub open: Vec<u128>,
    /// Per engine.
    pub prices: Vec<Load>,
    /// Per pattern: the engines that may answer it, a bit each.
    pub allowed: Vec<u32>,
    /// A pattern that is not as the problem has it.
    pub changed: Option<(usize, &'p [Option<Use>])>,
}

/// The best for a group: what it costs, or a bound from below.
pub(super) struct Best {
    pub value: f64,
    /// Pattern and engine.
    pub answered_by: Vec<(usize, usize)>,
}

impl Terms<'_> {
    /// What it costs that an engine answers a pattern, its load included; infinite if it may not.
    pub fn answer(&self, pattern: usize, engine: usize) -> f64 {
        let asked = match self.changed {
            Some((changed, at)) if changed == pattern => at[engine],
            _ => self.problem.patterns[pattern].at[engine],
        };
        match asked {
            _ if self.allowed[pattern] >> engine & 1 == 0 => f64::INFINITY,
            Some(asked) if asked.deployments & self.open[engine] != 0 => {
                asked.monthly + dot(&self.prices[engine], &asked.load)
            }
            _ => f64::INFINITY,
        }
    }

    /// What it costs that an engine keeps a view, its load included.
    fn keep(&self, view: usize, engine: usize) -> f64 {
        if self.problem.engines[engine].is_source {
            return 0.0;
        }
        match self.problem.views[view].at[engine] {
            Some(keep) => keep.monthly + dot(&self.prices[engine], &keep.load),
            None => f64::INFINITY,
        }
    }
}

impl Group {
    /// All views that some pattern reads, in groups.
    pub fn all(problem: &Problem) -> Vec<Group> {
        let mut parent: Vec<usize> = (0..problem.views.len()).collect();
        fn root(parent: &mut [usize], mut at: usize) -> usize {
            while parent[at] != at {
                parent[at] = parent[parent[at]];
                at = parent[at];
            }
            at
        }
        for pattern in &problem.patterns {
            for pair in pattern.views.windows(2) {
                let (a, b) = (root(&mut parent, pair[0]), root(&mut parent, pair[1]));
                parent[a] = b;
            }
        }
        let mut groups: Vec<Option<Group>> = vec![None; problem.views.len()];
        for (at, pattern) in problem.patterns.iter().enumerate() {
            let Some(first) = pattern.views.first() else { continue };
            let group = groups[root(&mut parent, *first)].get_or_insert_default();
            let mut places = Vec::new();
            for view in &pattern.views {
                let place = group.views.iter().position(|(known, _)| known == view);
                places.push(place.unwrap_or_else(|| {
                    group.views.push((*view, Vec::new()));
                    group.views.len() - 1
                }));
            }
            places.sort_unstable();
            places.dedup();
            match places[..] {
                [one] => group.views[one].1.push(at),
                _ => group.shared.push((at, places)),
            }
        }
        groups.into_iter().flatten().collect()
    }

    /// The patterns that read its views.
    pub fn patterns(&self) -> impl Iterator<Item = usize> {
        let alone = self.views.iter().flat_map(|(_, patterns)| patterns.iter().copied());
        alone.chain(self.shared.iter().map(|(pattern, _)| *pattern))
    }

    /// The cheapest answers for the group; `None` if some pattern has none.
    pub fn best(&self, terms: &Terms<'_>) -> Option<Best> {
        let engines = terms.used.len();
        let combinations = engines.checked_pow(self.shared.len() as u32).filter(|n| *n <= COMBINATIONS_MAX);
        let Some(combinations) = combinations else { return self.relaxed(terms) };
        let mut best: Option<Best> = None;
        for mut combination in 0..combinations {
            let mut forced = vec![0u32; self.views.len()];
            let mut value = 0.0;
            let mut answered_by = Vec::new();
            for (pattern, places) in &self.shared {
                let place = combination % engines;
                combination /= engines;
                value += terms.answer(*pattern, terms.used[place]);
                answered_by.push((*pattern, terms.used[place]));
                places.iter().for_each(|view| forced[*view] |= 1 << place);
            }
            let worst = best.as_ref().map_or(f64::INFINITY, |best| best.value);
            for (at, forced) in forced.iter().enumerate() {
                if value >= worst {
                    break;
                }
                value += self.view(at, *forced, terms, &mut answered_by);
            }
            if value < worst {
                best = Some(Best { value, answered_by });
            }
        }
        best
    }

    /// As if patterns that read several views needed none of them kept: a bound from below.
    fn relaxed(&self, terms: &Terms<'_>) -> Option<Best> {
        let mut value = 0.0;
        let mut answered_by = Vec::new();
        for (pattern, _) in &self.shared {
            let cheapest = terms.used.iter().map(|engine| (terms.answer(*pattern, *engine), *engine));
            let (cost, engine) = cheapest.min_by(|a, b| a.0.total_cmp(&b.0))?;
            value += cost;
            answered_by.push((*pattern, engine));
        }
        for at in 0..self.views.len() {
            value += self.view(at, 0, terms, &mut answered_by);
        }
        value.is_finite().then_some(Best { value, answered_by })
    }

    /// The cheapest engines to keep one view in, those that are forced among them.
    ///
    /// Costs are added up for all sets of engines at once: what a set costs follows from the set without its first member.
    fn view(&self, at: usize, forced: u32, terms: &Terms<'_>, answered_by: &mut Vec<(usize, usize)>) -> f64 {
        let (view, patterns) = &self.views[at];
        if patterns.is_empty() && forced == 0 {
            return 0.0;
        }
        // Where it cannot be kept, or answers nothing, it is not looked for.
        let mut places = [(0, 0.0); USED_MAX];
        let mut count = 0;
        for (place, engine) in terms.used.iter().enumerate() {
            let kept = terms.keep(*view, *engine);
            let is_forced = forced >> place & 1 == 1;
            let answers = || patterns.iter().any(|pattern| terms.answer(*pattern, *engine).is_finite());
            if kept.is_finite() && (is_forced || answers()) {
                places[count] = (place, kept);
                count += 1;
            } else if is_forced {
                return f64::INFINITY;
            }
        }
        let places = &places[..count];
        let sets = 1usize << count;
        let mut total = [0.0; 1 << USED_MAX];
        let mut must = 0;
        for (bit, (place, _)) in places.iter().enumerate() {
            must |= (forced as usize >> place & 1) << bit;
        }
        for set in 1..sets {
            total[set] = total[set & (set - 1)] + places[set.trailing_zeros() as usize].1;
        }
        let answers = |pattern: usize| {
            let mut costs = [f64::INFINITY; USED_MAX];
            places.iter().zip(&mut costs).for_each(|((place, _), cost)| {
                *cost = terms.answer(pattern, terms.used[*place]);
            });
            costs
        };
        let mut least = [f64::INFINITY; 1 << USED_MAX];
        for pattern in patterns {
            let answer: Costs = answers(*pattern);
            for set in 1..sets {
                least[set] = least[set & (set - 1)].min(answer[set.trailing_zeros() as usize]);
                total[set] += least[set];
            }
        }
        let allowed = (1..sets).filter(|set| set & must == must);
        let Some(best) = allowed.min_by(|a, b| total[*a].total_cmp(&total[*b])) else { return f64::INFINITY };
        if total[best].is_finite() {
            for pattern in patterns {
                let answer = answers(*pattern);
                let members = (0..count).filter(|bit| best >> bit & 1 == 1);
                if let Some(bit) = members.min_by(|a, b| answer[*a].total_cmp(&answer[*b])) {
                    answered_by.push((*pattern, terms.used[places[bit].0]));
                }
            }
        }
        total[best]
    }

    /// Adds what a choice for this group loads each engine with.
    pub fn add_loads(&self, terms: &Terms<'_>, answered_by: &[(usize, usize)], loads: &mut [Load]) {
        let problem = terms.problem;
        let mut kept: Vec<(usize, usize)> = Vec::new();
        for (pattern, engine) in answered_by {
            let load = problem.patterns[*pattern].at[*engine].map_or(LOAD_NONE, |asked| asked.load);
            add(&mut loads[*engine], &load);
            if !problem.engines[*engine].is_source {
                kept.extend(problem.patterns[*pattern].views.iter().map(|view| (*view, *engine)));
            }
        }
        kept.sort_unstable();
        kept.dedup();
        for (view, engine) in kept {
            let load = problem.views[view].at[engine].map_or(LOAD_NONE, |keep| keep.load);
            add(&mut loads[engine], &load);
        }
    }
}
