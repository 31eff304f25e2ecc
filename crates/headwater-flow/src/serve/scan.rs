//! Reading a view from end to end, and waiting for a position without reading: for protocols that offer both.

use std::time::Duration;

use headwater_model::{Position, Stored};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Inner, Pattern, Refused, ScanPlace};

impl Inner {
    pub(super) async fn scan(
        &self,
        pattern: &Pattern,
        from: Option<ScanPlace>,
        limit: usize,
    ) -> Result<(Vec<Stored>, Option<ScanPlace>), Refused> {
        let views = pattern.plan.read.views();
        let Some(view) = views.first() else { return Ok((Vec::new(), None)) };
        let (only, mut cursor) = match from {
            Some(from) => (Some(from.store), Some(from.cursor)),
            None => (None, None),
        };
        let mut tried = Vec::new();
        for place in pattern.stores.iter().filter(|place| only.is_none_or(|only| only == **place)) {
            let store = &self.stores[*place];
            if !store.is_filled(pattern) {
                tried.push((store.name.to_string(), format!("view `{}` is not filled", view.name)));
                continue;
            }
            let within = self.options.store_timeout;
            match timeout(within, store.store.scan(view, cursor.take(), limit)).await {
                Ok(Ok((documents, next))) => {
                    let next = next.map(|cursor| ScanPlace { store: *place, cursor });
                    return Ok((documents, next));
                }
                Ok(Err(error)) => tried.push((store.name.to_string(), error.to_string())),
                Err(_) => {
                    tried.push((
                        store.name.to_string(),
                        format!("no answer within {} ms", within.as_millis()),
                    ));
                }
            }
        }
        Err(Refused::Unavailable { tried })
    }

    pub(super) async fn wait<'p>(
        &self,
        patterns: impl Iterator<Item = &'p Pattern>,
        position: &Position,
        within: Duration,
    ) -> Result<(), Refused> {
        let began = Instant::now();
        let until = began + within;
        let offset = self.offset_of(position, until).await?;
        for pattern in patterns {
            loop {
                let moved = self.handle.moved();
                let mut moved = std::pin::pin!(moved);
                // Registered before looking, so that no move in between is missed.
                moved.as_mut().enable();
                let mut stores = pattern.stores.iter().map(|place| &self.stores[*place]);
                let shows = offset.is_some_and(|offset| {
                    stores.any(|store| store.is_filled(pattern) && store.progress.borrow().offset >= offset)
                });
                if shows {
                    break;
                }
                if offset.is_none() || timeout_at(until, moved).await.is_err() {
                    return Err(self.behind(pattern, began, None));
                }
            }
        }
        Ok(())
    }
}
