//! A choice as a start for others that differ in one pattern.

use super::problem::{Choice, Deployed, Load, Problem, Use, add, carries};

/// A choice, counted so that one pattern more or less is a few additions.
pub(super) struct Base {
    pub choice: Choice,
    pub source: usize,
    /// Per engine: how many patterns it answers.
    patterns: Vec<usize>,
    /// Per engine and view: how many patterns read it there.
    readers: Vec<Vec<u32>>,
    /// Per engine: the deployments that are good enough for what it answers.
    allowed: Vec<u128>,
}

/// A base without one pattern.
pub(super) struct Without {
    /// What everything else costs: with the pattern it costs no less.
    pub monthly: f64,
    /// Of the engine that answered it: the load, and its deployment, if it is still used.
    left: Option<(Load, usize)>,
    engines: usize,
    allowed: u128,
}

impl Base {
    pub fn of(problem: &Problem, choice: Choice) -> Base {
        let engines = problem.engines.len();
        let mut base = Base {
            source: 0,
            patterns: vec![0; engines],
            readers: vec![vec![0; problem.views.len()]; engines],
            allowed: vec![u128::MAX; engines],
            choice,
        };
        let used = |at: &usize| problem.engines[*at].is_source && base.choice.deployed[*at].is_some();
        base.source = (0..engines).find(used).unwrap_or_default();
        for (pattern, at) in problem.patterns.iter().zip(&base.choice.answered_by) {
            base.patterns[*at] += 1;
            base.allowed[*at] &= pattern.at[*at].map_or(u128::MAX, |asked| asked.deployments);
            if !problem.engines[*at].is_source {
                once(&pattern.views).for_each(|view| base.readers[*at][view] += 1);
            }
        }
        base
    }

    pub fn without(&self, problem: &Problem, pattern: usize) -> Option<Without> {
        let at = self.choice.answered_by[pattern];
        let (asked, engine) = (problem.patterns[pattern].at[at]?, &problem.engines[at]);
        let Deployed { deployment, mut load } = self.choice.deployed[at]?;
        let mut monthly = self.choice.monthly - asked.monthly;
        let mut less = |by: &Load| load.iter_mut().zip(by).for_each(|(load, by)| *load -= by);
        less(&asked.load);
        if !engine.is_source {
            for view in once(&problem.patterns[pattern].views).filter(|view| self.readers[at][*view] == 1) {
                let keep = problem.views[view].at[at]?;
                monthly -= keep.monthly;
                less(&keep.load);
            }
        }
        monthly -= engine.deployments[deployment].monthly;
        let engines = self.choice.deployed.iter().flatten().count();
        if self.patterns[at] == 1 && at != self.source {
            monthly -= engine.monthly + if engines == 2 { problem.beside } else { 0.0 };
            return Some(Without { monthly, left: None, engines: engines - 1, allowed: u128::MAX });
        }
        let mut allowed = self.allowed[at];
        if asked.deployments != u128::MAX {
            let others = problem.patterns.iter().zip(&self.choice.answered_by).enumerate();
            let others = others.filter(|(other, (_, by))| *other != pattern && **by == at);
            let good_enough = others.filter_map(|(_, (pattern, _))| Some(pattern.at[at]?.deployments));
            allowed = good_enough.fold(u128::MAX, |all, some| all & some);
        }
        let deployment = cheapest(problem, at, &load, allowed)?;
        monthly += engine.deployments[deployment].monthly;
        Some(Without { monthly, left: Some((load, deployment)), engines, allowed })
    }

    /// What it costs if an engine answers the pattern, and how that engine is then deployed.
    fn with(
        &self,
        problem: &Problem,
        without: &Without,
        pattern: usize,
        at: usize,
        asked: &Use,
    ) -> Option<(f64, Deployed)> {
        let engine = &problem.engines[at];
        if engine.is_source && at != self.source {
            return None;
        }
        let answered = at == self.choice.answered_by[pattern];
        let before = match answered {
            true => without.left,
            false => self.choice.deployed[at].map(|deployed| (deployed.load, deployed.deployment)),
        };
        let mut monthly = without.monthly + asked.monthly;
        let (mut load, mut allowed) = (engine.load, asked.deployments);
        match before {
            Some((carried, deployment)) => {
                load = carried;
                monthly -= engine.deployments[deployment].monthly;
                allowed &= if answered { without.allowed } else { self.allowed[at] };
            }
            None => monthly += engine.monthly + if without.engines == 1 { problem.beside } else { 0.0 },
        }
        add(&mut load, &asked.load);
        if !engine.is_source {
            for view in once(&problem.patterns[pattern].views) {
                let kept = self.readers[at][view] > u32::from(answered);
                let keep = problem.views[view].at[at]?;
                if !kept {
                    monthly += keep.monthly;
                    add(&mut load, &keep.load);
                }
            }
        }
        let deployment = cheapest(problem, at, &load, allowed)?;
        Some((monthly + engine.deployments[deployment].monthly, Deployed { deployment, load }))
    }

    /// The engine that answers the pattern for the least, if it is asked for like this.
    pub fn cheapest_with(
        &self,
        problem: &Problem,
        without: &Without,
        pattern: usize,
        at: &[Option<Use>],
    ) -> Option<(f64, usize)> {
        let mut best: Option<(f64, usize)> = None;
        for (engine, asked) in at.iter().enumerate() {
            let Some(asked) = asked else { continue };
            if let Some((monthly, _)) = self.with(problem, without, pattern, engine, asked)
                && best.is_none_or(|(before, _)| monthly < before)
            {
                best = Some((monthly, engine));
            }
        }
        best
    }

    pub fn choice_with(
        &self,
        problem: &Problem,
        without: &Without,
        pattern: usize,
        at: usize,
        asked: &Use,
    ) -> Option<Choice> {
        let (monthly, deployed) = self.with(problem, without, pattern, at, asked)?;
        let mut choice = Choice { monthly, ..self.choice.clone() };
        let left = without.left.map(|(load, deployment)| Deployed { deployment, load });
        choice.deployed[choice.answered_by[pattern]] = left;
        choice.deployed[at] = Some(deployed);
        choice.answered_by[pattern] = at;
        Some(choice)
    }
}

/// The first deployment that carries it.
pub(super) fn cheapest(problem: &Problem, at: usize, load: &Load, allowed: u128) -> Option<usize> {
    let deployments = problem.engines[at].deployments.iter().enumerate();
    let mut fits = deployments.filter(|(place, d)| allowed >> place & 1 == 1 && carries(&d.capacity, load));
    fits.next().map(|(place, _)| place)
}

/// A pattern may name a view twice.
fn once(views: &[usize]) -> impl Iterator<Item = usize> {
    let first = |(place, view): &(usize, &usize)| !views[..*place].contains(view);
    views.iter().enumerate().filter(first).map(|(_, view)| *view)
}
