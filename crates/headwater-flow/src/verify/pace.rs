//! How fast a verification goes: as fast as it can, at a rate, or so that those who write hardly notice.
//!
//! Owns when it rests and for how long. Whoever compares says after each piece what it did.
//!
//! By default it works a tenth of the time. What it takes from writers is at most that share of what it would take at full
//! speed, whatever the machine: where source or stores are busy a piece takes longer, and so does the rest behind it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

/// How fast a verification may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// Rests [`RESTS`] times as long as it works.
    #[default]
    Gentle,
    /// Rows of the source per second, at most.
    Rate(u64),
    Full,
}

/// A rest is so many times as long as the piece of work before it.
const RESTS: u32 = 9;

/// A piece that waited for others, be it for a lock, does not make the rest behind it last for ever.
const REST_MAX: Duration = Duration::from_secs(2);

/// Rows of a piece when gentle: it is over before anybody who waits for it notices.
const GENTLE_ROWS: usize = 2_000;

/// At a rate, a second is so many pieces.
const PIECES_PER_SECOND: u64 = 10;

/// A smaller piece costs more than it spares.
const ROWS_MIN: u64 = 100;

impl Pace {
    /// Rows of one piece, of which there could be `most`.
    pub(super) fn rows_at_once(self, most: usize) -> usize {
        match self {
            Pace::Full => most,
            Pace::Gentle => most.min(GENTLE_ROWS),
            Pace::Rate(rate) => {
                let rows = (rate / PIECES_PER_SECOND).max(ROWS_MIN.min(rate)).max(1);
                most.min(usize::try_from(rows).unwrap_or(usize::MAX))
            }
        }
    }

    /// What was read ahead and then rests is old by the time it is compared.
    pub(super) fn reads_ahead(self) -> bool {
        self == Pace::Full
    }
}

/// Keeps to a pace.
pub(super) struct Pacer {
    pub pace: Pace,
    /// Since the last rest.
    worked_since: Instant,
    /// Before that moment, at a rate, it has no more rows to read.
    due: Instant,
}

impl Pacer {
    pub fn new(pace: Pace) -> Pacer {
        let now = Instant::now();
        Pacer { pace, worked_since: now, due: now }
    }

    /// So many rows of the source were read and compared. For the log to come by it `waited` so long, which costs nobody anything.
    pub async fn compared(&mut self, rows: usize, waited: Duration) {
        let Pace::Rate(rate) = self.pace else {
            self.worked_since += waited;
            return self.looked().await;
        };
        let now = Instant::now();
        // What it did not get done in time is not made up for.
        let began = self.due.max(now.checked_sub(Duration::from_secs(1)).unwrap_or(now));
        self.due = began + Duration::from_secs_f64(rows as f64 / rate.max(1) as f64);
        sleep(self.due.saturating_duration_since(now)).await;
        self.worked_since = Instant::now();
    }

    /// A piece of other work is done, such as a page of keys that a store listed.
    pub async fn looked(&mut self) {
        if self.pace != Pace::Full {
            sleep((self.worked_since.elapsed() * RESTS).min(REST_MAX)).await;
            self.worked_since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn by_default_it_works_a_tenth_of_the_time() {
        let (began, mut pacer) = (Instant::now(), Pacer::new(Pace::Gentle));
        for _ in 0..10 {
            advance(Duration::from_millis(20)).await;
            pacer.compared(1_000, Duration::ZERO).await;
        }
        assert_eq!(began.elapsed().as_millis() / 10, 200);
        // A table that was locked for a minute.
        advance(Duration::from_secs(60)).await;
        let waited = Instant::now();
        pacer.compared(1, Duration::ZERO).await;
        assert_eq!(waited.elapsed().as_secs(), 2);
        // The log comes by late: nothing was worked meanwhile.
        advance(Duration::from_millis(1_020)).await;
        let rested = Instant::now();
        pacer.compared(1, Duration::from_secs(1)).await;
        assert_eq!(rested.elapsed().as_millis() / 10, 18);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept_and_what_was_missed_is_not_made_up_for() {
        let (began, mut pacer) = (Instant::now(), Pacer::new(Pace::Rate(5_000)));
        assert_eq!(pacer.pace.rows_at_once(10_000), 500);
        for _ in 0..40 {
            advance(Duration::from_millis(30)).await;
            pacer.compared(500, Duration::ZERO).await;
        }
        assert_eq!(began.elapsed().as_millis() / 10, 400);
        advance(Duration::from_secs(3_600)).await;
        let again = Instant::now();
        for _ in 0..40 {
            pacer.compared(500, Duration::ZERO).await;
        }
        assert!(again.elapsed() >= Duration::from_secs(3), "{:?}", again.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn at_full_speed_it_never_rests() {
        let (began, mut pacer) = (Instant::now(), Pacer::new(Pace::Full));
        pacer.compared(1_000_000, Duration::ZERO).await;
        pacer.looked().await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[test]
    fn pieces_are_small_where_it_rests() {
        assert_eq!(Pace::Full.rows_at_once(10_000), 10_000);
        assert_eq!(Pace::Gentle.rows_at_once(10_000), GENTLE_ROWS);
        assert_eq!(Pace::Gentle.rows_at_once(5), 5);
        assert_eq!(Pace::Rate(1).rows_at_once(10_000), 1);
        assert_eq!(Pace::Rate(300).rows_at_once(10_000), 100);
        assert_eq!(Pace::Rate(u64::MAX).rows_at_once(10_000), 10_000);
    }
}
