//! `cargo xtask simulate`: seeds of the deterministic simulation, as many as wanted, optimized.

use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::cargo;

const SEEDS: &str = "3000";

pub fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let (mut seeds, mut seed) = (None, None);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let value = match argument.as_str() {
            "--seeds" => &mut seeds,
            "--seed" => &mut seed,
            other => bail!("unknown argument {other}: cargo xtask simulate [--seeds N] [--seed S]"),
        };
        let number = rest.next().with_context(|| format!("{argument} needs a number"))?;
        number.parse::<u64>().with_context(|| format!("{argument} needs a number, not {number:?}"))?;
        *value = Some(number.as_str());
    }
    let mut command = cargo();
    command.args(["test", "--release", "-p", "headwater-flow", "--test", "simulation", "--"]);
    command.args(["--exact", "every_store_equals_the_source_at_its_position_whatever_fails", "--nocapture"]);
    match (seeds, seed) {
        // One alone tells its story.
        (None, Some(seed)) => command.env("HEADWATER_SEED", seed).env_remove("HEADWATER_CASES"),
        (seeds, seed) => {
            let seeds = seeds.unwrap_or(SEEDS);
            command.env("HEADWATER_SEED", seed.unwrap_or("1")).env("HEADWATER_CASES", seeds)
        }
    };
    let status = command.status().context("start cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
