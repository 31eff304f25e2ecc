//! What Headwater may do to mend a part, and who has to agree.

use serde::{Deserialize, Serialize};

/// Who has to agree before something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nobody: it is done at once.
    Alone,
    One,
    /// Two different people.
    Two,
}

impl Level {
    pub const ALL: [Level; 3] = [Level::Alone, Level::One, Level::Two];

    /// The word of the file.
    pub fn name(self) -> &'static str {
        match self {
            Level::Alone => "alone",
            Level::One => "one",
            Level::Two => "two",
        }
    }

    /// How many people have to agree.
    pub fn people(self) -> usize {
        self as usize
    }
}

/// Something that is done to mend a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Try again, with growing pauses.
    Reconnect,
    /// Put a row aside that a store refuses, and go on.
    Quarantine,
    /// Keep no journal for a store that is too far behind.
    LetGo,
    /// Drop what the source keeps for us.
    SetFree,
    /// Clear a store's views and fill them from the source.
    Refill,
    /// Clear every view of every store and fill them from the source.
    Rebuild,
    /// Write keys again that differ from the source.
    Repair,
}

impl Action {
    pub const ALL: [Action; 7] = [
        Action::Reconnect,
        Action::Quarantine,
        Action::LetGo,
        Action::SetFree,
        Action::Refill,
        Action::Rebuild,
        Action::Repair,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Action::Reconnect => "reconnect",
            Action::Quarantine => "quarantine",
            Action::LetGo => "let-go",
            Action::SetFree => "set-free",
            Action::Refill => "refill",
            Action::Rebuild => "rebuild",
            Action::Repair => "repair",
        }
    }

    /// What it does, in a few words.
    pub fn what(self) -> &'static str {
        match self {
            Action::Reconnect => "try again, with growing pauses",
            Action::Quarantine => "put the refused row aside and go on",
            Action::LetGo => "keep no journal for the store",
            Action::SetFree => "drop what the source keeps for us",
            Action::Refill => "clear the store's views and fill them from the source",
            Action::Rebuild => "clear every view of every store and fill them from the source",
            Action::Repair => "write the keys again that differ",
        }
    }
}
