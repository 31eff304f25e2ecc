//! The newest PostgreSQL installed here, and the template cluster that every test's cluster is a copy of.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{Gid, Uid, User, chown};

#[derive(Clone, Debug)]
pub struct Install {
    pub bin: PathBuf,
    pub version: String,
    /// Who the server runs as, if not as ourselves.
    user: Option<(Uid, Gid)>,
}

impl Install {
    #[track_caller]
    pub fn find() -> Install {
        static FOUND: OnceLock<Install> = OnceLock::new();
        FOUND.get_or_init(Install::look).clone()
    }

    fn look() -> Install {
        let mut folders: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
            .filter(|(_, bin)| bin.join("initdb").exists())
            .collect();
        folders.sort();
        let from_path =
            || std::env::split_paths(&std::env::var_os("PATH")?).find(|p| p.join("initdb").exists());
        let bin =
            folders.pop().map(|(_, bin)| bin).or_else(from_path).expect(
                "PostgreSQL is not installed: run `cargo xtask test`, or `apt-get install postgresql`",
            );
        let output =
            Command::new(bin.join("postgres")).arg("--version").output().expect("ask postgres its version");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text.split_ascii_whitespace().nth(2).unwrap_or("0").to_owned();
        let user = Uid::effective().is_root().then(|| {
            let user = User::from_name("postgres").ok().flatten();
            let user = user.expect("the user `postgres` is missing, and PostgreSQL does not run as root");
            (user.uid, user.gid)
        });
        Install { bin, version, user }
    }

    /// A program of this installation, to be run as the user the server runs as.
    pub fn command(&self, program: &str) -> Command {
        self.as_server(self.bin.join(program))
    }

    /// Any program, to be run as the user the server runs as.
    pub fn as_server(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        if let Some((uid, gid)) = self.user {
            command.uid(uid.as_raw()).gid(gid.as_raw());
        }
        command
    }

    /// Gives a file or folder of ours to the user the server runs as.
    pub fn own(&self, path: &Path) {
        if let Some((uid, gid)) = self.user {
            chown(path, Some(uid), Some(gid)).expect("give the folder to the user postgres");
        }
    }

    /// An initialised cluster that never ran, made once per machine and version.
    pub fn template(&self) -> PathBuf {
        // The number at the end grows whenever `init` changes.
        let cache = std::env::temp_dir().join(format!("headwater-testkit-{}", Uid::effective()));
        let template = cache.join(format!("postgres-{}-1", self.version));
        fs::create_dir_all(&cache).expect("make the cache folder");
        let lock = fs::File::create(cache.join("lock")).expect("open the cache's lock");
        // Other test processes may be here at the same time: one makes it, the others wait.
        let _lock =
            Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error).expect("lock the cache");
        if !template.exists() {
            let unfinished = cache.join("unfinished");
            let _ = fs::remove_dir_all(&unfinished);
            // The collation of a usual production database, so that a forgotten COLLATE "C" shows; the old
            // one for an installation built without ICU.
            if !self.init(&unfinished, &["--locale-provider=icu", "--icu-locale=en", "--locale=C.UTF-8"]) {
                let _ = fs::remove_dir_all(&unfinished);
                assert!(self.init(&unfinished, &["--locale=C.UTF-8"]), "initdb failed");
            }
            fs::rename(&unfinished, &template).expect("keep the template cluster");
        }
        template
    }

    /// Makes an empty cluster; `options` are more of `initdb`'s.
    pub fn init(&self, data: &Path, options: &[&str]) -> bool {
        fs::create_dir(data).expect("make the template's folder");
        self.own(data);
        self.command("initdb")
            .args([
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--no-sync",
                "--no-instructions",
            ])
            .args(options)
            .arg("-D")
            .arg(data)
            .current_dir("/")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("start initdb")
            .success()
    }
}
