//! Files of the journal's folder: names, creation, removal, the `synced` mark, and how I/O errors are told.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind as Io, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use headwater_model::{Error, ErrorKind, Offset, Result};

use super::Options;
use super::header::Header;

const SUFFIX: &str = ".segment";

pub(super) fn segment_path(dir: &Path, after: Offset) -> PathBuf {
    dir.join(format!("{:020}{SUFFIX}", after.0))
}

/// The segments in a folder, oldest first. Leftovers of an interrupted creation are removed.
pub(super) fn segments(dir: &Path) -> Result<Vec<Offset>> {
    let failed = |error| io_error("read journal folder", dir, error);
    let mut found = Vec::new();
    for file in fs::read_dir(dir).map_err(failed)? {
        let name = file.map_err(failed)?.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.ends_with(".new") {
            fs::remove_file(dir.join(name)).map_err(failed)?;
        } else if let Some(after) = name.strip_suffix(SUFFIX).and_then(|number| number.parse().ok()) {
            found.push(Offset(after));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Creates a segment of nothing but its header, on disk when this returns. A crash leaves all of it or none.
pub(super) fn create_segment(options: &Options, header: &Header) -> Result<(File, u64)> {
    let dir = &options.dir;
    let path = segment_path(dir, header.after);
    let temporary = path.with_extension("new");
    let failed = |error| io_error("create journal segment", &path, error);
    let bytes = header.encode()?;
    let create = || {
        options.may_write(&path, bytes.len() as u64)?;
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        sync_dir(dir)?;
        options.synced(&path, bytes.len() as u64)?;
        Ok(file)
    };
    let file = create().map_err(|error| {
        // An empty leftover costs nothing, but on a full disk every block counts.
        let _ = fs::remove_file(&temporary);
        failed(error)
    })?;
    Ok((file, bytes.len() as u64))
}

pub(super) fn open_segment(dir: &Path, after: Offset) -> Result<File> {
    let path = segment_path(dir, after);
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .map_err(|error| io_error("open journal segment", &path, error))
}

/// Removes a segment; gone for good when this returns.
pub(super) fn remove_segment(dir: &Path, after: Offset) -> Result<()> {
    let path = segment_path(dir, after);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != Io::NotFound => {
            return Err(io_error("remove journal segment", &path, error));
        }
        _ => {}
    }
    sync_dir(dir).map_err(|error| io_error("sync journal folder", dir, error))
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The file `synced`: a lower bound of what is on disk. Written after each sync but not synced itself: it is current
/// after a killed process, and may be old, or torn and then ignored, after a power cut. It is never ahead.
pub(super) struct SyncedMark(File);

impl SyncedMark {
    pub fn open(dir: &Path) -> Result<SyncedMark> {
        let path = dir.join("synced");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        Ok(SyncedMark(file.map_err(|error| io_error("open", &path, error))?))
    }

    /// Segment and bytes of it.
    pub fn read(&self) -> Option<(Offset, u64)> {
        let mut bytes = [0; 20];
        self.0.read_exact_at(&mut bytes, 0).ok()?;
        let (content, crc) = bytes.split_at(16);
        if crc32c::crc32c(content).to_le_bytes() != crc {
            return None;
        }
        let number = |at: usize| content[at..at + 8].iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
        Some((Offset(number(0)), number(8)))
    }

    pub fn write(&self, segment: Offset, len: u64) -> io::Result<()> {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&segment.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&len.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..16]);
        bytes[16..].copy_from_slice(&crc.to_le_bytes());
        self.0.write_all_at(&bytes, 0)
    }

    pub fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// A folder taken by one writer.
pub(super) struct Lock(File);

impl Drop for Lock {
    /// Said out loud: a child process that is just being started may still have a copy of the handle.
    fn drop(&mut self) {
        let _ = fs4::FileExt::unlock(&self.0);
    }
}

/// Takes the folder for one writer.
pub(super) fn lock(dir: &Path) -> Result<Lock> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| io_error("open", &path, error))?;
    match fs4::FileExt::try_lock(&file) {
        Ok(()) => Ok(Lock(file)),
        Err(fs4::TryLockError::WouldBlock) => {
            Err(Error::transient(format!("the journal in {} is open in another process", dir.display()))
                .with_remedy("Stop the other process, or give this one a data folder of its own."))
        }
        Err(fs4::TryLockError::Error(error)) => Err(io_error("lock", &path, error)),
    }
}

/// A full disk passes; a missing permission does not pass by itself.
pub(super) fn io_error(doing: &str, path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        Io::PermissionDenied | Io::ReadOnlyFilesystem | Io::NotADirectory => ErrorKind::Misconfigured,
        _ => ErrorKind::Transient,
    };
    let full = matches!(error.kind(), Io::StorageFull | Io::QuotaExceeded);
    let told = Error::new(kind, format!("{doing} {}", path.display())).with_cause(error);
    if full { told.with_remedy("Free space on this disk; Headwater goes on by itself.") } else { told }
}

pub(super) fn corrupt_at(path: &Path, position: u64, what: &str) -> Error {
    Error::corrupt(format!("journal segment {} is damaged at byte {position}: {what}", path.display()))
        .with_remedy(
            "Check the disk. Then remove the journal's folder: the stores are rebuilt from the source.",
        )
}
