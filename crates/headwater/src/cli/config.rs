//! `headwater config`: the effective file.

use std::path::Path;
use std::process::ExitCode;

use super::failure::Failure;
use super::{file, show};

pub fn run(path: &Path) -> Result<ExitCode, Failure> {
    show::print(&file::load(path)?.to_config());
    Ok(ExitCode::SUCCESS)
}
