//! Clients for Node.js that tests drive against the real program: in a folder of their own, `target/node`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// Versions are bounded so that a new one does not break the tests of an old commit.
const PACKAGES: &[&str] = &["ioredis@^6.0.0", "puppeteer-core@^24.9.0", "axe-core@^4.11.0"];

fn folder() -> PathBuf {
    crate::target().join("node")
}

/// What is installed is written down last: half an installation is made again.
fn is_installed(folder: &Path) -> bool {
    std::fs::read_to_string(folder.join("installed")).is_ok_and(|installed| installed == PACKAGES.join("\n"))
}

pub fn list() {
    let state = if is_installed(&folder()) { "installed" } else { "installed by `cargo xtask test`" };
    println!("{:<12} {:<26} {state}: {}", "Node.js", "clients that tests drive", PACKAGES.join(", "));
}

/// Installs what is missing.
pub fn install() -> anyhow::Result<()> {
    let folder = folder();
    if is_installed(&folder) {
        return Ok(());
    }
    eprintln!("installing the Node.js clients that the tests drive into {}", folder.display());
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let status = Command::new("npm")
        .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
        .arg(&folder)
        .args(PACKAGES)
        .stdin(Stdio::null())
        .status()
        .context("cannot start npm (on Debian: apt-get install npm)")?;
    if !status.success() {
        bail!("cannot install the Node.js clients: see above");
    }
    std::fs::write(folder.join("installed"), PACKAGES.join("\n")).context("write down what is installed")
}
