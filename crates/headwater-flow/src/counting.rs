//! How many documents each view holds: only the engines can tell, and some must walk all their keys to do so. So they
//! are asked while someone looks at the status, and not otherwise.
//!
//! Owns: when stores count. Does not own: what is done with the figures ([`crate::board`]).

use std::sync::Arc;
use std::time::Duration;

use headwater_model::{Result, View};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::board::Board;
use crate::service::NamedStore;
use crate::state::Consumer;

/// Between two counts at least this much time passes, and at least as much as the last one took: for every
/// question there is at most one count, so they end when nobody asks any more.
const COUNT_EVERY: Duration = Duration::from_secs(3);

/// How long one view may be counted.
const COUNT_WITHIN: Duration = Duration::from_secs(60);

/// When somebody asked, and when the newest count that is complete began.
pub(crate) struct Counts {
    asked: watch::Sender<Option<Instant>>,
    counted: watch::Sender<Option<Instant>>,
}

impl Counts {
    pub fn new() -> Counts {
        Counts { asked: watch::Sender::new(None), counted: watch::Sender::new(None) }
    }

    /// Has the stores count, unless they did less than `age_max` ago, and waits for that at most for `within`.
    pub async fn ask(&self, age_max: Duration, within: Duration) {
        let now = Instant::now();
        self.asked.send_replace(Some(now));
        let mut counted = self.counted.subscribe();
        let fresh = |at: &Option<Instant>| at.is_some_and(|at| at + age_max >= now);
        // In vain is an answer too: the figures are as old as they are.
        let _ = timeout_at(now + within, counted.wait_for(fresh)).await;
    }
}

pub(crate) struct Counting {
    pub stores: Vec<NamedStore>,
    pub views: Vec<Arc<View>>,
    pub board: Arc<Board>,
    pub counts: Arc<Counts>,
}

impl Counting {
    /// Counts when asked, until cancelled.
    pub async fn run(self, cancel: CancellationToken) -> Result<()> {
        let mut asked = self.counts.asked.subscribe();
        // Whoever asked an earlier term may still wait.
        asked.mark_changed();
        let count = async {
            while asked.changed().await.is_ok() {
                if asked.borrow_and_update().is_none() {
                    continue;
                }
                let began = Instant::now();
                self.count().await;
                self.counts.counted.send_replace(Some(began));
                sleep(COUNT_EVERY.max(began.elapsed())).await;
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => {}
            () = count => {}
        }
        Ok(())
    }

    async fn count(&self) {
        for NamedStore { name, store } in &self.stores {
            let held = |view: &View| view.stores.contains(name) || view.part(name).is_some();
            for view in self.views.iter().filter(|view| held(view)) {
                let rows = match timeout(COUNT_WITHIN, store.rows(view)).await {
                    Ok(Ok(rows)) => Some(rows),
                    Ok(Err(error)) => {
                        debug!(store = %name, view = %view.name, %error, "the store does not count");
                        None
                    }
                    Err(_) => None,
                };
                let consumer = Consumer { store: name.clone(), view: view.name.clone() };
                self.board.view_rows(&consumer, rows);
            }
        }
    }
}
