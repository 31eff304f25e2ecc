//! What a store holds, and what is said where it holds nothing, or another's.

use headwater_model::{Epoch, Error, Held, Offset, Position, Result};

/// Reads the row of `headwater_held`: `epoch`, `offset`, `system`, `sequence`, `committed_at`, as texts.
pub(crate) fn read<C: AsRef<[u8]>>(row: &[Option<C>]) -> Result<Held> {
    let broken = || Error::corrupt("what headwater_held says cannot be read");
    let text = |cell: &C| String::from_utf8(cell.as_ref().to_vec()).map_err(|_| broken());
    let [Some(epoch), Some(offset), system, sequence, Some(committed_at)] = row else {
        return Err(broken());
    };
    let number = |cell: &C| text(cell)?.parse::<u64>().map_err(|_| broken());
    let position = match (system, sequence) {
        (Some(system), Some(sequence)) => Some(Position::new(text(system)?, number(sequence)?)),
        _ => None,
    };
    Ok(Held {
        epoch: Epoch(number(epoch)?),
        offset: Offset(number(offset)?),
        position,
        committed_at: text(committed_at)?.parse().map_err(|_| broken())?,
    })
}

/// What a step's `error` means. A successor ends our session; then the server says only that the session was ended.
pub(crate) async fn explained(
    epoch: Epoch,
    error: Error,
    held: impl Future<Output = Result<Option<Held>>>,
) -> Error {
    if !error.is_retryable() {
        return error;
    }
    match held.await {
        Ok(Some(held)) => match held.fence(epoch) {
            Err(fenced) => fenced.with_cause(error),
            Ok(()) => error,
        },
        _ => error,
    }
}

pub(crate) fn empty() -> Error {
    Error::out_of_step("the store is empty: it has no position, or a view's table is gone")
}

pub(crate) fn no_step() -> Error {
    Error::bug("no step is open: it failed before, and was rolled back")
}
