//! Many questions that do not depend on each other, on all processors.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Asks each of `count` questions; the answers come in their order. `prepare` makes what a thread needs for all of its questions.
pub(super) fn each_with<S, T: Send>(
    count: usize,
    prepare: impl Fn() -> S + Sync,
    ask: impl Fn(&mut S, usize) -> T + Sync,
) -> Vec<T> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(count);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut state = prepare();
        let mut answers = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            if place >= count {
                return answers;
            }
            answers.push((place, ask(&mut state, place)));
        }
    };
    let mut answers: Vec<(usize, T)> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut answers = work();
        for other in others {
            match other.join() {
                Ok(found) => answers.extend(found),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        answers
    });
    answers.sort_unstable_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

pub(super) fn each<T: Send>(count: usize, ask: impl Fn(usize) -> T + Sync) -> Vec<T> {
    each_with(count, || (), |(), place| ask(place))
}
