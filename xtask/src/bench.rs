//! `cargo xtask bench`: the binary as it is released against the limits of this machine.

use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::{cargo, engines, tpchgen};

pub fn run(names: &[String]) -> anyhow::Result<ExitCode> {
    engines::install()?;
    if names.iter().any(|name| name == "doctor") {
        tpchgen::install()?;
    }
    let built = cargo()
        .args(["build", "--profile", "dist", "-p", "headwater", "-p", "headwater-bench"])
        .status()
        .context("start cargo")?;
    if !built.success() {
        bail!("the build failed");
    }
    let status = cargo()
        .args(["run", "--quiet", "--profile", "dist", "-p", "headwater-bench", "--"])
        .args(names)
        .status()
        .context("start the bench")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
