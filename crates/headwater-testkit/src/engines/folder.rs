//! A temporary folder that goes away with the process that made it, together with the engine in it.
//!
//! A test run that is killed runs no `Drop`. So each folder has a watchdog: a shell that waits for the end of a pipe
//! only this process holds. When the pipe ends, it kills the engine whose pid lies in `engine.pid`, and a server that another
//! program started there (only if that process still works in this folder: the pid may have been given to somebody else),
//! and removes the folder.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

const WATCHDOG: &str = r#"
trap '' INT TERM HUP
dir=$1
read -r _
for file in engine.pid data/postmaster.pid; do
    if pid=$(head -n 1 "$dir/$file" 2>/dev/null) && [ -n "$pid" ]; then
        case "$(readlink "/proc/$pid/cwd")" in
        "$dir"*)
            children=$(cat "/proc/$pid/task/"*/children 2>/dev/null)
            kill -KILL "$pid" $children 2>/dev/null
            ;;
        esac
    fi
done
for _ in 1 2 3 4 5; do rm -rf "$dir" 2>/dev/null && break; sleep 0.2; done
"#;

/// A folder under the system's temporary folder, removed on drop and also when this process is killed.
pub struct Folder {
    path: PathBuf,
    watchdog: Child,
    pipe: Option<ChildStdin>,
}

impl Folder {
    pub fn new(name: &str) -> Folder {
        let path = tempfile::Builder::new()
            .prefix(&format!("headwater-{name}-"))
            .tempdir()
            .expect("make a temporary folder")
            .keep()
            .canonicalize()
            .expect("resolve the temporary folder");
        let mut watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "sh"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            // Out of reach of a Ctrl-C on the terminal, which must not stop the one who cleans up.
            .process_group(0)
            .spawn()
            .expect("start the watchdog shell");
        let pipe = watchdog.stdin.take();
        Folder { path, watchdog, pipe }
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

impl std::fmt::Debug for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.path.fmt(f)
    }
}
