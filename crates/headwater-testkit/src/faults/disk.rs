//! A small disk that can be filled: a tmpfs on a folder.
//!
//! Mounts are made only where nobody else sees them and they go with the test: in a mount namespace of the test run, which
//! `cargo xtask faults` gives it if it may (`HEADWATER_OWN_MOUNTS`).

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::Command;

/// Unmounted on drop.
#[derive(Debug)]
pub struct Disk(PathBuf);

impl Disk {
    /// What a machine lacks for it.
    pub fn missing() -> Option<&'static str> {
        std::env::var_os("HEADWATER_OWN_MOUNTS")
            .is_none()
            .then_some("CAP_SYS_ADMIN: a mount namespace of its own")
    }

    /// Makes the folder, which must not be there.
    pub fn at(folder: PathBuf, mebibytes: u32) -> Disk {
        std::fs::create_dir(&folder).expect("make the disk's folder");
        let size = format!("size={mebibytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&folder).status();
        assert!(mounted.expect("start mount").success(), "mount a tmpfs");
        Disk(folder)
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Until not one byte more can be written.
    pub fn fill(&self) {
        let mut file = std::fs::File::create(self.filler()).expect("make the filler");
        let mut piece = vec![1; 1 << 20];
        while !piece.is_empty() {
            match file.write_all(&piece) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => piece.truncate(piece.len() / 2),
                Err(error) => panic!("fill the disk: {error}"),
            }
        }
    }

    /// There is room again.
    pub fn free(&self) {
        std::fs::remove_file(self.filler()).expect("remove the filler");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
