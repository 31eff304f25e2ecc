//! Where a figure was read, when, and how far it is trusted.

use std::fmt;

use serde::Deserialize;

/// How far a figure is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub enum Confidence {
    /// From the provider's price list or documentation, at the origin's own date.
    A,
    /// From a repository or a page of the provider, or a dated copy of its price list.
    B,
    /// From a third party.
    C,
    /// Derived from others by a rule that is named.
    D,
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    pub text: Box<str>,
    /// Of what was read, as exact as it is known: `2026-07-31`, `2024-07`, `2023`; a span as `2023-06..2026`.
    pub date: Box<str>,
    pub confidence: Confidence,
}

impl Origin {
    /// The year of the newest that was read, `None` if the date does not say.
    pub fn year(&self) -> Option<u16> {
        let newest = self.date.rsplit("..").next().unwrap_or(&self.date);
        newest.get(..4)?.parse().ok()
    }
}
