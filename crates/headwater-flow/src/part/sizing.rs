//! How much a share of a view is: the parts' bounds follow the number of documents.

use std::sync::Arc;
use std::time::Duration;

use headwater_model::Result;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Part;
use crate::board::Board;
use crate::service::NamedStore;

/// Some engines walk all keys to count them.
const COUNT_EVERY: Duration = Duration::from_secs(60);
const COUNT_WITHIN: Duration = Duration::from_secs(30);

/// Until a store is filled and has counted.
const FIRST_EVERY: Duration = Duration::from_millis(500);

pub(crate) struct Sizing {
    pub parts: Vec<Arc<Part>>,
    pub stores: Vec<NamedStore>,
    pub board: Arc<Board>,
}

impl Sizing {
    pub async fn run(self, cancel: CancellationToken) -> Result<()> {
        let size = async {
            loop {
                let mut all = true;
                for part in self.parts.iter().filter(|part| part.is_share()) {
                    match self.rows(part).await {
                        Some(rows) => part.set_rows(rows),
                        None => all = false,
                    }
                }
                sleep(if all { COUNT_EVERY } else { FIRST_EVERY }).await;
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => {}
            () = size => {}
        }
        Ok(())
    }

    /// Of the fullest store that is filled; `None` if none says.
    async fn rows(&self, part: &Part) -> Option<u64> {
        let mut most = None;
        for NamedStore { name, store } in self.stores.iter().filter(|s| part.view.stores.contains(&s.name)) {
            if !self.board.progress(name).borrow().ready.contains(&part.view.name) {
                continue;
            }
            if let Ok(Ok(rows)) = timeout(COUNT_WITHIN, store.rows(&part.view)).await {
                most = most.max(Some(rows));
            }
        }
        most
    }
}
