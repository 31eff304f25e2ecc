//! The incident log's writer: lines appended and synced, files rotated, what a crash left half written cut off.
//!
//! Files are named by their first line's number and are never written to again once the next one is begun. `head` names
//! the newest line: a log whose newest lines were taken away is found to be too short.
//!
//! Invariant: a line is appended behind the newest whole line only, and only by whoever holds the data folder's lock.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use headwater_model::{Error, Result};
use serde::{Deserialize, Serialize};

use super::chain::{Hash, seal};
use super::read::{self, Problem};
use crate::status::Incident;

/// A file is at most about so large, and so many are kept.
const FILE_BYTES_MAX: u64 = 1 << 20;
const FILES_MAX: usize = 16;

#[derive(Serialize, Deserialize)]
pub(super) struct Head {
    pub id: u64,
    pub hash: String,
}

/// What opening found that should be told.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Found {
    /// Bytes of a line that a crash left half written; they are gone.
    pub torn_bytes: u64,
    pub problems: Vec<Problem>,
}

pub(crate) struct Log {
    folder: PathBuf,
    file: File,
    bytes: u64,
    file_bytes_max: u64,
    /// Of the newest line.
    id: u64,
    hash: Hash,
}

impl Log {
    /// Opens the log in `folder`, which is created if it is not there. Damage is no reason not to go on: it is left as it
    /// is, for whoever looks, and a new file begins behind it.
    pub fn open(folder: &Path) -> Result<(Log, Found)> {
        fs::create_dir_all(folder).map_err(|error| failed("create", folder, error))?;
        let read = read::read(folder)?;
        let mut found = Found::default();
        let (id, hash) = (read.last_id, read.last_hash);
        let newest = read.files.last().filter(|newest| !newest.hurt);
        if let Some(newest) = newest.filter(|newest| newest.torn_bytes > 0) {
            found.torn_bytes = newest.torn_bytes;
            let file = OpenOptions::new()
                .write(true)
                .open(&newest.path)
                .map_err(|e| failed("open", &newest.path, e))?;
            file.set_len(newest.whole_bytes)
                .and_then(|()| file.sync_all())
                .map_err(|e| failed("cut", &newest.path, e))?;
        }
        let path = match newest {
            Some(newest) => newest.path.clone(),
            // What was told of when a file was begun behind it is not told of again.
            None => {
                found.problems = read.problems;
                path_of(folder, id + 1)
            }
        };
        let file = append_to(&path)?;
        let bytes = file.metadata().map_err(|error| failed("look at", &path, error))?.len();
        let log = Log { folder: folder.to_owned(), file, bytes, file_bytes_max: FILE_BYTES_MAX, id, hash };
        Ok((log, found))
    }

    /// Durable when this returns. Numbers the incidents.
    pub fn append(&mut self, incidents: &mut [Incident]) -> Result<()> {
        if incidents.is_empty() {
            return Ok(());
        }
        if self.bytes > self.file_bytes_max {
            self.rotate()?;
        }
        let (mut id, mut hash, mut text) = (self.id, self.hash, String::new());
        for incident in incidents.iter_mut() {
            let (line, sealed) = seal(id + 1, hash, incident)?;
            (id, hash) = (id + 1, sealed);
            incident.id = id;
            text.push_str(&line);
        }
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // What was half written would stand before the next line.
            let _ = self.file.set_len(self.bytes);
            return Err(failed("write to", &self.folder, error));
        }
        (self.id, self.hash) = (id, hash);
        self.bytes += text.len() as u64;
        self.mark()
    }

    fn rotate(&mut self) -> Result<()> {
        let path = path_of(&self.folder, self.id + 1);
        self.file = append_to(&path)?;
        self.bytes = 0;
        let files = read::files(&self.folder)?;
        for (_, old) in files.iter().rev().skip(FILES_MAX) {
            fs::remove_file(old).map_err(|error| failed("remove", old, error))?;
        }
        Ok(())
    }

    /// Notes the newest line beside the log. Written whole, then renamed: never half.
    fn mark(&self) -> Result<()> {
        let head = Head { id: self.id, hash: self.hash.to_string() };
        let text = serde_json::to_vec(&head)
            .map_err(|error| Error::bug("the head cannot be written as JSON").with_cause(error))?;
        let (path, fresh) = (self.folder.join("head"), self.folder.join("head.new"));
        let written = File::create(&fresh)
            .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_data()))
            .and_then(|()| fs::rename(&fresh, &path));
        written.map_err(|error| failed("write", &path, error))
    }
}

fn append_to(path: &Path) -> Result<File> {
    OpenOptions::new().create(true).append(true).open(path).map_err(|error| failed("open", path, error))
}

pub(super) fn path_of(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}.jsonl"))
}

pub(super) fn failed(doing: &str, path: &Path, error: std::io::Error) -> Error {
    Error::misconfigured(format!("{doing} the incident log {}", path.display()))
        .with_cause(error)
        .with_remedy("make the data folder writable, with room for 16 MiB of incidents")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::status::IncidentKind;

    fn some(n: i64) -> Incident {
        Incident::new(n, "store near", IncidentKind::Failed, &format!("refused {n}"))
    }

    fn write(folder: &Path, range: std::ops::Range<i64>) -> Found {
        let (mut log, found) = Log::open(folder).unwrap();
        for n in range {
            log.append(&mut [some(n)]).unwrap();
        }
        found
    }

    #[test]
    fn a_log_goes_on_after_reopening_and_a_tail_torn_at_any_byte_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(write(dir.path(), 0..3), Found::default());
        assert_eq!(write(dir.path(), 3..4), Found::default());
        let path = path_of(dir.path(), 1);
        let whole = fs::read(&path).unwrap();
        let third = whole.iter().enumerate().filter(|(_, b)| **b == b'\n').nth(2).unwrap().0 + 1;
        // As a crash in the middle of an append leaves it: the head is not moved yet.
        let before = read::read(dir.path()).unwrap().incidents[2].clone();
        for cut in third..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let line = whole[..third].split(|b| *b == b'\n').nth(2).unwrap();
            let hash = super::super::chain::unseal(line).unwrap().hash;
            fs::write(dir.path().join("head"), format!("{{\"id\":3,\"hash\":\"{hash}\"}}")).unwrap();
            let (mut log, found) = Log::open(dir.path()).unwrap();
            assert_eq!((found.torn_bytes, found.problems.len()), ((cut - third) as u64, 0));
            log.append(&mut [some(9)]).unwrap();
            let read = read::read(dir.path()).unwrap();
            assert_eq!((read.incidents.len(), &read.problems[..]), (4, &[][..]), "cut at {cut}");
            assert_eq!((&read.incidents[2], &*read.incidents[3].cause), (&before, "refused 9"));
        }
    }

    #[test]
    fn files_are_rotated_the_chain_goes_on_and_the_oldest_leave() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = Log::open(dir.path()).unwrap();
        log.file_bytes_max = 2_000;
        for n in 0..400 {
            log.append(&mut [some(n)]).unwrap();
        }
        let read = read::read(dir.path()).unwrap();
        assert_eq!(read.problems, []);
        assert_eq!(read.files.len(), FILES_MAX);
        assert!(read.first_id > 1 && read.last_id == 400, "{} to {}", read.first_id, read.last_id);
        assert_eq!(read.incidents.len() as u64, 401 - read.first_id);
    }

    /// Everything that can be done to the files without making the chain anew is found, and nothing panics.
    #[test]
    fn damage_is_named_and_the_log_goes_on_behind_it() {
        let lines =
            |bytes: &[u8]| bytes.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
        type Harm = fn(&mut Vec<Vec<u8>>);
        let harms: [(&str, Harm); 6] = [
            ("line 2", |lines| lines[1][40] ^= 4),
            ("line 2", |lines| drop(lines.remove(1))),
            ("line 3", |lines| lines.swap(2, 3)),
            ("line 3", |lines| lines.insert(2, b"{\"id\":3}\n".to_vec())),
            ("too short", |lines| drop(lines.pop())),
            ("line 1", |lines| lines[0] = vec![0; 100]),
        ];
        for (named, harm) in harms {
            let dir = tempfile::tempdir().unwrap();
            write(dir.path(), 0..6);
            let path = path_of(dir.path(), 1);
            let mut all = lines(&fs::read(&path).unwrap());
            harm(&mut all);
            fs::write(&path, all.concat()).unwrap();
            let problems = read::read(dir.path()).unwrap().problems;
            assert!(!problems.is_empty(), "{named}");
            assert!(problems[0].to_string().contains(named), "{named}: {}", problems[0]);
            let found = write(dir.path(), 10..12);
            assert_eq!(found.problems, problems, "{named}");
            let after = read::read(dir.path()).unwrap();
            assert!(after.incidents.iter().any(|incident| incident.cause == "refused 11"), "{named}");
            assert!(!after.problems.is_empty(), "{named}: what was found stays to be seen");
            assert_eq!(fs::read(&path).unwrap(), all.concat(), "{named}: evidence is left alone");
        }
    }
}
