//! The incident log as readers see it: also while it is written to, and also when it is damaged.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use headwater_model::Result;
use serde::Serialize;

use super::chain::{Hash, Line, unseal};
use super::log::{Head, failed};
use crate::status::Incident;

/// Problems are listed up to here: the first ones say what happened.
const PROBLEMS_MAX: usize = 100;

/// Something about the log that only damage or somebody's hand explains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub file: String,
    /// From 1; 0 for the file or the log as a whole.
    pub line: u64,
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.what),
            line => write!(f, "{}, line {line}: {}", self.file, self.what),
        }
    }
}

pub(crate) struct FileRead {
    pub path: PathBuf,
    /// Up to the end of the last line that ends.
    pub whole_bytes: u64,
    pub torn_bytes: u64,
    /// Whether lines in it cannot be relied on; that its first one does not follow the file before is not its fault.
    pub hurt: bool,
}

/// Everything that lies in the folder.
#[derive(Default)]
pub struct Read {
    /// Oldest first; those of damaged lines are not among them.
    pub incidents: Vec<Incident>,
    pub problems: Vec<Problem>,
    /// Numbers of the oldest and the newest line; 0 if there is none.
    pub first_id: u64,
    pub last_id: u64,
    pub(crate) last_hash: Hash,
    pub(crate) files: Vec<FileRead>,
}

impl Read {
    pub fn files(&self) -> usize {
        self.files.len()
    }

    fn problem(&mut self, file: &str, line: u64, what: impl Into<String>) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { file: file.to_owned(), line, what: what.into() });
        }
    }

    /// Takes a line behind the ones before, if it belongs there.
    fn take(&mut self, file: &str, number: u64, line: Line) {
        let id = line.incident.id;
        if self.first_id == 0 {
            // What came before was rotated away: there is nothing to compare with.
            self.first_id = id;
        } else if id != self.last_id + 1 {
            let what = match id > self.last_id {
                true => format!("is number {id}, but {} comes next: lines are missing", self.last_id + 1),
                false => format!("is number {id} again, or at the wrong place"),
            };
            self.problem(file, number, what);
        } else if line.previous != self.last_hash {
            self.problem(file, number, "does not follow the line before: one of the two was made anew");
        }
        (self.last_id, self.last_hash) = (id.max(self.last_id), line.hash);
        self.incidents.push(line.incident);
    }
}

/// Reads and checks the log in `folder`; empty if there is none.
pub fn read(folder: &Path) -> Result<Read> {
    let mut read = Read::default();
    // Before the lines: a line that is written meanwhile is behind it.
    let head = match fs::read(folder.join("head")) {
        Ok(text) => Some(serde_json::from_slice::<Head>(&text).ok()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed("read", &folder.join("head"), error)),
    };
    let files = files(folder)?;
    let count = files.len();
    for (nth, (first, path)) in files.into_iter().enumerate() {
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            // Rotated away while we read.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && nth + 1 < count => continue,
            Err(error) => return Err(failed("read", &path, error)),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if read.last_id > 0 && first != read.last_id + 1 {
            read.problem(
                &name,
                0,
                format!("begins with number {first}, but {} comes next", read.last_id + 1),
            );
        }
        let mut problems = read.problems.len();
        for (number, line) in bytes[..whole].split_inclusive(|byte| *byte == b'\n').enumerate() {
            let number = number as u64 + 1;
            match unseal(&line[..line.len() - 1]) {
                Ok(line) => read.take(&name, number, line),
                Err(what) => read.problem(&name, number, what),
            }
            if number == 1 && read.files.last().is_some_and(|before| before.hurt) {
                problems = read.problems.len();
            }
        }
        let torn = bytes.len() - whole;
        if torn > 0 && nth + 1 < count {
            read.problem(&name, 0, "ends in the middle of a line, and is not the newest file");
        }
        let hurt = read.problems.len() > problems;
        read.files.push(FileRead { path, whole_bytes: whole as u64, torn_bytes: torn as u64, hurt });
    }
    match head {
        Some(Some(head)) if head.id > read.last_id => {
            let what =
                format!("is too short: number {} was written, the newest is {}", head.id, read.last_id);
            read.problem("the log", 0, what);
            // Numbers are not given twice.
            read.last_id = head.id;
            if let Some(newest) = read.files.last_mut() {
                newest.hurt = true;
            }
        }
        Some(None) => read.problem("head", 0, "cannot be read"),
        _ => {}
    }
    Ok(read)
}

/// The log's files with the number in their name, oldest first.
pub(super) fn files(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list", folder, error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| failed("list", folder, error))?.path();
        let first = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jsonl")?.parse().ok());
        if let Some(first) = first {
            files.push((first, path));
        }
    }
    files.sort();
    Ok(files)
}
