//! Reading the file from disk, with the environment and the files that it refers to.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use headwater_model::file::{File, References};

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
    let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => anyhow!(
            "there is no {} here: write one with `headwater init URL`, or name it with --file",
            path.display()
        ),
        _ => anyhow!("cannot read {}: {error}", path.display()),
    })?;
    File::load(&text, &Process { folder: folder_of(path) })
        .map_err(|errors| Failure::File { path: path.to_owned(), errors })
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
