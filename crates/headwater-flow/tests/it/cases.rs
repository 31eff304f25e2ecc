//! Random cases, one per seed, several at the same time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// Runs `case` with a seed and the number of the worker, from 0 to `at_once - 1`. A failure names its seed.
/// `HEADWATER_SEED=n` plays that one alone, `HEADWATER_SEED=n HEADWATER_CASES=m` that and those after it.
pub fn run(default: u64, at_once: u64, case: impl Fn(u64, u64) + Sync) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("HEADWATER_SEED");
    let cases = number("HEADWATER_CASES").unwrap_or(if first.is_some() { 1 } else { default });
    let first = first.unwrap_or(1);
    let (next, failed) = (AtomicU64::new(first), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for worker in 0..at_once.min(cases) {
            let (next, failed, case) = (&next, &failed, &case);
            scope.spawn(move || {
                while !failed.load(Ordering::SeqCst) {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= first + cases {
                        break;
                    }
                    let began = Instant::now();
                    if catch_unwind(AssertUnwindSafe(|| case(seed, worker))).is_err() {
                        failed.store(true, Ordering::SeqCst);
                        eprintln!("\nplay it again with HEADWATER_SEED={seed}\n");
                    }
                    if cases > default {
                        eprintln!("seed {seed}: {:?}", began.elapsed());
                    }
                }
            });
        }
    });
    assert!(!failed.load(Ordering::SeqCst), "a case failed; its seed is above");
}

/// Whatever happens, those who wait for the end hear of it.
pub struct SetOnDrop<'a>(pub &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
