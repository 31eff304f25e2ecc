//! The `headwater` command: wiring and words. Everything it decides is decided in the crates below it.

mod by_source;
mod cli;
mod control_socket;
mod dashboard;
mod drill;
mod examine;
mod figures;
mod http;
mod metrics;
mod observed;
mod positions;
mod resp;
mod telemetry;
mod tls;
mod whole_files;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
