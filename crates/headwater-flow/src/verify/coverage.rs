//! How much of what the stores hold was ever compared with the source, and how long ago at the latest. Pure.
//!
//! Invariant: never better than it is. What was not compared to its end counts as not compared, and a view is as old as the begin of its
//! newest whole comparison, however far the next one is.

use super::report::Progress;
use crate::status::{StoreStatus, VerificationStatus};

pub(crate) fn of(stores: &[StoreStatus], now_micros: i64, running: Option<Progress>) -> VerificationStatus {
    let (mut all, mut compared, mut oldest, mut never) = (0_f64, 0_f64, None, 0);
    for view in stores.iter().flat_map(|store| &store.views) {
        // An empty view is to be looked at too.
        let rows = view.rows.or(view.verified.map(|verified| verified.rows)).unwrap_or(0).max(1) as f64;
        all += rows;
        match view.verified {
            Some(verified) => {
                compared += rows;
                oldest = Some(oldest.map_or(verified.at_micros, |known: i64| known.min(verified.at_micros)));
            }
            None => never += 1,
        }
    }
    let age = |at: i64| u64::try_from(now_micros.saturating_sub(at) / 1000).unwrap_or(0);
    VerificationStatus {
        at_micros: now_micros,
        covered: if all > 0.0 { compared / all } else { 0.0 },
        never_compared: never,
        oldest_ms: oldest.filter(|_| never == 0).map(age),
        running,
        ..VerificationStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{VerifiedStatus, ViewStatus};

    fn view(rows: u64, at_micros: Option<i64>) -> ViewStatus {
        let verified = at_micros.map(|at_micros| VerifiedStatus { at_micros, rows, drifted: 0 });
        ViewStatus { rows: Some(rows), verified, ..ViewStatus::default() }
    }

    #[test]
    fn what_was_never_compared_has_no_age_and_the_oldest_counts() {
        let store = |views| StoreStatus { views, ..StoreStatus::default() };
        let half = of(&[store(vec![view(300, Some(5_000_000)), view(100, None)])], 9_000_000, None);
        assert_eq!((half.covered, half.never_compared, half.oldest_ms), (0.75, 1, None));
        let all = [store(vec![view(3, Some(5_000_000))]), store(vec![view(0, Some(2_000_000))])];
        let all = of(&all, 9_000_000, None);
        assert_eq!((all.covered, all.never_compared, all.oldest_ms), (1.0, 0, Some(7_000)));
        assert_eq!(of(&[], 1, None).covered, 0.0);
        // A clock that was set back.
        assert_eq!(of(&[store(vec![view(1, Some(9))])], 1, None).oldest_ms, Some(0));
    }
}
