//! The fault matrix: the program as a process against real engines, under load, while something breaks. After every fault
//! an independent checker must find that every store equals the source, and readers that watched must have seen nothing
//! torn and nothing go back.
//!
//! `cargo xtask faults` runs all of it; the usual test run a few. One that cannot be run is listed with the reason and
//! never counts as passed.

#![allow(clippy::unwrap_used)]

mod catalogue;
mod hosts;
mod instance;
mod kills;
#[allow(dead_code)]
#[path = "../it/service.rs"]
mod service;
mod sources;
mod stores;
#[allow(dead_code)]
#[path = "../it/support.rs"]
mod support;
mod world;

use std::time::{Duration, Instant};

use headwater_testkit::Chance;

use catalogue::{ALL, Fault};
use world::World;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

enum Verdict {
    Passed,
    Failed,
    /// It was not tried: this machine lacks something.
    Skipped,
}

/// The faults one after the other; a line about it. Whether all was well.
async fn inject(faults: &[Fault], seed: u64) -> bool {
    let name = names(faults);
    let mut world = World::start(seed, faults).await;
    world.pause(700).await;
    world.notice();
    // What still holds: a fault that cannot go with it waits for its end.
    let mut holding: Vec<Fault> = Vec::new();
    for fault in faults {
        for other in holding.extract_if(.., |other| !fault.goes_with(*other)) {
            other.end(&mut world).await;
        }
        fault.begin(&mut world).await;
        holding.push(*fault);
        world.pause(300).await;
    }
    let detected = world.noticed.within();
    while let Some(fault) = holding.pop() {
        fault.end(&mut world).await;
    }
    let ended = Instant::now();
    world.pause(700).await;
    let outcome = world.quiet(ended).await;
    let well = outcome.keys_lost == 0 && outcome.backwards == 0 && outcome.what.is_none();
    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    println!(
        "{:<10} {name}: noticed {}, recovered in {}, keys lost {}, keys backwards {}{}",
        if well { "passed" } else { "FAILED" },
        detected.map_or("nothing".to_owned(), |within| format!("within {}", seconds(within))),
        seconds(outcome.recovery),
        outcome.keys_lost,
        outcome.backwards,
        outcome.what.map(|what| format!("\n{what}\n{}", again(faults, seed))).unwrap_or_default()
    );
    well
}

/// In a thread of its own: a fault that panics has failed, and the others go on.
fn run(faults: &[Fault], seed: u64) -> Verdict {
    if let Some((fault, missing)) = faults.iter().find_map(|fault| Some((fault, fault.missing()?))) {
        println!("skipped    {}: {} needs {missing}", names(faults), fault.name());
        return Verdict::Skipped;
    }
    let injected = std::thread::scope(|scope| {
        let run = || tokio::runtime::Runtime::new().unwrap().block_on(inject(faults, seed));
        scope.spawn(run).join()
    });
    match injected {
        Ok(true) => Verdict::Passed,
        Ok(false) => Verdict::Failed,
        Err(_) => {
            println!("FAILED     {}: it panicked\n{}", names(faults), again(faults, seed));
            Verdict::Failed
        }
    }
}

fn names(faults: &[Fault]) -> String {
    faults.iter().map(|fault| fault.name()).collect::<Vec<_>>().join("+")
}

/// How to have the same once more.
fn again(faults: &[Fault], seed: u64) -> String {
    format!("again: cargo xtask faults --only {} --seed {seed}", names(faults))
}

#[test]
fn a_few_faults_lose_nothing_and_nothing_goes_back() {
    for fault in [Fault::StoreFlushed, Fault::KilledUnderLoad] {
        assert!(matches!(run(&[fault], 7), Verdict::Passed), "{}: see above", fault.name());
    }
}

#[test]
#[ignore = "takes minutes: cargo xtask faults"]
fn matrix() {
    let only = std::env::var("HEADWATER_FAULT").ok();
    let seed = number("HEADWATER_SEED").unwrap_or(1);
    let called = |part: &str| -> Vec<Fault> {
        ALL.iter().filter(|(_, name)| name.contains(part)).map(|(fault, _)| *fault).collect()
    };
    let chosen = match only.as_deref() {
        // A pair, as a failure tells it.
        Some(pair) if pair.contains('+') => {
            let pair: Vec<Fault> = pair.split('+').filter_map(|name| called(name).first().copied()).collect();
            assert!(matches!(run(&pair, seed), Verdict::Passed), "see above");
            return;
        }
        Some(part) => called(part),
        None => called(""),
    };
    assert!(!chosen.is_empty(), "no fault's name holds {only:?}");
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let mut count = |verdict| match verdict {
        Verdict::Passed => passed += 1,
        Verdict::Failed => failed += 1,
        Verdict::Skipped => skipped += 1,
    };
    for fault in &chosen {
        count(run(&[*fault], seed));
    }
    let mut chance = Chance::new(seed);
    for _ in 0..number("HEADWATER_PAIRS").unwrap_or(0) {
        let pair = [chance.pick(&chosen).to_owned(), ALL[chance.below(ALL.len() as u64) as usize].0];
        count(run(&pair, chance.number()));
    }
    let skipped = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
    println!("{passed} passed, {failed} failed{skipped}");
    assert_eq!(failed, 0, "faults failed: see above");
}
