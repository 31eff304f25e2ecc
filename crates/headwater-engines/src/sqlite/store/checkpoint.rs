//! Moves the write-ahead log into the store's file beside the writer, so that a step seldom waits for it.
//!
//! Without this every few thousand pages some commit would do the whole work. The writer still has a limit of its own
//! (`wal_autocheckpoint`): by then nearly all is moved, its own checkpoint finds little to do, and the log starts again
//! from its beginning, which bounds its size.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use headwater_model::{Error, Result};

use crate::sqlite::connection::Opened;

/// Changes between two checkpoints: a page each at worst.
const CHANGES: usize = 4000;

pub(super) struct Checkpointer {
    wake: SyncSender<()>,
    changes: usize,
}

impl Checkpointer {
    /// Starts the thread; it ends when this is dropped.
    pub(super) fn start(path: &Path) -> Result<Checkpointer> {
        let (wake, woken) = sync_channel(1);
        let path = path.to_owned();
        std::thread::Builder::new()
            .name("sqlite checkpoint".to_owned())
            .spawn(move || run(&path, &woken))
            .map_err(|e| Error::transient("start the thread that makes checkpoints").with_cause(e))?;
        Ok(Checkpointer { wake, changes: 0 })
    }

    pub(super) fn committed(&mut self, changes: usize) {
        self.changes += changes;
        if self.changes >= CHANGES {
            self.changes = 0;
            // Full means that one is wanted already.
            let _ = self.wake.try_send(());
        }
    }
}

fn run(path: &Path, woken: &Receiver<()>) {
    let mut opened = None;
    while woken.recv().is_ok() {
        let current = opened.take().filter(Opened::is_current);
        // What fails here the writer does itself, and reports.
        let Some(file) = current.or_else(|| Opened::existing(path).ok()) else { continue };
        let _ = file.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        opened = Some(file);
    }
}
