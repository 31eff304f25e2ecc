//! Patterns that compete for deployments which are fixed: a mixed-integer program for a solver.

use good_lp::{Expression, ProblemVariables, Solution, SolverModel, Variable, constraint, microlp, variable};

use super::bound::Node;
use super::group::{Group, Terms};
use super::problem::{Choice, LOAD_NONE, Load, Problem, RESOURCES, UNLIMITED, Use, add};

/// So many patterns whose engine is not settled go into one program at most: with more, the last thousandth of the price would
/// take longer than it is worth.
const OPEN_MAX: usize = 60;

pub(super) enum Solved {
    /// The cheapest assignment that costs less than what was known, if there is one.
    Done(Option<Choice>),
    /// Too many patterns are open; this one weighs the most, and the dual gives it to that engine.
    TooLarge { pattern: usize, engine: usize },
}

/// Assigns the patterns to the deployments of a leaf, if that can cost less than `below`.
pub(super) fn solve(problem: &Problem, groups: &[Group], node: &Node, below: f64) -> Solved {
    let mut terms = node.terms(problem, node.prices.clone());
    let Some(settled) = settled(groups, node, &mut terms, below) else { return Solved::Done(None) };
    if settled.iter().filter(|settled| settled.engine.is_none()).count() > OPEN_MAX {
        let open = settled.iter().enumerate().filter(|(_, settled)| settled.engine.is_none());
        // Without it the most load would be gone, at what load costs.
        let weight = |(pattern, settled): &(usize, &Settled)| terms.answer(*pattern, settled.best);
        let heaviest = open.max_by(|a, b| weight(a).total_cmp(&weight(b)));
        if let Some((pattern, settled)) = heaviest {
            return Solved::TooLarge { pattern, engine: settled.best };
        }
    }
    let settled: Vec<Option<usize>> = settled.into_iter().map(|settled| settled.engine).collect();
    Solved::Done(assign(problem, node, &settled))
}

fn assign(problem: &Problem, node: &Node, settled: &[Option<usize>]) -> Option<Choice> {
    let terms = node.terms(problem, node.prices.clone());
    let mut program = Program::new(problem);
    for (pattern, settled) in settled.iter().enumerate() {
        if let Some(engine) = settled {
            program.settle(pattern, *engine)?;
        }
    }
    let open: Vec<(usize, Vec<(usize, Variable)>)> = (0..problem.patterns.len())
        .filter(|pattern| settled[*pattern].is_none())
        .map(|pattern| (pattern, program.ask(pattern, &terms)))
        .collect();
    let Program { variables, cost, loads, needs, .. } = program;
    let mut model = variables.minimise(cost).using(microlp);
    for (_, answers) in &open {
        let once: Expression = answers.iter().map(|(_, answer)| *answer).sum();
        model = model.with(constraint!(once == 1.0));
    }
    for (answer, kept) in needs {
        model = model.with(constraint!(answer <= kept));
    }
    for at in &terms.used {
        let (place, _) = node.open[*at]?;
        let capacity = problem.engines[*at].deployments[place].capacity;
        for (kind, capacity) in capacity.into_iter().enumerate().filter(|(_, room)| *room < UNLIMITED) {
            model = model.with(loads[*at][kind].clone().leq(capacity));
        }
    }
    let solution = model.solve().ok()?;
    let mut answered_by: Vec<usize> = settled.iter().map(|engine| engine.unwrap_or(node.source)).collect();
    for (pattern, answers) in &open {
        answered_by[*pattern] = answers.iter().find(|(_, answer)| solution.value(*answer) > 0.5)?.0;
    }
    // The deployments that carry it may be cheaper than the leaf's: then they are better still.
    problem.price(&answered_by, node.source)
}

/// The program while it is put together.
struct Program<'p> {
    problem: &'p Problem,
    variables: ProblemVariables,
    cost: Expression,
    /// Per engine.
    loads: Vec<[Expression; RESOURCES]>,
    /// Per engine and view.
    kept: Vec<Vec<Kept>>,
    /// An answer, and what has to be kept for it.
    needs: Vec<(Variable, Variable)>,
}

#[derive(Clone, Copy)]
enum Kept {
    Not,
    Always,
    Perhaps(Variable),
}

impl<'p> Program<'p> {
    fn new(problem: &'p Problem) -> Program<'p> {
        Program {
            problem,
            variables: ProblemVariables::new(),
            cost: Expression::from(0.0),
            loads: problem.engines.iter().map(|engine| engine.load.map(Expression::from)).collect(),
            kept: vec![vec![Kept::Not; problem.views.len()]; problem.engines.len()],
            needs: Vec::new(),
        }
    }

    /// An engine answers a pattern, and keeps what that takes.
    fn settle(&mut self, pattern: usize, engine: usize) -> Option<()> {
        let asked = self.problem.patterns[pattern].at[engine]?;
        let mut load = asked.load;
        self.cost += asked.monthly;
        if !self.problem.engines[engine].is_source {
            for view in &self.problem.patterns[pattern].views {
                if let Kept::Not = std::mem::replace(&mut self.kept[engine][*view], Kept::Always) {
                    let keep = self.problem.views[*view].at[engine]?;
                    self.cost += keep.monthly;
                    add(&mut load, &keep.load);
                }
            }
        }
        self.loads[engine].iter_mut().zip(load).for_each(|(to, load)| *to += load);
        Some(())
    }

    /// Each engine that may answer a pattern.
    fn ask(&mut self, pattern: usize, terms: &Terms<'_>) -> Vec<(usize, Variable)> {
        let problem = self.problem;
        let asked = &problem.patterns[pattern];
        let mut answers = Vec::new();
        for at in &terms.used {
            let keepable =
                |view: &usize| problem.engines[*at].is_source || problem.views[*view].at[*at].is_some();
            let good_enough = |asked: &Use| {
                asked.deployments & terms.open[*at] != 0 && terms.allowed[pattern] >> *at & 1 == 1
            };
            let Some(by) = asked.at[*at].filter(good_enough) else { continue };
            if !asked.views.iter().all(keepable) {
                continue;
            }
            let answer = self.variables.add(variable().binary());
            self.weigh(*at, by.monthly, &by.load, answer);
            if !problem.engines[*at].is_source {
                asked.views.iter().for_each(|view| self.need(answer, *view, *at));
            }
            answers.push((*at, answer));
        }
        answers
    }

    fn need(&mut self, answer: Variable, view: usize, engine: usize) {
        let kept = match self.kept[engine][view] {
            Kept::Always => return,
            Kept::Perhaps(kept) => kept,
            Kept::Not => {
                let kept = self.variables.add(variable().min(0).max(1));
                let (monthly, load) = self.problem.views[view].at[engine]
                    .map_or((0.0, LOAD_NONE), |keep| (keep.monthly, keep.load));
                self.weigh(engine, monthly, &load, kept);
                self.kept[engine][view] = Kept::Perhaps(kept);
                kept
            }
        };
        self.needs.push((answer, kept));
    }

    fn weigh(&mut self, engine: usize, monthly: f64, load: &Load, variable: Variable) {
        self.cost += monthly * variable;
        for (to, load) in self.loads[engine].iter_mut().zip(load).filter(|(_, load)| **load != 0.0) {
            *to += *load * variable;
        }
    }
}

#[derive(Clone, Copy)]
struct Settled {
    /// The one that answers in every assignment that is of interest, where that is known.
    engine: Option<usize>,
    /// The one that the dual takes.
    best: usize,
}

/// Per pattern: the engine that answers it in every assignment that costs less than `below`, where that is known. Going
/// against what the dual takes costs its bound at least the difference.
fn settled(groups: &[Group], node: &Node, terms: &mut Terms<'_>, below: f64) -> Option<Vec<Settled>> {
    let mut settled = vec![Settled { engine: None, best: node.source }; terms.problem.patterns.len()];
    for group in groups {
        let best = group.best(terms)?;
        for (pattern, engine) in &best.answered_by {
            let allowed = terms.allowed[*pattern];
            terms.allowed[*pattern] &= !(1 << engine);
            let otherwise = group.best(terms).map_or(f64::INFINITY, |best| best.value);
            terms.allowed[*pattern] = allowed;
            let decided = node.bound + otherwise - best.value >= below;
            settled[*pattern] = Settled { engine: decided.then_some(*engine), best: *engine };
        }
    }
    Some(settled)
}
