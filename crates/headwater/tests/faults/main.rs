//! The fault matrix: the program as a process against real engines, under load, while something breaks. After every fault
//! an independent checker must find that every store equals the source, and readers that watched must have seen nothing
//! torn and nothing go back.
//!
//! `cargo xtask faults` runs all of it; the usual test run a few. One that cannot be run is listed with the reason and
//! never counts as passed.

#![allow(clippy::unwrap_used)]

mod catalogue;
#[allow(dead_code)]
#[path = "../it/service.rs"]
mod service;
#[allow(dead_code)]
#[path = "../it/support.rs"]
mod support;
mod world;

use std::time::{Duration, Instant};

use headwater_testkit::Chance;

use catalogue::{ALL, Fault, NOT_RUNNABLE};
use world::World;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The faults one after the other; a line about it. Whether all was well.
async fn inject(faults: &[Fault], seed: u64) -> bool {
    let name = names(faults);
    let mut world = World::start(seed).await;
    world.pause(700).await;
    let (told, began) = (world.told(), Instant::now());
    let mut detected = None;
    for fault in faults {
        fault.begin(&mut world).await;
        world.pause(300).await;
        detected = detected.or_else(|| (world.told() > told).then(|| began.elapsed()));
    }
    for fault in faults.iter().rev() {
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
        outcome.what.map(|what| format!("\n{what}\nseed {seed}")).unwrap_or_default()
    );
    well
}

/// In a thread of its own: a fault that panics has failed, and the others go on.
fn passes(faults: &[Fault], seed: u64) -> bool {
    let injected = std::thread::scope(|scope| {
        let run = || tokio::runtime::Runtime::new().unwrap().block_on(inject(faults, seed));
        scope.spawn(run).join()
    });
    injected.unwrap_or_else(|_| {
        println!("FAILED     {}: it panicked, seed {seed}", names(faults));
        false
    })
}

fn names(faults: &[Fault]) -> String {
    faults.iter().map(|fault| fault.name()).collect::<Vec<_>>().join(" + ")
}

#[test]
fn a_few_faults_lose_nothing_and_nothing_goes_back() {
    for fault in [Fault::StoreFlushed, Fault::KilledUnderLoad] {
        assert!(passes(&[fault], 7), "{}: see above", fault.name());
    }
}

#[test]
#[ignore = "takes minutes: cargo xtask faults"]
fn matrix() {
    let only = std::env::var("HEADWATER_FAULT").ok();
    let seed = number("HEADWATER_SEED").unwrap_or(1);
    let chosen: Vec<Fault> = ALL
        .iter()
        .filter(|(_, name)| only.as_deref().is_none_or(|only| name.contains(only)))
        .map(|(fault, _)| *fault)
        .collect();
    assert!(!chosen.is_empty(), "no fault's name holds {only:?}");
    let (mut passed, mut failed) = (0, 0);
    let mut count = |well: bool| if well { passed += 1 } else { failed += 1 };
    for fault in &chosen {
        count(passes(&[*fault], seed));
    }
    let mut chance = Chance::new(seed);
    for _ in 0..number("HEADWATER_PAIRS").unwrap_or(0) {
        let pair = [chance.pick(&chosen).to_owned(), ALL[chance.below(ALL.len() as u64) as usize].0];
        count(passes(&pair, chance.number()));
    }
    if only.is_none() {
        for (name, why) in NOT_RUNNABLE {
            println!("not run    {name}: {why}");
        }
    }
    println!("{passed} passed, {failed} failed");
    assert_eq!(failed, 0, "faults failed: see above");
}
