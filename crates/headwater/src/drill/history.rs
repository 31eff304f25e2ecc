//! Reports of earlier drills, in the data folder: `drills/SECONDS-NAME.json` and the same as Markdown.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use headwater_control::drill::{Calibration, Report, markdown};

/// The oldest go.
const KEPT_MAX: usize = 100;

/// Beside the reports, and none.
const CALIBRATION: &str = "calibration";

fn folder(data: &Path) -> PathBuf {
    data.join("drills")
}

/// Keeps a report; where it lies as Markdown.
pub fn keep(data: &Path, report: &Report) -> anyhow::Result<PathBuf> {
    let folder = folder(data);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let name = format!("{:012}-{}", report.at_seconds, report.drill);
    let json = serde_json::to_vec_pretty(report).context("cannot write the report as JSON")?;
    let (text, machine) = (folder.join(format!("{name}.md")), folder.join(format!("{name}.json")));
    fs::write(&text, markdown(report)).with_context(|| format!("cannot write {}", text.display()))?;
    fs::write(&machine, json).with_context(|| format!("cannot write {}", machine.display()))?;
    for old in files(data).into_iter().rev().skip(KEPT_MAX) {
        let _ = fs::remove_file(old.with_extension("md"));
        let _ = fs::remove_file(old);
    }
    Ok(text)
}

/// Keeps what was measured of this machine; where it lies.
pub fn keep_calibration(data: &Path, calibration: &Calibration) -> anyhow::Result<PathBuf> {
    let folder = folder(data);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(CALIBRATION);
    let json = serde_json::to_vec_pretty(calibration).context("cannot write the calibration as JSON")?;
    fs::write(&path, json).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// What was measured of this machine, if it was.
pub fn calibration(data: &Path) -> anyhow::Result<Option<Calibration>> {
    let path = folder(data).join(CALIBRATION);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .with_context(|| format!("{} is damaged: calibrate again", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// At most `limit` reports, newest first. One that cannot be read is left out.
pub fn newest(data: &Path, limit: usize) -> Vec<Report> {
    let files = files(data).into_iter().rev().take(limit);
    files.filter_map(|path| serde_json::from_slice(&fs::read(path).ok()?).ok()).collect()
}

/// Oldest first.
fn files(data: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder(data)).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect();
    files.sort();
    files
}
