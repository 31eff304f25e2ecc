//! Files that whoever reads them finds whole: the new one, or the one before.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Writes a file, and the folders that it is in, in place of what is there.
pub fn replace(path: &Path, text: &str) -> Result<()> {
    let doing = || format!("cannot write {}", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(doing)?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".headwater-new");
    let new = path.with_file_name(name);
    fs::write(&new, text).with_context(doing)?;
    fs::rename(&new, path).with_context(doing)
}
