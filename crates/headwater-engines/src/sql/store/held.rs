//! The row that says what a store holds: `epoch`, `offset`, `system`, `sequence`, `committed_at`, as texts.

use headwater_model::{Epoch, Error, Held, Offset, Position, Result};

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
