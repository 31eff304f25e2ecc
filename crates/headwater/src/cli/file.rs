//! Reading the file from disk, with the environment and the files that it refers to.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use headwater_model::file::{File, FileError, FileErrors, References, line_and_column};

use super::failure::Failure;

/// The environment and the disk of this process.
pub struct Process {
    /// Relative paths of secrets are relative to the file that names them.
    folder: PathBuf,
}

impl References for Process {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &Path) -> Result<String, String> {
        std::fs::read_to_string(self.folder.join(path)).map_err(|error| error.to_string())
    }
}

/// Reads and parses the file, and moves into its folder: every relative path in it (`data`, `sqlite:` URLs) is relative
/// to the file, wherever the command was started.
pub fn load(path: &Path) -> Result<File, Failure> {
    let file = read(path)?;
    let folder = folder_of(path);
    std::env::set_current_dir(&folder).with_context(|| format!("cannot enter {}", folder.display()))?;
    Ok(file)
}

fn read(path: &Path) -> Result<File, Failure> {
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => anyhow!(
            "there is no {} here: write one with `headwater init URL`, or name it with --file",
            path.display()
        ),
        _ => anyhow!("cannot read {}: {error}", path.display()),
    })?;
    let wrong = |errors| Failure::File { path: path.to_owned(), errors };
    let text = String::from_utf8(bytes).map_err(|error| wrong(not_utf8(&error)))?;
    File::load(&text, &Process { folder: folder_of(path) }).map_err(wrong)
}

fn not_utf8(error: &std::string::FromUtf8Error) -> FileErrors {
    let at = error.utf8_error().valid_up_to();
    let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
    let (line, column) = line_and_column(&text, at);
    let error = FileError {
        line,
        column,
        span: at..at + char::REPLACEMENT_CHARACTER.len_utf8(),
        message: "the file is not UTF-8 text".to_owned(),
        remedy: Some("save it as UTF-8".to_owned()),
    };
    FileErrors { text, errors: vec![error] }
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
