//! `cargo xtask …`: what a contributor runs. Nothing here is needed to build or use Headwater.

mod bench;
mod dynamodb;
mod engines;
mod falkordb;
mod faults;
mod hypopg;
mod mongodb;
mod mysql;
mod node;
mod python;
mod schema;
mod simulate;
mod suite;
mod test;
mod tpchgen;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask test [--mysql VERSION] [filter…]
                             install missing engines, build, run every test (or those whose name holds a filter);
                             --mysql 8.0 or 8.4 takes that version in place of the newest MySQL
cargo xtask simulate [--seeds N] [--seed S]
                             the data plane over a simulated source, store, disk and clock; --seed alone tells its story
cargo xtask faults [--only NAME] [--pairs N] [--seed S]
                             the program against real engines while something breaks, each fault alone, then pairs;
                             --only A+B plays one pair again
cargo xtask engines          which engines are here, in which version, and what `test` would install
cargo xtask schema           read the attributes of emitted Terraform resources from the provider's schema anew
cargo xtask bench [name…]    measure against the limits of this machine: follow, backfill, latency, stores, …
";

fn main() -> anyhow::Result<ExitCode> {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    match command.as_str() {
        "test" => test::run(&rest),
        "engines" => engines::list(),
        "faults" => faults::run(&rest),
        "simulate" => simulate::run(&rest),
        "bench" => bench::run(&rest),
        "schema" => schema::extract(),
        _ => {
            eprint!("{USAGE}");
            Ok(ExitCode::from(2))
        }
    }
}

/// Where cargo builds, and engines that no package of the system has are kept.
fn target() -> std::path::PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), Into::into)
}

/// The cargo that runs us, without what it tells the programs that it runs: build scripts would take that for news, and what they build
/// would be built again by every other call.
fn cargo() -> std::process::Command {
    let mut cargo = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let told = |name: &str| name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_PKG_");
        if name.to_str().is_some_and(told) {
            cargo.env_remove(name);
        }
    }
    cargo
}
