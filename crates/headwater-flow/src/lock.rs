//! One instance per data folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use headwater_model::{Error, Result};

/// Held until dropped, or until the process ends in whatever way: the kernel owns the lock.
pub(crate) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// `None` while another process holds it.
    pub fn try_take(folder: &Path) -> Result<Option<FolderLock>> {
        let path = folder.join("instance.lock");
        let failed = |error| {
            Error::misconfigured(format!("lock the data folder by {}", path.display())).with_cause(error)
        };
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(FolderLock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}
