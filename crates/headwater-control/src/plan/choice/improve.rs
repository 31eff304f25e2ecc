//! From a choice to one near it that costs less: single patterns move, patterns that read one view move together, an engine is given
//! up. Nothing is proven here; it is what the search measures its bounds against.

use super::base::Base;
use super::problem::{Choice, Problem};

/// Rounds through everything.
const ROUNDS_MAX: usize = 8;
/// Less than this is not worth a move.
const LEAST: f64 = 1e-6;

pub(super) fn improved(problem: &Problem, choice: Choice) -> Choice {
    let mut base = Base::of(problem, choice);
    for _ in 0..ROUNDS_MAX {
        let before = base.choice.monthly;
        base = singly(problem, base);
        base = by_view(problem, base);
        base = with_fewer_engines(problem, base);
        if base.choice.monthly >= before - LEAST {
            break;
        }
    }
    base.choice
}

fn singly(problem: &Problem, mut base: Base) -> Base {
    for pattern in 0..problem.patterns.len() {
        if let Some(better) = moved(problem, &base, pattern, None).filter(|c| is_less(c, &base.choice)) {
            base = Base::of(problem, better);
        }
    }
    base
}

/// The best with the pattern elsewhere, perhaps without one of the engines.
fn moved(problem: &Problem, base: &Base, pattern: usize, given_up: Option<usize>) -> Option<Choice> {
    let without = base.without(problem, pattern)?;
    let asked = &problem.patterns[pattern].at;
    let (_, engine) = match given_up {
        None => base.cheapest_with(problem, &without, pattern, asked)?,
        Some(engine) => {
            let mut asked = asked.clone();
            asked[engine] = None;
            base.cheapest_with(problem, &without, pattern, &asked)?
        }
    };
    base.choice_with(problem, &without, pattern, engine, asked[engine].as_ref()?)
}

fn by_view(problem: &Problem, mut base: Base) -> Base {
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); problem.views.len()];
    for (place, pattern) in problem.patterns.iter().enumerate() {
        pattern.views.iter().for_each(|view| readers[*view].push(place));
    }
    for readers in readers.iter().filter(|readers| readers.len() > 1) {
        for engine in 0..problem.engines.len() {
            if problem.engines[engine].is_source && engine != base.source {
                continue;
            }
            let mut answered_by = base.choice.answered_by.clone();
            let able = |pattern: &&usize| problem.patterns[**pattern].at[engine].is_some();
            readers.iter().filter(able).for_each(|pattern| answered_by[*pattern] = engine);
            if answered_by == base.choice.answered_by {
                continue;
            }
            if let Some(better) =
                problem.price(&answered_by, base.source).filter(|c| is_less(c, &base.choice))
            {
                base = Base::of(problem, better);
            }
        }
    }
    base
}

fn with_fewer_engines(problem: &Problem, mut base: Base) -> Base {
    for engine in (0..problem.engines.len()).filter(|at| !problem.engines[*at].is_source) {
        if base.choice.deployed[engine].is_some()
            && let Some(better) = given_up(problem, &base, engine).filter(|c| is_less(c, &base.choice))
        {
            base = Base::of(problem, better);
        }
    }
    base
}

/// Every pattern of an engine to the next best, one after the other.
fn given_up(problem: &Problem, base: &Base, engine: usize) -> Option<Choice> {
    let answered_by = base.choice.answered_by.clone();
    let mut choice: Option<Choice> = None;
    for (pattern, _) in answered_by.iter().enumerate().filter(|(_, at)| **at == engine) {
        choice = Some(match choice {
            None => moved(problem, base, pattern, Some(engine))?,
            Some(choice) => moved(problem, &Base::of(problem, choice), pattern, Some(engine))?,
        });
    }
    choice
}

fn is_less(choice: &Choice, than: &Choice) -> bool {
    choice.monthly < than.monthly - LEAST
}
