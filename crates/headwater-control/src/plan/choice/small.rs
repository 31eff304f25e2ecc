//! A problem with few combinations: all of them are tried, and those that cannot be better any more are left early.

use super::problem::{Choice, LOAD_NONE, Load, Problem, add, carries};

/// How many whole assignments there are for each source, if not more than `most`.
pub(super) fn combinations(problem: &Problem, most: usize) -> Option<usize> {
    let mut all = 1usize;
    for pattern in &problem.patterns {
        let others =
            pattern.at.iter().zip(&problem.engines).filter(|(at, engine)| at.is_some() && !engine.is_source);
        let engines = others.count() + 1;
        all = all.checked_mul(engines).filter(|all| *all <= most)?;
    }
    Some(all)
}

/// The cheapest choice; `best` is what is known already.
pub(super) fn best(problem: &Problem, mut best: Option<Choice>) -> Option<Choice> {
    for source in (0..problem.engines.len()).filter(|at| problem.engines[*at].is_source) {
        let mut search = Search {
            problem,
            source,
            answered_by: Vec::with_capacity(problem.patterns.len()),
            loads: problem.engines.iter().map(|engine| engine.load).collect(),
            kept: vec![vec![0; problem.views.len()]; problem.engines.len()],
            used: vec![0; problem.engines.len()],
            spent: 0.0,
            best: &mut best,
        };
        search.go_on();
    }
    best.map(|best| Choice { bound: best.monthly, ..best })
}

struct Search<'p> {
    problem: &'p Problem,
    source: usize,
    answered_by: Vec<usize>,
    loads: Vec<Load>,
    /// Per engine and view: by how many patterns.
    kept: Vec<Vec<usize>>,
    /// Per engine: by how many patterns.
    used: Vec<usize>,
    /// What answers and views cost so far.
    spent: f64,
    best: &'p mut Option<Choice>,
}

impl Search<'_> {
    fn go_on(&mut self) {
        let Some(least) = self.least() else { return };
        if self.best.as_ref().is_some_and(|best| least >= best.monthly) {
            return;
        }
        let place = self.answered_by.len();
        let Some(pattern) = self.problem.patterns.get(place) else {
            if let Some(choice) = self.problem.price(&self.answered_by, self.source)
                && self.best.as_ref().is_none_or(|best| choice.monthly < best.monthly)
            {
                *self.best = Some(choice);
            }
            return;
        };
        for at in 0..self.problem.engines.len() {
            let is_source = self.problem.engines[at].is_source;
            let Some(asked) = pattern.at[at].filter(|_| !is_source || at == self.source) else { continue };
            let keepable = |view: &usize| is_source || self.problem.views[*view].at[at].is_some();
            if !pattern.views.iter().all(keepable) {
                continue;
            }
            let before = (self.spent, self.loads[at]);
            self.spent += asked.monthly;
            add(&mut self.loads[at], &asked.load);
            if !is_source {
                self.keep(at, &pattern.views);
            }
            self.used[at] += 1;
            self.answered_by.push(at);
            self.go_on();
            self.answered_by.pop();
            self.used[at] -= 1;
            if !is_source {
                pattern.views.iter().for_each(|view| self.kept[at][*view] -= 1);
            }
            (self.spent, self.loads[at]) = before;
        }
    }

    fn keep(&mut self, engine: usize, views: &[usize]) {
        for view in views {
            let readers = &mut self.kept[engine][*view];
            *readers += 1;
            if *readers == 1 {
                let keep = self.problem.views[*view].at[engine];
                self.spent += keep.map_or(0.0, |keep| keep.monthly);
                add(&mut self.loads[engine], &keep.map_or(LOAD_NONE, |keep| keep.load));
            }
        }
    }

    /// What it costs at least by now; `None` if some engine cannot carry it already.
    fn least(&self) -> Option<f64> {
        let mut least = self.spent;
        let mut beside = false;
        for (at, engine) in self.problem.engines.iter().enumerate() {
            if at != self.source && self.used[at] == 0 {
                continue;
            }
            beside |= at != self.source;
            let enough = |deployment: &&super::Deployment| carries(&deployment.capacity, &self.loads[at]);
            let deployment = engine.deployments.iter().find(enough)?;
            least += engine.monthly + deployment.monthly;
        }
        Some(if beside { least + self.problem.beside } else { least })
    }
}
