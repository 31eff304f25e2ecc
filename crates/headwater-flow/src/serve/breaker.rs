//! A circuit breaker: an engine that fails is left alone for a while, then tried with one read at a time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row after which the engine is left alone.
const OPENS_AFTER: u32 = 3;

/// How long it is left alone: twice as long after each trial that fails, up to the greatest.
const PAUSE_LEAST: Duration = Duration::from_millis(200);
const PAUSE_MOST: Duration = Duration::from_secs(5);

/// A trial whose end nobody told of does not block the next for longer than this.
const TRIAL_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Breaker {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Open until then; a trial is let through after it.
    until: Option<Instant>,
    pauses: u32,
    trial_since: Option<Instant>,
}

impl Breaker {
    /// Whether a read may go to the engine now.
    pub fn lets_through(&self) -> bool {
        let mut state = self.lock();
        let Some(until) = state.until else { return true };
        let now = Instant::now();
        if now < until || state.trial_since.is_some_and(|since| now - since < TRIAL_WITHIN) {
            return false;
        }
        state.trial_since = Some(now);
        true
    }

    /// Whether the engine is left alone, until a trial succeeds.
    pub fn is_open(&self) -> bool {
        self.lock().until.is_some()
    }

    pub fn succeeded(&self) {
        let mut state = self.lock();
        if state.failures > 0 || state.until.is_some() {
            *state = State::default();
        }
    }

    pub fn failed(&self) {
        let mut state = self.lock();
        state.failures = state.failures.saturating_add(1);
        state.trial_since = None;
        if state.failures >= OPENS_AFTER {
            let pause = PAUSE_LEAST.saturating_mul(1 << state.pauses.min(10)).min(PAUSE_MOST);
            state.pauses += 1;
            state.until = Some(Instant::now() + pause);
        }
    }

    /// A read that was let through ended without saying anything about the engine.
    pub fn undecided(&self) {
        self.lock().trial_since = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn opens_after_failures_and_closes_after_one_success() {
        let breaker = Breaker::default();
        for _ in 0..OPENS_AFTER {
            assert!(breaker.lets_through());
            breaker.failed();
        }
        assert!(!breaker.lets_through());
        tokio::time::advance(PAUSE_LEAST).await;
        assert!(breaker.lets_through());
        assert!(!breaker.lets_through(), "one trial at a time");
        breaker.failed();
        tokio::time::advance(PAUSE_LEAST).await;
        assert!(!breaker.lets_through(), "the second pause is longer");
        tokio::time::advance(PAUSE_LEAST).await;
        assert!(breaker.lets_through());
        breaker.succeeded();
        assert!(breaker.lets_through() && breaker.lets_through());
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_never_ends_does_not_close_the_way_for_ever() {
        let breaker = Breaker::default();
        (0..OPENS_AFTER).for_each(|_| breaker.failed());
        tokio::time::advance(PAUSE_LEAST).await;
        assert!(breaker.lets_through());
        tokio::time::advance(TRIAL_WITHIN).await;
        assert!(breaker.lets_through());
    }
}
