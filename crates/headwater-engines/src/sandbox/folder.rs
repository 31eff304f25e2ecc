//! A temporary folder that goes away with the process that made it, together with every process that was started in it.
//!
//! Who is killed runs no destructor: so each folder has a watchdog, a shell that waits for the end of a pipe that only this
//! process holds, then kills the processes whose numbers lie in `*.pid` (if they still work in this folder: a number may have
//! been given to somebody else) and removes the folder.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::{env, fs};

use headwater_model::Result;

use super::failed;

const WATCHDOG: &str = r#"
trap '' INT TERM HUP
dir=$1
read -r _
for file in "$dir"/*.pid; do
    pid=$(cat "$file" 2>/dev/null) || continue
    case "$(readlink "/proc/$pid/cwd")" in
    "$dir"*)
        children=$(cat "/proc/$pid/task/"*/children 2>/dev/null)
        kill -KILL "$pid" $children 2>/dev/null
        ;;
    esac
done
for _ in 1 2 3 4 5; do rm -rf "$dir" 2>/dev/null && break; sleep 0.2; done
"#;

pub struct Folder {
    path: PathBuf,
    watchdog: Child,
    pipe: Option<ChildStdin>,
}

impl Folder {
    pub fn new() -> Result<Folder> {
        let temp = env::temp_dir();
        let mut nth = 0;
        let path = loop {
            let path = temp.join(format!("headwater-sandbox-{}-{nth}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => break path,
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && nth < 10_000 => nth += 1,
                Err(error) => return Err(failed(format_args!("create {}", path.display()), error)),
            }
        };
        let path = path.canonicalize().map_err(|error| failed("enter the sandbox's folder", error))?;
        // An engine that does not run as us has to get to its own folder in it.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o711))
            .map_err(|error| failed("open the sandbox's folder", error))?;
        let mut watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "sh"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            // A Ctrl-C on the terminal must not stop the one who cleans up.
            .process_group(0)
            .spawn()
            .map_err(|error| failed("start the sandbox's watchdog", error))?;
        let pipe = watchdog.stdin.take();
        Ok(Folder { path, watchdog, pipe })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.watchdog.wait();
    }
}
