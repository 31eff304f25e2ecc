//! Faults at the border between a program and the kernel, for programs that use libc: the program stays as it is released, and a
//! small library that the loader puts before libc (`syscalls.c`) does what it is told.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::Folder;

/// The library, made once per test process; `None` without a C compiler.
fn library() -> Option<&'static PathBuf> {
    static LIBRARY: OnceLock<Option<(Folder, PathBuf)>> = OnceLock::new();
    let made = LIBRARY.get_or_init(|| {
        let folder = Folder::new("syscalls");
        let (source, library) = (folder.join("syscalls.c"), folder.join("syscalls.so"));
        std::fs::write(&source, include_str!("syscalls.c")).expect("write the library's source");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .args([&library, &source])
            .args(["-ldl"])
            .output()
            .ok()?;
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        Some((folder, library))
    });
    made.as_ref().map(|(_, library)| library)
}

/// What one program is told. It outlives its restarts.
#[derive(Debug)]
pub struct Syscalls {
    folder: Folder,
    orders: File,
}

impl Syscalls {
    /// `None` where there is no C compiler.
    pub fn new() -> Option<Syscalls> {
        library()?;
        let folder = Folder::new("orders");
        let orders = File::create(folder.join("orders")).expect("make the file of orders");
        orders.write_all_at(&[0; 24], 0).expect("write orders");
        Some(Syscalls { folder, orders })
    }

    /// For the environment of the program.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        let library = library().expect("it was made before");
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        [("LD_PRELOAD", text(library.clone())), ("HEADWATER_SYSCALLS", text(self.folder.join("orders")))]
    }

    fn order(&self, place: u64, number: i64) {
        self.orders.write_all_at(&number.to_ne_bytes(), place * 8).expect("write an order");
    }

    /// How far the program's wall clock is ahead.
    pub fn clock_off(&self, seconds: i64) {
        self.order(0, seconds);
    }

    /// kill -9 when the journal is about to be synced for the `n`th time from now on.
    pub fn kill_before_sync(&self, n: i64) {
        self.order(1, n);
    }

    /// kill -9 when that sync has succeeded, before anyone hears of it.
    pub fn kill_after_sync(&self, n: i64) {
        self.order(2, n);
    }
}
