//! A folder with a `headwater.toml`, and the command run in it.

use std::path::PathBuf;
use std::process::Command;

use headwater_testkit::Folder;

pub struct Site {
    folder: Folder,
    env: Vec<(String, String)>,
}

pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Site {
    pub fn new(name: &str) -> Site {
        Site { folder: Folder::new(name), env: Vec::new() }
    }

    pub fn with_file(name: &str, text: &str) -> Site {
        let site = Site::new(name);
        site.write("headwater.toml", text);
        site
    }

    pub fn env(mut self, name: &str, value: &str) -> Site {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        let output = Command::new(env!("CARGO_BIN_EXE_headwater"))
            .args(args)
            .current_dir(self.folder.path())
            .env_remove("HEADWATER_FILE")
            .env_remove("PGPASSWORD")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    #[track_caller]
    pub fn expect(self, code: i32) -> Ran {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Whether one finding says all of this: its severity, its message, `line:column` and its remedy.
    #[track_caller]
    pub fn says(&self, parts: &[&str]) {
        let whole = format!("\n{}", self.stderr.replace("\r", ""));
        let found = whole.split("\n\n").any(|finding| parts.iter().all(|part| finding.contains(part)));
        assert!(found, "no finding says {parts:?} in\n{}", self.stderr);
    }
}
