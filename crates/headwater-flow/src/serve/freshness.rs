//! How new a store is, and waiting until it is new enough.

use std::sync::Arc;
use std::time::Duration;

use headwater_model::{Error, Offset, Position, Source};

use super::Refused;
use crate::service::Handle;

/// Reads `POSITION` or `SYSTEM@POSITION`. Without a system it is taken to be of the one that is followed.
pub(super) fn position(handle: &Handle, source: &dyn Source, text: &str) -> Result<Position, Refused> {
    let (system, written) = match text.rsplit_once('@') {
        Some((system, written)) => (Some(system), written),
        None => (None, text),
    };
    let Some(sequence) = source.sequence(written.trim()) else {
        return Err(Refused::BadParameter {
            name: "after".to_owned(),
            message: format!("`{text}` is no position of this source"),
            remedy: Some(
                "pass what the source gave after the commit, or a position of a former answer".to_owned(),
            ),
        });
    };
    let followed = handle.system();
    match (system, followed) {
        (Some(system), Some(followed)) if *system != *followed => {
            let given = Position::new(system, sequence);
            handle.frontier().and_then(|frontier| frontier.place(&given)).ok_or_else(|| {
                let why = if given.is_same_database(&Position::new(Arc::clone(&followed), 0)) {
                    "which never came to it: what it stands for was lost in a failover, or was never committed"
                } else {
                    "which is another database"
                };
                Refused::OtherHistory(Error::out_of_step(format!(
                    "the position is of system {system}, but the source is now system {followed}, {why}"
                )))
            })
        }
        (_, Some(followed)) => Ok(Position::new(followed, sequence)),
        (_, None) => Err(Refused::Unavailable {
            tried: vec![("source".to_owned(), "is not followed by this instance".to_owned())],
        }),
    }
}

/// A position as answers give it.
pub(super) fn show(source: &dyn Source, position: &Position) -> String {
    format!("{}@{}", position.system, source.notation(position))
}

/// What a reader demands of a store.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Demand {
    /// It has applied this.
    pub offset: Option<Offset>,
    /// It is not older than this.
    pub age_max: Option<Duration>,
}
