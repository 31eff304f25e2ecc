//! What is wrong with a file, where, and what to do about it: plain data, rendered by whoever shows it.

use std::fmt;
use std::ops::Range;

/// One mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// The bytes of the text that are wrong.
    pub span: Range<usize>,
    /// What is wrong: lowercase, without a full stop.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// Every mistake in a file, in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileErrors {
    /// The text that the spans point into. Passwords that should not have been there are starred out, so that the
    /// text can be shown.
    pub text: String,
    /// Never empty.
    pub errors: Vec<FileError>,
}

impl fmt::Display for FileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:{}: {}", error.line, error.column, error.message)?;
            if let Some(remedy) = &error.remedy {
                write!(f, " ({remedy})")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for FileErrors {}

/// Line and column of a byte, both from 1, the column in characters.
pub fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
