//! `headwater plan --emit`: files into a folder. Owns: what may be replaced there. Not: what the files say.
//!
//! Invariant: a file that somebody else wrote, or changed, is left as it is, and then none is written. What was written is noted in
//! [`NOTES`], before and after: a run that was killed in between can be repeated.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use headwater_control::plan::{Emitted, Format};
use headwater_model::Error;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::failure::Failure;
use crate::whole_files::replace;

/// What was written into a folder.
const NOTES: &str = ".headwater-emitted.json";

pub struct Order {
    pub format: Format,
    pub folder: PathBuf,
}

#[derive(Default, Serialize, Deserialize)]
struct Notes {
    /// By path: digests of what we wrote there, one unless a run was killed.
    files: BTreeMap<String, Vec<String>>,
}

impl Order {
    /// `terraform infra`; a folder means what it means where the command was given.
    pub fn read(values: &[String]) -> Result<Order, Failure> {
        let [format, folder] = values else {
            return Err(anyhow!("--emit takes a format and a folder").into());
        };
        let format = match format.as_str() {
            "terraform" => Format::Terraform,
            "cloudformation" => Format::CloudFormation,
            other => {
                return Err(Error::misconfigured(format!("--emit: there is no format `{other}`"))
                    .with_remedy("write --emit terraform DIR or --emit cloudformation DIR")
                    .into());
            }
        };
        let folder = std::path::absolute(folder).with_context(|| format!("--emit: {folder}"))?;
        Ok(Order { format, folder })
    }
}

/// Writes all of them or none, removes what was written before and is not among them, and says so.
pub fn write(folder: &Path, files: &[Emitted]) -> Result<String, Failure> {
    let mut notes = noted(folder)?;
    let ours = |path: &str, notes: &Notes| -> Result<Option<bool>, Failure> {
        let Some(bytes) = there(&folder.join(path))? else { return Ok(None) };
        let known = notes.files.get(path);
        Ok(Some(known.is_some_and(|known| known.contains(&digest(&bytes)))))
    };
    let mut foreign = Vec::new();
    for file in files {
        // What is already as it should be is nobody's loss.
        let same = there(&folder.join(&file.path))?.is_some_and(|bytes| bytes == file.text.as_bytes());
        if ours(&file.path, &notes)? == Some(false) && !same {
            foreign.push(file.path.as_str());
        }
    }
    if !foreign.is_empty() {
        return Err(Error::misconfigured(format!(
            "{}: not written by --emit, or changed since: {}; nothing was written",
            folder.display(),
            foreign.join(", ")
        ))
        .with_remedy("emit into an empty folder and compare, or move these files away")
        .into());
    }
    let mut old: Vec<(String, bool)> = Vec::new();
    for path in notes.files.keys().filter(|path| files.iter().all(|file| file.path != **path)) {
        if let Some(is_ours) = ours(path, &notes)? {
            old.push((path.clone(), is_ours));
        }
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for file in files {
        notes.files.entry(file.path.clone()).or_default().push(digest(file.text.as_bytes()));
    }
    note(folder, &notes)?;
    let mut out = String::new();
    for file in files {
        replace(&folder.join(&file.path), &file.text)?;
        let _ = writeln!(out, "wrote    {}", folder.join(&file.path).display());
    }
    let mut notes = Notes::default();
    for file in files {
        notes.files.insert(file.path.clone(), vec![digest(file.text.as_bytes())]);
    }
    for (path, is_ours) in old {
        let whole = folder.join(&path);
        if is_ours {
            fs::remove_file(&whole).with_context(|| format!("cannot remove {}", whole.display()))?;
            let _ = writeln!(out, "removed  {}: this plan has no use for it", whole.display());
        } else {
            let _ = writeln!(
                out,
                "left     {}: this plan has no use for it, but it was changed",
                whole.display()
            );
        }
    }
    note(folder, &notes)?;
    let _ = writeln!(out, "\nRead {} first.", folder.join("README.md").display());
    Ok(out)
}

fn noted(folder: &Path) -> Result<Notes, Failure> {
    let path = folder.join(NOTES);
    let Some(bytes) = there(&path)? else { return Ok(Notes::default()) };
    serde_json::from_slice(&bytes).map_err(|error| {
        Error::misconfigured(format!("{} does not read: {error}", path.display()))
            .with_remedy("it says which files are ours: emit into another folder")
            .into()
    })
}

fn note(folder: &Path, notes: &Notes) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(notes).context("cannot write down what was written")?;
    replace(&folder.join(NOTES), &format!("{text}\n"))?;
    Ok(())
}

fn there(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(anyhow!(error).context(format!("cannot read {}", path.display())).into()),
    }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
