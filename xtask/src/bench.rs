//! `cargo xtask bench`: the release binary against the limits of this machine.

use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::{cargo, engines};

pub fn run(names: &[String]) -> anyhow::Result<ExitCode> {
    engines::install()?;
    let built = cargo()
        .args(["build", "--release", "-p", "headwater", "-p", "headwater-bench"])
        .status()
        .context("start cargo")?;
    if !built.success() {
        bail!("the release build failed");
    }
    let status = cargo()
        .args(["run", "--quiet", "--release", "-p", "headwater-bench", "--"])
        .args(names)
        .status()
        .context("start the bench")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
