//! `cargo xtask faults`: the program against real engines while something breaks, a line per fault.

use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

use crate::{cargo, engines};

pub fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    engines::install()?;
    let mut command = match own_mounts() {
        true => {
            let mut command = Command::new("unshare");
            command.args(OWN_MOUNTS).arg(cargo().get_program()).env("HEADWATER_OWN_MOUNTS", "1");
            command
        }
        false => cargo(),
    };
    // With the features that all of it is tested with: nothing is built twice.
    command.args(["test", "--workspace", "--test", "faults", "--"]);
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

const OWN_MOUNTS: [&str; 3] = ["--mount", "--propagation", "private"];

/// Whether this machine lets us have mounts that nobody else sees: small disks that can be filled.
fn own_mounts() -> bool {
    Command::new("unshare").args(OWN_MOUNTS).arg("true").output().is_ok_and(|ran| ran.status.success())
}
