//! MySQL, out of Debian's unstable suite, which alone has it: in a folder of its own, `target/mysql`, together with the libraries
//! that it needs, so that nothing of this machine is replaced or touched.
//!
//! That suite moves, so the newest version is taken, and kept. `apt-get`, told to keep its books in that folder, finds out what it
//! needs, and checks the suite's index against Debian's keys and each package against the checksum that stands there. The packages
//! are for x86-64 only here; elsewhere, and where there is no `apt-get`, its tests are skipped, and said to be.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::engines::Skips;

const PACKAGES: [&str; 2] = ["mysql-server-core", "mysql-client-core"];
const SUITE: &str = "sid main";
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where the packages put their libraries, and the loader among them.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

const WITHOUT: Skips = Skips { what: "MySQL as a source and a store", variable: "HEADWATER_WITHOUT_MYSQL" };

fn folder() -> PathBuf {
    crate::target().join("mysql")
}

/// What the server calls itself, which is written down last: half an installation is made again.
fn installed(folder: &Path) -> Option<String> {
    std::fs::read_to_string(folder.join("installed")).ok()
}

pub fn list() {
    let state = installed(&folder()).unwrap_or_else(|| "installed by `cargo xtask test`".into());
    println!("{:<12} {:<26} {state}: {}", "MySQL", "source and store", PACKAGES[0]);
}

/// What is still missing after [`install`], and what is not tested for that.
pub fn skipped() -> Option<(&'static str, Skips)> {
    installed(&folder()).is_none().then_some((PACKAGES[0], WITHOUT))
}

/// Installs what is missing. Tests can do without: see [`skipped`].
pub fn install() {
    if let Err(error) = fetch(&folder()) {
        eprintln!("going on without MySQL: {error:#}");
    }
}

fn fetch(folder: &Path) -> anyhow::Result<()> {
    if installed(folder).is_some() {
        return Ok(());
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!("its packages are taken for Linux on x86-64 only");
    }
    if !Path::new(KEYS).exists() {
        bail!("its packages are Debian's, whose keys are not here: install debian-archive-keyring");
    }
    eprintln!("installing MySQL into {}", folder.display());
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    let books = folder.join("apt");
    for part in ["lists/partial", "archives/partial", "parts"] {
        let part = books.join(part);
        std::fs::create_dir_all(&part).with_context(|| format!("create {}", part.display()))?;
    }
    let folder = folder.canonicalize().context("resolve the folder")?;
    let books = folder.join("apt");
    let source = format!("deb [arch=amd64 signed-by={KEYS}] {} {SUITE}\n", mirror()?);
    std::fs::write(books.join("sources.list"), source).context("name the suite")?;
    // Nothing is installed, as far as these books say: so all that MySQL needs is fetched.
    std::fs::write(books.join("status"), "").context("begin the books")?;
    run(apt(&books).arg("update"))?;
    let fetch = ["install", "--yes", "--download-only", "--no-install-recommends"];
    run(apt(&books).args(fetch).args(PACKAGES))?;
    unpack(&books.join("archives"), &folder)?;
    let libraries = folder.join(LIBRARIES);
    let version = Command::new(libraries.join("ld-linux-x86-64.so.2"))
        .arg("--library-path")
        .arg(&libraries)
        .args([folder.join("usr/sbin/mysqld"), "--version".into()])
        .output()
        .context("start mysqld")?;
    if !version.status.success() {
        bail!("mysqld does not start: {}", String::from_utf8_lossy(&version.stderr).trim());
    }
    std::fs::remove_dir_all(&books).context("remove the books")?;
    // `…/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))`
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    let version = version.split_once("Ver ").map_or(version.as_str(), |(_, version)| version);
    std::fs::write(folder.join("installed"), version).context("write down what is installed")
}

/// Where this machine has Debian's packages from.
fn mirror() -> anyhow::Result<String> {
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", "$(LABEL) $(SITE)", "Created-By: Packages"])
        .output()
        .context("cannot start apt-get")?;
    let targets = String::from_utf8_lossy(&output.stdout);
    let site = targets.lines().find_map(|target| target.strip_prefix("Debian "));
    site.map(str::to_owned).context("apt-get knows no source of Debian's packages: run `apt-get update`")
}

/// `apt-get` with books of its own. It need not be root's.
fn apt(books: &Path) -> Command {
    let mut apt = Command::new("apt-get");
    apt.args(["--quiet", "--quiet", "-o", "APT::Architecture=amd64", "-o", "APT::Sandbox::User="]);
    for (option, place) in [
        ("Dir::Etc::sourcelist", "sources.list"),
        ("Dir::Etc::sourceparts", "parts"),
        ("Dir::Etc::preferencesparts", "parts"),
        ("Dir::State", ""),
        ("Dir::State::status", "status"),
        ("Dir::Cache", ""),
    ] {
        let mut set = OsString::from(format!("{option}="));
        set.push(books.join(place));
        apt.arg("-o").arg(set);
    }
    apt
}

fn unpack(archives: &Path, folder: &Path) -> anyhow::Result<()> {
    for archive in std::fs::read_dir(archives).context("list the packages")? {
        let archive = archive.context("list the packages")?.path();
        let name = archive.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Perl is for scripts that nobody runs here, and half of it all.
        if name.ends_with(".deb") && !name.starts_with("perl") && !name.starts_with("libperl") {
            run(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(folder))?;
        }
    }
    Ok(())
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{command:?} failed, see above");
    }
    Ok(())
}
