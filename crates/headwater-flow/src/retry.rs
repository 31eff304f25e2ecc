//! Pauses between tries: exponential with jitter, bounded.

use std::time::Duration;

/// 50 ms, 100 ms, … up to 5 s, each shortened by up to half so that several waiters do not come back at once.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
}

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);

impl Backoff {
    pub fn new() -> Backoff {
        Backoff::default()
    }

    pub async fn pause(&mut self) {
        let full = FIRST.saturating_mul(1 << self.tries.min(10)).min(LONGEST);
        self.tries += 1;
        tokio::time::sleep(full.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
    }

    pub fn reset(&mut self) {
        self.tries = 0;
    }
}
