//! What a look found: how bad, where in the file, what, and what to do.

use std::ops::Range;

use headwater_model::file::{File, FileError, line_and_column};
use headwater_model::{Error, Risk, Severity};
use serde::Serialize;

/// One thing that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    #[serde(serialize_with = "severity")]
    pub severity: Severity,
    /// In the file, from 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// In the file's text, in bytes.
    pub span: Range<usize>,
    /// What is wrong: lowercase, without a full stop.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Finding {
    /// A finding about what stands at a dotted path of the file (`views.book.from`).
    pub fn at(file: &File, path: &str, message: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding::new(file.locate(path), message, remedy)
    }

    /// A finding about part of the string at a path: `len` bytes from `offset`.
    pub fn within(
        file: &File,
        path: &str,
        text: &str,
        part: Range<usize>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding::new(file.locate_within(path, text, part), message, remedy)
    }

    /// A finding about a part of some other text than the file's.
    pub fn in_text(
        text: &str,
        part: Range<usize>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        let (line, column) = line_and_column(text, part.start);
        let remedy = Some(remedy.into()).filter(|remedy| !remedy.is_empty());
        Finding { severity: Severity::Error, line, column, span: part, message: message.into(), remedy }
    }

    fn new(place: FileError, message: impl Into<String>, remedy: impl Into<String>) -> Finding {
        let FileError { line, column, span, .. } = place;
        let remedy = Some(remedy.into()).filter(|remedy| !remedy.is_empty());
        Finding { severity: Severity::Error, line, column, span, message: message.into(), remedy }
    }

    /// What an engine refused. `section` is the part of the file that configured the engine; a setting that the error
    /// names in backticks is pointed at.
    pub fn refused(file: &File, section: &str, error: &Error) -> Finding {
        let message = error.to_string();
        let remedy = error.remedy().unwrap_or_default();
        let named = message
            .split('`')
            .skip(1)
            .step_by(2)
            .find(|word| **word != *"url" && file.places.get(&format!("{section}.{word}")).is_some());
        match named {
            Some(word) => Finding::new(file.locate_entry(&format!("{section}.{word}")), &*message, remedy),
            None => Finding::at(file, &format!("{section}.url"), &*message, remedy),
        }
    }

    /// What an engine says about itself.
    pub fn risk(file: &File, path: &str, risk: &Risk) -> Finding {
        Finding::at(file, path, &risk.what, &risk.remedy).with(risk.severity)
    }

    #[must_use]
    pub fn with(mut self, severity: Severity) -> Finding {
        self.severity = severity;
        self
    }
}

impl From<FileError> for Finding {
    fn from(error: FileError) -> Finding {
        let (message, remedy) = (error.message.clone(), error.remedy.clone().unwrap_or_default());
        Finding::new(error, message, remedy)
    }
}

fn severity<S: serde::Serializer>(severity: &Severity, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    })
}
