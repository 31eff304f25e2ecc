//! PostgreSQL's extension hypopg, which index advice asks in place with: of the server that tests start, the newest there is.

use std::path::PathBuf;

use crate::engines::{self, Skips};

const WITHOUT: Skips = Skips { what: "index advice in place", variable: "HEADWATER_WITHOUT_HYPOPG" };

/// The server's folder, and its major version as packages have it in their names.
fn server() -> Option<(PathBuf, String)> {
    let bin = engines::postgres_folders().into_iter().next()?;
    let folder = bin.parent()?.to_owned();
    let major = folder.file_name()?.to_str()?.to_owned();
    Some((folder, major))
}

fn is_installed() -> bool {
    server().is_some_and(|(folder, _)| folder.join("lib/hypopg.so").is_file())
}

fn package() -> String {
    server().map_or_else(|| "postgresql-hypopg".into(), |(_, major)| format!("postgresql-{major}-hypopg"))
}

pub fn list() {
    let state = if is_installed() { "installed" } else { "installed by `cargo xtask test`" };
    println!("{:<12} {:<26} {state}: {}", "hypopg", "index advice in place", package());
}

/// What is still missing after [`install`], and what is not tested for that.
pub fn skipped() -> Option<(&'static str, Skips)> {
    (!is_installed()).then_some(("hypopg", WITHOUT))
}

/// Installs what is missing, once there is a server. Tests can do without: see [`skipped`].
pub fn install() {
    if !is_installed()
        && let Err(error) = engines::install_packages(&[&package()])
    {
        eprintln!("going on without hypopg: {error:#}");
    }
}
