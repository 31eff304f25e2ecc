//! The simulated disk: files in memory, of which it is known how much is safe; and what a crash leaves of a folder.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use headwater_flow::machine::Disk;
use headwater_testkit::simulated::{Mischief, World};

pub struct SimulatedDisk {
    world: World,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    safe: BTreeMap<PathBuf, u64>,
    full: bool,
    fails_one_in: u64,
    slow_ms_max: u64,
}

impl SimulatedDisk {
    pub fn new(world: &World) -> SimulatedDisk {
        SimulatedDisk { world: world.clone(), state: Mutex::default() }
    }

    pub fn full(&self, full: bool) {
        self.state.lock().unwrap().full = full;
    }

    /// Syncs fail, one in so many (0: none), and take up to so long.
    pub fn weather(&self, fails_one_in: u64, slow_ms_max: u64) {
        let mut state = self.state.lock().unwrap();
        (state.fails_one_in, state.slow_ms_max) = (fails_one_in, slow_ms_max);
    }

    /// What a killed process leaves: everything that was written.
    pub fn after_kill(&self, from: &Path, to: &Path) {
        copy(from, to);
    }

    /// What a power loss leaves: what is safe, and of the rest anything. Torn pages too.
    pub fn after_power_loss(&self, from: &Path, to: &Path) {
        copy(from, to);
        for folder in ["journal", "derived"] {
            for path in segments(&to.join(folder)) {
                let was = from.join(folder).join(path.file_name().unwrap());
                let safe = self.state.lock().unwrap().safe.get(&was).copied();
                // One that was not opened is as it was.
                if let Some(safe) = safe {
                    self.tear(&path, safe);
                }
            }
            let mark = to.join(folder).join("synced");
            if self.world.one_in(3) && mark.exists() {
                OpenOptions::new().write(true).open(&mark).unwrap().write_all_at(&[0xaa; 7], 3).unwrap();
            }
        }
        self.lose_commits(&to.join("mirror.db-wal"), &to.join("mirror.db"));
    }

    fn tear(&self, path: &Path, safe: u64) {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        let len = file.metadata().unwrap().len();
        if len <= safe {
            return;
        }
        let left = safe + self.world.below(len - safe + 1);
        file.set_len(left).unwrap();
        if left > safe && self.world.one_in(2) {
            // Blocks that were given to the file and never written.
            let from = safe + self.world.below(left - safe);
            file.write_all_at(&vec![0; (left - from) as usize], from).unwrap();
        }
        self.world.note("torn", len - left);
    }

    /// SQLite tells which commits are safe: those that count as `synced`, and all before them. Later ones may be lost.
    fn lose_commits(&self, wal: &Path, database: &Path) {
        let Ok(all) = fs::read(wal) else { return };
        let whole = synced_commits(database, &all);
        for _ in 0..3 {
            let cut = self.world.below(all.len() as u64 + 1) as usize;
            if synced_commits(database, &all[..cut]) == whole {
                fs::write(wal, &all[..cut]).unwrap();
                self.world.note("mirror torn", (all.len() - cut) as u64);
                return;
            }
        }
    }

    /// Changes one bit of what is safe. False if there is nothing.
    pub fn flip(&self, folder: &Path) -> bool {
        let kind = self.world.pick(&["journal", "derived"]);
        let paths = segments(&folder.join(kind));
        if paths.is_empty() {
            return false;
        }
        let path = &paths[self.world.below(paths.len() as u64) as usize];
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let len = file.metadata().unwrap().len();
        let at = self.world.below(len);
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        byte[0] ^= 1 << self.world.below(8);
        file.write_all_at(&byte, at).unwrap();
        self.world.note("flipped", at);
        true
    }
}

/// Of a copy: opening a database moves its log into it.
fn synced_commits(database: &Path, wal: &[u8]) -> Option<i64> {
    let copy = tempfile::tempdir_in(database.parent()?).unwrap();
    let path = copy.path().join("mirror.db");
    fs::copy(database, &path).unwrap();
    fs::write(copy.path().join("mirror.db-wal"), wal).unwrap();
    let connection = rusqlite::Connection::open(&path).ok()?;
    connection.query_row("SELECT value FROM meta WHERE name = 'synced'", [], |row| row.get(0)).ok()
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "segment"))
        .collect();
    paths.sort();
    paths
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let Ok(files) = fs::read_dir(from) else { return };
    for file in files {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy(&file.path(), &target);
        } else {
            fs::copy(file.path(), target).unwrap();
        }
    }
}

impl Disk for SimulatedDisk {
    fn write(&self, _: &Path, _: u64) -> io::Result<()> {
        match self.state.lock().unwrap().full {
            true => Err(io::Error::from(io::ErrorKind::StorageFull)),
            false => Ok(()),
        }
    }

    fn sync_takes(&self) -> Duration {
        self.world.note("sync begins", 0);
        let most = self.state.lock().unwrap().slow_ms_max;
        Duration::from_millis(self.world.below(most + 1))
    }

    fn sync(&self, path: &Path, len: u64) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        self.world.note("sync", len);
        if self.world.one_in(state.fails_one_in) {
            self.world.note("sync failed", len);
            return Err(io::Error::other("simulated: the disk fails"));
        }
        if !self.world.is(Mischief::DiskLies) || !state.safe.contains_key(path) {
            state.safe.insert(path.to_owned(), len);
        }
        Ok(())
    }
}
