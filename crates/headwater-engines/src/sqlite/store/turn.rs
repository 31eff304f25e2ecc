//! Steps of several sources in one file, one after the other: SQLite lets one write at a time, and whoever waits for it by itself
//! gives up after a while, which a large step may take.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Mutex as Turn;

static TURNS: Mutex<Option<HashMap<PathBuf, Weak<Turn<()>>>>> = Mutex::new(None);

/// What this process takes turns by at this file.
pub(super) fn of(path: &Path) -> Arc<Turn<()>> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    let turns = turns.get_or_insert_default();
    turns.retain(|_, turn| turn.strong_count() > 0);
    if let Some(turn) = turns.get(&path).and_then(Weak::upgrade) {
        return turn;
    }
    let turn = Arc::new(Turn::new(()));
    turns.insert(path, Arc::downgrade(&turn));
    turn
}
