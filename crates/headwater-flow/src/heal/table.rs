//! What is done at each event, and at which level: the one place where that is decided. Pure.

use headwater_model::file::HealSection;
use headwater_model::heal::{Action, Level};

use crate::status::PartState;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartKind {
    Source,
    Store,
    /// What is kept of tables to make documents with embedded rows from, and rankings.
    Mirror,
    View,
}

impl PartKind {
    pub const ALL: [PartKind; 4] = [PartKind::Source, PartKind::Store, PartKind::Mirror, PartKind::View];

    pub fn name(self) -> &'static str {
        match self {
            PartKind::Source => "source",
            PartKind::Store => "store",
            PartKind::Mirror => "mirror",
            PartKind::View => "view",
        }
    }
}

/// Something that happens to a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It does not answer, or with errors that may pass.
    Unreachable,
    Reachable,
    /// Further behind than a moment.
    Behind,
    CaughtUp,
    /// The log between journal and source has a gap.
    LogLost,
    /// What the source keeps for us is at its bound.
    SourceBound,
    /// The journal is at its bound because of this store.
    JournalBound,
    /// It holds nothing, and was filled before.
    Emptied,
    /// It is at a place that the journal does not have.
    Displaced,
    /// What it holds was given up: the store was let go, or what its documents are derived from was lost.
    GivenUp,
    /// It refuses a row.
    Refused,
    /// Keys differ from the source.
    Drifted,
    Filled,
    /// Its definition fits its tables no more.
    Underivable,
}

impl Event {
    pub const ALL: [Event; 14] = [
        Event::Unreachable,
        Event::Reachable,
        Event::Behind,
        Event::CaughtUp,
        Event::LogLost,
        Event::SourceBound,
        Event::JournalBound,
        Event::Emptied,
        Event::Displaced,
        Event::GivenUp,
        Event::Refused,
        Event::Drifted,
        Event::Filled,
        Event::Underivable,
    ];

    /// As a clause about the part.
    pub fn what(self) -> &'static str {
        match self {
            Event::Unreachable => "does not answer, or with errors",
            Event::Reachable => "answers again",
            Event::Behind => "is behind by more than a moment",
            Event::CaughtUp => "has caught up",
            Event::LogLost => "has lost log that the journal needs",
            Event::SourceBound => "keeps as much log for us as it may",
            Event::JournalBound => "holds the journal at its bound",
            Event::Emptied => "was emptied",
            Event::Displaced => "is at a place that the journal does not have",
            Event::GivenUp => "was let go, or lost what its documents are derived from",
            Event::Refused => "refuses a row",
            Event::Drifted => "differs from the source",
            Event::Filled => "is filled",
            Event::Underivable => "no longer fits its tables",
        }
    }
}

/// An edge between two states, and what is done on the way. It is taken from every state but `to`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition {
    pub part: PartKind,
    pub event: Event,
    pub to: PartState,
    pub action: Option<Action>,
}

const fn on(part: PartKind, event: Event, to: PartState, action: Option<Action>) -> Transition {
    Transition { part, event, to, action }
}

/// Whoever is about to clear, fill again or drop something asks this table first.
pub const TABLE: [Transition; 19] = {
    use Action::*;
    use Event::*;
    use PartState::*;
    [
        on(PartKind::Source, Unreachable, Failed, Some(Reconnect)),
        on(PartKind::Source, Reachable, Healthy, None),
        on(PartKind::Source, SourceBound, Failed, Some(SetFree)),
        on(PartKind::Source, LogLost, Rebuilding, Some(Rebuild)),
        on(PartKind::Store, Unreachable, Failed, Some(Reconnect)),
        on(PartKind::Store, Reachable, Healthy, None),
        on(PartKind::Store, Behind, Lagging, None),
        on(PartKind::Store, CaughtUp, Healthy, None),
        on(PartKind::Store, JournalBound, Failed, Some(LetGo)),
        on(PartKind::Store, Emptied, Rebuilding, Some(Refill)),
        on(PartKind::Store, Displaced, Rebuilding, Some(Refill)),
        on(PartKind::Store, GivenUp, Rebuilding, Some(Refill)),
        on(PartKind::Store, Refused, Healthy, Some(Quarantine)),
        on(PartKind::Store, Filled, Healthy, None),
        on(PartKind::Mirror, Drifted, Healthy, Some(Repair)),
        on(PartKind::View, GivenUp, Rebuilding, Some(Refill)),
        on(PartKind::View, Drifted, Healthy, Some(Repair)),
        on(PartKind::View, Filled, Healthy, None),
        on(PartKind::View, Underivable, Paused, None),
    ]
};

/// What an event does to a part; `None` if it cannot happen to such a part.
pub fn transition(part: PartKind, event: Event) -> Option<&'static Transition> {
    TABLE.iter().find(|row| row.part == part && row.event == event)
}

/// Whether it never waits: it keeps a bound of the source or of the disk, or destroys nothing.
pub fn is_fixed(action: Action) -> bool {
    match action {
        Action::Reconnect | Action::Quarantine | Action::LetGo | Action::SetFree => true,
        Action::Refill | Action::Rebuild | Action::Repair => false,
    }
}

/// Who has to agree to an action, by the file.
pub fn level(file: &HealSection, action: Action) -> Level {
    let chosen = match action {
        Action::Refill => file.refill,
        Action::Rebuild => file.rebuild,
        Action::Repair => file.repair,
        Action::Reconnect | Action::Quarantine | Action::LetGo | Action::SetFree => Level::Alone,
    };
    if file.safe && !is_fixed(action) { chosen.max(Level::One) } else { chosen }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_of_a_part_has_one_row_and_every_action_is_somebodys() {
        for (i, row) in TABLE.iter().enumerate() {
            let again = TABLE[..i].iter().any(|other| (other.part, other.event) == (row.part, row.event));
            assert!(!again, "{row:?} twice");
        }
        for event in Event::ALL {
            assert!(PartKind::ALL.iter().any(|part| transition(*part, event).is_some()), "{event:?}");
        }
        for action in Action::ALL {
            assert!(TABLE.iter().any(|row| row.action == Some(action)), "{action:?}");
        }
    }

    /// Promise 5: no setting makes the source, or the disk, wait for a person.
    #[test]
    fn bounds_never_wait_and_safe_mode_holds_whatever_clears() {
        for safe in [false, true] {
            for chosen in Level::ALL {
                let file = HealSection { safe, refill: chosen, rebuild: chosen, repair: chosen };
                for action in Action::ALL {
                    let expected = match (is_fixed(action), safe) {
                        (true, _) => Level::Alone,
                        (false, true) => chosen.max(Level::One),
                        (false, false) => chosen,
                    };
                    assert_eq!(level(&file, action), expected, "{action:?}");
                }
            }
        }
        assert!([Event::SourceBound, Event::JournalBound].iter().all(|event| {
            TABLE.iter().filter(|row| row.event == *event).all(|row| row.action.is_some_and(is_fixed))
        }));
    }

    #[test]
    fn the_docs_have_the_table() {
        let docs = include_str!("../../../../docs/incidents.md");
        for row in TABLE {
            let action = row.action.map_or("", Action::name);
            let line =
                format!("| {} | {} | {} | {action} |", row.part.name(), row.event.what(), row.to.as_str());
            assert!(docs.contains(&line), "docs/incidents.md lacks\n{line}");
        }
    }
}
