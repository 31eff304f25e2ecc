//! The data plane in a deterministic simulation: capture, journal, derive and apply are the real ones; source, stores, disk
//! and clock are simulated, and fail by a seed. `cargo xtask simulate` plays as many seeds as wanted.
//!
//! `HEADWATER_SEED=n` plays that seed alone and tells its story; `HEADWATER_CASES=m` that many from it on, or from 1.

#![allow(clippy::unwrap_used)]

mod course;
mod directed;
mod disk;
mod instance;

use std::time::Instant;

use headwater_testkit::simulated::{Mischief, Telling};

use course::play;

/// Seeds of the usual run.
const SEEDS: u64 = 100;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_store_equals_the_source_at_its_position_whatever_fails() {
    if let Ok(filter) = tracing_subscriber::EnvFilter::try_from_env("HEADWATER_LOG") {
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    }
    let first = number("HEADWATER_SEED");
    let seeds = number("HEADWATER_CASES").unwrap_or(if first.is_some() { 1 } else { SEEDS });
    let first = first.unwrap_or(1);
    let began = Instant::now();
    for seed in first..first + seeds {
        let telling = if seeds == 1 { Telling::Told } else { Telling::Nothing };
        if let Some(violation) = play(seed, None, telling).violation {
            panic!("{violation}\n\nplay it again with HEADWATER_SEED={seed}\n");
        }
    }
    let took = began.elapsed();
    println!("{seeds} seeds in {took:.1?}: {:.0} a minute", seeds as f64 / took.as_secs_f64() * 60.0);
}

#[test]
fn a_seed_is_one_course_of_events() {
    for seed in 1..=8 {
        let (one, other) = (play(seed, None, Telling::Kept), play(seed, None, Telling::Kept));
        let parts = one.story.iter().zip(&other.story).find(|(a, b)| a != b);
        assert_eq!(one.trace, other.trace, "seed {seed} parts here: {parts:#?}");
    }
}

/// Planted in the simulated parts, one after the other. If a change of the simulation makes it blind for one, this
/// says so.
#[test]
fn every_planted_bug_is_found() {
    const ALL: [Mischief; 8] = [
        Mischief::ForgetsWhatItSent,
        Mischief::ChunkSeesAll,
        Mischief::DiskLies,
        Mischief::PositionFirst,
        Mischief::PositionLast,
        Mischief::NoFence,
        Mischief::LosesAChange,
        Mischief::NullsWhatIsUnchanged,
    ];
    for mischief in ALL {
        let found =
            (1..=500).find_map(|seed| Some((seed, play(seed, Some(mischief), Telling::Nothing).violation?)));
        let (seed, violation) = found.unwrap_or_else(|| panic!("{mischief:?} is not found"));
        let start: String = violation.chars().take(120).collect();
        println!("{mischief:?}: found at seed {seed}: {start}");
    }
}
