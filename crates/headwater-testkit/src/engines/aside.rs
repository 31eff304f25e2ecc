//! A server that `cargo xtask test` has put into a folder of its own under target, together with the libraries that it needs: its
//! programs are run by the loader that lies there.

use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Debug)]
pub(super) struct Aside(PathBuf);

impl Aside {
    /// Beside the program that runs: in the target folder.
    pub fn find(folder: &str) -> Option<Aside> {
        let program = std::env::current_exe().expect("the path of the running test");
        let mut homes = program.ancestors().map(|home| home.join(folder));
        homes.find(|home| home.join("installed").is_file()).map(Aside)
    }

    pub fn at(folder: PathBuf) -> Aside {
        Aside(folder)
    }

    pub fn join(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// A program of the folder, with its own libraries.
    pub fn program(&self, program: impl AsRef<Path>) -> Command {
        let libraries = self.join("usr/lib/x86_64-linux-gnu");
        let mut command = Command::new(libraries.join("ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(libraries).arg(self.0.join(program));
        command
    }
}
