//! Counts groups of rankings again: the way from verification, which finds groups that are not what the mirror's rows make of
//! them, to the deriver, which alone moves the mirror.
//!
//! Owns: how such a wish gets there. Invariant: a group is counted within a transaction of the source, and emitted with it, so
//! that stores get it in order with everything else.

use std::collections::BTreeSet;

use headwater_model::{Error, Result};
use tokio::sync::{mpsc, oneshot};

/// Wishes that wait for the deriver.
const WAITING_MAX: usize = 4;

/// Groups of a view that are to be counted again.
pub(crate) struct Recount {
    pub view: Box<str>,
    /// What they are found by in the mirror.
    pub groups: BTreeSet<Vec<u8>>,
    done: oneshot::Sender<()>,
}

/// The way to the deriver.
pub(crate) struct Recounter(mpsc::Sender<Recount>);

impl Recounter {
    pub fn new() -> (Recounter, mpsc::Receiver<Recount>) {
        let (send, receive) = mpsc::channel(WAITING_MAX);
        (Recounter(send), receive)
    }

    /// Has groups counted again with the next transaction of the source; what comes tells that the mirror has them.
    pub async fn ask(&self, view: &str, groups: BTreeSet<Vec<u8>>) -> Result<oneshot::Receiver<()>> {
        let (done, counted) = oneshot::channel();
        match self.0.send(Recount { view: view.into(), groups, done }).await {
            Ok(()) => Ok(counted),
            Err(_) => Err(Error::transient("documents are not derived any more")),
        }
    }
}

impl Recount {
    /// The mirror has them, safe from a crash of the process.
    pub fn done(self) {
        // Whoever asked may have gone: what was counted is right all the same.
        let _ = self.done.send(());
    }
}
