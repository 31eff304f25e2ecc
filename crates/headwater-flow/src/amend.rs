//! Puts right what is wrong in the mirror itself: the way from verification, which finds groups and entries of indexes that are
//! not what the mirror's rows make of them, to the deriver, which alone moves the mirror.
//!
//! Owns: how such a wish gets there. Invariant: it is done within a transaction of the source. What documents it changes of
//! itself, the groups of rankings, is emitted with that, so that stores get it in order with everything else.

use std::collections::BTreeSet;

use headwater_model::{Error, Result, TableName};
use tokio::sync::{mpsc, oneshot};

use crate::derive::Misplaced;

/// Wishes that wait for the deriver.
const WAITING_MAX: usize = 4;

/// What the rows do not make so.
pub(crate) enum Wrong {
    /// Groups of a view, by what they are found by in the mirror: to be counted again.
    Groups { view: Box<str>, groups: BTreeSet<Vec<u8>> },
    /// Entries in the indexes of a table: to be written again.
    Entries { table: TableName, misplaced: Misplaced },
}

pub(crate) struct Amendment {
    pub wrong: Wrong,
    done: oneshot::Sender<()>,
}

/// The way to the deriver.
pub(crate) struct Amender(mpsc::Sender<Amendment>);

impl Amender {
    pub fn new() -> (Amender, mpsc::Receiver<Amendment>) {
        let (send, receive) = mpsc::channel(WAITING_MAX);
        (Amender(send), receive)
    }

    /// Has it put right with the next transaction of the source; what comes tells that the mirror has it.
    pub async fn ask(&self, wrong: Wrong) -> Result<oneshot::Receiver<()>> {
        let (done, amended) = oneshot::channel();
        match self.0.send(Amendment { wrong, done }).await {
            Ok(()) => Ok(amended),
            Err(_) => Err(Error::transient("documents are not derived any more")),
        }
    }
}

impl Amendment {
    /// The mirror has it, safe from a crash of the process.
    pub fn done(self) {
        // Whoever asked may have gone: what was put right is right all the same.
        let _ = self.done.send(());
    }
}
