//! Clients in Python that tests drive against the real program: in a folder of their own, `target/python`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// Versions are bounded so that a new one does not break the tests of an old commit.
const PACKAGES: &[&str] = &["schemathesis>=4.32,<5", "openapi-python-client>=0.29,<0.30", "redis>=8.1,<9"];

fn folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    target.join("python")
}

/// The Python with what is installed, wherever it is started.
pub fn program() -> PathBuf {
    let program = folder().join("bin/python");
    std::path::absolute(&program).unwrap_or(program)
}

/// What is installed is written down last: half an installation is made again.
fn is_installed(folder: &Path) -> bool {
    std::fs::read_to_string(folder.join("installed")).is_ok_and(|installed| installed == PACKAGES.join("\n"))
}

pub fn list() {
    let state = if is_installed(&folder()) { "installed" } else { "installed by `cargo xtask test`" };
    println!("{:<12} {:<26} {state}: {}", "Python", "clients that tests drive", PACKAGES.join(", "));
}

/// Installs what is missing.
pub fn install() -> anyhow::Result<()> {
    let folder = folder();
    if is_installed(&folder) {
        return Ok(());
    }
    eprintln!("installing the Python clients that the tests drive into {}", folder.display());
    run(
        Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder),
        "make a Python environment (on Debian: apt-get install python3-venv)",
    )?;
    run(
        Command::new(folder.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(PACKAGES),
        "install the Python clients",
    )?;
    std::fs::write(folder.join("installed"), PACKAGES.join("\n")).context("write down what is installed")
}

fn run(command: &mut Command, what: &str) -> anyhow::Result<()> {
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot {what}"))?;
    if !status.success() {
        bail!("cannot {what}: see above");
    }
    Ok(())
}
