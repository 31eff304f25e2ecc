//! What tests use of Python, each in an environment of its own below `target`: clients that they drive against the real program,
//! and linters of infrastructure.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::engines::Skips;

struct Environment {
    folder: &'static str,
    what: &'static str,
    /// Versions are bounded so that a new one does not break the tests of an old commit.
    packages: &'static [&'static str],
    /// What is skipped, and said to be, where it cannot be had.
    skips: Option<Skips>,
}

const CLIENTS: Environment = Environment {
    folder: "python",
    what: "clients that tests drive",
    packages: &["schemathesis>=4.32,<5", "openapi-python-client>=0.29,<0.30", "redis>=8.1,<9"],
    skips: None,
};

/// They depend on exact versions of much, and would not go together with the clients.
const LINTERS: Environment = Environment {
    folder: "linters",
    what: "linters of infrastructure",
    packages: &["cfn-lint>=1.58,<2", "checkov>=3.2,<4"],
    skips: Some(Skips {
        what: "what linters say of emitted infrastructure",
        variable: "HEADWATER_WITHOUT_LINTERS",
    }),
};

const ENVIRONMENTS: [&Environment; 2] = [&CLIENTS, &LINTERS];

fn folder(environment: &Environment) -> PathBuf {
    crate::target().join(environment.folder)
}

/// The Python with the clients, wherever it is started.
pub fn program() -> PathBuf {
    let program = folder(&CLIENTS).join("bin/python");
    std::path::absolute(&program).unwrap_or(program)
}

/// What is installed is written down last: half an installation is made again.
fn is_installed(environment: &Environment, folder: &Path) -> bool {
    std::fs::read_to_string(folder.join("installed"))
        .is_ok_and(|installed| installed == environment.packages.join("\n"))
}

pub fn list() {
    for environment in ENVIRONMENTS {
        let there = is_installed(environment, &folder(environment));
        let state = if there { "installed" } else { "installed by `cargo xtask test`" };
        println!("{:<12} {:<26} {state}: {}", "Python", environment.what, environment.packages.join(", "));
    }
}

/// What tests have to do without.
pub fn skipped() -> Vec<(&'static str, Skips)> {
    let lacking = ENVIRONMENTS.into_iter().filter(|one| !is_installed(one, &folder(one)));
    lacking.filter_map(|one| Some((one.packages[0], one.skips?))).collect()
}

/// Installs what is missing.
pub fn install() -> anyhow::Result<()> {
    for environment in ENVIRONMENTS {
        let folder = folder(environment);
        if is_installed(environment, &folder) {
            continue;
        }
        match (make(environment, &folder), environment.skips) {
            (Ok(()), _) => {}
            (Err(error), Some(_)) => eprintln!("{error:#}"),
            (Err(error), None) => return Err(error),
        }
    }
    Ok(())
}

fn make(environment: &Environment, folder: &Path) -> anyhow::Result<()> {
    eprintln!("installing {} into {}", environment.what, folder.display());
    run(
        Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder),
        "make a Python environment (on Debian: apt-get install python3-venv)",
    )?;
    run(
        Command::new(folder.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(environment.packages),
        "install Python packages",
    )?;
    std::fs::write(folder.join("installed"), environment.packages.join("\n"))
        .context("write down what is installed")
}

fn run(command: &mut Command, what: &str) -> anyhow::Result<()> {
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot {what}"))?;
    if !status.success() {
        bail!("cannot {what}: see above");
    }
    Ok(())
}
