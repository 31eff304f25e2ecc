//! Why a command could not do its work, and how that is said.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use headwater_control::Finding;
use headwater_model::file::FileErrors;
use headwater_model::{Error, Severity};

use super::show;

pub enum Failure {
    /// The file is wrong.
    File { path: PathBuf, errors: FileErrors },
    /// The file does not fit the live source.
    Findings { path: PathBuf, text: Arc<str>, findings: Vec<Finding> },
    /// Something below refused, with its remedy.
    Refused(Error),
    /// An engine could not be asked: nothing is known of what it would have answered.
    Unasked(Error),
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
                refused(&error);
                ExitCode::FAILURE
            }
            Failure::Unasked(error) => {
                refused(&error);
                ExitCode::from(2)
            }
            Failure::Other(error) => {
                eprintln!("error: {error:#}");
                ExitCode::from(2)
            }
        }
    }
}

fn refused(error: &Error) {
    eprintln!("error: {error}");
    if let Some(remedy) = error.remedy() {
        eprintln!("  help: {remedy}");
    }
}

/// In one line, for logs and readers.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::File { errors, .. } => write!(f, "{errors}"),
            Failure::Findings { findings, .. } => {
                let wrong = findings.iter().filter(|finding| finding.severity == Severity::Error);
                let said: Vec<_> = wrong.map(|finding| &*finding.message).collect();
                write!(
                    f,
                    "the file does not fit the source (`headwater check` says where): {}",
                    said.join("; ")
                )
            }
            Failure::Refused(error) | Failure::Unasked(error) => match error.remedy() {
                Some(remedy) => write!(f, "{error} ({remedy})"),
                None => write!(f, "{error}"),
            },
            Failure::Other(error) => write!(f, "{error:#}"),
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
