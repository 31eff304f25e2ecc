//! `cargo xtask faults`: the program against real engines while something breaks, a line per fault.

use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::{cargo, engines};

pub fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    engines::install()?;
    let mut command = cargo();
    command.args(["test", "-p", "headwater", "--test", "faults", "--"]);
    command.args(["--ignored", "--exact", "matrix", "--nocapture"]);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let variable = match argument.as_str() {
            "--only" => "HEADWATER_FAULT",
            "--pairs" => "HEADWATER_PAIRS",
            "--seed" => "HEADWATER_SEED",
            other => {
                bail!("unknown argument {other}: cargo xtask faults [--only NAME] [--pairs N] [--seed S]")
            }
        };
        let value = rest.next().with_context(|| format!("{argument} needs a value"))?;
        if variable != "HEADWATER_FAULT" {
            value.parse::<u64>().with_context(|| format!("{argument} needs a number, not {value:?}"))?;
        }
        command.env(variable, value);
    }
    let status = command.status().context("start cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
