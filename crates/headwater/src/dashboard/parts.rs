//! Words, symbols and figures that all of the page shares. A state is always said in words beside its colour and symbol.

use std::time::Duration;

use headwater_flow::status::{PartState, StoreStatus};
use maud::{Markup, html};

use crate::figures::{count, duration_ms};

/// A symbol that tells states apart without colour.
pub fn symbol(state: PartState) -> &'static str {
    match state {
        PartState::Healthy => "●",
        PartState::Lagging => "▲",
        PartState::Failed => "✕",
        PartState::Rebuilding => "◐",
        PartState::Paused => "■",
        PartState::Starting | PartState::Standby => "○",
    }
}

/// The class that colours a state.
pub fn class(state: PartState) -> &'static str {
    match state {
        PartState::Healthy => "good",
        PartState::Lagging | PartState::Rebuilding => "busy",
        PartState::Failed | PartState::Paused => "bad",
        PartState::Starting | PartState::Standby => "idle",
    }
}

pub fn state(state: PartState) -> Markup {
    html! { span.state.(class(state)) { span aria-hidden="true" { (symbol(state)) } " " (state.as_str()) } }
}

/// `25 µs`, `1.2 ms`, `3 s`
pub fn short(duration: Duration) -> String {
    let micros = duration.as_micros();
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..10_000 if !micros.is_multiple_of(1000) => format!("{:.1} ms", micros as f64 / 1e3),
        1_000..1_000_000 => format!("{} ms", micros / 1000),
        1_000_000..60_000_000 if !micros.is_multiple_of(1_000_000) => format!("{:.1} s", micros as f64 / 1e6),
        1_000_000..60_000_000 => format!("{} s", micros / 1_000_000),
        _ => format!("{} min", micros / 60_000_000),
    }
}

/// How far a store is behind: in time, or in transactions while it has not been connected and no time is known.
pub fn lag(store: &StoreStatus) -> String {
    match (store.lag_ms, store.lag_transactions) {
        (0, behind) if behind > 0 => format!("{} tx", count(behind)),
        (ms, _) => duration_ms(ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_cut_texts_read_well() {
        assert_eq!(short(Duration::from_micros(25)), "25 µs");
        assert_eq!(short(Duration::from_micros(1200)), "1.2 ms");
        assert_eq!(short(Duration::from_secs(3)), "3 s");
    }
}
