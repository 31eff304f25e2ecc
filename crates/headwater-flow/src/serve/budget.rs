//! What reads may cost the source when no store can answer: so many per second, so many at once, each for so long. The
//! source comes first, so what is beyond the budget is refused at once and does not queue.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// A burst may use this much of the budget's second at once.
const BURST: f64 = 1.0;

pub(super) struct Budget {
    rate_per_second: f64,
    parallel: Semaphore,
    bucket: Mutex<Bucket>,
}

struct Bucket {
    tokens: f64,
    filled_at: Instant,
}

/// Nothing is left of the budget; how soon there may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Exhausted {
    pub again_after: Duration,
}

impl Budget {
    /// `rate_per_second` and `parallel` of 0 refuse everything.
    pub fn new(rate_per_second: u64, parallel: usize) -> Budget {
        let rate_per_second = rate_per_second as f64;
        Budget {
            rate_per_second,
            parallel: Semaphore::new(parallel),
            bucket: Mutex::new(Bucket { tokens: rate_per_second * BURST, filled_at: Instant::now() }),
        }
    }

    /// A place among those that ask at once, held until the permit is dropped. Waits for one until `deadline`: a place is
    /// free soon, a rate is not.
    pub async fn take(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, Exhausted> {
        let full = || Exhausted { again_after: Duration::from_millis(100) };
        let permit = match tokio::time::timeout_at(deadline, self.parallel.acquire()).await {
            Ok(permit) => permit.map_err(|_| full())?,
            Err(_) => return Err(full()),
        };
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let earned = (now - bucket.filled_at).as_secs_f64() * self.rate_per_second;
        bucket.tokens = (bucket.tokens + earned).min((self.rate_per_second * BURST).max(1.0));
        bucket.filled_at = now;
        if bucket.tokens < 1.0 {
            let again_after = match self.rate_per_second {
                rate if rate > 0.0 => Duration::from_secs_f64((1.0 - bucket.tokens) / rate),
                _ => Duration::from_secs(60),
            };
            return Err(Exhausted { again_after });
        }
        bucket.tokens -= 1.0;
        Ok(permit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn never_more_per_second_nor_at_once() {
        let budget = Budget::new(10, 2);
        let soon = || Instant::now() + Duration::from_millis(1);
        let held = (budget.take(soon()).await.ok(), budget.take(soon()).await.ok());
        assert!(held.0.is_some() && held.1.is_some());
        assert!(budget.take(soon()).await.is_err(), "two at once");
        drop(held);
        for _ in 0..8 {
            assert!(budget.take(soon()).await.is_ok());
        }
        assert_eq!(
            budget.take(soon()).await.err().map(|e| e.again_after.as_millis() <= 100),
            Some(true),
            "ten per second"
        );
        tokio::time::advance(Duration::from_millis(300)).await;
        for _ in 0..3 {
            assert!(budget.take(soon()).await.is_ok());
        }
        assert!(budget.take(soon()).await.is_err());
    }

    #[tokio::test]
    async fn no_budget_is_no_read() {
        let soon = Instant::now() + Duration::from_millis(1);
        assert!(Budget::new(0, 4).take(soon).await.is_err());
        assert!(Budget::new(10, 0).take(soon).await.is_err());
    }
}
