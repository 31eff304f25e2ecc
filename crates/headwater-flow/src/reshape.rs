//! Whether the source's tables are still what the views were made from, while a term goes on.
//!
//! Owns: looking, and ending the term when rows may read otherwise: the next one fills again what that concerns. Does not
//! own: what makes rows read otherwise ([`Catalogued::since`] is the one judgement, of a running term as of a start).
//!
//! Rows that DDL wrote anew are not in the log. So the tables are looked at now and then, and at once when a row comes by
//! in a shape that nobody planned for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use headwater_model::{Catalogued, Reshaped, Result, Source, TableName};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::state::State;

/// Tables by name, as the source has them.
pub(crate) type Catalogue = BTreeMap<TableName, Catalogued>;

pub(crate) struct Watch {
    source: Arc<dyn Source>,
    state: Arc<State>,
    /// The tables as the views were planned for, or as they were seen since if that made no difference.
    planned: Mutex<Catalogue>,
    /// Cancelled when rows may read otherwise: the term ends.
    reshaped: CancellationToken,
}

impl Watch {
    pub fn new(
        source: Arc<dyn Source>,
        state: Arc<State>,
        planned: Catalogue,
        reshaped: CancellationToken,
    ) -> Watch {
        Watch { source, state, planned: Mutex::new(planned), reshaped }
    }

    fn planned(&self) -> MutexGuard<'_, Catalogue> {
        // Every entry is whole, whoever panicked.
        self.planned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at every table.
    pub async fn look(&self) -> Result<()> {
        let names: Vec<TableName> = self.planned().keys().cloned().collect();
        let now = self.source.shapes(&names).await?;
        now.into_iter().try_for_each(|now| self.judge(now))
    }

    /// A row came by in a shape that nobody planned for. It may be an older shape, which the log still shows; then nothing
    /// happens.
    pub async fn look_at(&self, name: &TableName) -> Result<()> {
        if !self.planned().contains_key(name) {
            self.end_term(name);
            return Ok(());
        }
        match self.source.shapes(std::slice::from_ref(name)).await {
            Ok(now) => now.into_iter().try_for_each(|now| self.judge(now)),
            Err(error) if error.is_retryable() => Err(error),
            // The table is gone or out of reach: the next term says what to do about it.
            Err(_) => {
                self.end_term(name);
                Ok(())
            }
        }
    }

    fn judge(&self, now: Catalogued) -> Result<()> {
        let name = now.table.name.clone();
        let then = self.planned().get(&name).cloned();
        match then {
            Some(then) if now.since(&then) == Reshaped::No => {
                if then.revision != now.revision {
                    // What moved so far means nothing, and must not come to mean something with what moves later.
                    self.state.same_rows(&now)?;
                    self.planned().insert(name, now);
                }
            }
            _ => self.end_term(&name),
        }
        Ok(())
    }

    fn end_term(&self, table: &TableName) {
        info!(%table, "the table was altered: the views made from it are looked at again");
        self.reshaped.cancel();
    }
}
