//! Why a command could not do its work, and how that is said.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use headwater_control::Finding;
use headwater_model::Error;
use headwater_model::file::FileErrors;

use super::show;

pub enum Failure {
    /// The file is wrong.
    File { path: PathBuf, errors: FileErrors },
    /// The file does not fit the live source.
    Findings { path: PathBuf, text: Arc<str>, findings: Vec<Finding> },
    /// Something below refused, with its remedy.
    Refused(Error),
    /// Anything else.
    Other(anyhow::Error),
}

impl Failure {
    /// Says it on standard error; the exit code is 1 where what is wrong has been said for good, 2 otherwise.
    pub fn report(self) -> ExitCode {
        match self {
            Failure::File { path, errors } => {
                show::file_errors(&path, &errors);
                ExitCode::FAILURE
            }
            Failure::Findings { path, text, findings } => {
                show::findings(&path, &text, &findings);
                ExitCode::FAILURE
            }
            Failure::Refused(error) => {
                eprintln!("error: {error}");
                if let Some(remedy) = error.remedy() {
                    eprintln!("  help: {remedy}");
                }
                ExitCode::FAILURE
            }
            Failure::Other(error) => {
                eprintln!("error: {error:#}");
                ExitCode::from(2)
            }
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Refused(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::Other(error)
    }
}
