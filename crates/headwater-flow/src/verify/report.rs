//! What is asked of a verification, and what it finds.

use serde::{Deserialize, Serialize};

use super::pace::Pace;

/// Drifted keys that a report names; all of them are counted.
pub const NAMED_MAX: usize = 100;

/// Where the groups of a ranking lie: in the mirror, beside its rows.
pub const GROUPS: &str = "groups";

/// What to compare. Nothing named: every view in every store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    pub views: Vec<String>,
    pub store: Option<String>,
    /// A share of the keys, above 0 and below 1, chosen at random; `None`: all of them.
    pub sample: Option<f64>,
    pub pace: Pace,
    /// Whether what drifted is put right; at most this share of the documents of each view in each store, or so few that it does
    /// not matter ([`REPAIRED_ANYWAY`]).
    pub repair: Option<f64>,
}

/// So many documents of a view are put right in a store whatever their share.
pub const REPAIRED_ANYWAY: u64 = 100;

/// How far a verification is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// `view book`, or `table public.books` where the mirror is compared with it.
    pub subject: String,
    /// What is done with it: `comparing`, `looking for extra documents`.
    pub doing: String,
    /// Of this subject.
    pub rows: u64,
    pub rows_estimate: u64,
    /// Of all subjects so far, and of all together as far as that is known.
    pub rows_total: u64,
    pub rows_total_estimate: u64,
    pub drifted: u64,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub took_ms: u64,
    /// What documents with embedded rows, and rankings, are made from: each table once, against the source, then the groups of each
    /// ranking, against the rows.
    #[serde(default)]
    pub mirror: Vec<Comparison>,
    pub views: Vec<Comparison>,
}

/// One subject in one place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The view, or of the mirror the table.
    pub name: String,
    /// The store, or `mirror`, or [`GROUPS`].
    pub store: String,
    pub verdict: Verdict,
    /// Why nothing, or not all, was compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Rows or documents of the source that were compared.
    pub rows: u64,
    /// The share of the keys that was compared, at most 1.
    pub covered: f64,
    /// The journal's offsets at which they were compared.
    pub from_offset: u64,
    pub upto_offset: u64,
    /// The source's position at the end, in its own notation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    pub missing: u64,
    pub extra: u64,
    pub different: u64,
    #[serde(default)]
    pub misplaced: u64,
    /// Keys that changed all the time, or that a transaction holds which does not end: they could not be compared.
    pub unsettled: u64,
    /// Of those that drifted: rows that the store refused, and which are in quarantine.
    pub quarantined: u64,
    /// Of those that drifted: put right, and compared again since.
    #[serde(default)]
    pub repaired: u64,
    /// More drifted than may be put right without asking: the rest was left as it is.
    #[serde(default)]
    pub repair_stopped: bool,
    /// Nothing was put right, for healing waits for somebody: for whom, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repair_held: Option<String>,
    /// How likely it is that one extra document was overlooked; 0 where that cannot happen.
    pub extra_overlooked: f64,
    /// The first of those that drifted.
    pub drifted: Vec<Drifted>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// What was compared is equal.
    #[default]
    Equal,
    Drifted,
    /// Nothing was compared.
    Skipped,
    /// The comparison broke off.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriftKind {
    /// The source has it, the store does not.
    Missing,
    /// The store has it, the source does not.
    Extra,
    /// Both have it, and fields differ.
    Different,
    /// The document is right, or rightly not there, and an index of the view has it where it should not, or lacks it: ranges,
    /// rankings or walks answer wrong.
    Misplaced,
}

/// A key whose document is not what the source says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drifted {
    /// As stores write it.
    pub key: String,
    pub kind: DriftKind,
    /// Of a document that differs: which fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldDifference>,
    /// The store refused the row, and an operator sees why.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quarantined: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldDifference {
    pub field: String,
    /// As text, cut to what can be shown; `None`: the field is not there.
    pub expected: Option<String>,
    pub found: Option<String>,
}

impl Comparison {
    pub fn drift(&self) -> u64 {
        self.missing + self.extra + self.different + self.misplaced
    }

    /// How much of each kind, for people.
    pub fn kinds(&self) -> String {
        let Comparison { missing, extra, different, misplaced, .. } = self;
        let mut text = format!("{missing} missing, {extra} extra, {different} different");
        if *misplaced > 0 {
            text.push_str(&format!(", {misplaced} misplaced in indexes"));
        }
        text
    }

    /// What drifted and still does.
    pub fn left(&self) -> u64 {
        self.drift().saturating_sub(self.repaired)
    }

    pub(super) fn add(&mut self, drifted: Drifted) {
        match drifted.kind {
            DriftKind::Missing => self.missing += 1,
            DriftKind::Extra => self.extra += 1,
            DriftKind::Different => self.different += 1,
            DriftKind::Misplaced => self.misplaced += 1,
        }
        self.quarantined += u64::from(drifted.quarantined);
        if self.drifted.len() < NAMED_MAX {
            self.drifted.push(drifted);
        }
    }

    pub(super) fn at(&mut self, from: u64, upto: u64) {
        self.from_offset = if self.from_offset == 0 { from } else { self.from_offset.min(from) };
        self.upto_offset = self.upto_offset.max(upto);
    }

    pub(super) fn conclude(&mut self) {
        if self.verdict == Verdict::Equal && self.drift() > 0 {
            self.verdict = Verdict::Drifted;
        }
    }
}

impl Report {
    pub fn comparisons(&self) -> impl Iterator<Item = &Comparison> {
        self.mirror.iter().chain(&self.views)
    }

    pub fn drift(&self) -> u64 {
        self.comparisons().map(Comparison::drift).sum()
    }

    pub fn left(&self) -> u64 {
        self.comparisons().map(Comparison::left).sum()
    }
}
